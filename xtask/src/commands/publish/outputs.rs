//! What the action hands on: from what happened, written as soon as it is known.

use std::{collections::BTreeMap, sync::Mutex};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    model::{connector::ConnectorName, platform},
    plan::publish::request::Target,
    tools::{files, github, work::lock},
};

/// One value that a workflow can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    ConnectorName,
    ConnectorType,
    ConnectorDir,
    BaseImage,
    VersionTag,
    ImageName,
    DockerTags,
    ImageExists,
    BuildExecuted,
    PushExecuted,
    Digest,
    Platforms,
    ScanSummary,
    ScanSarif,
    LatestMoved,
}

impl Output {
    const ALL: [Output; 15] = [
        Output::ConnectorName,
        Output::ConnectorType,
        Output::ConnectorDir,
        Output::BaseImage,
        Output::VersionTag,
        Output::ImageName,
        Output::DockerTags,
        Output::ImageExists,
        Output::BuildExecuted,
        Output::PushExecuted,
        Output::Digest,
        Output::Platforms,
        Output::ScanSummary,
        Output::ScanSarif,
        Output::LatestMoved,
    ];

    /// The first ten are the old action's own names.
    fn name(self) -> &'static str {
        match self {
            Output::ConnectorName => "connector-name",
            Output::ConnectorType => "connector-type",
            Output::ConnectorDir => "connector-dir",
            Output::BaseImage => "base-image",
            Output::VersionTag => "connector-version-tag",
            Output::ImageName => "connector-image-name",
            Output::DockerTags => "docker-tags",
            Output::ImageExists => "image-exists",
            Output::BuildExecuted => "build-executed",
            Output::PushExecuted => "push-executed",
            Output::Digest => "digest",
            Output::Platforms => "platforms",
            Output::ScanSummary => "scan-summary",
            Output::ScanSarif => "scan-sarif",
            Output::LatestMoved => "latest-moved",
        }
    }

    /// What it is when nothing set it to something else by the end.
    fn otherwise(self) -> &'static str {
        match self {
            Output::BuildExecuted | Output::PushExecuted | Output::LatestMoved => "false",
            _ => "",
        }
    }
}

/// The outputs of one connector.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    known: BTreeMap<Output, String>,
}

impl Serialize for Outputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.known.len()))?;
        for (output, value) in &self.known {
            map.serialize_entry(output.name(), value)?;
        }
        map.end()
    }
}

/// Where the outputs of a run go.
pub struct Sinks {
    file: Option<Utf8PathBuf>,
    /// In the order of the run.
    all: Mutex<Vec<(ConnectorName, Outputs)>>,
}

impl Sinks {
    /// Nothing is known of `connectors` yet, and `file` (`--outputs-file`) is not written before something is.
    pub fn new(
        connectors: impl Iterator<Item = ConnectorName>,
        file: Option<Utf8PathBuf>,
    ) -> Sinks {
        let all = connectors.map(|name| (name, Outputs::default()));
        Sinks {
            file,
            all: Mutex::new(all.collect()),
        }
    }

    /// What is known of one connector so far.
    pub fn of(&self, connector: &ConnectorName) -> Outputs {
        let all = lock(&self.all);
        let found = all.iter().find(|(name, _)| name == connector);
        found
            .map(|(_, outputs)| outputs.clone())
            .unwrap_or_default()
    }

    /// Writes what became known. $GITHUB_OUTPUT has one value a name, so it takes those of a single connector.
    pub fn set(&self, connector: &ConnectorName, news: &[(Output, String)]) -> Result<()> {
        let mut all = lock(&self.all);
        let alone = all.len() == 1;
        let Some((_, outputs)) = all.iter_mut().find(|(name, _)| name == connector) else {
            return Ok(());
        };
        outputs.known.extend(news.iter().cloned());
        if alone {
            let news: Vec<(&str, &str)> = news
                .iter()
                .map(|(output, value)| (output.name(), value.as_str()))
                .collect();
            github::set_outputs(&news)?;
        }
        match &self.file {
            Some(file) => {
                let outputs: Vec<&Outputs> = all.iter().map(|(_, outputs)| outputs).collect();
                let text =
                    serde_json::to_string_pretty(&outputs).context("write outputs as JSON")?;
                files::write(file, &(text + "\n"))
            }
            None => Ok(()),
        }
    }

    /// Writes what never became true, when a connector ends, well or not.
    pub fn close(&self, connector: &ConnectorName) -> Result<()> {
        let known = self.of(connector).known;
        let missing = Output::ALL
            .into_iter()
            .filter(|output| !known.contains_key(output));
        let rest: Vec<_> = missing
            .map(|output| (output, output.otherwise().to_owned()))
            .collect();
        if rest.is_empty() {
            return Ok(());
        }
        self.set(connector, &rest)
    }

    /// All outputs of a run of several connectors as one value, since $GITHUB_OUTPUT can't hold each.
    pub fn close_run(&self) -> Result<()> {
        let all = lock(&self.all);
        if all.len() == 1 {
            return Ok(());
        }
        let outputs: Vec<&Outputs> = all.iter().map(|(_, outputs)| outputs).collect();
        let text = serde_json::to_string(&outputs).context("write outputs as JSON")?;
        github::set_outputs(&[("results", &text)])
    }
}

/// What is known before anything is asked.
pub fn of_target(target: &Target) -> Vec<(Output, String)> {
    let tag = target.image.tag.as_ref().map(ToString::to_string);
    vec![
        (Output::ConnectorName, target.connector.to_string()),
        (Output::ConnectorType, target.language.to_string()),
        (Output::ConnectorDir, target.directory.to_string()),
        (Output::BaseImage, target.base.declared.to_string()),
        (Output::VersionTag, tag.unwrap_or_default()),
        (Output::ImageName, target.image.to_string()),
    ]
}

/// `linux/amd64,linux/arm64`.
pub fn platforms(platforms: &[platform::Platform]) -> (Output, String) {
    (Output::Platforms, platform::join(platforms))
}
