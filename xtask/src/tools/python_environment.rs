//! Virtual environments for a connector's own tools, made by uv below target/.

use std::time::Duration;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Shell, cmd};

use super::{
    files::{remove_directory, write, write_program},
    interpreter,
    process::Program,
};
use crate::model::{problem::Problem, target::Interpreter};

/// uv may fetch an interpreter.
const MAKE: Duration = Duration::from_secs(600);
const INSTALL: Duration = Duration::from_secs(300);
/// Airbyte's tasks start by poetry what the lock holds, and have it install that before: here it is.
const POETRY: &str = r#"#!/bin/sh
case "$1" in
run) shift; exec "$@" ;;
install | sync) ;;
*) echo "poetry $1: only run, install and sync are there in this environment" >&2; exit 127 ;;
esac
"#;

/// A virtual environment: `venv` in its directory, and beside it what tools leave behind.
#[derive(Debug, Clone)]
pub struct PythonEnvironment {
    directory: Utf8PathBuf,
}

impl PythonEnvironment {
    /// The one in `directory`, made or not.
    pub fn at(directory: Utf8PathBuf) -> PythonEnvironment {
        PythonEnvironment { directory }
    }

    /// Where the environment itself lies.
    pub fn venv(&self) -> Utf8PathBuf {
        self.directory.join("venv")
    }

    /// The JUnit file that pytest writes.
    pub fn junit(&self) -> Utf8PathBuf {
        self.directory.join("junit.xml")
    }

    /// Makes it anew, empty, for Python `version` such as `3.11`, and says what its interpreter is.
    pub fn make(&self, uv: &Utf8Path, version: &str) -> Result<Interpreter> {
        remove_directory(&self.directory)?;
        let venv = self.venv();
        let shell = Shell::new().context("open a shell")?;
        let make = cmd!(
            shell,
            "{uv} --quiet venv --no-project --no-config --python {version} {venv}"
        );
        let made = Program::from(make).limit(MAKE).finish()?;
        if !made.status.success() {
            return Err(
                Problem::environment(format!("make a Python {version} environment: {}", made.error()))
                    .help(format!("install Python {version} (`uv python install {version}`, pyenv, or the system's packages)"))
                    .into(),
            );
        }
        self.interpreter()
    }

    /// Its interpreter.
    pub fn interpreter(&self) -> Result<Interpreter> {
        interpreter::of_host(&self.venv().join("bin/python"))
    }

    /// Installs exactly what `requirements` name with their hashes, from where they say, and notes `key`.
    pub fn install(&self, uv: &Utf8Path, requirements: &str, key: &str) -> Result<()> {
        let venv = self.venv();
        let list = self.directory.join("requirements.txt");
        write(&list, requirements)?;
        let shell = Shell::new().context("open a shell")?;
        let install = cmd!(
            shell,
            "{uv} --quiet pip install --no-config --python {venv} --no-deps --require-hashes --no-index --requirements {list}"
        );
        Program::from(install).limit(INSTALL).output()?;
        let poetry = venv.join("bin/poetry");
        if !poetry.exists() {
            write_program(&poetry, POETRY)?;
        }
        write(&self.directory.join("key"), key)
    }

    /// Whether it was made whole under this key.
    pub fn is(&self, key: &str) -> bool {
        std::fs::read_to_string(self.directory.join("key")).is_ok_and(|noted| noted == key)
    }

    /// What tools are told by their environment: to use this one, and to leave nothing in the working tree.
    /// `uv` is the one that tasks find, `path` is where Python looks for modules besides.
    pub fn variables(&self, uv: &Utf8Path, path: &[Utf8PathBuf]) -> Result<Vec<(String, String)>> {
        let venv = self.venv();
        let mut programs = vec![venv.join("bin").into_std_path_buf()];
        // A plain name is on PATH as it is.
        let directory = uv.parent().filter(|directory| *directory != "");
        programs.extend(directory.map(|directory| directory.as_std_path().to_owned()));
        programs.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        let programs = std::env::join_paths(programs).context("put the environment on PATH")?;
        let cache = |name: &str| self.directory.join("caches").join(name).into_string();
        let path: Vec<&str> = path.iter().map(|directory| directory.as_str()).collect();
        // pytest takes it apart as a shell would (shlex.split).
        let quoted = |path: &str| format!("'{}'", path.replace('\'', r"'\''"));
        let pytest = format!(
            "{} -o cache_dir={} -o junit_family=xunit1 --junitxml={}",
            std::env::var("PYTEST_ADDOPTS").unwrap_or_default(),
            quoted(&cache("pytest")),
            quoted(self.junit().as_str())
        );
        Ok([
            ("PATH", programs.to_string_lossy().into_owned()),
            ("VIRTUAL_ENV", venv.clone().into_string()),
            ("UV_PROJECT_ENVIRONMENT", venv.into_string()),
            // `uv run` in a task would install again, and write a uv.lock where there is a poetry.lock.
            ("UV_NO_SYNC", "1".to_owned()),
            ("PYTHONPATH", path.join(":")),
            ("PYTHONPYCACHEPREFIX", cache("pycache")),
            // Empty is not set: byte-code may be written there, so that the next run need not compile.
            ("PYTHONDONTWRITEBYTECODE", String::new()),
            ("PYTEST_ADDOPTS", pytest.trim().to_owned()),
            ("RUFF_CACHE_DIR", cache("ruff")),
            // One line a finding, which starts with its place.
            ("RUFF_OUTPUT_FORMAT", "concise".to_owned()),
            ("MYPY_CACHE_DIR", cache("mypy")),
            ("HYPOTHESIS_STORAGE_DIRECTORY", cache("hypothesis")),
            ("COVERAGE_FILE", cache("coverage")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_environment_come_first_then_uv() {
        let environment = PythonEnvironment::at("/environment".into());
        for (uv, expected) in [
            ("/tools/bin/uv", "/environment/venv/bin:/tools/bin:/"),
            ("uv", "/environment/venv/bin:/"),
        ] {
            let variables = environment.variables(uv.into(), &["/c".into(), "/c/src".into()]);
            let variables = variables.unwrap();
            let of = |name: &str| {
                let found = variables.iter().find(|(known, _)| known == name);
                found.unwrap().1.clone()
            };
            assert!(of("PATH").starts_with(expected), "{}", of("PATH"));
            assert_eq!(of("PYTHONPATH"), "/c:/c/src");
            for cache in ["PYTHONPYCACHEPREFIX", "RUFF_CACHE_DIR", "COVERAGE_FILE"] {
                assert!(of(cache).starts_with("/environment/caches/"));
            }
        }
    }

    #[test]
    fn pytest_gets_each_path_as_one_word() {
        let environment = PythonEnvironment::at("/a b/it's".into());
        let variables = environment.variables("uv".into(), &[]).unwrap();
        let mut variables = variables.into_iter();
        let (_, options) = variables
            .find(|(name, _)| name == "PYTEST_ADDOPTS")
            .unwrap();
        let shell = Shell::new().unwrap();
        let script = format!("printf '%s\n' {options}");
        let words = cmd!(shell, "sh -c {script}").read().unwrap();
        let ours = "-o\ncache_dir=/a b/it's/caches/pytest\n-o\njunit_family=xunit1\n--junitxml=/a b/it's/junit.xml";
        assert!(words.ends_with(ours), "{words}");
    }
}
