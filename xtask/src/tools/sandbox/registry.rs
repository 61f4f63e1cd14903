//! A registry on the loopback interface.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context, Result};
use serde_json::json;
use xshell::{Shell, cmd};

use super::{
    daemon::{self, Daemon},
    layout::Layout,
};
use crate::{
    model::problem::Problem,
    tools::{files, process::Program},
};

/// Ports below those that the kernel gives out to outgoing connections (from 32768).
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;
const TRIES: u16 = 200;

/// The registry's process, whether it runs or not; it reads the configuration that [`up`] writes.
pub fn daemon(layout: &Layout) -> Daemon {
    let config = layout.file("registry.yml");
    Daemon::new(
        layout,
        "registry",
        &["docker-registry", "serve", config.as_str()],
    )
    // With Go's default a third of its time goes into collecting a heap of a few MB.
    .with(&[("GOGC", "400")])
}

/// `127.0.0.1:PORT` when it runs and answers.
pub fn address(layout: &Layout) -> Option<String> {
    let port = last_port(layout)?;
    let up = daemon(layout).running().is_some() && status(port, "/v2/") == Some(200);
    up.then(|| address_at(port))
}

/// Starts it unless it runs, on the port it had before when that is still free; its address.
pub fn up(layout: &Layout) -> Result<String> {
    if let Some(address) = address(layout) {
        return Ok(address);
    }
    let daemon = daemon(layout);
    daemon.stop()?;
    let port = last_port(layout)
        .into_iter()
        .chain(candidates(layout.identity))
        .find(|port| is_free(*port))
        .ok_or_else(|| Problem::environment("no port is free for the sandbox's registry"))?;
    let config = json!({
        "version": "0.1",
        // The access log stays on: what was asked of a registry is the proof of what was not.
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": layout.file("registry")}, "delete": {"enabled": true}},
        "http": {"addr": address_at(port)},
    });
    files::write(
        &layout.file("registry.yml"),
        &serde_yaml::to_string(&config)?,
    )?;
    files::write(&layout.file("registry.port"), &port.to_string())?;
    daemon.start(|| status(port, "/v2/") == Some(200))?;
    Ok(address_at(port))
}

/// Removes namespaces with all their images, and what then no image holds any more. Nothing is pushed meanwhile.
pub fn forget(layout: &Layout, namespaces: &[String]) -> Result<()> {
    let repositories = layout.file("registry/docker/registry/v2/repositories");
    for namespace in namespaces {
        files::remove_directory(&repositories.join(namespace))?;
    }
    if repositories.exists() {
        let shell = Shell::new().context("open a shell")?;
        let config = layout.file("registry.yml");
        Program::from(cmd!(shell, "docker-registry garbage-collect {config}")).output()?;
    }
    Ok(())
}

/// Whether the registry at `address` holds this manifest (`repository`, then a tag or a digest).
pub fn holds(address: &str, repository: &str, reference: &str) -> bool {
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    port.is_some_and(|port| {
        status(port, &format!("/v2/{repository}/manifests/{reference}")) == Some(200)
    })
}

fn address_at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn last_port(layout: &Layout) -> Option<u16> {
    let text = fs::read_to_string(layout.file("registry.port")).ok()?;
    text.trim().parse().ok()
}

/// Ports to try, starting at one that differs from clone to clone.
fn candidates(identity: u64) -> impl Iterator<Item = u16> {
    let [a, b, ..] = identity.to_le_bytes();
    let start = u16::from_le_bytes([a, b]);
    (0..TRIES).map(move |attempt| FIRST_PORT + start.wrapping_add(attempt) % PORTS)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn status(port: u16, path: &str) -> Option<u16> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, daemon::ANSWER).ok()?;
    stream.set_read_timeout(Some(daemon::ANSWER)).ok()?;
    daemon::get(stream, path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_stay_below_the_ephemeral_ports_and_differ_between_clones() {
        for identity in [0, 7, 0xffff, u64::MAX] {
            assert!(candidates(identity).all(|port| (20_000..32_000).contains(&port)));
        }
        assert_ne!(candidates(1).next(), candidates(2).next());
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
