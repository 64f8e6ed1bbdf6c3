//! What pages of other sites must not do with this server through somebody's browser: reach it under a name of their own
//! (DNS rebinding), or send it requests that cost or change something. Programs that are no browsers send none of the headers
//! that are looked at here, and pass.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{Problem, ProblemCode};
use crate::config::ServerConfig;

/// The names that this server goes by.
pub(super) struct OwnHosts {
    /// In lower case.
    names: Vec<String>,
    /// Nobody can make an address point elsewhere, so addresses are as good as names; but one that is bound to loopback has
    /// no other.
    takes_addresses: bool,
}

impl OwnHosts {
    pub(super) fn new(config: &ServerConfig, bound: IpAddr) -> Self {
        let names = config.hosts.iter().chain([&config.host]);
        Self {
            names: names.map(|name| name.trim_end_matches('.').to_lowercase()).collect(),
            takes_addresses: !bound.is_loopback(),
        }
    }

    fn has(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().trim_end_matches('.').to_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if self.names.iter().any(|name| name == bare) {
            return true;
        }
        is_loopback(&host) || (self.takes_addresses && bare.parse::<IpAddr>().is_ok())
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let hosts = request.headers().get_all(header::HOST).iter();
        let mut hosts = hosts.map(|host| host.to_str().unwrap_or_default());
        let target = request.uri().authority().map(Authority::as_str);
        let foreign = hosts.find(|host| !self.has(host)).or(target.filter(|host| !self.has(host)));
        if let Some(foreign) = foreign {
            let foreign: String = foreign.chars().take(100).collect();
            return Err(Problem::new(
                ProblemCode::MisdirectedRequest,
                format!(
                    "This server does not go by the name {foreign:?}. If it should, its operator has to add the name to server.hosts."
                ),
            ));
        }
        if comes_from_elsewhere(request) {
            return Err(Problem::new(
                ProblemCode::CrossSiteRequest,
                "This request was made by a page of another site. Open the server's own page, or ask with a program that is no browser.",
            ));
        }
        Ok(())
    }
}

/// Whether a host, with or without a port, means this machine wherever it is said.
pub(super) fn is_loopback_name(authority: &str) -> bool {
    authority.parse::<Authority>().is_ok_and(|authority| {
        let host = authority.host().trim_end_matches('.').to_lowercase();
        !authority.as_str().contains('@') && is_loopback(&host)
    })
}

/// Of a host in lower case.
fn is_loopback(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Refuses what other pages ask for.
pub(super) async fn refuse(
    State(own): State<Arc<OwnHosts>>,
    request: Request,
    next: Next,
) -> Response {
    match own.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Who made a request, as far as a browser tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The page of this server.
    Own,
    /// The user, by an address or a bookmark.
    User,
    Elsewhere,
    /// No browser, or one that does not tell.
    Untold,
}

impl Origin {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        match (text(header::HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
            (Some("same-origin"), _) => Self::Own,
            (Some("none"), _) => Self::User,
            (Some(_), _) => Self::Elsewhere,
            // Browsers leave Sec-Fetch-Site out where the connection is not encrypted.
            (None, Some(origin)) => {
                let host = text(header::HOST);
                let authority = origin.split_once("://").map(|(_, authority)| authority);
                let is_own = authority.is_some()
                    && authority.map(str::to_lowercase) == host.map(str::to_lowercase);
                if is_own { Self::Own } else { Self::Elsewhere }
            }
            (None, None) => Self::Untold,
        }
    }
}

/// Whether another site's page made the request, and not merely linked to here.
fn comes_from_elsewhere(request: &Request) -> bool {
    let is_link = request.method().is_safe()
        && request.headers().get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    Origin::of(request.headers()) == Origin::Elsewhere && !is_link
}

/// Whether the server's own page made the request.
pub(super) fn is_from_own_page(headers: &HeaderMap) -> bool {
    Origin::of(headers) == Origin::Own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::built_in;

    fn own(bound: &str, hosts: &[&str]) -> OwnHosts {
        let mut config = built_in().server;
        config.hosts = hosts.iter().map(|name| (*name).to_owned()).collect();
        OwnHosts::new(&config, bound.parse().expect("an address"))
    }

    #[test]
    fn loopback_names_and_those_of_the_configuration_are_its_own() {
        let local = own("127.0.0.1", &["Photos.example"]);
        for host in ["localhost", "LOCALHOST:3000", "a.localhost.", "127.0.0.1:1", "[::1]:3000"] {
            assert!(local.has(host), "{host}");
        }
        assert!(local.has("photos.EXAMPLE:80") && local.has("127.8.8.8"));
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "", "a@localhost", "x/"]
        {
            assert!(!local.has(host), "{host}");
        }
        let open = own("0.0.0.0", &[]);
        assert!(open.has("192.168.1.7:3000") && open.has("[fd00::7]") && open.has("localhost"));
        assert!(!open.has("evil.example") && !open.has("192.168.1.7.evil.example"));
    }

    #[test]
    fn browsers_tell_who_asks() {
        let origin = |pairs: &[(&'static str, &'static str)]| {
            let one = |(name, value): &(&'static str, &'static str)| {
                (name.parse().expect("a name"), value.parse().expect("a value"))
            };
            Origin::of(&pairs.iter().map(one).collect())
        };
        assert_eq!(origin(&[("host", "a")]), Origin::Untold);
        assert_eq!(origin(&[("host", "a:1"), ("origin", "http://a:1")]), Origin::Own);
        assert_eq!(origin(&[("host", "a:1"), ("origin", "http://a:2")]), Origin::Elsewhere);
        assert_eq!(origin(&[("host", "a"), ("origin", "null")]), Origin::Elsewhere);
        assert_eq!(origin(&[("origin", "http://a")]), Origin::Elsewhere);
        assert_eq!(origin(&[("sec-fetch-site", "none")]), Origin::User);
        for site in ["same-site", "cross-site", ""] {
            assert_eq!(origin(&[("sec-fetch-site", site)]), Origin::Elsewhere);
        }
        assert_eq!(
            origin(&[("sec-fetch-site", "same-origin"), ("origin", "http://x")]),
            Origin::Own
        );
    }
}
