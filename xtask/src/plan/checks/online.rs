//! What registries know of a connector.

use semver::Version;

use super::{Check, Defect, Run, Subject};
use crate::{
    model::{
        finding::{Finding, Severity},
        image::{Digest, ImageRef},
    },
    plan::base_update,
};

/// All of them pass where registries were not asked or gave no answer: of the latter [`unknown`] makes findings.
pub const CHECKS: &[Check] = &[
    Check {
        id: BASE,
        description: "the base image's digest and its tag are on the registry",
        severity: Severity::Error,
        applies: "all that declare a base image with tag and digest, with --online",
        run: Run::Connector(base_exists),
    },
    // A base image may be made again under its tag.
    Check {
        id: TAG,
        description: "the base image's tag stands for its digest on the registry",
        severity: Severity::Warning,
        applies: "all that declare a base image with tag and digest, with --online",
        run: Run::Connector(base_tag),
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
const TAG: &str = "base-image-tag";
const VERSION: &str = "version-not-below-released";

/// What was asked, and why there is no answer where there is none.
#[derive(Debug, Clone)]
pub struct Online {
    /// None without a base image, and for one without a tag or digest.
    pub base: Option<Result<Base, String>>,
    /// The tags of the connector's own image.
    pub tags: Result<Vec<String>, String>,
}

/// What is there of a base image.
#[derive(Debug, Clone)]
pub struct Base {
    pub declared: ImageRef,
    /// Whether its digest is.
    pub there: bool,
    /// What its tag points to; None where that is not there.
    pub tagged: Option<Digest>,
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
        (BASE, FIELD, base),
        (TAG, FIELD, base),
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

const FIELD: &str = "connectorBuildOptions.baseImage";

fn base<'a>(subject: &'a Subject) -> Option<&'a Base> {
    subject.online.as_ref()?.base.as_ref()?.as_ref().ok()
}

fn base_exists(subject: &Subject) -> Vec<Defect> {
    let Some(Base {
        declared,
        there,
        tagged,
    }) = base(subject)
    else {
        return Vec::new();
    };
    let missing = match tagged {
        _ if !there => declared.to_string(),
        None => format!("the tag of {declared}"),
        Some(_) => return Vec::new(),
    };
    vec![subject.in_metadata(
        FIELD,
        format!("{FIELD}: {missing} is not on its registry"),
        newest(subject),
    )]
}

fn base_tag(subject: &Subject) -> Vec<Defect> {
    let Some(Base {
        declared,
        there: true,
        tagged: Some(tagged),
    }) = base(subject)
    else {
        return Vec::new();
    };
    if declared.digest.as_ref() == Some(tagged) {
        return Vec::new();
    }
    vec![subject.in_metadata(
        FIELD,
        format!("{FIELD}: the tag of {declared} stands for {tagged}"),
        newest(subject),
    )]
}

fn newest(subject: &Subject) -> String {
    format!(
        "`cargo xtask connector up-to-date {}` takes the newest there is",
        subject.files.name
    )
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
