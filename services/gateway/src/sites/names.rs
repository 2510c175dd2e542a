//! Names that tools make of contents.

use super::encodings;

/// Directories whose files the tools that make them never change: Next.js, Astro, SvelteKit.
const NEVER_CHANGED: [&str; 3] = ["_next/static/", "_astro/", "_app/immutable/"];

/// How long hashes in hexadecimal are that tools put into names.
const HEXADECIMAL: [usize; 7] = [8, 10, 12, 16, 20, 32, 40];

/// How long other ones are: those of Vite, Rollup, esbuild and what is built on them.
const LETTERS: usize = 8;

/// Tells whether a file's name was made of its content, so that another content would have another name.
///
/// A wrong yes is seen for a year and a wrong no costs one question, so where a name might as well be chosen by somebody
/// the answer is no.
pub fn has_content_in_its_name(path: &str) -> bool {
    let path = encodings::uncompressed(path);
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let name = name.strip_suffix(".map").unwrap_or(name);
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    if matches!(extension, "html" | "htm") {
        return false;
    }
    let begins_a_part = |at: usize| at == 0 || path.as_bytes().get(at - 1) == Some(&b'/');
    let below = |place: &str| path.match_indices(place).any(|(at, _)| begins_a_part(at));
    if NEVER_CHANGED.into_iter().any(below) {
        return true;
    }
    let stem =
        [".chunk", ".min", ".bundle", ".module"].iter().find_map(|it| stem.strip_suffix(it)).unwrap_or(stem);
    let is_code =
        matches!(extension, "js" | "mjs" | "css" | "woff2") && directory.split('/').any(|it| it == "assets");
    let is_whole = below("_nuxt/") && stem.len() == LETTERS;
    ends_with_hexadecimal(stem) || ends_with_letters(stem, is_code) || (is_whole && is_letters(stem, true))
}

/// Finds `main.8f3a2b1c`, `app-0123456789abcdef0123`, and a hash that is all of the name, if it is long.
fn ends_with_hexadecimal(stem: &str) -> bool {
    let mut parts = stem.rsplit(['.', '-', '_', '~']);
    let hash = parts.next().unwrap_or_default();
    let before = parts.next();
    // A UUID is chosen by somebody, and so is a date.
    let is_uuid = hash.len() == 12 && before.is_some_and(|it| it.len() == 4);
    let is_date = hash.starts_with("19") || hash.starts_with("20");
    let is_date = is_date && hash.bytes().take(LETTERS).all(|byte| byte.is_ascii_digit());
    let is_hexadecimal = hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_alone_and_short = before.is_none() && hash.len() < 16;
    HEXADECIMAL.contains(&hash.len())
        && is_hexadecimal
        && changes(hash) >= 2
        && !is_uuid
        && !is_date
        && !is_alone_and_short
}

/// Finds `index-DwXy3_a1`, `styles-5INURTSO`, `main.DwXy3_a1`; the hash may itself hold what stands before it.
fn ends_with_letters(stem: &str, is_code: bool) -> bool {
    let Some(at) = stem.len().checked_sub(LETTERS).filter(|at| *at > 1 && stem.is_char_boundary(*at)) else {
        return false;
    };
    let (before, hash) = stem.split_at(at);
    before.ends_with(['-', '.']) && is_letters(hash, is_code)
}

/// Tells letters of chance from a word: among them capitals, small letters, digits and signs follow each other.
fn is_letters(hash: &str, is_code: bool) -> bool {
    let has = |of: fn(&u8) -> bool| hash.bytes().any(|byte| of(&byte));
    let is_base64 = hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let is_base32 = hash.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    let (capital, small) = (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase));
    if is_base32 {
        return capital && has(u8::is_ascii_digit);
    }
    let is_by_chance = changes(hash) >= 4 || (is_code && changes(hash) >= 2 && !is_of_words(hash));
    is_base64 && capital && small && is_by_chance
}

