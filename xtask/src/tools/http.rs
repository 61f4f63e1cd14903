//! The HTTP client that registries and package indexes are asked with.

use std::time::Duration;

use ureq::{
    Agent,
    config::ConfigBuilder,
    tls::{RootCerts, TlsConfig},
    typestate::AgentScope,
    unversioned::transport::DefaultConnector,
};

use super::resolver::Remembering;

/// Connections that are kept open to one host: as many as talk to it at a time.
pub const CONNECTIONS: usize = 16;

/// A client for questions that are answered within `limit`.
pub fn asking(limit: Duration) -> Agent {
    agent(configured().timeout_global(Some(limit)))
}

/// A client for downloads of any length, that gives up when nothing arrives for `stall`.
pub fn downloading(stall: Duration) -> Agent {
    agent(
        configured()
            .timeout_connect(Some(stall))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
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
        .max_idle_connections(4 * CONNECTIONS)
        .max_idle_connections_per_host(CONNECTIONS)
        .http_status_as_error(false)
        .user_agent(concat!("xtask/", env!("CARGO_PKG_VERSION")))
}
