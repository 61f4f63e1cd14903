//! Closures of several platforms side by side.

use std::collections::BTreeMap;

use pep508_rs::{PackageName, pep440_rs::Version};
use serde::Serialize;

use super::{Closure, Content, How, Planned};
use crate::model::{config::Config, image::ImageRef, lock::File, platform::Platform};

/// What `connector info` and the plan of a build say of the closures.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub closures: Vec<Closure>,
    /// Every wheel that has to be made first.
    pub builds: Vec<Build>,
    pub totals: Totals,
}

/// A wheel to make from an sdist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    pub name: PackageName,
    pub version: Version,
    pub sdist: File,
    pub expected: Content,
    /// Platforms that install it.
    pub platforms: Vec<Platform>,
    /// Those of them whose wheel is built under emulation, unless the first one made turns out pure.
    pub emulated: Vec<Platform>,
    /// The image that it is built in, as configuration names it; None is the connector's base image.
    pub builder: Option<ImageRef>,
    /// What configuration asks of its build backends.
    pub constraints: Vec<String>,
    pub because: String,
}

/// How many packages there are of each kind, over all platforms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Distinct versions of packages.
    pub packages: usize,
    /// Wheels that are the same file on every platform.
    pub shared_wheels: usize,
    /// Packages with another wheel for each platform, or on some platforms only.
    pub platform_wheels: usize,
    /// Sdists whose wheel will probably serve all platforms.
    pub pure_sdists: usize,
    /// Sdists that probably hold machine code.
    pub native_sdists: usize,
}

/// One package on each platform that installs it.
type OnPlatforms<'a> = Vec<(Platform, &'a Planned)>;

fn by_package(closures: &[Closure]) -> BTreeMap<(&PackageName, &Version), OnPlatforms<'_>> {
    let mut by_package: BTreeMap<_, OnPlatforms<'_>> = BTreeMap::new();
    for closure in closures {
        for planned in &closure.packages {
            let key = (&planned.name, &planned.version);
            by_package
                .entry(key)
                .or_default()
                .push((closure.target.platform, planned));
        }
    }
    by_package
}

impl Summary {
    /// `native` is the platform that builds run on without emulation.
    pub fn new(closures: Vec<Closure>, native: Platform, config: &Config) -> Summary {
        let by_package = by_package(&closures);
        let packages = by_package.values();
        let mut builds: Vec<Build> = packages.filter_map(|on| build(on)).collect();
        for build in &mut builds {
            let name = build.name.to_string();
            build.builder = config.builder_images.get(&name).cloned();
            build.constraints = config
                .build_constraints
                .get(&name)
                .cloned()
                .unwrap_or_default();
            if build.expected == Content::Native {
                let foreign = build.platforms.iter().filter(|on| **on != native);
                build.emulated = foreign.copied().collect();
            }
        }
        let mut totals = Totals {
            packages: by_package.len(),
            ..Totals::default()
        };
        for on in by_package.values() {
            totals.count(on, closures.len());
        }
        Summary {
            builds,
            totals,
            closures,
        }
    }

    /// Package, version, how it is installed and why, for a table.
    pub fn rows(&self) -> Vec<[String; 4]> {
        let row = |((name, version), on): ((&PackageName, &Version), OnPlatforms<'_>)| {
            let mut why: Vec<&str> = on
                .iter()
                .map(|(_, planned)| planned.because.as_str())
                .collect();
            why.dedup();
            [
                name.to_string(),
                version.to_string(),
                how(&on, self.closures.len()),
                why.join("; "),
            ]
        };
        by_package(&self.closures).into_iter().map(row).collect()
    }

    /// Lines for a reader: totals, then what is not simply installed.
    pub fn lines(&self) -> Vec<String> {
        let Totals {
            packages,
            shared_wheels,
            platform_wheels,
            pure_sdists,
            native_sdists,
        } = self.totals;
        let mut lines = vec![format!(
            "packages: {packages}; wheels for all platforms: {shared_wheels}, by platform: {platform_wheels}; \
             sdists to build once: {pure_sdists}, by platform unless pure: {native_sdists}"
        )];
        for build in &self.builds {
            let what = match build.expected {
                Content::Pure => "one wheel for",
                Content::Native => "a wheel for",
            };
            let platform = |platform: &Platform| match build.emulated.contains(platform) {
                true => format!("{platform} (emulated unless it proves pure)"),
                false => platform.to_string(),
            };
            let platforms: Vec<String> = build.platforms.iter().map(platform).collect();
            let image = match &build.builder {
                Some(image) => image.to_string(),
                None => "the base image".to_owned(),
            };
            let constraints = match build.constraints.as_slice() {
                [] => String::new(),
                constraints => format!(" with {}", constraints.join(" and ")),
            };
            lines.push(format!(
                "{} {}: {what} {} from {} in {image}{constraints} ({})",
                build.name,
                build.version,
                platforms.join(" and "),
                build.sdist.name,
                build.because
            ));
        }
        lines
    }
}

impl Totals {
    fn count(&mut self, on: &[(Platform, &Planned)], platforms: usize) {
        match build(on).map(|build| build.expected) {
            Some(Content::Pure) => self.pure_sdists += 1,
            Some(Content::Native) => self.native_sdists += 1,
            None if on.len() == platforms && same_file(on) => self.shared_wheels += 1,
            None => self.platform_wheels += 1,
        }
    }
}

/// How a package gets into the images, in a few words.
fn how(on: &[(Platform, &Planned)], platforms: usize) -> String {
    let only = if on.len() == platforms {
        String::new()
    } else {
        let names: Vec<String> = on
            .iter()
            .map(|(platform, _)| platform.to_string())
            .collect();
        format!(", {} only", names.join(" and "))
    };
    let how = match build(on).map(|build| build.expected) {
        Some(Content::Pure) => "one wheel from its sdist",
        Some(Content::Native) => "a wheel from its sdist by platform",
        None if same_file(on) => "wheel",
        None => "wheel by platform",
    };
    format!("{how}{only}")
}

fn same_file(on: &[(Platform, &Planned)]) -> bool {
    on.windows(2)
        .all(|pair| pair[0].1.how.file() == pair[1].1.how.file())
}

/// The wheel to make for those platforms that install this package from its sdist.
fn build(on: &[(Platform, &Planned)]) -> Option<Build> {
    let from_sdist = |(platform, planned): &(Platform, &Planned)| match &planned.how {
        How::Wheel { .. } => None,
        How::Sdist { file, expected } => {
            Some((*platform, file.clone(), *expected, planned.because.clone()))
        }
    };
    let sdists: Vec<_> = on.iter().filter_map(from_sdist).collect();
    let (_, sdist, expected, because) = sdists.first()?.clone();
    let (_, planned) = on.first()?;
    Some(Build {
        name: planned.name.clone(),
        version: planned.version.clone(),
        sdist,
        expected,
        platforms: sdists.iter().map(|(platform, ..)| *platform).collect(),
        emulated: Vec::new(),
        builder: None,
        constraints: Vec::new(),
        because,
    })
}
