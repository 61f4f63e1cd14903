//! Which connectors a change touches, and why.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use camino::{Utf8Path, Utf8PathBuf};
use glob::{MatchOptions, Pattern};
use serde::Serialize;

use crate::model::{
    change::{Change, ChangeKind, RepoPath},
    config::Config,
    connector::{ConnectorName, Language},
    connector_files::guide_path,
    problem::Problem,
};

/// A connector that is there now, with as much of it as a selection looks at.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The directory's name, which need not be a connector's.
    pub name: String,
    /// From the repository's top.
    pub directory: Utf8PathBuf,
    pub language: Option<Language>,
    /// Directories that its build takes code from, from the repository's top, also through others that are no
    /// connectors. A change anywhere below one touches it.
    pub depends_on: Vec<Utf8PathBuf>,
    /// Its documentation page, from the repository's top, where that is asked for.
    pub page: Option<Utf8PathBuf>,
}

/// Whether a change of a documentation page touches its connector: it does for what reads pages (check), not for
/// what builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    Count,
    Ignore,
}

/// One reason for which a connector is selected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// A file of its own.
    File { path: RepoPath, change: ChangeKind },
    /// A shared file that the configuration's `fan-out` hands on to its language.
    Shared { path: RepoPath, pattern: String },
    /// A directory that its build takes code from.
    Dependency { on: Utf8PathBuf },
    /// The connector that it is the strict-encrypt variant of.
    Variant { of: String },
    /// Its documentation page or migration guide.
    Page { path: RepoPath },
}

impl Reason {
    /// Whether what the connector is made of changed, as opposed to how it is built or described: only that
    /// reaches those that take code from it.
    fn is_content(&self) -> bool {
        matches!(
            self,
            Reason::File { .. } | Reason::Dependency { .. } | Reason::Variant { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::File { path, change } => write!(f, "{change} {path}"),
            Reason::Shared { path, pattern } => write!(f, "shared file {path} (fan-out {pattern})"),
            Reason::Dependency { on } => write!(f, "takes code from {on}"),
            Reason::Variant { of } => write!(f, "is the strict-encrypt variant of {of}"),
            Reason::Page { path } => write!(f, "documentation page {path}"),
        }
    }
}

/// A connector that a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selected {
    pub name: ConnectorName,
    pub language: Option<Language>,
    /// From the repository's top.
    #[serde(skip)]
    pub directory: Utf8PathBuf,
    pub reasons: BTreeSet<Reason>,
}

/// What a change touches, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub connectors: Vec<Selected>,
    /// Names of connectors that are gone. There is nothing left of them to build.
    pub deleted: BTreeSet<String>,
}

/// The configuration's globs, compiled.
#[derive(Debug)]
pub struct Rules {
    connectors: Pattern,
    fan_out: Vec<(Pattern, Vec<Language>)>,
    ignored: Vec<Pattern>,
}

/// `*` stops at a slash, as in the glob that finds connectors.
const WITHIN_A_DIRECTORY: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

impl Rules {
    /// Compiles `connectors`, `fan-out` and `ignored-files`; what is no glob is a usage error that names the setting.
    pub fn of(config: &Config) -> Result<Rules, Problem> {
        let compile = |key: &str, pattern: &str| {
            Pattern::new(pattern).map_err(|error| {
                Problem::usage(format!("{key}: `{pattern}` is not a valid glob: {error}"))
            })
        };
        let fan_out = config
            .fan_out
            .iter()
            .map(|(pattern, languages)| Ok((compile("fan-out", pattern)?, languages.clone())));
        let ignored = config
            .ignored_files
            .iter()
            .map(|name| compile("ignored-files", name));
        Ok(Rules {
            connectors: compile("connectors", &config.connectors)?,
            fan_out: fan_out.collect::<Result<_, Problem>>()?,
            ignored: ignored.collect::<Result<_, Problem>>()?,
        })
    }

    /// Whether a change to the file touches nothing, by its name: Airbyte's get-modified-connectors leaves out
    /// README.md, poe_tasks.toml and .coveragerc at any depth.
    fn ignores(&self, path: &RepoPath) -> bool {
        let name = String::from_utf8_lossy(path.file_name());
        self.ignored.iter().any(|pattern| pattern.matches(&name))
    }

