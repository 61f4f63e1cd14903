//! Packages that a base image brings.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::platform::Platform;

/// A package of a base image, where those of connectors are installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasePackage {
    /// As its metadata spells it.
    pub name: String,
    pub version: String,
    /// Files, and directories with nothing but files of its own, without a leading slash.
    pub paths: Vec<String>,
}

impl BasePackage {
    /// As it lies on another platform than the one that told: compiled modules have its name in theirs (PEP 3149).
    pub fn on(&self, platform: Platform) -> BasePackage {
        let name = |platform: Platform| format!("-{}-linux-", platform.machine());
        let path = |path: &String| {
            let any = Platform::ALL.into_iter().map(name);
            any.fold(path.clone(), |path, other| {
                path.replace(&other, &name(platform))
            })
        };
        BasePackage {
            paths: self.paths.iter().map(path).collect(),
            ..self.clone()
        }
    }
}

impl fmt::Display for BasePackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
