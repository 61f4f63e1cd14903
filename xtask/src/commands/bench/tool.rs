//! The cases that measure this tool itself: its start, its questions to git, its memory, its compilation.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde_json::Value;
use xshell::{Shell, cmd};

use super::bed::Bed;
use crate::{
    plan::bench::figures::{Phase, Run},
    tools::{
        files::{remove_directory, remove_file},
        process::Program,
    },
};

/// How many of the crates that take longest to compile are named.
const SLOWEST: usize = 12;
/// What is asked of 600 connectors while memory is watched.
const QUESTIONS: [&[&str]; 4] = [
    &["connector", "list", "--json"],
    &["connector", "list", "--all-changed", "--base", "base"],
    &["connector", "check"],
    &["connector", "check", "--output-format", "json"],
];

/// `cargo xtask connector list` in the repository, everything compiled.
pub fn list(bed: &Bed) -> Result<Run> {
    let shell = Shell::new().context("open a shell")?;
    shell.change_dir(&bed.context.repo.root);
    timed(cmd!(shell, "cargo xtask connector list").into())
}

/// `connector list --all-changed` in the repository at `fleet`.
pub fn list_changed(bed: &Bed, fleet: &Utf8Path) -> Result<Run> {
    timed(changed(bed, fleet)?)
}

fn changed(bed: &Bed, fleet: &Utf8Path) -> Result<Program> {
    bed.xtask_in(
        fleet,
        &["connector", "list", "--all-changed", "--base", "base"],
    )
}

/// The git commands that [`list_changed`] runs, as git's own trace tells them: each with its arguments.
pub fn git_commands(bed: &Bed, fleet: &Utf8Path) -> Result<Vec<Vec<String>>> {
    let trace = bed.directory.join("git-trace.json");
    remove_file(&trace)?;
    changed(bed, fleet)?
        .env("GIT_TRACE2_EVENT", &trace)
        .output()?;
    let text = fs::read_to_string(&trace).with_context(|| format!("read {trace}"))?;
    let commands = text.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        // A slash stands in the id of what git itself started.
        let ours = event["event"] == "start" && !event["sid"].as_str()?.contains('/');
        let words = event["argv"].as_array().filter(|_| ours)?;
        Some(
            words
                .iter()
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect(),
        )
    });
    Ok(commands.collect())
}

/// Git's commands, one after another.
pub fn git_alone(commands: &[Vec<String>]) -> Result<Run> {
    let shell = Shell::new().context("open a shell")?;
    let start = Instant::now();
    for command in commands {
        let (program, arguments) = command.split_first().context("a command has a program")?;
        Program::from(cmd!(shell, "{program} {arguments...}")).finish()?;
    }
    Ok(Run {
        value: start.elapsed().as_secs_f64(),
        phases: Vec::new(),
    })
}

/// The most memory that any of several commands over the repository at `fleet` takes, in megabytes; None where the
/// system doesn't tell.
pub fn memory(bed: &Bed, fleet: &Utf8Path) -> Result<Option<Run>> {
    let mut run = Run {
        value: 0.0,
        phases: Vec::new(),
    };
    for question in QUESTIONS {
        // Findings of a check are no failure here.
        let finished = bed.xtask_in(fleet, question)?.watch_memory().finish()?;
        let Some(peak) = finished.peak_memory else {
            return Ok(None);
        };
        let value = peak as f64 / 1e6;
        run.value = run.value.max(value);
        run.phases.push(Phase {
            name: question.join(" "),
            value,
        });
    }
    Ok(Some(run))
}

/// `cargo build` of this tool with an empty target directory, and its slowest crates.
pub fn compile(bed: &Bed) -> Result<Run> {
    let target = bed.directory.join("target");
    remove_directory(&target)?;
    let shell = Shell::new().context("open a shell")?;
    shell.change_dir(&bed.context.repo.root);
    let build = cmd!(
        shell,
        "cargo build --quiet --locked --package xtask --timings"
    );
    let mut run = timed(Program::from(build).env("CARGO_TARGET_DIR", &target))?;
    run.phases = slowest(&target.join("cargo-timings/cargo-timing.html"))?;
    remove_directory(&target)?;
    Ok(run)
}

/// The crates that took longest, from the data in cargo's page.
fn slowest(page: &Utf8Path) -> Result<Vec<Phase>> {
    let text = fs::read_to_string(page).with_context(|| format!("read {page}"))?;
    let data = text
        .split_once("const UNIT_DATA = ")
        .and_then(|(_, rest)| rest.split_once(";\n"))
        .with_context(|| format!("{page} holds no UNIT_DATA"))?;
    let units: Vec<Value> = serde_json::from_str(data.0).with_context(|| format!("read {page}"))?;
    let mut phases: Vec<Phase> = Vec::new();
    for unit in &units {
        let (Some(name), Some(value)) = (unit["name"].as_str(), unit["duration"].as_f64()) else {
            continue;
        };
        match phases.iter_mut().find(|phase| phase.name == name) {
            Some(phase) => phase.value += value,
            None => phases.push(Phase {
                name: name.to_owned(),
                value,
            }),
        }
    }
    phases.sort_by(|one, other| other.value.total_cmp(&one.value));
    phases.truncate(SLOWEST);
    Ok(phases)
}

fn timed(program: Program) -> Result<Run> {
    let start = Instant::now();
    program.output()?;
    Ok(Run {
        value: start.elapsed().as_secs_f64(),
        phases: Vec::new(),
    })
}
