//! What came of a run: table, JSON, step summary and exit code.

use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use camino::Utf8Path;
use serde::Serialize;

use super::{execute::Done, outputs::Outputs};
use crate::{
    commands::{
        Context,
        scan::{self, ScanOutcome},
    },
    flags::Publish,
    model::{
        connector::{Connector, ConnectorName},
        image::{Digest, ImageRef},
        problem::Exit,
        release::Mode,
    },
    plan::publish::{Action, request::Target, steps::PublishPlan},
    report::{exit_of, seconds, table},
    tools::{files, github},
};

/// One run.
#[derive(Serialize)]
pub struct Results<'a> {
    pub mode: Mode,
    /// Directory of the run's record.
    pub record: &'a Utf8Path,
    /// In the order they were named.
    pub connectors: Vec<Outcome>,
}

/// What came of one connector.
#[derive(Serialize)]
pub struct Outcome {
    connector: ConnectorName,
    version: String,
    image: ImageRef,
    action: Word,
    digest: Option<Digest>,
    /// What the tag pointed to before it was overwritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Digest>,
    seconds: f64,
    reason: String,
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    pub outputs: Outputs,
    /// None when nothing was scanned.
    #[serde(skip)]
    scanned: Option<ScanOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Tested,
    Published,
    Repaired,
    Replaced,
    Exists,
    LatestMoved,
    Refused,
    Failed,
    NotRun,
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Word::Tested => "tested",
            Word::Published => "published",
            Word::Repaired => "repaired",
            Word::Replaced => "replaced",
            Word::Exists => "exists",
            Word::LatestMoved => "latest moved",
            Word::Refused => "refused",
            Word::Failed => "failed",
            Word::NotRun => "not run",
        }
    }
}

fn as_text<S: serde::Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.serialize_str(&format!("{error:#}")),
        None => serializer.serialize_none(),
    }
}

impl Outcome {
    fn new(target: &Target, action: Word, reason: String) -> Outcome {
        Outcome {
            connector: target.connector.clone(),
            version: target.version.to_string(),
            image: target.image.clone(),
            action,
            digest: None,
            replaced: None,
            seconds: 0.0,
            reason,
            error: None,
            outputs: Outputs::default(),
            scanned: None,
        }
    }

    /// Of a connector whose turn never came, after Ctrl-C or with `--fail-fast`: it makes the run end with 1 at least.
    pub fn not_run(target: &Target) -> Outcome {
        Outcome::new(
            target,
            Word::NotRun,
            "the run was stopped before".to_owned(),
        )
    }

    /// There was no plan to execute.
    pub fn unplanned(target: &Target, error: Error) -> Outcome {
        let reason = first_line(&error);
        Outcome {
            error: Some(error),
            ..Outcome::new(target, Word::Failed, reason)
        }
    }

    /// What the steps of a plan came to.
    pub fn of(plan: &PublishPlan, done: Done, result: Result<()>, time: Duration) -> Outcome {
        let word = match (plan.action, &result) {
            (Action::Refuse, _) => Word::Refused,
            (_, Err(_)) => Word::Failed,
            (Action::Try, _) => Word::Tested,
            (Action::Publish, _) => Word::Published,
            (Action::Repair, _) => Word::Repaired,
            (Action::Replace, _) if done.replaced.is_some() => Word::Replaced,
            (Action::Replace, _) => Word::Published,
            (Action::Keep, _) if done.latest_moved => Word::LatestMoved,
            (Action::Keep, _) => Word::Exists,
        };
        let reason = match &result {
            Err(error) => first_line(error),
            Ok(()) if done.notes.is_empty() => plan.found.describe(),
            Ok(()) => done.notes.join("; "),
        };
        Outcome {
            digest: done.digest,
            replaced: done.replaced,
            scanned: done.scanned,
            seconds: (time.as_secs_f64() * 10.0).round() / 10.0,
            error: result.err(),
            ..Outcome::new(&plan.target, word, reason)
        }
    }

    fn exit(&self) -> Exit {
        match (&self.error, self.action) {
            (Some(error), _) => exit_of(error),
            (None, Word::NotRun) => Exit::Failure,
            _ => Exit::Success,
        }
    }

