//! What a connector is: its name, its language and what its directory and metadata say.

use std::{fmt, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{metadata::Metadata, text::as_text};

/// The name of a connector's directory: lower-case words joined by `-`, such as `source-faker`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectorName(String);

impl ConnectorName {
    /// The directory's own name, as paths, flags and outputs have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a Python package: `source_faker`.
    pub fn snake(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl FromStr for ConnectorName {
    type Err = String;

    fn from_str(text: &str) -> Result<ConnectorName, String> {
        let word = |w: &str| {
            !w.is_empty()
                && w.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if text.len() <= 128 && text.split('-').all(word) {
            Ok(ConnectorName(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not a connector name (lower-case words joined by -, such as source-faker)"
            ))
        }
    }
}

impl fmt::Display for ConnectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

as_text!(ConnectorName);

/// What a connector is written in, which decides how its image is made.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    Python,
    ManifestOnly,
    Java,
}

impl Language {
    /// The language that a directory's files tell, by `has`, which is asked for no more than that takes.
    pub fn of_files(has: impl Fn(&str) -> bool) -> Option<Language> {
        const TELLING: [(Language, &[&str]); 3] = [
            (Language::ManifestOnly, &["manifest.yaml"]),
            (Language::Python, &["pyproject.toml", "setup.py"]),
            (
                Language::Java,
                &[
                    "build.gradle",
                    "build.gradle.kts",
                    "src/main/java",
                    "src/main/kotlin",
                ],
            ),
        ];
        let tells = |(_, files): &&(Language, &[&str])| files.iter().any(|file| has(file));
        TELLING.iter().find(tells).map(|(language, _)| *language)
    }

    /// The language that the first `language:` tag names: ten archived Python connectors of Airbyte's have no build
    /// files left.
    pub fn of_tags(tags: &[String]) -> Option<Language> {
        tags.iter()
            .find_map(|tag| match tag.strip_prefix("language:")? {
                "manifest-only" => Some(Language::ManifestOnly),
                "python" | "low-code" => Some(Language::Python),
                "java" => Some(Language::Java),
                _ => None,
            })
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Language::Python => "python",
            Language::ManifestOnly => "manifest-only",
            Language::Java => "java",
        })
    }
}

/// Where a Python connector's dependencies are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DependencySource {
    #[serde(rename = "uv.lock")]
    UvLock,
    #[serde(rename = "poetry.lock")]
    PoetryLock,
    /// No lock file: whatever the index has on the day, so a build can't be repeated.
    #[serde(rename = "none")]
    Unlocked,
}

impl fmt::Display for DependencySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DependencySource::UvLock => "uv.lock",
            DependencySource::PoetryLock => "poetry.lock",
            DependencySource::Unlocked => "none",
        })
    }
}

/// A connector whose metadata could be read.
#[derive(Debug, Clone)]
pub struct Connector {
    pub name: ConnectorName,
    /// Relative to the repository root.
    pub directory: Utf8PathBuf,
    /// None when neither files nor tags tell it.
    pub language: Option<Language>,
    pub metadata: Metadata,
}

/// A directory with a metadata.yaml that can't be used, and why.
#[derive(Debug, Clone)]
pub struct BrokenConnector {
    pub name: String,
    /// Relative to the repository root.
    pub directory: Utf8PathBuf,
    /// Every reason, each with its place.
    pub reasons: Vec<String>,
}

impl BrokenConnector {
    /// Why nothing is known of it.
    pub fn why(&self) -> String {
        format!("its metadata can't be used\n{}", self.reasons.join("\n"))
    }
}

/// What the user typed for a connector: a name, a glob over names, or a path into its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Name(String),
    Glob(glob::Pattern),
}

