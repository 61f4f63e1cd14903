//! pip, as the host has it: fetches programs that are published as wheels, pip itself among them.

use std::time::Duration;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use semver::Version;
use xshell::{Shell, cmd};

use super::process::{Finished, Program};
use crate::model::problem::Problem;

/// Fetching some 20 MB, over a slow line and with pip's own retries.
const FETCH: Duration = Duration::from_secs(600);
/// As Airbyte's base image pins it.
const PIP: Version = Version::new(24, 0, 0);

/// A directory to put on PYTHONPATH of a container that has Python but no pip; fetched unless it is there.
pub fn for_containers(directory: &Utf8Path) -> Result<Utf8PathBuf> {
    install(
        "pip",
        &PIP,
        Utf8Path::new("pip/__main__.py"),
        directory,
        &[],
    )?;
    Ok(directory.to_owned())
}

/// Installs the wheel of `package` into `directory`, all or nothing; nothing is done when `program`, a path in it, is
/// there. `platform` are pip's flags that choose a wheel for another machine.
pub fn install(
    package: &str,
    version: &Version,
    program: &Utf8Path,
    directory: &Utf8Path,
    platform: &[&str],
) -> Result<()> {
    if directory.join(program).is_file() {
        return Ok(());
    }
    let parent = directory
        .parent()
        .context("a cache directory has a parent")?;
    std::fs::create_dir_all(parent).with_context(|| format!("make {parent}"))?;
    let partial =
        tempfile::tempdir_in(parent).with_context(|| format!("make a directory in {parent}"))?;
    let target =
        Utf8Path::from_path(partial.path()).context("the cache directory's name is not UTF-8")?;
    let requirement = format!("{package}=={version}");
    let shell = Shell::new().context("open a shell")?;
    let pip = cmd!(
        shell,
        "python3 -m pip install --quiet --no-deps --no-compile --only-binary=:all: --target {target} {platform...} {requirement}"
    );
    let finished = Program::from(pip).limit(FETCH).finish()?;
    if !finished.status.success() {
        return Err(not_fetched(package, version, &finished).into());
    }
    // Another process may have been faster; its copy is as good.
    if let Err(error) = std::fs::rename(target, directory)
        && !directory.join(program).is_file()
    {
        return Err(error).with_context(|| format!("move {package} to {directory}"));
    }
    Ok(())
}

fn not_fetched(package: &str, version: &Version, finished: &Finished) -> Problem {
    let problem = Problem::environment(format!(
        "{package} {version} can't be fetched: {}",
        finished.error()
    ));
    problem.help(if finished.tail().contains("No module named pip") {
        "install pip (on Debian and Ubuntu: apt-get install python3-pip)"
    } else {
        "pip takes its package index, proxy and CA bundle from its own configuration: see `pip config list`"
    })
}
