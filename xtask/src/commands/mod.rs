//! One file a verb: load, plan, execute, report.

mod build;
mod cache;
mod config;
mod doctor;
mod info;
mod list;
mod work;

use anyhow::Result;

use crate::{
    flags::{Command, Connector, Xtask},
    model::{config::Resolved, problem::Exit},
    repo::Repo,
    report::Report,
    tools::docker::Engine,
};

/// What every command works with.
pub struct Context<'a> {
    pub repo: Repo,
    pub resolved: Resolved,
    /// The engine to build and run with; `--sandbox` sets it to the repository's own.
    pub engine: Engine,
    pub report: &'a Report,
}

/// From the command line to the function that does it.
pub fn run(flags: Xtask, report: &Report) -> Result<Exit> {
    let repo = Repo::find(flags.global.directory.as_deref())?;
    let resolved = repo.configuration(&flags.global.settings)?;
    let context = Context {
        repo,
        resolved,
        engine: Engine::default(),
        report,
    };
    match flags.command {
        Command::Connector(Connector::Build(flags)) => build::run(&context, &flags),
        Command::Connector(Connector::List(flags)) => list::run(&context, &flags),
        Command::Connector(Connector::Info(flags)) => info::run(&context, &flags),
        Command::Doctor(flags) => doctor::run(&context, &flags),
        Command::Config(flags) => config::run(&context, &flags),
        Command::Cache(flags) => cache::run(&context, &flags),
    }
}
