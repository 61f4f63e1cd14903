//! What a connector consists of: every file read once, so that checks are pure functions.

use std::{borrow::Cow, collections::BTreeMap, str};

use camino::{Utf8Path, Utf8PathBuf};

use super::yaml::{Document, Flaw, Place};

/// A file as checks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// No UTF-8, and yet not binary.
    Opaque(Vec<u8>),
    /// It is there and can't be read, is no file, is binary, or is too long: why.
    Unreadable(String),
}

impl Content {
    /// The text, or from where on and why it is none.
    pub fn text(&self) -> Result<&str, Flaw> {
        match self {
            Content::Text(text) => Ok(text),
            Content::Opaque(bytes) => str::from_utf8(bytes).map_err(|error| {
                let valid = error.valid_up_to();
                let text = String::from_utf8_lossy(&bytes[..valid]);
                Flaw::new(Place::of(&text, valid), "it is no UTF-8 text from here on")
            }),
            Content::Unreadable(error) => Err(Flaw::new(Place::START, error)),
        }
    }

    /// What can be read of it, whatever is no UTF-8 exchanged; None where nothing can.
    pub fn lossy(&self) -> Option<Cow<'_, str>> {
        match self {
            Content::Text(text) => Some(text.into()),
            Content::Opaque(bytes) => Some(String::from_utf8_lossy(bytes)),
            Content::Unreadable(_) => None,
        }
    }
}

/// The files of one connector and its pages in the documentation.
#[derive(Debug, Clone)]
pub struct ConnectorFiles {
    /// Name of the directory.
    pub name: String,
    /// Relative to the repository root.
    pub directory: Utf8PathBuf,
    /// metadata.yaml, read.
    pub metadata: Result<Document, Flaw>,
    /// By path below the directory, without those of [`UNREAD`] directories.
    pub files: BTreeMap<Utf8PathBuf, Content>,
    /// Pages by path below the repository root; a page that is not there has no entry, a directory is no page.
    pub pages: BTreeMap<Utf8PathBuf, String>,
}

/// Directories whose files are looked at by no check: what tools and builds make (of Airbyte's list for its HTTPS
/// check), and what git ignores in its repository.
pub const UNREAD: [&str; 16] = [
    ".git",
    ".gradle",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".venv",
    "__pycache__",
    "acceptance_tests_logs",
    "build",
    "dist",
    "htmlcov",
    "node_modules",
    "secrets",
    "venv",
];

/// Directories of tests at any depth, the rest of that list: what stands in them ships with no image.
const TESTS: [&str; 4] = [
    "integration_tests",
    "test-integration",
    "tests",
    "unit_tests",
];

/// Gradle's source sets of tests, from the connector's directory.
pub const TEST_SOURCES: [&str; 5] = [
    "src/test",
    "src/test-integration",
    "src/test-integration-legacy",
    "src/test-performance",
    "src/testFixtures",
];

impl ConnectorFiles {
    /// What is left without the files' texts.
    pub fn metadata_alone(self) -> ConnectorFiles {
        ConnectorFiles {
            files: BTreeMap::new(),
            pages: BTreeMap::new(),
            ..self
        }
    }

    /// Whether this path, from the connector's directory, was found; a file that can't be read was found too.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(Utf8Path::new(path))
    }

    /// Whether any file lies below `directory`.
    pub fn has_below(&self, directory: &str) -> bool {
        self.files.keys().any(|path| path.starts_with(directory))
    }

    /// The text of a file that is there and is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(Utf8Path::new(path))?.text().ok()
    }

    /// Every file that is text and not of tests, by path.
    pub fn texts(&self) -> impl Iterator<Item = (&Utf8Path, &str)> {
        let shipped = self.files.iter().filter(|(path, _)| !is_of_tests(path));
        shipped.filter_map(|(path, content)| Some((path.as_path(), content.text().ok()?)))
    }

    /// The connector's name as a Python package: `source_faker`.
    pub fn snake(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// Whether a file of a connector is one of its tests.
pub fn is_of_tests(path: &Utf8Path) -> bool {
    path.components().any(|part| TESTS.contains(&part.as_str()))
        || TEST_SOURCES.iter().any(|tests| path.starts_with(tests))
}

/// What follows the host in an address of the documentation that lies in the repository; None on another host.
fn after_host(url: &str) -> Option<&str> {
    const HOST: &str = "https://docs.airbyte.com";
    let (host, rest) = url.split_at_checked(HOST.len())?;
    let ends = rest.is_empty() || rest.starts_with(['/', '?', '#', ':']);
    (ends && host.eq_ignore_ascii_case(HOST)).then_some(rest)
}

/// Whether an address is one of the documentation that lies in the repository, whether or not it names a page.
pub fn is_documentation(url: &str) -> bool {
    after_host(url).is_some()
}

/// Where the page at an address of the documentation lies in the repository; None on another host, and where the path
/// is none of a page. A `-strict-encrypt` variant has its parent's address, and so its page.
pub fn page_path(url: &str) -> Option<Utf8PathBuf> {
    let path = after_host(url)?.strip_prefix('/')?;
    let path = path.split(['#', '?']).next()?.trim_end_matches('/');
    let outside = path.split('/').any(|part| matches!(part, "" | "." | ".."));
    (!outside).then(|| format!("docs/{path}.md").into())
}

/// Where a connector's migration guide lies; a `-strict-encrypt` variant has its parent's.
pub fn guide_path(name: &str) -> Option<Utf8PathBuf> {
    let (kind, rest) = name.split_once('-')?;
    let rest = rest.trim_end_matches("-strict-encrypt");
    matches!(kind, "source" | "destination")
        .then(|| format!("docs/integrations/{kind}s/{rest}-migrations.md").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_guides_lie_below_docs() {
        for (url, page) in [
            (
                "https://docs.airbyte.com/integrations/sources/x/#top",
                Some("docs/integrations/sources/x.md"),
            ),
            ("https://docs.airbyte.com/x?a=b", Some("docs/x.md")),
            ("https://Docs.Airbyte.com/x", Some("docs/x.md")),
            ("https://docs.airbyte.com", None),
            ("https://docs.airbyte.com/", None),
            ("https://docs.airbyte.com//x", None),
            ("https://docs.airbyte.com/a/../../x", None),
        ] {
            assert_eq!(page_path(url).as_deref(), page.map(Utf8Path::new), "{url}");
            assert!(is_documentation(url), "{url}");
        }
        for url in [
            "https://example.com/x",
            "https://docs.airbyte.com.example.com/x",
            "é",
        ] {
            assert!(page_path(url).is_none() && !is_documentation(url), "{url}");
        }
        for (name, guide) in [
            (
                "source-x",
                Some("docs/integrations/sources/x-migrations.md"),
            ),
            (
                "destination-x-strict-encrypt",
                Some("docs/integrations/destinations/x-migrations.md"),
            ),
            ("x", None),
        ] {
            assert_eq!(
                guide_path(name).as_deref(),
                guide.map(Utf8Path::new),
                "{name}"
            );
        }
    }

    #[test]
    fn tests_lie_in_directories_of_their_own() {
        for (path, expected) in [
            ("src/test/resources/key.json", true),
            ("a/unit_tests/test_x.py", true),
            ("src/testing/X.kt", false),
            ("src/main/java/src/test/X.java", false),
        ] {
            assert_eq!(is_of_tests(Utf8Path::new(path)), expected, "{path}");
        }
    }
}
