//! Gathers what uv installs during a build: locked files and wheels built from sdists, each by its hash.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    num::NonZeroUsize,
};

use anyhow::{Context as _, Result, anyhow};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use url::Url;

use super::{Context, work::each};
use crate::{
    model::{
        build_system::Pin,
        config::{Config, OnFinding},
        hash::Hash,
        image::{Digest, ImageRef},
        locked_file::LockedFile,
        platform::Platform,
        problem::Problem,
        published_layers::Wheel,
    },
    plan::{
        base_image::{BaseImage, Because},
        build::{BuildPlan, PlannedDependencies, PythonPlan},
        dependencies::{Closure, How, Planned, Summary, reason},
    },
    tools::{
        docker_images,
        files::write,
        missing_libraries,
        package_index::PackageIndex,
        store_lock::StoreLock,
        uv,
        wheel_builder::{self, BuilderImage, OwnPackage, Sdist, WheelBuilder},
        wheel_cache::WheelCache,
        wheel_store::{Origin, Scope, Stored, WheelStore},
    },
};

/// How many files are fetched at a time: an index serves several as fast as one.
const DOWNLOADS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// What all builds of one run share.
pub struct Wheels<'a> {
    context: &'a Context<'a>,
    native: Platform,
    store: WheelStore,
    /// Wheels of connectors themselves, which no other machine asks for.
    own: WheelStore,
    cache: Option<WheelCache<'a>>,
    index: PackageIndex,
    backends: Backends,
    say: Box<dyn Fn(&str) + Sync + 'a>,
    /// Held as long as wheels may be taken.
    _lock: StoreLock,
}

/// A wheel of a closure.
#[derive(Debug, Clone)]
pub struct Located {
    pub wheel: Wheel,
    /// None of one that only a published image is known to have.
    pub path: Option<Utf8PathBuf>,
    /// None of a wheel that was built, or is not here.
    locked: Option<LockedFile>,
}

impl Located {
    fn here(stored: &Stored, planned: &Planned) -> Result<Located> {
        let (built, locked) = match &planned.how {
            How::Wheel { .. } => (None, Some(locked(planned))),
            How::Sdist { .. } => (Some(stored.entry().to_owned()), None),
        };
        let path = &stored.path;
        let metadata = path.metadata().with_context(|| format!("read {path}"))?;
        Ok(Located {
            wheel: Wheel {
                name: stored.name().to_owned(),
                hash: stored.hash.clone(),
                size: metadata.len(),
                built,
            },
            path: Some(path.clone()),
            locked,
        })
    }
}

/// What sdists are built with.
struct Backends {
    pins: Vec<Pin>,
    /// By the package that they build.
    images: BTreeMap<String, BuilderImage>,
}

