//! poe, the runner of connectors' own tasks: always through uv, at the pinned version.

use std::time::Duration;

use anyhow::{Context, Result};
use camino::Utf8Path;
use semver::Version;
use xshell::{Shell, cmd};

use super::process::Program;

/// The first time uv fetches it.
const QUESTION: Duration = Duration::from_secs(120);

/// Asks the pinned poe for its version, which shows that it can be had and runs.
pub fn version(uv: &Utf8Path, pinned: &Version) -> Result<String> {
    let shell = Shell::new().context("open a shell")?;
    let package = format!("poethepoet=={pinned}");
    let poe = cmd!(
        shell,
        "{uv} --quiet tool run --from {package} poe --version"
    );
    let printed = Program::from(poe).limit(QUESTION).read()?;
    Ok(printed.rsplit(' ').next().unwrap_or(&printed).to_owned())
}
