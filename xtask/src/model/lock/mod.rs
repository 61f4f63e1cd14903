//! Lock files: one model that both poetry.lock and uv.lock are read into.

pub mod content_hash;
mod poetry;
mod uv;

use std::collections::HashMap;

use pep508_rs::{MarkerTree, PackageName, pep440_rs::Version};
use serde::Serialize;

use super::{constraint::Constraint, dependency::Dependency, hash::Hash, wheel::WheelName};

/// A lock file: every package that any platform or group needs.
#[derive(Debug, Clone)]
pub struct Lock {
    pub packages: Vec<Package>,
    /// Interpreters that it was made for.
    pub python: Constraint,
    pub origin: Origin,
    by_name: HashMap<PackageName, Vec<usize>>,
}

/// What only one of the two kinds of lock file has.
#[derive(Debug, Clone)]
pub enum Origin {
    Poetry(PoetryOrigin),
    Uv(UvOrigin),
}

/// How a poetry.lock is told to be up to date.
#[derive(Debug, Clone)]
pub struct PoetryOrigin {
    /// Hash of the parts of pyproject.toml it was made from.
    pub content_hash: String,
    pub duplicates: Duplicates,
}

/// How one of several locked versions of a package is told to be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// By the markers of each version; where several match, the lock is wrong.
    ByMarker,
    /// By what all dependencies on it allow; of several the newest, since Poetry solves again over the lock's
    /// packages and takes the newest first (lock-version before 2.1).
    Newest,
}

/// How a uv.lock is told to be up to date, and what it starts from.
#[derive(Debug, Clone)]
pub struct UvOrigin {
    /// Index of the connector itself among the packages.
    pub root: usize,
    /// What pyproject.toml asked for when the lock was made.
    pub requires: Vec<Dependency>,
    /// What the groups of the connector need.
    pub development: Vec<Dependency>,
}

/// One version of a package.
#[derive(Debug, Clone)]
pub struct Package {
    pub name: PackageName,
    pub version: Version,
    pub source: Source,
    /// Interpreters that it runs on, where the lock tells.
    pub python: Constraint,
    /// Where this version is the one to take (Poetry 2.1's `markers`, uv's `resolution-markers`).
    pub marker: MarkerTree,
    /// The same where dependency groups come along.
    pub development_marker: MarkerTree,
    pub dependencies: Vec<Dependency>,
    pub wheels: Vec<Wheel>,
    pub sdist: Option<File>,
    /// Files of kinds that can't be installed (eggs, installers, misnamed wheels) or that no hash vouches for.
    pub unusable: Vec<String>,
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A package index, whichever configuration names.
    Index,
    /// The connector itself.
    Root,
    /// `git`, `path`, `url`, ...: no published file with a hash.
    Direct(String),
}

/// A published file and the hash the lock demands of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct File {
    pub name: String,
    pub hash: Hash,
}

/// A wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wheel {
    pub file: File,
    pub name: WheelName,
}

/// Reads the text of one kind of lock file.
pub type Parse = fn(&str) -> Result<Lock, String>;

impl Lock {
    /// The files there may be in a directory; where there are both, the last one counts.
    pub const FILES: [(&str, Parse); 2] = [
        (Lock::POETRY, Lock::parse_poetry),
        (Lock::UV, Lock::parse_uv),
    ];
    /// Name of the file that poetry locks in.
    pub const POETRY: &str = "poetry.lock";
    /// Name of the file that uv locks in.
    pub const UV: &str = "uv.lock";

    /// Reads the text of a poetry.lock, lock-version 1.x to 2.x.
    pub fn parse_poetry(text: &str) -> Result<Lock, String> {
        poetry::parse(text)
    }

    /// Reads the text of a uv.lock, version 1.
    pub fn parse_uv(text: &str) -> Result<Lock, String> {
        uv::parse(text)
    }

    fn new(packages: Vec<Package>, python: Constraint, origin: Origin) -> Lock {
        let mut by_name: HashMap<PackageName, Vec<usize>> = HashMap::new();
        for (index, package) in packages.iter().enumerate() {
            by_name.entry(package.name.clone()).or_default().push(index);
        }
        Lock {
            packages,
            python,
            origin,
            by_name,
        }
    }

    /// Indices of every locked version of `name`.
    pub fn versions(&self, name: &PackageName) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Name of the file it is read from.
    pub fn file_name(&self) -> &'static str {
        match self.origin {
            Origin::Poetry(_) => Lock::POETRY,
            Origin::Uv(_) => Lock::UV,
        }
    }
}

impl Package {
    /// Sorts a file that the lock names by what it is: a wheel, an sdist or neither.
    fn add_file(&mut self, name: &str, hash: Option<&str>) {
        let Some(hash) = hash.and_then(|hash| hash.parse().ok()) else {
            self.unusable.push(name.to_owned());
            return;
        };
        let file = File {
            name: name.to_owned(),
            hash,
        };
        if let Ok(name) = name.parse() {
            self.wheels.push(Wheel { file, name });
        } else if sdist_stem(name).is_some() {
            // Poetry may name two archives of one sdist; PEP 625 wants the gzip one.
            if self.sdist.is_none() || name.ends_with(".tar.gz") {
                self.sdist = Some(file);
            }
        } else {
            self.unusable.push(file.name);
        }
    }
}

/// `NAME-VERSION` of an sdist: a `.tar.gz` (PEP 625) or one of the archives that were allowed before it.
fn sdist_stem(name: &str) -> Option<&str> {
    [".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
}

/// The message of a TOML error with its place, on one line and a picture.
fn syntax(error: &toml::de::Error) -> String {
    error.to_string().trim_end().to_owned()
}

fn package_name(text: &str) -> Result<PackageName, String> {
    text.parse()
        .map_err(|error: pep508_rs::InvalidNameError| error.to_string())
}