    /// The fan-out patterns that the path matches.
    fn shared<'a>(&'a self, path: &RepoPath) -> impl Iterator<Item = &'a (Pattern, Vec<Language>)> {
        let path = path.lossy().into_owned();
        self.fan_out
            .iter()
            .filter(move |(pattern, _)| pattern.matches_with(&path, WITHIN_A_DIRECTORY))
    }
}

/// Whether the path may be a documentation page: Airbyte keeps them below docs/integrations/.
pub fn is_page(path: &RepoPath) -> bool {
    path.as_bytes().starts_with(b"docs/") && path.as_bytes().ends_with(b".md")
}

/// The candidates that the changes touch, by their own files, by what they share and by what they take code from.
/// Fails when one that is touched has a name that no connector can have: left out, it would look checked.
pub fn select(
    changes: &[Change],
    candidates: Vec<Candidate>,
    rules: &Rules,
    pages: Pages,
) -> Result<Selection, Problem> {
    let index = Index::of(&candidates);
    let mut touched = Touched::new(&index);
    for change in changes {
        touched.by_shared_file(change, rules);
        if pages == Pages::Count {
            touched.by_page(change);
        }
        if !rules.ignores(&change.path) {
            touched.by_content(change);
        }
    }
    touched.spread();
    let deleted = deleted(changes, &index, rules);
    let reasons = touched.reasons;
    let mut connectors = candidates
        .into_iter()
        .zip(reasons)
        .filter(|(_, reasons)| !reasons.is_empty())
        .map(|(candidate, reasons)| selected(candidate, reasons))
        .collect::<Result<Vec<_>, Problem>>()?;
    connectors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Selection {
        connectors,
        deleted,
    })
}

fn selected(candidate: Candidate, reasons: BTreeSet<Reason>) -> Result<Selected, Problem> {
    let Candidate {
        name,
        directory,
        language,
        ..
    } = candidate;
    let name = name.parse().map_err(|error| {
        Problem::usage(format!("{directory} changed, but {error}"))
            .help("rename the directory, or take its metadata.yaml away if it is no connector")
    })?;
    Ok(Selected {
        name,
        language,
        directory,
        reasons,
    })
}

/// Connectors whose metadata.yaml went away and that are not there any more.
fn deleted(changes: &[Change], index: &Index, rules: &Rules) -> BTreeSet<String> {
    let gone = |change: &Change| {
        let is_metadata =
            change.kind == ChangeKind::Deleted && change.path.file_name() == b"metadata.yaml";
        let directory = change.path.directory().filter(|_| is_metadata)?;
        let directory = Utf8Path::new(std::str::from_utf8(directory).ok()?);
        let was_connector = rules
            .connectors
            .matches_with(directory.as_str(), WITHIN_A_DIRECTORY)
            && !index.at.contains_key(directory.as_str().as_bytes());
        directory
            .file_name()
            .filter(|_| was_connector)
            .map(str::to_owned)
    };
    changes.iter().filter_map(gone).collect()
}

/// Directories of connectors in which something changed that is still there, and which are no candidates: no
/// connectors, or ones that are not checked out.
pub fn unseen(
    changes: &[Change],
    candidates: &[Candidate],
    rules: &Rules,
) -> BTreeSet<Utf8PathBuf> {
    let index = Index::of(candidates);
    let there =
        |change: &&Change| change.kind != ChangeKind::Deleted && !rules.ignores(&change.path);
    let unseen = |directory: &[u8]| {
        let directory = Utf8Path::new(std::str::from_utf8(directory).ok()?);
        let is_connectors = rules
            .connectors
            .matches_with(directory.as_str(), WITHIN_A_DIRECTORY);
        let known = index.at.contains_key(directory.as_str().as_bytes());
        (is_connectors && !known).then(|| directory.to_owned())
    };
    let changed = changes.iter().filter(there);
    changed
        .flat_map(|change| change.path.ancestors().filter_map(unseen))
        .collect()
}

/// Candidates by the directories that touch them; every number is a candidate's place in the list.
struct Index<'a> {
    candidates: &'a [Candidate],
    /// By their own directory.
    at: HashMap<&'a [u8], usize>,
    /// By each directory around their own.
    below: HashMap<&'a [u8], Vec<usize>>,
    /// By each directory that they take code from, with the reason that gives.
    dependents: HashMap<Vec<u8>, Vec<(usize, Reason)>>,
    /// By documentation page and migration guide.
    pages: BTreeMap<Vec<u8>, Vec<usize>>,
}

