//! A distribution file that a lock names.

use serde::Serialize;

use super::hash::Hash;

/// What a lock says of one file: enough to fetch it and to know that it is the right one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockedFile {
    /// Normalized name of the package (PEP 503).
    pub package: String,
    pub version: String,
    /// File name; empty where only the hash is known (requirements files).
    pub name: String,
    /// Any of these is right; a lock names one, a requirements file those of all files of a version.
    pub hashes: Vec<Hash>,
}

impl LockedFile {
    /// For messages: the file name, or package and version where that is unknown.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            format!("{} {}", self.package, self.version)
        } else {
            self.name.clone()
        }
    }
}
