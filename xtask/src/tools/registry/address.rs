//! Where a registry's API is.

/// Whether this names Docker Hub, whose API lives on another host.
pub fn is_docker_hub(registry: &str) -> bool {
    matches!(
        registry,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

/// The names of this host.
pub const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whether the registry (host, with or without port) is on this host; such a one speaks plain HTTP, as docker has it.
pub fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    LOOPBACK.contains(&host)
}

/// The base address of a registry's API.
pub fn base(registry: &str) -> String {
    if is_docker_hub(registry) {
        "https://registry-1.docker.io".to_owned()
    } else if is_loopback(registry) {
        format!("http://{registry}")
    } else {
        format!("https://{registry}")
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
            assert_eq!(base(registry), expected, "{registry}");
        }
    }
}
