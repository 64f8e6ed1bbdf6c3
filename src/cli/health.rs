//! `health`: whether the server of this configuration answers, for container health checks: no curl is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use super::{EXIT_ERROR, remote, say};
use crate::config::{Config, ServerConfig};

pub(super) async fn run(config: &Config) -> ExitCode {
    match remote::is_alive(&format!("http://{}", address(&config.server))).await {
        Ok(()) => {
            say("ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::from(EXIT_ERROR)
        }
    }
}

/// Where this machine reaches the server: at the address it listens on; at loopback, if that is every address.
fn address(server: &ServerConfig) -> String {
    let ip = match server.host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.into(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.into(),
        Ok(ip) => ip,
        Err(_) => return format!("{}:{}", server.host, server.port),
    };
    SocketAddr::new(ip, server.port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_asked_where_it_listens() {
        let mut server = Config::load(None, [], vec![]).expect("the defaults are valid").server;
        for (host, asked) in [
            ("0.0.0.0", "127.0.0.1:3000"),
            ("::", "[::1]:3000"),
            ("192.0.2.7", "192.0.2.7:3000"),
            ("::1", "[::1]:3000"),
            ("localhost", "localhost:3000"),
        ] {
            host.clone_into(&mut server.host);
            assert_eq!(address(&server), asked);
        }
    }
}
