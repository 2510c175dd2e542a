//! A tree like a `node_modules`.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

/// How many files a package has.
const PACKAGE: usize = 60;

/// Makes a tree of so many files and bytes, in packages of sixty files. The bytes do not compress to nothing.
pub fn make(at: &Path, files: usize, bytes: u64) -> Result<()> {
    let size = usize::try_from(bytes)? / files;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = vec![0; size];
    for number in 0..files {
        let package = at.join(format!("package-{:04}/lib", number / PACKAGE));
        if number % PACKAGE == 0 {
            fs::create_dir_all(&package)?;
        }
        // Half noise, half text, as what is downloaded is.
        for (at, byte) in content.iter_mut().enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = if at % 2 == 0 { u8::try_from(state >> 56)? } else { b' ' };
        }
        fs::write(package.join(format!("file-{number}.js")), &content)?;
    }
    Ok(())
}

/// Reads the first and the last file.
pub fn touch_ends(at: &Path) -> Result<()> {
    let mut packages: Vec<_> = fs::read_dir(at)?.collect::<io::Result<_>>()?;
    packages.retain(|entry| entry.path().join("lib").is_dir());
    packages.sort_by_key(fs::DirEntry::file_name);
    for package in [packages.first(), packages.last()] {
        let lib = package.context("there are packages")?.path().join("lib");
        let file = fs::read_dir(lib)?.next().context("there are files")??;
        fs::read(file.path())?;
    }
    Ok(())
}
