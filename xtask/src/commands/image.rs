//! One connector's image: made for all platforms, looked through, and its `spec` run on each.

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;

use super::{
    Context,
    assemble::Assembler,
    made::{Made, SpecOf},
    planner::Planner,
    specs::{self, CheckedSpec, Specs},
    wheels::Wheels,
};
use crate::{
    model::platform::Platform,
    plan::{
        assembly::Method,
        build::{BuildPlan, SpecCheck},
    },
    tools::{
        buildx,
        docker::Engine,
        engine_store::Sent,
        files::remove_directory,
        layout::Layout,
        machine_check::{self, Seen},
        store_lock::{StoreLock, try_lock, wait},
        uv,
        work::each,
    },
};

/// What all builds of one run share.
pub struct Builder<'a> {
    context: &'a Context<'a>,
    /// None when no connector of the run is in Python.
    wheels: Option<Wheels<'a>>,
    /// None when docker builds every image of the run.
    assembler: Option<Assembler<'a>>,
    specs: Specs<'a>,
}

impl<'a> Builder<'a> {
    /// Fetches what the builds of `plans` share; `native` is the engine's platform.
    pub fn new<'p>(
        context: &'a Context<'a>,
        planner: &Planner<'_>,
        native: Platform,
        plans: impl IntoIterator<Item = &'p BuildPlan>,
    ) -> Result<Builder<'a>> {
        let mut builder = Builder {
            context,
            wheels: None,
            assembler: None,
            specs: Specs::new(context),
        };
        for plan in plans {
            if plan.python.is_some() && builder.wheels.is_none() {
                fetch_uv(context, native)?;
                builder.wheels = Some(Wheels::open(context, native, &planner.docker_images)?);
            }
            if plan.method == Method::Assemble && builder.assembler.is_none() {
                builder.assembler = Some(Assembler::new(context)?);
            }
        }
        Ok(builder)
    }

    /// Makes the image for all platforms of its plan; `log` hears each line of progress. What docker did not build gets
    /// into the engine's store by [`load`](Self::load).
    pub fn build(&self, plan: &BuildPlan, mut log: impl FnMut(&str) + Send) -> Result<Made> {
        let lock = self.lock(plan)?;
        let assembled = plan.method == Method::Assemble;
        if let (false, Some(python), Some(wheels)) = (assembled, &plan.python, &self.wheels) {
            wheels.prepare(plan, python)?;
        }
        let engine = &self.context.engine;
        let step = self
            .context
            .report
            .step(format!("{} build", plan.connector));
        let layout = match &self.assembler {
            Some(assembler) if assembled => {
                assembler.assemble(plan, self.wheels.as_ref(), |line| step.busy(line))
            }
            _ => by_docker(engine, plan, |line| {
                step.busy(line);
                log(line);
            })
            .map(|layout| (layout, Sent::Small)),
        };
        let made = match layout {
            Ok((layout, lacking)) => Made::new(layout, lock, lacking),
            Err(error) => {
                step.failed();
                return Err(error.context(format!("build image for {}", plan.connector)));
            }
        };
        let seen = Seen::in_target(&self.context.repo.target());
        let strays = machine_check::layout(&made.layout, &seen)?;
        machine_check::expect_none(&strays, &format!("image {}", plan.image))?;
        step.done(format_args!("{} {}", plan.image, made.layout.digest()));
        Ok(made)
    }

    /// The connector's lock: what a build writes lies in one place, and is read until its image is pushed.
    pub fn lock(&self, plan: &BuildPlan) -> Result<StoreLock> {
        let directory = self.context.repo.work(&plan.connector);
        let attempt = || try_lock(&directory, "lock");
        if let Some(lock) = attempt()? {
            return Ok(lock);
        }
        self.context.report.note(format_args!(
            "{}: waits for another run that builds it",
            plan.connector
        ));
        wait(attempt)
    }

    /// Puts one platform's half of an image into the engine's store, unless it is there since its build.
    pub fn load(&self, plan: &BuildPlan, made: &Made, platform: Platform) -> Result<()> {
        made.load(self.context, plan, platform)
    }

    /// Builds the connector's own package as its image does, in the same stage, and gives the files that made.
    pub fn own_package(
        &self,
        plan: &BuildPlan,
        log: impl FnMut(&str) + Send,
    ) -> Result<Vec<Utf8PathBuf>> {
        if let (Some(python), Some(wheels)) = (&plan.python, &self.wheels) {
            wheels.prepare(plan, python)?;
        }
        let directory = self.context.repo.work(&plan.connector).join("package");
        remove_directory(&directory)?;
        let arguments = plan.package_arguments(&directory);
        buildx::export(&self.context.engine, &arguments, log)?;
        let read = || format!("read {directory}");
        let mut files = Vec::new();
        for entry in directory.read_dir_utf8().with_context(read)? {
            files.push(entry.with_context(read)?.into_path());
        }
        files.sort();
        Ok(files)
    }

    /// Tries `spec` on the plan's platforms side by side, an emulated one first: it keeps a core busy for long. `log` gets
    /// what each printed. The results stand in the order of the platforms, without those left out.
    pub fn check_specs(
        &self,
        plan: &BuildPlan,
        of: SpecOf<'_>,
        log: impl Fn(&SpecCheck, &str) + Sync,
    ) -> Result<Vec<CheckedSpec>> {
        let jobs = self.context.resolved.config.parallelism();
        let image = specs::Image {
            plan,
            of,
            bases: self.assembler.as_ref().map(|assembler| &assembler.bases),
        };
        let mut checks: Vec<&SpecCheck> = plan.specs.iter().collect();
        checks.sort_by_key(|check| !check.emulated);
        let checked = each(&checks, jobs, |check| {
            self.specs.check(image, check, |text| log(check, text))
        });
        let mut checked: Vec<_> = checks.into_iter().zip(checked).collect();
        checked.sort_by_key(|(check, _)| check.platform);
        let checked = checked.into_iter();
        checked
            .filter_map(|(_, checked)| checked.transpose())
            .collect()
    }
}

fn by_docker(engine: &Engine, plan: &BuildPlan, watch: impl FnMut(&str) + Send) -> Result<Layout> {
    // buildx adds to a layout that is there.
    remove_directory(&plan.layout)?;
    let digest = buildx::build(engine, &plan.buildx_arguments(), watch)?;
    let layout = Layout::open(&plan.layout)?;
    anyhow::ensure!(
        *layout.digest() == digest,
        "buildx says it made {digest} for {}, its layout holds {}",
        plan.connector,
        layout.digest()
    );
    Ok(layout)
}

fn fetch_uv(context: &Context, native: Platform) -> Result<()> {
    let step = context.report.step("uv for builds");
    let version = &context.resolved.config.tools.uv;
    uv::for_containers(version, native, &context.repo.tools())?;
    step.done(version);
    Ok(())
}
