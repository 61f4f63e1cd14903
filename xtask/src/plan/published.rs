//! Under which name a connector is published.

use crate::model::{connector::Connector, image::ImageRef};

/// `dockerRepository` without its own namespace, below `registry` (host and namespace), without a tag.
/// The folder's name plays no part.
pub fn repository(connector: &Connector, registry: &str) -> Result<ImageRef, String> {
    let declared = &connector.metadata.docker_repository;
    let repository = declared
        .split_once('/')
        .map_or(declared.as_str(), |(_, name)| name);
    format!("{registry}/{repository}").parse()
}

/// The repository with the version as its tag.
pub fn reference(connector: &Connector, registry: &str) -> Result<ImageRef, String> {
    Ok(ImageRef {
        tag: Some(connector.metadata.version.to_string().parse()?),
        ..repository(connector, registry)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::Metadata;

    #[test]
    fn the_repository_is_the_declared_one_below_the_registry() {
        for (declared, version, registry, expected) in [
            (
                "airbyte/source-faker",
                "1.2.3",
                "docker.io/airbyte",
                Some("docker.io/airbyte/source-faker:1.2.3"),
            ),
            (
                "airbyte/source-faker",
                "1.2.3-rc.1",
                "127.0.0.1:5000/airbyte",
                Some("127.0.0.1:5000/airbyte/source-faker:1.2.3-rc.1"),
            ),
            (
                "other/team/x",
                "1.0.0",
                "ghcr.io/me",
                Some("ghcr.io/me/team/x:1.0.0"),
            ),
            ("x", "1.0.0", "ghcr.io/me", Some("ghcr.io/me/x:1.0.0")),
            ("airbyte/source-faker", "1.0.0+b", "docker.io/airbyte", None),
        ] {
            let text = format!(
                "data: {{name: N, connectorType: source, definitionId: d, dockerRepository: {declared}, dockerImageTag: {version}, license: MIT, documentationUrl: u}}"
            );
            let connector = Connector {
                name: "source-other-folder".parse().unwrap(),
                directory: "d".into(),
                language: None,
                metadata: Metadata::parse(&text).unwrap(),
            };
            assert_eq!(
                reference(&connector, registry)
                    .ok()
                    .map(|image| image.to_string())
                    .as_deref(),
                expected
            );
        }
    }
}
