//! How a connector is packaged: pyproject.toml, locks, PyPI, Dockerfile.

use serde::Deserialize;
use toml::{Spanned, Value};

use super::{Check, Defect, Kind, Released, Run, Subject, tags};
use crate::model::{
    connector_files::ConnectorFiles,
    finding::Severity,
    lock::content_hash,
    pyproject::Pyproject,
    yaml::{Node, Place},
};

pub const CHECKS: &[Check] = &[
    Check {
        id: "lock-file",
        description: "pyproject.toml and poetry.lock or uv.lock are there, setup.py is not",
        severity: Severity::Error,
        applies: "python and low-code, not released yet",
        run: Run::Connector(lock_file),
    },
    Check {
        id: "poetry-lock",
        description: "poetry.lock was made from the pyproject.toml beside it (its content-hash)",
        severity: Severity::Error,
        applies: "python and low-code with a poetry.lock",
        run: Run::Connector(poetry_lock),
    },
    Check {
        id: "license-equal",
        description: "pyproject.toml has the license of metadata.yaml",
        severity: Severity::Error,
        applies: "python and low-code with a pyproject.toml",
        run: Run::Connector(license_equal),
    },
    Check {
        id: "version-equal",
        description: "pyproject.toml has the version of metadata.yaml",
        severity: Severity::Error,
        applies: "python and low-code with a pyproject.toml",
        run: Run::Connector(version_equal),
    },
    Check {
        id: "pypi-declared",
        description: "remoteRegistries.pypi.enabled says true or false",
        severity: Severity::Error,
        applies: "python and low-code sources",
        run: Run::Connector(pypi_declared),
    },
    Check {
        id: "pypi-language",
        description: "what goes to PyPI is tagged language:python or language:low-code",
        severity: Severity::Error,
        applies: "all with remoteRegistries.pypi.enabled: true",
        run: Run::Connector(pypi_language),
    },
    Check {
        id: "no-dockerfile",
        description: "there is no Dockerfile, and a base image is declared",
        severity: Severity::Error,
        applies: "python, low-code and manifest-only",
        run: Run::Connector(no_dockerfile),
    },
];

const PYPROJECT: &str = "pyproject.toml";

/// What checks read of a pyproject.toml, with the places; a build reads it with [`Pyproject`], which takes nothing that
/// it does not understand.
#[derive(Debug)]
pub struct PyProject {
    license: Option<(String, Place)>,
    version: Option<(String, Place)>,
    /// Whether airbyte-cdk is asked for with its extra `file-based`.
    pub file_based_cdk: bool,
}

/// `[project]` as PEP 621 has it, `[tool.poetry]` as Poetry had it before.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    project: Section,
    tool: Tool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tool {
    poetry: Section,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    license: Option<Spanned<Value>>,
    version: Option<Spanned<Value>>,
    dependencies: Option<Value>,
}

impl PyProject {
    /// None where there is none.
    pub fn of(files: &ConnectorFiles) -> Option<Result<PyProject, Defect>> {
        let text = files.text(PYPROJECT)?;
        let defect = |error: toml::de::Error| Defect {
            file: files.directory.join(PYPROJECT),
            at: Place::of(text, error.span().map_or(0, |span| span.start)),
            message: format!("not valid TOML: {}", error.message()),
            help: "correct the line".to_owned(),
        };
        Some(
            toml::from_str(text)
                .map(|file| PyProject::read(text, file))
                .map_err(defect),
        )
    }

    fn read(text: &str, file: File) -> PyProject {
        let (new, old) = (file.project, file.tool.poetry);
        let file_based_cdk = [&new.dependencies, &old.dependencies]
            .into_iter()
            .flatten()
            .any(asks_for_file_based);
        let placed = |value: Option<Spanned<Value>>| {
            let value = value?;
            let at = Place::of(text, value.span().start);
            Some((words(value.get_ref())?, at))
        };
        PyProject {
            license: placed(new.license.or(old.license)),
            version: placed(new.version.or(old.version)),
            file_based_cdk,
        }
    }
}

/// A text, or the `text` of a table such as `license = {text = "MIT"}`.
fn words(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value.get("text")?.as_str())
        .map(str::to_owned)
}

fn asks_for_file_based(dependencies: &Value) -> bool {
    match dependencies {
        // PEP 508: `airbyte-cdk[file-based]>=6`.
        Value::Array(requirements) => requirements.iter().any(|requirement| {
            let requirement = requirement.as_str().unwrap_or_default();
            let extras = requirement.split_once('[').and_then(|(name, rest)| {
                (name.trim() == "airbyte-cdk").then_some(rest.split(']').next()?)
            });
            extras.is_some_and(|extras| extras.split(',').any(|extra| extra.trim() == "file-based"))
        }),
        _ => dependencies
            .get("airbyte-cdk")
            .and_then(|cdk| cdk.get("extras")?.as_array())
            .is_some_and(|extras| {
                extras
                    .iter()
                    .any(|extra| extra.as_str() == Some("file-based"))
            }),
    }
}

