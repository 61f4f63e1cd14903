//! Builds an sdist into a wheel, in a container: as no one, without a network, with pinned build backends.
//!
//! Everything goes in by standard input and the wheel comes out by standard output, so that any engine will do, also
//! one that sees none of this host's files. What the wheel contains decides where it runs: one without machine code
//! is kept once for all platforms (renamed `py3-none-any`), any other is built for each platform on that platform.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use camino::Utf8Path;
use serde_json::json;

use super::{
    docker::Engine,
    package_index::PackageIndex,
    process::{self, Finished},
    wheel_cache::WheelCache,
    wheel_file::{self, WheelFile},
    wheel_store::{BuiltKey, Origin, Scope, Stored, WheelStore},
};
use crate::model::{
    build_system::{self, BuildSystem, Pin},
    image::{Digest, ImageRef},
    locked_file::LockedFile,
    platform::Platform,
    problem::Problem,
    target::{Libc, Target},
};

const SCRIPT: &str = include_str!("build_wheel.py");
/// Heavy C code takes minutes natively and ten times that under emulation.
const LIMIT: Duration = Duration::from_secs(900);
const LIMIT_EMULATED: Duration = Duration::from_secs(5400);
/// How `docker run` ends when there is no container.
const NOT_STARTED: i32 = 125;

/// What all builds of one run share.
pub struct WheelBuilder<'a> {
    pub engine: &'a Engine,
    pub store: &'a WheelStore,
    /// Where wheels that another machine built may be.
    pub cache: Option<&'a WheelCache<'a>>,
    pub index: &'a PackageIndex,
    /// Platform that the engine's containers run on natively.
    pub native: Platform,
    /// Build backends of connectors' own packages.
    pub pins: &'a [Pin],
    /// Told of what was damaged in the store, in one line.
    pub say: &'a dyn Fn(&str),
}

/// An image with what an sdist needs to be built.
#[derive(Debug, Clone)]
pub struct BuilderImage {
    pub image: ImageRef,
    /// Its name in the keys of wheels that it built: the same whichever mirror it is read from.
    pub known_as: ImageRef,
}

/// One sdist to be built.
#[derive(Debug, Clone)]
pub struct Sdist<'a> {
    pub file: &'a LockedFile,
    /// Interpreter, platform and C library that the wheel is for.
    pub target: Target,
    /// Image to build in: the connector's base image.
    pub base: &'a ImageRef,
    /// The image that configuration names for this package instead.
    pub builder: Option<&'a BuilderImage>,
    /// What configuration asks of the backends for this package.
    pub constraints: &'a [String],
    /// Build backends that may be used, several versions of one among them.
    pub pins: &'a [Pin],
    /// The package's wheel on another platform, where one is locked.
    pub elsewhere: Option<&'a LockedFile>,
}

/// A connector's own package.
#[derive(Debug, Clone, Copy)]
pub struct OwnPackage<'a> {
    pub name: &'a str,
    /// Its files as a zip archive, in one directory.
    pub source: &'a [u8],
    /// The platform is the engine's own.
    pub target: Target,
    /// Image to build in: the connector's base image.
    pub base: &'a ImageRef,
}

/// A wheel made from an sdist.
#[derive(Debug, Clone)]
pub struct Built {
    pub wheel: Stored,
    pub scope: Scope,
}

