//! pip, as the host has it, for fetching pip itself.

use std::time::Duration;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Shell, cmd};

use super::process::Program;

/// As Airbyte's base image pins it.
const VERSION: &str = "24.0";
/// Some 2 MB, over a slow line and with pip's own retries.
const FETCH: Duration = Duration::from_secs(600);

/// A directory to put on PYTHONPATH of a container that has Python but no pip; fetched unless it is there.
pub fn for_containers(directory: &Utf8Path) -> Result<Utf8PathBuf> {
    if !directory.join("pip/__main__.py").is_file() {
        let requirement = format!("pip=={VERSION}");
        let shell = Shell::new().context("open a shell")?;
        let install = cmd!(
            shell,
            "python3 -m pip install --quiet --no-deps --only-binary=:all: --target {directory} {requirement}"
        );
        Program::from(install).limit(FETCH).output()?;
    }
    Ok(directory.to_owned())
}
