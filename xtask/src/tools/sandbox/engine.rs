//! The engine: a containerd and a dockerd with data, sockets and a bridge of their own.

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    daemon::{self, Daemon},
    layout::Layout,
};
use crate::tools::files;

/// containerd first: left to itself, dockerd would use the one of a system engine when there is one.
pub fn daemons(layout: &Layout) -> [Daemon; 2] {
    let containerd = layout.file("containerd.toml");
    let dockerd = layout.file("dockerd.json");
    [
        Daemon::new(
            layout,
            "containerd",
            &["containerd", "--config", containerd.as_str()],
        ),
        Daemon::new(
            layout,
            "dockerd",
            &["dockerd", "--config-file", dockerd.as_str()],
        ),
    ]
}

/// Whether both daemons run and dockerd answers.
pub fn is_up(layout: &Layout) -> bool {
    daemons(layout)
        .iter()
        .all(|daemon| daemon.running().is_some())
        && answers(layout)
}

/// Starts what does not run; `bridge` exists.
pub fn up(layout: &Layout, bridge: &str) -> Result<()> {
    let [containerd, dockerd] = daemons(layout);
    if containerd.running().is_none() || !layout.containerd_socket().exists() {
        // A dockerd whose containerd is gone does not recover.
        dockerd.stop()?;
        containerd.stop()?;
        fs::create_dir_all(layout.run.join("containerd"))
            .context("make containerd's runtime directory")?;
        files::write(&layout.file("containerd.toml"), &containerd_toml(layout)?)?;
        containerd.start(|| layout.containerd_socket().exists())?;
    }
    if dockerd.running().is_none() || !answers(layout) {
        dockerd.stop()?;
        // A pid file that a killed dockerd left keeps the next one from starting when the id is in use again.
        let _ = fs::remove_file(layout.run.join("dockerd.pid"));
        files::write(&layout.file("dockerd.json"), &dockerd_json(layout, bridge)?)?;
        dockerd.start(|| answers(layout))?;
    }
    Ok(())
}

/// Stops both and the shims of containers that a killed containerd left behind; the names of those that ran.
pub fn down(layout: &Layout) -> Result<Vec<&'static str>> {
    let mut stopped = Vec::new();
    for daemon in daemons(layout).iter().rev() {
        if daemon.stop()? {
            stopped.push(daemon.name);
        }
    }
    let socket = layout.containerd_socket();
    let is_shim = |argv: &[String]| {
        let program = argv
            .first()
            .is_some_and(|program| program.contains("containerd-shim"));
        program
            && argv
                .windows(2)
                .any(|pair| pair[0] == "-address" && pair[1] == socket.as_str())
    };
    for shim in daemon::find(is_shim) {
        shim.end("containerd-shim")?;
    }
    Ok(stopped)
}

fn answers(layout: &Layout) -> bool {
    daemon::socket_answers(&layout.docker_socket(), "/_ping")
}

fn containerd_toml(layout: &Layout) -> Result<String> {
    let socket = layout.containerd_socket();
    let config = json!({
        "version": 2,
        "root": layout.file("containerd"),
        "state": layout.run.join("containerd/state"),
        "temp": layout.file("tmp"),
        // Kubernetes' interface: nobody here needs it.
        "disabled_plugins": ["io.containerd.grpc.v1.cri"],
        "grpc": {"address": socket},
        "ttrpc": {"address": format!("{socket}.ttrpc")},
        "debug": {"level": "warn"},
    });
    toml::to_string(&config).context("write containerd's configuration")
}

fn dockerd_json(layout: &Layout, bridge: &str) -> Result<String> {
    let config = json!({
        "hosts": [layout.docker_host()],
        "containerd": layout.containerd_socket(),
        "data-root": layout.file("docker"),
        "exec-root": layout.run.join("docker"),
        "pidfile": layout.run.join("dockerd.pid"),
        // Only containerd's store holds several platforms under one name.
        "features": {"containerd-snapshotter": true},
        "bridge": bridge,
        // The firewall and the routing are the host's: builds use its network, spec checks none.
        "iptables": false,
        "ip6tables": false,
        "ip-forward": false,
        "ip-masq": false,
        "log-level": "warn",
    });
    serde_json::to_string_pretty(&config).context("write dockerd's configuration")
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    #[test]
    fn configurations_name_only_paths_of_the_sandbox() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path())
            .unwrap()
            .join("a \"quoted\" clone");
        fs::create_dir(&root).unwrap();
        let layout = Layout::new(&root);
        let dockerd: serde_json::Value =
            serde_json::from_str(&dockerd_json(&layout, "xts0").unwrap()).unwrap();
        let containerd: toml::Table = containerd_toml(&layout).unwrap().parse().unwrap();
        let ours = |path: &str| {
            path.starts_with(layout.root.as_str()) || path.starts_with(layout.run.as_str())
        };
        for key in ["containerd", "data-root", "exec-root", "pidfile"] {
            assert!(ours(dockerd[key].as_str().unwrap()), "{key}");
        }
        for key in ["root", "state", "temp"] {
            assert!(ours(containerd[key].as_str().unwrap()), "{key}");
        }
        assert_eq!(
            dockerd["containerd"].as_str(),
            containerd["grpc"]["address"].as_str()
        );
        assert_eq!(dockerd["bridge"], "xts0");
    }
}