impl<'a> Index<'a> {
    fn of(candidates: &'a [Candidate]) -> Index<'a> {
        let mut index = Index {
            candidates,
            at: HashMap::new(),
            below: HashMap::new(),
            dependents: HashMap::new(),
            pages: BTreeMap::new(),
        };
        for (number, candidate) in candidates.iter().enumerate() {
            index
                .at
                .insert(candidate.directory.as_str().as_bytes(), number);
            for around in candidate.directory.ancestors().skip(1) {
                index
                    .below
                    .entry(around.as_str().as_bytes())
                    .or_default()
                    .push(number);
            }
            for (directory, reason) in dependencies(candidate) {
                let dependents = index.dependents.entry(directory.into_string().into_bytes());
                dependents.or_default().push((number, reason));
            }
            let pages = [candidate.page.clone(), guide_path(&candidate.name)];
            for page in pages.into_iter().flatten() {
                index
                    .pages
                    .entry(page.into_string().into_bytes())
                    .or_default()
                    .push(number);
            }
        }
        index
    }
}

/// What a candidate takes code from: the directories its build files name and, for `x-strict-encrypt`, `x` beside it
/// (the same connector with unencrypted connections refused).
fn dependencies(candidate: &Candidate) -> Vec<(Utf8PathBuf, Reason)> {
    let named = candidate.depends_on.iter().map(|directory| {
        (
            directory.clone(),
            Reason::Dependency {
                on: directory.clone(),
            },
        )
    });
    let parent = candidate
        .name
        .strip_suffix("-strict-encrypt")
        .map(|parent| {
            (
                candidate.directory.with_file_name(parent),
                Reason::Variant {
                    of: parent.to_owned(),
                },
            )
        });
    named.chain(parent).collect()
}

/// The reasons found so far.
struct Touched<'a> {
    index: &'a Index<'a>,
    reasons: Vec<BTreeSet<Reason>>,
    /// Candidates whose content changed and whose dependents are not yet told.
    spreading: Vec<usize>,
}

