//! Bringing the sandbox up, step by step, and taking it down.
//!
//! Each step looks at what is there and does what is missing, so that a run that was killed anywhere is continued by
//! the next one. What is machine-wide is small and shared by all clones: installed packages and the kernel's
//! registration of QEMU stay, the bridge goes with `down`.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use serde::Serialize;

use crate::{
    model::{
        config::Config,
        image::ImageRef,
        platform::{self, Platform},
        problem::Problem,
    },
    repo::Repo,
    report::Report,
    tools::{
        docker::Engine,
        docker_images,
        files::{self, remove_directory, remove_file},
        registry::ping,
        sandbox::{
            base_images::{self, Family},
            binfmt, engine,
            layout::Layout,
            mounts::unmount_below,
            network, packages, registry,
        },
    },
};

/// The sandbox of one repository, up or not.
pub struct Sandbox<'a> {
    layout: Layout,
    repo: &'a Repo,
    config: &'a Config,
}

/// A sandbox that is up.
#[derive(Debug, Serialize)]
pub struct Up {
    /// Address of the engine, as DOCKER_HOST takes it.
    pub docker_host: String,
    /// `127.0.0.1:PORT`.
    pub registry: String,
    /// Base images of docker.io and what stands in for them; empty where docker.io can be reached.
    pub stand_ins: BTreeMap<String, ImageRef>,
}

/// What of a sandbox runs.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Whether all of it does.
    pub up: bool,
    /// Address of the engine when that answers.
    pub docker_host: Option<String>,
    /// Address of the registry when that answers.
    pub registry: Option<String>,
    /// Platforms whose programs run here.
    pub platforms: Vec<Platform>,
    /// None when there are none, or outdated ones.
    pub stand_ins: Option<BTreeMap<String, ImageRef>>,
    /// Directory of all its data.
    pub directory: Utf8PathBuf,
}

