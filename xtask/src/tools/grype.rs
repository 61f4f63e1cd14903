//! grype: the vulnerability scanner.

use std::time::Duration;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::process::{self, Program};

const QUESTION: Duration = Duration::from_secs(20);

/// Version of the grype on PATH; None when there is none.
pub fn version() -> Result<Option<String>> {
    if !process::installed("grype") {
        return Ok(None);
    }
    let shell = Shell::new().context("open a shell")?;
    let finished = Program::from(cmd!(shell, "grype version -o json"))
        .limit(QUESTION)
        .output()?;
    let printed: serde_json::Value =
        serde_json::from_slice(&finished.stdout).context("read `grype version`")?;
    Ok(printed["version"].as_str().map(str::to_owned))
}
