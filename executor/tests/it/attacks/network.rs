//! Builds against the network, with listeners of our own for whatever must not be reached.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    process::Command,
};

use grapnel_domain::failure::FailureCode;
use grapnel_executor::engine::{
    Engine as _, NetworkAccess,
    docker::{DockerEngine, EgressPolicy},
};

use crate::site::{REAL_IMAGE, Site};

/// What stands for the metadata of clouds: an address that this test puts on the loopback interface.
const METADATA: &str = "169.254.169.254";

enum Metadata {
    OnThisHost,
    /// In a network namespace of our own, which forwarded packets reach.
    Beyond,
}

const NAMESPACE: &str = "grapnel-metadata";

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
}

impl Metadata {
    fn put() -> Self {
        ip(&format!("address add {METADATA}/32 dev lo"));
        Self::OnThisHost
    }

    fn put_beyond_a_bridge() -> Self {
        drop(Self::Beyond);
        for step in [
            &format!("netns add {NAMESPACE}"),
            &format!("link add grapnel-md type veth peer name grapnel-mdp netns {NAMESPACE}"),
            "address add 169.254.169.253/30 dev grapnel-md",
            "link set grapnel-md up",
            &format!("-n {NAMESPACE} address add {METADATA}/30 dev grapnel-mdp"),
            &format!("-n {NAMESPACE} link set grapnel-mdp up"),
        ] {
            assert!(ip(step), "{step}");
        }
        Self::Beyond
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        match self {
            Self::OnThisHost => ip(&format!("address del {METADATA}/32 dev lo")),
            Self::Beyond => ip(&format!("netns del {NAMESPACE}")) | ip("link del grapnel-md"),
        };
    }
}

fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

