//! The Python interpreter of a base image.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use xshell::{Shell, cmd};

use super::{
    docker::Engine,
    process::{Finished, Program},
};
use crate::model::{
    base_package::BasePackage,
    image::ImageRef,
    problem::Problem,
    target::{Interpreter, Libc, PythonVersion, User},
};

/// Pulling a base image of some 200 MB, then starting its Python.
const ASK: Duration = Duration::from_secs(600);
const QUESTION: Duration = Duration::from_secs(30);
const SCRIPT: &str = include_str!("interpreter.py");

/// What the script prints.
#[derive(Serialize, Deserialize)]
struct Answer {
    python: PythonVersion,
    libc: (String, String),
    /// Whether there is a user of this name.
    airbyte: bool,
    installed: Vec<BasePackage>,
}

/// The interpreter of `image` and what is installed for it, as an earlier question told it. `cache` is the directory of
/// answers.
pub fn known(image: &ImageRef, cache: &Utf8Path) -> Option<(Interpreter, Vec<BasePackage>)> {
    // A tag may move: only a digest names one image for ever.
    let path = cache.join(format!("{}.json", image.digest.as_ref()?.hex()));
    let answer: Answer = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    Some((answer.interpreter()?, answer.installed))
}

/// Asks the interpreter of `image` by running it once, on the platform that is native to the engine.
pub fn ask(
    engine: &Engine,
    image: &ImageRef,
    cache: &Utf8Path,
) -> Result<(Interpreter, Vec<BasePackage>)> {
    if let Some(known) = known(image, cache) {
        return Ok(known);
    }
    let name = image.to_string();
    let args = [
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "python",
        &name,
        "-c",
        SCRIPT,
        "installed",
    ];
    let finished = engine.docker(&args)?.limit(ASK).finish()?;
    if !finished.status.success() {
        return Err(no_python(image, &finished).into());
    }
    let unusable = || {
        Problem::failure(format!(
            "the Python of base image {image} is none that connectors can be built for: {}",
            finished.text().trim()
        ))
    };
    let answer: Answer = serde_json::from_slice(&finished.stdout).map_err(|_| unusable())?;
    let interpreter = answer.interpreter().ok_or_else(unusable)?;
    if let Some(digest) = &image.digest {
        fs::create_dir_all(cache).with_context(|| format!("make {cache}"))?;
        let path = cache.join(format!("{}.json", digest.hex()));
        fs::write(&path, serde_json::to_string(&answer)?)
            .with_context(|| format!("write {path}"))?;
    }
    Ok((interpreter, answer.installed))
}

/// Asks an interpreter of this host.
pub fn of_host(python: &Utf8Path) -> Result<Interpreter> {
    let shell = Shell::new().context("open a shell")?;
    let printed = Program::from(cmd!(shell, "{python} -c {SCRIPT}"))
        .limit(QUESTION)
        .read()?;
    let answer: Option<Answer> = serde_json::from_str(&printed).ok();
    answer
        .and_then(|answer| answer.interpreter())
        .with_context(|| {
            format!("{python} is no Python that packages can be chosen for: {printed}")
        })
}

impl Answer {
    fn interpreter(&self) -> Option<Interpreter> {
        let (name, version) = &self.libc;
        let (major, minor) = version.split_once('.')?;
        let version = (major.parse().ok()?, minor.parse().ok()?);
        let libc = match name.as_str() {
            "glibc" => Libc::Glibc(version.0, version.1),
            "musl" => Libc::Musl(version.0, version.1),
            _ => return None,
        };
        Some(Interpreter {
            python: self.python,
            libc,
            user: match self.airbyte {
                true => User::Airbyte,
                false => User::Root,
            },
        })
    }
}

fn no_python(image: &ImageRef, finished: &Finished) -> Problem {
    Problem::failure(format!("base image {image} can't be asked for its Python: {}", finished.error()))
        .help("check connectorBuildOptions.baseImage in metadata.yaml, the network, and `mirrors` in `cargo xtask config`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_interpreter_answers() {
        for (text, expected) in [
            (
                r#"{"python": "3.11.2", "libc": ["glibc", "2.36"], "airbyte": true, "installed": []}"#,
                Some(Libc::Glibc(2, 36)),
            ),
            (
                r#"{"python": "3.11.2", "libc": ["musl", "1.2"], "airbyte": false, "installed": []}"#,
                Some(Libc::Musl(1, 2)),
            ),
            (
                r#"{"python": "3.11.2", "libc": ["", ""], "airbyte": true, "installed": []}"#,
                None,
            ),
        ] {
            let answer: Answer = serde_json::from_str(text).unwrap();
            assert_eq!(
                answer.interpreter().map(|interpreter| interpreter.libc),
                expected,
                "{text}"
            );
        }
        assert!(
            serde_json::from_str::<Answer>(
                r#"{"python": "2.7.18", "libc": ["glibc", "2.17"], "airbyte": true, "installed": []}"#
            )
            .is_err()
        );
    }
}
