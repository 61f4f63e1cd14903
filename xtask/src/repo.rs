//! Finds the repository and loads its connectors.

mod files;

use std::{io::ErrorKind, path::Path, thread};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::model::{
    config::{Config, Resolved},
    connector::{
        BrokenConnector, Connector, ConnectorName, DependencySource, Language, Selector, nearest,
    },
    metadata::Metadata,
    problem::Problem,
};

/// A repository of connectors.
#[derive(Debug, Clone)]
pub struct Repo {
    /// Absolute path of its top.
    pub root: Utf8PathBuf,
    /// Where `target` lies: the top too, unless this is a checkout of another commit.
    home: Utf8PathBuf,
}

/// What a repository's connectors directory holds, sorted by name.
#[derive(Debug, Default)]
pub struct Fleet {
    pub connectors: Vec<Connector>,
    pub broken: Vec<BrokenConnector>,
}

/// A connector's directory at a glance. Whether its metadata can be used is not known.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The directory's name, which need not be a connector's.
    pub name: String,
    /// Relative to the root.
    pub directory: Utf8PathBuf,
    pub language: Option<Language>,
}

const CONNECTORS: &str = "airbyte-integrations/connectors";

/// Longer files were not written by hand, and are not looked into.
const LONGEST: u64 = 8 << 20;

