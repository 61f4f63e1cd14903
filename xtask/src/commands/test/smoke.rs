//! Tries the commands of a built connector on a configuration, and has what they print judged.

use std::{fs, sync::mpsc, thread, time::Duration};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde_json::Value;

use super::step::{Outcome, Step};
use crate::{
    commands::Context,
    flags,
    model::{image::ImageRef, metadata::ConnectorType, problem::Problem},
    plan::{
        build::BuildPlan,
        messages::{self, Answer, Command, Judge, sample::Sample},
    },
    tools::docker::RunWithFiles,
};

/// Files in the containers; connectors read them by path.
const CONFIG: &str = "airbyte-test/config.json";
const CATALOG: &str = "airbyte-test/catalog.json";
/// How many lines may wait to be judged.
const WAITING: usize = 64;

/// A connector's image in the engine's store.
pub struct Subject<'a> {
    pub context: &'a Context<'a>,
    pub plan: &'a BuildPlan,
    pub image: ImageRef,
}

/// What connectors are tried with.
pub struct Smoke<'a> {
    config: Vec<u8>,
    catalog: Option<Value>,
    network: &'a str,
    limit: Duration,
}

impl<'a> Smoke<'a> {
    /// Reads the files that the flags name; None without a configuration.
    pub fn of(flags: &'a flags::Test) -> Result<Option<Smoke<'a>>> {
        let Some(path) = &flags.config_file else {
            return Ok(None);
        };
        let config = read("--config-file", path)?;
        if !config.is_object() {
            return Err(Problem::usage(format!(
                "--config-file {path}: a configuration is a JSON object"
            ))
            .into());
        }
        let catalog = flags.catalog.as_ref();
        Ok(Some(Smoke {
            config: config.to_string().into_bytes(),
            catalog: catalog.map(|path| read("--catalog", path)).transpose()?,
            network: &flags.network,
            limit: Duration::from_secs(flags.timeout),
        }))
    }

    /// `check` and then, of a source, `discover` and `read`, of a destination with this spec `write`.
    pub fn try_all(&self, subject: &Subject, kind: ConnectorType, spec: &Value) -> Vec<Step> {
        let mut steps = vec![self.check(subject)];
        match kind {
            ConnectorType::Source => {
                let (discover, found) = self.discover(subject);
                steps.push(discover);
                steps.push(self.read(subject, found));
            }
            ConnectorType::Destination => steps.push(self.write(subject, spec)),
        }
        steps
    }

    fn check(&self, subject: &Subject) -> Step {
        let answer = self.ask(subject, Command::Check);
        Step::of(
            "check",
            answer.map(|_| "the connection succeeds".to_owned()),
        )
    }

    fn discover(&self, subject: &Subject) -> (Step, Option<Value>) {
        let answer = self.ask(subject, Command::Discover);
        let catalog = match &answer {
            Ok(answer) => answer.catalog.clone(),
            Err(_) => None,
        };
        let streams = |answer: Answer| {
            let catalog = answer.catalog.unwrap_or_default();
            let count = catalog["streams"].as_array().map_or(0, Vec::len);
            format!("{count} streams")
        };
        (Step::of("discover", answer.map(streams)), catalog)
    }

    fn read(&self, subject: &Subject, found: Option<Value>) -> Step {
        let found = found.map(|catalog| messages::configure(&catalog));
        let Some(catalog) = self.catalog.clone().or(found) else {
            let why = "discover found no catalog, and --catalog names none";
            return Step::new("read", Outcome::Skipped, why);
        };
        let answer = self.ask(subject, Command::Read(&catalog));
        let said = |answer: Answer| {
            let (records, states) = (answer.count("RECORD"), answer.count("STATE"));
            format!("{records} records, {states} states")
        };
        Step::of("read", answer.map(said))
    }

    fn write(&self, subject: &Subject, spec: &Value) -> Step {
        let sample = Sample::of(spec);
        let answer = self.ask(subject, Command::Write(&sample));
        let said = |answer: Answer| {
            let (records, states) = (sample.records(), answer.count("STATE"));
            format!("{records} records written, {states} states came back")
        };
        Step::of("write", answer.map(said))
    }

    /// Runs one command and judges what it prints; the error holds all that is wrong.
    fn ask(&self, subject: &Subject, command: Command) -> Result<Answer> {
        let Subject {
            context,
            plan,
            image,
        } = subject;
        let mut files = vec![(CONFIG, self.config.as_slice())];
        let (config, catalog_path) = (format!("/{CONFIG}"), format!("/{CATALOG}"));
        let mut arguments = vec![command.name(), "--config", &config];
        let (configured, input) = match command {
            Command::Check | Command::Discover => (None, String::new()),
            Command::Read(catalog) => (Some(catalog), String::new()),
            Command::Write(sample) => (Some(&sample.catalog), sample.lines()),
        };
        let catalog = configured.map(|catalog| catalog.to_string().into_bytes());
        if let Some(catalog) = &catalog {
            files.push((CATALOG, catalog));
            arguments.extend(["--catalog", &catalog_path]);
        }
        let step = context
            .report
            .step(format!("{} {}", plan.connector, command.name()));
        let platform = plan.platforms.first().context("a plan has a platform")?;
        let (heard, lines) = mpsc::sync_channel::<Vec<u8>>(WAITING);
        let run = RunWithFiles {
            image,
            platform: *platform,
            network: self.network,
            arguments: &arguments,
            files: &files,
            input: input.into_bytes(),
            hear: Box::new(move |line| _ = heard.send(line.to_vec())),
            limit: self.limit,
        };
        let mut judge = Judge::new(command);
        let finished = thread::scope(|scope| {
            scope.spawn(|| {
                for line in lines {
                    judge.line(&String::from_utf8_lossy(&line));
                }
            });
            context.engine.run_with_files(run)
        })?;
        let failed = !finished.status.success() || finished.timed_out.is_some();
        let ending = failed.then(|| finished.ending());
        match judge.finish(ending.as_deref()) {
            Ok(answer) => {
                step.done("ok");
                for warning in &answer.warnings {
                    context.report.warning(format_args!(
                        "{} {}: {warning}",
                        plan.connector,
                        command.name()
                    ));
                }
                Ok(answer)
            }
            Err(mut problems) => {
                step.failed();
                if failed && !finished.stderr.is_empty() {
                    problems.push(finished.tail());
                }
                Err(Problem::failure(problems.join("\n")).into())
            }
        }
    }
}

fn read(flag: &str, path: &Utf8Path) -> Result<Value> {
    let wrong = |error: String| Problem::usage(format!("{flag} {path}: {error}"));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // The error of serde_json names a place and shows nothing of the secrets in it.
    Ok(serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?)
}
