//! `connector build`: one buildx call for all platforms, then `spec` on each of them.

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use serde::Serialize;

use super::{
    Context, doctor,
    planner::{Ask, Planner},
    selection,
    wheels::Wheels,
    work::each,
};
use crate::{
    flags::{self, Build},
    model::{
        connector::{Connector, ConnectorName},
        image::{Digest, ImageRef},
        platform::Platform,
        problem::{Exit, Problem},
    },
    plan::{
        build::{BuildPlan, SpecCheck, base_image, buildable},
        selection::Pages,
        spec,
    },
    report::exit_of,
    tools::{
        buildx,
        files::{remove_directory, write},
        layout::Layout,
        machine_check::{self, Seen},
        process::check_interrupted,
        uv,
    },
};

/// What a build made, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Built {
    connector: ConnectorName,
    image: ImageRef,
    /// Digest of the image index (of the manifest, when one platform was built).
    digest: Digest,
    specs: Vec<CheckedSpec>,
}

#[derive(Debug, Serialize)]
struct CheckedSpec {
    platform: Platform,
    emulated: bool,
    /// The value of `spec` in the SPEC message, as a JSON file.
    path: Utf8PathBuf,
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

pub fn run(context: &Context, flags: &Build) -> Result<Exit> {
    let connectors = chosen(context, &flags.selection)?;
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
    let planner = Planner::new(context, platforms, &flags.tag, native, ask)?;
    let plans = connectors
        .iter()
        .map(|connector| planner.plan(connector))
        .collect::<Result<Vec<_>>>()?;
    if flags.dry_run {
        return show(context, flags, &plans);
    }
    let wheels = if plans.iter().any(|plan| plan.python.is_some()) {
        fetch_uv(context, native)?;
        Some(Wheels::open(context, native, &planner.docker_images)?)
    } else {
        None
    };
    let built = each(&plans, context.resolved.config.parallelism(), |plan| {
        execute(context, plan, wheels.as_ref())
    });
    // Said once, not once for each connector that was under way.
    check_interrupted()?;
    report(context, flags, &plans, &built)
}

/// The platform that is native to the engine, once that has passed its checks. A dry run needs no engine: without
/// one this host's own platform counts.
fn native(context: &Context, flags: &Build, platforms: &[Platform]) -> Result<Platform> {
    let info = if flags.dry_run {
        context.engine.info().ok()
    } else {
        Some(doctor::preflight(context, platforms)?)
    };
    Ok(info
        .and_then(|info| info.platform)
        .unwrap_or_else(Platform::host))
}

fn fetch_uv(context: &Context, native: Platform) -> Result<()> {
    let step = context.report.step("uv for builds");
    let version = &context.resolved.config.tools.uv;
    uv::for_containers(version, native, &context.repo.tools())?;
    step.done(version);
    Ok(())
}

/// The connectors that were named, when every one of them can be built; else all that is in the way.
fn chosen(context: &Context, selection: &flags::Selection) -> Result<Vec<Connector>> {
    let config = &context.resolved.config;
    let connectors = selection::chosen(context, selection, Pages::Ignore)?.whole()?;
    let problems: Vec<Problem> = connectors
        .iter()
        .flat_map(|c| [buildable(c).err(), base_image(c, config).err()])
        .flatten()
        .collect();
    match problems.as_slice() {
        [] => Ok(connectors),
        [one] => Err(one.clone().into()),
        [first, ..] => {
            let all: Vec<String> = problems
                .iter()
                .map(|problem| format!("    {problem}"))
                .collect();
            let problem = Problem::usage(format!(
                "not every connector named can be built\n{}",
                all.join("\n")
            ));
            Err(Problem {
                help: first.help.clone(),
                ..problem
            }
            .into())
        }
    }
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
fn execute(context: &Context, plan: &BuildPlan, wheels: Option<&Wheels>) -> Result<Built> {
    if let (Some(python), Some(wheels)) = (&plan.python, wheels) {
        wheels.prepare(plan, python)?;
    }
    // buildx adds to a layout that is there.
    remove_directory(&plan.layout)?;
    let step = context.report.step(format!("{} build", plan.connector));
    let digest = match buildx::build(&context.engine, &plan.buildx_arguments(), |line| {
        step.busy(line)
    }) {
        Ok(digest) => digest,
        Err(error) => {
            step.failed();
            return Err(error.context(format!("build image for {}", plan.connector)));
        }
    };
    let seen = Seen {
        directory: context.repo.target().join("seen-layers"),
    };
    let layout = Layout::open(&plan.layout)?;
    anyhow::ensure!(
        *layout.digest() == digest,
        "docker made {digest} but wrote {} to {}",
        layout.digest(),
        plan.layout
    );
    let strays = machine_check::layout(&layout, &seen)?;
    remove_directory(&plan.layout)?;
    machine_check::expect_none(&strays, &format!("image {}", plan.image))?;
    step.done(format_args!("{} {digest}", plan.image));
    let specs = plan
        .specs
        .iter()
        .map(|check| check_spec(context, plan, check))
        .collect::<Result<_>>()?;
    Ok(Built {
        connector: plan.connector.clone(),
        image: plan.image.clone(),
        digest,
        specs,
    })
}

/// Runs `spec` on one platform, judges it and keeps it.
fn check_spec(context: &Context, plan: &BuildPlan, check: &SpecCheck) -> Result<CheckedSpec> {
    let step = context
        .report
        .step(format!("{} spec {}", plan.connector, check.platform));
    let finished = context
        .engine
        .run_spec(&plan.image, check.platform, check.limit)?;
    let ending =
        (!finished.status.success() || finished.timed_out.is_some()).then(|| finished.ending());
    let spec = match spec::judge(&finished.text(), ending.as_deref()) {
        Ok(spec) => spec,
        Err(problems) => {
            step.failed();
            let mut message = format!("spec of {} on {} is wrong", plan.connector, check.platform);
            for line in problems
                .iter()
                .map(String::as_str)
                .chain(finished.tail().lines())
            {
                message.push_str(&format!("\n    {line}"));
            }
            return Err(Problem::failure(message).into());
        }
    };
    for line in &spec.stray {
        context.report.warning(format_args!(
            "{}: printed a line that is no Airbyte message: {line}",
            plan.connector
        ));
    }
    let path = context
        .repo
        .work(&plan.connector)
        .join(format!("spec-{}.json", check.platform.architecture()));
    let text = serde_json::to_string_pretty(&spec.value).context("write the spec as JSON")?;
    write(&path, &(text + "\n"))?;
    step.done(if check.emulated { "ok, emulated" } else { "ok" });
    Ok(CheckedSpec {
        platform: check.platform,
        emulated: check.emulated,
        path,
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
