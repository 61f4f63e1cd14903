//! poe, the runner of connectors' own tasks: always through uv, at the pinned version.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use camino::Utf8Path;
use semver::Version;
use xshell::{Cmd, Shell, cmd};

use super::process::{Finished, Program};

/// The first time uv fetches it.
const QUESTION: Duration = Duration::from_secs(120);

/// The pinned poe as uv runs it.
#[derive(Debug, Clone, Copy)]
pub struct Poe<'a> {
    pub uv: &'a Utf8Path,
    pub pinned: &'a Version,
}

impl Poe<'_> {
    fn command<'s>(&self, shell: &'s Shell, arguments: &[&str]) -> Cmd<'s> {
        let (uv, package) = (self.uv, format!("poethepoet=={}", self.pinned));
        cmd!(
            shell,
            "{uv} --quiet tool run --from {package} poe {arguments...}"
        )
    }

    /// Asks poe for its version, which shows that it can be had and runs.
    pub fn version(&self) -> Result<String> {
        let shell = Shell::new().context("open a shell")?;
        let poe = self.command(&shell, &["--version"]);
        let printed = Program::from(poe).limit(QUESTION).read()?;
        Ok(printed.rsplit(' ').next().unwrap_or(&printed).to_owned())
    }

    /// The tasks that `directory` defines, by its pyproject.toml, poe_tasks.toml and what they include; the question
    /// is the one that poe's own shell completion asks.
    pub fn tasks(&self, directory: &Utf8Path) -> Result<BTreeSet<String>> {
        let shell = Shell::new().context("open a shell")?;
        shell.change_dir(directory);
        let poe = self.command(&shell, &["_list_tasks"]);
        let printed = Program::from(poe).limit(QUESTION).read()?;
        Ok(printed.split_whitespace().map(str::to_owned).collect())
    }

    /// Runs a task to its end, whatever its status. `variables` are added to the environment; poe itself starts what
    /// the task says in just that environment.
    pub fn run(
        &self,
        directory: &Utf8Path,
        task: &str,
        variables: &[(String, String)],
        limit: Duration,
    ) -> Result<Finished> {
        let shell = Shell::new().context("open a shell")?;
        shell.change_dir(directory);
        let poe = self.command(&shell, &["--no-ansi", "--executor", "simple", task]);
        let program = Program::from(poe.envs(variables.iter().map(|(name, value)| (name, value))));
        program.limit(limit).finish()
    }
}
