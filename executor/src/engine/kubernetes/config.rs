//! What an operator decides of the pods of builds.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

/// How the engine finds its cluster's things, and what pods look like beside what a sandbox says of itself.
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// The namespace of the pods of builds, in which nothing else is.
    pub namespace: String,
    /// The node that this executor is on, and its sandboxes have to be.
    pub node: String,
    /// Where the engine's own records and mounts are. It is a directory of the node, at the same path there.
    pub directory: PathBuf,
    /// How long a sandbox may wait for room and for its image.
    pub start_within: Duration,
    /// The name of the installation's builder image, of which it is known that it has our tools.
    pub builder_image: String,
    /// How images come to the node.
    pub pull: Pull,
    /// The secrets by which they are pulled.
    pub pull_secrets: Vec<String>,
    /// Labels that the node has to have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of the node that builds may run beside.
    pub tolerations: Vec<Toleration>,
    /// The priority class of builds.
    pub priority_class: Option<String>,
    /// How much of a build's processors is reserved for it alone, in percent of what it may use. Memory always is.
    pub cpu_reserved: u32,
    /// How much of the node's own disk a build may fill beside its workspace and its cache, in bytes.
    pub ephemeral_storage: u64,
    /// The name servers of builds with a filtered network; empty is the cluster's.
    pub resolvers: Vec<IpAddr>,
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Before each sandbox.
    Always,
    /// Where the node does not have it.
    IfNotPresent,
    /// Never.
    Never,
}

impl Pull {
    /// Returns Kubernetes' name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl FromStr for Pull {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Always, Self::IfNotPresent, Self::Never]
            .into_iter()
            .find(|pull| pull.as_str() == text)
            .ok_or("must be `Always`, `IfNotPresent` or `Never`")
    }
}

/// A taint that builds may run beside, written as `kubectl taint` takes it: `key[=value]:effect`, and as `key[=value]` for
/// all effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key.
    pub key: String,
    /// Its value; none is any.
    pub value: Option<String>,
    /// Its effect; none is any.
    pub effect: Option<String>,
}

/// The effects that a taint can have.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl FromStr for Toleration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (taint, effect) = match text.split_once(':') {
            Some((taint, effect)) => (taint, Some(effect.to_owned())),
            None => (text, None),
        };
        if effect.as_ref().is_some_and(|effect| !EFFECTS.contains(&effect.as_str())) {
            return Err(format!("`{text}` has no effect that there is: {}", EFFECTS.join(", ")));
        }
        let (key, value) = match taint.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (taint, None),
        };
        if key.is_empty() {
            return Err(format!("`{text}` names no taint; one looks like `builds=only:NoSchedule`"));
        }
        Ok(Self { key: key.to_owned(), value, effect })
    }
}

/// Reads labels written as `name=value`.
///
/// # Errors
/// One is not written so.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no label; one looks like `disk=fast`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read_as_kubectl_takes_them() {
        let toleration = |key: &str, value: Option<&str>, effect: Option<&str>| Toleration {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            effect: effect.map(str::to_owned),
        };
        for (text, read) in [
            ("builds=only:NoSchedule", Ok(toleration("builds", Some("only"), Some("NoSchedule")))),
            ("builds:NoExecute", Ok(toleration("builds", None, Some("NoExecute")))),
            ("example.com/builds=", Ok(toleration("example.com/builds", Some(""), None))),
            ("builds", Ok(toleration("builds", None, None))),
        ] {
            assert_eq!(text.parse::<Toleration>(), read, "{text}");
        }
        for text in ["", "=only", "builds=only:Never", "builds:"] {
            assert!(text.parse::<Toleration>().is_err(), "{text}");
        }
        assert_eq!(label("disk=fast"), Ok(("disk".to_owned(), "fast".to_owned())));
        assert!(label("disk").is_err() && label("=fast").is_err());
        assert_eq!("Never".parse(), Ok(Pull::Never));
        assert!("never".parse::<Pull>().is_err());
    }
}
