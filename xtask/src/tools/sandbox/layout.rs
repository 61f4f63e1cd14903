//! Where a sandbox keeps its things: all of it under target/sandbox of its repository.

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

/// The kernel's limit for the path of a unix socket (`sun_path`, 108 bytes with its final NUL).
const SOCKET_LIMIT: usize = 107;
/// Longest path of a socket below the runtime directory: containerd adds `.ttrpc` to its own, and dockerd makes
/// `exec/libnetwork/` with 64 hexadecimal digits at most shortened to 12.
const LONGEST_SOCKET: &str = "/containerd/containerd.sock.ttrpc";

/// The directories and names of one repository's sandbox.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `target/sandbox` of the repository, absolute, without symbolic links.
    pub root: Utf8PathBuf,
    /// Sockets, pid files and what does not outlive the engine. Below `root`, or in /run where the clone lies too
    /// deep for the path of a socket.
    pub run: Utf8PathBuf,
    /// Differs for every repository of this machine: names and numbers are derived from it.
    pub identity: u64,
}

impl Layout {
    /// The layout for the repository at `repository`, whose target directory need not exist yet.
    pub fn new(repository: &Utf8Path) -> Layout {
        let repository = repository
            .canonicalize_utf8()
            .unwrap_or_else(|_| repository.to_owned());
        Layout::at(repository.join("target/sandbox"))
    }

    fn at(root: Utf8PathBuf) -> Layout {
        let identity = hash(&[root.as_str()]);
        let near = root.join("run");
        let run = if near.as_str().len() + LONGEST_SOCKET.len() <= SOCKET_LIMIT {
            near
        } else {
            Utf8PathBuf::from(format!("/run/xtask-sandbox-{identity:016x}"))
        };
        Layout {
            root,
            run,
            identity,
        }
    }

    /// Address of the engine, as DOCKER_HOST takes it.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.docker_socket())
    }

    /// Where dockerd listens; no longer than the kernel allows, wherever the clone lies.
    pub fn docker_socket(&self) -> Utf8PathBuf {
        self.run.join("docker.sock")
    }

    /// Where containerd listens; shims of containers have it on their command line.
    pub fn containerd_socket(&self) -> Utf8PathBuf {
        self.run.join("containerd/containerd.sock")
    }

    /// A file or directory directly below the root.
    pub fn file(&self, name: &str) -> Utf8PathBuf {
        self.root.join(name)
    }

    /// Makes the directories that everything else expects.
    pub fn create(&self) -> Result<()> {
        for directory in [&self.root, &self.run, &self.file("log"), &self.file("tmp")] {
            fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
        }
        Ok(())
    }
}

/// FNV-1a over the texts, each ended by a NUL: the same on every machine and with every compiler.
pub fn hash(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_fit_however_deep_the_clone_lies() {
        for (depth, near) in [(1, true), (5, true), (8, false), (40, false)] {
            let root = Utf8PathBuf::from(format!("{}/target/sandbox", "/directory".repeat(depth)));
            let layout = Layout::at(root.clone());
            assert_eq!(layout.run.starts_with(&root), near, "{depth}");
            assert!(layout.docker_socket().as_str().len() <= SOCKET_LIMIT);
            assert!(layout.containerd_socket().as_str().len() + ".ttrpc".len() <= SOCKET_LIMIT);
        }
    }

    #[test]
    fn clones_differ_and_a_clone_stays_itself() {
        let one = Layout::at("/a/target/sandbox".into());
        assert_eq!(
            one.identity,
            Layout::at("/a/target/sandbox".into()).identity
        );
        assert_ne!(
            one.identity,
            Layout::at("/b/target/sandbox".into()).identity
        );
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
