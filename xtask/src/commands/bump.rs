//! `connector bump`: a new version in every file that has it, and in the changelog.

use anyhow::Result;
use camino::Utf8PathBuf;
use semver::Version;
use serde::Serialize;

use super::{
    Context,
    edits::{Edit, Edits},
};
use crate::{
    flags::Bump,
    model::{
        connector::{Connector, Language},
        connector_files::page_path,
        problem::{Exit, Problem},
    },
    plan::{bump, changelog, checks},
    tools::{clock, git},
};

/// A version that went up.
#[derive(Debug, Serialize)]
pub struct Bumped {
    pub connector: String,
    pub from: Version,
    pub to: Version,
    /// The files that have it, from the repository's root.
    pub files: Vec<Utf8PathBuf>,
    /// What enableProgressiveRollout is set to beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_progressive_rollout: Option<bool>,
    /// Whether a row was to be added to a changelog that has the version already.
    #[serde(skip)]
    pub had_row: bool,
}

/// A row for the changelog.
pub struct Row {
    pub text: String,
    pub pull_request: Option<u64>,
    pub date: String,
    pub source: String,
}

impl Row {
    /// Dated today. A pull request's link leads to the configured `source`, else to git's `origin`, else there is none.
    pub fn new(context: &Context, text: &str, pull_request: Option<u64>) -> Result<Row> {
        let configured = context.resolved.config.source.clone();
        let source = match configured.as_str() {
            "" => git::origin(&context.repo.root)?.unwrap_or_default(),
            _ => configured,
        };
        Ok(Row {
            text: text.to_owned(),
            pull_request,
            date: clock::today()?.to_string(),
            source,
        })
    }
}

impl Bumped {
    /// Says so where nothing was added to the changelog.
    pub fn note_row(&self, context: &Context) {
        if self.had_row {
            context.report.note(format_args!(
                "{}: the changelog has {} already",
                self.connector, self.to
            ));
        }
    }
}

/// Writes each connector's next version into all of its files, or nothing at all; `--dry-run` only says what would be.
/// Ends with 2 when a version has no such next one.
pub fn run(context: &Context, flags: &Bump) -> Result<Exit> {
    let config = &context.resolved.config;
    let fleet = context.repo.load(&context.resolved)?;
    let connectors = fleet.select(&context.repo, config, &flags.names)?.whole()?;
    let row = flags.changelog.as_deref();
    let row = row
        .map(|text| Row::new(context, text, flags.pull_request))
        .transpose()?;
    let mut edits = Edits::new(&context.repo.root);
    let mut bumped = Vec::new();
    for connector in &connectors {
        let to = bump::next(&connector.metadata.version, flags.step);
        let to = to.map_err(|problem| of(connector, problem))?;
        bumped.push(write(&mut edits, connector, to, row.as_ref())?);
    }
    if !flags.dry_run {
        edits.write()?;
    }
    bumped.iter().for_each(|one| one.note_row(context));
    if flags.output.json {
        context.report.json(&bumped)?;
        return Ok(Exit::Success);
    }
    for Bumped {
        connector,
        from,
        to,
        files,
        enable_progressive_rollout,
        ..
    } in &bumped
    {
        context
            .report
            .result(format_args!("{connector}: {from} -> {to}"));
        if let Some(value) = enable_progressive_rollout {
            let set = format_args!("  {}: {value}", checks::ROLLOUT);
            context.report.result(set);
        }
        for file in files {
            context.report.result(format_args!("  {file}"));
        }
    }
    Ok(Exit::Success)
}

/// Gives a connector another version, in the edits.
pub fn write(
    edits: &mut Edits,
    connector: &Connector,
    to: Version,
    row: Option<&Row>,
) -> Result<Bumped> {
    let mut files = Vec::new();
    let directory = &connector.directory;
    let problem = |problem| of(connector, problem);
    let metadata = directory.join("metadata.yaml");
    let mut enable_progressive_rollout = None;
    edits.edit(&metadata, |text| {
        let (text, rollout) = bump::metadata(text, &to).map_err(problem)?;
        enable_progressive_rollout = rollout;
        Ok::<_, Problem>(text)
    })?;
    files.push(metadata);
    // That of a manifest-only connector is its tests'.
    if connector.language == Some(Language::Python) {
        let pyproject = directory.join("pyproject.toml");
        let edit = edits.edit(&pyproject, |text| {
            bump::pyproject(text, &to).map_err(problem)
        })?;
        files.extend((edit == Edit::Changed).then_some(pyproject));
        let lock = directory.join("uv.lock");
        let edit = edits.edit(&lock, |text| bump::uv_lock(text, &to).map_err(problem))?;
        files.extend((edit == Edit::Changed).then_some(lock));
    }
    let added = row
        .map(|row| add_row(edits, connector, &to.to_string(), row))
        .transpose()?;
    let had_row = added == Some(None);
    files.extend(added.flatten());
    Ok(Bumped {
        connector: connector.name.to_string(),
        from: connector.metadata.version.clone(),
        to,
        files,
        enable_progressive_rollout,
        had_row,
    })
}

/// Adds a version to the changelog of the connector's page, and says which that is unless it was there.
pub fn add_row(
    edits: &mut Edits,
    connector: &Connector,
    version: &str,
    row: &Row,
) -> Result<Option<Utf8PathBuf>> {
    let url = &connector.metadata.documentation_url;
    let no_page = |why: String| {
        of(
            connector,
            Problem::usage(why).help("write the changelog by hand, and leave out --changelog"),
        )
    };
    let page =
        page_path(url).ok_or_else(|| no_page(format!("{url} is no page of this repository")))?;
    let entry = changelog::Entry {
        version,
        date: &row.date,
        pull_request: row.pull_request,
        text: &row.text,
        source: &row.source,
    };
    let add =
        |text: &str| changelog::add(text, &entry).map_err(|why| no_page(format!("{page}: {why}")));
    match edits.edit(&page, add)? {
        Edit::NoFile => Err(no_page(format!("there is no page {page}")).into()),
        Edit::Same => Ok(None),
        Edit::Changed => Ok(Some(page)),
    }
}

/// A problem of this connector.
pub fn of(connector: &Connector, problem: Problem) -> Problem {
    Problem {
        message: format!("{}: {}", connector.name, problem.message),
        ..problem
    }
}
