//! The HTTP client that registries and package indexes are asked with.

use std::{env, time::Duration};

use ureq::{
    Agent, Proxy, ProxyBuilder,
    config::ConfigBuilder,
    tls::{RootCerts, TlsConfig},
    typestate::AgentScope,
    unversioned::transport::DefaultConnector,
};

use super::{registry::LOOPBACK, resolver::Remembering};

/// Connections that are kept open to one host: as many as talk to it at a time.
pub const CONNECTIONS: usize = 16;

/// A client for questions that are answered within `limit`.
pub fn asking(limit: Duration) -> Agent {
    agent(configured().timeout_global(Some(limit)))
}

/// A client for downloads of any length, that gives up when nothing arrives for `stall`.
pub fn downloading(stall: Duration) -> Agent {
    moving(stall, stall)
}

/// A client for uploads of any length, that gives up when nothing leaves for `stall`, or when no answer comes for `stored`
/// after the last byte.
pub fn uploading(stall: Duration, stored: Duration) -> Agent {
    moving(stall, stored)
}

/// A client without a limit for the whole, but for each part: what is sent, and what is waited for.
fn moving(stall: Duration, answer: Duration) -> Agent {
    agent(
        configured()
            .timeout_connect(Some(stall))
            .timeout_recv_response(Some(answer))
            .timeout_per_read(Some(answer))
            .timeout_per_write(Some(stall)),
    )
}

fn agent(settings: ConfigBuilder<AgentScope>) -> Agent {
    Agent::with_parts(
        settings.build(),
        DefaultConnector::default(),
        Remembering::system(),
    )
}

/// Trusts what this host trusts and takes its proxy from the environment; every status is an answer.
fn configured() -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy())
        .max_idle_connections(4 * CONNECTIONS)
        .max_idle_connections_per_host(CONNECTIONS)
        .http_status_as_error(false)
        .user_agent(concat!("xtask/", env!("CARGO_PKG_VERSION")))
}

/// The environment's proxy.
fn proxy() -> Option<Proxy> {
    let mut no_proxy = ["NO_PROXY", "no_proxy"].into_iter();
    let no_proxy = no_proxy.find_map(|name| env::var(name).ok());
    Proxy::try_from_env().map(|proxy| for_others(proxy, &no_proxy.unwrap_or_default()))
}

/// A proxy for all but this host and what the text of NO_PROXY names, which ureq would take with the spaces in it.
fn for_others(proxy: Proxy, no_proxy: &str) -> Proxy {
    let mut builder = Proxy::builder(proxy.protocol())
        .host(proxy.host())
        .port(proxy.port())
        .resolve_target(proxy.resolve_target());
    if let Some(username) = proxy.username() {
        builder = builder.username(username);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    let named = no_proxy.split(',').map(str::trim).chain(LOOPBACK);
    let builder = named.fold(builder, ProxyBuilder::no_proxy);
    builder.build().unwrap_or(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_for_other_hosts_than_this_one_and_those_that_are_named() {
        let proxy = Proxy::new("http://me:p%40ss@proxy.example:3128").unwrap();
        let proxy = for_others(proxy, "a.example, .b.example");
        let parts = (
            proxy.host(),
            proxy.port(),
            proxy.username(),
            proxy.password(),
        );
        assert_eq!(parts, ("proxy.example", 3128, Some("me"), Some("p@ss")));
        for (address, direct) in [
            ("http://127.0.0.1:5000/v2/", true),
            ("http://localhost:5000/v2/", true),
            ("http://[::1]:5000/v2/", true),
            ("https://a.example/", true),
            ("https://x.b.example/", true),
            ("https://ghcr.io/v2/", false),
            ("https://127.0.0.1.example/", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(proxy.is_no_proxy(&address), direct, "{address}");
        }
    }
}