impl WheelBuilder<'_> {
    /// The wheel of a connector's own package, kept in `store`; it has to be pure, for it serves every platform.
    pub fn own(&self, package: &OwnPackage<'_>, store: &WheelStore) -> Result<Stored> {
        let hash = format!("sha256:{}", Digest::of(package.source).hex());
        let file = LockedFile {
            package: package.name.to_owned(),
            version: "0".to_owned(),
            name: format!("{}.zip", package.name),
            hashes: vec![hash.parse().map_err(anyhow::Error::msg)?],
        };
        let sdist = Sdist {
            file: &file,
            target: package.target,
            base: package.base,
            builder: None,
            constraints: &[],
            pins: self.pins,
            elsewhere: None,
        };
        let key = sdist.key(Scope::Pure)?;
        if let Some(kept) = store.built(&key)? {
            return Ok(kept);
        }
        let job = self.job(&sdist, &file.name, package.source.to_vec())?;
        let image = package.base;
        let command = ["python3", "-c", SCRIPT];
        let platform = package.target.platform;
        let finished = self
            .engine
            .run_untrusted(image, platform, &command, LIMIT, |program| {
                program.input(job)
            })?;
        if !finished.status.success() || finished.timed_out.is_some() {
            return Err(failed(package.name, image, &finished).into());
        }
        let (name, bytes) = wheel_file::unpack_one(&finished.stdout)?;
        if let Some((path, _)) = WheelFile::read(&name, &bytes)?.machine_code().first() {
            return Err(
                Problem::failure(format!("{path} of {name} holds machine code"))
                    .help(
                        "a connector's own package serves every platform and has to be pure Python",
                    )
                    .into(),
            );
        }
        store.keep_built(&key, &name, &bytes)
    }

    /// The wheel of an sdist, from the store when it was built before, by whomever.
    pub fn wheel(&self, sdist: &Sdist<'_>) -> Result<Built> {
        if let Some(built) = sdist.kept(self.store)? {
            return Ok(built);
        }
        // The file stands for all platforms: the first to build learns whether they need builds of their own.
        let name = sdist.key(Scope::Pure)?.directory();
        self.store.alone(&format!("build-{name}"), || {
            if let Some(built) = sdist.kept(self.store)? {
                return Ok(built);
            }
            match self.pulled(sdist)? {
                Some(built) => Ok(built),
                None => self.build_where_needed(sdist),
            }
        })
    }

    /// The wheel, when another machine built it and left it in the cache. It is judged as if it had been built here.
    fn pulled(&self, sdist: &Sdist<'_>) -> Result<Option<Built>> {
        let Some(cache) = self.cache else {
            return Ok(None);
        };
        for scope in sdist.scopes() {
            let key = sdist.key(scope.clone())?;
            let Some((name, bytes)) = cache.pull(&key.directory()) else {
                continue;
            };
            match sdist.judge(sdist.target.platform, &name, &bytes) {
                Ok((_, earned)) if earned == scope => {
                    let kept = self.store.keep_built(&key, &name, &bytes)?;
                    let wheel = Stored {
                        origin: Origin::Pulled,
                        ..kept
                    };
                    return Ok(Some(Built { wheel, scope }));
                }
                Ok(_) => cache.refuse(&key.directory(), "its content is not what its key says"),
                Err(error) => cache.refuse(&key.directory(), &format!("{error:#}")),
            }
        }
        Ok(None)
    }

    /// Builds natively first where that may do, and under emulation only what turns out to hold machine code.
    fn build_where_needed(&self, sdist: &Sdist<'_>) -> Result<Built> {
        if sdist.target.platform != self.native && !self.holds_machine_code(sdist)? {
            let here = self.build(sdist, self.native)?;
            if here.scope == Scope::Pure {
                return Ok(here);
            }
        }
        self.build(sdist, sdist.target.platform)
    }

    /// Whether the package is native as far as that shows without a build: in what was built of it here for the engine's
    /// own platform, or in its wheel on another one. Then a trial build would cost its time for nothing.
    fn holds_machine_code(&self, sdist: &Sdist<'_>) -> Result<bool> {
        let key = sdist.key(sdist.native_scope(self.native))?;
        if self.store.built(&key)?.is_some() {
            return Ok(true);
        }
        let elsewhere = sdist.elsewhere.map(|file| self.store.file(file));
        let Some(wheel) = elsewhere.transpose()?.flatten() else {
            return Ok(false);
        };
        let bytes = fs::read(&wheel.path).with_context(|| format!("read {}", wheel.path))?;
        // A damaged one tells nothing; who installs it fetches it again.
        let wheel = WheelFile::read(wheel.name(), &bytes);
        Ok(wheel.is_ok_and(|wheel| !wheel.machine_code().is_empty()))
    }

    fn build(&self, sdist: &Sdist<'_>, platform: Platform) -> Result<Built> {
        let label = format!(
            "build {} {} on {platform}",
            sdist.file.package, sdist.file.version
        );
        let source = self.store.fetch_whole(self.index, sdist.file, self.say)?;
        let bytes = fs::read(&source.path).with_context(|| format!("read {}", source.path))?;
        let job = self
            .job(sdist, source.name(), bytes)
            .with_context(|| label.clone())?;
        let limit = if platform == self.native {
            LIMIT
        } else {
            LIMIT_EMULATED
        };
        let image = sdist.builder.map_or(sdist.base, |builder| &builder.image);
        let finished = self.engine.run_untrusted(
            image,
            platform,
            &["python3", "-c", SCRIPT],
            limit,
            |program| program.input(job),
        )?;
        if !finished.status.success() || finished.timed_out.is_some() {
            return Err(failed(&label, image, &finished).into());
        }
        let (name, bytes) =
            wheel_file::unpack_one(&finished.stdout).with_context(|| label.clone())?;
        self.keep(sdist, platform, &name, &bytes)
            .with_context(|| label)
    }

    /// Everything that the build may see, as one archive.
    fn job(&self, sdist: &Sdist<'_>, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let pyproject = wheel_file::pyproject(name, &bytes)?;
        let system = BuildSystem::read(pyproject.as_deref())
            .map_err(|error| Problem::failure(format!("its pyproject.toml: {error}")))?;
        let markers = sdist.target.markers().map_err(anyhow::Error::msg)?;
        let pins = build_system::choose(&system.requires, sdist.constraints, sdist.pins, &markers).map_err(|error| {
            Problem::failure(error).help("add it with its hashes to build-requirements-sdists.txt in the docker-images directory")
        })?;
        let mut backends = serde_json::Map::new();
        let mut files = Vec::new();
        for pin in &pins {
            let wheel = self.store.fetch_whole(self.index, &pin.file(), self.say)?;
            let path = format!("backends/{}", wheel.name());
            backends.insert(pin.name.to_string(), path.clone().into());
            files.push((
                path,
                fs::read(&wheel.path).with_context(|| format!("read {}", wheel.path))?,
            ));
        }
        let requires: Vec<&String> = system
            .requires
            .iter()
            .filter(|text| applies(text, &markers))
            .collect();
        let task = json!({
            "sdist": name,
            "directory": "/tmp/build",
            "requires": requires,
            "backend": system.build_backend,
            "backend_path": system.backend_path,
            "backends": backends,
            // Zip's earliest date, so that equal sources make equal wheels.
            "environment": {"SOURCE_DATE_EPOCH": "315532800", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
        });
        files.push((name.to_owned(), bytes));
        files.push(("job.json".to_owned(), task.to_string().into_bytes()));
        wheel_file::pack(&files)
    }

    /// Keeps what a build gave under the key that its contents earn.
    fn keep(
        &self,
        sdist: &Sdist<'_>,
        platform: Platform,
        name: &str,
        bytes: &[u8],
    ) -> Result<Built> {
        let (wheel, scope) = sdist.judge(platform, name, bytes)?;
        let stored =
            self.store
                .keep_built(&sdist.key(scope.clone())?, &wheel.name, &wheel.write()?)?;
        Ok(Built {
            wheel: stored,
            scope,
        })
    }
}

