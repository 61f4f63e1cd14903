//! Tags: `key:value`, among them the language and the CDK.

use super::{Check, Defect, Kind, Run, Subject};
use crate::model::{
    finding::Severity,
    yaml::{Node, Value},
};

/// Where `tags` is no list all of them pass: that is for the schema to say.
pub const CHECKS: &[Check] = &[
    Check {
        id: "tag-form",
        description: "every tag is key:value",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(tag_form),
    },
    Check {
        id: "language-tag",
        description: "exactly one language: tag, the one that the files say",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(language_tag),
    },
    Check {
        id: "cdk-tag",
        description: "exactly one cdk: tag, the one that the files and dependencies say",
        severity: Severity::Error,
        applies: "python and low-code",
        run: Run::Connector(cdk_tag),
    },
];

/// Every tag that is text. A `tags` that is no list is the schema's to say.
fn tags<'a>(subject: &Subject<'a>) -> impl Iterator<Item = (&'a Node, &'a str)> {
    let tags = subject.field("tags").map_or(&[][..], Node::items);
    tags.iter().filter_map(|tag| Some((tag, tag.text()?)))
}

/// Whether `tags` is there and no list; then no check but the schema's has anything to say of it.
fn are_no_list(subject: &Subject) -> bool {
    let is_list = |tags: &Node| matches!(tags.value, Value::Sequence(_));
    subject.field("tags").is_some_and(|tags| !is_list(tags))
}

/// The values of the tags that begin with `key:`.
pub fn values<'a>(subject: &Subject<'a>, key: &str) -> Vec<&'a str> {
    let value = |tag: &'a str| tag.strip_prefix(key)?.strip_prefix(':');
    tags(subject).filter_map(|(_, tag)| value(tag)).collect()
}

fn tag_form(subject: &Subject) -> Vec<Defect> {
    let good = |tag: &str| {
        tag.split_once(':')
            .is_some_and(|(key, value)| !key.trim().is_empty() && !value.trim().is_empty())
    };
    tags(subject)
        .filter(|(_, tag)| !good(tag))
        .map(|(node, tag)| {
            let message = format!("tags: `{tag}` is not key:value");
            let help = "write it as key:value, such as language:python";
            subject.in_file(super::METADATA, node.at, message, help)
        })
        .collect()
}

fn language_tag(subject: &Subject) -> Vec<Defect> {
    let files = subject.files;
    let expected = if files.has("manifest.yaml") {
        Some("manifest-only")
    } else if files.has("setup.py") || files.has("pyproject.toml") {
        Some("python")
    } else if files.has("build.gradle") || files.has("build.gradle.kts") {
        Some("java")
    } else {
        None
    };
    exactly_one(subject, "language", expected)
}

fn cdk_tag(subject: &Subject) -> Vec<Defect> {
    let expected = match subject.kind() {
        Some(Kind::LowCode) => "low-code",
        Some(Kind::Python) => match &subject.packaging {
            Some(Ok(packaging)) if packaging.file_based_cdk => "python-file-based",
            _ => "python",
        },
        _ => return Vec::new(),
    };
    exactly_one(subject, "cdk", Some(expected))
}

/// Exactly one tag of a key and, where files tell which, that one.
fn exactly_one(subject: &Subject, key: &str, expected: Option<&str>) -> Vec<Defect> {
    if subject.data().is_none() || are_no_list(subject) {
        return Vec::new();
    }
    let found = values(subject, key);
    let message = match (found.as_slice(), expected) {
        ([], _) => format!("tags: no {key}: tag"),
        ([one], Some(expected)) if *one != expected => {
            format!("tags: `{key}:{one}`, but the files say {key}:{expected}")
        }
        ([_], _) => return Vec::new(),
        (several, _) => format!("tags: {} {key}: tags, expected one", several.len()),
    };
    let help = match expected {
        Some(expected) => format!("let `{key}:{expected}` be the only {key}: tag"),
        None => format!("keep exactly one {key}: tag"),
    };
    vec![subject.in_metadata("tags", message, help)]
}
