//! `connector list`: every connector, the unreadable ones with the reason.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::{
    Context,
    selection::{self, Touched},
};
use crate::{
    flags::{List, ListFormat},
    model::{
        connector::{Connector, ConnectorName, Language},
        metadata::{ConnectorType, SupportLevel},
        problem::{Exit, Problem},
    },
    plan::selection::{Pages, Selected},
    repo::Fleet,
    report::table,
};

/// How many reasons `--explain` prints of one connector.
const REASONS: usize = 10;
/// How many jobs a matrix takes (GitHub's "Running variations of jobs in a workflow").
const MATRIX: usize = 256;

/// One connector in `--json`.
#[derive(Serialize)]
pub struct Row {
    name: String,
    language: Option<Language>,
    #[serde(rename = "type")]
    connector_type: ConnectorType,
    version: String,
    repository: String,
    base_image: Option<String>,
    support_level: Option<SupportLevel>,
    directory: String,
}

#[derive(Serialize)]
struct BrokenRow<'a> {
    name: &'a str,
    directory: &'a str,
    reasons: &'a [String],
}

impl From<&Connector> for Row {
    fn from(connector: &Connector) -> Row {
        let metadata = &connector.metadata;
        Row {
            name: connector.name.to_string(),
            language: connector.language,
            connector_type: metadata.connector_type,
            version: metadata.version.to_string(),
            repository: metadata.docker_repository.clone(),
            base_image: metadata.base_image.as_ref().map(ToString::to_string),
            support_level: metadata.support_level,
            directory: connector.directory.to_string(),
        }
    }
}

/// Prints the connectors that are named, or touched by a change. Ends with 1 only with `--strict`, when there is one
/// whose metadata can't be used.
pub fn run(context: &Context, flags: &List) -> Result<Exit> {
    let pages = if flags.docs {
        Pages::Count
    } else {
        Pages::Ignore
    };
    match selection::touched(context, &flags.selection, pages)? {
        Some(touched) => list_touched(context, flags, touched),
        None => list_named(context, flags),
    }
}

/// How to print; `--json` is short for `--format json`.
fn format(flags: &List) -> ListFormat {
    if flags.output.json {
        ListFormat::Json
    } else {
        flags.format
    }
}

fn list_named(context: &Context, flags: &List) -> Result<Exit> {
    let mut fleet = selection::named(context, &flags.selection)?;
    fleet
        .connectors
        .retain(|connector| is_wanted(flags, connector));
    match format(flags) {
        ListFormat::Table => print_table(context, &fleet),
        ListFormat::Json => print_fleet(context, &fleet)?,
        format @ (ListFormat::Matrix | ListFormat::Matrices) => {
            print_matrices(context, format, matrix_names(&fleet)?.into_iter())?;
            warn_of_broken(context, &fleet);
        }
    }
    Ok(outcome(flags, &fleet))
}

/// The broken ones too: a job that fails says so, one that is missing does not.
fn matrix_names(fleet: &Fleet) -> Result<Vec<(ConnectorName, Option<Language>)>> {
    let whole = fleet
        .connectors
        .iter()
        .map(|c| Ok((c.name.clone(), c.language)));
    let broken = fleet.broken.iter().map(|broken| {
        let name: ConnectorName = broken.name.parse().map_err(Problem::usage)?;
        Ok((name, None))
    });
    let mut names = whole.chain(broken).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn list_touched(context: &Context, flags: &List, mut touched: Touched) -> Result<Exit> {
    let format = format(flags);
    // Metadata is read where something of it is asked for.
    let reads = format == ListFormat::Table && !flags.explain
        || flags.strict
        || flags.support_level.is_some()
        || flags.connector_type.is_some();
    let mut fleet = if reads {
        touched.load(context)?
    } else {
        Fleet::default()
    };
    let selected = &mut touched.selection.connectors;
    selected.retain(|c| speaks(flags, c.language));
    if reads {
        // One that is broken stays: what it is can't be told, and leaving it out would pass it.
        fleet.connectors.retain(|c| is_wanted(flags, c));
        selected.retain(|s| {
            fleet.connectors.iter().any(|c| c.name == s.name)
                || fleet.broken.iter().any(|b| b.name == s.name.as_str())
        });
    }
    match format {
        ListFormat::Json => context.report.json(&Document::of(&touched))?,
        ListFormat::Matrix | ListFormat::Matrices => {
            let selected = touched.selection.connectors.iter();
            let names = selected.map(|c| (c.name.clone(), c.language));
            print_matrices(context, format, names)?;
        }
        ListFormat::Table if flags.explain => explain(context, &touched),
        ListFormat::Table => print_table(context, &fleet),
    }
    if format != ListFormat::Json && !flags.explain {
        for name in &touched.selection.deleted {
            context.report.note(format_args!("deleted: {name}"));
        }
    }
    Ok(outcome(flags, &fleet))
}

fn is_wanted(flags: &List, connector: &Connector) -> bool {
    let metadata = &connector.metadata;
    speaks(flags, connector.language)
        && flags
            .support_level
            .is_none_or(|level| metadata.support_level == Some(level))
        && flags
            .connector_type
            .is_none_or(|kind| metadata.connector_type == kind)
}

fn speaks(flags: &List, language: Option<Language>) -> bool {
    flags.language.is_empty() || language.is_some_and(|language| flags.language.contains(&language))
}

fn outcome(flags: &List, fleet: &Fleet) -> Exit {
    if flags.strict && !fleet.broken.is_empty() {
        Exit::Failure
    } else {
        Exit::Success
    }
}

fn print_fleet(context: &Context, fleet: &Fleet) -> Result<()> {
    let rows: Vec<Row> = fleet.connectors.iter().map(Row::from).collect();
    let broken: Vec<_> = fleet
        .broken
        .iter()
        .map(|b| BrokenRow {
            name: &b.name,
            directory: b.directory.as_str(),
            reasons: &b.reasons,
        })
        .collect();
    context
        .report
        .json(&serde_json::json!({ "connectors": rows, "broken": broken }))
}

fn print_table(context: &Context, fleet: &Fleet) {
    let header = [
        "NAME",
        "LANGUAGE",
        "TYPE",
        "VERSION",
        "REPOSITORY",
        "BASE IMAGE",
        "SUPPORT",
        "DIRECTORY",
    ];
    let rows: Vec<_> = fleet
        .connectors
        .iter()
        .map(|connector| Row::from(connector).cells())
        .collect();
    context.report.result(table(&header, &rows));
    warn_of_broken(context, fleet);
}

fn warn_of_broken(context: &Context, fleet: &Fleet) {
    for reason in fleet.broken.iter().flat_map(|broken| &broken.reasons) {
        context.report.warning(format_args!("broken: {reason}"));
    }
}

/// What a change touches, in `--json`.
#[derive(Serialize)]
struct Document<'a> {
    base: Option<&'a str>,
    merge_base: Option<&'a str>,
    /// All of them, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    merge_bases: Option<&'a [String]>,
    head: Option<&'a str>,
    connectors: &'a [Selected],
    deleted: &'a BTreeSet<String>,
}

