//! One dependency of a package, however a file writes it.

use pep508_rs::{
    ExtraName, MarkerTree, PackageName, Requirement, VerbatimUrl, VersionOrUrl, pep440_rs::Version,
};

use super::constraint::Constraint;

/// What a package asks for: a name, which versions of it, with which extras, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Dependency {
    pub name: PackageName,
    /// Extras of `name` that come along.
    pub extras: Vec<ExtraName>,
    pub constraint: Constraint,
    /// The very version that a uv.lock names where it holds several.
    pub version: Option<Version>,
    /// Holds on the platforms and interpreters where the dependency exists.
    pub marker: MarkerTree,
    /// Poetry's `python = "^3.9"` beside a version.
    pub python: Constraint,
    pub activation: Activation,
    /// `git`, `path`, ... where the dependency does not come from an index.
    pub direct: Option<String>,
}

/// Whether a dependency stands by itself or is called in by an extra.
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    Always,
    /// Any of these extras of the package that asks; none of them where the list is empty.
    Extras(Vec<ExtraName>),
}

impl Dependency {
    /// Any version of `name`, always.
    pub fn new(name: PackageName) -> Dependency {
        Dependency {
            name,
            extras: Vec::new(),
            constraint: Constraint::any(),
            version: None,
            marker: MarkerTree::TRUE,
            python: Constraint::any(),
            activation: Activation::Always,
            direct: None,
        }
    }

    /// Reads a dependency specifier (PEP 508): `requests[security]>=2.8.1; python_version < "3.13"`.
    pub fn from_pep508(text: &str) -> Result<Dependency, String> {
        let requirement: Requirement<VerbatimUrl> = text
            .parse()
            .map_err(|error: pep508_rs::Pep508Error| format!("`{text}`: {}", error.message))?;
        let mut dependency = Dependency::new(requirement.name);
        dependency.extras = requirement.extras;
        dependency.marker = requirement.marker;
        match requirement.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => {
                dependency.constraint = specifiers.into();
            }
            Some(VersionOrUrl::Url(_)) => dependency.direct = Some("url".to_owned()),
            None => {}
        }
        Ok(dependency)
    }

    /// Reads one key of a Poetry table of dependencies: a constraint, a table, or several tables for
    /// different markers. Source: "Dependency specification" in Poetry's documentation.
    pub fn from_poetry(name: &str, value: &toml::Value) -> Result<Vec<Dependency>, String> {
        let package = name
            .parse()
            .map_err(|error: pep508_rs::InvalidNameError| error.to_string())?;
        let dependency = Dependency::new(package);
        match value {
            toml::Value::Array(several) => several
                .iter()
                .map(|value| dependency.clone().told_by(value))
                .collect(),
            one => dependency.told_by(one).map(|told| vec![told]),
        }
        .map_err(|error: String| format!("{name}: {error}"))
    }

    fn told_by(mut self, value: &toml::Value) -> Result<Dependency, String> {
        if let Some(constraint) = value.as_str() {
            self.constraint = Constraint::parse(constraint)?;
            return Ok(self);
        }
        let table = value.as_table().ok_or("neither a version nor a table")?;
        if let Some(version) = text(table, "version")? {
            self.constraint = Constraint::parse(version)?;
        }
        if let Some(python) = text(table, "python")? {
            self.python = Constraint::parse(python)?;
        }
        if let Some(markers) = text(table, "markers")? {
            self.marker = marker(markers)?;
        }
        if let Some(platform) = text(table, "platform")? {
            self.marker
                .and(marker(&format!("sys_platform == '{platform}'"))?);
        }
        if let Some(extras) = table.get("extras") {
            self.extras = extra_names(extras)?;
        }
        if table.get("optional").and_then(toml::Value::as_bool) == Some(true) {
            self.activation = Activation::Extras(Vec::new());
        }
        self.direct = ["git", "path", "file", "url"]
            .into_iter()
            .find(|kind| table.contains_key(*kind))
            .map(str::to_owned);
        Ok(self)
    }

    /// The dependency as a resolver reads it (PEP 508); an error where that notation can't say it.
    pub fn to_pep508(&self) -> Result<String, String> {
        if let Some(kind) = &self.direct {
            return Err(format!(
                "{} comes from {kind}, not from an index",
                self.name
            ));
        }
        let mut text = self.name.to_string();
        if !self.extras.is_empty() {
            let extras: Vec<String> = self.extras.iter().map(ExtraName::to_string).collect();
            text.push_str(&format!("[{}]", extras.join(",")));
        }
        let version = self.constraint.to_pep440().ok_or_else(|| {
            format!(
                "{} {}: alternatives can't be said in one requirement",
                self.name, self.constraint
            )
        })?;
        text.push_str(&version.replace(' ', ""));
        if let Some(marker) = self.marker.try_to_string() {
            text.push_str(&format!(" ; {marker}"));
        }
        Ok(text)
    }
}

