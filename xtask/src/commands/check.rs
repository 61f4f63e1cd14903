//! `connector check`: what must hold of connectors, all of them at a time, every finding in its place.
//!
//! Here the clock is read and files are gathered; `plan::checks` judges.

use std::{
    io::Write,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;

use super::{Context, selection, work};
use crate::{
    flags::{Check, OutputFormat},
    model::{
        connector::nearest,
        connector_files::ConnectorFiles,
        date::Date,
        definition,
        finding::{Finding, Severity},
        problem::{Exit, Problem},
    },
    plan::{
        checks::{self, Subject},
        exceptions::{self, Judged},
        selection::{Pages, Selected},
    },
    report::{
        findings::{self, Checked},
        seconds, table,
    },
};

pub fn run(context: &Context, flags: &Check) -> Result<Exit> {
    let chosen = chosen(flags)?;
    if flags.list {
        context.report.result(list(&chosen));
        return Ok(Exit::Success);
    }
    let start = Instant::now();
    let config = &context.resolved.config;
    let named = directories(context, flags)?;
    let files: Vec<ConnectorFiles> =
        work::each(&named, config.parallelism(), |(directory, selected)| {
            if *selected {
                context.repo.connector_files(directory)
            } else {
                context.repo.metadata_only(directory)
            }
        });
    let today = today()?;
    let subjects = work::each(&files, config.parallelism(), |files| {
        Subject::new(files, today, &config.checks)
    });
    let selected: Vec<bool> = named.iter().map(|(_, selected)| *selected).collect();
    let judged = exceptions::bear(
        find(context, &chosen, &subjects, &selected),
        &config.checks.exceptions,
        |id| checks::all().any(|check| check.id == id),
        today,
    );
    let connectors = names(&files, &selected);
    let checked = Checked {
        connectors: &connectors,
        checks: &chosen
            .iter()
            .map(|check| (check.id, check.description))
            .collect::<Vec<_>>(),
        findings: &judged.findings,
    };
    print(context, flags.output_format, &checked)?;
    summarize(context, &judged, connectors.len(), start);
    Ok(exit(&judged.findings))
}

/// The directories of all connectors, each with whether it is to be checked.
fn directories(context: &Context, flags: &Check) -> Result<Vec<(Utf8PathBuf, bool)>> {
    let config = &context.resolved.config;
    let Some(touched) = selection::touched(context, &flags.selection, Pages::Count)? else {
        return context
            .repo
            .named_directories(config, &flags.selection.names);
    };
    let mut all = context.repo.named_directories(config, &[])?;
    for (directory, selected) in &mut all {
        let is_touched =
            |connector: &Selected| directory.file_name() == Some(connector.name.as_str());
        *selected = touched.selection.connectors.iter().any(is_touched);
    }
    Ok(all)
}

/// `connector schema`: the JSON Schema of metadata.yaml, for editors.
pub fn schema(context: &Context) -> Exit {
    context.report.result(definition::SCHEMA.trim_end());
    Exit::Success
}

/// The checks that `--only` and `--skip` leave; an id that means nothing is an error.
fn chosen(flags: &Check) -> Result<Vec<&'static checks::Check>> {
    let ids = || checks::all().map(|check| check.id);
    for id in flags.only.iter().chain(&flags.skip) {
        if !ids().any(|known| known == id) {
            let help = match nearest(id, ids()).as_slice() {
                [] => "`cargo xtask connector check --list` prints every id".to_owned(),
                near => format!("did you mean {}?", near.join(", ")),
            };
            return Err(Problem::usage(format!("unknown check `{id}`"))
                .help(help)
                .into());
        }
    }
    let holds = |list: &[String], id: &str| list.iter().any(|one| one == id);
    let chosen = |check: &&checks::Check| {
        (flags.only.is_empty() || holds(&flags.only, check.id)) && !holds(&flags.skip, check.id)
    };
    Ok(checks::all().filter(chosen).collect())
}

fn list(chosen: &[&checks::Check]) -> String {
    let row = |check: &&checks::Check| {
        [
            check.id,
            check.severity.as_str(),
            check.description,
            check.applies,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let rows: Vec<_> = chosen.iter().map(row).collect();
    table(&["ID", "SEVERITY", "PASSES WHEN", "APPLIES TO"], &rows)
}

/// Findings of the selected connectors, by connector, file and place.
fn find(
    context: &Context,
    chosen: &[&checks::Check],
    subjects: &[Subject],
    selected: &[bool],
) -> Vec<Finding> {
    let indexes: Vec<usize> = (0..subjects.len())
        .filter(|index| selected[*index])
        .collect();
    let jobs = context.resolved.config.parallelism();
    let mut findings: Vec<Finding> = work::each(&indexes, jobs, |index| {
        let of = |check: &&checks::Check| check.of(&subjects[*index]);
        chosen.iter().flat_map(of).collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect();
    let is_selected = |finding: &Finding| {
        indexes
            .iter()
            .any(|index| subjects[*index].files.name == finding.connector)
    };
    let fleet = chosen.iter().flat_map(|check| check.of_fleet(subjects));
    findings.extend(fleet.filter(is_selected));
    findings.sort_by(|a, b| {
        (&a.connector, &a.file, a.at, a.check).cmp(&(&b.connector, &b.file, b.at, b.check))
    });
    findings
}

fn names(files: &[ConnectorFiles], selected: &[bool]) -> Vec<String> {
    files
        .iter()
        .zip(selected)
        .filter(|(_, selected)| **selected)
        .map(|(files, _)| files.name.clone())
        .collect()
}

fn print(context: &Context, format: OutputFormat, checked: &Checked) -> Result<()> {
    match format {
        OutputFormat::Text => {
            let text = findings::text(checked);
            if !text.is_empty() {
                context.report.result(text);
            }
        }
        OutputFormat::Json => context.report.json(&findings::json(checked))?,
        OutputFormat::Sarif => context.report.json(&findings::sarif(checked))?,
        OutputFormat::Junit => context.report.result(findings::junit(checked)),
        OutputFormat::Github => {
            for line in findings::annotations(checked) {
                context.report.result(line);
            }
            write_summary(&findings::markdown(checked))?;
        }
    }
    Ok(())
}

/// Appends to the step summary of GitHub Actions, where there is one.
fn write_summary(markdown: &str) -> Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open the step summary {}", path.display()))?;
    file.write_all(markdown.as_bytes())
        .with_context(|| format!("write the step summary {}", path.display()))
}

fn summarize(context: &Context, judged: &Judged, connectors: usize, start: Instant) {
    let count = |severity| {
        let of = |finding: &&Finding| finding.severity == severity;
        judged.findings.iter().filter(of).count()
    };
    let borne = match judged.borne {
        0 => String::new(),
        borne => format!(", {borne} borne by exceptions"),
    };
    context.report.note(format_args!(
        "{connectors} connectors checked: {} errors, {} warnings{borne} ({})",
        count(Severity::Error),
        count(Severity::Warning),
        seconds(start.elapsed())
    ));
}

fn exit(findings: &[Finding]) -> Exit {
    match findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
    {
        true => Exit::Failure,
        false => Exit::Success,
    }
}

/// The day in UTC. `SOURCE_DATE_EPOCH` overrides the clock, as in every reproducible build.
fn today() -> Result<Date> {
    let now = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse().map_err(|_| {
            Problem::usage(format!(
                "SOURCE_DATE_EPOCH: `{text}` is not a number of seconds"
            ))
        })?,
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("read the clock")?
            .as_secs(),
    };
    Ok(Date::from_unix(now))
}
