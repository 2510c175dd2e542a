//! Who is calling: the peer of the connection, or whom trusted proxies say that they forward for.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header};
use ipnet::IpNet;

/// How many entries of a list are looked at, from its end. The rest was written by the caller.
const ENTRIES: usize = 32;

/// The networks whose proxies are believed. Clones share nothing; it is small.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl TrustedProxies {
    /// Reads networks such as `10.0.0.0/8`, or single addresses.
    ///
    /// # Errors
    /// One of them is none; it is named.
    pub fn parse(networks: &[String]) -> Result<Self, String> {
        let read = |text: &String| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| format!("`{text}` is no network such as `10.0.0.0/8`"))
        };
        networks.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns who is calling: the last address of the way here that is no trusted proxy's.
    pub fn client(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.0.ip().to_canonical();
        // Each proxy adds whom it forwards for at the end; what an untrusted one says is not read any more.
        let mut said = forwarded(headers).into_iter().rev().take(ENTRIES);
        while self.trusts(client) {
            match said.next() {
                Some(Some(address)) => client = address,
                // A proxy that hides whom it forwards for, or the beginning of the list.
                Some(None) | None => break,
            }
        }
        client
    }
}

/// The addresses of `Forwarded` (RFC 7239), or of `X-Forwarded-For` where there is none; `None` for what is no address.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let values = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(|entry| entry.trim().to_owned()).collect()
    };
    let standard = values(header::FORWARDED.as_str());
    if standard.is_empty() {
        return values("x-forwarded-for").iter().map(|entry| address(entry)).collect();
    }
    let node = |element: &String| {
        element.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| address(value.trim().trim_matches('"')))?
        })
    };
    standard.iter().map(node).collect()
}

/// Reads an address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn client(trusted: &[&str], peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted: Vec<_> = trusted.iter().map(|&text| text.to_owned()).collect();
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let peer = Peer(SocketAddr::new(peer.parse().unwrap(), 1));
        TrustedProxies::parse(&trusted).unwrap().client(peer, &headers).to_string()
    }

    #[test]
    fn what_an_untrusted_caller_says_of_itself_is_not_believed() {
        let forged = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")];
        assert_eq!(client(&[], "192.0.2.9", &forged), "192.0.2.9");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.9", &forged), "192.0.2.9");
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxys_is_the_client() {
        let list = [("x-forwarded-for", "1.1.1.1, 198.51.100.7, 10.0.0.2")];
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &list), "198.51.100.7");
        assert_eq!(client(&["10.0.0.1"], "10.0.0.1", &list), "10.0.0.2");
        let standard = [("forwarded", "for=\"[2001:db8::7]:4711\";proto=https, For=10.0.0.2;by=x")];
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &standard), "2001:db8::7");
        let hidden = [("forwarded", "for=_hidden")];
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &hidden), "10.0.0.1");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[("x-forwarded-for", "nonsense, , x")]), "10.0.0.1");
    }

    #[test]
    fn a_list_without_end_is_not_read_to_its_beginning() {
        let list = format!("198.51.100.1{}", ", 10.0.0.3".repeat(1_000));
        assert_eq!(client(&["10.0.0.0/8"], "::ffff:10.0.0.1", &[("x-forwarded-for", &list)]), "10.0.0.3");
    }

    #[test]
    fn a_network_that_is_none_is_named() {
        assert!(TrustedProxies::parse(&["10.0.0.0/99".to_owned()]).unwrap_err().contains("10.0.0.0/99"));
    }
}
