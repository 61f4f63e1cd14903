//! uv.lock, version 1. Source: uv's crates/uv-resolver/src/lock.

use std::collections::BTreeMap;

use pep508_rs::{MarkerTree, pep440_rs::Version};
use serde::Deserialize;

use super::{Lock, Origin, Package, Source, UvOrigin, package_name, syntax};
use crate::model::{
    constraint::Constraint,
    dependency::{Activation, Dependency, marker},
};

#[derive(Deserialize)]
struct Document {
    version: u32,
    #[serde(rename = "requires-python")]
    requires_python: Option<String>,
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    /// Missing where the connector's own version is dynamic.
    version: Option<String>,
    #[serde(default)]
    source: toml::Table,
    #[serde(default)]
    resolution_markers: Vec<String>,
    #[serde(default)]
    dependencies: Vec<Edge>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Edge>>,
    /// By group; only the connector itself has them.
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<Edge>>,
    sdist: Option<FileEntry>,
    #[serde(default)]
    wheels: Vec<FileEntry>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Edge {
    name: String,
    version: Option<String>,
    #[serde(default)]
    extra: Vec<String>,
    marker: Option<String>,
}

#[derive(Deserialize)]
struct FileEntry {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    #[serde(default)]
    requires_dist: Vec<Required>,
}

#[derive(Deserialize)]
struct Required {
    name: String,
    #[serde(default)]
    extras: Vec<String>,
    #[serde(default)]
    specifier: String,
    marker: Option<String>,
    /// Where `[tool.uv.sources]` or an address takes it from: `git`, `path`, ... Then there is no specifier.
    #[serde(flatten)]
    source: toml::Table,
}

/// Keys of a requirement that comes from no index.
const DIRECT: [&str; 6] = ["git", "url", "path", "editable", "directory", "virtual"];

/// For [`Lock::parse_uv`]. Fails at the first entry that can't be read, which the error names, and where none of the
/// packages is the connector itself.
pub fn parse(text: &str) -> Result<Lock, String> {
    let document: Document = toml::from_str(text).map_err(|error| syntax(&error))?;
    if document.version != 1 {
        return Err(format!(
            "version {} is not known (known: 1)",
            document.version
        ));
    }
    let python = document.requires_python.as_deref().unwrap_or("*");
    let python = Constraint::parse(python).map_err(|error| format!("requires-python: {error}"))?;
    let is_root = |entry: &Entry| {
        ["editable", "virtual", "directory"]
            .iter()
            .any(|kind| entry.source.get(*kind).and_then(toml::Value::as_str) == Some("."))
    };
    let root =
        document.package.iter().position(is_root).ok_or(
            "no package is the connector itself (source = { editable = \".\" } or virtual)",
        )?;
    let requires =
        requires(&document.package[root]).map_err(|error| format!("requires-dist: {error}"))?;
    let development = development(&document.package[root])
        .map_err(|error| format!("dev-dependencies: {error}"))?;
    let packages = document.package.into_iter().map(|entry| {
        let place = format!("package {}", entry.name);
        package(entry).map_err(|error| format!("{place}: {error}"))
    });
    let packages = packages.collect::<Result<_, _>>()?;
    Ok(Lock::new(
        packages,
        python,
        Origin::Uv(UvOrigin {
            root,
            requires,
            development,
        }),
    ))
}

fn package(entry: Entry) -> Result<Package, String> {
    let marker = any_of(&entry.resolution_markers)?;
    let mut package = Package {
        name: package_name(&entry.name)?,
        version: version(entry.version.as_deref())?.unwrap_or_else(|| Version::new([0])),
        source: source(&entry.source),
        python: Constraint::any(),
        development_marker: marker.clone(),
        marker,
        dependencies: dependencies(&entry)?,
        wheels: Vec::new(),
        sdist: None,
        unusable: Vec::new(),
    };
    for file in entry.sdist.iter().chain(&entry.wheels) {
        let name = file_name(file).ok_or("a file without url, path or filename")?;
        package.add_file(&name, file.hash.as_deref());
    }
    Ok(package)
}

fn version(text: Option<&str>) -> Result<Option<Version>, String> {
    text.map(|text| text.parse().map_err(|error| format!("version: {error}")))
        .transpose()
}

fn source(table: &toml::Table) -> Source {
    match table.iter().next() {
        None => Source::Index,
        Some((kind, _)) if kind == "registry" => Source::Index,
        Some((_, place)) if place.as_str() == Some(".") => Source::Root,
        Some((kind, _)) => Source::Direct(kind.clone()),
    }
}

fn any_of(markers: &[String]) -> Result<MarkerTree, String> {
    let mut any = if markers.is_empty() {
        MarkerTree::TRUE
    } else {
        MarkerTree::FALSE
    };
    for text in markers {
        any.or(marker(text)?);
    }
    Ok(any)
}

fn dependencies(entry: &Entry) -> Result<Vec<Dependency>, String> {
    let mut all = entry
        .dependencies
        .iter()
        .map(|edge| dependency(edge, Activation::Always))
        .collect::<Result<Vec<_>, _>>()?;
    for (extra, edges) in &entry.optional_dependencies {
        let extra = extra_name(extra)?;
        for edge in edges {
            all.push(dependency(edge, Activation::Extras(vec![extra.clone()]))?);
        }
    }
    Ok(all)
}

fn development(root: &Entry) -> Result<Vec<Dependency>, String> {
    let edges = root.dev_dependencies.values().flatten();
    edges
        .map(|edge| dependency(edge, Activation::Always))
        .collect()
}

fn dependency(edge: &Edge, activation: Activation) -> Result<Dependency, String> {
    let mut dependency = Dependency::new(package_name(&edge.name)?);
    dependency.version = version(edge.version.as_deref())?;
    dependency.extras = edge
        .extra
        .iter()
        .map(|name| extra_name(name))
        .collect::<Result<_, _>>()?;
    dependency.marker = optional_marker(edge.marker.as_deref())?;
    dependency.activation = activation;
    Ok(dependency)
}

fn requires(root: &Entry) -> Result<Vec<Dependency>, String> {
    let read = |required: &Required| {
        let mut dependency = Dependency::new(package_name(&required.name)?);
        dependency.extras = required
            .extras
            .iter()
            .map(|name| extra_name(name))
            .collect::<Result<_, _>>()?;
        dependency.constraint = specifiers(&required.specifier)?;
        dependency.marker = optional_marker(required.marker.as_deref())?;
        dependency.direct = DIRECT
            .into_iter()
            .find(|kind| required.source.contains_key(*kind))
            .map(str::to_owned);
        Ok(dependency)
    };
    root.metadata.requires_dist.iter().map(read).collect()
}

fn specifiers(text: &str) -> Result<Constraint, String> {
    let specifiers: pep440_rs::VersionSpecifiers = text
        .parse()
        .map_err(|error| format!("specifier `{text}`: {error}"))?;
    Ok(specifiers.into())
}

fn optional_marker(text: Option<&str>) -> Result<MarkerTree, String> {
    text.map_or(Ok(MarkerTree::TRUE), marker)
}

fn extra_name(text: &str) -> Result<pep508_rs::ExtraName, String> {
    text.parse()
        .map_err(|error: pep508_rs::InvalidNameError| error.to_string())
}

/// The name that the lock gives, else the last part of the address.
fn file_name(file: &FileEntry) -> Option<String> {
    if let Some(name) = &file.filename {
        return Some(name.clone());
    }
    let address = file.url.as_ref().or(file.path.as_ref())?;
    let address = address.split(['#', '?']).next()?;
    let name = address.rsplit('/').next()?;
    // The one character of a version that addresses escape: `+` of a local version (and `!` of an epoch).
    Some(
        name.replace("%2B", "+")
            .replace("%2b", "+")
            .replace("%21", "!"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn reads_root_edges_extras_and_files() {
        let lock = parse(&format!(
            r#"
version = 1
revision = 3
requires-python = ">=3.10, <3.14"
[[package]]
name = "source-x"
version = "1.0"
source = {{ editable = "." }}
dependencies = [{{ name = "a", extra = ["y"], marker = "sys_platform == 'linux'" }}, {{ name = "b", version = "2.0" }}]
[package.metadata]
requires-dist = [{{ name = "a", extras = ["y"], specifier = ">=1,<2" }}]
[[package]]
name = "a"
version = "1.0+local"
source = {{ registry = "https://index.invalid/simple" }}
resolution-markers = ["python_full_version < '3.11'", "sys_platform == 'linux'"]
sdist = {{ url = "https://files.invalid/a-1.0%2Blocal.tar.gz", hash = "{HASH}", size = 1 }}
wheels = [{{ url = "https://files.invalid/a-1.0%2Blocal-py3-none-any.whl#x", hash = "{HASH}" }}]
[package.optional-dependencies]
y = [{{ name = "b" }}]
[[package]]
name = "b"
version = "2.0"
source = {{ git = "https://git.invalid/b" }}
"#
        ))
        .unwrap();
        let Origin::Uv(origin) = &lock.origin else {
            panic!("not a uv.lock")
        };
        let root = &lock.packages[origin.root];
        assert_eq!(root.dependencies[0].extras[0].to_string(), "y");
        assert_eq!(root.dependencies[1].version, Some("2.0".parse().unwrap()));
        assert_eq!(origin.requires[0].to_pep508().unwrap(), "a[y]>=1,<2");
        let a = &lock.packages[1];
        assert_eq!(a.sdist.as_ref().unwrap().name, "a-1.0+local.tar.gz");
        assert_eq!(a.wheels[0].file.name, "a-1.0+local-py3-none-any.whl");
        assert_eq!(
            a.dependencies[0].activation,
            Activation::Extras(vec!["y".parse().unwrap()])
        );
        assert_eq!(lock.packages[2].source, Source::Direct("git".to_owned()));
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (text, part) in [
            ("version = 2\n", "version 2 is not known"),
            ("version = 1\n", "no package is the connector itself"),
            (
                "version = 1\n[[package]]\nname = \"x\"\nsource = {virtual = \".\"}\n[[package]]\nname = \"a\"\nversion = \"new\"\n",
                "package a: version: ",
            ),
            (
                "version = 1\n[[package]]\nname = \"x\"\nsource = {virtual = \".\"}\ndependencies = [{name = \"a\", marker = \"no\"}]\n",
                "package x: marker `no`",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
