//! What an sdist asks for to become a wheel, and the pinned build backends that it may get.

use std::{collections::BTreeMap, str::FromStr};

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, PackageName, Requirement, VerbatimUrl, VersionOrUrl};
use serde::Deserialize;

use super::{hash::Hash, locked_file::LockedFile};

/// `[build-system]` of a pyproject.toml (PEP 517 and 518).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildSystem {
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default = "legacy")]
    pub build_backend: String,
    #[serde(default)]
    pub backend_path: Vec<String>,
}

fn legacy() -> String {
    "setuptools.build_meta:__legacy__".to_owned()
}

impl BuildSystem {
    /// Reads a pyproject.toml; without one, or without the table, setuptools is meant (PEP 517).
    pub fn read(pyproject: Option<&str>) -> Result<BuildSystem, String> {
        let document: toml::Table = toml::from_str(pyproject.unwrap_or_default())
            .map_err(|error| format!("build-system: {}", error.message()))?;
        BuildSystem::of(&document)
    }

    /// The same of a pyproject.toml that is read already.
    pub fn of(document: &toml::Table) -> Result<BuildSystem, String> {
        match document.get("build-system") {
            Some(table) => (table.clone().try_into())
                .map_err(|error: toml::de::Error| format!("build-system: {}", error.message())),
            None => Ok(BuildSystem {
                requires: vec!["setuptools".to_owned(), "wheel".to_owned()],
                build_backend: legacy(),
                backend_path: Vec::new(),
            }),
        }
    }
}

/// One line of a requirements file with hashes.
#[derive(Debug, Clone, PartialEq)]
pub struct Pin {
    pub name: PackageName,
    pub version: Version,
    pub hashes: Vec<Hash>,
}

impl Pin {
    /// Reads `name==version --hash=... --hash=...` entries, continued over lines as uv and pip write them.
    pub fn read(text: &str) -> Result<Vec<Pin>, String> {
        let joined = text.replace("\\\n", " ");
        let lines = joined
            .lines()
            .map(|line| line.split(" #").next().unwrap_or_default().trim());
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(Pin::line)
            .collect()
    }

    fn line(line: &str) -> Result<Pin, String> {
        let wrong = || format!("`{line}`: expected NAME==VERSION --hash=ALGORITHM:DIGITS");
        let mut words = line.split_whitespace();
        let (name, version) = words
            .next()
            .and_then(|word| word.split_once("=="))
            .ok_or_else(wrong)?;
        let hashes: Vec<Hash> = words
            .map(|word| word.strip_prefix("--hash=").ok_or_else(wrong)?.parse())
            .collect::<Result<_, String>>()?;
        if hashes.is_empty() {
            return Err(wrong());
        }
        Ok(Pin {
            name: PackageName::from_str(name).map_err(|_| wrong())?,
            version: version.parse().map_err(|_| wrong())?,
            hashes,
        })
    }

    /// The file to fetch: whichever has one of the hashes, the wheel first.
    pub fn file(&self) -> LockedFile {
        LockedFile {
            package: self.name.to_string(),
            version: self.version.to_string(),
            name: String::new(),
            hashes: self.hashes.clone(),
        }
    }
}

