//! Versions, breaking changes and progressive rollout.

use semver::Version;

use super::{Check, Defect, Released, Run, Subject};
use crate::model::{
    date::Date,
    finding::Severity,
    yaml::{Entry, Node},
};

/// They read metadata.yaml alone, and know of earlier releases by [`Subject::released`] and [`Subject::earlier`].
pub const CHECKS: &[Check] = &[
    Check {
        id: "major-version",
        description: "a version N.0.0 has its entry in releases.breakingChanges",
        severity: Severity::Error,
        applies: "versions N.0.0 from 1.0.0 on, but for the declarative-manifest connector",
        run: Run::Connector(major_version),
    },
    Check {
        id: "breaking-change-deadline",
        description: "upgradeDeadline lies more than 7 days ahead",
        severity: Severity::Error,
        applies: "a version with an entry in breakingChanges (but `isBreaking: false`) that is not released yet: not on the registry, not at the merge base",
        run: Run::Connector(deadline),
    },
    Check {
        id: "release-candidate",
        description: "release candidates are no major versions, and progressive rollout fits the version",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(release_candidate),
    },
    Check {
        id: "rollout-percentages",
        description: "initialPercentage is not above maxPercentage",
        severity: Severity::Error,
        applies: "all with a rolloutConfiguration",
        run: Run::Connector(percentages),
    },
];

/// The declarative-manifest connector follows the CDK's version.
const DECLARATIVE_MANIFEST: &str = "64a2f99c-542f-4af8-9a6f-355f1217b436";
/// Users must have this many days to upgrade.
const NOTICE: i64 = 7;

/// Whether the pre-release says release candidate: its first identifier is `rc` or `rcN`.
/// `1.2.3-arch` is none.
pub fn is_candidate(version: &Version) -> bool {
    let first = version.pre.split('.').next().unwrap_or_default();
    first
        .strip_prefix("rc")
        .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
}

/// N.0.0 with N > 0; 0.0.0 is a beginning, 2.0.0+b no release.
fn is_major(version: &Version) -> bool {
    version.major > 0
        && (version.minor, version.patch) == (0, 0)
        && version.pre.is_empty()
        && version.build.is_empty()
}

/// The entries of releases.breakingChanges.
pub fn breaking_changes<'a>(subject: &Subject<'a>) -> &'a [Entry] {
    subject
        .field("releases.breakingChanges")
        .map_or(&[], Node::entries)
}

/// Whether an entry of releases.breakingChanges only says something of its version, and asks nothing of users.
pub fn is_annotation(change: &Entry) -> bool {
    change.value.get("isBreaking").and_then(Node::boolean) == Some(false)
}

fn major_version(subject: &Subject) -> Vec<Defect> {
    let Some(version) = subject.version().filter(is_major) else {
        return Vec::new();
    };
    let exempt = subject.text("definitionId") == Some(DECLARATIVE_MANIFEST);
    let key = version.to_string();
    if exempt
        || breaking_changes(subject)
            .iter()
            .any(|change| change.key == key)
    {
        return Vec::new();
    }
    vec![subject.in_metadata(
        "dockerImageTag",
        format!("dockerImageTag: {version} is a major version without an entry in releases.breakingChanges"),
        format!("add `releases.breakingChanges.{version}` with message and upgradeDeadline, or choose a minor version"),
    )]
}

fn deadline(subject: &Subject) -> Vec<Defect> {
    if subject.released == Released::Yes {
        return Vec::new();
    }
    let Some(version) = subject.text("dockerImageTag") else {
        return Vec::new();
    };
    if subject
        .earlier
        .as_ref()
        .is_some_and(|earlier| earlier.had(version))
    {
        return Vec::new();
    }
    let entry = breaking_changes(subject)
        .iter()
        .find(|change| change.key == version && !is_annotation(change));
    let deadline = entry.and_then(|change| change.value.get("upgradeDeadline"));
    let Some((node, date)) =
        deadline.and_then(|node| Some((node, node.text()?.parse::<Date>().ok()?)))
    else {
        return Vec::new();
    };
    let left = date.days_since(subject.today);
    if left > NOTICE {
        return Vec::new();
    }
    let when = match left {
        ..0 => format!("{} days ago", -left),
        0 => "today".to_owned(),
        _ => format!("in {left} days"),
    };
    vec![subject.in_file(
        super::METADATA,
        node.at,
        format!("releases.breakingChanges.{version}: the upgrade deadline {date} is {when}"),
        format!("set upgradeDeadline to a day more than {NOTICE} days ahead; if {version} is released already, ignore this"),
    )]
}

/// Dotted path below `data`: whether Airbyte gives the version to some users first.
pub const ROLLOUT: &str = "releases.rolloutConfiguration.enableProgressiveRollout";
/// The same: how the connector's versions are rolled out, releases too.
pub const ROLLOUT_MODE: &str = "releases.rolloutConfiguration.defaultRolloutMode";

fn release_candidate(subject: &Subject) -> Vec<Defect> {
    let Some(version) = subject.version() else {
        return Vec::new();
    };
    let candidate = is_candidate(&version);
    let rollout = subject.field(ROLLOUT);
    let mode = subject.field(ROLLOUT_MODE);
    let mut defects = Vec::new();
    if candidate && version.major > 0 && (version.minor, version.patch) == (0, 0) {
        defects.push(subject.in_metadata(
            "dockerImageTag",
            format!("dockerImageTag: {version} is a release candidate of a breaking change"),
            "a breaking change can't be rolled out progressively; release it as N.0.0",
        ));
    }
    if candidate && rollout.is_none() {
        defects.push(subject.in_metadata(
            ROLLOUT,
            format!("{ROLLOUT}: missing, the release candidate {version} needs it"),
            "set it to true, or to false to publish the candidate without a rollout",
        ));
    }
    // Who states a mode rolls out releases too, as Airbyte does since 2026.
    if rollout.and_then(Node::boolean) == Some(true) && version.pre.is_empty() && mode.is_none() {
        defects.push(subject.in_metadata(
            ROLLOUT,
            format!("{ROLLOUT}: true, but {version} is no pre-release"),
            "set it to false, release a candidate such as 1.2.3-rc.1, or state defaultRolloutMode beside it",
        ));
    }
    defects
}

fn percentages(subject: &Subject) -> Vec<Defect> {
    let number = |key: &str| {
        subject
            .field(&format!("releases.rolloutConfiguration.{key}"))
            .and_then(Node::integer)
            // Others are the schema's to say.
            .filter(|number| (0..=100).contains(number))
    };
    match (number("initialPercentage"), number("maxPercentage")) {
        (Some(initial), Some(max)) if initial > max => vec![subject.in_metadata(
            "releases.rolloutConfiguration.initialPercentage",
            format!("initialPercentage: {initial} is above maxPercentage {max}"),
            "start with no more than the rollout may reach",
        )],
        _ => Vec::new(),
    }
}
