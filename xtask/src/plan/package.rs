//! The Python package that a connector is published as besides its image.

use pep440_rs::Version;
use pep508_rs::PackageName;
use serde::Serialize;

use crate::model::{
    connector::Connector, index_page::IndexFile, problem::Problem, pyproject::Pyproject,
    wheel::WheelName,
};

/// Name and version of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    pub name: PackageName,
    pub version: Version,
    /// What pyproject.toml calls it, so what is built: most of Airbyte's connectors say `source-x` there, and
    /// `airbyte-source-x` in metadata.yaml, which counts.
    #[serde(skip)]
    pub built_as: PackageName,
}

impl Package {
    /// The package of a connector; None when it is not published as one. metadata.yaml and pyproject.toml have to
    /// agree on the version, or what is published would not be what was declared.
    pub fn of(
        connector: &Connector,
        pyproject: Option<&Pyproject>,
    ) -> Result<Option<Package>, Problem> {
        let Some(declared) = &connector.metadata.package else {
            return Ok(None);
        };
        let wrong = |message: String| Problem::usage(format!("{}: {message}", connector.name));
        let Some(pyproject) = pyproject else {
            let message = "remoteRegistries.pypi is enabled, yet there is no pyproject.toml";
            return Err(wrong(message.to_owned())
                .help("only Python connectors are published as packages: set enabled to false"));
        };
        let name: PackageName = declared
            .parse()
            .map_err(|error| wrong(format!("remoteRegistries.pypi.packageName: {error}")))?;
        let package = Package {
            built_as: pyproject.name.clone().unwrap_or_else(|| name.clone()),
            name,
            version: pep440(&connector.metadata.version.to_string()).map_err(wrong)?,
        };
        if let Some(text) = &pyproject.version
            && pep440(text).map_err(wrong)? != package.version
        {
            let message = format!(
                "pyproject.toml has version {text}, metadata.yaml {}",
                connector.metadata.version
            );
            return Err(wrong(message).help("set both to the version to publish"));
        }
        Ok(Some(package))
    }

    /// Whether an index that lists these files has a wheel of this version, withdrawn or not.
    pub fn is_among(&self, files: &[IndexFile]) -> bool {
        files.iter().any(|file| self.is_in(&file.name))
    }

    /// Whether a file is a wheel of this version of the package.
    pub fn is_in(&self, file: &str) -> bool {
        self.is_wheel_of(&self.name, file)
    }

    /// Whether a file is what a build makes of it.
    pub fn is_built(&self, file: &str) -> bool {
        self.is_wheel_of(&self.built_as, file)
    }

    fn is_wheel_of(&self, name: &PackageName, file: &str) -> bool {
        file.parse::<WheelName>().is_ok_and(|wheel| {
            wheel.distribution.parse().as_ref() == Ok(name)
                && wheel.version.parse().as_ref() == Ok(&self.version)
        })
    }
}

fn pep440(text: &str) -> Result<Version, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no version of a Python package (PEP 440)"))
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::Metadata;

    fn of(pypi: &str, version: &str, pyproject: Option<&str>) -> Result<Option<String>, String> {
        let text = format!(
            "data: {{name: N, connectorType: source, definitionId: d, dockerRepository: a/b, dockerImageTag: {version}, license: MIT, documentationUrl: u, remoteRegistries: {{pypi: {pypi}}}}}"
        );
        let connector = Connector {
            name: "source-a".parse().unwrap(),
            directory: "d".into(),
            language: None,
            metadata: Metadata::parse(&text).unwrap(),
        };
        let pyproject = pyproject.map(|text| Pyproject::parse(text).unwrap());
        let package = Package::of(&connector, pyproject.as_ref());
        package
            .map(|package| package.map(|package| package.to_string()))
            .map_err(|problem| problem.message)
    }

    #[test]
    fn metadata_and_pyproject_have_to_agree() {
        let on = "{enabled: true, packageName: Airbyte_Source-A}";
        let project = |name: &str, version: &str| {
            format!("[project]\nname = '{name}'\nversion = '{version}'\n")
        };
        let good = project("airbyte.source.a", "1.2.3");
        for (pypi, version, pyproject, expected) in [
            (
                on,
                "1.2.3",
                Some(good.clone()),
                Ok(Some("airbyte-source-a 1.2.3")),
            ),
            (
                on,
                "1.2.3-rc.1",
                Some(project("airbyte-source-a", "1.2.3rc1")),
                Ok(Some("airbyte-source-a 1.2.3rc1")),
            ),
            (
                on,
                "1.2.3",
                Some("[project]\nname = 'airbyte-source-a'\ndynamic = ['version']\n".to_owned()),
                Ok(Some("airbyte-source-a 1.2.3")),
            ),
            ("{enabled: false, packageName: x}", "1.2.3", None, Ok(None)),
            ("null", "1.2.3", Some(good.clone()), Ok(None)),
            (
                on,
                "1.2.4",
                Some(good.clone()),
                Err("pyproject.toml has version 1.2.3, metadata.yaml 1.2.4"),
            ),
            (
                on,
                "1.2.3",
                Some(project("source-a", "1.2.3")),
                Ok(Some("airbyte-source-a 1.2.3")),
            ),
            (on, "1.2.3", None, Err("there is no pyproject.toml")),
            (
                on,
                "1.2.3-arch",
                Some(good.clone()),
                Err("`1.2.3-arch` is no version of a Python package"),
            ),
            (
                "{enabled: true, packageName: '-'}",
                "1.2.3",
                Some(good),
                Err("packageName"),
            ),
        ] {
            let found = of(pypi, version, pyproject.as_deref());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
                (Err(message), Err(expected)) => assert!(message.contains(expected), "{message}"),
                _ => panic!("{found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_version_is_there_when_its_wheel_is() {
        let package = Package {
            name: "airbyte-source-a".parse().unwrap(),
            version: "1.2.0rc1".parse().unwrap(),
            built_as: "source-a".parse().unwrap(),
        };
        assert!(package.is_built("source_a-1.2.0rc1-py3-none-any.whl"));
        for (file, expected) in [
            ("airbyte_source_a-1.2.0rc1-py3-none-any.whl", true),
            ("airbyte_source_a-1.2rc1-py3-none-any.whl", true),
            ("airbyte_source_a-1.2.0-py3-none-any.whl", false),
            ("airbyte_source_ab-1.2.0rc1-py3-none-any.whl", false),
            ("airbyte_source_a-1.2.0rc1.tar.gz", false),
        ] {
            assert_eq!(package.is_in(file), expected, "{file}");
        }
    }
}
