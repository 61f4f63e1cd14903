//! `connector list`: every connector, the unreadable ones with the reason.

use anyhow::Result;
use serde::Serialize;

use super::Context;
use crate::{
    flags::List,
    model::{
        connector::{Connector, Language},
        metadata::{ConnectorType, SupportLevel},
        problem::Exit,
    },
    report::table,
};

/// One connector in `--json`.
#[derive(Serialize)]
pub struct Row {
    name: String,
    language: Option<Language>,
    #[serde(rename = "type")]
    connector_type: ConnectorType,
    version: String,
    repository: String,
    base_image: Option<String>,
    support_level: Option<SupportLevel>,
    directory: String,
}

#[derive(Serialize)]
struct BrokenRow<'a> {
    name: &'a str,
    directory: &'a str,
    reasons: &'a [String],
}

impl From<&Connector> for Row {
    fn from(connector: &Connector) -> Row {
        let metadata = &connector.metadata;
        Row {
            name: connector.name.to_string(),
            language: connector.language,
            connector_type: metadata.connector_type,
            version: metadata.version.to_string(),
            repository: metadata.docker_repository.clone(),
            base_image: metadata.base_image.as_ref().map(ToString::to_string),
            support_level: metadata.support_level,
            directory: connector.directory.to_string(),
        }
    }
}

pub fn run(context: &Context, flags: &List) -> Result<Exit> {
    let config = &context.resolved.config;
    let mut fleet = context
        .repo
        .load(config)?
        .select(&context.repo, config, &flags.names)?;
    fleet.connectors.retain(|connector| {
        flags
            .language
            .is_none_or(|language| connector.language == Some(language))
            && flags
                .support_level
                .is_none_or(|level| connector.metadata.support_level == Some(level))
            && flags
                .connector_type
                .is_none_or(|kind| connector.metadata.connector_type == kind)
    });
    let rows: Vec<Row> = fleet.connectors.iter().map(Row::from).collect();
    if flags.output.json {
        let broken: Vec<_> = fleet
            .broken
            .iter()
            .map(|b| BrokenRow {
                name: &b.name,
                directory: b.directory.as_str(),
                reasons: &b.reasons,
            })
            .collect();
        context
            .report
            .json(&serde_json::json!({ "connectors": rows, "broken": broken }))?;
    } else {
        let header = [
            "NAME",
            "LANGUAGE",
            "TYPE",
            "VERSION",
            "REPOSITORY",
            "BASE IMAGE",
            "SUPPORT",
            "DIRECTORY",
        ];
        context.report.result(table(
            &header,
            &rows.iter().map(Row::cells).collect::<Vec<_>>(),
        ));
        for reason in fleet.broken.iter().flat_map(|broken| &broken.reasons) {
            context.report.warning(format_args!("broken: {reason}"));
        }
    }
    Ok(if flags.strict && !fleet.broken.is_empty() {
        Exit::Failure
    } else {
        Exit::Success
    })
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        // The digest makes lines unreadable; --json has it.
        let base = self
            .base_image
            .as_deref()
            .map(|image| image.split('@').next().unwrap_or(image).to_owned());
        vec![
            self.name.clone(),
            or_dash(self.language.map(|language| language.to_string())),
            self.connector_type.to_string(),
            self.version.clone(),
            self.repository.clone(),
            or_dash(base),
            or_dash(self.support_level.map(|level| level.to_string())),
            self.directory.clone(),
        ]
    }
}
