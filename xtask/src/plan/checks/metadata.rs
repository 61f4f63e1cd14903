//! What metadata.yaml says, field by field.

use super::{Check, Defect, METADATA, Run, Subject};
use crate::model::{
    definition::{Definition, SCHEMA},
    finding::Severity,
    image::{ImageRef, Tag},
    json_schema::{JsonSchema, Misfit, Why},
    yaml::{Entry, Flaw, Meaning, Node, Place},
};

/// Where metadata.yaml is no YAML only `metadata-syntax` has anything to say.
pub const CHECKS: &[Check] = &[
    Check {
        id: "metadata-syntax",
        description: "metadata.yaml is one YAML document",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(syntax),
    },
    Check {
        id: "metadata-duplicate-key",
        description: "no key of metadata.yaml stands twice",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(duplicate_keys),
    },
    Check {
        id: "metadata-schema",
        description: "every field is known, of its type, and none that is needed is missing",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(schema),
    },
    Check {
        id: "version",
        description: "dockerImageTag is a semantic version that can be an image tag",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(version),
    },
    Check {
        id: "base-image",
        description: "baseImage is image:tag@sha256:digest",
        severity: Severity::Error,
        applies: "all that declare one",
        run: Run::Connector(base_image),
    },
    Check {
        id: "manifest-only-base-image",
        description: "the base image is docker.io/airbyte/source-declarative-manifest",
        severity: Severity::Error,
        applies: "manifest-only",
        run: Run::Connector(manifest_only_base_image),
    },
    Check {
        id: "license",
        description: "license is MIT, ELv2 or Airbyte Enterprise",
        severity: Severity::Error,
        applies: "all",
        run: Run::Connector(license),
    },
    Check {
        id: "max-seconds-between-messages",
        description: "maxSecondsBetweenMessages is set and not 0",
        severity: Severity::Error,
        applies: "certified sources",
        run: Run::Connector(max_seconds),
    },
    Check {
        id: "acceptance-tests",
        description: "connectorTestSuitesOptions has acceptanceTests",
        severity: Severity::Error,
        applies: "sources with medium or high cloud usage in generated.metrics",
        run: Run::Connector(acceptance_tests),
    },
];

fn syntax(subject: &Subject) -> Vec<Defect> {
    let Err(flaw) = &subject.files.metadata else {
        return Vec::new();
    };
    let at = flaw.at.unwrap_or(Place::START);
    vec![subject.in_file(
        METADATA,
        at,
        format!("can't be read as YAML: {}", flaw.message),
        "correct the line; an indentation or a quote is most often wrong",
    )]
}

fn duplicate_keys(subject: &Subject) -> Vec<Defect> {
    let Some(document) = subject.document() else {
        return Vec::new();
    };
    let defect = |flaw: &Flaw| {
        let at = flaw.at.unwrap_or(Place::START);
        let help = "keep one of the two; readers differ on which of them counts";
        subject.in_file(METADATA, at, flaw.message.clone(), help)
    };
    document.duplicates.iter().map(defect).collect()
}

/// The typed model says yes or no; where it says no the JSON Schema names all that is wrong.
fn schema(subject: &Subject) -> Vec<Defect> {
    let Some(document) = subject.document() else {
        return Vec::new();
    };
    let mut root = document.root.clone();
    for path in &subject.settings.metadata_keys {
        root.remove(&path.split('.').collect::<Vec<_>>());
    }
    let Err(flaw) = root.read::<Definition>() else {
        return Vec::new();
    };
    let mut defects = schema_defects(subject, &root);
    if defects.is_empty() {
        let at = flaw.at.unwrap_or(Place::START);
        defects.push(subject.in_file(METADATA, at, flaw.message, SCHEMA_HELP));
    }
    defects
}

const SCHEMA_HELP: &str = "`cargo xtask connector schema` prints what is allowed";

