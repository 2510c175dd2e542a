//! A site from the gateway, and the same files from nginx.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::CreateProjectRequest;
use tempfile::TempDir;

use super::{Form, triggers::USUAL};
use crate::{
    load::{Load, median},
    process::{Server, free_address},
    report::{Cell, Section, Table},
};

const PROJECT: &str = "harbour";

const TEXT: &str = "\
The example Vite site, built and READY, asked of the gateway and of nginx as Debian sets it up, without its log, on the same
files; first it is made sure that both answer the same bytes at every path. wrk asks for the page, for the largest file, and for
all files in turn, on the same cores. The ratio is the median of the rounds' own.";

/// What is asked for.
struct Asked {
    name: String,
    paths: Vec<String>,
}

/// Measures the two in turn.
///
/// # Errors
/// The site cannot be built, or the two do not serve the same.
pub async fn measure(form: Form) -> Result<Section> {
    let grapnel = Grapnel::start(Setup::default().embedded()).await;
    let files = publish(&grapnel).await?;
    let nginx = Nginx::over(&files).await?;
    let gateway = format!("127.0.0.1:{}", grapnel.sites_port());
    let paths = paths(&files)?;
    for server in [&gateway, &nginx.address] {
        serves(server, &files, &paths).await?;
    }
    let lasting = Duration::from_secs(form.pick(1, 3));
    let mut rows = Vec::new();
    for asked in asked(&files, paths)? {
        for connections in form.pick(&[USUAL][..], &[1, USUAL]) {
            let rate = |server: &str| -> Result<f64> {
                let load = Load {
                    server,
                    method: "GET",
                    paths: &asked.paths,
                    connections: *connections,
                    lasting,
                    host: Some(&format!("{PROJECT}.localhost")),
                };
                Ok(load.run()?.rate)
            };
            let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..form.pick(1, 5) {
                let pair = (rate(&gateway)?, rate(&nginx.address)?);
                ours.push(pair.0);
                theirs.push(pair.1);
                ratios.push(pair.0 / pair.1);
            }
            rows.push(vec![
                Cell::from(format!("{}, {connections} connections", asked.name)),
                Cell::whole(median(&ours)),
                Cell::whole(median(&theirs)),
                Cell::figure(median(&ratios), 2),
            ]);
        }
    }
    let columns = ["files", "grapnel, requests/s", "nginx, requests/s", "times nginx's"];
    Ok(Section {
        name: "serving",
        title: "Serving a site".to_owned(),
        text: TEXT.to_owned(),
        tables: vec![Table { caption: String::new(), columns: columns.map(str::to_owned).to_vec(), rows }],
        ..Section::default()
    })
}

/// Builds the site and returns the directory of its files.
async fn publish(grapnel: &Grapnel) -> Result<PathBuf> {
    let site = Repository::from_example(&grapnel.repositories().join(PROJECT), "vite-site");
    let request =
        CreateProjectRequest { name: PROJECT.to_owned(), repository_url: site.path(), ..Default::default() };
    let (_, hook) = grapnel.project(request).await;
    let id = grapnel.trigger(&hook).await;
    grapnel.ready(&id).await;
    let files = grapnel.data().join("artifacts").join(&id).join("files");
    ensure!(files.is_dir(), "{} has no files", files.display());
    Ok(files)
}

/// The paths of all files; a page is asked for by its directory.
fn paths(files: &Path) -> Result<Vec<String>> {
    let (mut paths, mut directories) = (vec!["/".to_owned()], vec![files.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if path.file_name().is_none_or(|name| name != "index.html") {
                paths.push(format!("/{}", path.strip_prefix(files)?.display()));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns the file that stands behind a path.
fn file_of(files: &Path, path: &str) -> PathBuf {
    files.join(if path == "/" { "index.html" } else { path.trim_start_matches('/') })
}

/// Makes sure that a server answers every path with its file.
async fn serves(server: &str, files: &Path, paths: &[String]) -> Result<()> {
    let client = grapnel_e2e::http_client();
    for path in paths {
        let request = client.get(format!("http://{server}{path}"));
        let answer = request.header("host", format!("{PROJECT}.localhost")).send().await?;
        let answer = answer.error_for_status()?.bytes().await?;
        ensure!(answer == fs::read(file_of(files, path))?, "{server} serves another {path}");
    }
    Ok(())
}

/// What is asked for: the page, the largest file, and all in turn.
fn asked(files: &Path, paths: Vec<String>) -> Result<Vec<Asked>> {
    let mut sizes = Vec::new();
    for path in &paths {
        sizes.push((fs::metadata(file_of(files, path))?.len(), path.clone()));
    }
    let page = sizes.iter().find(|(_, path)| path == "/").cloned().context("there is no page")?;
    let largest = sizes.iter().max().cloned().context("there are no files")?;
    let one = |name: &str, (bytes, path): (u64, String)| Asked {
        name: format!("{name} ({bytes} bytes)"),
        paths: vec![path],
    };
    let all = Asked { name: format!("all {} in turn", paths.len()), paths };
    Ok(vec![one("the page", page), one("the largest", largest), all])
}

/// nginx over a directory.
struct Nginx {
    address: String,
    // Ends before its directory goes.
    _server: Server,
    _directory: TempDir,
}

impl Nginx {
    async fn over(files: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = free_address();
        let configuration = directory.path().join("nginx.conf");
        fs::write(&configuration, configured(directory.path(), &address, files))?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&configuration).arg("-e").arg(directory.path().join("log"));
        let server = Server::start(&mut nginx, &address).await?;
        Ok(Self { address, _server: server, _directory: directory })
    }
}

/// As Debian sets it up, without its log: the gateway writes none.
fn configured(directory: &Path, address: &str, files: &Path) -> String {
    // Its workers are nobody's else, and may not read what belongs to root.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let (directory, files) = (directory.display(), files.display());
    format!(
        "{user}worker_processes auto;
daemon off;
pid {directory}/pid;
events {{ worker_connections 1024; }}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    sendfile on;
    tcp_nopush on;
    charset utf-8;
    keepalive_requests 1000000000;
    server {{
        listen {address};
        root {files};
        location / {{ try_files $uri $uri.html $uri/ =404; }}
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_asked_for_and_the_largest_alone() {
        let directory = tempfile::tempdir().unwrap();
        let files = directory.path();
        fs::create_dir(files.join("assets")).unwrap();
        for (name, bytes) in [("index.html", 20), ("assets/app.js", 900), ("robots.txt", 5)] {
            fs::write(files.join(name), vec![b'x'; bytes]).unwrap();
        }
        let paths = paths(files).unwrap();
        assert_eq!(paths, ["/", "/assets/app.js", "/robots.txt"]);
        assert_eq!(file_of(files, "/"), files.join("index.html"));
        let asked = asked(files, paths).unwrap();
        let told: Vec<_> = asked.iter().map(|asked| (asked.name.as_str(), asked.paths.len())).collect();
        assert_eq!(told, [("the page (20 bytes)", 1), ("the largest (900 bytes)", 1), ("all 3 in turn", 3)]);
    }
}
