//! Checks that run programs: poe tasks in a connector's own environment, and the CDK of its base image.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Shell, cmd};

use super::{
    Context,
    environment::{Environments, Tooling, packaged_in},
    manifests::{self, Judged},
    work,
};
use crate::{
    model::{connector::Connector, finding::Finding, problem::Problem, yaml::Place},
    plan::checks::{
        Check, Defect, Run,
        tools::{self, TaskRun, Tool},
    },
    tools::{
        files::remove_file,
        poe::Poe,
        process::{Finished, Program, check_interrupted},
        python_environment::PythonEnvironment,
    },
};

/// Unit tests of a heavy connector take minutes.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// pytest's exit code for "no tests were collected", and what it says then.
const NO_TESTS: i32 = 5;
const NONE_RAN: &str = "no tests ran";
/// A shell's exit codes for a program that can't be started and one that is not there (POSIX.1-2024, XCU 2.8.2).
const NO_PROGRAM: [i32; 2] = [126, 127];
/// Where the tasks of Airbyte's connectors have pytest write its JUnit file: their `--junitxml` wins over ours.
const RESULTS: &str = "build/test-results";
/// Where those tasks run pytest: what it names lies below.
const UNIT_TESTS: &str = "unit_tests";

/// What is changed before it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mending {
    Nothing,
    /// Code is formatted by the connector's task [`FORMAT_FIX`], where it defines one.
    Format,
}

const FORMAT_FIX: &str = "format-fix";

/// One tool check of one connector, run.
#[derive(Debug)]
pub struct Ran {
    pub connector: String,
    pub check: &'static str,
    pub outcome: Outcome,
}

/// What came of a tool check; `Unknown` ends the run with 3 where nothing is wrong.
#[derive(Debug)]
pub enum Outcome {
    /// With a few words where there is something to say.
    Passed(String),
    Failed(Vec<Finding>),
    /// The connector defines nothing to run: why.
    Skipped(String),
    /// It is for connectors of another kind.
    Inapplicable,
    /// It could not be run, which says nothing of the connector.
    Unknown(anyhow::Error),
}

