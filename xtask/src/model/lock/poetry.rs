//! poetry.lock, lock-version 1.x and 2.x.

use std::collections::BTreeMap;

use pep508_rs::{ExtraName, MarkerTree, PackageName, pep440_rs::Version};
use serde::Deserialize;

use super::{
    Duplicates, Lock, Origin, Package, PoetryOrigin, Source, package_name, sdist_stem, syntax,
};
use crate::model::{
    constraint::Constraint,
    dependency::{Activation, Dependency, marker},
    wheel::WheelName,
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

/// For [`Lock::parse_poetry`]. Fails for other lock-versions, and names the first package that can't be read.
pub fn parse(text: &str) -> Result<Lock, String> {
    let document: Document = toml::from_str(text).map_err(|error| syntax(&error))?;
    let Metadata {
        lock_version,
        python_versions,
        content_hash,
        files,
    } = document.metadata;
    if !lock_version.starts_with("1.") && !lock_version.starts_with("2.") {
        return Err(format!(
            "lock-version {lock_version} is not known (known: 1.x, 2.x)"
        ));
    }
    let entries = &document.package;
    let packages = entries.iter().map(|entry| {
        let old_files = files.get(&entry.name).map_or(&[][..], Vec::as_slice);
        let mut versions = entries.iter().filter(|other| other.name == entry.name);
        let is_only = versions.nth(1).is_none();
        package(entry, old_files, is_only)
            .map_err(|error| format!("package {} {}: {error}", entry.name, entry.version))
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

/// `old_files` are those of all versions of the package, unless this one `is_only`.
fn package(entry: &Entry, old_files: &[FileEntry], is_only: bool) -> Result<Package, String> {
    let name = package_name(&entry.name)?;
    let version = entry
        .version
        .parse()
        .map_err(|error| format!("version: {error}"))?;
    let (marker, development_marker) = markers(entry)?;
    let mut package = Package {
        python: Constraint::parse(&entry.python)?,
        marker,
        development_marker,
        dependencies: dependencies(&name, entry)?,
        source: source(entry.source.as_ref()),
        name,
        version,
        wheels: Vec::new(),
        sdist: None,
        unusable: Vec::new(),
    };
    let mut files: Vec<&FileEntry> = old_files.iter().collect();
    files.retain(|file| is_only || is_of(&file.file, &package.name, &package.version));
    for file in entry.files.iter().chain(files) {
        package.add_file(&file.file, file.hash.as_deref());
    }
    Ok(package)
}

/// Whether a wheel or sdist is one of this version, as its name says.
fn is_of(file: &str, package: &PackageName, version: &Version) -> bool {
    let is_version = |text: &str| text.parse().is_ok_and(|of: Version| of == *version);
    if let Ok(wheel) = file.parse::<WheelName>() {
        return is_version(&wheel.version);
    }
    // Either part of an sdist's name may hold a `-`.
    sdist_stem(file).is_some_and(|stem| {
        stem.match_indices('-').any(|(end, _)| {
            let name = stem[..end].parse::<PackageName>();
            name.is_ok_and(|name| name == *package) && is_version(&stem[end + 1..])
        })
    })
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
        // Nobody can ask for one of another name.
        let Ok(extra) = extra.parse::<ExtraName>() else {
            continue;
        };
        let requirements = requirements.iter().filter_map(|text| listed(text));
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

/// What an extra lists; of what is no PEP 508 the name counts. What has none can't name a locked package.
fn listed(text: &str) -> Option<Dependency> {
    let read = Dependency::from_pep508(text).or_else(|_| {
        let end = text.find([' ', '(', '<', '>', '=', '!', '~', ';']);
        Dependency::from_pep508(&text[..end.unwrap_or(text.len())])
    });
    read.ok()
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
    fn of_two_versions_in_an_old_lock_each_has_its_own_files() {
        let entry = |version: &str| {
            format!(
                "[[package]]\nname = \"A.b\"\nversion = \"{version}\"\npython-versions = \"*\"\n"
            )
        };
        let file = |name: &str| format!("{{file = \"{name}\", hash = \"{HASH}\"}}");
        let files = [
            "A.b-1.0.zip",
            "A_b-1-py3-none-any.whl",
            "a-b-1.0-1.tar.gz",
            "A.b-1.0.post1-py3-none-any.whl",
            "A.b-1.0.egg",
        ];
        let lock = parse(&format!(
            "{}{}[metadata]\nlock-version = \"1.1\"\npython-versions = \"*\"\ncontent-hash = \"x\"\n\
             [metadata.files]\n\"A.b\" = [{}]\n",
            entry("1.0"),
            entry("1.0.post1"),
            files.map(file).join(", "),
        ))
        .unwrap();
        let found = lock.packages.iter().map(|package| {
            let wheels: Vec<&str> = package
                .wheels
                .iter()
                .map(|w| w.file.name.as_str())
                .collect();
            (package.sdist.as_ref().unwrap().name.as_str(), wheels)
        });
        assert_eq!(
            found.collect::<Vec<_>>(),
            [(files[0], vec![files[1]]), (files[2], vec![files[3]])]
        );
    }

    #[test]
    fn files_are_wheels_sdists_or_unusable() {
        let lock = lock(&format!(
            "[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = [\
             {{file = \"a-1-py3-none-any.whl\", hash = \"{HASH}\"}}, {{file = \"a-1.zip\", hash = \"{HASH}\"}},\
             {{file = \"a-1.tar.gz\", hash = \"{HASH}\"}}, {{file = \"a-1-py3.9.egg\", hash = \"{HASH}\"}},\
             {{file = \"a-1-py2-none-any.whl\"}}, {{file = \"a-1-py3.whl\", hash = \"{HASH}\"}},\
             {{file = \"a-1-cp311-none-any.whl\", hash = \"md5:0\"}}]\n"
        ))
        .unwrap();
        let package = &lock.packages[0];
        assert_eq!(package.wheels.len(), 1);
        assert_eq!(package.sdist.as_ref().unwrap().name, "a-1.tar.gz");
        assert_eq!(
            package.unusable,
            [
                "a-1-py3.9.egg",
                "a-1-py2-none-any.whl",
                "a-1-py3.whl",
                "a-1-cp311-none-any.whl"
            ]
        );
    }

    #[test]
    fn optional_dependencies_are_called_in_by_marker_or_by_listing() {
        let lock = lock(
            "[[package]]\nname = \"a\"\nversion = \"1\"\n[package.dependencies]\n\
             b = {version = \"*\", optional = true}\n\
             c = {version = \"*\", optional = true, markers = \"extra == 'y'\"}\n\
             d = {version = \"*\", optional = true}\n\
             [package.extras]\nx = [\"B (>=1)\", \"D (>=new)\"]\nall = [\"a[x,y]\"]\n\"no name\" = [\"b\"]\n",
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
            Activation::Extras(vec![extra("x")])
        );
        assert_eq!(
            dependencies[3].activation,
            Activation::Extras(vec![extra("all")])
        );
        assert_eq!(dependencies[3].extras, [extra("x"), extra("y")]);
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
