//! The docker client and the engine behind it.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::{
    docker_login::Login,
    process::{Finished, Program, each_line},
    registry::{Credential, is_docker_hub},
    retry::{self, Policy, SayingClock},
};
use crate::model::{
    image::ImageRef,
    platform::Platform,
    problem::{Exit, Problem},
};

/// The plainest processor that QEMU emulates for arm64 (ARMv8.0, older than any arm64 server): an import of the CDK takes a
/// fifth less time than on the default one, whose newer instructions are slow to emulate.
const EMULATED_CPU: &str = "QEMU_CPU=cortex-a53";

/// `docker run` exits with this when the container could not be started ("docker run reference", exit status).
pub const NOT_STARTED: i32 = 125;

/// Questions to an engine are answered in milliseconds; one that hangs is as good as none.
const QUESTION: Duration = Duration::from_secs(30);
const LOGIN: Duration = Duration::from_secs(60);

/// An engine: docker's own choice (DOCKER_HOST, context), or the one behind a given address.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    /// `unix:///path/docker.sock`; None leaves the choice to the docker client.
    pub host: Option<String>,
    /// The client's configuration once a run has logged in, instead of the user's.
    login: Arc<OnceLock<Login>>,
}

/// Takes a line of output.
pub type Hear = Box<dyn FnMut(&[u8]) + Send>;

/// A run of one command of an image.
pub struct RunWithFiles<'a> {
    pub image: &'a ImageRef,
    pub platform: Platform,
    /// As docker names it: `bridge`, `host`, `none` or one of the engine's own.
    pub network: &'a str,
    pub arguments: &'a [&'a str],
    /// Paths from the top of the image's file system, without a leading slash, and contents.
    pub files: &'a [(&'a str, &'a [u8])],
    /// What it reads from standard input.
    pub input: Vec<u8>,
    /// Hears each line that it prints to standard output, which is not kept.
    pub hear: Hear,
    pub limit: Duration,
}

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    pub version: String,
    /// Platform that its containers run on natively.
    pub platform: Option<Platform>,
    /// Whether images live in containerd's store, which holds several platforms under one name.
    pub containerd_store: bool,
    /// Where it keeps its data, as it sees it.
    pub root: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    server_version: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    docker_root_dir: String,
    driver_status: Option<Vec<(String, String)>>,
}

impl Engine {
    /// Where the engine is, for messages.
    pub fn address(&self) -> String {
        let named = self
            .host
            .clone()
            .or_else(|| std::env::var("DOCKER_HOST").ok());
        named.unwrap_or_else(|| "docker's default address".to_owned())
    }

    /// The engine at an address.
    pub fn at(host: String) -> Engine {
        Engine {
            host: Some(host),
            ..Engine::default()
        }
    }

    /// Gives the client a private configuration for a run that logs in to `registries`.
    pub fn make_private(&self, registries: &[&str]) -> Result<()> {
        // A run does this once; a second configuration would go unused.
        let _ = self.login.set(Login::new(registries)?);
        Ok(())
    }

    /// What DOCKER_CONFIG is for those who share the run's logins; None leaves it as it is.
    pub fn configuration(&self) -> Option<&Path> {
        self.login.get().map(Login::directory)
    }

    /// `docker ARGS` against this engine.
    pub fn docker(&self, args: &[&str]) -> Result<Program> {
        let shell = Shell::new().context("open a shell")?;
        let mut cmd = cmd!(shell, "docker {args...}");
        if let Some(host) = &self.host {
            cmd = cmd.env("DOCKER_HOST", host).env_remove("DOCKER_CONTEXT");
        }
        if let Some(directory) = self.configuration() {
            cmd = cmd.env("DOCKER_CONFIG", directory);
        }
        Ok(Program::from(cmd))
    }