/// Reads an environment marker (PEP 508).
pub fn marker(text: &str) -> Result<MarkerTree, String> {
    MarkerTree::parse_str::<VerbatimUrl>(text)
        .map_err(|error| format!("marker `{text}`: {}", error.message))
}

/// Reads a list of extras.
pub fn extra_names(value: &toml::Value) -> Result<Vec<ExtraName>, String> {
    let names = value.as_array().ok_or("extras: not a list")?;
    names
        .iter()
        .map(|name| {
            let name = name.as_str().ok_or("extras: not a list of names")?;
            name.parse()
                .map_err(|error: pep508_rs::InvalidNameError| error.to_string())
        })
        .collect()
}

fn text<'a>(table: &'a toml::Table, key: &str) -> Result<Option<&'a str>, String> {
    match table.get(key) {
        None => Ok(None),
        Some(value) => value
            .as_str()
            .map(Some)
            .ok_or_else(|| format!("{key}: not a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poetry(line: &str) -> Vec<Dependency> {
        let table: toml::Table = line.parse().unwrap();
        let (name, value) = table.iter().next().unwrap();
        Dependency::from_poetry(name, value).unwrap()
    }

    #[test]
    fn poetry_and_pep508_say_the_same() {
        for (line, expected) in [
            (r#"requests = "^2.8""#, "requests>=2.8,<3"),
            (
                r#"Airbyte_CDK = {version = "6.1", extras = ["file-based"]}"#,
                "airbyte-cdk[file-based]==6.1",
            ),
            (r#"a = "*""#, "a"),
            (
                r#"a = {version = "<2", markers = "sys_platform == \"linux\""}"#,
                "a<2 ; sys_platform == 'linux'",
            ),
            (
                r#"a = {version = "1", platform = "win32"}"#,
                "a==1 ; sys_platform == 'win32'",
            ),
        ] {
            let read = poetry(line);
            assert_eq!(read[0].to_pep508().as_deref(), Ok(expected), "{line}");
            let same = Dependency::from_pep508(expected).unwrap();
            assert_eq!(
                (&same.name, &same.extras, &same.marker),
                (&read[0].name, &read[0].extras, &read[0].marker)
            );
        }
    }

    #[test]
    fn several_tables_are_several_dependencies() {
        let read = poetry(
            r#"a = [{version = "1", python = "<3.10"}, {version = "2", python = ">=3.10"}]"#,
        );
        assert_eq!(read.len(), 2);
        assert!(read[1].python.contains(&"3.11.2".parse().unwrap()));
    }

    #[test]
    fn sources_outside_an_index_are_told() {
        for (line, kind) in [
            (r#"a = {git = "https://example.invalid/a"}"#, "git"),
            (r#"a = {path = "../a"}"#, "path"),
            (r#"a = {url = "https://example.invalid/a-1.tar.gz"}"#, "url"),
        ] {
            assert_eq!(poetry(line)[0].direct.as_deref(), Some(kind), "{line}");
        }
        let direct = Dependency::from_pep508("a @ https://example.invalid/a-1.tar.gz").unwrap();
        assert!(direct.to_pep508().is_err());
    }

    #[test]
    fn errors_name_the_dependency() {
        for (line, part) in [
            ("a = 1", "a: neither a version nor a table"),
            (r#"a = "latest""#, "a: `latest` is no version constraint"),
            (
                r#"a = {version = "1", markers = "nonsense"}"#,
                "a: marker `nonsense`",
            ),
        ] {
            let table: toml::Table = line.parse().unwrap();
            let error = Dependency::from_poetry("a", &table["a"]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
