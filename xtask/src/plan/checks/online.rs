//! What registries know of a connector.

use semver::Version;

use super::{Check, Defect, Run, Subject};
use crate::{
    model::finding::{Finding, Severity},
    plan::base_update,
};

pub const CHECKS: &[Check] = &[
    Check {
        id: BASE,
        description: "the base image with its digest is on the registry",
        severity: Severity::Error,
        applies: "all that declare a base image with a digest, with --online",
        run: Run::Connector(base_exists),
    },
    Check {
        id: VERSION,
        description: "the version is not below the newest that the registry has",
        severity: Severity::Error,
        applies: "all but pre-releases, with --online",
        run: Run::Connector(version_not_below),
    },
];

const BASE: &str = "base-image-exists";
const VERSION: &str = "version-not-below-released";

/// What was asked, and why there is no answer where there is none.
#[derive(Debug, Clone)]
pub struct Online {
    /// Whether the base image is there; None without a base image or without a digest.
    pub base: Option<Result<bool, String>>,
    /// The tags of the connector's own image.
    pub tags: Result<Vec<String>, String>,
}

impl Online {
    /// Whether this very version is out.
    pub fn has(&self, version: &str) -> bool {
        let has = |tags: &Vec<String>| tags.iter().any(|tag| tag == version);
        self.tags.as_ref().is_ok_and(has)
    }
}

/// A finding for each question that has no answer: neither passed nor failed.
pub fn unknown(subject: &Subject) -> Vec<Finding> {
    let Some(online) = &subject.online else {
        return Vec::new();
    };
    let base = online.base.as_ref().and_then(|base| base.as_ref().err());
    let asked = [
        (BASE, "connectorBuildOptions.baseImage", base),
        (VERSION, "dockerImageTag", online.tags.as_ref().err()),
    ];
    let finding = |(check, field, why): (&'static str, &str, Option<&String>)| {
        let defect = subject.in_metadata(
            field,
            why?,
            "ask again later; nothing is known of the connector itself",
        );
        Some(Finding {
            check,
            severity: Severity::Unknown,
            connector: subject.files.name.clone(),
            file: defect.file,
            at: defect.at,
            message: defect.message,
            help: defect.help,
        })
    };
    asked.into_iter().filter_map(finding).collect()
}

fn base_exists(subject: &Subject) -> Vec<Defect> {
    const FIELD: &str = "connectorBuildOptions.baseImage";
    let base = subject
        .online
        .as_ref()
        .and_then(|online| online.base.as_ref());
    match (base, subject.text(FIELD)) {
        (Some(Ok(false)), Some(image)) => vec![subject.in_metadata(
            FIELD,
            format!("{FIELD}: {image} is not on its registry"),
            format!(
                "`cargo xtask connector up-to-date {}` takes the newest there is",
                subject.files.name
            ),
        )],
        _ => Vec::new(),
    }
}

fn version_not_below(subject: &Subject) -> Vec<Defect> {
    let (Some(online), Some(version)) = (&subject.online, subject.version()) else {
        return Vec::new();
    };
    let tags = online.tags.as_deref().unwrap_or_default();
    let newest: Option<Version> = base_update::newest(tags.iter().map(String::as_str));
    match newest.filter(|newest| version.pre.is_empty() && version.cmp_precedence(newest).is_lt()) {
        Some(newest) => vec![subject.in_metadata(
            "dockerImageTag",
            format!("dockerImageTag: {version} is below {newest}, which is released"),
            format!("set a version above {newest}"),
        )],
        None => Vec::new(),
    }
}
