//! Packages that a base image brings.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A package of a base image, where those of connectors are installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasePackage {
    /// As its metadata spells it.
    pub name: String,
    pub version: String,
    /// Files, and directories with nothing but files of its own, without a leading slash.
    pub paths: Vec<String>,
}

impl fmt::Display for BasePackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
