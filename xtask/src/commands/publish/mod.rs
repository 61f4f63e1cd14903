//! `connector publish`: what the registry lacks is built, tested, scanned, pushed, read back and only then tagged.

mod execute;
mod facts;
mod outputs;
mod results;

pub use self::facts::published;

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    slice,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use toml::Value;

use self::{
    execute::Run,
    outputs::Sinks,
    results::{Outcome, Results},
};
use super::{
    Context, doctor,
    image::Builder,
    package,
    planner::{Ask, Planner},
    scan::Scans,
    selection,
};
use crate::{
    flags::{Global, Publish},
    model::{
        config::Origin,
        connector::Connector,
        image::Tag,
        platform::Platform,
        problem::{Exit, Problem},
        release::{Mode, ReleaseType, Signing},
    },
    plan::{
        build::BuildPlan,
        publish::{
            Found,
            request::{self, Asked, Target},
            steps::{Inputs, PublishPlan},
        },
        selection::Pages,
        spec_batch,
    },
    tools::{
        cosign, git,
        process::check_interrupted,
        registry::{Credentials, Registries},
        retry::Policy,
        run_record::{self, Event, RunRecord, State},
        work::{each, lock},
    },
};

/// Tag of what is built here, in the engine's store.
const LOCAL_TAG: &str = "publish";

/// A dry run only wants to know; it does not wait for a registry that is not there.
const CURIOUS: Policy = Policy {
    tries: 2,
    total: Duration::from_secs(10),
    first: Duration::from_millis(500),
    longest: Duration::from_secs(1),
};
const CURIOUS_ANSWER: Duration = Duration::from_secs(5);

/// A connector on its way.
struct Prepared<'a> {
    connector: &'a Connector,
    target: Target,
    package: Option<package::Found>,
    /// What is done, or why there is no plan.
    plan: Result<PublishPlan>,
}

/// Plans, builds, tests and pushes each connector; `--plan` prints the plans instead. One that fails stops no other
/// unless asked to, and the run ends as the worst of them did.
pub fn run(context: &mut Context, global: &Global, flags: &Publish) -> Result<Exit> {
    if let Some(registry) = flags.registry.as_ref().filter(|flag| !flag.is_empty()) {
        let registry = Value::String(registry.clone());
        context
            .resolved
            .set("registry", registry, Origin::Flag, "--registry")?;
    }
    let connectors = chosen(context, flags)?;
    let mut targets = targets(context, flags, &connectors)?;
    if targets.is_empty() {
        context
            .report
            .note("no connector is touched, so nothing is published");
    } else if global.sandbox {
        context.enter_sandbox()?;
        targets = self::targets(context, flags, &connectors)?;
    }
    let context = &*context;
    if flags.signing() == Signing::On {
        cosign::ready()?;
    }
    let say = |line: &str| context.report.note(line);
    let publishing = Publishing {
        context,
        flags,
        registries: &registries(&say, flags.mode())?,
        jobs: flags.jobs.unwrap_or(context.resolved.config.parallelism()),
    };
    let looked = publishing.look(&connectors, targets);
    if flags.plan {
        return publishing.show(looked);
    }
    let names: Vec<_> = looked
        .iter()
        .map(|one| one.target.connector.clone())
        .collect();
    let sinks = Sinks::new(names.iter().cloned(), flags.outputs_file.clone());
    for one in &looked {
        sinks.set(&one.target.connector, &outputs::of_target(&one.target))?;
    }
    let done = publishing.carry_out(looked, &sinks);
    // Whatever ended the run, those who read its outputs are told; what ended it is the error then.
    let closed: Vec<Result<()>> = names.iter().map(|name| sinks.close(name)).collect();
    let told: Result<()> = closed.into_iter().collect();
    let told = told.and(sinks.close_run());
    done.and_then(|exit| told.map(|()| exit))
}

/// What the parts of one run share.
struct Publishing<'a> {
    context: &'a Context<'a>,
    flags: &'a Publish,
    registries: &'a Registries<'a>,
    jobs: NonZeroUsize,
}

