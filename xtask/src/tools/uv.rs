//! uv: found on PATH, or fetched once at the pinned version through pip.

use std::time::Duration;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use semver::Version;
use xshell::{Shell, cmd};

use super::process::{self, Finished, Program};
use crate::model::{platform::Platform, problem::Problem, target::Target};

const QUESTION: Duration = Duration::from_secs(20);
/// Fetching some 20 MB, over a slow line and with pip's own retries.
const FETCH: Duration = Duration::from_secs(600);

/// Version of the uv on PATH; None when there is none that works.
pub fn on_path() -> Result<Option<Version>> {
    if !process::installed("uv") {
        return Ok(None);
    }
    let shell = Shell::new().context("open a shell")?;
    let printed = Program::from(cmd!(shell, "uv --version"))
        .limit(QUESTION)
        .finish()?
        .text();
    Ok(parse_version(&printed))
}

/// `uv 0.9.11 (8d8aabb88 2025-11-20)`.
fn parse_version(text: &str) -> Option<Version> {
    Version::parse(text.split_whitespace().nth(1)?).ok()
}

/// The uv for this host: the one on PATH when it is at least `pinned`, else the pinned one from `cache`, fetched
/// when it is not there yet.
pub fn for_host(pinned: &Version, cache: &Utf8Path) -> Result<Utf8PathBuf> {
    if on_path()?.is_some_and(|version| version >= *pinned) {
        return Ok("uv".into());
    }
    let directory = cache.join(format!("uv-{pinned}-host"));
    fetch(pinned, &directory, &[])?;
    Ok(directory.join("bin/uv"))
}

/// What the package index offers today for `requirements` (PEP 508) on `target`: a list with hashes.
pub fn resolve(uv: &Utf8Path, requirements: &[String], target: Target) -> Result<String> {
    let shell = Shell::new().context("open a shell")?;
    let (python, platform) = (target.python.to_string(), target.uv_platform());
    let options = [
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--generate-hashes",
        "--only-binary=:all:",
    ];
    let compile = cmd!(
        shell,
        "{uv} pip compile {options...} --python-version {python} --python-platform {platform} -"
    );
    let resolved = Program::from(compile)
        .input(requirements.join("\n"))
        .limit(FETCH)
        .output()?;
    Ok(resolved.text())
}

/// The directory that holds the pinned `uv` for containers of `platform`, fetched into `cache` when it is not
/// there yet. What runs inside a build does not depend on what the host happens to have.
pub fn for_containers(
    pinned: &Version,
    platform: Platform,
    cache: &Utf8Path,
) -> Result<Utf8PathBuf> {
    let directory = containers_directory(pinned, platform, cache);
    let tag = format!("manylinux2014_{}", platform.machine());
    fetch(
        pinned,
        directory.parent().unwrap_or(&directory),
        &["--platform", &tag],
    )?;
    Ok(directory)
}

/// Where [`for_containers`] puts it.
pub fn containers_directory(pinned: &Version, platform: Platform, cache: &Utf8Path) -> Utf8PathBuf {
    cache
        .join(format!("uv-{pinned}-{}", platform.architecture()))
        .join("bin")
}

/// Installs the wheel of uv into `directory`, all or nothing.
fn fetch(pinned: &Version, directory: &Utf8Path, platform: &[&str]) -> Result<()> {
    if directory.join("bin/uv").is_file() {
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
    let requirement = format!("uv=={pinned}");
    let shell = Shell::new().context("open a shell")?;
    let pip = cmd!(
        shell,
        "python3 -m pip install --quiet --no-deps --no-compile --only-binary=:all: --target {target} {platform...} {requirement}"
    );
    let finished = Program::from(pip).limit(FETCH).finish()?;
    if !finished.status.success() {
        return Err(no_uv(pinned, &finished).into());
    }
    // Another process may have been faster; its copy is as good.
    if let Err(error) = std::fs::rename(target, directory)
        && !directory.join("bin/uv").is_file()
    {
        return Err(error).with_context(|| format!("move uv to {directory}"));
    }
    Ok(())
}

fn no_uv(pinned: &Version, finished: &Finished) -> Problem {
    let problem = Problem::environment(format!(
        "uv {pinned} can't be fetched: {}",
        finished.error()
    ));
    problem.help(if finished.tail().contains("No module named pip") {
        "install pip (on Debian and Ubuntu: apt-get install python3-pip), or uv itself"
    } else {
        "pip takes its package index, proxy and CA bundle from its own configuration: see `pip config list`"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_uv_prints_them() {
        for (text, expected) in [
            (
                "uv 0.9.11 (8d8aabb88 2025-11-20)\n",
                Some(Version::new(0, 9, 11)),
            ),
            ("uv 0.13.9", Some(Version::new(0, 13, 9))),
            ("uv", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }
}