impl Document<'_> {
    fn of(touched: &Touched) -> Document<'_> {
        let range = touched.range.as_ref();
        let merge_bases = range.map(|range| range.merge_bases.as_slice());
        Document {
            base: range.map(|range| range.base.as_str()),
            merge_base: merge_bases.and_then(<[_]>::first).map(String::as_str),
            merge_bases: merge_bases.filter(|all| all.len() > 1),
            head: range.map(|range| range.head.as_str()),
            connectors: &touched.selection.connectors,
            deleted: &touched.selection.deleted,
        }
    }
}

/// Each connector with its reasons below it.
fn explain(context: &Context, touched: &Touched) {
    let report = context.report;
    if let Some(range) = &touched.range {
        report.note(format_args!(
            "compared with {} (merge base {}) up to {} and files not yet committed",
            range.base,
            range.merge_bases.join(", "),
            range.head
        ));
    }
    for connector in &touched.selection.connectors {
        report.result(&connector.name);
        for reason in connector.reasons.iter().take(REASONS) {
            report.result(format_args!("    {reason}"));
        }
        match connector.reasons.len().saturating_sub(REASONS) {
            0 => {}
            more => report.result(format_args!("    and {more} more (--json has all)")),
        }
    }
    for name in &touched.selection.deleted {
        report.result(format_args!("{name} (deleted)"));
    }
    if touched.selection.connectors.is_empty() && touched.selection.deleted.is_empty() {
        report.note("no connector is touched");
    }
}

/// A matrix for GitHub, or as many as it takes. For no connector there is one empty entry: a job that is required must run
/// to report.
fn print_matrices(
    context: &Context,
    format: ListFormat,
    connectors: impl Iterator<Item = (ConnectorName, Option<Language>)>,
) -> Result<()> {
    let entry = |name: &str, language: Option<Language>| {
        let language = language.map(|language| language.to_string());
        serde_json::json!({ "connector": name, "language": language.unwrap_or_default() })
    };
    let mut entries: Vec<_> = connectors
        .map(|(name, language)| entry(name.as_str(), language))
        .collect();
    if entries.is_empty() {
        entries.push(entry("", None));
    }
    let matrices: Vec<_> = entries
        .chunks(MATRIX)
        .map(|part| serde_json::json!({ "include": part }))
        .collect();
    match (format, matrices.as_slice()) {
        (ListFormat::Matrices, _) => context.report.result(Value::from(matrices)),
        (_, [matrix]) => context.report.result(matrix),
        _ => {
            let message = format!(
                "a matrix of {} connectors; GitHub takes at most {MATRIX}",
                entries.len()
            );
            let shards = entries.len().div_ceil(MATRIX / 2);
            let help = format!("split it: --format matrices, or --shard 1/{shards} and so on");
            return Err(Problem::usage(message).help(help).into());
        }
    }
    Ok(())
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        // The digest makes lines unreadable; --json has it.
        let base = self
            .base_image
            .as_deref()
            .map(|image| image.split('@').next().unwrap_or(image).to_owned());
        vec![
            self.name.clone(),
            or_dash(self.language.map(|language| language.to_string())),
            self.connector_type.to_string(),
            self.version.clone(),
            self.repository.clone(),
            or_dash(base),
            or_dash(self.support_level.map(|level| level.to_string())),
            self.directory.clone(),
        ]
    }
}
