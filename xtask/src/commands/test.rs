//! `connector test`: a connector's own tool checks, its build and spec, and its commands tried on a configuration.

mod smoke;
mod step;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use self::{
    smoke::{Smoke, Subject},
    step::{Outcome, Step},
};
use super::{
    Context, doctor,
    image::Builder,
    made::SpecOf,
    planner::{Ask, Planner},
    selection,
    specs::CheckedSpec,
    tool_checks::{self, Mending},
    work,
};
use crate::{
    flags::Test,
    model::{
        connector::Connector,
        finding::Finding,
        metadata::ConnectorType,
        problem::{Exit, Problem},
        spec_runs::SpecRuns,
    },
    plan::{
        build::{BuildPlan, buildable},
        checks::{self, Run},
        selection::Pages,
        spec_batch,
    },
    report::{
        findings::{self, Checked},
        table,
    },
    tools::process::check_interrupted,
};

#[derive(Debug, Serialize)]
struct Tested {
    connector: String,
    steps: Vec<Step>,
}

/// Tries each connector step by step, and prints a table. Ends as the worst failed step says (1, or 2 for bad input),
/// with 3 when none failed and one could not be tried.
pub fn run(context: &Context, flags: &Test) -> Result<Exit> {
    let connectors = selection::chosen(context, &flags.selection, Pages::Ignore)?.whole()?;
    if connectors.len() > 1 && flags.config_file.is_some() {
        return Err(Problem::usage(format!(
            "--config-file is for one connector, and {} are named",
            connectors.len()
        ))
        .into());
    }
    if let (Some(_), [connector]) = (&flags.config_file, connectors.as_slice()) {
        buildable(connector)?;
    }
    if connectors.is_empty() {
        context
            .report
            .note("no connector is touched, so nothing is tested");
    }
    let destination = connectors
        .iter()
        .find(|one| one.metadata.connector_type == ConnectorType::Destination);
    if let (Some(connector), Some(_)) = (destination, &flags.catalog) {
        return Err(Problem::usage(format!(
            "--catalog is what a source reads, and {} is a destination",
            connector.name
        ))
        .help("leave it out: destinations are tried with a small catalog of their own")
        .into());
    }
    let smoke = Smoke::of(flags)?;
    let tools: Vec<_> = checks::all()
        .filter(|check| matches!(check.run, Run::Tool(_)))
        .collect();
    let mut tested: Vec<Tested> = connectors
        .iter()
        .map(|connector| Tested {
            connector: connector.name.to_string(),
            steps: Vec::new(),
        })
        .collect();
    if !connectors.is_empty() {
        for ran in tool_checks::run(context, &connectors, &tools, Mending::Nothing)? {
            let of = tested.iter_mut().find(|one| one.connector == ran.connector);
            if let Some(tested) = of {
                tested.steps.extend(Step::of_check(ran));
            }
        }
        let can = |connector: &&Connector| buildable(connector).is_ok();
        let to_build: Vec<Connector> = connectors.iter().filter(can).cloned().collect();
        let mut built = try_images(context, &to_build, smoke.as_ref())?.into_iter();
        for (tested, connector) in tested.iter_mut().zip(&connectors) {
            let steps = match buildable(connector) {
                Ok(_) => built.next().unwrap_or_default(),
                Err(problem) => vec![Step::new("build", Outcome::Skipped, problem.message)],
            };
            tested.steps.extend(steps);
        }
    }
    print(context, flags, &tested)
}

