//! The firewall of the builds' bridge: the way out stays open, everything of ours is closed.
//!
//! It is one nftables table of our own, put in one transaction. What a chain of it refuses is refused, whatever chains of
//! others (Docker's, a firewall's) accept; that a chain of it accepts means nothing to them. So it needs nothing of
//! Docker's own rules, and they may come and go.
//!
//! Packets of builds reach the host through the hook `input`, and everything else through `forward`: both are closed.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::engine::EngineError;

/// What is no part of the internet, or not of what a build should see of it: private, local, shared, link-local (where
/// clouds have their metadata), documentation of protocols, benchmarks, multicast, reserved. Source: the IANA registries
/// of special-purpose addresses.
const CLOSED_V4: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// The same of IPv6, and what stands for an IPv4 address in it.
const CLOSED_V6: [&str; 7] =
    ["::/127", "::ffff:0:0/96", "64:ff9b::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"];

/// What is accepted to a resolver, after its address.
pub(super) const NAMES: &str = " meta l4proto { tcp, udp } th dport 53";

/// Where the rules of resolvers belong that are not known here: a comment, for nft.
pub(super) const RESOLVERS_HERE: &str = "# resolvers";

/// How long nft may take.
const PUT: Duration = Duration::from_secs(10);

/// What builds reach beside the internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Networks that the operator opens. The engine's host itself is never opened.
    pub allow: Vec<IpNet>,
    /// The resolvers of names; empty is those of the host.
    pub resolvers: Vec<IpAddr>,
    /// The image of the container that places the rules where the executor itself cannot. It has to have `nft`.
    pub helper_image: String,
}

impl EgressPolicy {
    /// Returns the name of the bridge under this policy: executors of one host with different policies have different
    /// ones. At most 15 characters, since it is an interface's.
    pub fn bridge(&self) -> String {
        if self.allow.is_empty() {
            return super::EGRESS_NETWORK.to_owned();
        }
        use sha2::Digest as _;
        let networks: Vec<_> = self.allow.iter().map(ToString::to_string).collect();
        format!("grapnel-eg-{}", hex::encode(&sha2::Sha256::digest(networks.join(","))[..2]))
    }

    /// Returns the resolvers that builds ask: those that are set, else the host's.
    pub fn resolvers(&self) -> Vec<IpAddr> {
        if !self.resolvers.is_empty() {
            return self.resolvers.iter().copied().filter(|address| !address.is_loopback()).collect();
        }
        // Where the second is there, the first names only the host's own cache.
        ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"]
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .map(|text| nameservers(&text))
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    /// Returns the rules, as nft reads them.
    pub fn rules(&self) -> String {
        let bridge = self.bridge();
        let table = bridge.replace('-', "_");
        let resolvers = self.resolvers();
        let mut dns = accepted(&resolvers, NAMES);
        if dns.is_empty() {
            // The container that places the rules knows the host's resolvers, and puts theirs here.
            dns = format!("\t\t{RESOLVERS_HERE}\n");
        }
        let allow = accepted(&self.allow, "");
        let refuse = "reject with icmpx type admin-prohibited";
        let (closed_v4, closed_v6) = (CLOSED_V4.join(", "), CLOSED_V6.join(", "));
        format!(
            "table inet {table} {{}}\n\
             delete table inet {table}\n\
             table inet {table} {{\n\
             \tchain to_host {{\n{dns}\t\t{refuse}\n\t}}\n\
             \tchain out {{\n{dns}\
             \t\toifname \"{bridge}\" {refuse}\n{allow}\
             \t\tip daddr {{ {closed_v4} }} {refuse}\n\
             \t\tip6 daddr {{ {closed_v6} }} {refuse}\n\t}}\n\
             \tchain input {{\n\
             \t\ttype filter hook input priority filter - 10; policy accept;\n\
             \t\tiifname \"{bridge}\" jump to_host\n\t}}\n\
             \tchain forward {{\n\
             \t\ttype filter hook forward priority filter - 10; policy accept;\n\
             \t\tiifname \"{bridge}\" jump out\n\t}}\n\
             }}\n"
        )
    }

    /// Puts the rules where the executor itself can: it is root on the engine's host, and nft is there. Says whether.
    pub async fn put_directly(&self) -> Result<bool, EngineError> {
        let is_here = Path::new("/sys/class/net").join(self.bridge()).exists();
        let Some(nft) = program().filter(|_| is_here && rustix::process::geteuid().is_root()) else {
            return Ok(false);
        };
        let child = Command::new(nft)
            .args(["-f", "-"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let Ok(mut child) = child else { return Ok(false) };
        let rules = self.rules();
        let put = async {
            if let Some(mut input) = child.stdin.take() {
                input.write_all(rules.as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        match timeout(PUT, put).await {
            Ok(Ok(output)) if output.status.success() => Ok(true),
            Ok(Ok(output)) => {
                let said =
                    String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
                tracing::debug!(
                    said,
                    "nft does not take the rules from here; a container is asked to put them"
                );
                Ok(false)
            }
            Ok(Err(error)) => Err(EngineError::Network(format!("nft cannot be run: {error}"))),
            Err(_) => Err(EngineError::Network(format!("nft did not end within {} s", PUT.as_secs()))),
        }
    }
}

fn program() -> Option<PathBuf> {
    ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter().map(PathBuf::from).find(|path| path.exists())
}

/// The name servers of a resolv.conf(5), without those that only the host itself reaches.
fn nameservers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines
        .filter_map(|rest| rest.trim().parse().ok())
        .filter(|address: &IpAddr| !address.is_loopback())
        .collect()
}

/// Rules that accept what goes to any of these, one for each.
fn accepted<T: ToString>(targets: &[T], and: &str) -> String {
    let rule = |target: &T| {
        let target = target.to_string();
        let family = if target.contains(':') { "ip6" } else { "ip" };
        format!("\t\t{family} daddr {target}{and} accept\n")
    };
    targets.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_close_what_is_ours_and_leave_names_and_what_the_operator_opens() {
        let policy = EgressPolicy {
            allow: vec!["10.20.0.0/16".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            resolvers: vec!["10.0.0.53".parse().unwrap()],
            helper_image: String::new(),
        };
        assert!(policy.bridge().len() <= 15);
        assert_ne!(policy.bridge(), EgressPolicy::default().bridge());
        insta::assert_snapshot!(policy.rules());
    }

    #[test]
    fn the_hosts_resolvers_are_those_that_others_reach() {
        let text = "# a comment\nnameserver 127.0.0.53\nnameserver 10.0.0.2\n nameserver fe80::1%eth0\nsearch x\nnameserver 2001:db8::1";
        let expected: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(nameservers(text), expected);
    }
}
