//! How a connector is packaged: pyproject.toml, locks, PyPI, Dockerfile.

use camino::Utf8Path;
use pep508_rs::PackageName;
use serde::{Deserialize, de::IgnoredAny};
use toml::{Spanned, Value};

use super::{Check, Defect, Kind, Released, Run, Subject, tags};
use crate::{
    model::{
        connector_files::ConnectorFiles,
        finding::Severity,
        lock::{Lock, Origin, Parse, content_hash},
        pyproject::Pyproject,
        yaml::{Node, Place},
    },
    plan::dependencies::{self, Reason},
};

/// Of a lock file `lock-file` says what a build would say of it.
pub const CHECKS: &[Check] = &[
    Check {
        id: "lock-file",
        description: "pyproject.toml and poetry.lock or uv.lock are there and can be built from, setup.py is not",
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

/// What checks read of a pyproject.toml, with the places.
#[derive(Debug)]
pub struct Packaging {
    license: Option<(String, Place)>,
    version: Option<(String, Place)>,
    /// As a build reads it, which takes nothing that it does not understand.
    understood: Result<Pyproject, String>,
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

impl Packaging {
    /// None where there is no pyproject.toml.
    pub fn of(files: &ConnectorFiles) -> Option<Result<Packaging, Defect>> {
        let read = read_toml(files, PYPROJECT)?;
        Some(read.map(|(text, file)| Packaging::read(text, file)))
    }

    fn read(text: &str, file: File) -> Packaging {
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
        Packaging {
            understood: Pyproject::parse(text),
            license: placed(new.license.or(old.license)),
            version: placed(new.version.or(old.version)),
            file_based_cdk,
        }
    }
}

/// The text of a file and what of it is asked for; None where there is no such file.
fn read_toml<'a, T: Deserialize<'a>>(
    files: &'a ConnectorFiles,
    file: &str,
) -> Option<Result<(&'a str, T), Defect>> {
    let content = files.files.get(Utf8Path::new(file))?;
    let defect = |at: Option<Place>, message: String| Defect {
        file: files.directory.join(file),
        at: at.unwrap_or(Place::START),
        message,
        help: format!("make {file} a text of TOML again"),
    };
    let text = match content.text() {
        Ok(text) => text,
        Err(flaw) => return Some(Err(defect(flaw.at, flaw.message))),
    };
    Some(match toml::from_str(text) {
        Ok(read) => Ok((text, read)),
        Err(error) => {
            let at = error.span().map(|span| Place::of(text, span.start));
            Err(defect(at, format!("not valid TOML: {}", error.message())))
        }
    })
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

/// pyproject.toml as a build reads it, or what is wrong with it; None where there is none.
fn pyproject<'a>(subject: &'a Subject) -> Option<Result<&'a Pyproject, Defect>> {
    let packaging = match subject.packaging.as_ref()? {
        Ok(packaging) => packaging,
        Err(defect) => return Some(Err(defect.clone())),
    };
    Some(packaging.understood.as_ref().map_err(|error| {
        let help = "correct it: no image can be built from it as it is";
        subject.in_file(PYPROJECT, Place::START, error, help)
    }))
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
    } else if !files.has(Lock::POETRY) && !files.has(Lock::UV) {
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
    let pyproject = pyproject(subject).transpose().unwrap_or_else(|defect| {
        defects.push(defect);
        None
    });
    let mut lock = None;
    for (file, parse) in Lock::FILES {
        match read_lock(files, file, parse) {
            None => {}
            Some(Ok(read)) => lock = Some(read),
            Some(Err(defect)) => defects.push(defect),
        }
    }
    if let (Some(pyproject), Some((text, lock))) = (pyproject, lock) {
        defects.extend(lock_faults(subject, pyproject, text, &lock));
    }
    defects
}

/// A lock file and its text, or what is wrong with it; None where there is none.
fn read_lock<'a>(
    files: &'a ConnectorFiles,
    file: &str,
    parse: Parse,
) -> Option<Result<(&'a str, Lock), Defect>> {
    // It is long: where nothing is wrong with it, it is read once.
    if let Some(text) = files.text(file)
        && let Ok(lock) = parse(text)
    {
        return Some(Ok((text, lock)));
    }
    Some(read_toml::<IgnoredAny>(files, file)?.and_then(|(text, _)| {
        let lock = parse(text).map_err(|message| Defect {
            file: files.directory.join(file),
            at: Place::START,
            message,
            help: "lock again (`poetry lock` or `uv lock`) and commit the lock file".to_owned(),
        })?;
        Ok((text, lock))
    }))
}

/// What keeps a build from installing what is locked, as far as it is known without the base image.
fn lock_faults(subject: &Subject, pyproject: &Pyproject, text: &str, lock: &Lock) -> Vec<Defect> {
    // `poetry-lock` says it.
    let is_said = |reason: &Reason| {
        matches!(reason, Reason::OutOfDate { .. }) && matches!(lock.origin, Origin::Poetry(_))
    };
    let defect = |reason: Reason| {
        let at = reason.package().and_then(|name| place_in_lock(text, name));
        let at = at.unwrap_or(Place::START);
        subject.in_file(lock.file_name(), at, reason.to_string(), reason.help())
    };
    let faults = dependencies::faults(pyproject, lock).into_iter();
    faults
        .filter(|reason| !is_said(reason))
        .map(defect)
        .collect()
}

/// Where a lock names a package that it holds.
fn place_in_lock(text: &str, package: &PackageName) -> Option<Place> {
    let names_it = |line: &str| {
        let name = line.strip_prefix("name = \"");
        let name = name.and_then(|rest| rest.split('"').next()?.parse::<PackageName>().ok());
        name.as_ref() == Some(package)
    };
    let index = text.lines().position(names_it)?;
    Some(Place {
        line: index + 1,
        column: 1,
    })
}

/// `uv lock --check` does the same for a uv.lock, as a tool check.
fn poetry_lock(subject: &Subject) -> Vec<Defect> {
    // `lock-file` says what is not understood.
    let (Some(lock), Some(Ok(pyproject))) = (subject.files.text(Lock::POETRY), pyproject(subject))
    else {
        return Vec::new();
    };
    // Poetry writes it into the last table.
    let key = "\ncontent-hash = \"";
    let found = lock.rfind(key).map(|offset| offset + 1);
    let recorded = found.and_then(|offset| lock[offset..].split('"').nth(1));
    let message = match recorded {
        Some(recorded) if content_hash::matches(pyproject, recorded) => return Vec::new(),
        Some(_) => "it was made from another pyproject.toml: its content-hash is another",
        None => "it has no content-hash",
    };
    let at = found.map_or(Place::START, |offset| Place::of(lock, offset));
    vec![subject.in_file(
        Lock::POETRY,
        at,
        message,
        "run `poetry lock`, and commit the lock file",
    )]
}

/// The readable pyproject.toml of a Python connector.
fn packaging<'a>(subject: &'a Subject) -> Option<&'a Packaging> {
    let packaging = subject.packaging.as_ref()?.as_ref().ok()?;
    subject.is_python().then_some(packaging)
}

fn license_equal(subject: &Subject) -> Vec<Defect> {
    let (Some(packaging), Some(license)) = (packaging(subject), subject.text("license")) else {
        return Vec::new();
    };
    equal(
        subject,
        "license",
        &packaging.license,
        license,
        str::eq_ignore_ascii_case,
    )
}

fn version_equal(subject: &Subject) -> Vec<Defect> {
    let (Some(packaging), Some(version)) = (packaging(subject), subject.text("dockerImageTag"))
    else {
        return Vec::new();
    };
    equal(subject, "version", &packaging.version, version, |a, b| {
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