fn lock_file(subject: &Subject) -> Vec<Defect> {
    if !subject.is_python() || subject.released == Released::Yes {
        return Vec::new();
    }
    let files = subject.files;
    let mut defects = Vec::new();
    let mut say = |file: &str, message: &str, help: &str| {
        defects.push(subject.in_file(file, Place::START, message, help));
    };
    if !files.has(PYPROJECT) {
        say(
            PYPROJECT,
            "pyproject.toml is missing",
            "describe the package in a pyproject.toml",
        );
    } else if !files.has("poetry.lock") && !files.has("uv.lock") {
        say(
            PYPROJECT,
            "there is neither poetry.lock nor uv.lock",
            "run `uv lock` or `poetry lock`, and commit the lock file",
        );
    }
    if files.has("setup.py") {
        say(
            "setup.py",
            "setup.py is there",
            "describe the package in pyproject.toml alone and remove setup.py",
        );
    }
    defects.extend(match &subject.pyproject {
        Some(Err(defect)) => Some(defect.clone()),
        _ => None,
    });
    defects
}

/// `uv lock --check` does the same for a uv.lock, as a tool check.
fn poetry_lock(subject: &Subject) -> Vec<Defect> {
    const LOCK: &str = "poetry.lock";
    let (Some(lock), Some(pyproject)) = (subject.files.text(LOCK), subject.files.text(PYPROJECT))
    else {
        return Vec::new();
    };
    let Ok(pyproject) = Pyproject::parse(pyproject) else {
        // Its own checks say so.
        return Vec::new();
    };
    // Poetry writes it into the last table.
    let key = "\ncontent-hash = \"";
    let found = lock.rfind(key).map(|offset| offset + 1);
    let recorded = found.and_then(|offset| lock[offset..].split('"').nth(1));
    let message = match recorded {
        Some(recorded) if content_hash::matches(&pyproject, recorded) => return Vec::new(),
        Some(_) => "it was made from another pyproject.toml: its content-hash is another",
        None => "it has no content-hash",
    };
    let at = found.map_or(Place::START, |offset| Place::of(lock, offset));
    vec![subject.in_file(
        LOCK,
        at,
        message,
        "run `poetry lock`, and commit the lock file",
    )]
}

/// The readable pyproject.toml of a Python connector.
fn pyproject<'a>(subject: &'a Subject) -> Option<&'a PyProject> {
    let pyproject = subject.pyproject.as_ref()?.as_ref().ok()?;
    subject.is_python().then_some(pyproject)
}

fn license_equal(subject: &Subject) -> Vec<Defect> {
    let (Some(pyproject), Some(license)) = (pyproject(subject), subject.text("license")) else {
        return Vec::new();
    };
    equal(
        subject,
        "license",
        &pyproject.license,
        license,
        str::eq_ignore_ascii_case,
    )
}

fn version_equal(subject: &Subject) -> Vec<Defect> {
    let (Some(pyproject), Some(version)) = (pyproject(subject), subject.text("dockerImageTag"))
    else {
        return Vec::new();
    };
    equal(subject, "version", &pyproject.version, version, |a, b| {
        a == b
    })
}

fn equal(
    subject: &Subject,
    field: &str,
    found: &Option<(String, Place)>,
    expected: &str,
    same: fn(&str, &str) -> bool,
) -> Vec<Defect> {
    let (at, message) = match found {
        Some((found, _)) if same(found, expected) => return Vec::new(),
        Some((found, at)) => (
            *at,
            format!("{field} is `{found}`, metadata.yaml has `{expected}`"),
        ),
        None => (
            Place::START,
            format!("no {field}, metadata.yaml has `{expected}`"),
        ),
    };
    let help = format!("write {field} = \"{expected}\"");
    vec![subject.in_file(PYPROJECT, at, message, help)]
}

const PYPI: &str = "remoteRegistries.pypi.enabled";

fn pypi_declared(subject: &Subject) -> Vec<Defect> {
    if !subject.is_python() || !subject.is_source() || subject.field(PYPI).is_some() {
        return Vec::new();
    }
    vec![subject.in_metadata(
        PYPI,
        format!("{PYPI}: missing"),
        "say true to publish the source on PyPI too, else false",
    )]
}

fn pypi_language(subject: &Subject) -> Vec<Defect> {
    let enabled = subject.field(PYPI).and_then(Node::boolean) == Some(true);
    // No tag at all is the language tag's own check to say.
    let languages = tags::values(subject, "language");
    if !enabled
        || languages.is_empty()
        || languages
            .iter()
            .any(|tag| matches!(*tag, "python" | "low-code"))
    {
        return Vec::new();
    }
    vec![subject.in_metadata(
        PYPI,
        format!("{PYPI}: true, but no tag says language:python or language:low-code"),
        "set it to false, or correct the language: tag",
    )]
}

fn no_dockerfile(subject: &Subject) -> Vec<Defect> {
    if !matches!(
        subject.kind(),
        Some(Kind::Python | Kind::LowCode | Kind::ManifestOnly)
    ) {
        return Vec::new();
    }
    let mut defects = Vec::new();
    if subject.files.has("Dockerfile") {
        defects.push(subject.in_file(
            "Dockerfile",
            Place::START,
            "the connector has a Dockerfile of its own",
            "remove it; the image is made from connectorBuildOptions.baseImage",
        ));
    }
    if subject.data().is_some() && subject.field("connectorBuildOptions.baseImage").is_none() {
        defects.push(subject.in_metadata(
            "connectorBuildOptions.baseImage",
            "connectorBuildOptions.baseImage: missing",
            "declare the base image as registry/repository:tag@sha256:digest",
        ));
    }
    defects
}