impl<'a> Wheels<'a> {
    /// Opens the stores and looks up the package indexes; a wheel cache that can't be opened is warned of and done
    /// without. As long as this lives nobody prunes the store.
    pub fn open(
        context: &'a Context,
        native: Platform,
        docker_images: &Utf8Path,
    ) -> Result<Wheels<'a>> {
        let report = context.report;
        let image = context.resolved.config.wheel_cache()?;
        let warn = |line: &str| report.warning(line);
        let opened = image.map(|image| WheelCache::open(image, warn));
        let cache = opened.transpose().unwrap_or_else(|error| {
            warn(&format!("wheel cache: {error:#}; going on without it"));
            None
        });
        Ok(Wheels {
            context,
            native,
            store: WheelStore::open(&context.repo.store())?,
            own: WheelStore::open_own(&context.repo.store())?,
            cache,
            index: PackageIndex::configured()?,
            backends: Backends::read(&context.resolved.config, docker_images)?,
            say: Box::new(move |line| report.warning(line)),
            _lock: StoreLock::shared(&context.repo.store())?,
        })
    }

    /// Writes the lists that uv reads, and lays out the files that they name.
    pub fn prepare(&self, plan: &BuildPlan, python: &PythonPlan) -> Result<()> {
        write(
            &python.requirements.join("build.txt"),
            docker_images::build_requirements(),
        )?;
        match &python.dependencies {
            PlannedDependencies::Locked(summary) => self.lay_out(plan, python, summary),
            PlannedDependencies::Resolved { requirements } => {
                self.resolve(plan, python, requirements)
            }
        }
    }

    /// Whether wheels of a plan's closures have to be fetched.
    pub fn lacks(&self, summary: &Summary) -> Result<bool> {
        for planned in summary
            .closures
            .iter()
            .flat_map(|closure| &closure.packages)
        {
            if let How::Wheel { .. } = &planned.how
                && self.store.file(&locked(planned))?.is_none()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The wheels of a plan's closures. Those that the store lacks and `known` knows by their ids stay where they are; others
    /// are fetched and built.
    pub fn located(
        &self,
        plan: &BuildPlan,
        summary: &Summary,
        known: impl Fn(&str) -> Option<Wheel>,
    ) -> Result<BTreeMap<Platform, Vec<Located>>> {
        let mut elsewhere: BTreeMap<Platform, Vec<Located>> = BTreeMap::new();
        let mut closures = summary.closures.clone();
        for closure in &mut closures {
            let packages = std::mem::take(&mut closure.packages);
            let found = elsewhere.entry(closure.target.platform).or_default();
            for planned in packages {
                let lacking = self.lacking(plan, closure, &planned)?;
                match lacking.iter().find_map(|id| known(id)) {
                    Some(wheel) => found.push(Located {
                        wheel,
                        path: None,
                        locked: None,
                    }),
                    None => closure.packages.push(planned),
                }
            }
        }
        let mut located = self.installed(plan, &closures)?;
        for (platform, wheels) in elsewhere {
            located.entry(platform).or_default().extend(wheels);
        }
        Ok(located)
    }

    /// The ids that a package's wheel may have; none when the store has it.
    fn lacking(
        &self,
        plan: &BuildPlan,
        closure: &Closure,
        planned: &Planned,
    ) -> Result<Vec<String>> {
        let file = locked(planned);
        match &planned.how {
            How::Wheel { file: wheel } => Ok(match self.store.file(&file)? {
                Some(_) => Vec::new(),
                None => vec![wheel.hash.to_string()],
            }),
            How::Sdist { .. } => {
                let config = &self.context.resolved.config;
                let sdist = sdist(config, &self.backends, &file, closure, &plan.base.used);
                match sdist.kept(&self.store)? {
                    Some(_) => Ok(Vec::new()),
                    None => sdist.ids(),
                }
            }
        }
    }

    /// The wheels of closures, in the packages' order; fetched and built as far as the store lacks them.
    fn installed(
        &self,
        plan: &BuildPlan,
        closures: &[Closure],
    ) -> Result<BTreeMap<Platform, Vec<Located>>> {
        let name = plan.connector.as_str();
        let fetched = self.fetch(name, closures, &[])?;
        let fetched: BTreeMap<&Hash, &Stored> =
            fetched.iter().map(|file| (&file.hash, file)).collect();
        let built = self.build(name, Some(&plan.base.used), closures)?;
        self.judge_yanked(name, closures)?;
        let mut installed = BTreeMap::new();
        for closure in closures {
            let platform = closure.target.platform;
            let wheel = |planned: &Planned| {
                let wheel = match &planned.how {
                    How::Wheel { file } => fetched.get(&file.hash).copied(),
                    How::Sdist { .. } => built.get(&(platform, planned.name.to_string())),
                };
                let wheel =
                    wheel.with_context(|| format!("{name}: no wheel of {}", planned.name))?;
                Located::here(wheel, planned)
            };
            let wheels = closure.packages.iter().map(wheel);
            installed.insert(platform, wheels.collect::<Result<_>>()?);
        }
        Ok(installed)
    }

    /// Where a wheel lies, for whoever unpacks it: as its hash says, and fetched again where it was damaged.
    pub fn whole(&self, located: &Located) -> Result<Utf8PathBuf> {
        // What was built was looked at when it was looked up.
        if let Some(locked) = &located.locked {
            let stored = self.store.fetch_whole(&self.index, locked, &*self.say)?;
            return Ok(stored.path);
        }
        let path = located.path.clone();
        path.with_context(|| format!("{} is not here", located.wheel.name))
    }

    /// The wheel of a connector's own package, from its files as a zip archive.
    pub fn own(&self, plan: &BuildPlan, python: &PythonPlan, source: &[u8]) -> Result<Stored> {
        let source = OwnPackage {
            name: plan.connector.as_str(),
            source,
            target: python.interpreter.on(self.native),
            base: &plan.base.used,
        };
        self.builder()
            .own(&source, &self.own)
            .with_context(|| format!("build the package of {}", plan.connector))
    }

    /// Platform that the engine's containers run on natively.
    pub fn native(&self) -> Platform {
        self.native
    }

    fn builder(&self) -> WheelBuilder<'_> {
        WheelBuilder {
            engine: &self.context.engine,
            store: &self.store,
            cache: self.cache.as_ref(),
            index: &self.index,
            native: self.native,
            pins: &self.backends.pins,
            say: &*self.say,
        }
    }

    /// Gets the files of one closure, and gives the list that names them with their hashes and says where each lies.
    pub fn requirements(
        &self,
        connector: &str,
        base: Option<&ImageRef>,
        closure: &Closure,
    ) -> Result<String> {
        let one = std::slice::from_ref(closure);
        let mut files = self.fetch(connector, one, &[])?;
        let built = self.build(connector, base, one)?;
        self.judge_yanked(connector, one)?;
        files.extend(built.values().cloned());
        // uv unpacks once what lies at one place: from the store, once for all connectors.
        let places: BTreeSet<&Utf8Path> =
            files.iter().filter_map(|file| file.path.parent()).collect();
        let mut list = String::new();
        for place in places {
            let url = Url::from_directory_path(place);
            let url = url.map_err(|()| anyhow!("{place} is no absolute path"))?;
            let _ = writeln!(list, "--find-links {url}");
        }
        let platform = closure.target.platform;
        list += &closure.requirements(|planned| {
            let wheel = built.get(&(platform, planned.name.to_string()))?;
            Some(wheel.hash.clone())
        });
        Ok(list)
    }

    fn lay_out(&self, plan: &BuildPlan, python: &PythonPlan, summary: &Summary) -> Result<()> {
        let backends: Vec<LockedFile> = python.backends.iter().map(Pin::file).collect();
        let name = plan.connector.as_str();
        let mut files = self.fetch(name, &summary.closures, &backends)?;
        let built = self.build(name, Some(&plan.base.used), &summary.closures)?;
        self.judge_yanked(name, &summary.closures)?;
        files.extend(built.values().cloned());
        for closure in &summary.closures {
            let platform = closure.target.platform;
            let hash = |planned: &Planned| {
                built
                    .get(&(platform, planned.name.to_string()))
                    .map(|wheel| wheel.hash.clone())
            };
            write(
                &python.list(platform),
                &closure.requirements(|planned| hash(planned) as Option<Hash>),
            )?;
        }
        if !python.replaces.is_empty() {
            for platform in &plan.platforms {
                let paths = python.removed(*platform).into_iter();
                let lines: String = paths.map(|path| format!("{path}\n")).collect();
                write(&python.removals(*platform), &lines)?;
            }
        }
        self.store
            .lay_out(&files, &python.wheels)
            .with_context(|| format!("lay out the wheels of {}", plan.connector))
    }

    /// Fetches every wheel of every closure and the build backends, as far as the store lacks them.
    fn fetch(
        &self,
        connector: &str,
        closures: &[Closure],
        backends: &[LockedFile],
    ) -> Result<Vec<Stored>> {
        let mut wanted: BTreeMap<String, LockedFile> = BTreeMap::new();
        for planned in closures.iter().flat_map(|closure| &closure.packages) {
            if let How::Wheel { file } = &planned.how {
                wanted.insert(file.name.clone(), locked(planned));
            }
        }
        let wanted: Vec<LockedFile> = wanted
            .into_values()
            .chain(backends.iter().cloned())
            .collect();
        let step = self.context.report.step(format!("{connector} packages"));
        let fetched = each(&wanted, DOWNLOADS, |file| {
            step.busy(&file.label());
            self.store.fetch(&self.index, file)
        });
        let files = fetched.into_iter().collect::<Result<Vec<_>>>();
        let files = files.with_context(|| format!("fetch packages of {connector}"))?;
        step.done(format_args!("{} files", files.len()));
        Ok(files)
    }

    /// Speaks up about packages that were yanked when their files were fetched into the store.
    fn judge_yanked(&self, connector: &str, closures: &[Closure]) -> Result<()> {
        let mut reasons = Vec::new();
        for planned in closures.iter().flat_map(|closure| &closure.packages) {
            if let Some(why) = self.store.yanked(&planned.how.file().hash)? {
                let reason = planned.yanked(why);
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        match self.context.resolved.config.on_yanked {
            _ if reasons.is_empty() => Ok(()),
            OnFinding::Block => Err(reason::problem(connector, &reasons).into()),
            OnFinding::Warn => {
                for reason in reasons {
                    let report = self.context.report;
                    report.warning(format_args!("{connector}: {reason}"));
                }
                Ok(())
            }
        }
    }

    /// The wheels of packages that are locked as sdists, by platform and package; built where nobody did before.
    fn build(
        &self,
        connector: &str,
        base: Option<&ImageRef>,
        closures: &[Closure],
    ) -> Result<BTreeMap<(Platform, String), Stored>> {
        let config = &self.context.resolved.config;
        let builder = self.builder();
        let mut built = BTreeMap::new();
        for (closure, planned) in sdists(closures) {
            let name = planned.name.to_string();
            let platform = closure.target.platform;
            let step = self
                .context
                .report
                .step(format!("{connector} wheel of {name} {}", planned.version));
            let base = base.ok_or_else(|| no_base(connector, &name))?;
            let file = locked(planned);
            let elsewhere = wheel_elsewhere(closures, planned);
            let sdist = Sdist {
                elsewhere: elsewhere.as_ref(),
                ..sdist(config, &self.backends, &file, closure, base)
            };
            let wheel = builder
                .wheel(&sdist)
                .with_context(|| format!("wheel of {name} for {connector}"))?;
            let origin = match wheel.wheel.origin {
                Origin::Kept => "kept",
                Origin::Made => "built",
                Origin::Pulled => "from the wheel cache",
            };
            step.done(format_args!(
                "{} for {platform}, {origin}",
                wheel.wheel.name()
            ));
            // What was built in the base image itself links to nothing else.
            if sdist.builder.is_some() && wheel.scope != Scope::Pure {
                self.expect_libraries(connector, base, platform, &wheel.wheel)?;
            }
            built.insert((platform, name), wheel.wheel);
        }
        Ok(built)
    }

    /// Warns where a wheel links to libraries that the base image lacks, which a builder image has: the connector would
    /// only notice when it imports it. A script that prepares the image may bring them.
    fn expect_libraries(
        &self,
        connector: &str,
        base: &ImageRef,
        platform: Platform,
        wheel: &Stored,
    ) -> Result<()> {
        let context = self.context;
        let mut prepared = context.resolved.config.prerequisites.keys();
        if prepared.any(|name| name.as_str() == connector) {
            return Ok(());
        }
        let asked = format!(
            "{base} {platform} {} {}",
            wheel.hash,
            missing_libraries::SCRIPT
        );
        let of = Digest::of(asked.as_bytes());
        let known = context
            .repo
            .target()
            .join("missing-libraries")
            .join(of.hex());
        let missing = match fs::read_to_string(&known) {
            Ok(text) => text,
            Err(_) => {
                let missing = missing_libraries::of(&context.engine, base, platform, &wheel.path)
                    .with_context(|| format!("look what {} links to", wheel.name()))?;
                let text = missing.join(", ");
                write(&known, &text)?;
                text
            }
        };
        if !missing.is_empty() {
            context.report.warning(format_args!(
                "{connector}: {} links to {missing}, and {base} has none such on {platform}: use a base image that has, \
                 or a script that installs it (`prerequisites.{connector}`)",
                wheel.name()
            ));
        }
        Ok(())
    }

    /// Lists what the package index offers today, for a connector without a lock.
    fn resolve(
        &self,
        plan: &BuildPlan,
        python: &PythonPlan,
        requirements: &[String],
    ) -> Result<()> {
        let context = self.context;
        context.report.warning(format_args!(
            "{}: no lock file, so this build can't be repeated; lock it with `uv lock` or `poetry lock`",
            plan.connector
        ));
        let uv = uv::for_host(&context.resolved.config.tools.uv, &context.repo.tools())?;
        for platform in &plan.platforms {
            let target = python.interpreter.on(*platform);
            write(
                &python.list(*platform),
                &uv::resolve(&uv, requirements, target)?,
            )?;
        }
        // No wheels: uv asks the index.
        self.store.lay_out([], &python.wheels)
    }
}

/// The wheel that a closure takes of a package which another one has to build.
fn wheel_elsewhere(closures: &[Closure], built: &Planned) -> Option<LockedFile> {
    let mut all = closures.iter().flat_map(|closure| &closure.packages);
    let wheel = all.find(|other| {
        (&other.name, &other.version) == (&built.name, &built.version)
            && matches!(other.how, How::Wheel { .. })
    });
    wheel.map(locked)
}

/// How a package that is locked as an sdist is built.
fn sdist<'a>(
    config: &'a Config,
    backends: &'a Backends,
    file: &'a LockedFile,
    closure: &Closure,
    base: &'a ImageRef,
) -> Sdist<'a> {
    let constraints = config.build_constraints.get(&file.package);
    Sdist {
        file,
        target: closure.target,
        base,
        builder: backends.images.get(&file.package),
        pins: &backends.pins,
        constraints: constraints.map_or(&[], Vec::as_slice),
        elsewhere: None,
    }
}