/// Runs those of `checks` that are tool checks, over all connectors; by connector, in the order of `checks`.
pub fn run(
    context: &Context,
    connectors: &[Connector],
    checks: &[&'static Check],
    mending: Mending,
) -> Result<Vec<Ran>> {
    let asked: Vec<(&'static Check, Tool)> = checks
        .iter()
        .filter_map(|check| match check.run {
            Run::Tool(tool) => Some((*check, tool)),
            _ => None,
        })
        .collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let by_cdk = |(_, tool): &(_, Tool)| matches!(tool, Tool::Manifest | Tool::Components);
    let judged = match asked.iter().any(by_cdk) {
        true => manifests::judge(context, connectors),
        false => BTreeMap::new(),
    };
    // What is judged in a base image needs none.
    let environments = (!asked.iter().all(by_cdk)).then(|| Environments::open(context));
    let jobs = context.resolved.config.parallelism();
    let ran = work::each(connectors, jobs, |connector| {
        let judged = judged.get(connector.name.as_str());
        let environments = || {
            let opened = environments
                .as_ref()
                .expect("a task or uv.lock is asked about");
            opened.as_ref().map_err(Problem::again)
        };
        let bench = LazyCell::new(|| Bench::of(context, environments()?, connector));
        let outcome = |tool: Tool, check| match tool {
            Tool::Manifest => of_cdk(judged, connector, manifests::MANIFEST, check),
            Tool::Components => of_cdk(judged, connector, manifests::COMPONENTS, check),
            Tool::UvLock => uv_lock(context, environments, connector, check),
            Tool::Format | Tool::Lint | Tool::UnitTests => match &*bench {
                Ok(bench) => bench.task(tool, check, mending),
                Err(error) => Outcome::Unknown(Problem::again(error).into()),
            },
        };
        let one = |(check, tool): &(&'static Check, Tool)| Ran {
            connector: connector.name.to_string(),
            check: check.id,
            outcome: outcome(*tool, check),
        };
        asked.iter().map(one).collect::<Vec<_>>()
    });
    check_interrupted()?;
    Ok(ran.into_iter().flatten().collect())
}

/// Where the poe tasks of one connector run.
struct Bench<'a> {
    context: &'a Context<'a>,
    connector: &'a Connector,
    poe: Poe<'a>,
    tasks: BTreeSet<String>,
    tooling: Result<Tooling>,
}

impl<'a> Bench<'a> {
    fn of(
        context: &'a Context,
        environments: &'a Environments,
        connector: &'a Connector,
    ) -> Result<Bench<'a>> {
        let poe = Poe {
            uv: &environments.uv,
            pinned: &context.resolved.config.tools.poe,
        };
        let directory = context.repo.root.join(&connector.directory);
        let tasks = poe
            .tasks(&directory)
            .with_context(|| format!("list the poe tasks of {}", connector.name))?;
        let wanted = [Tool::Format, Tool::Lint, Tool::UnitTests]
            .iter()
            .any(|tool| tool.task().is_some_and(|task| tasks.contains(task)));
        let tooling = match wanted {
            true => environments.of(connector),
            false => Ok(Tooling::Missing(
                "it defines none of the poe tasks".to_owned(),
            )),
        };
        Ok(Bench {
            context,
            connector,
            poe,
            tasks,
            tooling,
        })
    }

    fn task(&self, tool: Tool, check: &'static Check, mending: Mending) -> Outcome {
        let task = tool.task().unwrap_or_default();
        if !self.tasks.contains(task) {
            return Outcome::Skipped(format!("it defines no poe task `{task}`"));
        }
        match &self.tooling {
            Err(error) => Outcome::Unknown(Problem::again(error).into()),
            Ok(Tooling::Missing(why)) => Outcome::Skipped(why.clone()),
            Ok(Tooling::Ready {
                environment,
                variables,
            }) => self
                .mend(tool, variables, mending)
                .and_then(|()| self.run(tool, task, environment, variables, check))
                .unwrap_or_else(Outcome::Unknown),
        }
    }

    fn mend(&self, tool: Tool, variables: &[(String, String)], mending: Mending) -> Result<()> {
        if (tool, mending) != (Tool::Format, Mending::Format) || !self.tasks.contains(FORMAT_FIX) {
            return Ok(());
        }
        let name = &self.connector.name;
        let directory = self.context.repo.root.join(&self.connector.directory);
        let step = self.context.report.step(format!("{name} {FORMAT_FIX}"));
        let finished = self.poe.run(&directory, FORMAT_FIX, variables, LIMIT)?;
        if !finished.status.success() || finished.timed_out.is_some() {
            step.failed();
            return Err(finished.error().into());
        }
        step.done("ok");
        Ok(())
    }

    fn run(
        &self,
        tool: Tool,
        task: &str,
        environment: &PythonEnvironment,
        variables: &[(String, String)],
        check: &'static Check,
    ) -> Result<Outcome> {
        let name = &self.connector.name;
        let directory = self.context.repo.root.join(&self.connector.directory);
        let results = directory.join(RESULTS);
        remove_file(&environment.junit())?;
        let before = junit_files(&results);
        let step = self.context.report.step(format!("{name} {task}"));
        let finished = self.poe.run(&directory, task, variables, LIMIT)?;
        let code = finished.status.code();
        if code.is_some_and(|code| NO_PROGRAM.contains(&code)) {
            step.failed();
            let help = format!("install what the poe task `{task}` starts");
            return Ok(Outcome::Unknown(finished.error().help(help).into()));
        }
        let junit: Vec<String> = match tool {
            Tool::UnitTests => {
                let ours = fs::read_to_string(environment.junit()).ok();
                let now = junit_files(&results);
                let theirs = now.difference(&before);
                let theirs = theirs.filter_map(|(path, _)| fs::read_to_string(path).ok());
                ours.map_or_else(|| theirs.collect(), |ours| vec![ours])
            }
            _ => Vec::new(),
        };
        let tests = junit.iter().filter_map(|text| tools::tests_run(text));
        let tests = tests.reduce(|all, tests| all + tests);
        let passed = finished.status.success() && finished.timed_out.is_none();
        let none = match tests {
            Some(tests) => tests == 0 && (passed || code == Some(NO_TESTS)),
            None => code == Some(NO_TESTS) && both(&finished).contains(NONE_RAN),
        };
        if tool == Tool::UnitTests && none {
            step.done("no tests");
            return Ok(Outcome::Skipped("there are no tests to run".to_owned()));
        }
        if passed {
            let said = tests.map_or_else(|| "ok".to_owned(), |count| format!("{count} tests"));
            step.done(&said);
            return Ok(Outcome::Passed(said));
        }
        step.failed();
        let defects = self.defects(tool, &finished, &junit);
        Ok(failed(check, self.connector, defects))
    }

    /// What made a task fail.
    fn defects(&self, tool: Tool, finished: &Finished, junit: &[String]) -> Vec<Defect> {
        let (root, directory) = (&self.context.repo.root, &self.connector.directory);
        let output = both(finished);
        let run = TaskRun {
            ending: &finished.ending(),
            output: &output,
            junit,
        };
        let defined_in = ["poe_tasks.toml", "pyproject.toml"]
            .into_iter()
            .find(|file| root.join(directory).join(file).is_file());
        let mut defects =
            tools::task_defects(tool, &run, directory, defined_in.unwrap_or("metadata.yaml"));
        for defect in &mut defects {
            let Ok(file) = defect.file.strip_prefix(directory) else {
                continue;
            };
            let below = directory.join(UNIT_TESTS).join(file);
            if !root.join(&defect.file).exists() && root.join(&below).exists() {
                defect.file = below;
            }
        }
        defects
    }
}

