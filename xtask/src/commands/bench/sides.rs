//! One run of one side, timed.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::bed::Bed;
use crate::{
    model::{
        connector::{Connector, ConnectorName},
        image::ImageRef,
        platform::Platform,
        problem::Problem,
    },
    plan::{
        bench::{
            events,
            figures::{Phase, Run},
            old_flow::{OldFlow, Step},
        },
        build::base_image,
        published,
    },
    tools::{
        process::{self, Program},
        registry::Pushed,
        retry::{self, Next},
    },
};

/// A timed run and the images it left in the engine.
pub struct Timed {
    pub run: Run,
    pub images: Vec<ImageRef>,
}

/// A timed publish and what came of it.
pub struct TimedPublish {
    pub timed: Timed,
    /// Each failure with its connector.
    pub failed: Vec<String>,
    pub pushed: Pushed,
}

/// What `connector publish --json` prints, as far as it is used here.
#[derive(Deserialize)]
struct Published {
    /// Directory of the run's record.
    record: Utf8PathBuf,
    connectors: Vec<PublishedConnector>,
}

#[derive(Deserialize)]
struct PublishedConnector {
    connector: ConnectorName,
    image: ImageRef,
    error: Option<String>,
}

/// This program, for several connectors in one call.
pub fn ours(bed: &Bed, registry: &str, connectors: &[&str]) -> Result<Timed> {
    whole(timed_publish(bed.publish(registry, connectors)?)?)
}

/// The same where no engine answers: what is there already needs none, and nothing can be pulled or built.
pub fn ours_without_engine(bed: &Bed, registry: &str, connectors: &[&str]) -> Result<Timed> {
    let program = bed.publish(registry, connectors)?;
    whole(timed_publish(
        program.env("DOCKER_HOST", "unix:///nowhere/docker.sock"),
    )?)
}

/// A publish that nothing failed in.
fn whole(publish: TimedPublish) -> Result<Timed> {
    match publish.failed.first() {
        None => Ok(publish.timed),
        Some(failure) => anyhow::bail!("publish {failure}"),
    }
}

/// A publish in which connectors may fail.
pub fn timed_publish(program: Program) -> Result<TimedPublish> {
    let start = Instant::now();
    let finished = program.finish()?;
    let value = start.elapsed().as_secs_f64();
    // Without results no connector was come to.
    let finished = match finished.stdout.is_empty() {
        true => finished.success()?,
        false => finished,
    };
    let published: Published =
        serde_json::from_slice(&finished.stdout).context("read what was published")?;
    let events = published.record.join("events.jsonl");
    let events = fs::read_to_string(&events).with_context(|| format!("read {events}"))?;
    let connectors = &published.connectors;
    let failed = connectors.iter().filter_map(|one| {
        let error = one.error.as_ref()?;
        Some(format!("{}: {error}", one.connector))
    });
    let pushed = connectors.iter().filter_map(|one| {
        let log = published
            .record
            .join(one.connector.as_str())
            .join("push.log");
        fs::read_to_string(log).ok()?.trim().parse::<Pushed>().ok()
    });
    Ok(TimedPublish {
        failed: failed.collect(),
        pushed: pushed.sum(),
        timed: Timed {
            run: Run {
                value,
                phases: events::phases(&events),
            },
            images: connectors.iter().map(|one| one.image.clone()).collect(),
        },
    })
}

/// The old flow, for one connector after another.
pub fn old_flow(bed: &Bed, registry: &str, connectors: &[&str]) -> Result<Timed> {
    let connectors = connectors
        .iter()
        .map(|name| bed.connector(name))
        .collect::<Result<Vec<_>>>()?;
    let network = bed.network_flags();
    let pip = bed.pip()?;
    let scan = bed.scanner()?;
    let mut timed = Timed {
        run: Run {
            value: 0.0,
            phases: Vec::new(),
        },
        images: Vec::new(),
    };
    for connector in &connectors {
        let image = published::reference(connector, registry).map_err(anyhow::Error::msg)?;
        let flow = OldFlow {
            connector: connector.name.as_str(),
            directory: bed.repo.root.join(&connector.directory).into_string(),
            dockerfile: bed.dockerfile().into_string(),
            pip: pip.to_string(),
            base_image: base(bed, connector)?,
            repository: image.name(),
            version: connector.metadata.version.to_string(),
            native: native(bed)?,
            platforms: &bed.context.resolved.config.platforms,
            network: &network,
            scan: scan.as_deref(),
        };
        for step in flow.steps() {
            let phase = timed_step(bed, &step)?;
            timed.run.value += phase.value;
            timed.run.phases.push(phase);
        }
        timed.images.push(image);
    }
    Ok(timed)
}

