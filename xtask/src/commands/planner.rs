//! Gathers what a build plan is made from: files, history, the base image's Python.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{Context, manifests::COMPONENTS, work};
use crate::{
    model::{
        attestation::Attestations,
        base_package::BasePackage,
        build_system::Pin,
        builder::Builder,
        config::Config,
        connector::{Connector, Language},
        image::{ImageRef, Tag},
        lock::Lock,
        manifest,
        platform::Platform,
        problem::Problem,
        pyproject::Pyproject,
        target::{Interpreter, User},
    },
    plan::{
        assembly::Dockerfile,
        backend::{self, BuiltBy},
        build::{self, BuildPlan, Components, Inputs, PlannedDependencies, PythonPlan, base_image},
        dependencies::{self, Dependencies},
        entry_point::{self, EntryPoint},
        prerequisites::Prerequisites,
    },
    tools::{docker_images, git::Revisions, host, interpreter, uv},
};

/// Whom to ask what a base image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Engine,
    /// What is known from earlier, or usual, has to do.
    Nobody,
}

/// What all plans of one run share.
pub struct Planner<'a> {
    context: &'a Context<'a>,
    platforms: Vec<Platform>,
    tag: &'a Tag,
    builder: &'a Builder,
    attestations: Attestations,
    /// Platform that the engine's containers run on natively.
    native: Platform,
    ask: Ask,
    pub docker_images: Utf8PathBuf,
    revisions: Revisions,
    said_cut_off: AtomicBool,
}

impl<'a> Planner<'a> {
    /// Reads from git what concerns all connectors. Builds go by configuration and attest nothing until
    /// [`with_builder`](Self::with_builder) and [`attested`](Self::attested) say otherwise.
    pub fn new(
        context: &'a Context,
        platforms: Vec<Platform>,
        tag: &'a Tag,
        native: Platform,
        ask: Ask,
    ) -> Result<Self> {
        let connectors = &context.resolved.config.connectors;
        Ok(Planner {
            context,
            platforms,
            tag,
            builder: &context.resolved.config.builder,
            attestations: Attestations::NONE,
            native,
            ask,
            docker_images: context.docker_images()?,
            revisions: Revisions::read(&context.repo.root, connectors.as_ref())?,
            said_cut_off: AtomicBool::new(false),
        })
    }

    /// As configured, unless a flag says otherwise.
    pub fn with_builder(self, flag: Option<&'a Builder>) -> Self {
        Planner {
            builder: flag.unwrap_or(self.builder),
            ..self
        }
    }

    /// Has BuildKit attest the builds.
    pub fn attested(self, attestations: Attestations) -> Self {
        Planner {
            attestations,
            ..self
        }
    }