impl<'a> Touched<'a> {
    fn new(index: &'a Index<'a>) -> Touched<'a> {
        Touched {
            index,
            reasons: vec![BTreeSet::new(); index.candidates.len()],
            spreading: Vec::new(),
        }
    }

    fn add(&mut self, number: usize, reason: Reason) {
        let reasons = &mut self.reasons[number];
        if reason.is_content() && !reasons.iter().any(Reason::is_content) {
            self.spreading.push(number);
        }
        reasons.insert(reason);
    }

    /// A pattern without languages means every connector.
    fn by_shared_file(&mut self, change: &Change, rules: &Rules) {
        let index = self.index;
        for (pattern, languages) in rules.shared(&change.path) {
            for (number, candidate) in index.candidates.iter().enumerate() {
                let meant = candidate
                    .language
                    .is_some_and(|language| languages.contains(&language));
                if meant || languages.is_empty() {
                    let pattern = pattern.as_str().to_owned();
                    self.add(
                        number,
                        Reason::Shared {
                            path: change.path.clone(),
                            pattern,
                        },
                    );
                }
            }
        }
    }

    fn by_page(&mut self, change: &Change) {
        let index = self.index;
        for number in index
            .pages
            .get(change.path.as_bytes())
            .into_iter()
            .flatten()
        {
            self.add(
                *number,
                Reason::Page {
                    path: change.path.clone(),
                },
            );
        }
    }

    /// A path touches the connectors around it and those that take code from a directory around it. Where it is
    /// itself a directory around connectors (a link or a submodule that took its place, which is not looked into)
    /// it touches every one of them.
    fn by_content(&mut self, change: &Change) {
        let index = self.index;
        let around = change
            .path
            .ancestors()
            .filter_map(|directory| index.at.get(directory));
        let below = index
            .below
            .get(change.path.as_bytes())
            .into_iter()
            .flatten();
        for number in around.chain(below) {
            let Change { path, kind } = change.clone();
            self.add(*number, Reason::File { path, change: kind });
        }
        for directory in change.path.ancestors() {
            self.tell_dependents(directory);
        }
    }

    /// Hands each content change on to those that take code from the connector, and from them on.
    fn spread(&mut self) {
        while let Some(number) = self.spreading.pop() {
            let directory = &self.index.candidates[number].directory;
            self.tell_dependents(directory.as_str().as_bytes());
        }
    }

    fn tell_dependents(&mut self, directory: &[u8]) {
        let index = self.index;
        for (dependent, reason) in index.dependents.get(directory).into_iter().flatten() {
            self.add(*dependent, reason.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "airbyte-integrations/connectors";

    fn candidate(name: &str, language: Language) -> Candidate {
        Candidate {
            name: name.to_owned(),
            directory: format!("{DIRECTORY}/{name}").into(),
            language: Some(language),
            depends_on: Vec::new(),
            page: Some(format!("docs/integrations/sources/{name}.md").into()),
        }
    }

    /// a and b are Python, b takes code from lib/ and c, c is manifest-only, d is Java with a variant, which e uses.
    fn fleet() -> Vec<Candidate> {
        let b = Candidate {
            depends_on: vec!["lib".into(), format!("{DIRECTORY}/c").into()],
            ..candidate("b", Language::Python)
        };
        let e = Candidate {
            depends_on: vec![format!("{DIRECTORY}/d-strict-encrypt").into()],
            ..candidate("e", Language::Java)
        };
        vec![
            e,
            candidate("a", Language::Python),
            b,
            candidate("c", Language::ManifestOnly),
            candidate("d", Language::Java),
            candidate("d-strict-encrypt", Language::Java),
            candidate("source-g", Language::Java),
            Candidate {
                language: None,
                ..candidate("f", Language::Java)
            },
        ]
    }

    fn changes(lines: &[&str]) -> Vec<Change> {
        let change = |line: &&str| {
            let (kind, path) = line.split_once(' ').unwrap();
            let kind = if kind == "D" {
                ChangeKind::Deleted
            } else {
                ChangeKind::Modified
            };
            let path = path.replace("@", DIRECTORY);
            Change {
                path: RepoPath::new(path.as_bytes()).unwrap(),
                kind,
            }
        };
        lines.iter().map(change).collect()
    }

    fn config() -> Config {
        let mut config = Config::default();
        config
            .fan_out
            .insert("everything/**".to_owned(), Vec::new());
        config
    }

    fn told(lines: &[&str], pages: Pages) -> Vec<String> {
        let rules = Rules::of(&config()).unwrap();
        let selection = select(&changes(lines), fleet(), &rules, pages).unwrap();
        let selected = selection.connectors.iter().map(|connector| {
            let reasons: Vec<_> = connector.reasons.iter().map(ToString::to_string).collect();
            format!(
                "{}: {}",
                connector.name,
                reasons.join("; ").replace(DIRECTORY, "@")
            )
        });
        let deleted = selection.deleted.iter().map(|name| format!("-{name}"));
        selected.chain(deleted).collect()
    }

    #[test]
    fn each_change_touches_what_it_should_and_says_why() {
        for (lines, expected) in [
            (&["M @/a/x.py"][..], &["a: modified @/a/x.py"][..]),
            (
                &[
                    "M @/a/README.md",
                    "M @/a/deep/poe_tasks.toml",
                    "M @/a/.coveragerc",
                ],
                &[],
            ),
            (&["M @/a/readme.md"], &["a: modified @/a/readme.md"]),
            (&["M @/ab/x", "M @/README.md", "M @/x", "M other/a/x"], &[]),
            // A link or a submodule in the connector's place, and one around all of them.
            (&["M @/a"], &["a: modified @/a"]),
            (
                &["D @"],
                &[
                    "a: deleted @",
                    "b: deleted @; takes code from @/c",
                    "c: deleted @",
                    "d: deleted @",
                    "d-strict-encrypt: deleted @; is the strict-encrypt variant of d",
                    "e: deleted @; takes code from @/d-strict-encrypt",
                    "f: deleted @",
                    "source-g: deleted @",
                ],
            ),
            // Code taken from elsewhere.
            (&["M lib/deep/x.py"], &["b: takes code from lib"]),
            (&["M lib/README.md", "M library/x"], &[]),
            (
                &["M @/c/manifest.yaml"],
                &["b: takes code from @/c", "c: modified @/c/manifest.yaml"],
            ),
            (
                &["M @/d/x"],
                &[
                    "d: modified @/d/x",
                    "d-strict-encrypt: is the strict-encrypt variant of d",
                    "e: takes code from @/d-strict-encrypt",
                ],
            ),
            (
                &["M @/d-strict-encrypt/x"],
                &[
                    "d-strict-encrypt: modified @/d-strict-encrypt/x",
                    "e: takes code from @/d-strict-encrypt",
                ],
            ),
            // Shared files. What takes code from c is not touched by how c is built.
            (
                &["M docker-images/Dockerfile.manifest-only-connector"],
                &[
                    "c: shared file docker-images/Dockerfile.manifest-only-connector (fan-out docker-images/Dockerfile.manifest-only-connector*)",
                ],
            ),
            (
                &["D docker-images/build-requirements.txt"],
                &[
                    "a: shared file docker-images/build-requirements.txt (fan-out docker-images/build-requirements.txt)",
                    "b: shared file docker-images/build-requirements.txt (fan-out docker-images/build-requirements.txt)",
                ],
            ),
            (
                &[
                    "M docker-images/sub/Dockerfile.python-connector",
                    "M docker-images/other",
                ],
                &[],
            ),
            // Deleted and moved.
            (&["D @/gone/metadata.yaml", "D @/gone/x"], &["-gone"]),
            (
                &["D @/gone/x", "D @/metadata.yaml", "D @/a/sub/metadata.yaml"],
                &["a: deleted @/a/sub/metadata.yaml"],
            ),
            (
                &["D @/old/metadata.yaml", "M @/a/metadata.yaml"],
                &["a: modified @/a/metadata.yaml", "-old"],
            ),
            (
                &["D @/a/x", "M @/f/x"],
                &["a: deleted @/a/x", "f: modified @/f/x"],
            ),
        ] {
            assert_eq!(told(lines, Pages::Ignore), expected, "{lines:?}");
        }
        for (path, count) in [
            ("M docker-images/Dockerfile.python-connector-base", 3),
            ("M everything/x/y", 8),
        ] {
            assert_eq!(told(&[path], Pages::Ignore).len(), count, "{path}");
        }
    }

    #[test]
    fn a_variant_is_touched_when_its_parent_goes() {
        let rules = Rules::of(&config()).unwrap();
        let orphan = vec![candidate("x-strict-encrypt", Language::Java)];
        let selection = select(
            &changes(&["D @/x/metadata.yaml"]),
            orphan,
            &rules,
            Pages::Ignore,
        )
        .unwrap();
        assert_eq!(
            selection.connectors[0].reasons,
            [Reason::Variant { of: "x".to_owned() }].into()
        );
        assert_eq!(selection.deleted, ["x".to_owned()].into());
    }

    #[test]
    fn code_taken_in_a_circle_ends() {
        let circle = |name: &str, on: &str| Candidate {
            depends_on: vec![format!("{DIRECTORY}/{on}").into()],
            ..candidate(name, Language::Java)
        };
        let rules = Rules::of(&config()).unwrap();
        let fleet = vec![circle("x", "y"), circle("y", "x")];
        let selection = select(&changes(&["M @/x/z"]), fleet, &rules, Pages::Ignore).unwrap();
        let reasons: Vec<usize> = selection
            .connectors
            .iter()
            .map(|c| c.reasons.len())
            .collect();
        assert_eq!(reasons, [2, 1]);
    }

    #[test]
    fn pages_count_where_they_are_read_and_reach_no_dependent() {
        let lines = [
            "M docs/integrations/sources/c.md",
            "D docs/integrations/sources/g-migrations.md",
            "M docs/x.md",
        ];
        assert_eq!(told(&lines, Pages::Ignore), [""; 0]);
        assert_eq!(
            told(&lines, Pages::Count),
            [
                "c: documentation page docs/integrations/sources/c.md",
                "source-g: documentation page docs/integrations/sources/g-migrations.md",
            ]
        );
    }

    #[test]
    fn a_touched_directory_with_an_impossible_name_is_an_error() {
        let rules = Rules::of(&config()).unwrap();
        let misnamed = || {
            vec![
                candidate("$(id)", Language::Python),
                candidate("a", Language::Python),
            ]
        };
        let select = |line: &str| select(&changes(&[line]), misnamed(), &rules, Pages::Ignore);
        assert_eq!(select("M @/a/x").unwrap().connectors.len(), 1);
        assert!(
            select("M @/$(id)/x")
                .unwrap_err()
                .message
                .contains("`$(id)` is not a connector name")
        );
    }

    #[test]
    fn a_bad_glob_names_its_key() {
        let config = Config {
            ignored_files: vec!["[".to_owned()],
            ..Config::default()
        };
        assert!(
            Rules::of(&config)
                .unwrap_err()
                .message
                .starts_with("ignored-files: `[` is not a valid glob")
        );
    }
}