impl Selector {
    /// Reads what was typed. A path (`.`, `airbyte-integrations/connectors/x/`) names the connector whose
    /// directory holds it: `inside` answers that for a path, None where it lies in no connector.
    pub fn parse(
        text: &str,
        inside: impl Fn(&Utf8Path) -> Option<String>,
    ) -> Result<Selector, String> {
        if text.contains(['*', '?', '[']) {
            return glob::Pattern::new(text)
                .map(Selector::Glob)
                .map_err(|error| format!("`{text}` is not a valid glob: {error}"));
        }
        if text.contains('/') || text == "." || text == ".." {
            return inside(Utf8Path::new(text))
                .map(Selector::Name)
                .ok_or_else(|| format!("`{text}` does not lie in a connector's directory"));
        }
        Ok(Selector::Name(text.to_owned()))
    }

    /// Whether a connector's name is meant, a broken one's too: a glob has to cover all of it.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Selector::Name(wanted) => wanted == name,
            Selector::Glob(pattern) => pattern.matches(name),
        }
    }
}

/// The names most like `wanted`, best first, at most three; none when nothing is near.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let likeness = |name: &str| {
        // Whoever leaves out `source-` means the rest.
        let bare = name.split_once('-').map_or(name, |(_, rest)| rest);
        let likeness = strsim::normalized_damerau_levenshtein(wanted, name);
        likeness.max(strsim::normalized_damerau_levenshtein(wanted, bare))
    };
    let mut scored: Vec<(f64, &str)> = names
        .map(|name| (likeness(name), name))
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_directory_and_a_shell_can_hold() {
        for good in [
            "source-faker",
            "destination-s3",
            "source-google-analytics-v4-service-account-only",
        ] {
            assert!(good.parse::<ConnectorName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "Source-Faker",
            "source faker",
            "source-",
            "-source",
            "a--b",
            "$(id)",
            "a/b",
            "quellé",
        ] {
            assert!(bad.parse::<ConnectorName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn files_tell_the_language_and_tags_where_there_are_none() {
        for (files, expected) in [
            (
                &["setup.py", "manifest.yaml"][..],
                Some(Language::ManifestOnly),
            ),
            (&["build.gradle", "setup.py"], Some(Language::Python)),
            (&["pyproject.toml"], Some(Language::Python)),
            (&["src/main/kotlin"], Some(Language::Java)),
            (&["README.md"], None),
        ] {
            assert_eq!(
                Language::of_files(|file| files.contains(&file)),
                expected,
                "{files:?}"
            );
        }
        for (tag, expected) in [
            ("language:low-code", Some(Language::Python)),
            ("language:java", Some(Language::Java)),
            ("language:unknown", None),
        ] {
            let tags = ["cdk:python".to_owned(), tag.to_owned()];
            assert_eq!(Language::of_tags(&tags), expected, "{tag}");
        }
    }

    #[test]
    fn selectors_are_names_globs_or_paths() {
        let inside = |path: &Utf8Path| {
            path.as_str()
                .contains("connectors/x")
                .then(|| "x".to_owned())
        };
        let name = |text: &str| Selector::parse(text, inside);
        assert_eq!(
            name("source-faker"),
            Ok(Selector::Name("source-faker".into()))
        );
        assert_eq!(
            name("airbyte-integrations/connectors/x/"),
            Ok(Selector::Name("x".into()))
        );
        assert!(name("elsewhere/x").is_err());
        assert!(name("source-[").is_err());
        assert!(name("source-*").unwrap().matches("source-faker"));
    }

    #[test]
    fn a_typing_error_finds_its_connector() {
        let names = [
            "source-faker",
            "source-postgres",
            "destination-postgres",
            "source-pokeapi",
        ];
        for (wanted, first) in [
            ("source-fakr", Some("source-faker")),
            ("faker", Some("source-faker")),
            ("postgre", Some("destination-postgres")),
            ("zzz", None),
            ("pokeapi", Some("source-pokeapi")),
        ] {
            assert_eq!(
                nearest(wanted, names.into_iter()).first().copied(),
                first,
                "{wanted}"
            );
        }
    }
}