    /// Plans several connectors at a time; the first that can't be planned is the error.
    pub fn plans<'c>(
        &self,
        connectors: impl IntoIterator<Item = &'c Connector>,
    ) -> Result<Vec<BuildPlan>> {
        let connectors: Vec<&Connector> = connectors.into_iter().collect();
        let jobs = self.context.resolved.config.parallelism();
        let plans = work::each(&connectors, jobs, |connector| self.plan(connector));
        plans.into_iter().collect()
    }

    /// Plans one connector's build, which may pull its base image. Fails where its files or its lock allow none.
    pub fn plan(&self, connector: &Connector) -> Result<BuildPlan> {
        let config = &self.context.resolved.config;
        let repo = &self.context.repo;
        let revision = self.revisions.of(&connector.directory)?;
        let changed = revision.as_ref().and_then(|one| one.changed.as_ref());
        if changed.is_some_and(|changed| changed.cut_off)
            && !self.said_cut_off.swap(true, Ordering::Relaxed)
        {
            self.context.report.warning(format_args!(
                "{}: this clone is shallow, so images carry the date of its oldest commit and not of the last that \
                 touched them, and have other digests than elsewhere; `git fetch --unshallow` gets the history",
                connector.name
            ));
        }
        let (python, user) = match connector.language {
            Some(Language::Python) => {
                let python = self.python(connector)?;
                let user = python.interpreter.user;
                (Some(python), user)
            }
            Some(Language::ManifestOnly) => {
                check_manifest(&repo.root, connector)?;
                let base = base_image(connector, config)?;
                let base = BasePython::of(self.context, &base.used, self.ask)?;
                (None, base.interpreter.user)
            }
            _ => (None, User::Airbyte),
        };
        let inputs = Inputs {
            config,
            platforms: &self.platforms,
            tag: self.tag,
            builder: self.builder,
            attestations: self.attestations,
            dockerfile: self.dockerfile(connector)?,
            native: Some(self.native),
            revision: revision.as_ref(),
            layout: repo.work(&connector.name).join("layout"),
            root: &repo.root,
            docker_images: &self.docker_images,
            proxies: host::proxy_variables()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            python,
            user,
            components: components(&repo.root, connector),
            ca: host::ca_bundle(),
        };
        Ok(BuildPlan::new(connector, inputs)?)
    }

    /// As [`plan`](Self::plan), for what is published as `image`.
    pub fn plan_published(&self, connector: &Connector, image: &ImageRef) -> Result<BuildPlan> {
        let plan = self.plan(connector)?;
        Ok(match self.context.resolved.config.layers_from_registry {
            true => plan.taking_layers_from(image),
            false => plan,
        })
    }

    fn dockerfile(&self, connector: &Connector) -> Result<Dockerfile<'static>> {
        let name = build::dockerfile(build::buildable(connector)?);
        if docker_images::is_ours(&self.docker_images, name)? {
            Ok(Dockerfile::Ours)
        } else {
            Ok(Dockerfile::Changed(name))
        }
    }

    fn python(&self, connector: &Connector) -> Result<PythonPlan> {
        let config = &self.context.resolved.config;
        let repo = &self.context.repo;
        let base = base_image(connector, config)?;
        let base = BasePython::of(self.context, &base.used, self.ask)?;
        let interpreter = base.interpreter;
        let sources = Sources::read(&repo.root, connector)?;
        let dependencies = sources.dependencies(interpreter, &self.platforms)?;
        Ok(PythonPlan {
            interpreter,
            assumed: base.assumed,
            replaces: dependencies.replaced(&base.installed),
            dependencies: PlannedDependencies::new(dependencies, self.native, config),
            entry_point: sources.entry_point()?,
            prerequisites: sources.prerequisites(config, &self.platforms, self.native)?,
            uv: uv::containers_directory(&config.tools.uv, self.native, &repo.tools()),
            backends: sources.backends(interpreter, &config.tools.uv)?,
            built_by: BuiltBy::of(&sources.pyproject.build),
            requirements: repo.work(&connector.name).join("requirements"),
            wheels: repo.work(&connector.name).join("wheels"),
        })
    }
}

/// The Python of a base image.
pub struct BasePython {
    pub interpreter: Interpreter,
    /// Where connectors' packages go; nothing as long as it is not known.
    pub installed: Vec<BasePackage>,
    /// Whether that is only the usual one.
    pub assumed: bool,
}

impl BasePython {
    /// Runs the image, unless its digest was asked about before; for [`Ask::Nobody`] it may assume instead.
    pub fn of(context: &Context, image: &ImageRef, ask: Ask) -> Result<BasePython> {
        let cache = context.repo.target().join("interpreters");
        let told = match ask {
            Ask::Engine => Some(interpreter::ask(&context.engine, image, &cache)?),
            Ask::Nobody => interpreter::known(image, &cache),
        };
        let assumed = told.is_none();
        let (interpreter, installed) =
            told.unwrap_or_else(|| (Interpreter::assumed(image), Vec::new()));
        Ok(BasePython {
            interpreter,
            installed,
            assumed,
        })
    }
}

/// What a Python connector's directory says of what it installs and starts.
pub struct Sources<'a> {
    connector: &'a Connector,
    files: BTreeSet<String>,
    pyproject: Pyproject,
    lock: Option<Lock>,
}

