//! One run of one side, timed.

use std::time::Instant;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use super::bed::{Bed, images};
use crate::{
    model::{connector::Connector, image::ImageRef, platform::Platform, problem::Problem},
    plan::{
        bench::{
            figures::{Phase, Run},
            old_flow::{OldFlow, Step},
        },
        build::base_image,
        published,
    },
    tools::process::{self, Program},
};

/// A timed run and the images it left in the engine.
pub struct Timed {
    pub run: Run,
    pub images: Vec<ImageRef>,
}

/// This program, for several connectors in one call.
pub fn ours(bed: &Bed, registry: &str, connectors: &[&str]) -> Result<Timed> {
    let arguments = [
        &["connector", "build"],
        connectors,
        &["--platform", "all", "--json"],
    ]
    .concat();
    let program = bed.xtask(registry, &arguments)?;
    let start = Instant::now();
    let finished = program.output()?;
    Ok(Timed {
        run: Run {
            value: start.elapsed().as_secs_f64(),
            phases: Vec::new(),
        },
        images: images(&finished.stdout)?,
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
            scan: None,
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

fn timed_step(bed: &Bed, step: &Step) -> Result<Phase> {
    let arguments: Vec<&str> = step.arguments.iter().map(String::as_str).collect();
    let program = if step.program == "docker" {
        bed.engine().docker(&arguments)?
    } else {
        let shell = Shell::new().context("open a shell")?;
        let program = &step.program;
        Program::from(cmd!(shell, "{program} {arguments...}"))
    };
    let start = Instant::now();
    program
        .output()
        .with_context(|| format!("old flow, {}", step.name))?;
    Ok(Phase {
        name: step.name.to_owned(),
        value: start.elapsed().as_secs_f64(),
    })
}

fn base(bed: &Bed, connector: &Connector) -> Result<String> {
    let base = base_image(connector, &bed.context.resolved.config)?;
    Ok(base.used.to_string())
}

fn native(bed: &Bed) -> Result<Platform> {
    let info = bed.engine().info()?;
    Ok(info.platform.unwrap_or_else(Platform::host))
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
