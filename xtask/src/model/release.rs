//! What kind of release a publish makes.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseType {
    /// Tagged with the version. Airbyte's own action calls it `main-release`.
    #[value(alias = "main-release")]
    Main,
    /// Tagged with the version and the commit, as the setting `pre-release` says; never latest.
    PreRelease,
}

/// What Airbyte's action adds to the version of a pre-release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreReleaseTag {
    /// `-dev.` and ten characters of the commit, in place of a candidate's `-rc.N`.
    Dev,
    /// Since December 2025: `-preview.` and seven, in place of whatever pre-release the version is.
    Preview,
}

/// What a publish does to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Builds and tests, and changes nothing anywhere else.
    DryRun,
    Real,
}

/// What becomes of a version that the registry has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    Keep,
    Replace,
}

/// Whether what is pushed is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signing {
    Off,
    On,
}

/// What becomes of the tag latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latest {
    Leave,
    /// It follows the newest release.
    Follow,
}
