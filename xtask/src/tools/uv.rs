//! uv: found on PATH, or fetched once at the pinned version through pip.

use std::time::Duration;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use semver::Version;
use xshell::{Shell, cmd};

use super::{
    pip,
    process::{self, Program},
    retry::{self, Failed, Policy, SayingClock},
};
use crate::model::{config::Packages, platform::Platform, problem::Problem, target::Target};

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

/// Uploads a file to an index; the same bytes are not sent again. The token is in UV_PUBLISH_TOKEN, which uv reads
/// by itself. uv tries an upload once: `say` hears of each repetition.
pub fn publish(
    uv: &Utf8Path,
    file: &Utf8Path,
    index: &Packages,
    say: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let shell = Shell::new().context("open a shell")?;
    // Not below a pyproject.toml, whose indexes would count.
    shell.change_dir(file.parent().context("a file has a directory")?);
    // An empty address leaves the choice to uv.
    let named = |flag, address: &str| match address {
        "" => Vec::new(),
        _ => vec![flag, address.to_owned()],
    };
    let to = named("--publish-url".to_owned(), &index.upload);
    let check = named("--check-url".to_owned(), &index.simple);
    let (to, check) = (&to, &check);
    let what = format!("upload {}", file.file_name().unwrap_or_default());
    let clock = SayingClock::new(&what, say);
    retry::retry(&Policy::NETWORK, &clock, || {
        let publish = cmd!(
            shell,
            "{uv} publish --no-progress --trusted-publishing never {to...} {check...} {file}"
        );
        let finished = Program::from(publish).limit(FETCH).finish();
        let finished = finished.map_err(Failed::for_good)?;
        if finished.status.success() {
            return Ok(());
        }
        Err(upload_failure(finished.error()))
    })
}

/// What `uv publish` 0.13 printed when it failed, by whether it may go better next time.
fn upload_failure(problem: Problem) -> Failed {
    let message = problem.message.clone();
    let status = message
        .split("status code ")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok());
    let refused = matches!(status, Some(401 | 403)) || message.contains("Missing credentials");
    if refused {
        Failed::for_good(
            problem.help("UV_PUBLISH_TOKEN must hold a token that may upload this project"),
        )
    } else if status.map_or(message.contains("Failed to send POST"), retry::is_transient) {
        Failed::for_now(problem)
    } else {
        Failed::for_good(problem)
    }
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
    pip::install("uv", pinned, Utf8Path::new("bin/uv"), directory, platform)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::retry::Next;

    #[test]
    fn an_upload_is_tried_again_when_the_index_or_the_line_is_at_fault() {
        let again = Next::Again(Duration::ZERO);
        let server = |status: &str| {
            format!("  cause: Server returned status code {status}. Server says: 200")
        };
        for (printed, next, help) in [
            (server("503 Service Unavailable"), again, false),
            (server("429 Too Many Requests"), again, false),
            (
                "cause: Failed to send POST request\ncause: connection reset".to_owned(),
                again,
                false,
            ),
            (server("403 Forbidden"), Next::GiveUp, true),
            (
                "cause: Failed to send POST request\ncause: Missing credentials for: x".to_owned(),
                Next::GiveUp,
                true,
            ),
            (server("400 Bad Request"), Next::GiveUp, false),
            ("error: unexpected argument".to_owned(), Next::GiveUp, false),
        ] {
            let failed = upload_failure(Problem::failure(printed.as_str()));
            let problem = failed.error.downcast_ref::<Problem>().unwrap();
            assert_eq!(
                (failed.next, problem.help.is_some()),
                (next, help),
                "{printed}"
            );
        }
    }

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