impl<'a> Sources<'a> {
    /// Fails without a pyproject.toml, for a lock that can't be read, and for a build_customization.py.
    pub fn read(root: &Utf8Path, connector: &'a Connector) -> Result<Sources<'a>> {
        let directory = root.join(&connector.directory);
        let files = files_of(&directory)?;
        entry_point::refuse_build_customization(connector.name.as_str(), &files)?;
        let (pyproject, lock) =
            packaging(root, &connector.directory)?.ok_or_else(|| no_pyproject(connector))?;
        Ok(Sources {
            connector,
            files,
            pyproject,
            lock,
        })
    }

    /// What is installed on each platform, by the lock where there is one; the error holds all that is in the way.
    pub fn dependencies(
        &self,
        interpreter: Interpreter,
        platforms: &[Platform],
    ) -> Result<Dependencies, Problem> {
        let targets: Vec<_> = platforms
            .iter()
            .map(|platform| interpreter.on(*platform))
            .collect();
        let planned = dependencies::plan(&self.pyproject, self.lock.as_ref(), &targets);
        planned.map_err(|problem| Problem {
            message: format!("{}: {}", self.connector.name, problem.message),
            ..problem
        })
    }

    /// What the connector's own package is built with, on whichever platform.
    pub fn backends(
        &self,
        interpreter: Interpreter,
        uv: &semver::Version,
    ) -> Result<Vec<Pin>, Problem> {
        let target = interpreter.on(Platform::host());
        backend::choose(
            self.connector.name.as_str(),
            &self.pyproject.build,
            docker_images::build_requirements(),
            uv,
            target,
        )
    }

    fn prerequisites(
        &self,
        config: &Config,
        platforms: &[Platform],
        native: Platform,
    ) -> Result<Option<Prerequisites>, Problem> {
        let name = &self.connector.name;
        let script = config.prerequisites.get(name);
        let choose = |script: &String| {
            Prerequisites::choose(name.as_str(), script, &self.files, platforms, native)
        };
        script.map(choose).transpose()
    }

    /// What the image starts; an error where nothing would, or where nothing tells which of several scripts.
    pub fn entry_point(&self) -> Result<EntryPoint, Problem> {
        EntryPoint::choose(self.connector.name.as_str(), &self.files, &self.pyproject)
    }
}

/// The pyproject.toml and the lock file of a directory (from the root); None without a pyproject.toml. Of two lock
/// files uv.lock counts.
pub fn packaging(
    root: &Utf8Path,
    directory: &Utf8Path,
) -> Result<Option<(Pyproject, Option<Lock>)>> {
    let place = |file: &str| directory.join(file);
    let wrong = |file: &str, error| Problem::usage(format!("{}: {error}", place(file)));
    let Some(text) = read(&root.join(place("pyproject.toml")))? else {
        return Ok(None);
    };
    let pyproject = Pyproject::parse(&text).map_err(|error| wrong("pyproject.toml", error))?;
    let mut lock = None;
    for (file, parse) in Lock::FILES {
        if let Some(text) = read(&root.join(place(file)))? {
            lock = Some(parse(&text).map_err(|error| wrong(file, error))?);
        }
    }
    Ok(Some((pyproject, lock)))
}

/// Every file of a connector, relative to its directory; directories that tools make are passed over.
fn files_of(directory: &Utf8Path) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in next
            .read_dir_utf8()
            .with_context(|| format!("read {next}"))?
        {
            let entry = entry.with_context(|| format!("read {next}"))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("read {}", entry.path()))?;
            if kind.is_dir()
                && !matches!(
                    entry.file_name(),
                    ".venv" | "__pycache__" | "node_modules" | "build"
                )
            {
                open.push(entry.into_path());
            } else if kind.is_file() {
                files.extend(
                    entry
                        .path()
                        .strip_prefix(directory)
                        .ok()
                        .map(ToString::to_string),
                );
            }
        }
    }
    Ok(files)
}

fn components(root: &Utf8Path, connector: &Connector) -> Components {
    match root.join(&connector.directory).join(COMPONENTS).is_file() {
        true => Components::Own,
        false => Components::None,
    }
}

fn check_manifest(root: &Utf8Path, connector: &Connector) -> Result<()> {
    let file = connector.directory.join("manifest.yaml");
    let Some(text) = read(&root.join(&file))? else {
        return Err(Problem::usage(format!("{file}: missing")).into());
    };
    manifest::check(&text).map_err(|error| Problem::usage(format!("{file}: {error}")).into())
}

/// A file's text; None when there is no such file.
fn read(path: &Utf8Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {path}")),
    }
}

fn no_pyproject(connector: &Connector) -> Problem {
    Problem::usage(format!("{} has no pyproject.toml", connector.directory))
        .help("connectors with setup.py alone are not built here: describe the package in pyproject.toml and lock it")
}
