//! From a lock file to the files that each platform installs: this package, this file, this hash, this way,
//! because.

mod choose;
mod closure;
mod fresh;
pub mod reason;
mod replaced;
mod summary;

use pep508_rs::{PackageName, pep440_rs::Version};
use serde::Serialize;

pub use self::{reason::Reason, summary::Summary};
use crate::model::{
    dependency::Dependency,
    hash::Hash,
    lock::{File, Lock},
    platform::Platform,
    problem::Problem,
    pyproject::Pyproject,
    target::{Interpreter, PythonVersion, Target},
};

/// What a connector's image gets installed.
#[derive(Debug, Clone)]
pub enum Dependencies {
    /// Exactly what the lock names, on every target.
    Locked(Vec<Closure>),
    /// No lock: what an index has on the day, so the build can't be repeated.
    Unlocked {
        /// As a resolver reads them (PEP 508).
        requirements: Vec<String>,
    },
}

/// The packages of one target, sorted by name.
#[derive(Debug, Clone, Serialize)]
pub struct Closure {
    pub target: Target,
    pub packages: Vec<Planned>,
}

/// One package of a closure and how it gets into the image.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    pub name: PackageName,
    pub version: Version,
    #[serde(flatten)]
    pub how: How,
    /// Why this file, for a reader.
    pub because: String,
}

/// How a package gets into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum How {
    /// The wheel as it is.
    Wheel { file: File },
    /// A wheel made from the sdist.
    Sdist { file: File, expected: Content },
}

/// What the wheel made from an sdist will probably hold. The wheel itself decides: pendulum 2.1.2 is native
/// where there is a compiler and pure where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// No machine code: one wheel serves all platforms.
    Pure,
    /// Machine code: its author published wheels by platform.
    Native,
}

impl How {
    /// The locked file that is fetched: of a package that is built its sdist.
    pub fn file(&self) -> &File {
        match self {
            How::Wheel { file } | How::Sdist { file, .. } => file,
        }
    }
}

impl Planned {
    /// Why it is not wanted in an image, when the index has withdrawn it for this reason.
    pub fn yanked(&self, why: String) -> Reason {
        Reason::Yanked {
            name: self.name.clone(),
            version: self.version.clone(),
            why,
        }
    }
}

/// What a closure is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An image: dependency groups are left out.
    Image,
    /// Work on the connector: every dependency group that is not optional comes along.
    Development,
}

impl Closure {
    /// Resolves `lock` for `target`. All that stands in the way comes back at once.
    pub fn resolve(
        pyproject: &Pyproject,
        lock: &Lock,
        target: Target,
    ) -> Result<Closure, Vec<Reason>> {
        Closure::resolve_for(Purpose::Image, pyproject, lock, target)
    }

