//! On how many images of a kind their `spec` is tried.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SpecRuns {
    /// On an emulated platform, of images that differ in their manifest alone only some
    Sample,
    /// On every image and platform
    All,
}
