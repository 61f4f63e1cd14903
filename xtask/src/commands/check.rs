//! `connector check`: what must hold of connectors, all of them at a time, every finding in its place.
//!
//! Here the clock is read and files are gathered; `plan::checks` judges.

mod earlier;
mod fix;
mod registry;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use anyhow::Result;
use camino::Utf8PathBuf;

use super::{
    Context, selection,
    tool_checks::{self, Mending, Outcome},
    work,
};
use crate::{
    flags::{Check, OutputFormat},
    model::{
        connector::nearest,
        connector_files::ConnectorFiles,
        definition,
        finding::{Finding, Severity},
        problem::{Exit, Problem},
    },
    plan::{
        checks::{self, Earlier, Run, Subject},
        exceptions,
        selection::{Pages, Selected},
    },
    report::{
        counted,
        findings::{self, Checked, NotRun, Reason},
        seconds, table,
    },
    tools::{clock::today, github},
};

/// Runs the checks chosen on the connectors that are named or touched, after mending with `--fix`. Ends with 1 when
/// there is an error, else with 3 when something could not be found out; warnings end with 0.
pub fn run(context: &Context, flags: &Check) -> Result<Exit> {
    let chosen = chosen(flags)?;
    if flags.list {
        context.report.result(list(&chosen));
        return Ok(Exit::Success);
    }
    let start = Instant::now();
    let config = &context.resolved.config;
    let Scope {
        directories: named,
        earlier,
    } = scope(context, flags)?;
    let today = today()?;
    if flags.fix {
        fix::run(context, &selected_of(&named), &chosen, today)?;
    }
    let asks = asks_registries(flags);
    let online = match asks {
        true => registry::ask(context, &selected_of(&named))?,
        false => BTreeMap::new(),
    };
    let looked = work::each(&named, config.parallelism(), |(directory, selected)| {
        if !*selected {
            return (context.repo.metadata_only(directory), Vec::new());
        }
        let files = context.repo.connector_files(directory);
        let mut subject = Subject {
            earlier: earlier.get(directory).cloned(),
            ..Subject::new(&files, today, &config.checks)
        };
        subject.learn(online.get(directory).cloned());
        let of = |check: &&checks::Check| check.of(&subject);
        let mut found: Vec<Finding> = chosen.iter().flat_map(of).collect();
        let unanswered = checks::online::unknown(&subject).into_iter();
        found.extend(unanswered.filter(|one| chosen.iter().any(|check| check.id == one.check)));
        // A fleet's files together are more than memory should hold.
        (files.metadata_alone(), found)
    });
    let (files, found): (Vec<ConnectorFiles>, Vec<Vec<Finding>>) = looked.into_iter().unzip();
    let mut found: Vec<Finding> = found.into_iter().flatten().collect();
    let selected: Vec<bool> = named.iter().map(|(_, selected)| *selected).collect();
    let subjects: Vec<Subject> = files
        .iter()
        .map(|files| Subject::new(files, today, &config.checks))
        .collect();
    found.extend(find_together(&chosen, &subjects, &selected));
    let mending = match flags.fix {
        true => Mending::Format,
        false => Mending::Nothing,
    };
    let is_beyond = |check: &&checks::Check| is_tool(check) || asks && is_online(check);
    let beyond: Vec<_> = chosen.iter().copied().filter(is_beyond).collect();
    let directories = selected_of(&named);
    let Beyond { unknown, not_run } =
        run_beyond(context, &beyond, &directories, mending, &mut found)?;
    sort(&mut found);
    let judged = exceptions::bear(
        found,
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
        not_run: &not_run,
    };
    print(context, flags.output_format, &checked)?;
    for error in &unknown {
        context.report.error(error);
    }
    summarize(context, &checked, judged.borne, start);
    Ok(exit(&checked))
}

/// What is checked.
struct Scope {
    /// The directories of all connectors, each with whether it is to be checked.
    directories: Vec<(Utf8PathBuf, bool)>,
    /// How those that a change touches were before it, by directory.
    earlier: BTreeMap<Utf8PathBuf, Earlier>,
}

fn scope(context: &Context, flags: &Check) -> Result<Scope> {
    let resolved = &context.resolved;
    let Some(touched) = selection::touched(context, &flags.selection, Pages::Count)? else {
        let named = &flags.selection.names;
        let mut directories = context.repo.named_directories(resolved, named)?;
        if let Some(shard) = flags.selection.shard {
            for (directory, selected) in &mut directories {
                *selected &= shard.holds(directory.file_name().unwrap_or_default());
            }
        }
        return Ok(Scope {
            directories,
            earlier: BTreeMap::new(),
        });
    };
    let mut all = context.repo.named_directories(resolved, &[])?;
    for (directory, selected) in &mut all {
        let is_touched =
            |connector: &Selected| directory.file_name() == Some(connector.name.as_str());
        *selected = touched.selection.connectors.iter().any(is_touched);
    }
    Ok(Scope {
        directories: all,
        earlier: earlier::of(context, &touched)?,
    })
}

fn selected_of(named: &[(Utf8PathBuf, bool)]) -> Vec<Utf8PathBuf> {
    let selected = named.iter().filter(|(_, selected)| *selected);
    selected.map(|(directory, _)| directory.clone()).collect()
}

/// Whether to ask registries: with the flag, or when a check that needs it is named.
fn asks_registries(flags: &Check) -> bool {
    let named = |check: &checks::Check| flags.only.iter().any(|id| id == check.id);
    flags.online || checks::online::CHECKS.iter().any(named)
}