impl<'a> Publishing<'a> {
    /// Prints what would be done.
    fn show(&self, looked: Vec<Looked<'a>>) -> Result<Exit> {
        let tag = local_tag()?;
        let native = native(self.context, self.flags, &looked)?;
        let planner = planner(self.context, self.flags, &looked, native, &tag)?;
        show(
            self.context,
            self.flags,
            plans(looked, planner.as_ref(), self.flags, self.jobs),
        )
    }

    /// Plans, builds, tests and publishes, and reports what came of it.
    fn carry_out(&self, looked: Vec<Looked<'a>>, sinks: &Sinks) -> Result<Exit> {
        let Publishing {
            context,
            flags,
            registries,
            jobs,
        } = *self;
        let tag = local_tag()?;
        let native = native(context, flags, &looked)?;
        self.log_in(&looked)?;
        let planner = planner(context, flags, &looked, native, &tag)?;
        let prepared = plans(looked, planner.as_ref(), flags, jobs);
        let plans = || prepared.iter().flat_map(|one| one.plan.iter());
        for line in plans().flat_map(PublishPlan::lines) {
            context.report.note(line);
        }
        let builder = match &planner {
            Some(planner) => {
                let builds = plans().filter_map(|plan| plan.build.as_ref());
                Some(Builder::new(context, planner, native, builds)?)
            }
            None => None,
        };
        let scans = match plans().any(|plan| plan.action.builds()) {
            true => Some(Scans::open(context, registries)?),
            false => None,
        };
        let record = record(context, flags.mode(), &prepared)?;
        let run = Run {
            context,
            registries,
            builder: builder.as_ref(),
            scans: scans.as_ref(),
            record: &record,
            sinks,
        };
        let connectors: Vec<&Connector> = prepared.iter().map(|one| one.connector).collect();
        let outcomes = execute(&run, prepared, flags, jobs);
        let results = Results {
            mode: flags.mode(),
            record: &record.directory,
            connectors: outcomes,
        };
        let exit = results.report(context, flags);
        let annotated = results.annotate(context, &connectors);
        check_interrupted()?;
        exit.and_then(|exit| annotated.map(|()| exit))
    }