fn schema_defects(subject: &Subject, root: &Node) -> Vec<Defect> {
    // The schema is part of the program and tested with it.
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let schema = JsonSchema::new(&schema).expect("the schema is a JSON Schema");
    let misfits = schema.misfits(&root.to_json());
    let mut defects: Vec<Defect> = misfits
        .iter()
        .flat_map(|misfit| explain(subject, root, misfit))
        .collect();
    defects.sort_by_key(|defect| defect.at);
    // The validator tells a key that two mappings have twice, and of neither where it is.
    defects.dedup();
    defects
}

/// The mappings whose keys are versions.
const BY_VERSION: [&str; 2] = [
    "data.releases.breakingChanges",
    "data.releases.unsafeDowngrades",
];

/// One message for each thing to put right.
fn explain(subject: &Subject, root: &Node, misfit: &Misfit) -> Vec<Defect> {
    let pointer = misfit.pointer.as_str();
    let node = root.at_pointer(pointer);
    let path = pointer.trim_start_matches('/').replace('/', ".");
    let field = if path.is_empty() {
        "the document"
    } else {
        &path
    };
    let one = |at, message: String, help: &str| vec![subject.in_file(METADATA, at, message, help)];
    match &misfit.why {
        Why::UnknownKeys(unknown) => {
            let entries = node.entries().iter();
            let unknown = entries.filter(|entry| unknown.contains(&entry.key));
            unknown
                .map(|entry| unknown_key(subject, entry, pointer))
                .collect()
        }
        Why::Missing(keys) => {
            let missing = |key: &String| {
                let whole = [path.as_str(), key].join(".");
                let whole = whole.trim_start_matches('.');
                let help = format!("add `{key}:`");
                subject.in_file(METADATA, node.at, format!("{whole}: missing"), help)
            };
            keys.iter().map(missing).collect()
        }
        Why::KeyName(key) => {
            let wrong = |path: &&str| {
                let entry = root.at_path(path)?.entry(key)?;
                let message = format!("{path}: `{key}` is not a version");
                let help = "write it as N.N.N, without leading zeros";
                Some(subject.in_file(METADATA, entry.at, message, help))
            };
            BY_VERSION.iter().filter_map(wrong).collect()
        }
        why @ Why::Type { .. } => one(node.at, format!("{field}: {why}"), type_help(node, why)),
        why @ Why::Format { .. } => {
            one(node.at, format!("{field}: {why}"), "write it as YYYY-MM-DD")
        }
        why => one(node.at, format!("{field}: {why}"), SCHEMA_HELP),
    }
}

fn unknown_key(subject: &Subject, entry: &Entry, pointer: &str) -> Defect {
    let path = |general: fn(&str) -> &str| {
        let around = pointer.split('/').skip(1).map(general);
        let parts: Vec<&str> = around.chain([entry.key.as_str()]).collect();
        parts.join(".")
    };
    let whole = path(|part| part);
    // A setting names no member of a list, and no version; only those begin with a digit.
    let setting = path(
        |part| match part.starts_with(|c: char| c.is_ascii_digit()) {
            true => "*",
            false => part,
        },
    );
    let help = format!(
        "remove it or correct its name; to allow it add `{setting}` to `checks.metadata-keys` in Cargo.toml"
    );
    subject.in_file(METADATA, entry.at, format!("{whole}: unknown key"), help)
}

fn type_help(node: &Node, why: &Why) -> &'static str {
    if why.is_no_object() {
        return "give it keys, each in a line of its own below it: `key: value`";
    }
    match node.meaning() {
        Some(Meaning::Null) => "give it a value, or leave the key out",
        Some(Meaning::Text(_)) => {
            "a number, true or false stands without quotes, a list has `- ` before each member"
        }
        _ => "put it in quotes if it is text",
    }
}

