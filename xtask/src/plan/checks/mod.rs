//! What must hold of a connector, as pure functions over its files.
//!
//! A check is a value: id, one line of description, severity, when it applies, and the function. Adding one is
//! adding a line to its group's `CHECKS`. What needs the network, git or a program of the connector's own
//! is no business of this module: a command gathers such facts and hands them in with the [`Subject`].
//!
//! The rules are those of Airbyte's `metadata_service` validators and `connectors_qa`, without their mistakes.

mod assets;
mod documentation;
mod fleet;
mod increment;
mod metadata;
pub mod online;
mod package;
mod release;
mod secrets;
mod security;
mod tags;
pub mod tools;

use camino::Utf8PathBuf;

use crate::model::{
    config::Checks,
    connector_files::ConnectorFiles,
    date::Date,
    finding::{Finding, Severity},
    problem::caught,
    yaml::{Document, Node, Place, Value},
};
pub use documentation::names_version;
use package::Packaging;
pub use release::{ROLLOUT, ROLLOUT_MODE, is_candidate};

/// Where findings about fields are shown, from the connector's directory.
pub const METADATA: &str = "metadata.yaml";

/// One rule.
#[derive(Debug)]
pub struct Check {
    pub id: &'static str,
    pub description: &'static str,
    pub severity: Severity,
    /// To whom it applies, in words; `run` decides.
    pub applies: &'static str,
    pub run: Run,
}

/// A rule looks at one connector, or at all of them together.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    Connector(fn(&Subject) -> Vec<Defect>),
    /// The answer is by index into the subjects.
    Fleet(fn(&[Subject]) -> Vec<(usize, Defect)>),
    /// A command runs a program, and hands the answer to [`Check::finding`].
    Tool(tools::Tool),
}

/// What is wrong, in which file of the connector, and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// Relative to the repository root.
    pub file: Utf8PathBuf,
    pub at: Place,
    pub message: String,
    pub help: String,
}

/// What is known from elsewhere of whether this very version is out already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// Nobody asked the registry.
    Unknown,
    Yes,
}

/// A connector at the merge base.
#[derive(Debug, Clone, Default)]
pub struct Earlier {
    /// metadata.yaml at each merge base that has one.
    pub metadata: Vec<Document>,
    /// The files that changed since, from the connector's directory.
    pub changed: Vec<Utf8PathBuf>,
}

/// A connector with all that checks want to know of it.
#[derive(Debug)]
pub struct Subject<'a> {
    pub files: &'a ConnectorFiles,
    pub packaging: Option<Result<Packaging, Defect>>,
    pub today: Date,
    pub released: Released,
    /// How it was before the change that is checked; None where nothing is compared, and for a new connector.
    pub earlier: Option<Earlier>,
    /// What registries said; None where they were not asked.
    pub online: Option<online::Online>,
    pub settings: &'a Checks,
}

/// What files tell a connector is written in; `connectors_qa` draws finer lines than a build needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ManifestOnly,
    /// Python with `<package>/manifest.yaml`.
    LowCode,
    Python,
    Java,
}

/// Every check, by group.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        metadata::CHECKS,
        tags::CHECKS,
        release::CHECKS,
        increment::CHECKS,
        package::CHECKS,
        assets::CHECKS,
        security::CHECKS,
        secrets::CHECKS,
        documentation::CHECKS,
        fleet::CHECKS,
        online::CHECKS,
        tools::CHECKS,
    ]
    .into_iter()
    .flatten()
}

impl Check {
    /// The findings of a check that looks at one connector. A check that panics says nothing of this connector, and
    /// keeps no other check from looking.
    pub fn of(&self, subject: &Subject) -> Vec<Finding> {
        let Run::Connector(run) = self.run else {
            return Vec::new();
        };
        let name = &subject.files.name;
        match caught(|| run(subject)) {
            Ok(defects) => {
                let finding = |defect| self.finding(name, defect);
                defects.into_iter().map(finding).collect()
            }
            Err(_) => {
                let message = "the check broke off, which is a fault of its own";
                let help = format!(
                    "go on with `--skip {}`, and report what stands on standard error",
                    self.id
                );
                let defect = subject.in_file(METADATA, Place::START, message, help);
                vec![Finding {
                    severity: Severity::Unknown,
                    ..self.finding(name, defect)
                }]
            }
        }
    }

    /// The findings of a check that looks at all connectors together.
    pub fn of_fleet(&self, subjects: &[Subject]) -> Vec<Finding> {
        match self.run {
            Run::Fleet(run) => run(subjects)
                .into_iter()
                .filter_map(|(index, defect)| {
                    Some(self.finding(&subjects.get(index)?.files.name, defect))
                })
                .collect(),
            Run::Connector(_) | Run::Tool(_) => Vec::new(),
        }
    }

