//! docker buildx: builds images for several platforms in one call.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::docker::Engine;
use crate::model::{
    image::Digest,
    platform::Platform,
    problem::{Exit, Problem},
};

/// The oldest buildx that knows everything the Dockerfiles and the exporters need (several `--output`s, 2024-02).
pub const OLDEST: semver::Version = semver::Version::new(0, 13, 0);

const QUESTION: Duration = Duration::from_secs(30);

/// buildx's version; an error when the plugin is missing.
pub fn version(engine: &Engine) -> Result<semver::Version> {
    let finished = engine
        .docker(&["buildx", "version"])?
        .limit(QUESTION)
        .finish()?;
    if !finished.status.success() {
        return Err(Problem::environment("the docker client has no buildx plugin").into());
    }
    parse_version(&finished.text()).with_context(|| {
        format!(
            "`docker buildx version` printed `{}`, which names no version",
            finished.text().trim()
        )
    })
}

/// `github.com/docker/buildx v0.13.1+ds1 …` or `github.com/docker/buildx 0.13.1+ds1-3+b1`.
fn parse_version(text: &str) -> Option<semver::Version> {
    let word = text.split_whitespace().nth(1)?;
    let core = word.trim_start_matches('v').split(['+', '-']).next()?;
    semver::Version::parse(core).ok()
}

/// One of buildx's builders.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspected {
    pub name: String,
    /// `docker` is the engine itself; all others (`docker-container`, `remote`, `kubernetes`) keep no images to run.
    pub driver: String,
    /// Platforms whose programs it can run, natively or emulated.
    pub platforms: Vec<Platform>,
}

/// A builder by its name, or the one in use; an error when there is none, or none that answers.
pub fn inspect(engine: &Engine, name: Option<&str>) -> Result<Inspected> {
    let words: Vec<&str> = ["buildx", "inspect"].into_iter().chain(name).collect();
    let printed = engine.docker(&words)?.limit(QUESTION).read()?;
    Ok(parse_inspected(&printed))
}

fn parse_inspected(text: &str) -> Inspected {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default().trim().to_owned()
    };
    Inspected {
        name: value("Name:"),
        driver: value("Driver:"),
        platforms: parse_platforms(text),
    }
}

/// The line `Platforms: linux/amd64*, linux/arm64`; a star marks those that were asked for by hand.
fn parse_platforms(text: &str) -> Vec<Platform> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Platforms:"));
    let names = line.into_iter().flat_map(|line| line.split(','));
    let mut platforms: Vec<Platform> = names
        .filter_map(|name| name.trim().trim_end_matches('*').parse().ok())
        .collect();
    platforms.sort();
    platforms.dedup();
    platforms
}

/// What a finished build wrote to its metadata file.
#[derive(Debug, Deserialize)]
struct BuildMetadata {
    #[serde(rename = "containerimage.digest")]
    digest: Digest,
}

/// Runs `docker buildx build ARGS` and gives the digest it made. `watch` sees each line of progress.
pub fn build(engine: &Engine, args: &[String], watch: impl FnMut(&str) + Send) -> Result<Digest> {
    let directory = tempfile::tempdir().context("make a temporary directory")?;
    let metadata = directory.path().join("metadata.json");
    let mut all = vec!["buildx", "build"];
    let metadata_flag = format!("--metadata-file={}", metadata.display());
    all.push(&metadata_flag);
    all.extend(args.iter().map(String::as_str));
    run(engine, &all, watch)?;
    let text = std::fs::read(&metadata).context("read the metadata that buildx wrote")?;
    let made: BuildMetadata =
        serde_json::from_slice(&text).context("read the digest that buildx wrote")?;
    Ok(made.digest)
}

/// Runs `docker buildx build ARGS` whose outputs are files.
pub fn export(engine: &Engine, args: &[String], watch: impl FnMut(&str) + Send) -> Result<()> {
    let words = args.iter().map(String::as_str);
    let all: Vec<&str> = ["buildx", "build"].into_iter().chain(words).collect();
    run(engine, &all, watch)
}

fn run(engine: &Engine, words: &[&str], watch: impl FnMut(&str) + Send) -> Result<()> {
    let finished = engine.docker(words)?.finish_watching(watch)?;
    if !finished.status.success() {
        let error = finished.error();
        return Err(explain(&error.message).unwrap_or(error).into());
    }
    Ok(())
}

/// The repository of the scanner that BuildKit runs by itself for an SBOM.
const SCANNER: &str = "docker/buildkit-syft-scanner";

/// A known failure of BuildKit's in words that help; `message` is the whole error.
fn explain(message: &str) -> Option<Problem> {
    let line = |needle: &str| message.lines().rev().find(|line| line.contains(needle));
    if line("no space left on device").is_some() {
        let problem = Problem::new(Exit::Environment, format!("the disk is full\n{message}"));
        return Some(problem.help("`docker system df` shows what the engine holds, `docker builder prune` frees its build cache"));
    }
    if let Some(line) = line("failed to resolve source metadata for") {
        let image = line
            .split("failed to resolve source metadata for ")
            .nth(1)?
            .split(": ")
            .next()?;
        if image.contains(SCANNER) {
            let problem = Problem::environment(format!(
                "--sbom: BuildKit's scanner {image} can't be had\n{message}"
            ));
            return Some(problem.help("set `tools.sbom-generator` to a mirror of it, or leave --sbom out: a publish attaches syft's lists without it"));
        }
        let problem = Problem::failure(format!("base image {image} can't be had\n{message}"));
        return Some(problem.help(
            "check connectorBuildOptions.baseImage in metadata.yaml, the network, and `mirrors` in `cargo xtask config`; \
             with --sandbox base images are made locally",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_docker_and_debian_print_them() {
        for (text, expected) in [
            (
                "github.com/docker/buildx v0.13.1 788433953af10f2a698f5c07611dddce2e08c7a0\n",
                Some((0, 13, 1)),
            ),
            (
                "github.com/docker/buildx 0.13.1+ds1-3+b1 0.13.1+ds1-3+b1\n",
                Some((0, 13, 1)),
            ),
            (
                "github.com/docker/buildx v0.30.0-desktop.1 abc",
                Some((0, 30, 0)),
            ),
            ("buildx", None),
            ("", None),
        ] {
            let expected =
                expected.map(|(major, minor, patch)| semver::Version::new(major, minor, patch));
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn reads_the_builders_platforms() {
        let platforms = parse_platforms(
            "Name:   default\nDriver: docker\n\nNodes:\nName:             default\nStatus:           running\nPlatforms:        linux/amd64, linux/amd64/v2, linux/arm64, linux/386\n",
        );
        assert_eq!(platforms, Platform::ALL);
    }

    #[test]
    fn known_failures_say_the_next_step() {
        for (message, expected) in [
            (
                "x\n    ERROR: failed to solve: write /a: no space left on device",
                "the disk is full",
            ),
            (
                "ERROR: failed to solve: docker.io/airbyte/x:1@sha256:00: failed to resolve source metadata for docker.io/airbyte/x:1@sha256:00: not found",
                "base image docker.io/airbyte/x:1@sha256:00 can't be had",
            ),
        ] {
            assert!(
                explain(message).unwrap().message.starts_with(expected),
                "{message}"
            );
        }
        assert!(explain("ERROR: process did not complete").is_none());
    }
}