impl<'a> Sandbox<'a> {
    /// The sandbox of `repo`.
    pub fn new(repo: &'a Repo, config: &'a Config) -> Sandbox<'a> {
        Sandbox {
            layout: Layout::new(&repo.root),
            repo,
            config,
        }
    }

    /// Brings it up as far as it is not; a few milliseconds when it is.
    pub fn up(&self, report: &Report) -> Result<Up> {
        if let Some(up) = self.already_up()? {
            return Ok(up);
        }
        require_linux_and_root()?;
        self.layout.create()?;
        let _lock = lock(&self.layout, report)?;
        self.install(report)?;
        for platform in self.not_running() {
            let step = report.step(format!("emulation of {platform}"));
            binfmt::register(platform)?;
            step.done("registered with the kernel");
        }
        if !engine::is_up(&self.layout) {
            let step = report.step("engine");
            let bridge = network::up(&self.layout)?;
            engine::up(&self.layout, &bridge)?;
            step.done(self.layout.docker_host());
        }
        let registry = match registry::address(&self.layout) {
            Some(registry) => registry,
            None => {
                let step = report.step("registry");
                let registry = registry::up(&self.layout)?;
                step.done(&registry);
                registry
            }
        };
        let stand_ins = self.base_images(&registry, report)?;
        Ok(Up {
            docker_host: self.layout.docker_host(),
            registry,
            stand_ins,
        })
    }

    /// Removes these namespaces with all their images from the registry.
    pub fn forget(&self, namespaces: &[String]) -> Result<()> {
        registry::forget(&self.layout, namespaces)
    }

    /// Whether [`up`](Self::up) would find nothing to do; false also where that can't be told.
    pub fn is_up(&self) -> bool {
        matches!(self.already_up(), Ok(Some(_)))
    }

    /// What of it runs; changes nothing.
    pub fn status(&self) -> Result<Status> {
        let registry = registry::address(&self.layout);
        let stand_ins = registry
            .as_ref()
            .map(|registry| self.made(registry))
            .transpose()?
            .flatten();
        Ok(Status {
            up: self.is_up(),
            docker_host: engine::is_up(&self.layout).then(|| self.layout.docker_host()),
            registry,
            platforms: Platform::ALL
                .into_iter()
                .filter(|platform| binfmt::runs(*platform))
                .collect(),
            stand_ins,
            directory: self.layout.root.clone(),
        })
    }

    /// Stops what `up` started, also when the directory it wrote to is gone; names of what was stopped or removed.
    pub fn down(&self, report: &Report) -> Result<Vec<String>> {
        let _lock = lock(&self.layout, report)?;
        self.stop()
    }

    /// As [`down`](Self::down), and removes all data.
    pub fn purge(&self, report: &Report) -> Result<Vec<String>> {
        let _lock = lock(&self.layout, report)?;
        let mut stopped = self.stop()?;
        if self.layout.root.exists() {
            remove_directory(&self.layout.root)?;
            stopped.push(self.layout.root.to_string());
        }
        Ok(stopped)
    }

    fn stop(&self) -> Result<Vec<String>> {
        let mut stopped = Vec::new();
        if !cfg!(target_os = "linux") {
            return Ok(stopped);
        }
        if registry::daemon(&self.layout).stop()? {
            stopped.push("registry".to_owned());
        }
        stopped.extend(engine::down(&self.layout)?.into_iter().map(str::to_owned));
        unmount_below(&self.layout)?;
        stopped.extend(
            network::down(&self.layout)?
                .into_iter()
                .map(|name| format!("bridge {name}")),
        );
        packages::clear_leftover_policy()?;
        remove_directory(&self.layout.run)?;
        Ok(stopped)
    }

    /// The sandbox when nothing is to be done.
    fn already_up(&self) -> Result<Option<Up>> {
        let Some(registry) =
            registry::address(&self.layout).filter(|_| engine::is_up(&self.layout))
        else {
            return Ok(None);
        };
        if !self.not_running().is_empty() {
            return Ok(None);
        }
        let stand_ins = match self.made(&registry)? {
            Some(stand_ins) => stand_ins,
            None if self.docker_io().exists() => BTreeMap::new(),
            None => return Ok(None),
        };
        Ok(Some(Up {
            docker_host: self.layout.docker_host(),
            registry,
            stand_ins,
        }))
    }

    fn install(&self, report: &Report) -> Result<()> {
        packages::clear_leftover_policy()?;
        let wanted = packages::Wanted {
            emulation: !self.not_running().is_empty(),
            roots: !self.layout.file(Family::Bases.record()).exists(),
        };
        let missing = packages::missing(wanted)?;
        if !missing.is_empty() {
            let step = report.step("packages");
            packages::install(&self.layout, &missing, |line| step.busy(line))?;
            step.done(format_args!("installed {}", missing.join(", ")));
        }
        packages::check_versions()
    }

    /// Configured platforms whose programs do not run here yet.
    fn not_running(&self) -> Vec<Platform> {
        let platforms = self.config.platforms.iter().copied();
        platforms
            .filter(|platform| !binfmt::runs(*platform))
            .collect()
    }

    fn made(&self, registry: &str) -> Result<Option<BTreeMap<String, ImageRef>>> {
        let Some(mut stand_ins) = self.family(Family::Bases, registry)? else {
            return Ok(None);
        };
        let compiler = self.family(Family::Compiler, registry)?;
        stand_ins.extend(compiler.into_iter().flatten());
        Ok(Some(stand_ins))
    }

    fn family(&self, family: Family, registry: &str) -> Result<Option<BTreeMap<String, ImageRef>>> {
        let docker_images = self.docker_images()?;
        base_images::stand_ins(family, &self.layout, registry, &docker_images, self.config)
    }

    /// Where the Dockerfiles of base images are.
    fn docker_images(&self) -> Result<Utf8PathBuf> {
        let configured = self.repo.root.join(&self.config.docker_images);
        docker_images::base_directory(&configured, &self.repo.target().join("docker-images"))
    }

    /// Exists when the last `up` could reach docker.io.
    fn docker_io(&self) -> Utf8PathBuf {
        self.layout.file("docker.io-answers")
    }

    fn base_images(&self, registry: &str, report: &Report) -> Result<BTreeMap<String, ImageRef>> {
        if let Some(stand_ins) = self.made(registry)? {
            return Ok(stand_ins);
        }
        let step = report.step("base images");
        step.busy("asking docker.io");
        if ping("docker.io").is_ok() {
            files::write(&self.docker_io(), "")?;
            step.done("docker.io answers, nothing stands in for its images");
            return Ok(BTreeMap::new());
        }
        step.done("docker.io can't be reached, so they are made here");
        remove_file(&self.docker_io())?;
        self.make(Family::Bases, registry, report)
    }

    /// Makes an image with a C compiler where docker.io can't be reached; the sandbox is up.
    pub fn compiler(&self, up: &Up, report: &Report) -> Result<()> {
        let _lock = lock(&self.layout, report)?;
        if !self.docker_io().exists() && self.family(Family::Compiler, &up.registry)?.is_none() {
            self.install(report)?;
            self.make(Family::Compiler, &up.registry, report)?;
        }
        Ok(())
    }

    fn make(
        &self,
        family: Family,
        registry: &str,
        report: &Report,
    ) -> Result<BTreeMap<String, ImageRef>> {
        let engine = Engine::at(self.layout.docker_host());
        let inputs = base_images::Inputs {
            layout: &self.layout,
            engine: &engine,
            registry,
            config: self.config,
            docker_images: &self.docker_images()?,
            family,
            tools: &self.repo.tools(),
        };
        make_images(&inputs, report)
    }
}

