//! The SSH keys of hosts that everybody knows, as their operators publish them.
//!
//! Sources: docs.github.com, "GitHub's SSH key fingerprints"; docs.gitlab.com, "SSH known_hosts entries" of GitLab.com;
//! support.atlassian.com, "Configure SSH and two-step verification" for Bitbucket Cloud; docs.codeberg.org,
//! "Verifying you're connected to Codeberg using SSH fingerprints". The fingerprints below them are what those pages say
//! beside the keys, so that no key can be mistyped.

use super::KnownHost;

const HOSTS: &[(&str, &[(&str, &str)])] = &[
    (
        "github.com",
        &[
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
                "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
            ),
            (
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=",
                "SHA256:p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
            ),
        ],
    ),
    (
        "gitlab.com",
        &[
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf",
                "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
            ),
            (
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFSMqzJeV9rUzU4kWitGjeR4PWSa29SPqJ1fVkhtj3Hw9xjLVXVYrU9QlYWrOLXBpQ6KWjbjTDTdDkoohFzgbEY=",
                "SHA256:HbW3g8zUjNSksFbqTiUWPWg2Bq1x8xdGUrliXFzSnUw",
            ),
        ],
    ),
    (
        "bitbucket.org",
        &[
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO",
                "SHA256:ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
            ),
            (
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPIQmuzMBuKdWeF4+a2sjSSpBK0iqitSQ+5BM9KhpexuGt20JpTVM7u5BDZngncgrqDMbWdxMWWOGtZ9UgbqgZE=",
                "SHA256:FC73VB6C4OQLSCrjEayhMp9UMxS97caD/Yyi2bhW/J0",
            ),
        ],
    ),
    (
        "codeberg.org",
        &[(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVIC02vnjFyL+I4RHfvIGNtOgJMe769VTF1VR4EB3ZB",
            "SHA256:mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g",
        )],
    ),
];

/// Returns the hosts that everybody knows.
pub fn well_known_hosts() -> Vec<KnownHost> {
    let keys = |keys: &[(&str, &str)]| keys.iter().filter_map(|(key, _)| key.parse().ok()).collect();
    HOSTS
        .iter()
        .map(|(host, pinned)| KnownHost { host: (*host).to_owned(), port: 22, keys: keys(pinned) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::HostKey;

    #[test]
    fn every_key_has_the_fingerprint_that_its_operator_publishes() {
        for (host, pinned) in HOSTS {
            for (key, fingerprint) in *pinned {
                assert_eq!(key.parse::<HostKey>().unwrap().fingerprint(), *fingerprint, "{host}");
            }
        }
        let known: usize = well_known_hosts().iter().map(|host| host.keys.len()).sum();
        assert_eq!(known, HOSTS.iter().map(|(_, keys)| keys.len()).sum::<usize>());
    }
}