impl Sdist<'_> {
    /// What its wheel is kept under where that turns out to run in `scope`; fails where the lock states no hash.
    pub fn key(&self, scope: Scope) -> Result<BuiltKey> {
        let hash = self
            .file
            .hashes
            .first()
            .with_context(|| format!("{}: the lock states no hash", self.file.label()))?;
        let mut recipe = self.constraints.to_vec();
        recipe.sort();
        recipe.extend(self.builder.map(|builder| builder.known_as.to_string()));
        // Another version of a backend may make another wheel.
        let pin = |pin: &Pin| format!("{}={}", pin.name, pin.version);
        recipe.extend(self.pins.iter().map(pin));
        Ok(BuiltKey {
            package: self.file.package.clone(),
            version: self.file.version.clone(),
            sdist: hash.clone(),
            abi: format!("cp{}{}", self.target.python.major, self.target.python.minor),
            scope,
            recipe,
        })
    }

    /// The keys that its wheel may be kept under: what it holds decides which.
    fn scopes(&self) -> [Scope; 2] {
        [Scope::Pure, self.native_scope(self.target.platform)]
    }

    /// Those keys as the store has them.
    pub fn ids(&self) -> Result<Vec<String>> {
        let scopes = self.scopes().into_iter();
        scopes
            .map(|scope| Ok(self.key(scope)?.directory()))
            .collect()
    }

    /// The wheel, when it is in the store already.
    pub fn kept(&self, store: &WheelStore) -> Result<Option<Built>> {
        for scope in self.scopes() {
            if let Some(wheel) = store.built(&self.key(scope.clone())?)? {
                return Ok(Some(Built { wheel, scope }));
            }
        }
        Ok(None)
    }

    /// What a wheel built on `platform` is by its contents, and where it runs.
    fn judge(&self, platform: Platform, name: &str, bytes: &[u8]) -> Result<(WheelFile, Scope)> {
        let wheel = WheelFile::read(name, bytes)?;
        let code = wheel.machine_code();
        let stray = code
            .iter()
            .find_map(|(path, code)| Some((path, code.stray_on(platform)?)));
        if let Some((path, machine)) = stray {
            return Err(Problem::failure(format!(
                "{name} was built for {platform}, yet {path} in it is for {machine}"
            ))
            .into());
        }
        match code.is_empty() {
            true => Ok((wheel.into_pure()?, Scope::Pure)),
            false => Ok((wheel, self.native_scope(platform))),
        }
    }

    fn native_scope(&self, platform: Platform) -> Scope {
        let libc = match self.target.libc {
            Libc::Glibc(major, minor) => format!("glibc{major}.{minor}"),
            Libc::Musl(major, minor) => format!("musl{major}.{minor}"),
        };
        Scope::Native { platform, libc }
    }
}