/// Makes the images of a family and pushes them to the sandbox's registry.
fn make_images(
    inputs: &base_images::Inputs,
    report: &Report,
) -> Result<BTreeMap<String, ImageRef>> {
    let step = report.step("root file systems");
    let roots = base_images::make_roots(inputs)?;
    step.done(format_args!(
        "Debian {} for {}",
        base_images::RELEASE,
        platform::join(&Platform::ALL)
    ));
    let mut made = base_images::Made::begin(inputs)?;
    for recipe in inputs.family.recipes() {
        let step = report.step(format!("base image {}", recipe.repository));
        let digest = made.make(recipe, inputs, &roots, |line| step.busy(line))?;
        step.done(digest);
    }
    made.finish(inputs, &roots)
}

fn require_linux_and_root() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(
            Problem::environment("the sandbox's engine runs on Linux only")
                .help("leave --sandbox away and use Docker Desktop or another engine")
                .into(),
        );
    }
    if geteuid().is_root() {
        return Ok(());
    }
    let missing = packages::missing(packages::Wanted {
        emulation: true,
        roots: true,
    })?;
    if missing.is_empty() {
        return Err(Problem::environment("the sandbox's engine runs as root")
            .help("run `sudo --preserve-env env PATH=\"$PATH\" cargo xtask sandbox up`, or leave --sandbox away to use an engine you have access to")
            .into());
    }
    Err(packages::by_hand(
        &missing,
        "only root can install them and run the sandbox's engine",
    )
    .into())
}

/// Held while a sandbox changes, so that two commands at once make one sandbox. None without its directory, which
/// comes before all else.
fn lock(layout: &Layout, report: &Report) -> Result<Option<fs::File>> {
    if !layout.root.exists() {
        return Ok(None);
    }
    let path = layout.file("lock");
    let file = fs::File::create(&path).with_context(|| format!("open {path}"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        report.note("waiting for another command that changes the sandbox");
        flock(&file, FlockOperation::LockExclusive).with_context(|| format!("lock {path}"))?;
    }
    Ok(Some(file))
}
