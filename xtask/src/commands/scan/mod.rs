//! `connector scan`: builds images and tells what is vulnerable in them.

mod catalog;
mod rescan;
mod session;

use anyhow::Result;
use camino::Utf8Path;
use serde_json::json;

pub use self::{
    rescan::run as rescan,
    session::{ScanOutcome, Scans},
};

use super::{
    Context, doctor,
    image::Builder,
    planner::{Ask, Planner},
    selection,
};
use crate::{
    flags::{Scan, ScanFormat},
    model::{
        config::OnFinding,
        connector::{BrokenConnector, Connector, Language},
        lock::Lock,
        problem::Exit,
    },
    report::{
        exit_of,
        scans::{self, Exposed},
    },
    tools::{
        github,
        process::check_interrupted,
        registry::{Credentials, Registries},
        work::each,
    },
};

/// Builds each image and scans it, pushing nothing. Ends with 1 when a scan blocks (`scan.on-finding`) or a build
/// failed, with 3 when the machine was at fault.
pub fn run(context: &Context, flags: &Scan) -> Result<Exit> {
    let connectors = selection::to_build(context, &flags.selection)?;
    if connectors.is_empty() {
        context
            .report
            .note("no connector is touched, so nothing is scanned");
    }
    let config = &context.resolved.config;
    let platforms = flags.platform.resolve(&config.platforms);
    let native = doctor::preflight(context, &platforms)?.native();
    let planner = Planner::new(context, platforms, &flags.tag, native, Ask::Engine)?;
    let plans = planner.plans(&connectors)?;
    let builder = Builder::new(context, &planner, native, &plans)?;
    let say = |line: &str| context.report.note(line);
    let registries = Registries::new(Credentials::gather()?, say);
    let scans = Scans::open(context, &registries)?;
    let both: Vec<_> = connectors.iter().zip(&plans).collect();
    let scanned = each(&both, config.parallelism(), |(connector, plan)| {
        let made = builder.build(plan, |_| ())?;
        scans.of_layout(connector, &made.layout)
    });
    check_interrupted()?;
    report(context, flags.output_format, &connectors, &scanned, &[])
}

/// A connector that no scan was made of, and why.
struct Lost<'a> {
    connector: &'a str,
    directory: &'a Utf8Path,
    error: String,
}

/// Prints what came of each connector, in the order they were named, then those that are `broken`.
fn report(
    context: &Context,
    format: ScanFormat,
    connectors: &[Connector],
    scanned: &[Result<ScanOutcome>],
    broken: &[BrokenConnector],
) -> Result<Exit> {
    let both = || connectors.iter().zip(scanned);
    let outcomes: Vec<&ScanOutcome> = scanned.iter().flatten().collect();
    let exposed: Vec<Exposed<'_>> = both()
        .filter_map(|(connector, outcome)| Some(outcome.as_ref().ok()?.exposed(connector)))
        .collect();
    let failed = both().filter_map(|(connector, outcome)| {
        Some(Lost {
            connector: connector.name.as_str(),
            directory: &connector.directory,
            error: format!("{:#}", outcome.as_ref().err()?),
        })
    });
    let broken = broken.iter().map(|one| Lost {
        connector: one.name.as_str(),
        directory: &one.directory,
        error: one.why(),
    });
    let lost: Vec<Lost<'_>> = failed.chain(broken).collect();
    print(context, format, &exposed, &outcomes, &lost)?;
    for outcome in &outcomes {
        outcome.warn(context);
    }
    let errors = || scanned.iter().filter_map(|one| one.as_ref().err());
    errors().for_each(|error| context.report.error(error));
    let blocked = outcomes.iter().any(|outcome| outcome.blocks);
    let exits = errors().map(exit_of);
    Ok(exits
        .chain(blocked.then_some(Exit::Failure))
        .max()
        .unwrap_or(Exit::Success))
}

/// `exposed` are the `outcomes` as reports take them.
fn print(
    context: &Context,
    format: ScanFormat,
    exposed: &[Exposed<'_>],
    outcomes: &[&ScanOutcome],
    lost: &[Lost<'_>],
) -> Result<()> {
    let tell = |line: &str| context.report.result(line);
    let tell_all = || {
        let lines = outcomes.iter().flat_map(|outcome| outcome.lines());
        lines.for_each(|line| tell(&line));
    };
    match format {
        ScanFormat::Text => tell_all(),
        ScanFormat::Github => {
            tell_all();
            to_github(context, exposed, outcomes, tell)?;
            for lost in lost {
                tell(&scans::failure(lost.connector, &lost.error, "error"));
                github::add_to_summary(&scans::failure_markdown(lost.connector, &lost.error))?;
            }
        }
        ScanFormat::Json => {
            let error =
                |lost: &Lost<'_>| json!({ "connector": lost.connector, "error": lost.error });
            let failed: Vec<_> = lost.iter().map(error).collect();
            context
                .report
                .json(&json!({ "scans": outcomes, "failed": failed }))?;
        }
        ScanFormat::Sarif => {
            let lost = lost.iter().map(|lost| Exposed {
                connector: lost.connector,
                directory: lost.directory.as_str(),
                lock: None,
                exposures: &[],
                error: Some(&lost.error),
            });
            let all: Vec<_> = exposed.iter().copied().chain(lost).collect();
            context.report.json(&scans::sarif(&all))?;
        }
    }
    Ok(())
}

/// Annotations, which `tell` prints, and the step summary.
pub fn to_github(
    context: &Context,
    exposed: &[Exposed<'_>],
    outcomes: &[&ScanOutcome],
    tell: impl Fn(&str),
) -> Result<()> {
    let kind = match context.resolved.config.scan.on_finding {
        OnFinding::Warn => "warning",
        OnFinding::Block => "error",
    };
    for line in scans::annotations(exposed, kind) {
        tell(&line);
    }
    for (exposed, outcome) in exposed.iter().zip(outcomes) {
        if let Some(error) = &outcome.error {
            tell(&scans::failure(exposed.connector, error, kind));
        }
    }
    let mut summary = String::new();
    for (place, (exposed, outcome)) in exposed.iter().zip(outcomes).enumerate() {
        let table = match &outcome.error {
            Some(error) => scans::failure_markdown(exposed.connector, error),
            None => scans::markdown(exposed, &outcome.conclusion()),
        };
        if summary.len() + table.len() > github::SUMMARY {
            let more = outcomes.len() - place;
            summary += &format!("{more} more scans are not shown.\n");
            break;
        }
        summary += &table;
    }
    github::add_to_summary(&summary)
}

/// The file that says what a connector installs.
fn lock_file(context: &Context, connector: &Connector) -> Option<&'static str> {
    if connector.language != Some(Language::Python) {
        return None;
    }
    let directory = context.repo.root.join(&connector.directory);
    let files = Lock::FILES.into_iter().map(|(file, _)| file);
    files
        .rev()
        .find(|file| directory.join(file).is_file())
        .or(Some("pyproject.toml"))
}
