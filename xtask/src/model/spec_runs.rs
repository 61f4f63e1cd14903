//! On how many images of a kind their `spec` is tried, and how.

use clap::ValueEnum;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SpecRuns {
    /// On an emulated platform, of images that differ in their manifest alone only some
    Sample,
    /// On every image and platform
    All,
}

/// How an image's `spec` is tried on a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// In a container of its own.
    Alone,
    /// In a container of its base image, among others.
    Batch,
    /// Not at all: other images of its base are tried there, and this one on the native platform.
    LeftOut,
}
