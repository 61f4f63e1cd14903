//! `cargo xtask`: build, test and publish the connectors of this repository. See ARCHITECTURE.md.

mod commands;
mod flags;
mod model;
mod plan;
mod repo;
mod report;
mod tools;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let flags = flags::Xtask::parse();
    let report = report::Report::new();
    let done = tools::process::watch_interrupts().and_then(|()| commands::run(flags, &report));
    let exit = done.unwrap_or_else(|error| {
        report.error(&error);
        report::exit_of(&error)
    });
    ExitCode::from(exit.code())
}
