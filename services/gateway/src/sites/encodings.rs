//! Files that a build has compressed: `a.js.br` beside `a.js` is sent in its place to whoever takes it
//! (RFC 9110, section 12.5.3).

use grapnel_artifacts::{FileEntry, Manifest};
use http::{HeaderMap, header};

/// How a file is compressed, by what its name ends with. Of those that are wanted alike and equally long the first is sent.
const CODINGS: [Coding; 3] = [
    Coding { ending: ".br", names: &["br"] },
    Coding { ending: ".zst", names: &["zstd"] },
    Coding { ending: ".gz", names: &["gzip", "x-gzip"] },
];

/// One way to compress.
#[derive(Debug, PartialEq, Eq)]
struct Coding {
    ending: &'static str,
    /// What clients call it, old ones last.
    names: &'static [&'static str],
}

/// What of a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant<'a> {
    /// What has the content.
    pub file: &'a FileEntry,
    /// How that is compressed.
    pub coding: Option<&'static str>,
    /// Whether others may be sent something else.
    pub varies: bool,
}

impl<'a> Variant<'a> {
    /// A file as it is.
    pub fn plain(file: &'a FileEntry) -> Self {
        Self { file, coding: None, varies: false }
    }
}

/// Tells whether a file may be another one, compressed.
pub fn is_compressed(path: &str) -> bool {
    CODINGS.iter().any(|coding| path.ends_with(coding.ending))
}

/// Returns the name of the file that this one is, compressed; its own name else.
pub fn uncompressed(path: &str) -> &str {
    CODINGS.iter().find_map(|coding| path.strip_suffix(coding.ending)).unwrap_or(path)
}

/// Chooses what to send of a file: what is wanted most, and of that the shortest.
pub fn choose<'a>(manifest: &'a Manifest, file: &'a FileEntry, headers: &HeaderMap) -> Variant<'a> {
    let accepted: Vec<_> =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    let as_it_is = named_weight(&accepted, "identity").unwrap_or(0);
    let mut chosen = Variant::plain(file);
    let mut best = (as_it_is, u64::MAX);
    for coding in &CODINGS {
        let Some(compressed) = manifest.file(&format!("{}{}", file.path, coding.ending)) else {
            continue;
        };
        chosen.varies = true;
        let weight = weight(&accepted, coding);
        let is_better = weight > best.0 || (weight == best.0 && compressed.size < best.1);
        if weight > 0 && is_better {
            (chosen.file, chosen.coding, best) =
                (compressed, coding.names.first().copied(), (weight, compressed.size));
        }
    }
    chosen
}

/// Returns how much a coding is wanted, in thousandths: by its own name, or else by `*`.
fn weight(accepted: &[&str], coding: &Coding) -> u16 {
    let named = coding.names.iter().find_map(|name| named_weight(accepted, name));
    named.or_else(|| named_weight(accepted, "*")).unwrap_or(0)
}

fn named_weight(accepted: &[&str], name: &str) -> Option<u16> {
    accepted.iter().flat_map(|value| value.split(',')).find_map(|one| {
        let mut parts = one.split(';').map(str::trim);
        let is_it = parts.next()?.eq_ignore_ascii_case(name);
        is_it.then(|| {
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            thousandths(quality.unwrap_or("1"))
        })
    })
}

/// Reads a quality; what is none wants nothing.
fn thousandths(quality: &str) -> u16 {
    let quality = quality.parse::<f64>().ok().filter(|quality| (0.0..=1.0).contains(quality));
    (quality.unwrap_or(0.0) * 1000.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(accept: &[&str], sizes: [u64; 4]) -> Option<&'static str> {
        let paths = ["a.js", "a.js.br", "a.js.gz", "a.js.zst"];
        let file = |(path, size): (&str, u64)| FileEntry {
            path: path.to_owned(),
            size,
            digest: String::new(),
            content_type: String::new(),
            blob: None,
        };
        let files = paths.into_iter().zip(sizes).filter(|(_, size)| *size > 0).map(file).collect();
        let manifest = Manifest { version: 1, files };
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT_ENCODING, value.parse().unwrap());
        }
        let variant = choose(&manifest, manifest.file("a.js").unwrap(), &headers);
        assert_eq!(variant.varies, sizes[1..].iter().any(|size| *size > 0));
        variant.coding
    }

    #[test]
    fn what_is_wanted_most_is_sent() {
        let all = [100, 20, 30, 25];
        for (accept, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip, deflate, br, zstd"], Some("br")),
            (&["gzip, deflate"], Some("gzip")),
            (&["x-gzip"], Some("gzip")),
            (&["GZIP"], Some("gzip")),
            (&["gzip", "br"], Some("br")),
            (&["gzip;q=1.0, br;q=0.5"], Some("gzip")),
            (&["br;q=0, gzip;q=0.001"], Some("gzip")),
            (&["br; q=0.2 , zstd;q=0.3"], Some("zstd")),
            (&["*"], Some("br")),
            (&["*;q=0.5, br;q=0"], Some("zstd")),
            (&["*;q=0"], None),
            (&["identity"], None),
            (&["identity, *;q=0"], None),
            (&["identity;q=0.5, gzip;q=0.4"], None),
            (&["identity;q=0.5, gzip;q=0.6"], Some("gzip")),
            (&["identity;q=0"], None),
            (&["gzip;q=0"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=much"], None),
            (&["deflate"], None),
            (&["brotli"], None),
        ] {
            assert_eq!(sent(accept, all), expected, "{accept:?}");
        }
    }

    #[test]
    fn of_what_is_wanted_alike_the_shortest_is_sent() {
        assert_eq!(sent(&["gzip, br, zstd"], [100, 30, 20, 25]), Some("gzip"));
        assert_eq!(sent(&["gzip, br, zstd"], [100, 20, 20, 20]), Some("br"));
        assert_eq!(sent(&["gzip, identity"], [100, 0, 20, 0]), Some("gzip"));
        assert_eq!(sent(&["br"], [100, 0, 20, 0]), None);
        assert_eq!(sent(&["br"], [100, 0, 0, 0]), None);
    }
}
