//! pyproject.toml, as far as an image needs it.

use std::collections::BTreeMap;

use pep508_rs::PackageName;

use super::{
    build_system::BuildSystem,
    constraint::Constraint,
    dependency::{Activation, Dependency},
};

/// What pyproject.toml says of a connector: `[project]` where it is there, `[tool.poetry]` for the rest.
#[derive(Debug, Clone)]
pub struct Pyproject {
    pub name: Option<PackageName>,
    pub version: Option<String>,
    /// Interpreters that it runs on.
    pub python: Constraint,
    /// Without `python` and the groups.
    pub dependencies: Vec<Dependency>,
    /// What only work on the connector needs: every group that is not optional.
    pub development: Vec<Dependency>,
    /// Console scripts in the order of the file.
    pub scripts: Vec<Script>,
    pub build: BuildSystem,
    /// Directories below the connector's own that packages are taken from; the connector's own is not among them.
    pub package_roots: Vec<String>,
    /// The whole file: what lock files are compared with.
    pub document: toml::Table,
}

/// A console script: `name = "module:function"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub name: String,
    pub module: String,
    pub function: String,
}

impl Pyproject {
    /// Reads the text of a pyproject.toml; an error names the line or the key.
    pub fn parse(text: &str) -> Result<Pyproject, String> {
        let document: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
        let project = Section::new(&document, &["project"])?;
        let poetry = Section::new(&document, &["tool", "poetry"])?;
        let either = |key| Ok::<_, String>(project.text(key)?.or(poetry.text(key)?));
        let name = either("name")?
            .map(|name| {
                name.parse()
                    .map_err(|error: pep508_rs::InvalidNameError| error.to_string())
            })
            .transpose()?;
        Ok(Pyproject {
            name,
            version: either("version")?.map(str::to_owned),
            python: python(&project, &poetry)?,
            dependencies: dependencies(&project, &poetry)?,
            development: development(&document, &poetry)?,
            scripts: scripts(&project, &poetry)?,
            build: BuildSystem::of(&document)?,
            package_roots: package_roots(&poetry),
            document,
        })
    }
}

/// A table of the document with the name it has in messages.
struct Section<'a> {
    name: String,
    table: Option<&'a toml::Table>,
}

impl<'a> Section<'a> {
    fn new(document: &'a toml::Table, path: &[&str]) -> Result<Section<'a>, String> {
        let name = path.join(".");
        let mut table = Some(document);
        for key in path {
            table = match table.and_then(|table| table.get(*key)) {
                None => None,
                Some(value) => Some(
                    value
                        .as_table()
                        .ok_or_else(|| format!("{name}: not a table"))?,
                ),
            };
        }
        Ok(Section { name, table })
    }

    fn get(&self, key: &str) -> Option<&'a toml::Value> {
        self.table?.get(key)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        self.get(key)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| self.wrong(key, "not a string"))
            })
            .transpose()
    }

    fn table(&self, key: &str) -> Result<Option<&'a toml::Table>, String> {
        self.get(key)
            .map(|value| {
                value
                    .as_table()
                    .ok_or_else(|| self.wrong(key, "not a table"))
            })
            .transpose()
    }

    fn wrong(&self, key: &str, what: &str) -> String {
        format!("{}.{key}: {what}", self.name)
    }
}

/// `requires-python` is PEP 440, Poetry's `python` its own notation; where both are there both must hold.
fn python(project: &Section<'_>, poetry: &Section<'_>) -> Result<Constraint, String> {
    let (key, text) = match project.text("requires-python")? {
        Some(text) => ("project.requires-python", Some(text)),
        None => (
            "tool.poetry.dependencies.python",
            poetry
                .table("dependencies")?
                .and_then(|table| table.get("python")?.as_str()),
        ),
    };
    text.map_or(Ok(Constraint::any()), Constraint::parse)
        .map_err(|error| format!("{key}: {error}"))
}

/// `[project]` wins where it names dependencies; Poetry 2 then takes its own table only as more detail.
fn dependencies(project: &Section<'_>, poetry: &Section<'_>) -> Result<Vec<Dependency>, String> {
    if let Some(list) = project.get("dependencies") {
        let list = list
            .as_array()
            .ok_or_else(|| project.wrong("dependencies", "not a list"))?;
        return list
            .iter()
            .map(|item| {
                let text = item.as_str().ok_or("not a string".to_owned());
                text.and_then(Dependency::from_pep508)
                    .map_err(|error| project.wrong("dependencies", &error))
            })
            .collect();
    }
    let mut all = Vec::new();
    for (name, value) in poetry.table("dependencies")?.into_iter().flatten() {
        if name != "python" {
            let read = Dependency::from_poetry(name, value);
            all.extend(read.map_err(|error| poetry.wrong("dependencies", &error))?);
        }
    }
    // What only an extra of the connector itself asks for is never in its image.
    all.retain(|dependency| dependency.activation == Activation::Always);
    Ok(all)
}

/// Poetry's groups, its table from before there were groups, and `[dependency-groups]` (PEP 735).
fn development(document: &toml::Table, poetry: &Section<'_>) -> Result<Vec<Dependency>, String> {
    let mut all = Vec::new();
    let mut tables = vec![(
        "dev-dependencies".to_owned(),
        poetry.table("dev-dependencies")?,
    )];
    for (name, group) in poetry.table("group")?.into_iter().flatten() {
        if group.get("optional").and_then(toml::Value::as_bool) != Some(true) {
            let table = group.get("dependencies").and_then(toml::Value::as_table);
            tables.push((format!("group.{name}.dependencies"), table));
        }
    }
    for (place, table) in tables {
        for (name, value) in table.into_iter().flatten() {
            let read = Dependency::from_poetry(name, value);
            all.extend(read.map_err(|error| poetry.wrong(&place, &error))?);
        }
    }
    let groups = Section::new(document, &["dependency-groups"])?;
    for (name, group) in groups.table.into_iter().flatten() {
        // An `include-group` names a group that counts by itself.
        let items = group.as_array().into_iter().flatten();
        for text in items.filter_map(toml::Value::as_str) {
            let read = Dependency::from_pep508(text);
            all.push(read.map_err(|error| groups.wrong(name, &error))?);
        }
    }
    all.retain(|dependency| dependency.activation == Activation::Always);
    Ok(all)
}