fn version(subject: &Subject) -> Vec<Defect> {
    let Some(text) = subject.text("dockerImageTag") else {
        return Vec::new();
    };
    let reason = match semver::Version::parse(text) {
        Err(error) => error.to_string(),
        Ok(_) => match text.parse::<Tag>() {
            Err(_) => "an image tag can't hold it".to_owned(),
            Ok(_) => return Vec::new(),
        },
    };
    vec![subject.in_metadata(
        "dockerImageTag",
        format!("dockerImageTag: `{text}` is not a version: {reason}"),
        "write it as MAJOR.MINOR.PATCH, with -rc.N for a release candidate",
    )]
}

const BASE_IMAGE: &str = "connectorBuildOptions.baseImage";

fn base_image(subject: &Subject) -> Vec<Defect> {
    let Some(text) = subject.text(BASE_IMAGE) else {
        return Vec::new();
    };
    let reason = match text.parse::<ImageRef>() {
        Err(reason) => reason,
        Ok(image) if image.tag.is_none() => format!("`{text}` has no tag"),
        Ok(image) if image.digest.is_none() => format!("`{text}` has no digest"),
        Ok(_) => return Vec::new(),
    };
    vec![subject.in_metadata(
        BASE_IMAGE,
        format!("baseImage: {reason}"),
        "write it as registry/repository:tag@sha256:digest; without a digest two builds of one commit differ",
    )]
}

fn manifest_only_base_image(subject: &Subject) -> Vec<Defect> {
    const EXPECTED: &str = "docker.io/airbyte/source-declarative-manifest";
    let image = subject.text(BASE_IMAGE).map(str::parse::<ImageRef>);
    match image {
        Some(Ok(image))
            if subject.kind() == Some(super::Kind::ManifestOnly) && image.name() != EXPECTED =>
        {
            vec![subject.in_metadata(
                BASE_IMAGE,
                format!("baseImage: {} can't run a manifest", image.name()),
                format!("use {EXPECTED}"),
            )]
        }
        _ => Vec::new(),
    }
}

fn license(subject: &Subject) -> Vec<Defect> {
    const KNOWN: [&str; 3] = ["MIT", "ELv2", "Airbyte Enterprise"];
    let Some(license) = subject.text("license") else {
        return Vec::new();
    };
    if KNOWN
        .iter()
        .any(|known| known.eq_ignore_ascii_case(license))
    {
        return Vec::new();
    }
    vec![subject.in_metadata(
        "license",
        format!("license: `{license}` is not a license that connectors may have"),
        format!("use one of {}", KNOWN.join(", ")),
    )]
}

fn max_seconds(subject: &Subject) -> Vec<Defect> {
    const FIELD: &str = "maxSecondsBetweenMessages";
    if !subject.is_source() || subject.text("supportLevel") != Some("certified") {
        return Vec::new();
    }
    // What is no number at all is the schema's to say.
    let message = match subject.field(FIELD) {
        None => "missing, a certified source needs it",
        Some(node) if node.integer() == Some(0) => "is 0",
        Some(_) => return Vec::new(),
    };
    vec![subject.in_metadata(
        FIELD,
        format!("{FIELD}: {message}"),
        "set it to the longest time in seconds that the source may be silent, such as 5400",
    )]
}

fn acceptance_tests(subject: &Subject) -> Vec<Defect> {
    let usage = subject.text("generated.metrics.cloud.usage");
    let used = matches!(usage, Some("medium" | "high"));
    let suites = subject
        .field("connectorTestSuitesOptions")
        .map_or(&[][..], Node::items);
    let has = suites
        .iter()
        .any(|suite| suite.get("suite").and_then(Node::text) == Some("acceptanceTests"));
    if !subject.is_source() || !used || has {
        return Vec::new();
    }
    vec![subject.in_metadata(
        "connectorTestSuitesOptions",
        "connectorTestSuitesOptions: no acceptanceTests, though the source is much used",
        "add `- suite: acceptanceTests`",
    )]
}