    fn resolve_for(
        purpose: Purpose,
        pyproject: &Pyproject,
        lock: &Lock,
        target: Target,
    ) -> Result<Closure, Vec<Reason>> {
        fresh::check(pyproject, lock, target)?;
        let mut packages = Vec::new();
        let mut reasons = Vec::new();
        for package in closure::walk(purpose, pyproject, lock, target)? {
            match choose::choose(package, target) {
                Ok(planned) => packages.push(planned),
                Err(reason) => reasons.push(reason),
            }
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        if reasons.is_empty() {
            Ok(Closure { target, packages })
        } else {
            Err(reasons)
        }
    }

    /// The closure as `uv pip install --require-hashes` reads it. `built` names the wheel that an sdist was made
    /// into; without one the line demands the sdist itself.
    pub fn requirements(&self, built: impl Fn(&Planned) -> Option<Hash>) -> String {
        let line = |planned: &Planned| {
            let hash = match planned.how {
                How::Wheel { .. } => None,
                How::Sdist { .. } => built(planned),
            };
            let hash = hash.as_ref().unwrap_or(&planned.how.file().hash);
            format!("{}=={} --hash={hash}\n", planned.name, planned.version)
        };
        self.packages.iter().map(line).collect()
    }
}

/// Plans what is installed on every target. An error holds all reasons of all targets, each once.
pub fn plan(
    pyproject: &Pyproject,
    lock: Option<&Lock>,
    targets: &[Target],
) -> Result<Dependencies, Problem> {
    let Some(lock) = lock else {
        return unlocked(pyproject, targets);
    };
    let mut closures = Vec::new();
    let mut reasons: Vec<Reason> = Vec::new();
    for target in targets {
        match Closure::resolve(pyproject, lock, *target) {
            Ok(closure) => closures.push(closure),
            Err(found) => {
                for reason in found {
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                }
            }
        }
    }
    if reasons.is_empty() {
        Ok(Dependencies::Locked(closures))
    } else {
        Err(reason::problem(lock.file_name(), &reasons))
    }
}

/// What keeps a lock out of every image: out of those with each interpreter that it and pyproject.toml allow. The
/// platforms' closures are taken to be alike.
pub fn faults(pyproject: &Pyproject, lock: &Lock) -> Vec<Reason> {
    let is_allowed = |python: &PythonVersion| {
        let mut constraints = [&pyproject.python, &lock.python].into_iter();
        constraints.all(|one| one.contains(&python.version()))
    };
    // One release stands for all of a minor version: a late one, which few constraints leave out.
    let allowed = (8..=14).filter_map(|minor| {
        let patches = [20].into_iter().chain(0..=30);
        let mut releases = patches.map(|patch| PythonVersion {
            major: 3,
            minor,
            patch,
        });
        releases.find(is_allowed)
    });
    let mut common: Option<Vec<Reason>> = None;
    for python in allowed {
        let target = Target {
            python,
            ..Interpreter::USUAL.on(Platform::LinuxAmd64)
        };
        let found = Closure::resolve(pyproject, lock, target);
        let mut found = found.err().unwrap_or_default();
        found.retain(|reason| {
            !reason.is_of_base() && common.as_ref().is_none_or(|common| common.contains(reason))
        });
        if found.is_empty() {
            return found;
        }
        common = Some(found);
    }
    common.unwrap_or_default()
}

/// What is installed to work on a connector: its image's packages and those of its dependency groups.
pub fn development(pyproject: &Pyproject, lock: &Lock, target: Target) -> Result<Closure, Problem> {
    Closure::resolve_for(Purpose::Development, pyproject, lock, target)
        .map_err(|reasons| reason::problem(lock.file_name(), &reasons))
}

fn unlocked(pyproject: &Pyproject, targets: &[Target]) -> Result<Dependencies, Problem> {
    let mut requirements = Vec::new();
    let mut wrong: Vec<String> = targets
        .iter()
        .filter(|target| !pyproject.python.contains(&target.python.version()))
        .map(|target| {
            format!(
                "Python {} is excluded by `{}`",
                target.python, pyproject.python
            )
        })
        .collect();
    wrong.dedup();
    // Poetry's `python` beside a version, which PEP 508 can't say; all targets have one interpreter.
    let stands = |dependency: &&Dependency| {
        let mut pythons = targets.iter().map(|target| target.python.version());
        pythons.all(|python| dependency.python.contains(&python))
    };
    let mut direct = Vec::new();
    for dependency in pyproject.dependencies.iter().filter(stands) {
        let name = dependency.name.clone();
        match (dependency.direct.clone(), dependency.to_pep508()) {
            (Some(kind), _) => direct.push(Reason::Direct { name, kind }),
            (None, Ok(text)) => requirements.push(text),
            (None, Err(error)) => wrong.push(error),
        }
    }
    if wrong.is_empty() && direct.is_empty() {
        return Ok(Dependencies::Unlocked { requirements });
    }
    let mut help: Vec<String> = direct.iter().map(Reason::help).collect();
    if !wrong.is_empty() {
        help.push("lock the dependencies with `uv lock` or `poetry lock`, or say them in one requirement each".to_owned());
    }
    wrong.extend(direct.iter().map(Reason::to_string));
    Err(Problem::usage(format!("pyproject.toml: {}", wrong.join("\n"))).help(help.join("\n")))
}

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod tests;