    /// Gives docker the environment's credentials for the registries that it will pull from.
    fn log_in(&self, looked: &[Looked<'_>]) -> Result<()> {
        let credentials = self.registries.credentials();
        if !credentials.beyond_docker() {
            return Ok(());
        }
        let targets = looked.iter().filter(|one| builds(slice::from_ref(one)));
        let hosts: BTreeSet<&str> = targets
            .flat_map(|one| {
                let Target { base, image, .. } = &one.target;
                [base.used.registry.as_str(), image.registry.as_str()]
            })
            .collect();
        if hosts.is_empty() {
            return Ok(());
        }
        let given = |host| Some((host, credentials.given_for(host)?));
        let given: Vec<_> = hosts.into_iter().filter_map(given).collect();
        let engine = &self.context.engine;
        engine.make_private(&given.iter().map(|(host, _)| *host).collect::<Vec<_>>())?;
        for (host, credential) in given {
            let (policy, report) = (self.registries.policy(), self.context.report);
            let done = engine.log_in(host, credential, policy, &|line| report.note(line));
            match (done, self.flags.mode()) {
                (Err(error), Mode::DryRun) => report.warning(format_args!("{error:#}")),
                (done, _) => done?,
            }
        }
        Ok(())
    }

    /// Asks registry and package index about every connector.
    fn look(&self, connectors: &'a [Connector], targets: Vec<Target>) -> Vec<Looked<'a>> {
        let Publishing {
            context,
            flags,
            registries,
            jobs,
            ..
        } = *self;
        let platforms = &context.resolved.config.platforms;
        let pairs: Vec<_> = connectors.iter().zip(targets).collect();
        let facts = each(&pairs, jobs, |(connector, target)| {
            let found = facts::found(registries, &target.image, platforms, flags.mode())?;
            Ok((found, facts::package(context, connector, flags)?))
        });
        let inputs = |target: &Target, found: Found, package| Inputs {
            target: target.clone(),
            published: facts::published(&context.repo, &target.image, found.digest()),
            found,
            platforms,
            mode: flags.mode(),
            existing: flags.existing(),
            signing: flags.signing(),
            latest: flags.latest(),
            release: flags.release_type,
            overridden: !flags.tag_override.is_empty(),
            package,
            build: None,
        };
        let pairs = pairs.into_iter().zip(facts);
        pairs
            .map(|((connector, target), facts)| {
                let mut package = None;
                let inputs = facts.map(|(found, (planned, its))| {
                    package = its;
                    inputs(&target, found, planned)
                });
                Looked {
                    connector,
                    target,
                    package,
                    inputs,
                }
            })
            .collect()
    }
}

fn local_tag() -> Result<Tag> {
    LOCAL_TAG.parse().map_err(anyhow::Error::msg)
}

/// The connectors that the flags mean.
fn chosen(context: &Context, flags: &Publish) -> Result<Vec<Connector>> {
    if !flags.retry_failed {
        return selection::chosen(context, &flags.selection, Pages::Ignore)?.whole();
    }
    let mode = flags.mode();
    let Some((last, names)) = run_record::unfinished(&runs(context), mode)? else {
        let run = match mode {
            Mode::DryRun => "run",
            Mode::Real => "run with --dry-run=false",
        };
        return Err(Problem::usage(format!("--retry-failed: there was no {run} yet")).into());
    };
    context
        .report
        .note(format_args!("{last}: {} to try again", names.len()));
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let config = &context.resolved.config;
    context
        .repo
        .load(&context.resolved)?
        .select(&context.repo, config, &names)?
        .whole()
}

/// Where each connector goes, when all of it makes sense.
fn targets(context: &Context, flags: &Publish, connectors: &[Connector]) -> Result<Vec<Target>> {
    let commit = match flags.release_type {
        ReleaseType::PreRelease => git::commit(&context.repo.root)?,
        ReleaseType::Main => None,
    };
    let asked = Asked {
        tag_override: &flags.tag_override,
        mode: flags.mode(),
        existing: flags.existing(),
        release: flags.release_type,
        commit: commit.as_deref(),
    };
    request::targets(&asked, connectors, &context.resolved.config)
        .map_err(|problems| Problem::all("this can't be published", problems).into())
}

fn registries<'a>(say: &'a (dyn Fn(&str) + Sync), mode: Mode) -> Result<Registries<'a>> {
    let registries = Registries::new(Credentials::gather()?, say);
    Ok(match mode {
        Mode::Real => registries,
        Mode::DryRun => registries.with_patience(CURIOUS, CURIOUS_ANSWER),
    })
}

/// A connector and what its plan is made from, or why nothing is known.
struct Looked<'a> {
    connector: &'a Connector,
    target: Target,
    package: Option<package::Found>,
    inputs: Result<Inputs<'a>>,
}

/// Whether anything is built.
fn builds(looked: &[Looked<'_>]) -> bool {
    looked
        .iter()
        .flat_map(|one| one.inputs.iter())
        .any(Inputs::builds)
}

/// The platform that is native to the engine, once that has passed its checks; nobody asks an engine that is not used.
fn native(context: &Context, flags: &Publish, looked: &[Looked<'_>]) -> Result<Platform> {
    if flags.plan || !builds(looked) {
        return Ok(Platform::host());
    }
    let config = &context.resolved.config;
    let builder = flags.builder.as_ref().unwrap_or(&config.builder);
    Ok(doctor::preflight_with(context, &config.platforms, builder)?.native())
}

/// None when nothing is built.
fn planner<'a>(
    context: &'a Context<'a>,
    flags: &'a Publish,
    looked: &[Looked<'_>],
    native: Platform,
    tag: &'a Tag,
) -> Result<Option<Planner<'a>>> {
    if !builds(looked) {
        return Ok(None);
    }
    let ask = if flags.plan { Ask::Nobody } else { Ask::Engine };
    let platforms = context.resolved.config.platforms.clone();
    let planner = Planner::new(context, platforms, tag, native, ask)?;
    let planner = planner.with_builder(flags.builder.as_ref());
    Ok(Some(planner.attested(flags.attest.asked())))
}

fn plans<'a>(
    looked: Vec<Looked<'a>>,
    planner: Option<&Planner<'_>>,
    flags: &Publish,
    jobs: NonZeroUsize,
) -> Vec<Prepared<'a>> {
    let mut builds = each(&looked, jobs, |one| {
        let inputs = one.inputs.as_ref().ok();
        let planner = planner.filter(|_| inputs.is_some_and(Inputs::builds))?;
        Some(planner.plan_published(one.connector, &one.target.image))
    });
    spec_batch::share(builds.iter_mut().flatten().flatten(), flags.spec);
    let prepare = |(one, build): (Looked<'a>, Option<Result<BuildPlan>>)| {
        let plan = one.inputs.and_then(|mut inputs| {
            inputs.build = build.transpose()?;
            Ok(PublishPlan::new(inputs))
        });
        Prepared {
            connector: one.connector,
            target: one.target,
            package: one.package,
            plan,
        }
    };
    looked.into_iter().zip(builds).map(prepare).collect()
}