/// Tells whether letters can be read as words that begin with capitals (`MyPlugin`, `iPhone15`, `jQueryUI`): each is all of
/// capitals, or has a vowel and no four consonants in a row.
fn is_of_words(letters: &str) -> bool {
    let (mut words, mut last) = (vec![String::new()], ' ');
    for letter in letters.chars() {
        if !letter.is_ascii_alphabetic() || (last.is_ascii_lowercase() && letter.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_ascii_alphabetic()) {
            word.push(letter);
        }
        last = letter;
    }
    let is_vowel = |c: char| matches!(c.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u' | 'y');
    words.iter().enumerate().all(|(at, word)| {
        let is_short_for_something =
            word.chars().all(|c| c.is_ascii_uppercase()) || (at == 0 && word.len() == 1);
        is_short_for_something || (word.contains(is_vowel) && word.split(is_vowel).all(|run| run.len() < 4))
    })
}

/// Counts where one kind of letter follows another.
fn changes(text: &str) -> usize {
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        _ => 3,
    };
    text.bytes().zip(text.bytes().skip(1)).filter(|(a, b)| kind(*a) != kind(*b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tools_make_of_contents_are_kept_for_ever() {
        for path in [
            "assets/index-DwXy3_a1.js",
            "assets/index-DwXy3_a1.css",
            "assets/index--wXy3_a1.js",
            "assets/logo-BsLkR94A.svg",
            "assets/vendor-CkxZqWpT.js",
            "assets/inter-latin-Cw3yDX01.woff2",
            "assets/chunk-aB3d_fgh.js",
            "assets/index-DjaGvxnu.js",
            "base/assets/index-DwXy3_a1.js.map",
            "assets/index-DwXy3_a1.js.br",
            "assets/index-DwXy3_a1.css.gz",
            "main.8f3a2b1c.css",
            "static/js/main.8f3a2b1c.chunk.js",
            "static/js/2.0f3a2b1c.min.js",
            "static/media/logo.6ce24c58023cc2f8fd88.svg",
            "runtime~app-0a1b2c3d4e5f60718293.js",
            "framework-c6fae2d1a1b8c3e7.js",
            "8f3a2b1c9d0e1f2a3b4c.png",
            "styles-5INURTSO.css",
            "chunk-F4UJ2GBK.js",
            "entry.DwXy3_a1.js",
            "_nuxt/DwXy3_a1.js",
            "_nuxt/entry.BaTk3H7p.css",
            "_next/static/chunks/main.js",
            "_next/static/f8s0dIvMYAqVzl9SPpfAr/_buildManifest.js",
            "docs/_next/static/css/app.css",
            "_astro/index.css",
            "_app/immutable/entry/start.js",
        ] {
            assert!(has_content_in_its_name(path), "{path}");
        }
    }

    #[test]
    fn names_that_people_choose_are_looked_at_again() {
        for path in [
            "index.html",
            "about-DwXy3_a1.html",
            "_next/static/page.html",
            "main.js",
            "favicon.ico",
            "robots.txt",
            "sw.js",
            "service-worker.js",
            "get-document.js",
            "get-Document.js",
            "assets/logo.png",
            "assets/jquery-MyPlugin.js",
            "assets/map-OpenType.js",
            "assets/plug-jQueryUI.js",
            "assets/show-iPhone15.js",
            "assets/page-HTMLView.css",
            "assets/team-JohnSmth.png",
            "assets/icon-iPhone15.png",
            "assets/hero-mobile2x.png",
            "assets/bootstrap-5.3.2.min.js",
            "assets/Chapter-Chapter1.pdf",
            "photo-20240115.jpg",
            "photo-20240115a1b2.jpg",
            "photo-2024011512.jpg",
            "photo-cafe2024.jpg",
            "photo-face2face.jpg",
            "a-deadbeef.js",
            "a-12345678.js",
            "8f3a2b1c.js",
            "550e8400-e29b-41d4-a716-4466554400ab.pdf",
            "report-550e8400-e29b-41d4-a716-4466554400ab.pdf",
            "DwXy3_a1.js",
            "DwXy3_a1",
            "a-README10.txt",
            "_nuxt/builds/latest.json",
            "my_next/static/a.js",
            "x_astro/a.js",
            "käse-ü3Xy_a1.js",
            ".js",
            "",
        ] {
            assert!(!has_content_in_its_name(path), "{path}");
        }
    }
}