fn gateway(network: &str) -> IpAddr {
    let format = "{{(index .IPAM.Config 0).Gateway}}";
    let output =
        Command::new("docker").args(["network", "inspect", "--format", format, network]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // An engine that has just made its default bridge does not say where it is itself.
    said.trim().parse().unwrap_or_else(|_| address_of("docker0"))
}

fn address_of(interface: &str) -> IpAddr {
    let output = Command::new("ip").args(["-4", "-o", "addr", "show", interface]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let address = said.split_whitespace().skip_while(|word| *word != "inet").nth(1).unwrap();
    address.split('/').next().unwrap().parse().unwrap()
}

/// Says of each address whether a build reaches it.
fn reaching(addresses: &[SocketAddr]) -> String {
    let list: Vec<_> = addresses.iter().map(|it| format!("('{}', {})", it.ip(), it.port())).collect();
    format!(
        "python3 - <<'PYTHON'
import socket
for address in [{}]:
    s = socket.socket(); s.settimeout(1)
    try:
        s.connect(address); print('REACHED', *address)
    except ConnectionRefusedError:
        print('REACHED', *address, 'and was refused')
    except OSError as error:
        print('closed', *address, type(error).__name__)
PYTHON
cat /proc/net/if_inet6 2>/dev/null | grep -v ' lo$' | sed 's/^/IPV6 /'",
        list.join(", ")
    )
}

#[tokio::test]
async fn b6_a_build_reaches_nothing_of_ours_and_an_open_one_does() {
    let closed = Site::real_on(NetworkAccess::Egress).await;
    closed.pipeline.network.ready(NetworkAccess::Egress).await.unwrap();
    let open = Site::real_on(NetworkAccess::Open).await;
    open.pipeline.network.ready(NetworkAccess::Open).await.unwrap();
    let _metadata = Metadata::put();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = |bridge: &str| {
        [gateway(bridge), own_address(), gateway("bridge"), METADATA.parse().unwrap()]
            .map(|address| SocketAddr::new(address, port))
    };
    // Docker's API and the ports of our own services, on the addresses where a build would look for them.
    let mut addresses = hosts("grapnel-egress").to_vec();
    for service in [2375, 7300, 7301, 7302, 7380, 5432, 22] {
        addresses.push(SocketAddr::new(gateway("grapnel-egress"), service));
    }
    let came = closed.attacked(&reaching(&addresses)).await;
    assert!(came.is_ready(), "{:?}\n{}", came.outcome, came.log);
    assert_eq!(came.log.matches("closed ").count(), addresses.len(), "{}", came.log);
    assert!(!came.log.contains("IPV6"), "{}", came.log);

    // The listener is there: a build on the open network, and only that, finds it.
    let came = open.attacked(&reaching(&hosts("grapnel-open"))).await;
    assert_eq!(came.log.matches("REACHED ").count(), 4, "{}", came.log);
    let none = Site::real(|_| {}).await;
    let came = none.attacked(&reaching(&addresses)).await;
    assert_eq!(came.log.matches("closed ").count(), addresses.len(), "{}", came.log);
}

#[tokio::test]
async fn b6_builds_do_not_reach_each_other() {
    for access in [NetworkAccess::Egress, NetworkAccess::Open] {
        let site = std::sync::Arc::new(Site::real_on(access).await);
        site.pipeline.network.ready(access).await.unwrap();
        let (tell, told) = tokio::sync::oneshot::channel::<String>();
        let serving = site.clone();
        let listening = tokio::spawn(async move {
            let tell = std::sync::Mutex::new(Some(tell));
            let spec = serving.running(
                "echo address $(hostname -i); python3 -c \"
import socket
s = socket.socket(); s.bind(('0.0.0.0', 8000)); s.listen(); s.settimeout(10)
try:
    s.accept(); print('VISITED')
except TimeoutError:
    print('nobody came')\"",
            );
            let (_, events) = serving
                .build(&spec, |event, _| {
                    let text = super::printed(std::slice::from_ref(event));
                    if let Some(address) = text.lines().find_map(|line| line.strip_prefix("address "))
                        && let Some(tell) = tell.lock().unwrap().take()
                    {
                        tell.send(address.trim().to_owned()).unwrap();
                    }
                })
                .await;
            super::printed(&events)
        });
        let address: IpAddr = told.await.unwrap().parse().unwrap();
        let came = site.attacked(&reaching(&[SocketAddr::new(address, 8000)])).await;
        came.says(&format!("closed {address} 8000"));
        let log = listening.await.unwrap();
        assert!(log.contains("nobody came"), "{access:?}: {log}");
    }
}

/// A bridge that no other test uses, under a policy that no other test has. It goes when this is dropped.
struct OwnBridge(EgressPolicy);

impl OwnBridge {
    fn new(allow: &str) -> Self {
        let allow = vec![allow.parse().unwrap()];
        Self(EgressPolicy { allow, helper_image: REAL_IMAGE.into(), ..EgressPolicy::default() })
    }

    fn table(&self) -> String {
        self.0.bridge().replace('-', "_")
    }

    fn nft(&self, what: &str) -> bool {
        let status =
            Command::new("nft").args([what, "table", "inet", &self.table()]).output().unwrap().status;
        status.success()
    }
}

impl Drop for OwnBridge {
    fn drop(&mut self) {
        self.nft("delete");
        let _ = Command::new("docker").args(["network", "rm", &self.0.bridge()]).output();
    }
}

#[tokio::test]
async fn b6_a_firewall_that_does_not_hold_lets_no_build_run() {
    let bridge = OwnBridge::new("198.51.100.1/32");
    let site = Site::real_under(NetworkAccess::Egress, bridge.0.clone()).await;
    let network = site.pipeline.network.clone();
    network.ready(NetworkAccess::Egress).await.unwrap();
    // Whoever takes the rules away finds them there again when the next build begins.
    assert!(bridge.nft("delete"), "they were there");
    let came = site.attacked(&reaching(&[SocketAddr::new(gateway(&bridge.0.bridge()), 1)])).await;
    came.says("closed ");
    assert!(bridge.nft("list"));

    // What the rules leave open is found by the trial: here by an operator who opens what must be closed.
    let open = OwnBridge::new("169.254.0.0/16");
    let site = Site::real_under(NetworkAccess::Egress, open.0.clone()).await;
    let _metadata = Metadata::put_beyond_a_bridge();
    let refused = site.pipeline.network.ready(NetworkAccess::Egress).await.unwrap_err();
    assert!(refused.to_string().contains("169.254.169.254"), "{refused}");
    let came = site.attacked("true").await;
    assert!(matches!(came.failed(), Some((FailureCode::NetworkUnavailable, _))), "{:?}", came.outcome);
}

#[tokio::test]
async fn p3_an_executor_that_is_not_on_the_host_places_the_firewall_by_a_container() {
    let bridge = OwnBridge::new("198.51.100.2/32");
    let engine = DockerEngine::new("/var/run/docker.sock").with_egress(bridge.0.clone());
    engine.prepare_network(NetworkAccess::Egress).await.unwrap();
    assert!(bridge.nft("delete"), "they were there");
    engine.put_by_container().await.unwrap();
    assert!(bridge.nft("list"));
    // An executor in a container of its own does not know the host's resolvers: the placing one does.
    let nameless = EgressPolicy { resolvers: vec!["127.0.0.11".parse().unwrap()], ..bridge.0.clone() };
    let engine = DockerEngine::new("/var/run/docker.sock").with_egress(nameless);
    engine.put_by_container().await.unwrap();
    let listed =
        Command::new("nft").args(["list", "table", "inet", &bridge.table()]).output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    let resolver = host.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap().trim();
    assert_eq!(listed.matches(&format!("{resolver} ")).count(), 2, "{listed}");
    let without = EgressPolicy { helper_image: "no/such:image".into(), ..bridge.0.clone() };
    let engine = DockerEngine::new("/var/run/docker.sock").with_egress(without);
    assert!(engine.put_by_container().await.is_err(), "without nft it says so");
}
