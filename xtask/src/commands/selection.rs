//! Which connectors a command works on: gathers what `plan::selection` decides from.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::Read,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use camino::{Utf8Path, Utf8PathBuf};

use super::Context;
use crate::{
    flags,
    model::{
        change::{Change, ChangeKind, RepoPath, parse_list},
        connector::{Connector, Language},
        connector_files::page_path,
        problem::Problem,
        yaml::Node,
    },
    plan::{
        build::{base_image, buildable},
        path_dependencies,
        selection::{Candidate, Pages, Rules, Selected, Selection, is_page, select, unseen},
    },
    repo::{Fleet, Outline, Repo},
    tools::{
        git::history::{self, Since},
        pull_request,
    },
};

/// What a change touches, and between which commits it lies (none for a list of files).
#[derive(Debug)]
pub struct Touched {
    pub range: Option<Range>,
    pub selection: Selection,
}

/// The commits that were compared.
#[derive(Debug)]
pub struct Range {
    pub base: String,
    pub merge_bases: Vec<String>,
    pub head: String,
}

impl Touched {
    /// The selected connectors with their metadata.
    pub fn load(&self, context: &Context) -> Result<Fleet> {
        let directories: Vec<Utf8PathBuf> = self
            .selection
            .connectors
            .iter()
            .map(|c| c.directory.clone())
            .collect();
        context.repo.load_from(&directories)
    }
}

/// The connectors that the flags mean, with their metadata: those named (all where none is), or those touched.
pub fn chosen(context: &Context, flags: &flags::Selection, pages: Pages) -> Result<Fleet> {
    match touched(context, flags, pages)? {
        Some(touched) => touched.load(context),
        None => named(context, flags),
    }
}

/// The connectors that the flags mean, when every one of them can be built; else all that is in the way.
pub fn to_build(context: &Context, flags: &flags::Selection) -> Result<Vec<Connector>> {
    let config = &context.resolved.config;
    let connectors = chosen(context, flags, Pages::Ignore)?.whole()?;
    let problems: Vec<Problem> = connectors
        .iter()
        .flat_map(|c| [buildable(c).err(), base_image(c, config).err()])
        .flatten()
        .collect();
    if problems.is_empty() {
        return Ok(connectors);
    }
    Err(Problem::all("not every connector named can be built", problems).into())
}

/// The connectors that were named, all where none was, in this shard.
pub fn named(context: &Context, flags: &flags::Selection) -> Result<Fleet> {
    let config = &context.resolved.config;
    let mut fleet =
        context
            .repo
            .load(&context.resolved)?
            .select(&context.repo, config, &flags.names)?;
    if let Some(shard) = flags.shard {
        fleet
            .connectors
            .retain(|connector| shard.holds(connector.name.as_str()));
        fleet.broken.retain(|broken| shard.holds(&broken.name));
    }
    Ok(fleet)
}

/// What is touched by the change that the flags mean, in this shard; None when they name connectors.
pub fn touched(
    context: &Context,
    flags: &flags::Selection,
    pages: Pages,
) -> Result<Option<Touched>> {
    let rules = Rules::of(&context.resolved.config)?;
    // git's work and ours touch nothing in common but the disk.
    let (changes, candidates) = thread::scope(|scope| {
        let candidates = scope.spawn(|| gather(context, flags));
        let changes = changes(context, flags);
        (changes, candidates.join())
    });
    let Some((range, changes)) = changes? else {
        return Ok(None);
    };
    let mut candidates = candidates.map_err(|_| anyhow!("reading connectors panicked"))??;
    expect_checked_out(context, &unseen(&changes, &candidates, &rules))?;
    if pages == Pages::Count && changes.iter().any(|change| is_page(&change.path)) {
        find_pages(context, &mut candidates);
    }
    let mut selection = select(&changes, candidates, &rules, pages)?;
    if let Some(shard) = flags.shard {
        selection
            .connectors
            .retain(|c: &Selected| shard.holds(c.name.as_str()));
        selection.deleted.retain(|name| shard.holds(name));
    }
    Ok(Some(Touched { range, selection }))
}

/// An error where a connector that changed is not in the work tree: left out, it would look checked.
fn expect_checked_out(context: &Context, unseen: &BTreeSet<Utf8PathBuf>) -> Result<()> {
    let root = &context.repo.root;
    let absent = |directory: &&Utf8PathBuf| root.join(directory).symlink_metadata().is_err();
    let absent: Vec<&str> = unseen
        .iter()
        .filter(absent)
        .map(|one| one.as_str())
        .collect();
    if absent.is_empty() {
        return Ok(());
    }
    let list = absent.join(" ");
    Err(Problem::usage(format!("changed, but not checked out here: {list}"))
        .help(format!(
            "`git sparse-checkout add {list}`, or `git sparse-checkout disable` for the whole repository"
        ))
        .into())
}

