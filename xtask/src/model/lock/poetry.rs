//! poetry.lock, lock-version 1.x and 2.x.

use std::collections::BTreeMap;

use pep508_rs::{ExtraName, MarkerTree, PackageName};
use serde::Deserialize;

use super::{Duplicates, Lock, Origin, Package, PoetryOrigin, Source, package_name, syntax};
use crate::model::{
    constraint::Constraint,
    dependency::{Activation, Dependency, marker},
};

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    package: Vec<Entry>,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    lock_version: String,
    python_versions: String,
    content_hash: String,
    /// Lock-version 1.x keeps all files here, by package.
    #[serde(default)]
    files: BTreeMap<String, Vec<FileEntry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(rename = "python-versions", default = "any")]
    python: String,
    #[serde(default)]
    files: Vec<FileEntry>,
    #[serde(default)]
    dependencies: toml::Table,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    source: Option<SourceEntry>,
    /// Since lock-version 2.1: the groups that want it.
    #[serde(default = "main_group")]
    groups: Vec<String>,
    /// Since lock-version 2.1: where this version is wanted, for all groups or by group.
    markers: Option<toml::Value>,
}

#[derive(Deserialize)]
struct FileEntry {
    file: String,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct SourceEntry {
    /// `legacy` is a package index other than the public one.
    #[serde(rename = "type", default = "legacy")]
    kind: String,
}

fn any() -> String {
    "*".to_owned()
}

fn main_group() -> Vec<String> {
    vec!["main".to_owned()]
}

fn legacy() -> String {
    "legacy".to_owned()
}

pub fn parse(text: &str) -> Result<Lock, String> {
    let document: Document = toml::from_str(text).map_err(|error| syntax(&error))?;
    let Metadata {
        lock_version,
        python_versions,
        content_hash,
        mut files,
    } = document.metadata;
    if !lock_version.starts_with("1.") && !lock_version.starts_with("2.") {
        return Err(format!(
            "lock-version {lock_version} is not known (known: 1.x, 2.x)"
        ));
    }
    let packages = document.package.into_iter().map(|entry| {
        let old_files = files.remove(&entry.name).unwrap_or_default();
        let place = format!("package {} {}", entry.name, entry.version);
        package(entry, old_files).map_err(|error| format!("{place}: {error}"))
    });
    let packages = packages.collect::<Result<_, _>>()?;
    let python = Constraint::parse(&python_versions)
        .map_err(|error| format!("metadata.python-versions: {error}"))?;
    Ok(Lock::new(
        packages,
        python,
        Origin::Poetry(PoetryOrigin {
            content_hash,
            duplicates: duplicates(&lock_version),
        }),
    ))
}

/// Markers of packages are recorded since lock-version 2.1.
fn duplicates(lock_version: &str) -> Duplicates {
    if lock_version.starts_with("1.") || lock_version == "2.0" {
        Duplicates::Newest
    } else {
        Duplicates::ByMarker
    }
}

fn package(entry: Entry, old_files: Vec<FileEntry>) -> Result<Package, String> {
    let name = package_name(&entry.name)?;
    let version = entry
        .version
        .parse()
        .map_err(|error| format!("version: {error}"))?;
    let (marker, development_marker) = markers(&entry)?;
    let mut package = Package {
        python: Constraint::parse(&entry.python)?,
        marker,
        development_marker,
        dependencies: dependencies(&name, &entry)?,
        source: source(entry.source.as_ref()),
        name,
        version,
        wheels: Vec::new(),
        sdist: None,
        unusable: Vec::new(),
    };
    for file in entry.files.iter().chain(&old_files) {
        package
            .add_file(&file.file, file.hash.as_deref())
            .map_err(|error| format!("files: {}: {error}", file.file))?;
    }
    Ok(package)
}

fn source(entry: Option<&SourceEntry>) -> Source {
    match entry.map(|entry| entry.kind.as_str()) {
        None | Some("legacy") => Source::Index,
        Some(kind) => Source::Direct(kind.to_owned()),
    }
}

/// Where the version is wanted by the main group, and by any group. A group that the table lacks wants it everywhere.
fn markers(entry: &Entry) -> Result<(MarkerTree, MarkerTree), String> {
    let read = |text: Option<&toml::Value>| {
        text.map_or(Ok(MarkerTree::TRUE), |text| {
            marker(text.as_str().ok_or("markers: not a string")?)
        })
    };
    let Some(toml::Value::Table(by_group)) = &entry.markers else {
        let all = read(entry.markers.as_ref())?;
        return Ok((all.clone(), all));
    };
    let mut any = MarkerTree::FALSE;
    for group in &entry.groups {
        any.or(read(by_group.get(group))?);
    }
    Ok((read(by_group.get("main"))?, any))
}

fn dependencies(name: &PackageName, entry: &Entry) -> Result<Vec<Dependency>, String> {
    let mut all = Vec::new();
    for (key, value) in &entry.dependencies {
        let read = Dependency::from_poetry(key, value);
        all.extend(read.map_err(|error| format!("dependencies: {error}"))?);
    }
    let mut extras = Vec::new();
    for (extra, requirements) in &entry.extras {
        let extra: ExtraName = extra
            .parse()
            .map_err(|error: pep508_rs::InvalidNameError| format!("extras: {error}"))?;
        // Anything that is no PEP 508 there can't name a locked package.
        let requirements = requirements
            .iter()
            .filter_map(|text| Dependency::from_pep508(text).ok());
        extras.extend(requirements.map(|requirement| (extra.clone(), requirement)));
    }
    for dependency in &mut all {
        activate(dependency, &extras);
    }
    // `all = ["package[a,b]"]`: an extra that is made of the package's other extras.
    all.extend(
        extras
            .into_iter()
            .filter(|(_, own)| own.name == *name)
            .map(|(extra, own)| Dependency {
                activation: Activation::Extras(vec![extra]),
                ..own
            }),
    );
    Ok(all)
}

/// An optional dependency is called in by what its marker says of extras or, in old locks, by the extras that
/// list it.
fn activate(dependency: &mut Dependency, extras: &[(ExtraName, Dependency)]) {
    if dependency.activation == Activation::Always {
        return;
    }
    let by_marker = dependency.marker.clone().simplify_extras_with(|_| true) != dependency.marker;
    dependency.activation = if by_marker {
        Activation::Always
    } else {
        let listing = extras
            .iter()
            .filter(|(_, listed)| listed.name == dependency.name);
        Activation::Extras(listing.map(|(extra, _)| extra.clone()).collect())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn lock(body: &str) -> Result<Lock, String> {
        parse(&format!(
            "{body}\n[metadata]\nlock-version = \"2.0\"\npython-versions = \"^3.9\"\ncontent-hash = \"x\"\n"
        ))
    }

    #[test]
    fn files_of_old_locks_stand_under_metadata() {
        let lock = parse(&format!(
            "[[package]]\nname = \"A.b\"\nversion = \"1\"\npython-versions = \"*\"\n\
             [metadata]\nlock-version = \"1.1\"\npython-versions = \"*\"\ncontent-hash = \"x\"\n\
             [metadata.files]\n\"A.b\" = [{{file = \"A.b-1.tar.gz\", hash = \"{HASH}\"}}]\n"
        ))
        .unwrap();
        let package = &lock.packages[0];
        assert_eq!(package.name.to_string(), "a-b");
        assert_eq!(package.sdist.as_ref().unwrap().name, "A.b-1.tar.gz");
    }

    #[test]
    fn files_are_wheels_sdists_or_unusable() {
        let lock = lock(&format!(
            "[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = [\
             {{file = \"a-1-py3-none-any.whl\", hash = \"{HASH}\"}}, {{file = \"a-1.zip\", hash = \"{HASH}\"}},\
             {{file = \"a-1.tar.gz\", hash = \"{HASH}\"}}, {{file = \"a-1-py3.9.egg\", hash = \"{HASH}\"}},\
             {{file = \"a-1-py2-none-any.whl\"}}]\n"
        ))
        .unwrap();
        let package = &lock.packages[0];
        assert_eq!(package.wheels.len(), 1);
        assert_eq!(package.sdist.as_ref().unwrap().name, "a-1.tar.gz");
        assert_eq!(package.unusable, ["a-1-py3.9.egg", "a-1-py2-none-any.whl"]);
    }

    #[test]
    fn optional_dependencies_are_called_in_by_marker_or_by_listing() {
        let lock = lock(
            "[[package]]\nname = \"a\"\nversion = \"1\"\n[package.dependencies]\n\
             b = {version = \"*\", optional = true}\n\
             c = {version = \"*\", optional = true, markers = \"extra == 'y'\"}\n\
             [package.extras]\nx = [\"B (>=1)\"]\nall = [\"a[x,y]\"]\n",
        )
        .unwrap();
        let dependencies = &lock.packages[0].dependencies;
        let extra = |name: &str| name.parse::<ExtraName>().unwrap();
        assert_eq!(
            dependencies[0].activation,
            Activation::Extras(vec![extra("x")])
        );
        assert_eq!(dependencies[1].activation, Activation::Always);
        assert_eq!(
            dependencies[2].activation,
            Activation::Extras(vec![extra("all")])
        );
        assert_eq!(dependencies[2].extras, [extra("x"), extra("y")]);
    }

    #[test]
    fn markers_of_the_main_group_count_and_of_all_for_development() {
        for (line, holds, for_development) in [
            ("markers = \"sys_platform == 'win32'\"", false, false),
            (
                "groups = [\"main\", \"dev\"]\n\
                 markers = {main = \"sys_platform == 'linux'\", dev = \"sys_platform == 'win32'\"}",
                true,
                true,
            ),
            (
                "groups = [\"main\", \"dev\"]\n\
                 markers = {main = \"sys_platform == 'win32'\", dev = \"sys_platform == 'linux'\"}",
                false,
                true,
            ),
            (
                "groups = [\"main\", \"dev\"]\nmarkers = {main = \"sys_platform == 'win32'\"}",
                false,
                true,
            ),
            ("", true, true),
        ] {
            let lock = lock(&format!(
                "[[package]]\nname = \"a\"\nversion = \"1\"\n{line}\n"
            ))
            .unwrap();
            let target = crate::model::target::Target {
                platform: crate::model::platform::Platform::LinuxArm64,
                python: "3.11.2".parse().unwrap(),
                libc: crate::model::target::Libc::Glibc(2, 36),
            };
            let here = target.markers().unwrap();
            let package = &lock.packages[0];
            let evaluated =
                [&package.marker, &package.development_marker].map(|m| m.evaluate(&here, &[]));
            assert_eq!(evaluated, [holds, for_development], "{line}");
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (text, part) in [
            ("[[package", "line 1"),
            (
                "[[package]]\nname = \"a\"\nversion = \"new\"\n",
                "package a new: version: ",
            ),
            ("[[package]]\nname = \"a\"\n", "missing field `version`"),
            (
                "[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = [{file = \"a-1.tar.gz\", hash = \"md5:0\"}]\n",
                "package a 1: files: a-1.tar.gz: `md5:0` is no sha256",
            ),
            (
                "[[package]]\nname = \"a\"\nversion = \"1\"\n[package.dependencies]\nb = \"new\"\n",
                "package a 1: dependencies: b: `new` is no version constraint",
            ),
        ] {
            let error = lock(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let future =
            "[metadata]\nlock-version = \"3.0\"\npython-versions = \"*\"\ncontent-hash = \"x\"\n";
        assert!(
            parse(future)
                .unwrap_err()
                .contains("lock-version 3.0 is not known")
        );
    }
}