/// What checks that look beyond the files came to besides findings.
#[derive(Default)]
struct Beyond {
    /// What kept some from running, each cause once.
    unknown: Vec<anyhow::Error>,
    not_run: Vec<NotRun>,
}

/// Runs the tool checks among `checks` and adds what they find. Neither these nor those that ask registries can say
/// anything of a connector whose metadata can't be used.
fn run_beyond(
    context: &Context,
    checks: &[&'static checks::Check],
    directories: &[Utf8PathBuf],
    mending: Mending,
    found: &mut Vec<Finding>,
) -> Result<Beyond> {
    let mut beyond = Beyond::default();
    if checks.is_empty() || directories.is_empty() {
        return Ok(beyond);
    }
    let fleet = context.repo.load_from(directories)?;
    for broken in fleet.broken {
        let why = broken.why();
        let not_run = |check: &&checks::Check| NotRun {
            connector: broken.name.clone(),
            check: check.id,
            reason: Reason::Unknown,
            why: why.clone(),
        };
        beyond.not_run.extend(checks.iter().map(not_run));
        let problem = Problem::environment(format!("{}: {why}", broken.name));
        beyond.unknown.push(problem.into());
    }
    for ran in tool_checks::run(context, &fleet.connectors, checks, mending)? {
        let (connector, check) = (ran.connector, ran.check);
        let (reason, why) = match ran.outcome {
            Outcome::Passed(_) | Outcome::Inapplicable => continue,
            Outcome::Failed(findings) => {
                found.extend(findings);
                continue;
            }
            Outcome::Skipped(why) => {
                context
                    .report
                    .note(format_args!("{connector}: {check} is skipped: {why}"));
                (Reason::Skipped, why)
            }
            // One cause keeps several checks from running.
            Outcome::Unknown(error) => {
                let why = format!("{error:#}");
                if !beyond
                    .unknown
                    .iter()
                    .any(|known| format!("{known:#}") == why)
                {
                    beyond.unknown.push(error);
                }
                (Reason::Unknown, why)
            }
        };
        beyond.not_run.push(NotRun {
            connector,
            check,
            reason,
            why,
        });
    }
    Ok(beyond)
}

/// By connector, file and place.
fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        (&a.connector, &a.file, a.at, a.check).cmp(&(&b.connector, &b.file, b.at, b.check))
    });
}

/// `connector schema`: the JSON Schema of metadata.yaml for editors, with the keys that configuration adds.
pub fn schema(context: &Context) -> Result<Exit> {
    let keys = &context.resolved.config.checks.metadata_keys;
    let schema = definition::schema_with(keys)
        .map_err(|error| Problem::usage(format!("checks.metadata-keys: {error}")))?;
    context.report.result(schema.trim_end());
    Ok(Exit::Success)
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
        let named = holds(&flags.only, check.id);
        // Native checks take a second, tool checks a minute.
        let by_default = flags.only.is_empty() && (!is_tool(check) || flags.tools || flags.list);
        (named || by_default) && !holds(&flags.skip, check.id)
    };
    let chosen: Vec<_> = checks::all().filter(chosen).collect();
    if chosen.is_empty() {
        return Err(Problem::usage("--only and --skip leave no check to run").into());
    }
    Ok(chosen)
}

fn is_tool(check: &checks::Check) -> bool {
    matches!(check.run, Run::Tool(_))
}

fn is_online(check: &checks::Check) -> bool {
    checks::online::CHECKS.iter().any(|one| one.id == check.id)
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

/// What checks of all connectors together find in the selected ones.
fn find_together(
    chosen: &[&checks::Check],
    subjects: &[Subject],
    selected: &[bool],
) -> Vec<Finding> {
    let names: BTreeSet<&str> = subjects
        .iter()
        .zip(selected)
        .filter(|(_, selected)| **selected)
        .map(|(subject, _)| subject.files.name.as_str())
        .collect();
    let found = chosen.iter().flat_map(|check| check.of_fleet(subjects));
    found
        .filter(|finding| names.contains(finding.connector.as_str()))
        .collect()
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
            // Annotations and the summary have an end. A line that begins with `::` would be a command.
            for line in findings::text(checked).lines() {
                context.report.note(format_args!("| {line}"));
            }
            github::add_to_summary(&findings::markdown(checked))?;
        }
    }
    Ok(())
}

fn summarize(context: &Context, checked: &Checked, borne: usize, start: Instant) {
    let count = |severity| {
        let of = |finding: &&Finding| finding.severity == severity;
        checked.findings.iter().filter(of).count()
    };
    let borne = match borne {
        0 => String::new(),
        borne => format!(", {borne} borne by exceptions"),
    };
    let unknown = match count(Severity::Unknown) + checked.unknown().count() {
        0 => String::new(),
        unknown => format!(", {unknown} unknown"),
    };
    context.report.note(format_args!(
        "{} checked: {}, {}{unknown}{borne} ({})",
        counted(checked.connectors.len(), "connector"),
        counted(count(Severity::Error), "error"),
        counted(count(Severity::Warning), "warning"),
        seconds(start.elapsed())
    ));
}

/// What is wrong counts before what is not known.
fn exit(checked: &Checked) -> Exit {
    let any = |severity| {
        let mut findings = checked.findings.iter();
        findings.any(|finding| finding.severity == severity)
    };
    match () {
        () if any(Severity::Error) => Exit::Failure,
        () if any(Severity::Unknown) || checked.unknown().next().is_some() => Exit::Environment,
        () => Exit::Success,
    }
}
