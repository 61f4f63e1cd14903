//! Image registries, by the OCI distribution API.

use std::time::Duration;

use super::http;
use anyhow::{Context, Result};

/// Answers come in well under a second; a registry that needs longer is as good as unreachable.
const QUESTION: Duration = Duration::from_secs(10);

/// The base address of a registry's API: docker.io's lives on another host, a loopback one speaks plain HTTP.
fn address(registry: &str) -> String {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    match host {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        "localhost" | "127.0.0.1" | "[::1]" => format!("http://{registry}"),
        _ => format!("https://{registry}"),
    }
}

/// Asks whether `registry` (host and port) answers; being asked to log in is an answer.
pub fn ping(registry: &str) -> Result<()> {
    let url = format!("{}/v2/", address(registry));
    let status = http::asking(QUESTION)
        .get(&url)
        .call()
        .with_context(|| format!("GET {url}"))?
        .status()
        .as_u16();
    match status {
        200 | 401 => Ok(()),
        _ => anyhow::bail!("GET {url}: answered with status {status}, which no registry does"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_registries_speak_http() {
        for (registry, expected) in [
            ("docker.io", "https://registry-1.docker.io"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("localhost:5000", "http://localhost:5000"),
            ("ghcr.io", "https://ghcr.io"),
            ("registry.example:8443", "https://registry.example:8443"),
        ] {
            assert_eq!(address(registry), expected, "{registry}");
        }
    }
}
