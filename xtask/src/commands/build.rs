//! `connector build`: an image for all platforms, assembled here or built by one buildx call, then `spec` on each.

use anyhow::Result;
use serde::Serialize;

use super::{
    Context, doctor,
    image::Builder,
    made::SpecOf,
    planner::{Ask, Planner},
    selection,
    specs::CheckedSpec,
};
use crate::{
    flags::Build,
    model::{
        connector::ConnectorName,
        image::{Digest, ImageRef},
        platform::Platform,
        problem::Exit,
    },
    plan::{build::BuildPlan, spec_batch},
    report::exit_of,
    tools::{process::check_interrupted, work::each},
};

/// What a build made, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Built {
    connector: ConnectorName,
    image: ImageRef,
    /// Digest of the image index (of the manifest, when docker built one platform).
    digest: Digest,
    specs: Vec<CheckedSpec>,
}

/// One connector of `--json`: what was made, or why it was not.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Built(&'a Built),
    Failed {
        connector: &'a ConnectorName,
        error: String,
    },
}

/// Builds each connector's image and runs its `spec`; `--dry-run` prints the plans instead. A connector that can't be
/// planned keeps all from being built, one that fails later keeps none, and the run ends as the worst of them did.
pub fn run(context: &Context, flags: &Build) -> Result<Exit> {
    let connectors = selection::to_build(context, &flags.selection)?;
    if connectors.is_empty() {
        context
            .report
            .note("no connector is touched, so nothing is built");
    }
    let platforms = flags.platform.resolve(&context.resolved.config.platforms);
    let native = native(context, flags, &platforms)?;
    let ask = if flags.dry_run {
        Ask::Nobody
    } else {
        Ask::Engine
    };
    let planner = Planner::new(context, platforms, &flags.tag, native, ask)?
        .with_builder(flags.builder.as_ref())
        .attested(flags.attest.asked());
    let mut plans = planner.plans(&connectors)?;
    spec_batch::share(&mut plans, flags.spec);
    if flags.dry_run {
        return show(context, flags, &plans);
    }
    let builder = Builder::new(context, &planner, native, &plans)?;
    let built = each(&plans, context.resolved.config.parallelism(), |plan| {
        execute(&builder, plan)
    });
    // Said once, not once for each connector that was under way.
    check_interrupted()?;
    report(context, flags, &plans, &built)
}

/// The platform that is native to the engine, once that has passed its checks. A dry run needs no engine: without
/// one this host's own platform counts.
fn native(context: &Context, flags: &Build, platforms: &[Platform]) -> Result<Platform> {
    if !flags.dry_run {
        let configured = &context.resolved.config.builder;
        let builder = flags.builder.as_ref().unwrap_or(configured);
        return Ok(doctor::preflight_with(context, platforms, builder)?.native());
    }
    Ok(context.engine.native())
}

/// Prints what would be done.
fn show(context: &Context, flags: &Build, plans: &[BuildPlan]) -> Result<Exit> {
    if flags.output.json {
        context.report.json(&plans)?;
    } else {
        for line in plans.iter().flat_map(BuildPlan::lines) {
            context.report.result(line);
        }
    }
    Ok(Exit::Success)
}

/// Builds and tests one connector.
fn execute(builder: &Builder, plan: &BuildPlan) -> Result<Built> {
    let made = builder.build(plan, |_| ())?;
    let specs = builder.check_specs(plan, SpecOf::Built(&made), |_, _| ())?;
    let started = |platform: &Platform| plan.runs_alone(*platform);
    let others = plan.platforms.iter().filter(|platform| !started(platform));
    others
        .into_iter()
        .try_for_each(|platform| builder.load(plan, &made, *platform))?;
    Ok(Built {
        connector: plan.connector.clone(),
        image: plan.image.clone(),
        digest: made.layout.digest().clone(),
        specs,
    })
}

/// Prints what came of each connector, in the order they were named.
fn report(
    context: &Context,
    flags: &Build,
    plans: &[BuildPlan],
    built: &[Result<Built>],
) -> Result<Exit> {
    let mut failed = Vec::new();
    for (plan, result) in plans.iter().zip(built) {
        if let Err(error) = result {
            failed.push((plan, error));
        }
    }
    if flags.output.json {
        let outcomes = plans.iter().zip(built).map(|(plan, result)| match result {
            Ok(built) => Outcome::Built(built),
            Err(error) => Outcome::Failed {
                connector: &plan.connector,
                error: format!("{error:#}"),
            },
        });
        context.report.json(&outcomes.collect::<Vec<_>>())?;
    }
    for (_, error) in &failed {
        context.report.error(error);
    }
    for built in built.iter().flatten() {
        if !flags.output.json {
            context.report.result(&built.image);
        }
        context
            .report
            .note(format_args!("run it: {}", run_line(context, built)));
    }
    if plans.len() > 1 && !failed.is_empty() {
        let names: Vec<String> = failed
            .iter()
            .map(|(plan, _)| plan.connector.to_string())
            .collect();
        context.report.note(format_args!(
            "{} of {} failed: {}",
            failed.len(),
            plans.len(),
            names.join(", ")
        ));
    }
    let exits = failed.iter().map(|(_, error)| exit_of(error));
    Ok(exits.max().unwrap_or(Exit::Success))
}

/// The command that starts what was built, ready to be pasted.
fn run_line(context: &Context, built: &Built) -> String {
    let host = context
        .engine
        .host
        .iter()
        .map(|host| format!("DOCKER_HOST={host} "))
        .collect::<String>();
    format!("{host}docker run --rm {} spec", built.image)
}
