//! The engine's own bridge: with a bridge of its own an engine leaves docker0, a system engine's, alone.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::layout::Layout;
use crate::{model::problem::Problem, tools::process::Program};

/// How many names and networks are tried before giving up.
const TRIES: u64 = 64;

/// Makes the bridge, or finds the one that an earlier run made, and gives its name.
pub fn up(layout: &Layout) -> Result<String> {
    let name = (0..TRIES)
        .map(|attempt| bridge_name(layout.identity, attempt))
        .find(|name| !exists(name) || is_ours(layout, name))
        .context("every name for a bridge is taken")?;
    if !exists(&name) {
        ip(&["link", "add", "name", &name, "type", "bridge"])?;
    }
    // The alias says whose it is, also after `rm -rf target`.
    ip(&["link", "set", "dev", &name, "alias", &alias(layout)])?;
    if ip(&["-4", "-o", "address", "show", "dev", &name])?.is_empty() {
        let taken = parse_networks(&ip(&["-4", "-o", "address", "show"])?)
            .into_iter()
            .chain(parse_networks(&ip(&[
                "-4", "route", "show", "table", "all",
            ])?))
            .collect::<Vec<_>>();
        let network = choose(layout.identity, &taken).ok_or_else(|| {
            Problem::environment("no private IPv4 network is free for the sandbox's bridge")
        })?;
        let [a, b, c, _] = network.octets();
        ip(&["address", "add", &format!("{a}.{b}.{c}.1/24"), "dev", &name])?;
    }
    ip(&["link", "set", "dev", &name, "up"])?;
    Ok(name)
}

/// Removes every bridge of this sandbox's; the names of those that were there.
pub fn down(layout: &Layout) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in (0..TRIES).map(|attempt| bridge_name(layout.identity, attempt)) {
        if !exists(&name) {
            break;
        }
        if is_ours(layout, &name) {
            ip(&["link", "delete", "dev", &name])?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// At most 15 bytes, as interface names are.
fn bridge_name(identity: u64, attempt: u64) -> String {
    format!(
        "xts{:010x}",
        identity.wrapping_add(attempt) & 0xff_ffff_ffff
    )
}

fn alias(layout: &Layout) -> String {
    // The kernel keeps 255 bytes.
    format!("xtask sandbox {:016x}", layout.identity)
}

fn exists(name: &str) -> bool {
    fs::exists(format!("/sys/class/net/{name}")).unwrap_or(false)
}

/// Ours by its alias; a bridge without one is what a run that was killed has left.
fn is_ours(layout: &Layout, name: &str) -> bool {
    let found = fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).unwrap_or_default();
    found.trim().is_empty() || found.trim() == alias(layout)
}

/// The first private /24 of this sandbox's candidates that overlaps none of `taken`.
fn choose(identity: u64, taken: &[Network]) -> Option<Ipv4Addr> {
    let candidate = |(range, attempt): (u8, u64)| {
        let [a, b, ..] = identity.wrapping_add(attempt).to_le_bytes();
        match range {
            0 => Ipv4Addr::new(10, 128 | b, a, 0),
            1 => Ipv4Addr::new(172, 16 | (b & 15), a, 0),
            _ => Ipv4Addr::new(192, 168, a, 0),
        }
    };
    let candidates = (0..3).flat_map(|range| (0..TRIES).map(move |attempt| (range, attempt)));
    candidates.map(candidate).find(|address| {
        let candidate = Network {
            address: *address,
            length: 24,
        };
        !taken.iter().any(|network| network.overlaps(candidate))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: Ipv4Addr,
    length: u32,
}

impl Network {
    fn overlaps(self, other: Network) -> bool {
        let shared = self.length.min(other.length);
        let start = |network: Network| u64::from(u32::from(network.address)) >> (32 - shared);
        start(self) == start(other)
    }
}

/// Every `a.b.c.d/n` that `ip` printed, and single addresses that are routed to.
fn parse_networks(printed: &str) -> Vec<Network> {
    let network = |word: &str| {
        let (address, length) = word.split_once('/')?;
        let length = length
            .parse()
            .ok()
            .filter(|length| (1..=32).contains(length))?;
        Some(Network {
            address: address.parse().ok()?,
            length,
        })
    };
    printed.split_whitespace().filter_map(network).collect()
}

fn ip(args: &[&str]) -> Result<String> {
    let shell = Shell::new().context("open a shell")?;
    Program::from(cmd!(shell, "ip {args...}")).read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        for (identity, attempt) in [
            (0, 0),
            (u64::MAX, 0),
            (u64::MAX, 1),
            (0x1234_5678_9abc_def0, 63),
        ] {
            assert!(bridge_name(identity, attempt).len() <= 15);
        }
        assert_ne!(bridge_name(7, 0), bridge_name(7, 1));
        assert_ne!(bridge_name(7, 0), bridge_name(9, 0));
    }

    #[test]
    fn a_network_in_use_is_passed_over() {
        for (taken, expected) in [
            ("", "10.128.7.0"),
            (
                "default via 192.168.1.1 dev eth0\n192.168.1.0/24 dev eth0",
                "10.128.7.0",
            ),
            ("3: x inet 10.128.7.1/24 brd 10.128.7.255", "10.128.8.0"),
            ("10.128.7.64/26 dev a\n10.128.8.0/23 dev b", "10.128.10.0"),
            ("10.0.0.0/8 dev vpn", "172.16.7.0"),
        ] {
            assert_eq!(
                choose(7, &parse_networks(taken)),
                Some(expected.parse().unwrap()),
                "{taken}"
            );
        }
        let everything = "10.0.0.0/8 dev vpn\n172.16.0.0/12 dev vpn\n192.168.0.0/16 dev vpn";
        assert_eq!(choose(7, &parse_networks(everything)), None);
    }
}
