//! What is asked of a publish, once it makes sense.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use semver::Version;
use serde::Serialize;

use crate::{
    model::{
        config::Config,
        connector::{Connector, ConnectorName, Language},
        image::{ImageRef, Tag},
        problem::Problem,
        release::{Existing, Mode, PreReleaseTag, ReleaseType},
    },
    plan::{
        base_image::{BaseImage, Because},
        build::{base_image, buildable},
        published,
    },
};

/// What the flags say.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Empty when there is none.
    pub tag_override: &'a str,
    pub mode: Mode,
    pub existing: Existing,
    pub release: ReleaseType,
    /// Full id of the commit that is worked on.
    pub commit: Option<&'a str>,
}

/// One connector's image and where it goes.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    pub connector: ConnectorName,
    pub language: Language,
    /// From the root.
    pub directory: Utf8PathBuf,
    pub base: BaseImage,
    pub version: Version,
    /// Registry, repository and tag.
    pub image: ImageRef,
}

/// The targets of a run; everything that is wrong or contradicts itself comes back at once.
pub fn targets(
    asked: &Asked<'_>,
    connectors: &[Connector],
    config: &Config,
) -> Result<Vec<Target>, Vec<Problem>> {
    let mut problems = contradictions(asked, &config.registry);
    for connector in connectors {
        problems.extend(buildable(connector).err());
        problems.extend(base_image(connector, config).err());
        if asked.tag_override.is_empty() {
            problems.extend(tag(asked, connector, config.pre_release).err());
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut targets = Vec::new();
    for connector in connectors {
        match target(asked, connector, config) {
            Ok(target) => targets.push(target),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(twice(&targets));
    if problems.is_empty() {
        Ok(targets)
    } else {
        Err(problems)
    }
}

/// What is wrong with the flags, whatever the connectors.
fn contradictions(asked: &Asked<'_>, registry: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if asked.mode == Mode::DryRun && asked.existing == Existing::Replace {
        problems.push(
            Problem::usage("--force-publish overwrites images, a dry run writes none")
                .help("add --dry-run=false to overwrite, or leave --force-publish away"),
        );
    }
    if !asked.tag_override.is_empty()
        && let Err(error) = asked.tag_override.parse::<Tag>()
    {
        problems.push(Problem::usage(format!("--tag-override: {error}")));
    }
    if let Err(error) = check_registry(registry) {
        problems.push(
            Problem::usage(format!("registry: {error}"))
                .help("give --registry HOST/NAMESPACE, such as docker.io/airbyte or ghcr.io/me"),
        );
    }
    if asked.release == ReleaseType::PreRelease && asked.commit.is_none() {
        problems.push(
            Problem::usage("--release-type pre-release tags with the commit, and there is none")
                .help("publish from a git work tree with a commit"),
        );
    }
    problems
}

/// `host[:port]/namespace`, the host being one by a dot, a port or the name localhost.
fn check_registry(registry: &str) -> Result<(), String> {
    let image: ImageRef = format!("{registry}/x")
        .parse()
        .map_err(|_| format!("`{registry}` is not of the form HOST/NAMESPACE"))?;
    if image.name() != format!("{registry}/x") || !image.repository.contains('/') {
        return Err(format!("`{registry}` is not of the form HOST/NAMESPACE"));
    }
    Ok(())
}

fn target(asked: &Asked<'_>, connector: &Connector, config: &Config) -> Result<Target, Problem> {
    let base = base_image(connector, config)?;
    let repository = published::repository(connector, &config.registry).map_err(|error| {
        Problem::usage(format!("{}: dockerRepository: {error}", connector.name))
    })?;
    if asked.mode == Mode::Real && base.because == Because::StandIn && !loopback(&repository) {
        let declared = &base.declared;
        let problem = Problem::usage(format!(
            "{}: its base image {declared} is only stood in for here, which is for trying out",
            connector.name
        ));
        return Err(
            problem.help("take it out of `stand-ins`, or publish to a registry on this host")
        );
    }
    Ok(Target {
        connector: connector.name.clone(),
        language: buildable(connector)?,
        directory: connector.directory.clone(),
        base,
        version: connector.metadata.version.clone(),
        image: ImageRef {
            tag: Some(tag(asked, connector, config.pre_release)?),
            ..repository
        },
    })
}

fn loopback(image: &ImageRef) -> bool {
    let host = image.registry.split(':').next().unwrap_or_default();
    matches!(host, "localhost" | "127.0.0.1")
}

fn tag(asked: &Asked<'_>, connector: &Connector, form: PreReleaseTag) -> Result<Tag, Problem> {
    let version = &connector.metadata.version;
    let text = match (asked.tag_override, asked.release, asked.commit) {
        ("", ReleaseType::Main, _) => version.to_string(),
        ("", ReleaseType::PreRelease, commit) => {
            pre_release(version, commit.unwrap_or_default(), form)
        }
        (given, ..) => given.to_owned(),
    };
    let parsed = text.parse();
    parsed.map_err(|error| Problem::usage(format!("{}: {error}", connector.name)))
}

/// `1.2.3-rc.4` becomes `1.2.3-dev.` or `1.2.3-preview.` and the first characters of the commit.
fn pre_release(version: &Version, commit: &str, form: PreReleaseTag) -> String {
    let candidate = version.pre.strip_prefix("rc.");
    let is_candidate = candidate.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
    let (word, length, makes_way) = match form {
        PreReleaseTag::Dev => ("dev", 10, is_candidate),
        PreReleaseTag::Preview => ("preview", 7, true),
    };
    let mut core = version.clone();
    if makes_way {
        core.pre = semver::Prerelease::EMPTY;
    }
    let short: String = commit.chars().take(length).collect();
    format!("{core}-{word}.{short}")
}

/// Two connectors under one name would overwrite each other.
fn twice(targets: &[Target]) -> Vec<Problem> {
    let mut by_image: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for target in targets {
        let names = by_image.entry(target.image.to_string()).or_default();
        names.push(target.connector.as_str());
    }
    let several = by_image.iter().filter(|(_, names)| names.len() > 1);
    several
        .map(|(image, names)| {
            Problem::usage(format!(
                "{} would all be published as {image}",
                names.join(", ")
            ))
        })
        .collect()
}
