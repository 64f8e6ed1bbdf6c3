//! Who asks: the address at the other end of the connection, or the one that a trusted proxy says it asks for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

use crate::config::AddressRange;

/// Proxies in a row that are followed.
const HOPS_MAX: usize = 16;

/// The other end of the connection, noted with each of its requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The client's address. X-Forwarded-For is read from its end, which is what our own proxy wrote; further to the left only as
/// long as the address is a proxy's that is trusted too, since everything before that the client may have made up.
pub(super) fn client_address(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[AddressRange],
) -> IpAddr {
    let peer = extensions.get::<Peer>().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0);
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut client = peer.to_canonical();
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let entries = values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.rsplit(','));
    for entry in entries.take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = parse(entry.trim()) else { break };
        client = address.to_canonical();
    }
    client
}

/// Whether a trusted proxy got the request over TLS.
pub(super) fn came_over_tls(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[AddressRange],
) -> bool {
    let peer = extensions.get::<Peer>();
    let trusted = peer.is_some_and(|peer| trusted.iter().any(|range| range.contains(peer.0)));
    trusted && headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
}

/// With or without a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// What counts as one client: one household or machine usually has a whole /64 of IPv6 addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_for_whom_they_ask() {
        let client = |peer: &str, forwarded: &[&str], trusted: &[&str]| {
            let mut extensions = Extensions::new();
            extensions.insert(Peer(peer.parse().expect("an address")));
            let values = forwarded.iter().map(|value| {
                ("x-forwarded-for".parse().expect("a name"), value.parse().expect("a value"))
            });
            let trusted: Vec<AddressRange> =
                trusted.iter().map(|range| range.parse().expect("a range")).collect();
            client_address(&extensions, &values.collect(), &trusted).to_string()
        };
        assert_eq!(client("10.0.0.1", &["1.1.1.1"], &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1"], &["10.0.0.2"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        // What the client itself wrote in front of it does not count.
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        let two = ["6.6.6.6, 1.1.1.1, 10.0.0.2"];
        assert_eq!(client("10.0.0.1", &two, &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, rubbish"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", &["[fd00::1]:80"], &["10.0.0.1"]), "fd00::1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1:5000"], &["10.0.0.1"]), "1.1.1.1");
        assert_eq!(
            client("10.0.0.1", &["10.0.0.9,".repeat(99).as_str()], &["10.0.0.0/8"]).len(),
            8
        );
    }
}
