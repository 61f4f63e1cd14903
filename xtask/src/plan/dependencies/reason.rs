//! Why a lock can't be installed, each with its remedy.

use std::fmt;

use pep508_rs::{PackageName, pep440_rs::Version};

use crate::model::{
    platform::Platform,
    problem::Problem,
    target::{PythonVersion, Target},
};

/// One thing that stands between a lock file and an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// pyproject.toml was changed after the lock was made.
    OutOfDate { detail: String },
    /// The connector, or the lock, excludes the base image's interpreter.
    Python {
        python: PythonVersion,
        constraint: String,
    },
    /// A package of the closure excludes it.
    PackagePython {
        name: PackageName,
        version: Version,
        python: PythonVersion,
        constraint: String,
    },
    /// A dependency names a package that the lock doesn't hold.
    Missing {
        name: PackageName,
        wanted_by: String,
    },
    /// The lock holds it, but no version that will do.
    NoVersion {
        name: PackageName,
        wanted: String,
        wanted_by: String,
        locked: Vec<Version>,
    },
    /// Several versions will do, so the lock doesn't say which.
    Ambiguous {
        name: PackageName,
        versions: Vec<Version>,
        platform: Platform,
    },
    /// From git, a path or an address: no published file with a hash.
    Direct { name: PackageName, kind: String },
    /// Neither wheel nor sdist.
    NoFile {
        name: PackageName,
        version: Version,
        target: Target,
        files: Vec<String>,
    },
    /// There are files, but none that can be installed, or nothing to verify them against.
    NoHash {
        name: PackageName,
        version: Version,
        files: Vec<String>,
    },
    /// Its author withdrew it from the package index.
    Yanked {
        name: PackageName,
        version: Version,
        /// In the author's words; may be empty.
        why: String,
    },
    /// The target's markers can't be formed.
    Target { detail: String },
}

impl Reason {
    /// The package that it is about.
    pub fn package(&self) -> Option<&PackageName> {
        match self {
            Reason::PackagePython { name, .. }
            | Reason::Missing { name, .. }
            | Reason::NoVersion { name, .. }
            | Reason::Ambiguous { name, .. }
            | Reason::Direct { name, .. }
            | Reason::NoFile { name, .. }
            | Reason::NoHash { name, .. }
            | Reason::Yanked { name, .. } => Some(name),
            Reason::OutOfDate { .. } | Reason::Python { .. } | Reason::Target { .. } => None,
        }
    }

    /// Whether it is told from the base image, and not from the lock alone.
    pub fn is_of_base(&self) -> bool {
        matches!(
            self,
            Reason::Python { .. }
                | Reason::PackagePython { .. }
                | Reason::NoFile { .. }
                | Reason::Target { .. }
        )
    }

    /// The next step.
    pub fn help(&self) -> String {
        match self {
            Reason::OutOfDate { .. } => "lock again (`poetry lock` or `uv lock`) and commit the lock file".to_owned(),
            Reason::Python { .. } => {
                "declare a base image with a Python that pyproject.toml allows, or widen its python constraint and lock again".to_owned()
            }
            Reason::PackagePython { name, .. } => format!(
                "declare a base image with another Python, or ask for a version of {name} that runs on it and lock again"
            ),
            Reason::Missing { name, .. } | Reason::NoVersion { name, .. } => format!(
                "the lock file was edited or merged by hand around {name}: lock again (`poetry lock` or `uv lock`)"
            ),
            Reason::Ambiguous { name, .. } => format!(
                "give the dependencies on {name} markers that exclude each other, and lock again"
            ),
            Reason::Direct { name, .. } => format!("publish {name} to a package index and depend on a version of it"),
            Reason::NoFile { name, .. } => format!(
                "ask for a version of {name} with a wheel for the platform or an sdist, lock again, or build for other platforms only"
            ),
            Reason::NoHash { name, .. } => format!(
                "lock again with a package index that publishes hashes of {name}"
            ),
            Reason::Yanked { name, .. } => format!(
                "ask for another version of {name} and lock again, or set `on-yanked = \"warn\"` in the configuration"
            ),
            Reason::Target { .. } => "name the base image's interpreter as a whole version, such as 3.11.2".to_owned(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OutOfDate { detail } => write!(f, "out of date with pyproject.toml: {detail}"),
            Reason::Python { python, constraint } => {
                write!(
                    f,
                    "the base image has Python {python}, which `{constraint}` excludes"
                )
            }
            Reason::PackagePython {
                name,
                version,
                python,
                constraint,
            } => write!(
                f,
                "{name} {version} needs Python `{constraint}`, the base image has {python}"
            ),
            Reason::Missing { name, wanted_by } => {
                write!(f, "{name}, which {wanted_by} needs, is not in it")
            }
            Reason::NoVersion {
                name,
                wanted,
                wanted_by,
                locked,
            } => write!(
                f,
                "{wanted_by} needs {name} {wanted}, but it holds {name} {}",
                list(locked)
            ),
            Reason::Ambiguous {
                name,
                versions,
                platform,
            } => write!(f, "{name} {} all match on {platform}", list(versions)),
            Reason::Direct { name, kind } => {
                write!(
                    f,
                    "{name} comes from {kind}, which is not supported: nothing to verify it against"
                )
            }
            Reason::NoFile {
                name,
                version,
                target,
                files,
            } => write!(
                f,
                "{name} {version} has no file for {target}: {}",
                if files.is_empty() {
                    "it names none at all".to_owned()
                } else {
                    shortened(files)
                }
            ),
            Reason::NoHash {
                name,
                version,
                files,
            } => {
                write!(
                    f,
                    "{name} {version} has no wheel or sdist with a sha256, sha384 or sha512 hash: {}",
                    shortened(files)
                )
            }
            Reason::Yanked { name, version, why } => {
                write!(f, "{name} {version} was yanked from the package index")?;
                match why.trim() {
                    "" => Ok(()),
                    why => write!(f, ": {why}"),
                }
            }
            Reason::Target { detail } => f.write_str(detail),
        }
    }
}

/// All reasons as one error, the remedies behind it, each once.
pub fn problem(file: &str, reasons: &[Reason]) -> Problem {
    let lines: Vec<String> = reasons
        .iter()
        .map(|reason| format!("{file}: {reason}"))
        .collect();
    let mut help: Vec<String> = Vec::new();
    for reason in reasons {
        let text = reason.help();
        if !help.contains(&text) {
            help.push(text);
        }
    }
    Problem::usage(lines.join("\n")).help(help.join("\n"))
}

fn list(versions: &[Version]) -> String {
    let texts: Vec<String> = versions.iter().map(Version::to_string).collect();
    texts.join(" and ")
}

/// The first few: a package may have a hundred wheels.
fn shortened(files: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = files[..files.len().min(SHOWN)].join(", ");
    match files.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
