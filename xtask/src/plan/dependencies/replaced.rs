//! What of a base image makes way for a connector's packages: an installer removes a version before it installs another,
//! but a layer only adds files.

use std::{collections::BTreeMap, str::FromStr};

use pep508_rs::{PackageName, pep440_rs::Version};

use super::{Closure, Dependencies};
use crate::model::{base_package::BasePackage, platform::Platform};

impl Dependencies {
    /// What of `installed` the closure of a platform has in another version; platforms without any are left out, and so
    /// is all that the index decides.
    pub fn replaced(&self, installed: &[BasePackage]) -> BTreeMap<Platform, Vec<BasePackage>> {
        let closures = match self {
            Dependencies::Locked(closures) => closures.as_slice(),
            Dependencies::Unlocked { .. } => &[],
        };
        let replaced = closures.iter().map(|closure| {
            let platform = closure.target.platform;
            let other = |one: &&BasePackage| closure.has_another(one);
            let replaced = installed.iter().filter(other);
            (platform, replaced.map(|one| one.on(platform)).collect())
        });
        replaced
            .filter(|(_, replaced): &(_, Vec<_>)| !replaced.is_empty())
            .collect()
    }
}

impl Closure {
    /// Whether it has another version of a distribution. One that is no version of today's is another.
    fn has_another(&self, installed: &BasePackage) -> bool {
        let name = PackageName::from_str(&installed.name).ok();
        let same_name = self
            .packages
            .iter()
            .find(|one| Some(&one.name) == name.as_ref());
        let version = Version::from_str(&installed.version).ok();
        same_name.is_some_and(|one| Some(&one.version) != version.as_ref())
    }
}