/// docker-registry 2.8 writes links in place: who asks for one at that moment gets a 500, with these words where it has
/// a body. Two platforms that share a layer push it at the same time, and BuildKit does not try that again.
const HALF_WRITTEN: &str = "invalid checksum digest format";

fn timed_step(bed: &Bed, step: &Step) -> Result<Phase> {
    let mut start = Instant::now();
    let done = || {
        let done = program(bed, step)?.output();
        done.with_context(|| format!("old flow, {}", step.name))
    };
    if let Err(error) = done() {
        let half_written = format!("{error:#}").contains(HALF_WRITTEN);
        let failed = retry::failed_program(error);
        if !half_written && matches!(failed.next, Next::GiveUp) {
            return Err(failed.error);
        }
        // What was built is in the builder's cache; the attempt that failed does not count.
        start = Instant::now();
        done()?;
    }
    Ok(Phase {
        name: step.name.to_owned(),
        value: start.elapsed().as_secs_f64(),
    })
}

fn program(bed: &Bed, step: &Step) -> Result<Program> {
    let arguments: Vec<&str> = step.arguments.iter().map(String::as_str).collect();
    if step.program == "docker" {
        return bed.engine().docker(&arguments);
    }
    let shell = Shell::new().context("open a shell")?;
    let program = &step.program;
    // The one that is not docker is the scanner.
    let program = Program::from(cmd!(shell, "{program} {arguments...}"))
        .env("GRYPE_DB_AUTO_UPDATE", "false")
        .env("GRYPE_CHECK_FOR_APP_UPDATE", "false");
    let plain = loopback(bed).to_string();
    Ok(program.env("GRYPE_REGISTRY_INSECURE_USE_HTTP", plain))
}

/// Whether the registry is one that docker speaks plain HTTP to.
fn loopback(bed: &Bed) -> bool {
    let registry = &bed.context.resolved.config.registry;
    registry.starts_with("127.0.0.1") || registry.starts_with("localhost")
}

/// Fetches an image for the host's platform, as whoever runs it does.
pub fn pull(bed: &Bed, image: &ImageRef) -> Result<()> {
    let image = image.to_string();
    bed.engine()
        .docker(&["pull", "--quiet", &image])?
        .output()?;
    Ok(())
}

fn base(bed: &Bed, connector: &Connector) -> Result<String> {
    let base = base_image(connector, &bed.context.resolved.config)?;
    Ok(base.used.to_string())
}

/// The platform of the host.
pub fn native(bed: &Bed) -> Result<Platform> {
    let info = bed.engine().info()?;
    Ok(info.native())
}

/// `docker run IMAGE spec` on the host's platform, the image being there.
pub fn start(bed: &Bed, image: &ImageRef) -> Result<Run> {
    let image = image.to_string();
    let arguments = [
        "run",
        "--rm",
        "--network",
        "none",
        "--pull",
        "never",
        &image,
        "spec",
    ];
    let program = bed.engine().docker(&arguments)?;
    let start = Instant::now();
    program.output()?;
    Ok(Run {
        value: start.elapsed().as_secs_f64(),
        phases: Vec::new(),
    })
}

/// `airbyte-cdk image build`, with the old flow's Dockerfile and the flags that this network needs; a `docker` of the
/// bench's own puts those in, since the program takes none.
pub fn peer(bed: &Bed, connector: &str) -> Result<Timed> {
    if !process::installed("airbyte-cdk") {
        return Err(Problem::environment("airbyte-cdk is not on PATH")
            .help("install it, for instance by `uv tool install airbyte-cdk`")
            .into());
    }
    let connector = bed.connector(connector)?;
    let directory = bed.repo.root.join(&connector.directory);
    let shell = Shell::new().context("open a shell")?;
    let (base, dockerfile) = (base(bed, &connector)?, bed.dockerfile());
    let build = cmd!(
        shell,
        "airbyte-cdk image build {directory} --tag bench --dockerfile {dockerfile} --connector-base-image {base}"
    );
    let mut program = Program::from(build).env("PATH", bed.docker_with_flags()?);
    if let Some(host) = &bed.engine().host {
        program = program.env("DOCKER_HOST", host);
    }
    let repository = &connector.metadata.docker_repository;
    let start = Instant::now();
    program.output()?;
    let value = start.elapsed().as_secs_f64();
    let architecture = native(bed)?.architecture();
    let images = ["bench".to_owned(), format!("bench-{architecture}")].map(|tag| {
        format!("{repository}:{tag}")
            .parse()
            .map_err(anyhow::Error::msg)
    });
    Ok(Timed {
        run: Run {
            value,
            phases: Vec::new(),
        },
        images: images.into_iter().collect::<Result<_>>()?,
    })
}
