//! The bridges of sandboxes.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use bollard::{
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, NetworkCreateRequest, NetworkInspect},
    query_parameters as query,
};
use futures_util::StreamExt as _;

use super::{
    DockerEngine, EngineError, NetworkAccess, OPEN_NETWORK, answered,
    error::{EngineResultExt as _, translate},
    firewall::{NAMES, RESOLVERS_HERE},
};

/// Puts the rules it is given. On the host's network it sees the host's own resolvers, which an executor in a container
/// of its own does not.
const PUT: &str = r#"set -eu
for address in $(sed -n 's/^nameserver[[:space:]]*//p' /etc/resolv.conf); do
    case "$address" in
        127.* | ::1 | *%*) continue ;;
        *:*) family=ip6 ;;
        *) family=ip ;;
    esac
    names="${names:-}$family daddr $address$NAMES accept\n"
done
printf %s "$RULES" | sed "s/^[[:space:]]*$RESOLVERS_HERE\$/${names:-}/" | nft -f -
"#;

/// A port on which nothing of ours listens: that a host refuses it shows that it was reached.
const NOBODYS: u16 = 1;

impl DockerEngine {
    /// Makes a network, closes it where it is a closed one, and returns what must not be reached from it.
    pub(super) async fn make_network(&self, access: NetworkAccess) -> Result<Vec<SocketAddr>, EngineError> {
        match access {
            NetworkAccess::None => Ok(Vec::new()),
            NetworkAccess::Open => self.bridge(OPEN_NETWORK).await.map(|_| Vec::new()),
            NetworkAccess::Egress => {
                let network = self.bridge(&self.egress.bridge()).await?;
                if !self.egress.put_directly().await? {
                    self.put_by_container().await?;
                }
                let gateways = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
                let gateways = gateways.into_iter().filter_map(|it| it.gateway?.parse::<IpAddr>().ok());
                Ok(gateways.map(|gateway| SocketAddr::new(gateway, NOBODYS)).collect())
            }
        }
    }

    /// Makes a bridge whose sandboxes do not reach each other, unless it is there.
    async fn bridge(&self, name: &str) -> Result<NetworkInspect, EngineError> {
        if let Some(found) = self.find_network(name).await? {
            return Ok(found);
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([
                ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned()),
                ("com.docker.network.bridge.name".to_owned(), name.to_owned()),
            ])),
            ..NetworkCreateRequest::default()
        };
        // Two executors may create it at once; the second finds it there.
        answered(self.docker()?.create_network(request)).await?.or_conflict(name)?;
        self.find_network(name).await?.ok_or_else(|| EngineError::NotFound(name.to_owned()))
    }

    async fn find_network(&self, name: &str) -> Result<Option<NetworkInspect>, EngineError> {
        let found = self.docker()?.inspect_network(name, None::<query::InspectNetworkOptions>);
        answered(found).await?.or_missing(name)
    }

    /// Puts the firewall's rules by a container on the host's network, for an executor that is not there, or has not the
    /// right: it has the engine's socket, and so has as much power, but not the kernel's ear. The bridge has to be there.
    ///
    /// # Errors
    /// [`EngineError::Network`] where the kernel or the helper's image has not what it takes.
    pub async fn put_by_container(&self) -> Result<(), EngineError> {
        let name = format!("grapnel-firewall-{:016x}", rand::random::<u64>());
        let body = ContainerCreateBody {
            image: Some(self.egress.helper_image.clone()),
            entrypoint: Some(["/bin/sh", "-c", PUT].map(str::to_owned).into()),
            cmd: Some(Vec::new()),
            env: Some(vec![
                format!("RULES={}", self.egress.rules()),
                format!("RESOLVERS_HERE={RESOLVERS_HERE}"),
                format!("NAMES={NAMES}"),
            ]),
            user: Some("0:0".to_owned()),
            host_config: Some(HostConfig {
                network_mode: Some("host".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(vec!["NET_ADMIN".to_owned()]),
                readonly_rootfs: Some(true),
                security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = query::CreateContainerOptionsBuilder::default().name(&name).build();
        let created = answered(self.docker()?.create_container(Some(options), body)).await?;
        let id = created.map_err(|error| translate(error, &self.egress.helper_image))?.id;
        let ended = self.run_to_its_end(&id).await;
        let options = query::RemoveContainerOptionsBuilder::default().force(true).build();
        answered(self.docker()?.remove_container(&id, Some(options))).await?.or_ended(&id)?;
        match ended? {
            0 => Ok(()),
            code => Err(EngineError::Network(format!(
                "the firewall's rules cannot be placed: nft in `{}` ended with exit code {code}; the kernel needs \
                 nf_tables, and the image needs nft",
                self.egress.helper_image
            ))),
        }
    }

    async fn run_to_its_end(&self, id: &str) -> Result<i64, EngineError> {
        let started =
            answered(self.docker()?.start_container(id, None::<query::StartContainerOptions>)).await?;
        started.map_err(|error| translate(error, id))?;
        let options = query::WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut ended = self.docker()?.wait_container(id, Some(options));
        match answered(ended.next()).await? {
            Some(Ok(response)) => Ok(response.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(translate(error, id)),
            None => Err(EngineError::Unavailable("the engine stopped answering".to_owned())),
        }
    }
}