/// The bytes of a file that a person wrote. A device or a pipe could go on for ever.
fn read_file(path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(&path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    if metadata.len() > LONGEST {
        return Err(std::io::Error::other(format!(
            "it is longer than {} MiB",
            LONGEST >> 20
        )));
    }
    std::fs::read(path)
}

impl Repo {
    /// The repository at `directory`, or the one that the current directory lies in.
    pub fn find(directory: Option<&Utf8Path>) -> Result<Repo> {
        let here = std::env::current_dir().context("find the current directory")?;
        let here =
            Utf8PathBuf::try_from(here).context("the current directory's name is not UTF-8")?;
        if let Some(directory) = directory {
            let root = here.join(directory).canonicalize_utf8();
            let root = root.map_err(|error| Problem::usage(format!("-C {directory}: {error}")))?;
            return Ok(Repo::at(&root));
        }
        let is_root = |dir: &&Utf8Path| {
            dir.join(CONNECTORS).is_dir()
                || std::fs::read_to_string(dir.join("Cargo.toml"))
                    .is_ok_and(|text| text.contains("[workspace.metadata.connector"))
        };
        let root = here.ancestors().find(is_root).ok_or_else(|| {
            Problem::usage(format!("no repository of connectors at or above {here}")).help(format!(
                "run this inside a repository with {CONNECTORS}, or name one with -C DIR"
            ))
        })?;
        Ok(Repo::at(root))
    }

    /// The repository whose top this is.
    pub fn at(root: &Utf8Path) -> Repo {
        Repo {
            root: root.to_owned(),
            home: root.to_owned(),
        }
    }

    /// This repository as it is checked out elsewhere; what xtask keeps stays where it is.
    pub fn checked_out(&self, root: &Utf8Path) -> Repo {
        Repo {
            root: root.to_owned(),
            home: self.home.clone(),
        }
    }

    /// The configuration in force here.
    pub fn configuration(&self, flags: &[String]) -> Result<Resolved> {
        let path = self.root.join("Cargo.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        };
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Resolved::load(text.as_deref(), variables, flags)?)
    }

    /// Where xtask keeps what it makes and can make again.
    pub fn target(&self) -> Utf8PathBuf {
        self.home.join("target/xtask")
    }

    /// Where what is made of one connector goes: its spec, the files its build reads.
    pub fn work(&self, connector: &ConnectorName) -> Utf8PathBuf {
        self.target().join("connectors").join(connector.as_str())
    }

    /// Where fetched programs are kept.
    pub fn tools(&self) -> Utf8PathBuf {
        self.target().join("tools")
    }

    /// Where locked files and built wheels are kept: XTASK_CACHE, shared by several checkouts, or our own.
    pub fn store(&self) -> Utf8PathBuf {
        let shared = std::env::var("XTASK_CACHE")
            .ok()
            .filter(|path| !path.is_empty());
        shared.map_or_else(|| self.target().join("store"), |path| self.home.join(path))
    }

    /// Every connector, read in parallel.
    pub fn load(&self, resolved: &Resolved) -> Result<Fleet> {
        self.load_from(&self.directories(resolved)?)
    }

    /// The connectors in these directories (from the root), read in parallel.
    pub fn load_from(&self, directories: &[Utf8PathBuf]) -> Result<Fleet> {
        let workers = thread::available_parallelism().map_or(1, |cores| cores.get());
        let share = directories.len().div_ceil(workers).max(1);
        let mut fleet = Fleet::default();
        thread::scope(|scope| {
            let workers: Vec<_> = directories
                .chunks(share)
                .map(|chunk| {
                    scope.spawn(move || {
                        chunk
                            .iter()
                            .filter_map(|dir| self.read(dir))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            for worker in workers {
                for read in worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("reading connectors panicked"))?
                {
                    match read {
                        Ok(connector) => fleet.connectors.push(connector),
                        Err(broken) => fleet.broken.push(broken),
                    }
                }
            }
            Ok(fleet)
        })
    }

    /// Every directory that holds a connector, with no more read of it than tells its language.
    pub fn outlines(&self, resolved: &Resolved) -> Result<Vec<Outline>> {
        let directories = self.directories(resolved)?;
        Ok(directories
            .into_iter()
            .filter_map(|directory| self.outline(directory))
            .collect())
    }

    fn outline(&self, directory: Utf8PathBuf) -> Option<Outline> {
        let name = directory.file_name()?.to_owned();
        let language = self.language(&directory).or_else(|| {
            let text = self.text(&directory, "metadata.yaml")?;
            Language::of_tags(&Metadata::parse(&text).ok()?.tags)
        });
        Some(Outline {
            name,
            directory,
            language,
        })
    }

    /// Whether the directory is a connector's. One whose metadata.yaml can't be read is a broken connector, not none.
    fn has_metadata(&self, directory: &Utf8Path) -> bool {
        let found = self
            .root
            .join(directory)
            .join("metadata.yaml")
            .symlink_metadata();
        !matches!(found, Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    }

    /// The text of a connector's file; None where there is none that is text.
    pub fn text(&self, directory: &Utf8Path, file: &str) -> Option<String> {
        String::from_utf8(read_file(self.root.join(directory).join(file)).ok()?).ok()
    }

    /// Directories of connectors, which have a metadata.yaml, relative to the root, sorted.
    ///
    /// # Errors
    /// When the configured glob names none: nothing checked would look like nothing wrong.
    fn directories(&self, resolved: &Resolved) -> Result<Vec<Utf8PathBuf>> {
        let connectors = &resolved.config.connectors;
        let pattern = format!("{}/{connectors}", glob::Pattern::escape(self.root.as_str()));
        let paths = glob::glob(&pattern).map_err(|error| {
            Problem::usage(format!(
                "connectors: `{connectors}` is not a valid glob: {error}"
            ))
        })?;
        let mut directories = Vec::new();
        for path in paths {
            let path = path.with_context(|| format!("read {connectors}"))?;
            // A name that is not UTF-8 can't be a connector's.
            if let Ok(path) = Utf8PathBuf::try_from(path)
                && let Ok(relative) = path.strip_prefix(&self.root)
                && self.has_metadata(relative)
            {
                directories.push(relative.to_owned());
            }
        }
        if directories.is_empty() {
            return Err(Problem::usage(format!(
                "no connector in {}: `connectors` is `{connectors}` ({}), which matches no directory with a metadata.yaml",
                self.root,
                resolved.origin("connectors")
            ))
            .help("set `connectors` to a glob of their directories, or name another repository with -C DIR")
            .into());
        }
        Ok(directories)
    }

    fn read(&self, directory: &Utf8Path) -> Option<Result<Connector, BrokenConnector>> {
        let name = directory.file_name()?;
        let file = directory.join("metadata.yaml");
        let broken = |reasons| BrokenConnector {
            name: name.to_owned(),
            directory: directory.to_owned(),
            reasons,
        };
        if !self.has_metadata(directory) {
            return None;
        }
        let read = read_file(self.root.join(&file)).map_err(|error| error.to_string());
        let text =
            read.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
        let text = match text {
            Ok(text) => text,
            Err(error) => return Some(Err(broken(vec![format!("{file}: {error}")]))),
        };
        let metadata = match Metadata::parse(&text) {
            Ok(metadata) => metadata,
            Err(flaws) => {
                return Some(Err(broken(
                    flaws
                        .iter()
                        .map(|flaw| flaw.in_file(file.as_str()))
                        .collect(),
                )));
            }
        };
        let name: ConnectorName = match name.parse() {
            Ok(name) => name,
            Err(error) => return Some(Err(broken(vec![error]))),
        };
        let language = self
            .language(directory)
            .or_else(|| Language::of_tags(&metadata.tags));
        Some(Ok(Connector {
            name,
            directory: directory.to_owned(),
            language,
            metadata,
        }))
    }

    fn language(&self, directory: &Utf8Path) -> Option<Language> {
        let directory = self.root.join(directory);
        Language::of_files(|file| directory.join(file).exists())
    }

    /// Where a connector's dependencies are written down; uv.lock wins over poetry.lock.
    pub fn dependency_source(&self, connector: &Connector) -> DependencySource {
        let has = |file: &str| self.root.join(&connector.directory).join(file).is_file();
        if has("uv.lock") {
            DependencySource::UvLock
        } else if has("poetry.lock") {
            DependencySource::PoetryLock
        } else {
            DependencySource::Unlocked
        }
    }

    /// The connector whose directory holds `path`, seen from the current directory.
    fn inside(&self, config: &Config, path: &Utf8Path) -> Option<String> {
        let absolute = path
            .canonicalize_utf8()
            .or_else(|_| self.root.join(path).canonicalize_utf8())
            .ok()?;
        let relative = absolute.strip_prefix(&self.root).ok()?;
        let pattern = glob::Pattern::new(&config.connectors).ok()?;
        let whole = glob::MatchOptions {
            require_literal_separator: true,
            ..Default::default()
        };
        relative
            .ancestors()
            .find(|dir| pattern.matches_with(dir.as_str(), whole))?
            .file_name()
            .map(str::to_owned)
    }
}

impl Fleet {
    /// The part of the fleet that the user named; all of it when nothing was named.
    /// Every name that means nothing is reported at once.
    pub fn select(self, repo: &Repo, config: &Config, named: &[String]) -> Result<Fleet> {
        if named.is_empty() {
            return Ok(self);
        }
        let mut selectors = Vec::new();
        let mut unknown = Vec::new();
        for text in named {
            let selector =
                Selector::parse(text, |path| repo.inside(config, path)).map_err(Problem::usage)?;
            if self.names().any(|name| selector.matches(name)) {
                selectors.push(selector);
            } else {
                unknown.push(self.unknown(repo, text, &selector));
            }
        }
        if !unknown.is_empty() {
            return Err(Problem::usage(unknown.join("\n"))
                .help("`cargo xtask connector list` prints every name")
                .into());
        }
        let named = |name: &str| selectors.iter().any(|selector| selector.matches(name));
        Ok(Fleet {
            connectors: self
                .connectors
                .into_iter()
                .filter(|connector| named(connector.name.as_str()))
                .collect(),
            broken: self
                .broken
                .into_iter()
                .filter(|broken| named(&broken.name))
                .collect(),
        })
    }

    /// The connectors, when none is broken; else every reason.
    pub fn whole(self) -> Result<Vec<Connector>> {
        match self.problem() {
            Some(problem) => Err(problem.into()),
            None => Ok(self.connectors),
        }
    }

    /// Every reason why a connector is broken, when one is.
    pub fn problem(&self) -> Option<Problem> {
        let reasons: Vec<&str> = self
            .broken
            .iter()
            .flat_map(|broken| &broken.reasons)
            .map(String::as_str)
            .collect();
        let message = || format!("metadata can't be used\n{}", reasons.join("\n"));
        (!reasons.is_empty()).then(|| Problem::usage(message()))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let broken = self.broken.iter().map(|broken| broken.name.as_str());
        self.connectors
            .iter()
            .map(|connector| connector.name.as_str())
            .chain(broken)
    }

    fn unknown(&self, repo: &Repo, text: &str, selector: &Selector) -> String {
        let Selector::Name(name) = selector else {
            return format!("no connector matches `{text}`");
        };
        let directory = format!("{CONNECTORS}/{name}");
        if repo.root.join(&directory).is_dir() {
            return format!("`{name}` is not a connector: {directory} has no metadata.yaml");
        }
        match nearest(name, self.names()).as_slice() {
            [] => format!("unknown connector `{name}`"),
            near => format!(
                "unknown connector `{name}`; did you mean {}?",
                near.join(", ")
            ),
        }
    }
}
