//! The way out of one call of git: a SOCKS5 proxy on the loopback interface, through which git makes every connection
//! over http and https, those of redirects too (RFC 1928; only CONNECT without authentication).
//!
//! Names are resolved here, and the address that was looked at is the address that is connected to. What is never a
//! repository's is refused: link-local addresses, where clouds have their metadata, multicast, the unspecified one. A
//! server that redirects elsewhere is not believed about private and loopback addresses either: only whoever named the
//! repository's own address may mean those.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use grapnel_domain::address::{is_never_meant, is_private};
use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(30);

/// How many connections one call of git may have at once.
const CONNECTIONS: usize = 16;

/// Answers of a SOCKS5 server.
const DONE: u8 = 0;
const NOT_ALLOWED: u8 = 2;
const UNREACHABLE: u8 = 4;

/// What git may connect to, and what it wanted to.
#[derive(Debug)]
pub struct WayOut {
    port: u16,
    trouble: Arc<Mutex<Option<Trouble>>>,
    _serving: AbortOnDropHandle<()>,
}

/// Why a connection was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The address may not be connected to.
    Refused(String),
    /// Somebody leads elsewhere, where a credential is not taken along.
    Elsewhere(String),
    /// Nobody answers there, or the name has no address.
    Unreachable(String),
}

/// Where a repository is, and what else is closed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The hosts and ports that somebody named who may mean what is private: those of the project's own repository.
    pub homes: Vec<(String, u16)>,
    /// Networks that the operator closes.
    pub closed: Vec<IpNet>,
    /// The one host and port that may be connected to at all, where a credential is shown there.
    pub only: Option<(String, u16)>,
}

impl WayOut {
    /// Opens a way out for one call.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open(policy: Policy) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let trouble = Arc::new(Mutex::new(None));
        let told = trouble.clone();
        let serving = tokio::spawn(async move {
            let policy = Arc::new(policy);
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                if connections.len() < CONNECTIONS {
                    connections.spawn(serve(stream, policy.clone(), told.clone()));
                }
            }
        });
        Ok(Self { port, trouble, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Returns the port of 127.0.0.1 on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns why a connection was not made, where one was not.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Policy {
    /// Makes the policy of a call to one host that its owner named.
    pub fn at_home(host: &str, port: u16, closed: &[IpNet]) -> Self {
        Self { homes: vec![(host.to_owned(), port)], closed: closed.to_vec(), only: None }
    }

    /// Resolves a host and returns the one of its addresses to go to: where there are several, one that answers.
    ///
    /// # Errors
    /// As [`Policy::addresses`], and where several addresses have nobody who answers.
    pub async fn address(&self, host: &str, port: u16) -> Result<IpAddr, Trouble> {
        let addresses = self.addresses(host, port).await?;
        if let [only] = addresses.as_slice() {
            return Ok(only.ip());
        }
        let connected = timeout(CONNECT, TcpStream::connect(addresses.as_slice())).await;
        match connected.map(|stream| stream.and_then(|stream| stream.peer_addr())) {
            Ok(Ok(address)) => Ok(address.ip()),
            Ok(Err(error)) => Err(Trouble::Unreachable(format!("{host}:{port}: {error}"))),
            Err(_) => Err(Trouble::Unreachable(format!("{host}:{port} does not answer in time"))),
        }
    }

    /// Resolves a host and returns the addresses of it that may be connected to.
    ///
    /// # Errors
    /// It has none, or none that may be.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Trouble> {
        let is = |(name, at): &(String, u16)| *at == port && name.eq_ignore_ascii_case(host);
        if self.only.as_ref().is_some_and(|only| !is(only)) {
            return Err(Trouble::Elsewhere(format!("{host}:{port}")));
        }
        let found = timeout(CONNECT, lookup_host((host, port))).await;
        let all: Vec<_> = match found {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => return Err(Trouble::Unreachable(format!("{host}: {error}"))),
            Err(_) => return Err(Trouble::Unreachable(format!("{host}: its name is not resolved in time"))),
        };
        let at_home = self.homes.iter().any(is);
        let allowed: Vec<_> = all.iter().copied().filter(|it| self.allows(it.ip(), at_home)).collect();
        match (all.first(), allowed.is_empty()) {
            (Some(first), true) => Err(Trouble::Refused(format!("{host} ({})", first.ip()))),
            (None, _) => Err(Trouble::Unreachable(format!("{host}: it has no address"))),
            _ => Ok(allowed),
        }
    }

    fn allows(&self, address: IpAddr, at_home: bool) -> bool {
        let is_closed = self.closed.iter().any(|network| network.contains(&address.to_canonical()));
        !is_closed && !is_never_meant(address) && (at_home || !is_private(address))
    }
}

async fn serve(mut git: TcpStream, policy: Arc<Policy>, trouble: Arc<Mutex<Option<Trouble>>>) {
    let Ok(Ok((host, port))) = timeout(CONNECT, asked(&mut git)).await else { return };
    let connected = match policy.addresses(&host, port).await {
        Ok(addresses) => match timeout(CONNECT, TcpStream::connect(addresses.as_slice())).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Trouble::Unreachable(format!("{host}:{port}: {error}"))),
            Err(_) => Err(Trouble::Unreachable(format!("{host}:{port} does not answer in time"))),
        },
        Err(why) => Err(why),
    };
    match connected {
        Ok(mut server) => {
            if git.write_all(&answer(DONE)).await.is_ok() {
                let _ = copy_bidirectional(&mut git, &mut server).await;
            }
        }
        Err(why) => {
            let code = if matches!(why, Trouble::Unreachable(_)) { UNREACHABLE } else { NOT_ALLOWED };
            trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            let _ = git.write_all(&answer(code)).await;
        }
    }
}

/// Reads the greeting and the request: CONNECT to a host and port.
async fn asked(git: &mut TcpStream) -> io::Result<(String, u16)> {
    let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
    let mut head = [0; 2];
    git.read_exact(&mut head).await?;
    let mut methods = vec![0; head[1].into()];
    git.read_exact(&mut methods).await?;
    if head[0] != 5 || !methods.contains(&0) {
        return Err(nonsense());
    }
    git.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    git.read_exact(&mut request).await?;
    let host = match request {
        [5, 1, _, 1] => {
            let mut octets = [0; 4];
            git.read_exact(&mut octets).await?;
            Ipv4Addr::from(octets).to_string()
        }
        [5, 1, _, 4] => {
            let mut octets = [0; 16];
            git.read_exact(&mut octets).await?;
            Ipv6Addr::from(octets).to_string()
        }
        [5, 1, _, 3] => {
            let mut name = vec![0; git.read_u8().await?.into()];
            git.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| nonsense())?
        }
        _ => return Err(nonsense()),
    };
    Ok((host, git.read_u16().await?))
}

fn answer(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_the_repository_may_mean_what_is_private_and_nobody_what_is_link_local() {
        let policy = Policy::at_home("git.internal", 443, &["10.9.0.0/16".parse().unwrap()]);
        for (address, at_home, elsewhere) in [
            ("93.184.216.34", true, true),
            ("10.1.2.3", true, false),
            ("100.64.0.1", true, false),
            ("127.0.0.1", true, false),
            ("::1", true, false),
            ("fd12::1", true, false),
            ("10.9.0.1", false, false),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("0.0.0.0", false, false),
            ("224.0.0.1", false, false),
            ("::", false, false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(
                (policy.allows(address, true), policy.allows(address, false)),
                (at_home, elsewhere),
                "{address}"
            );
        }
    }
}
