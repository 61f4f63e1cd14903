//! metadata.yaml: what a connector says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    image::ImageRef,
    yaml::{Document, Flaw, Node},
};

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
    /// Name of the Python package that it is published as besides, where `remoteRegistries.pypi` is enabled.
    pub package: Option<String>,
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

impl Metadata {
    /// Reads the text of a metadata.yaml. All that is wrong comes back at once, each in its place and, where the
    /// text is no YAML, with the line itself.
    pub fn parse(text: &str) -> Result<Metadata, Vec<Flaw>> {
        let document = Document::read(text).map_err(|flaw| vec![show_line(text, flaw)])?;
        if !document.duplicates.is_empty() {
            return Err(document.duplicates);
        }
        let data = match document.root.get("data") {
            Some(data) if !data.entries().is_empty() => data,
            _ => {
                let message = "data: missing (every field of a connector stands under it)";
                return Err(vec![Flaw::new(document.root.at, message)]);
            }
        };
        let mut fields = Fields {
            data,
            problems: Vec::new(),
        };
        let metadata = Metadata {
            title: fields.text("name"),
            connector_type: fields
                .value("connectorType")
                .unwrap_or(ConnectorType::Source),
            docker_repository: fields.text("dockerRepository"),
            version: fields
                .version("dockerImageTag")
                .unwrap_or(semver::Version::new(0, 0, 0)),
            base_image: fields.optional("connectorBuildOptions.baseImage"),
            support_level: fields.optional("supportLevel"),
            license: fields.text("license"),
            documentation_url: fields.text("documentationUrl"),
            definition_id: fields.text("definitionId"),
            tags: fields.optional("tags").unwrap_or_default(),
            package: fields.package(),
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
    data: &'a Node,
    problems: Vec<Flaw>,
}

impl<'a> Fields<'a> {
    /// The value at a dotted path below `data`; null counts as absent.
    fn node(&self, path: &str) -> Option<&'a Node> {
        self.data.at_path(path).filter(|node| !node.is_null())
    }

    fn text(&mut self, path: &str) -> String {
        self.value(path).unwrap_or_default()
    }

    fn value<T: Deserialize<'a>>(&mut self, path: &str) -> Option<T> {
        if self.node(path).is_none() {
            let at = self.data.at_path(path).unwrap_or(self.data).at;
            self.problems
                .push(Flaw::new(at, format!("data.{path}: missing")));
        }
        self.optional(path)
    }

    fn optional<T: Deserialize<'a>>(&mut self, path: &str) -> Option<T> {
        let complain = |flaw: Flaw| Flaw {
            message: format!("data.{path}: {}", flaw.message),
            ..flaw
        };
        self.node(path)?
            .read()
            .map_err(|flaw| self.problems.push(complain(flaw)))
            .ok()
    }

    fn package(&mut self) -> Option<String> {
        let enabled = self.optional("remoteRegistries.pypi.enabled");
        (enabled == Some(true)).then(|| self.text("remoteRegistries.pypi.packageName"))
    }

    fn version(&mut self, path: &str) -> Option<semver::Version> {
        let text: &str = self.value(path)?;
        let at = self.data.at_path(path)?.at;
        semver::Version::parse(text)
            .map_err(|error| {
                let message = format!("data.{path}: `{text}`: {error}");
                self.problems.push(Flaw::new(at, message));
            })
            .ok()
    }
}

/// A syntax error with the line itself and a mark under the column.
fn show_line(text: &str, flaw: Flaw) -> Flaw {
    let Some(at) = flaw.at else { return flaw };
    let line = text
        .lines()
        .nth(at.line.saturating_sub(1))
        .unwrap_or_default();
    let mark = " ".repeat(at.column.saturating_sub(1));
    let message = format!("{}\n    {line}\n    {mark}^", flaw.message);
    Flaw { message, ..flaw }
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
    fn a_package_is_named_where_it_is_enabled() {
        for (pypi, expected) in [
            ("{enabled: true, packageName: p-q}", Some(Some("p-q"))),
            ("{enabled: false, packageName: p-q}", Some(None)),
            ("null", Some(None)),
            ("{enabled: true}", None),
        ] {
            let text = GOOD.replace(
                "  license: MIT",
                &format!("  license: MIT\n  remoteRegistries: {{pypi: {pypi}}}"),
            );
            let package = Metadata::parse(&text).ok().map(|metadata| metadata.package);
            assert_eq!(
                package,
                expected.map(|name| name.map(str::to_owned)),
                "{pypi}"
            );
        }
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
