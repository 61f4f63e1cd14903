//! `connector rescan`: asks again about what is published, when the vulnerability database is newer.

use anyhow::Result;

use super::{ScanOutcome, Scans, report};
use crate::{
    commands::{Context, selection},
    flags::Rescan,
    model::{connector::Connector, problem::Exit},
    plan::selection::Pages,
    tools::{
        process::check_interrupted,
        registry::{Credentials, Registries},
        work::each,
    },
};

/// Every connector that is published, or those that are named; nothing is built or pulled. One whose metadata can't be
/// used keeps no other from being asked about.
pub fn run(context: &Context, flags: &Rescan) -> Result<Exit> {
    let fleet = selection::chosen(context, &flags.selection, Pages::Ignore)?;
    let problem = fleet.problem();
    let (connectors, broken) = (fleet.connectors, fleet.broken);
    let say = |line: &str| context.report.note(line);
    let registries = Registries::new(Credentials::gather()?, say);
    let scans = Scans::open(context, &registries)?;
    let parallelism = context.resolved.config.parallelism();
    let scanned = each(&connectors, parallelism, |connector| {
        scans.of_published(connector)
    });
    check_interrupted()?;
    let (mut published, mut outcomes): (Vec<Connector>, Vec<Result<ScanOutcome>>) =
        Default::default();
    let all = connectors.len();
    for (connector, outcome) in connectors.into_iter().zip(scanned) {
        if let Some(outcome) = outcome.transpose() {
            published.push(connector);
            outcomes.push(outcome);
        }
    }
    context.report.note(format_args!(
        "{} of {all} connectors are published",
        published.len()
    ));
    let exit = report(context, flags.output_format, &published, &outcomes, &broken)?;
    let Some(problem) = problem else {
        return Ok(exit);
    };
    context.report.error(&problem.into());
    // Of those nothing is known.
    Ok(exit.max(Exit::Environment))
}