/// The changes that the flags mean, with the commits they lie between.
fn changes(
    context: &Context,
    flags: &flags::Selection,
) -> Result<Option<(Option<Range>, Vec<Change>)>> {
    let root = &context.repo.root;
    let since = match (
        &flags.files_from,
        &flags.since,
        &flags.base,
        flags.all_changed,
    ) {
        (Some(file), ..) => return Ok(Some((None, listed(root, file)?))),
        (_, Some(commit), ..) => Since::Commit(commit.clone()),
        (_, _, Some(base), _) => Since::Base(base.clone()),
        (_, _, None, true) => {
            pull_request::target()?.map_or(Since::DefaultBranch, Since::PullRequest)
        }
        _ => return Ok(None),
    };
    let say = |line: &str| context.report.note(line);
    let history = history::since(root, &since, &say)?;
    let range = Range {
        base: history.base,
        merge_bases: history.merge_bases,
        head: history.head,
    };
    Ok(Some((Some(range), history.changes)))
}

/// The files that a list names; one that is not there counts as deleted.
fn listed(root: &Utf8Path, file: &Utf8Path) -> Result<Vec<Change>> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let mut text = Vec::new();
    if file == "-" {
        std::io::stdin()
            .read_to_end(&mut text)
            .context("read the list of files from standard input")?;
    } else {
        text = std::fs::read(file)
            .map_err(|error| Problem::usage(format!("--files-from {file}: {error}")))?;
    }
    let paths = parse_list(&text)
        .map_err(|error| Problem::usage(format!("--files-from {file}: {error}")))?;
    let change = |path: RepoPath| {
        let there = root
            .as_std_path()
            .join(OsStr::from_bytes(path.as_bytes()))
            .symlink_metadata()
            .is_ok();
        let kind = if there {
            ChangeKind::Listed
        } else {
            ChangeKind::Deleted
        };
        Change { path, kind }
    };
    Ok(paths.into_iter().map(change).collect())
}

/// Every connector with what its build takes code from; nothing where connectors are named.
fn gather(context: &Context, flags: &flags::Selection) -> Result<Vec<Candidate>> {
    if !flags.all_changed && flags.since.is_none() && flags.files_from.is_none() {
        return Ok(Vec::new());
    }
    let outlines = context.repo.outlines(&context.resolved)?;
    let mut candidates: Vec<Candidate> = outlines
        .into_iter()
        .map(|outline| candidate(&context.repo, outline))
        .collect();
    let libraries = libraries(&context.repo, &candidates);
    for candidate in &mut candidates {
        candidate.depends_on =
            path_dependencies::reached(&candidate.directory, &candidate.depends_on, &libraries);
    }
    Ok(candidates)
}

/// A connector with what its own build files name.
fn candidate(repo: &Repo, outline: Outline) -> Candidate {
    let Outline {
        name,
        directory,
        language,
    } = outline;
    let depends_on = language
        .map(|language| taken_from(repo, &directory, language))
        .unwrap_or_default();
    Candidate {
        name,
        directory,
        language,
        depends_on,
        page: None,
    }
}

/// The directories that connectors take code from, also through one another, and that are no connectors, each with
/// what its build files name. Each is read once, since hundreds of connectors share a few. Nothing says what language
/// one is written in, so the build files of every language count.
fn libraries(repo: &Repo, candidates: &[Candidate]) -> HashMap<Utf8PathBuf, Vec<Utf8PathBuf>> {
    let connectors: HashSet<&Utf8Path> = candidates
        .iter()
        .map(|candidate| candidate.directory.as_path())
        .collect();
    let mut libraries: HashMap<Utf8PathBuf, Vec<Utf8PathBuf>> = HashMap::new();
    let mut unread: Vec<Utf8PathBuf> = candidates
        .iter()
        .flat_map(|candidate| candidate.depends_on.iter().cloned())
        .collect();
    while let Some(directory) = unread.pop() {
        if connectors.contains(directory.as_path()) || libraries.contains_key(&directory) {
            continue;
        }
        let named: Vec<Utf8PathBuf> = [Language::Java, Language::Python]
            .into_iter()
            .flat_map(|language| taken_from(repo, &directory, language))
            .collect();
        unread.extend(named.iter().cloned());
        libraries.insert(directory, named);
    }
    libraries
}

/// Directories that are named by the build files in `directory` that a build in this language reads. A file that is not
/// there or is no text names none.
fn taken_from(repo: &Repo, directory: &Utf8Path, language: Language) -> Vec<Utf8PathBuf> {
    let text = |file: &str| repo.text(directory, file);
    match language {
        Language::Java => {
            let properties = text("gradle.properties");
            ["build.gradle", "build.gradle.kts"]
                .into_iter()
                .filter_map(text)
                .flat_map(|text| path_dependencies::of_gradle(&text))
                .chain(properties.and_then(|text| path_dependencies::of_gradle_properties(&text)))
                .collect()
        }
        Language::Python => text("pyproject.toml")
            .map(|text| path_dependencies::of_pyproject(&text, directory))
            .unwrap_or_default(),
        // A manifest-only connector's pyproject.toml only serves its tests.
        Language::ManifestOnly => Vec::new(),
    }
}

/// Reads every connector's metadata for the page it names, as far as it can be read.
fn find_pages(context: &Context, candidates: &mut [Candidate]) {
    for candidate in candidates {
        let metadata = context.repo.metadata_only(&candidate.directory).metadata;
        let url = metadata
            .as_ref()
            .ok()
            .and_then(|document| document.root.at_path("data.documentationUrl"));
        candidate.page = url.and_then(Node::text).and_then(page_path);
    }
}