    fn row(&self) -> Vec<String> {
        let digest = self.digest.as_ref();
        vec![
            self.connector.to_string(),
            self.image
                .tag
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            self.action.as_str().to_owned(),
            digest
                .map(|digest| digest.hex()[..12].to_owned())
                .unwrap_or_default(),
            seconds(Duration::from_secs_f64(self.seconds)),
            self.reason.clone(),
        ]
    }
}

const HEADER: [&str; 6] = ["connector", "version", "action", "digest", "time", "reason"];

impl Results<'_> {
    /// Prints the run, then writes it into its record and the step summary, and says how the process ends.
    pub fn report(&self, context: &Context, flags: &Publish) -> Result<Exit> {
        let rows: Vec<Vec<String>> = self.connectors.iter().map(Outcome::row).collect();
        for outcome in &self.connectors {
            if let Some(error) = &outcome.error {
                context.report.note(format_args!(
                    "{} {}:",
                    outcome.connector,
                    outcome.action.as_str()
                ));
                context.report.error(error);
            }
        }
        if flags.output.json {
            context.report.json(self)?;
        } else if !rows.is_empty() {
            context.report.result(table(&HEADER, &rows));
        }
        let failed = self
            .connectors
            .iter()
            .filter(|outcome| outcome.exit() != Exit::Success)
            .count();
        if failed > 0 && self.connectors.len() > 1 {
            context.report.note(format_args!(
                "{failed} of {} not done; add --retry-failed to the next run to try those again",
                self.connectors.len()
            ));
        }
        context.report.note(format_args!("record: {}", self.record));
        // By now all is printed: files need a disk that has room.
        let text = serde_json::to_string_pretty(self).context("write the results as JSON")?;
        let written = files::write(&self.record.join("results.json"), &(text + "\n"));
        written.and(github::add_to_summary(&markdown(self.mode, &rows)))?;
        let exits = self.connectors.iter().map(Outcome::exit);
        Ok(exits.max().unwrap_or(Exit::Success))
    }
}

impl Results<'_> {
    /// Where GitHub runs this: what the scans found, as annotations on standard error and in the step's summary.
    /// `connectors` stand in the order of the outcomes.
    pub fn annotate(&self, context: &Context, connectors: &[&Connector]) -> Result<()> {
        if !github::is_runner() {
            return Ok(());
        }
        let pairs = connectors.iter().zip(&self.connectors);
        let scanned = pairs.filter_map(|(connector, one)| Some((one.scanned.as_ref()?, connector)));
        let (exposed, outcomes): (Vec<_>, Vec<_>) = scanned
            .map(|(outcome, connector)| (outcome.exposed(connector), outcome))
            .unzip();
        scan::to_github(context, &exposed, &outcomes, |line| {
            context.report.note(line);
        })
    }
}

/// The table as GitHub's Markdown, with as many rows as a summary takes.
fn markdown(mode: Mode, rows: &[Vec<String>]) -> String {
    let title = match mode {
        Mode::DryRun => "Publish (dry run)",
        Mode::Real => "Publish",
    };
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("### {title}\n\n");
    text += &line(HEADER.map(str::to_owned).to_vec());
    text += &line(vec!["---".to_owned(); HEADER.len()]);
    for (place, row) in rows.iter().enumerate() {
        let row = line(row.iter().map(|cell| escaped(cell)).collect());
        if text.len() + row.len() > github::SUMMARY {
            text += &format!("\n{} more are not shown.\n", rows.len() - place);
            break;
        }
        text += &row;
    }
    text + "\n"
}

fn escaped(cell: &str) -> String {
    cell.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace(['\n', '\r'], " ")
}

fn first_line(error: &Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_hold_no_broken_rows_and_stay_within_githubs_limit() {
        let row = |reason: &str| vec!["a".to_owned(), reason.to_owned()];
        let text = markdown(Mode::Real, &[row("x | y\n<b>")]);
        assert!(text.ends_with("| a | x \\| y &lt;b> |\n\n"), "{text}");
        let many = vec![row(&"x".repeat(1000)); 2000];
        let text = markdown(Mode::DryRun, &many);
        assert!(text.len() < 1 << 19 && text.contains("more are not shown"));
    }
}
