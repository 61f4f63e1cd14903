//! Tries images' `spec`: in containers of their own, or many in one container of the base that they share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result, anyhow};
use camino::Utf8PathBuf;
use serde::Serialize;
use serde_json::Value;

use super::{
    Context,
    made::{Made, SpecOf},
};
use crate::{
    model::{platform::Platform, problem::Problem, run_as::RunAs, spec_runs::Trial},
    plan::{
        assembly::On,
        build::{BuildPlan, SpecCheck},
        spec, spec_batch,
    },
    report::Step,
    tools::{
        base_store::BaseStore,
        files::write,
        layout,
        process::check_interrupted,
        spec_batch::{SpecBatch, Tried},
        work::lock,
    },
};

/// The answer that an image gave to `spec` on one platform, which was right.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedSpec {
    pub platform: Platform,
    pub emulated: bool,
    /// The value of `spec` in the SPEC message, as a JSON file.
    pub path: Utf8PathBuf,
    /// That value.
    #[serde(skip)]
    pub value: Value,
}

/// In a batch a connector gets this part of its time, so that one that hangs keeps the others for less long: by itself it
/// gets all of it.
const SHARE: u32 = 4;

/// A base image, the platform and how its images run there.
type Kind = (String, Platform);

/// What the spec checks of one run share.
pub struct Specs<'a> {
    context: &'a Context<'a>,
    /// Whether an image of a kind was started by itself and gave its spec.
    shown: Mutex<BTreeMap<Kind, Arc<Mutex<Shown>>>>,
    /// Containers that nobody uses at the moment.
    idle: Mutex<BTreeMap<(Kind, RunAs), Vec<SpecBatch>>>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Shown {
    #[default]
    NotYet,
    ByOne,
}

/// What a spec was heard from.
struct Heard {
    stdout: String,
    stderr: String,
    /// How a process that did not end well ended.
    ending: Option<String>,
    tail: String,
}

/// One check of one image.
#[derive(Clone, Copy)]
pub struct Image<'i> {
    pub plan: &'i BuildPlan,
    pub of: SpecOf<'i>,
    /// Where its base's documents are.
    pub bases: Option<&'i BaseStore<'i>>,
}

impl<'i> Image<'i> {
    /// Only what is assembled here shares a container.
    fn made(self) -> Result<&'i Made> {
        match self.of {
            SpecOf::Built(made) => Ok(made),
            SpecOf::Pulled(image) => Err(anyhow!("{image} was not built here")),
        }
    }
}

impl<'a> Specs<'a> {
    /// No kind of image was started yet, and no container runs.
    pub fn new(context: &'a Context<'a>) -> Specs<'a> {
        Specs {
            context,
            shown: Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// Tries `spec` of an image on one platform as planned, judges it and keeps it; `log` hears what it printed. None
    /// when it was left out.
    pub fn check(
        &self,
        image: Image<'_>,
        check: &SpecCheck,
        log: impl Fn(&str),
    ) -> Result<Option<CheckedSpec>> {
        let plan = image.plan;
        let alone = || self.alone(image, check, &log).map(Some);
        if !spec_batch::shares(plan) {
            return alone();
        }
        let kind = (plan.base.used.to_string(), check.platform);
        let passed = match check.trial {
            Trial::Batch => self.in_batch(image, check, &kind, &log)?,
            Trial::Alone | Trial::LeftOut => None,
        };
        let shown = Arc::clone(lock(&self.shown).entry(kind).or_default());
        // Held while the first one runs: the others wait to hear whether their kind can be started at all.
        let mut shown = lock(&shown);
        match *shown {
            Shown::NotYet => {
                let checked = alone()?;
                *shown = Shown::ByOne;
                Ok(checked)
            }
            Shown::ByOne => {
                drop(shown);
                match check.trial {
                    Trial::Batch if passed.is_some() => Ok(passed),
                    Trial::LeftOut => Ok(None),
                    Trial::Batch | Trial::Alone => alone(),
                }
            }
        }
    }

    /// In a container of its own.
    fn alone(
        &self,
        image: Image<'_>,
        check: &SpecCheck,
        log: impl Fn(&str),
    ) -> Result<CheckedSpec> {
        let engine = &self.context.engine;
        let step = self.step(image.plan, check);
        let finished = match image.of {
            SpecOf::Built(made) => made.run_spec(self.context, image.plan, check)?,
            SpecOf::Pulled(pulled) => {
                engine.pull(pulled, check.platform, &|line| {
                    self.context.report.note(line);
                })?;
                engine.run_spec(pulled, check.platform, check.limit)?
            }
        };
        let ended_badly = !finished.status.success() || finished.timed_out.is_some();
        let heard = Heard {
            stdout: finished.text(),
            stderr: String::from_utf8_lossy(&finished.stderr).into_owned(),
            ending: ended_badly.then(|| finished.ending()),
            tail: finished.tail(),
        };
        log(&format!("{}{}", heard.stdout, heard.stderr));
        self.judge(image.plan, check, heard, step)
    }

    /// In a container with others. None when it failed there or could not be tried: what an image says when it is
    /// started by itself decides.
    fn in_batch(
        &self,
        image: Image<'_>,
        check: &SpecCheck,
        kind: &Kind,
        log: impl Fn(&str),
    ) -> Result<Option<CheckedSpec>> {
        let run_as = run_as(image, check.platform)?;
        let layer = own_layer(image, check.platform)?;
        let key = (kind.clone(), run_as);
        let tried = || -> Result<Tried> {
            let idle = lock(&self.idle).get_mut(&key).and_then(Vec::pop);
            let mut batch = match idle {
                Some(batch) => batch,
                None => {
                    let base = &image.plan.base.used;
                    SpecBatch::start(&self.context.engine, base, check.platform, &key.1)?
                }
            };
            let tried = batch.spec(&layer, check.limit / SHARE)?;
            lock(&self.idle).entry(key.clone()).or_default().push(batch);
            Ok(tried)
        };
        let step = self.step(image.plan, check);
        let tried = match tried() {
            Ok(tried) if tried.status == 0 && !tried.timed_out => tried,
            other => {
                check_interrupted()?;
                let why = match other {
                    Ok(tried) if tried.timed_out => "took too long".to_owned(),
                    Ok(tried) => format!("ended with {}\n{}", tried.status, tried.stderr),
                    Err(error) => format!("{error:#}"),
                };
                log(&format!("in a container with others: {why}"));
                return Ok(None);
            }
        };
        log(&format!("{}{}", tried.stdout, tried.stderr));
        if spec::judge(&tried.stdout, None).is_err() {
            return Ok(None);
        }
        let heard = Heard {
            stdout: tried.stdout,
            tail: tried.stderr.clone(),
            stderr: tried.stderr,
            ending: None,
        };
        self.judge(image.plan, check, heard, step).map(Some)
    }

    fn step(&self, plan: &BuildPlan, check: &SpecCheck) -> Step<'a> {
        let report = self.context.report;
        report.step(format!("{} spec {}", plan.connector, check.platform))
    }

