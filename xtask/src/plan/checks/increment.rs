//! What must hold of a connector compared with the merge base.

use std::cmp::Ordering;

use camino::Utf8Path;
use semver::Version;

use super::{Check, Defect, Earlier, METADATA, Run, Subject, is_candidate};
use crate::model::{
    finding::Severity,
    yaml::{Document, Meaning, Node},
};

/// All of them pass without [`Subject::earlier`].
pub const CHECKS: &[Check] = &[
    Check {
        id: "version-increment",
        description: "the version is higher than at the merge base when code changed, and never lower",
        severity: Severity::Error,
        applies: "connectors that were there at the merge base, with --all-changed or --since",
        run: Run::Connector(increment),
    },
    Check {
        id: "definition-id-kept",
        description: "definitionId is the one that it was at the merge base",
        severity: Severity::Error,
        applies: "connectors that were there at the merge base, with --all-changed or --since",
        run: Run::Connector(|subject| kept(subject, "definitionId")),
    },
    Check {
        id: "docker-repository-kept",
        description: "dockerRepository is the one that it was at the merge base",
        severity: Severity::Error,
        applies: "connectors that were there at the merge base, with --all-changed or --since",
        run: Run::Connector(|subject| kept(subject, "dockerRepository")),
    },
];

impl Earlier {
    /// Whether it had this version then, which was released from there.
    pub fn had(&self, version: &str) -> bool {
        let tag = |document: &Document| {
            document
                .root
                .at_path("data.dockerImageTag")
                .and_then(Node::text)
                == Some(version)
        };
        self.metadata.iter().any(tag)
    }

    /// The version then; the highest where there are several merge bases.
    fn version(&self) -> Option<Version> {
        let text = |document: &Document| {
            let node = document.root.at_path("data.dockerImageTag")?;
            Version::parse(node.text()?).ok()
        };
        let versions = self.metadata.iter().filter_map(text);
        versions.max_by(Version::cmp_precedence)
    }
}

fn increment(subject: &Subject) -> Vec<Defect> {
    let earlier = subject.earlier.as_ref();
    let Some((earlier, before)) = earlier.and_then(|one| Some((one, one.version()?))) else {
        return Vec::new();
    };
    let Some(now) = subject.version() else {
        return Vec::new();
    };
    let name = &subject.files.name;
    let (message, help) = match now.cmp_precedence(&before) {
        Ordering::Less => (
            format!("dockerImageTag: {now} is lower than {before}, the version at the merge base"),
            format!("set a version above {before}: `cargo xtask connector bump {name} patch`"),
        ),
        Ordering::Equal => match code(subject, earlier).as_slice() {
            [] => return Vec::new(),
            _ if is_exempt(subject) => return Vec::new(),
            // That is how a release is taken back.
            [only] if *only == METADATA && is_pinned_anew(subject, earlier) => return Vec::new(),
            changed @ [first, rest @ ..] => (
                format!(
                    "dockerImageTag: still {now}, the version at the merge base, though {}{first} changed",
                    match rest.len() {
                        0 => String::new(),
                        more => format!("{more} other files and "),
                    }
                ),
                {
                    let steps = match now.pre.is_empty() {
                        true => "patch` (or minor, major, rc)",
                        false => "rc` (or release)",
                    };
                    let unless = match changed == [METADATA] && is_built_alike(subject, earlier) {
                        true => {
                            "; where nothing is to be released again `checks.exceptions` bears it"
                        }
                        false => "",
                    };
                    format!("`cargo xtask connector bump {name} {steps}{unless}")
                },
            ),
        },
        Ordering::Greater
            if is_candidate(&before) && is_candidate(&now) && core(&before) != core(&now) =>
        {
            (
                format!(
                    "dockerImageTag: the release candidate {now} follows {before}, which is one of another version"
                ),
                format!(
                    "count on with `cargo xtask connector bump {name} rc`, or finish {before} first with `release`"
                ),
            )
        }
        Ordering::Greater => return Vec::new(),
    };
    vec![subject.in_metadata("dockerImageTag", message, help)]
}

/// Whether the connector asks for no new versions, as Airbyte's own check lets it (`connectors_qa`, version.py).
fn is_exempt(subject: &Subject) -> bool {
    let field = "data.ab_internal.requireVersionIncrementsInPullRequests";
    let asks = subject
        .document()
        .and_then(|document| document.root.at_path(field));
    asks.and_then(Node::meaning) == Some(Meaning::Bool(false))
}

/// Whether a registry is to serve another version than it was, whatever the newest is.
fn is_pinned_anew(subject: &Subject, earlier: &Earlier) -> bool {
    let pins = |document: &Document| {
        ["cloud", "oss"].map(|registry| {
            let path = format!("data.registryOverrides.{registry}.dockerImageTag");
            let tag = document.root.at_path(&path).and_then(Node::text);
            tag.map(str::to_owned)
        })
    };
    let now = subject.document().map(pins);
    earlier.metadata.iter().any(|then| Some(pins(then)) != now)
}

/// Whether metadata.yaml asks for the image to be made as it was (its connectorBuildOptions).
fn is_built_alike(subject: &Subject, earlier: &Earlier) -> bool {
    let options = |document: &Document| {
        let options = document.root.at_path("data.connectorBuildOptions");
        options.map(Node::to_json)
    };
    let now = subject.document().map(options);
    earlier
        .metadata
        .iter()
        .all(|then| Some(options(then)) == now)
}

fn core(version: &Version) -> (u64, u64, u64) {
    (version.major, version.minor, version.patch)
}

/// The changed files that ask for a new version.
fn code<'a>(subject: &Subject, earlier: &'a Earlier) -> Vec<&'a Utf8Path> {
    let exempt = &subject.settings.unversioned_files;
    let is_code = |path: &&Utf8Path| !exempt.iter().any(|one| path.starts_with(one));
    let paths = earlier.changed.iter().map(|path| path.as_path());
    paths.filter(is_code).collect()
}

fn kept(subject: &Subject, field: &str) -> Vec<Defect> {
    let (Some(earlier), Some(now)) = (&subject.earlier, subject.text(field)) else {
        return Vec::new();
    };
    let path = format!("data.{field}");
    let then = earlier
        .metadata
        .iter()
        .filter_map(|document| document.root.at_path(&path)?.text());
    let Some(before) = then.into_iter().find(|before| *before != now) else {
        return Vec::new();
    };
    vec![subject.in_metadata(
        field,
        format!("{field}: {now}, but it was {before} at the merge base"),
        format!("set it back to {before}: whoever uses the connector knows it by that; another connector is a directory of its own"),
    )]
}
