//! The ways in which a version goes up.

use clap::ValueEnum;

/// How a version goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// 1.2.3 to 1.2.4
    Patch,
    /// 1.2.3 to 1.3.0
    Minor,
    /// 1.2.3 to 2.0.0
    Major,
    /// The next release candidate: 1.2.3 to 1.2.4-rc.1, that to 1.2.4-rc.2
    Rc,
    /// A release candidate becomes the release: 1.2.4-rc.2 to 1.2.4
    Release,
}
