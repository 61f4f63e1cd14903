//! `ci`: everything that has to pass before a change is merged.

use std::time::Duration;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use super::Context;
use crate::{model::problem::Exit, tools::process::Program};

/// Well under the limit of the machines that run it.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// Formatting, lints and every test; those that need an engine get the repository's own, which is taken down
/// again when it was not up before.
pub fn run(context: &Context) -> Result<Exit> {
    let shell = Shell::new().context("open a shell")?;
    shell.change_dir(&context.repo.root);
    let was_up = context.sandbox().is_up();
    let checks = [
        cmd!(shell, "cargo fmt --all --check"),
        cmd!(
            shell,
            "cargo clippy --workspace --all-targets --locked -- -D warnings"
        ),
        cmd!(shell, "cargo test --workspace --locked --no-fail-fast"),
    ];
    let checked = checks.into_iter().try_for_each(|check| {
        let program = Program::from(check).limit(LIMIT);
        context.report.note(format_args!("$ {}", program.line()));
        program.pass_through()
    });
    if !was_up {
        context.sandbox().down(context.report)?;
    }
    checked.map(|()| Exit::Success)
}
