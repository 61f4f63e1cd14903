//! `ci`: everything that has to pass before a change is merged.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use super::Context;
use crate::{
    model::problem::Exit,
    tools::{process::Program, uv, work::joined, workflow_lint},
};

/// Of each check: nothing hangs for ever, and a machine of half the usual speed is not cut off.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Formatting, lints of code and workflows, and every test; those that need an engine get the repository's own,
/// which is taken down again when it was not up before.
pub fn run(context: &Context) -> Result<Exit> {
    let shell = Shell::new().context("open a shell")?;
    shell.change_dir(&context.repo.root);
    let tools = &context.resolved.config.tools;
    let uv = uv::for_host(&tools.uv, &context.repo.tools())?;
    let was_up = context.sandbox().is_up();
    let fmt = Program::from(cmd!(shell, "cargo fmt --all --check")).limit(LIMIT);
    let clippy = cmd!(
        shell,
        "cargo clippy --workspace --all-targets --locked -- -D warnings"
    );
    // Most of the tests that need an engine wait for their turn; two of them and one that needs none are to be at work.
    let test = cmd!(
        shell,
        "cargo test --workspace --locked --no-fail-fast -- --test-threads=5"
    );
    let mut quick = [fmt]
        .into_iter()
        .chain(workflow_lint::all(&shell, &uv, tools));
    let mut rust = [clippy, test]
        .into_iter()
        .map(|check| Program::from(check).limit(LIMIT));
    let check = |check: Program| {
        context.report.note(format_args!("$ {}", check.line()));
        check.pass_through()
    };
    quick.try_for_each(check)?;
    let checked = thread::scope(|scope| {
        // Meanwhile, as rustc leaves a core idle for long; the tests wait for it, and say what they lack.
        let sandbox = scope.spawn(|| context.sandbox().up(context.report));
        let checked = rust.try_for_each(check);
        if let Err(error) = joined(sandbox) {
            context.report.note(format_args!("{error:#}"));
        }
        checked
    });
    if !was_up {
        context.sandbox().down(context.report)?;
    }
    checked.map(|()| Exit::Success)
}