    /// `docker login`, into the private directory and with the password on standard input.
    ///
    /// # Errors
    /// When the registry does not know these credentials, or does not answer.
    pub fn log_in(
        &self,
        registry: &str,
        credential: &Credential,
        policy: &Policy,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<()> {
        let Credential::Basic { username, password } = credential else {
            return Ok(());
        };
        let mut words = vec!["login", "--username", username, "--password-stdin"];
        // Docker Hub is what docker takes when no other is named.
        words.extend(Some(registry).filter(|registry| !is_docker_hub(registry)));
        let what = format!("log in to {registry}");
        let clock = SayingClock::new(&what, say);
        let login = || {
            let program = self.docker(&words)?.limit(LOGIN).input(password.as_str());
            program.output()
        };
        retry::retry(policy, &clock, || login().map_err(retry::failed_program))
            .map(drop)
            .context(what)
    }

    /// Asks the engine what it is; an error when there is none or docker is not installed.
    pub fn info(&self) -> Result<EngineInfo> {
        let finished = self
            .docker(&["info", "--format", "{{json .}}"])?
            .limit(QUESTION)
            .finish()?;
        let info: Option<Info> = serde_json::from_slice(&finished.stdout).ok();
        match info {
            Some(info) if finished.status.success() && !info.server_version.is_empty() => {
                Ok(EngineInfo::from(info))
            }
            _ => {
                let last = finished
                    .tail()
                    .lines()
                    .last()
                    .unwrap_or("no answer")
                    .to_owned();
                Err(Problem::new(Exit::Environment, last).into())
            }
        }
    }

    /// The platform that containers run on natively; without an engine that answers, this host's own.
    pub fn native(&self) -> Platform {
        self.info()
            .map_or_else(|_| Platform::host(), |info| info.native())
    }

    /// Runs an image's `spec` without a network. The container is gone afterwards, however it ended.
    pub fn run_spec(
        &self,
        image: &ImageRef,
        platform: Platform,
        limit: Duration,
    ) -> Result<Finished> {
        let image = image.to_string();
        self.run_alone(
            "spec",
            platform,
            &["--pull", "never", &image, "spec"],
            limit,
            |program| program,
        )
    }

    /// Runs code that is not trusted: as a user without rights, without a network and with nothing of this host but
    /// what `streams` has it read from standard input. The image is pulled when it is not there.
    pub fn run_untrusted(
        &self,
        image: &ImageRef,
        platform: Platform,
        command: &[&str],
        limit: Duration,
        streams: impl FnOnce(Program) -> Program,
    ) -> Result<Finished> {
        let image = image.to_string();
        let (entry_point, arguments) = command.split_first().context("a command has a program")?;
        let mut args = vec![
            "--interactive",
            "--user",
            "1000:1000",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--workdir",
            "/tmp",
            "--entrypoint",
            entry_point,
            &image,
        ];
        args.extend(arguments);
        self.run_alone("build", platform, &args, limit, streams)
    }

    /// Runs a command of an image with some files in it. They go in as an archive, so the engine may be anywhere and
    /// nothing of them stays on its host; the container is gone afterwards, however it ended.
    pub fn run_with_files(&self, run: RunWithFiles<'_>) -> Result<Finished> {
        let name = container_name("test");
        let (platform, image) = (run.platform.to_string(), run.image.to_string());
        let mut args = vec!["create", "--interactive", "--name", &name];
        // As of one that runs alone, its output is read.
        args.extend([
            "--log-driver",
            "none",
            "--pull",
            "never",
            "--network",
            run.network,
            "--platform",
            &platform,
            &image,
        ]);
        args.extend(run.arguments);
        let archive = archive(run.files)?;
        let to = format!("{name}:/");
        let finished = self
            .docker(&args)?
            .limit(QUESTION)
            .output()
            .and_then(|_| {
                let copy = self.docker(&["cp", "-", &to])?;
                copy.limit(QUESTION).input(archive).output()
            })
            .and_then(|_| {
                let start = self.docker(&["start", "--attach", "--interactive", &name])?;
                let start = start.limit(run.limit).input(run.input);
                start.output_to(|pipe| each_line(pipe, run.hear)).finish()
            });
        self.remove_container(&name);
        finished
    }

    /// `docker run` without a network, removing the container whatever happens.
    fn run_alone(
        &self,
        purpose: &str,
        platform: Platform,
        arguments: &[&str],
        limit: Duration,
        streams: impl FnOnce(Program) -> Program,
    ) -> Result<Finished> {
        let (name, program) = self.alone(purpose, platform, arguments)?;
        let run = streams(program.limit(limit)).finish();
        // Ending the client does not end a container whose program ignores SIGTERM.
        if !run
            .as_ref()
            .is_ok_and(|finished| finished.timed_out.is_none())
        {
            self.remove_container(&name);
        }
        run
    }

    /// A container without a network that removes itself when it ends: its name, and what starts it.
    pub(super) fn alone(
        &self,
        purpose: &str,
        platform: Platform,
        arguments: &[&str],
    ) -> Result<(String, Program)> {
        let name = container_name(purpose);
        let emulated = (Platform::host(), platform) == (Platform::LinuxAmd64, Platform::LinuxArm64);
        let platform = platform.to_string();
        let mut args = vec!["run", "--rm", "--name", &name, "--network", "none"];
        // Whoever runs it reads its output: the engine would write all of it to a file once more.
        args.extend(["--log-driver", "none", "--platform", &platform]);
        if emulated {
            args.extend(["--env", EMULATED_CPU]);
        }
        args.extend(arguments);
        let program = self.docker(&args)?;
        Ok((name, program))
    }

    pub(super) fn remove_container(&self, name: &str) {
        if let Ok(program) = self.docker(&["rm", "--force", "--volumes", name]) {
            // Nothing is lost when it is gone already.
            let _ = program.finish_after_interrupt();
        }
    }
}

/// A name that no other container of the engine has. Process ids recur where runs in containers share it.
fn container_name(purpose: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("xtask-{purpose}-{now}-{number}")
}

/// The files as a tar archive, readable by whichever user the image has.
fn archive(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o444);
        archive
            .append_data(&mut header, path, *bytes)
            .with_context(|| format!("pack {path}"))?;
    }
    archive.into_inner().context("pack files for a container")
}

impl EngineInfo {
    /// The platform to count as native: this host's own where the engine names none that is known.
    pub fn native(&self) -> Platform {
        self.platform.unwrap_or_else(Platform::host)
    }
}

impl From<Info> for EngineInfo {
    fn from(info: Info) -> EngineInfo {
        let containerd = (
            "driver-type".to_owned(),
            "io.containerd.snapshotter.v1".to_owned(),
        );
        EngineInfo {
            version: info.server_version,
            platform: match info.architecture.as_str() {
                "x86_64" | "amd64" => Some(Platform::LinuxAmd64),
                "aarch64" | "arm64" => Some(Platform::LinuxArm64),
                _ => None,
            },
            containerd_store: info
                .driver_status
                .is_some_and(|status| status.contains(&containerd)),
            root: info.docker_root_dir,
        }
    }
}