/// The XML files in a directory, each with when it was written.
fn junit_files(directory: &Utf8Path) -> BTreeSet<(Utf8PathBuf, SystemTime)> {
    let entries = directory.read_dir_utf8().into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().extension() == Some("xml"));
    let file = |entry: camino::Utf8DirEntry| {
        let modified = entry.metadata().ok()?.modified().ok()?;
        Some((entry.into_path(), modified))
    };
    files.filter_map(file).collect()
}

/// What a program printed on both streams.
fn both(finished: &Finished) -> String {
    format!(
        "{}\n{}",
        finished.text(),
        String::from_utf8_lossy(&finished.stderr)
    )
}

fn failed(check: &Check, connector: &Connector, defects: Vec<Defect>) -> Outcome {
    let finding = |defect| check.finding(connector.name.as_str(), defect);
    Outcome::Failed(defects.into_iter().map(finding).collect())
}

fn uv_lock<'a>(
    context: &Context,
    environments: impl FnOnce() -> Result<&'a Environments<'a>, Problem>,
    connector: &Connector,
    check: &'static Check,
) -> Outcome {
    let place = packaged_in(connector);
    let directory = context.repo.root.join(&place);
    if !directory.join("uv.lock").is_file() {
        return Outcome::Inapplicable;
    }
    let run = || -> Result<Outcome> {
        let uv = &environments()?.uv;
        let shell = Shell::new().context("open a shell")?;
        shell.change_dir(&directory);
        let finished = Program::from(cmd!(shell, "{uv} --no-progress lock --check"))
            .limit(LIMIT)
            .finish()?;
        if finished.status.success() && finished.timed_out.is_none() {
            return Ok(Outcome::Passed("ok".to_owned()));
        }
        if !finished.tail().contains("needs to be updated") {
            return Ok(Outcome::Unknown(finished.error().into()));
        }
        let defect = Defect {
            file: place.join("uv.lock"),
            at: Place::START,
            message: "it was made from another pyproject.toml".to_owned(),
            help: format!("run `uv lock` in {place}, and commit the lock file"),
        };
        Ok(failed(check, connector, vec![defect]))
    };
    run().unwrap_or_else(Outcome::Unknown)
}

/// The part of what the CDK says that concerns one of the two files.
fn of_cdk(
    judged: Option<&Result<Judged>>,
    connector: &Connector,
    file: &str,
    check: &'static Check,
) -> Outcome {
    let judged = match judged {
        None => return Outcome::Inapplicable,
        Some(Err(error)) => return Outcome::Unknown(Problem::again(error).into()),
        Some(Ok(judged)) => judged,
    };
    if file == manifests::COMPONENTS && judged.files.components.is_none() {
        return Outcome::Inapplicable;
    }
    let defects = tools::manifest_defects(
        &judged.faults,
        file,
        &connector.directory,
        &judged.files.manifest,
    );
    match defects.is_empty() {
        true => Outcome::Passed(format!("CDK {}", judged.cdk)),
        false => failed(check, connector, defects),
    }
}