/// The pinned backends of a directory with Dockerfiles: those that connectors are built with too, and those that
/// only old sdists need.
pub fn pins(docker_images: &Utf8Path) -> Result<Vec<Pin>> {
    let mut pins = Vec::new();
    for file in ["build-requirements.txt", "build-requirements-sdists.txt"] {
        let path = docker_images.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        pins.extend(Pin::read(&text).map_err(|error| Problem::usage(format!("{path}: {error}")))?);
    }
    Ok(pins)
}

/// Whether a requirement holds here; one that can't be read was refused before.
fn applies(text: &str, markers: &pep508_rs::MarkerEnvironment) -> bool {
    text.parse::<pep508_rs::Requirement<pep508_rs::VerbatimUrl>>()
        .is_ok_and(|requirement| requirement.marker.evaluate(markers, &[]))
}

fn failed(label: &str, image: &ImageRef, finished: &Finished) -> Problem {
    // The command line holds the whole script and says nothing.
    let tail = process::indent(&finished.tail());
    if finished.status.code() == Some(NOT_STARTED) {
        let problem = Problem::failure(format!("{label}: {image} can't be started\n{tail}"));
        return problem.help("the engine needs this image: see that `docker pull` of it works");
    }
    let problem = Problem::failure(format!(
        "{label} in {image}: the build {}\n{tail}",
        finished.ending()
    ));
    let lacks_compiler = ["gcc", "cc1", "compiler", "command 'cc'"]
        .iter()
        .any(|word| finished.tail().contains(word));
    problem.help(if lacks_compiler {
        "it needs a compiler: name an image that has one in `builder-images` of the configuration"
    } else {
        "old packages may need `build-constraints` in the configuration, or an image named in `builder-images`"
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    use super::*;
    use crate::model::target::Interpreter;

    #[test]
    fn a_failed_build_says_what_to_do_about_it() {
        let image: ImageRef = "docker.io/library/buildpack-deps:bookworm".parse().unwrap();
        for (code, printed, message, help) in [
            (
                1,
                "error: command 'gcc' failed",
                "the build exited with 1",
                "`builder-images`",
            ),
            (
                1,
                "ImportError: cython",
                "the build exited with 1",
                "`build-constraints`",
            ),
            (
                125,
                "manifest unknown",
                "bookworm can't be started",
                "`docker pull`",
            ),
        ] {
            let finished = Finished {
                line: "docker run".to_owned(),
                status: ExitStatus::from_raw(code << 8),
                stdout: Vec::new(),
                stderr: printed.into(),
                timed_out: None,
                peak_memory: None,
            };
            let problem = failed("build lxml", &image, &finished);
            assert!(problem.message.contains(message), "{problem:?}");
            assert!(problem.message.contains(printed), "{problem:?}");
            assert!(problem.help.unwrap().contains(help), "{printed}");
        }
    }

    #[test]
    fn a_key_says_all_that_makes_another_wheel() {
        let file = LockedFile {
            package: "pyyaml".into(),
            version: "5.4.1".into(),
            name: "PyYAML-5.4.1.tar.gz".into(),
            hashes: vec![format!("sha256:{}", "0".repeat(64)).parse().unwrap()],
        };
        let pins = |version: &str| {
            let hash = "1".repeat(64);
            Pin::read(&format!("cython=={version} --hash=sha256:{hash}")).unwrap()
        };
        let (old, new) = (pins("0.29.37"), pins("3.0.11"));
        let constraints = ["cython<3".to_owned()];
        let image = |name: &str| -> ImageRef { name.parse().unwrap() };
        let builder = |image_name: &str| BuilderImage {
            image: image(image_name),
            known_as: image("docker.io/library/buildpack-deps:bookworm"),
        };
        let (named, mirrored) = (
            builder("docker.io/library/buildpack-deps:bookworm"),
            builder("mirror.example/library/buildpack-deps:bookworm"),
        );
        let base = image("docker.io/airbyte/python-connector-base:4.0.0");
        let plain = Sdist {
            file: &file,
            target: Interpreter::USUAL.on(Platform::LinuxAmd64),
            base: &base,
            builder: None,
            constraints: &[],
            elsewhere: None,
            pins: &old,
        };
        let key = |sdist: &Sdist<'_>| sdist.key(Scope::Pure).unwrap().directory();
        let with = |builder| Sdist {
            builder: Some(builder),
            ..plain.clone()
        };
        let others = [
            Sdist {
                constraints: &constraints,
                ..plain.clone()
            },
            Sdist {
                pins: &new,
                ..plain.clone()
            },
            with(&named),
        ];
        for other in &others {
            assert_ne!(key(other), key(&plain), "{other:?}");
        }
        assert_eq!(key(&with(&mirrored)), key(&with(&named)));
    }
}