/// Prints what would be done.
fn show(context: &Context, flags: &Publish, prepared: Vec<Prepared<'_>>) -> Result<Exit> {
    let mut plans = Vec::new();
    let mut exit = Exit::Success;
    for one in prepared {
        match one.plan {
            Ok(plan) => plans.push(plan),
            Err(error) => {
                let error = error.context(format!("plan {}", one.target.connector));
                exit = exit.max(crate::report::exit_of(&error));
                context.report.error(&error);
            }
        }
    }
    if flags.output.json {
        context.report.json(&plans)?;
    } else {
        for line in plans.iter().flat_map(PublishPlan::lines) {
            context.report.result(line);
        }
    }
    Ok(exit)
}

fn runs(context: &Context) -> Utf8PathBuf {
    context.repo.target().join("runs")
}

/// Starts the run's record, with its plans.
fn record(context: &Context, mode: Mode, prepared: &[Prepared<'_>]) -> Result<RunRecord> {
    let plans: Vec<&PublishPlan> = prepared.iter().flat_map(|one| one.plan.iter()).collect();
    let text = serde_json::to_string_pretty(&plans).context("write the plan as JSON")?;
    let planned = prepared.iter().map(|one| Event {
        connector: one.target.connector.clone(),
        step: String::new(),
        state: State::Planned,
        detail: one.target.image.to_string(),
    });
    let planned: Vec<Event> = planned.collect();
    RunRecord::start(&runs(context), mode, &planned, &(text + "\n"))
}

/// Works through the connectors; one that fails stops no other, unless asked to.
fn execute(
    run: &Run,
    prepared: Vec<Prepared<'_>>,
    flags: &Publish,
    jobs: NonZeroUsize,
) -> Vec<Outcome> {
    let stop = AtomicBool::new(false);
    let one = |prepared: Prepared<'_>| {
        let target = &prepared.target;
        let start = Instant::now();
        let mut outcome = match prepared.plan {
            _ if stop.load(Ordering::SeqCst) || check_interrupted().is_err() => {
                Outcome::not_run(target)
            }
            Ok(plan) => {
                let package = prepared.package.as_ref();
                let (done, result) = run.execute(&plan, prepared.connector, package);
                Outcome::of(&plan, done, result, start.elapsed())
            }
            Err(error) => Outcome::unplanned(target, error),
        };
        if flags.fail_fast && outcome.error.is_some() {
            stop.store(true, Ordering::SeqCst);
        }
        if let Err(error) = run.sinks.close(&target.connector) {
            outcome.error.get_or_insert(error);
        }
        outcome.outputs = run.sinks.of(&target.connector);
        outcome
    };
    // Each is taken by the one thread that works on it.
    let slots: Vec<Mutex<Option<Prepared<'_>>>> = prepared
        .into_iter()
        .map(|one| Mutex::new(Some(one)))
        .collect();
    let outcomes = each(&slots, jobs, |slot| {
        let taken = lock(slot).take();
        taken.map(one)
    });
    outcomes.into_iter().flatten().collect()
}
