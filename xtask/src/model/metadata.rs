//! metadata.yaml: what a connector says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::image::ImageRef;

/// The part of metadata.yaml that images are made from. Every other field is left to the checks.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Display name, such as `Sample Data (Faker)`.
    pub title: String,
    pub connector_type: ConnectorType,
    /// Image repository below the registry's host, such as `airbyte/source-faker`; not always the folder's name.
    pub docker_repository: String,
    /// The version: semver, also the image's tag.
    pub version: semver::Version,
    pub base_image: Option<ImageRef>,
    pub support_level: Option<SupportLevel>,
    pub license: String,
    pub documentation_url: String,
    pub definition_id: String,
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ConnectorType {
    Source,
    Destination,
}

impl fmt::Display for ConnectorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ConnectorType::Source => "source",
            ConnectorType::Destination => "destination",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SupportLevel {
    Community,
    Certified,
    Archived,
}

impl fmt::Display for SupportLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SupportLevel::Community => "community",
            SupportLevel::Certified => "certified",
            SupportLevel::Archived => "archived",
        })
    }
}

/// Something wrong with a metadata.yaml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Line and column, both from 1, where they are known.
    pub at: Option<(usize, usize)>,
    pub message: String,
}

impl Flaw {
    /// `FILE:LINE:COLUMN: message`, the form that editors and terminals make a link of.
    pub fn in_file(&self, file: &str) -> String {
        match self.at {
            Some((line, column)) => format!("{file}:{line}:{column}: {}", self.message),
            None => format!("{file}: {}", self.message),
        }
    }
}

impl Metadata {
    /// Reads the text of a metadata.yaml. All that is wrong comes back at once, each with its YAML path, or,
    /// where the text is no YAML, with line, column and the line itself.
    pub fn parse(text: &str) -> Result<Metadata, Vec<Flaw>> {
        let document: Value =
            serde_yaml::from_str(text).map_err(|error| vec![syntax_error(text, &error)])?;
        let mut fields = Fields {
            data: &document["data"],
            problems: Vec::new(),
        };
        if !document["data"].is_mapping() {
            let message = "data: missing (every field of a connector stands under it)".to_owned();
            return Err(vec![Flaw { at: None, message }]);
        }
        let metadata = Metadata {
            title: fields.text("name"),
            connector_type: fields
                .value("connectorType")
                .unwrap_or(ConnectorType::Source),
            docker_repository: fields.text("dockerRepository"),
            version: fields
                .parsed("dockerImageTag", semver::Version::parse)
                .unwrap_or(semver::Version::new(0, 0, 0)),
            base_image: fields.base_image(),
            support_level: fields.optional("supportLevel"),
            license: fields.text("license"),
            documentation_url: fields.text("documentationUrl"),
            definition_id: fields.text("definitionId"),
            tags: fields.optional("tags").unwrap_or_default(),
        };
        if fields.problems.is_empty() {
            Ok(metadata)
        } else {
            Err(fields.problems)
        }
    }
}

/// Reads fields below `data`, gathering what is wrong instead of stopping at the first.
struct Fields<'a> {
    data: &'a Value,
    problems: Vec<Flaw>,
}

impl Fields<'_> {
    fn complain(&mut self, message: String) {
        self.problems.push(Flaw { at: None, message });
    }

    fn text(&mut self, key: &str) -> String {
        self.value(key).unwrap_or_default()
    }

    fn value<T: for<'de> Deserialize<'de>>(&mut self, key: &str) -> Option<T> {
        if self.data[key].is_null() {
            self.complain(format!("data.{key}: missing"));
            return None;
        }
        self.optional(key)
    }

    fn optional<T: for<'de> Deserialize<'de>>(&mut self, key: &str) -> Option<T> {
        let value = &self.data[key];
        if value.is_null() {
            return None;
        }
        T::deserialize(value)
            .map_err(|error| self.complain(format!("data.{key}: {error}")))
            .ok()
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text: String = self.value(key)?;
        parse(&text)
            .map_err(|error| self.complain(format!("data.{key}: `{text}`: {error}")))
            .ok()
    }

    fn base_image(&mut self) -> Option<ImageRef> {
        let value = &self.data["connectorBuildOptions"]["baseImage"];
        if value.is_null() {
            return None;
        }
        ImageRef::deserialize(value)
            .map_err(|error| {
                self.complain(format!("data.connectorBuildOptions.baseImage: {error}"))
            })
            .ok()
    }
}

/// What the YAML parser stumbled over, with the line itself and a mark under the column.
fn syntax_error(text: &str, error: &serde_yaml::Error) -> Flaw {
    let message = error.to_string();
    let Some(at) = error.location().map(|at| (at.line(), at.column())) else {
        return Flaw { at: None, message };
    };
    let reason = message.split(" at line ").next().unwrap_or(&message);
    let line = text.lines().nth(at.0.saturating_sub(1)).unwrap_or_default();
    let mark = " ".repeat(at.1.saturating_sub(1));
    Flaw {
        at: Some(at),
        message: format!("{reason}\n    {line}\n    {mark}^"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "data:
  name: Faker
  connectorType: source
  definitionId: dfd88b22-b603-4c3d-aad7-3701784586b1
  dockerRepository: airbyte/source-faker
  dockerImageTag: 6.2.21-rc.1
  license: MIT
  documentationUrl: https://docs.airbyte.com/integrations/sources/faker
  tags:
    - cdk:python
    - language:python
metadataSpecVersion: '1.0'
";

    #[test]
    fn reads_a_connector() {
        let metadata = Metadata::parse(GOOD).unwrap();
        assert_eq!(metadata.version.to_string(), "6.2.21-rc.1");
        assert_eq!(metadata.docker_repository, "airbyte/source-faker");
        assert_eq!(metadata.base_image, None);
    }

    #[test]
    fn missing_fields_come_all_at_once_by_path() {
        let problems =
            Metadata::parse("data:\n  name: X\n  dockerImageTag: null\n  supportLevel: gold\n")
                .unwrap_err();
        for path in [
            "connectorType",
            "definitionId",
            "dockerRepository",
            "dockerImageTag",
            "license",
            "documentationUrl",
        ] {
            assert!(
                problems
                    .iter()
                    .any(|flaw| flaw.message == format!("data.{path}: missing")),
                "{path}: {problems:?}"
            );
        }
        assert!(
            problems.iter().any(|p| p
                .message
                .starts_with("data.supportLevel: unknown variant `gold`")),
            "{problems:?}"
        );
    }

    #[test]
    fn a_version_must_be_semver_and_a_base_image_a_reference() {
        let text = GOOD.replace("6.2.21-rc.1", "1.2") + "  \n";
        assert_eq!(Metadata::parse(&text).unwrap_err().len(), 1);
        let text = GOOD.replace(
            "  license: MIT",
            "  license: MIT\n  connectorBuildOptions: {baseImage: 'a b'}",
        );
        assert!(
            Metadata::parse(&text).unwrap_err()[0]
                .message
                .starts_with("data.connectorBuildOptions.baseImage: `a b` is not")
        );
    }

    #[test]
    fn syntax_errors_show_line_column_and_text() {
        let problems = Metadata::parse("data:\n  name: [a\n  b: c\n").unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].in_file("f").starts_with("f:3:4: ")
                && problems[0].message.ends_with("\n      b: c\n       ^"),
            "{problems:?}"
        );
    }
}
