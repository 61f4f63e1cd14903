//! What a check found, and where.

use camino::Utf8PathBuf;
use serde::Serialize;

use super::yaml::Place;

/// How bad a finding is: only errors end a run with 1, and what is unknown ends it with 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
    /// It could not be found out, which is neither good nor bad.
    Unknown,
}

impl Severity {
    /// As reports write it; for what is unknown SARIF's levels and GitHub's annotations have words of their own.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Unknown => "unknown",
        }
    }
}

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of the check that found it.
    pub check: &'static str,
    pub severity: Severity,
    /// Name of the connector's directory.
    pub connector: String,
    /// Relative to the repository root; the file may be missing, which then is what was found.
    pub file: Utf8PathBuf,
    #[serde(flatten)]
    pub at: Place,
    pub message: String,
    /// The next step.
    pub help: String,
}
