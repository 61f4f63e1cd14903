//! One file a verb: load, plan, execute, report.

mod config;
mod info;
mod list;

use anyhow::Result;

use crate::{
    flags::{Command, Connector, Xtask},
    model::{config::Resolved, problem::Exit},
    repo::Repo,
    report::Report,
};

/// What every command works with.
pub struct Context<'a> {
    pub repo: Repo,
    pub resolved: Resolved,
    pub report: &'a Report,
}

/// From the command line to the function that does it.
pub fn run(flags: Xtask, report: &Report) -> Result<Exit> {
    let repo = Repo::find(flags.global.directory.as_deref())?;
    let resolved = repo.configuration(&flags.global.settings)?;
    let context = Context {
        repo,
        resolved,
        report,
    };
    match flags.command {
        Command::Connector(Connector::List(flags)) => list::run(&context, &flags),
        Command::Connector(Connector::Info(flags)) => info::run(&context, &flags),
        Command::Config(flags) => config::run(&context, &flags),
    }
}