    /// Judges what was printed, and keeps the spec.
    fn judge(
        &self,
        plan: &BuildPlan,
        check: &SpecCheck,
        heard: Heard,
        step: Step<'_>,
    ) -> Result<CheckedSpec> {
        let spec = match spec::judge(&heard.stdout, heard.ending.as_deref()) {
            Ok(spec) => spec,
            Err(problems) => {
                step.failed();
                let mut message =
                    format!("spec of {} on {} is wrong", plan.connector, check.platform);
                for line in problems
                    .iter()
                    .map(String::as_str)
                    .chain(heard.tail.lines())
                {
                    message.push_str(&format!("\n    {line}"));
                }
                return Err(Problem::failure(message).into());
            }
        };
        for line in &spec.stray {
            self.context.report.warning(format_args!(
                "{}: printed a line that is no Airbyte message: {line}",
                plan.connector
            ));
        }
        let work = self.context.repo.work(&plan.connector);
        let path = work.join(format!("spec-{}.json", check.platform.architecture()));
        let text = serde_json::to_string_pretty(&spec.value).context("write the spec as JSON")?;
        write(&path, &(text + "\n"))?;
        step.done(if check.emulated { "ok, emulated" } else { "ok" });
        Ok(CheckedSpec {
            platform: check.platform,
            emulated: check.emulated,
            path,
            value: spec.value,
        })
    }
}

/// How the image runs on a platform, as its own documents say.
fn run_as(image: Image<'_>, platform: Platform) -> Result<RunAs> {
    let plan = image.plan;
    let bases = image.bases.context("an assembled image has a base")?;
    let base = bases.get(&plan.base.used, &[platform])?;
    let base = &base.platforms[&platform];
    let on = On {
        manifest: &base.manifest,
        configuration: &base.configuration,
    };
    let of = image.made()?.layout.images.get(&platform);
    let of = of.with_context(|| format!("the image of {} lacks {platform}", plan.connector))?;
    spec_batch::run_as(on, &plan.settings(), &of.manifest, &of.configuration)
        .map_err(|why| anyhow!("the image of {} is not as planned: {why}", plan.connector))
}

/// The layer on top, packed.
fn own_layer(image: Image<'_>, platform: Platform) -> Result<Vec<u8>> {
    let layout = &image.made()?.layout;
    let layers = layout.images[&platform].manifest.layers();
    let layer = layers.last().context("an image has layers")?;
    let path = layout.blob(&layout::digest(layer)?);
    std::fs::read(&path).with_context(|| format!("read {path}"))
}