/// Builds every connector for the engine's own platform and tries what came of it; a failure holds no other up.
fn try_images(
    context: &Context,
    connectors: &[Connector],
    smoke: Option<&Smoke>,
) -> Result<Vec<Vec<Step>>> {
    if connectors.is_empty() {
        return Ok(Vec::new());
    }
    let info = match doctor::preflight(context, &[]) {
        Ok(info) => info,
        Err(error) => {
            check_interrupted()?;
            let failed =
                |_: &Connector| vec![Step::of("build", Err(Problem::again(&error).into()))];
            return Ok(connectors.iter().map(failed).collect());
        }
    };
    let native = info.native();
    let tag = "dev".parse().map_err(Problem::usage)?;
    let planner = Planner::new(context, vec![native], &tag, native, Ask::Engine)?;
    let jobs = context.resolved.config.parallelism();
    let mut plans = work::each(connectors, jobs, |connector| {
        let plan = planner.plan(connector);
        plan.map_err(|error| Step::of("build", Err(error)))
    });
    spec_batch::share(plans.iter_mut().flatten(), SpecRuns::All);
    let builder = Builder::new(context, &planner, native, plans.iter().flatten())?;
    let planned: Vec<(&Connector, Result<BuildPlan, Step>)> =
        connectors.iter().zip(plans).collect();
    let steps = work::each(&planned, jobs, |(connector, plan)| {
        let plan = plan.as_ref().ok()?;
        Some(try_image(
            context,
            &builder,
            plan,
            connector.metadata.connector_type,
            smoke,
        ))
    });
    check_interrupted()?;
    let unplanned = planned.into_iter().map(|(_, plan)| plan.err());
    let all = unplanned.zip(steps).map(|(unplanned, steps)| {
        let steps = steps.unwrap_or_default();
        unplanned.into_iter().chain(steps).collect()
    });
    Ok(all.collect())
}

fn try_image(
    context: &Context,
    builder: &Builder,
    plan: &BuildPlan,
    kind: ConnectorType,
    smoke: Option<&Smoke>,
) -> Vec<Step> {
    let made = match builder.build(plan, |_| ()) {
        Ok(made) => made,
        Err(error) => return vec![Step::of("build", Err(error))],
    };
    let built = format!("{} {}", plan.image, made.layout.digest());
    let mut steps = vec![Step::of("build", Ok(built))];
    let specs = builder.check_specs(plan, SpecOf::Built(&made), |_, _| ());
    let spec = match specs.and_then(|specs| specs.into_iter().next().context("no spec was run")) {
        Ok(CheckedSpec {
            platform, value, ..
        }) => {
            steps.push(Step::new("spec", Outcome::Passed, platform.to_string()));
            value
        }
        Err(error) => {
            steps.push(Step::of("spec", Err(error)));
            Value::Null
        }
    };
    match smoke {
        Some(smoke) => {
            let subject = Subject {
                context,
                plan,
                image: made.image(plan),
            };
            steps.extend(smoke.try_all(&subject, kind, &spec));
        }
        None => steps.push(Step::new("check", Outcome::Skipped, "no --config-file")),
    }
    steps
}

fn print(context: &Context, flags: &Test, tested: &[Tested]) -> Result<Exit> {
    if flags.output.json {
        context.report.json(&tested)?;
    } else if !tested.is_empty() {
        context.report.result(shown(tested));
    }
    let exit = |outcome| {
        let steps = tested.iter().flat_map(|tested| &tested.steps);
        let of = steps.filter(|step| step.outcome == outcome);
        of.map(|step| step.exit).max()
    };
    // What is wrong counts before what is not known.
    let exit = exit(Outcome::Failed).or_else(|| exit(Outcome::Unknown));
    Ok(exit.unwrap_or(Exit::Success))
}

/// A table of the steps, then what was found.
fn shown(tested: &[Tested]) -> String {
    let row = |tested: &Tested, step: &Step| {
        let outcome = match step.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
            Outcome::Unknown => "unknown",
        };
        let first = step.detail.lines().next().unwrap_or_default();
        [&tested.connector, step.step, outcome, first]
            .map(str::to_owned)
            .to_vec()
    };
    let steps = || {
        tested
            .iter()
            .flat_map(|tested| tested.steps.iter().map(move |step| (tested, step)))
    };
    let rows: Vec<_> = steps().map(|(tested, step)| row(tested, step)).collect();
    let mut text = table(&["CONNECTOR", "STEP", "OUTCOME", "DETAIL"], &rows);
    for (tested, step) in steps().filter(|(_, step)| step.detail.contains('\n')) {
        text.push_str(&format!(
            "\n\n{} {}: {}",
            tested.connector,
            step.step,
            step.detail.replace('\n', "\n    ")
        ));
    }
    let found: Vec<Finding> = steps()
        .flat_map(|(_, step)| step.findings.iter().cloned())
        .collect();
    if !found.is_empty() {
        let checked = Checked {
            connectors: &[],
            checks: &[],
            findings: &found,
            not_run: &[],
        };
        text.push_str(&format!("\n\n{}", findings::text(&checked)));
    }
    text
}