fn scripts(project: &Section<'_>, poetry: &Section<'_>) -> Result<Vec<Script>, String> {
    let mut all: Vec<Script> = Vec::new();
    for section in [project, poetry] {
        for (name, value) in section.table("scripts")?.into_iter().flatten() {
            // Poetry also takes a table: {reference = "module:function", type = "console"}.
            let Some(target) = value.as_str().or_else(|| value.get("reference")?.as_str()) else {
                continue;
            };
            let (module, function) = target.split_once(':').ok_or_else(|| {
                section.wrong(
                    "scripts",
                    &format!("{name}: `{target}` is not module:function"),
                )
            })?;
            if !all.iter().any(|script| script.name == *name) {
                all.push(Script {
                    name: name.clone(),
                    module: module.trim().to_owned(),
                    function: function
                        .split('[')
                        .next()
                        .unwrap_or_default()
                        .trim()
                        .to_owned(),
                });
            }
        }
    }
    Ok(all)
}

/// `packages = [{include = "pkg", from = "src"}]`, and the layout with `src` that every backend knows.
fn package_roots(poetry: &Section<'_>) -> Vec<String> {
    let mut roots = vec!["src".to_owned()];
    let packages = poetry.get("packages").and_then(toml::Value::as_array);
    for package in packages.into_iter().flatten() {
        if let Some(from) = package.get("from").and_then(toml::Value::as_str)
            && !roots.iter().any(|root| root == from)
        {
            roots.push(from.to_owned());
        }
    }
    roots
}

/// The members of `section` that are there, by key; what a content hash is made of.
pub fn members<'a>(document: &'a toml::Table, path: &[&str]) -> BTreeMap<&'a str, &'a toml::Value> {
    let mut table = Some(document);
    for key in path {
        table = table.and_then(|table| table.get(*key)?.as_table());
    }
    let entries = table.into_iter().flatten();
    entries.map(|(key, value)| (key.as_str(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_poetry() {
        let pyproject = Pyproject::parse(
            r#"
[tool.poetry]
name = "airbyte-source_x"
version = "1.2.3"
packages = [{include = "source_x", from = "lib"}, {include = "main.py"}]
[tool.poetry.dependencies]
python = "^3.9,<3.12"
airbyte-cdk = "^6"
extra = {version = "1", optional = true}
[tool.poetry.group.dev.dependencies]
pytest = "^8"
[tool.poetry.scripts]
source-x = "source_x.run:run"
[build-system]
requires = ["poetry-core>=1.0.0"]
build-backend = "poetry.core.masonry.api"
"#,
        )
        .unwrap();
        assert_eq!(pyproject.name.unwrap().to_string(), "airbyte-source-x");
        let names: Vec<_> = pyproject
            .dependencies
            .iter()
            .map(|d| d.name.to_string())
            .collect();
        assert_eq!(names, ["airbyte-cdk"]);
        assert!(!pyproject.python.contains(&"3.12.0".parse().unwrap()));
        assert_eq!(
            (
                pyproject.scripts[0].module.as_str(),
                pyproject.scripts[0].function.as_str()
            ),
            ("source_x.run", "run")
        );
        assert_eq!(pyproject.build.build_backend, "poetry.core.masonry.api");
        assert_eq!(pyproject.package_roots, ["src", "lib"]);
        assert_eq!(pyproject.development[0].name.to_string(), "pytest");
    }

    #[test]
    fn reads_project() {
        let pyproject = Pyproject::parse(
            r#"
[project]
name = "source-x"
version = "1.2.3"
requires-python = ">=3.10,<3.14"
dependencies = ["airbyte-cdk[file-based]>=6,<7"]
[project.optional-dependencies]
more = ["pyarrow"]
[project.scripts]
source-x = "source_x.run:run"
"#,
        )
        .unwrap();
        assert_eq!(pyproject.dependencies.len(), 1);
        assert_eq!(pyproject.dependencies[0].extras.len(), 1);
        assert_eq!(pyproject.scripts.len(), 1);
        assert_eq!(pyproject.build.requires, ["setuptools", "wheel"]);
        assert!(pyproject.python.contains(&"3.11.2".parse().unwrap()));
    }

    #[test]
    fn errors_name_line_or_key() {
        for (text, part) in [
            ("[project\n", "line 1"),
            ("project = 1", "project: not a table"),
            ("[project]\nname = 1", "project.name: not a string"),
            (
                "[project]\ndependencies = [\"a >\"]",
                "project.dependencies: `a >`",
            ),
            (
                "[tool.poetry.dependencies]\na = \"new\"",
                "tool.poetry.dependencies: a: `new`",
            ),
            (
                "[project]\nrequires-python = \"three\"",
                "project.requires-python: `three`",
            ),
            (
                "[project.scripts]\nx = \"run\"",
                "project.scripts: x: `run` is not module:function",
            ),
            (
                "[build-system]\nrequires = [1]",
                "build-system: invalid type: integer `1`, expected a string",
            ),
        ] {
            let error = Pyproject::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