impl Backends {
    /// The pins beside the Dockerfiles, and the images that configuration names: read as base images are, from mirrors
    /// and by stand-ins.
    fn read(config: &Config, docker_images: &Utf8Path) -> Result<Backends> {
        let resolve = |(package, declared): (&String, &ImageRef)| {
            let image = BaseImage::resolve(declared, config)
                .map_err(|error| Problem::usage(format!("builder-images.{package}: {error}")))?;
            let known_as = match image.because {
                Because::StandIn => image.used.clone(),
                Because::Declared | Because::Mirror => image.declared,
            };
            let image = BuilderImage {
                image: image.used,
                known_as,
            };
            Ok((package.clone(), image))
        };
        let images = config.builder_images.iter().map(resolve);
        Ok(Backends {
            pins: wheel_builder::pins(docker_images)?,
            images: images.collect::<Result<_>>()?,
        })
    }
}

/// A built wheel that no build has to make again.
#[derive(Debug, Serialize)]
pub struct KeptWheel {
    pub package: String,
    pub platform: Platform,
    pub wheel: String,
}

/// Those of a closure's wheels from sdists that the store holds.
pub fn kept(context: &Context, summary: &Summary, base: &ImageRef) -> Result<Vec<KeptWheel>> {
    let root = context.repo.store();
    let _lock = StoreLock::shared(&root)?;
    let store = WheelStore::open(&root)?;
    let backends = Backends::read(&context.resolved.config, &context.docker_images()?)?;
    let mut kept = Vec::new();
    for (closure, planned) in sdists(&summary.closures) {
        let file = locked(planned);
        let sdist = sdist(&context.resolved.config, &backends, &file, closure, base);
        kept.extend(sdist.kept(&store)?.map(|built| KeptWheel {
            package: file.package.clone(),
            platform: closure.target.platform,
            wheel: built.wheel.name().to_owned(),
        }));
    }
    Ok(kept)
}

fn sdists(closures: &[Closure]) -> impl Iterator<Item = (&Closure, &Planned)> {
    let all = closures.iter().flat_map(|closure| {
        closure
            .packages
            .iter()
            .map(move |planned| (closure, planned))
    });
    all.filter(|(_, planned)| matches!(planned.how, How::Sdist { .. }))
}

fn no_base(connector: &str, package: &str) -> Problem {
    Problem::usage(format!(
        "{connector} locks {package} as an sdist and declares no base image to build it in"
    ))
    .help("declare connectorBuildOptions.baseImage in metadata.yaml")
}

fn locked(planned: &Planned) -> LockedFile {
    let file = planned.how.file();
    LockedFile {
        package: planned.name.to_string(),
        version: planned.version.to_string(),
        name: file.name.clone(),
        hashes: vec![file.hash.clone()],
    }
}