    /// A defect of this check as a finding of a connector.
    pub fn finding(&self, connector: &str, defect: Defect) -> Finding {
        Finding {
            check: self.id,
            severity: self.severity,
            connector: connector.to_owned(),
            file: defect.file,
            at: defect.at,
            message: shortened(defect.message),
            help: shortened(defect.help),
        }
    }
}

/// What a file holds can be of any length; who reads of it needs to see the beginning.
fn shortened(mut text: String) -> String {
    const LONGEST: usize = 2000;
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

impl<'a> Subject<'a> {
    /// What the files tell on this day; nothing is known yet from registries ([`learn`](Self::learn)) and merge bases.
    pub fn new(files: &'a ConnectorFiles, today: Date, settings: &'a Checks) -> Subject<'a> {
        Subject {
            files,
            packaging: Packaging::of(files),
            today,
            released: Released::Unknown,
            earlier: None,
            online: None,
            settings,
        }
    }

    /// Takes what registries said of it.
    pub fn learn(&mut self, online: Option<online::Online>) {
        let version = self.text("dockerImageTag").unwrap_or_default();
        if online.as_ref().is_some_and(|online| online.has(version)) {
            self.released = Released::Yes;
        }
        self.online = online;
    }

    /// metadata.yaml, None when it is no YAML: then only `metadata-syntax` has anything to say of it.
    pub fn document(&self) -> Option<&'a Document> {
        self.files.metadata.as_ref().ok()
    }

    /// `data` of metadata.yaml, None when it is no mapping: then only the schema's check has anything to say of it.
    fn data(&self) -> Option<&'a Node> {
        let data = self.document()?.root.get("data")?;
        matches!(data.value, Value::Mapping(_)).then_some(data)
    }

    /// A field below `data`, by dotted path.
    pub fn field(&self, path: &str) -> Option<&'a Node> {
        self.data()?.at_path(path)
    }

    /// The text of a field below `data`.
    pub fn text(&self, path: &str) -> Option<&'a str> {
        self.field(path)?.text()
    }

    /// The version, when it is one.
    pub fn version(&self) -> Option<semver::Version> {
        semver::Version::parse(self.text("dockerImageTag")?).ok()
    }

    /// By `connectorType` alone; false also where that can't be read.
    pub fn is_source(&self) -> bool {
        self.text("connectorType") == Some("source")
    }

    /// Airbyte's internal support level; 100 where nothing is said.
    pub fn support_rank(&self) -> i64 {
        self.field("ab_internal.sl")
            .and_then(Node::integer)
            .unwrap_or(100)
    }

    /// By files alone, whatever tags say: a manifest counts before Python's files, these before Java's; None without.
    pub fn kind(&self) -> Option<Kind> {
        let files = self.files;
        if files.has("manifest.yaml") {
            Some(Kind::ManifestOnly)
        } else if files.has(&format!("{}/manifest.yaml", files.snake())) {
            Some(Kind::LowCode)
        } else if files.has("setup.py") || files.has("pyproject.toml") {
            Some(Kind::Python)
        } else if files.has_below("src/main/java") || files.has_below("src/main/kotlin") {
            Some(Kind::Java)
        } else {
            None
        }
    }

    /// Python with or without a manifest.
    pub fn is_python(&self) -> bool {
        matches!(self.kind(), Some(Kind::Python | Kind::LowCode))
    }

    /// Something wrong with a field below `data`: placed there, or at what of the path there is.
    pub fn in_metadata(
        &self,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Defect {
        self.in_file(METADATA, self.place(path), message, help)
    }

    /// Something wrong with a file of the connector.
    pub fn in_file(
        &self,
        file: &str,
        at: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Defect {
        Defect {
            file: self.files.directory.join(file),
            at,
            message: message.into(),
            help: help.into(),
        }
    }

    fn place(&self, path: &str) -> Place {
        let mut at = Place::START;
        let Some(document) = self.document() else {
            return at;
        };
        let mut node = &document.root;
        for key in std::iter::once("data").chain(path.split('.')) {
            let Some(entry) = node.entry(key) else { break };
            at = entry.at;
            node = &entry.value;
        }
        // A scalar is shown itself, a missing or nested value by its nearest key.
        match self.field(path) {
            Some(field) if field.meaning().is_some() => field.at,
            _ => at,
        }
    }
}

#[cfg(test)]
mod tests;