/// The newest pin of each package that what the sdist requires and what configuration asks for leave; an error when
/// they leave none of a package that the sdist requires.
pub fn choose(
    requires: &[String],
    constraints: &[String],
    pins: &[Pin],
    markers: &MarkerEnvironment,
) -> Result<Vec<Pin>, String> {
    let read = |text: &String| {
        text.parse::<Requirement<VerbatimUrl>>()
            .map_err(|error| format!("`{text}`: {}", error.message))
    };
    let required = requires.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let constraints = constraints
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?;
    let applies =
        |requirement: &&Requirement<VerbatimUrl>| requirement.marker.evaluate(markers, &[]);
    let holds = |pin: &&Pin| {
        let all = required.iter().filter(applies).chain(&constraints);
        all.filter(|requirement| requirement.name == pin.name)
            .all(|requirement| match &requirement.version_or_url {
                Some(VersionOrUrl::VersionSpecifier(specifiers)) => {
                    specifiers.contains(&pin.version)
                }
                Some(VersionOrUrl::Url(_)) => false,
                None => true,
            })
    };
    let mut chosen: BTreeMap<&PackageName, &Pin> = BTreeMap::new();
    for pin in pins.iter().filter(holds) {
        let best = chosen.entry(&pin.name).or_insert(pin);
        if pin.version > best.version {
            *best = pin;
        }
    }
    for requirement in required.iter().filter(applies) {
        if !chosen.contains_key(&requirement.name) {
            let has: Vec<String> = pins
                .iter()
                .filter(|pin| pin.name == requirement.name)
                .map(|pin| pin.version.to_string())
                .collect();
            let has = if has.is_empty() {
                "none".to_owned()
            } else {
                has.join(", ")
            };
            return Err(format!(
                "requires {requirement} to be built; pinned versions of that: {has}"
            ));
        }
    }
    Ok(chosen.into_values().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        platform::Platform,
        target::{Libc, Target},
    };

    fn markers() -> MarkerEnvironment {
        let target = Target {
            platform: Platform::LinuxAmd64,
            python: "3.11.2".parse().unwrap(),
            libc: Libc::Glibc(2, 36),
        };
        target.markers().unwrap()
    }

    fn pins() -> Vec<Pin> {
        let hash = format!("--hash=sha256:{}", "0a".repeat(32));
        Pin::read(&format!(
            "# backends\ncython==3.2.0 \\\n    {hash} \\\n    {hash}\ncython==0.29.37 {hash}\nsetuptools==80.9.0 {hash}  # via x\nwheel==0.45.1 {hash}\n"
        ))
        .unwrap()
    }

    #[test]
    fn the_build_system_is_read_or_setuptools() {
        for (text, backend, requires) in [
            (
                None,
                "setuptools.build_meta:__legacy__",
                &["setuptools", "wheel"][..],
            ),
            (
                Some("[tool.x]\n"),
                "setuptools.build_meta:__legacy__",
                &["setuptools", "wheel"],
            ),
            (
                Some("[build-system]\nrequires = ['setuptools', 'Cython']\n"),
                "setuptools.build_meta:__legacy__",
                &["setuptools", "Cython"],
            ),
            (
                Some(
                    "[build-system]\nrequires = ['poetry-core>=1.0.0']\nbuild-backend = 'poetry.core.masonry.api'\n",
                ),
                "poetry.core.masonry.api",
                &["poetry-core>=1.0.0"],
            ),
        ] {
            let read = BuildSystem::read(text).unwrap();
            assert_eq!(read.build_backend, backend);
            assert_eq!(read.requires, requires);
        }
        assert!(BuildSystem::read(Some("[build-system")).is_err());
    }

    #[test]
    fn the_newest_pin_that_is_allowed_is_taken() {
        for (requires, constraints, expected) in [
            (&["Cython"][..], &[][..], Ok("cython 3.2.0")),
            (&["Cython"], &["cython<3"], Ok("cython 0.29.37")),
            (&["cython<1"], &[], Ok("cython 0.29.37")),
            (&["cython<1; python_version<'3.9'"], &[], Ok("cython 3.2.0")),
            (
                &["cython<0.20"],
                &[],
                Err("requires cython<0.20 to be built; pinned versions of that: 3.2.0, 0.29.37"),
            ),
            (
                &["numpy"],
                &[],
                Err("requires numpy to be built; pinned versions of that: none"),
            ),
            (&["numpy; python_version<'3.9'"], &[], Ok("cython 3.2.0")),
        ] {
            let [requires, constraints] = [requires, constraints]
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
            let chosen = choose(&requires, &constraints, &pins(), &markers());
            let cython = chosen.map(|chosen| {
                assert_eq!(chosen.len(), 3, "one pin a package");
                format!("{} {}", chosen[0].name, chosen[0].version)
            });
            assert_eq!(
                cython.as_deref().map_err(String::as_str),
                expected,
                "{requires:?} {constraints:?}"
            );
        }
    }

    #[test]
    fn lines_without_pin_or_hash_are_refused() {
        for text in [
            "cython",
            "cython==1",
            "cython>=1 --hash=sha256:00",
            "cython==1 --hash=md5:00",
            "-r other.txt",
        ] {
            assert!(Pin::read(text).is_err(), "{text}");
        }
    }
}
