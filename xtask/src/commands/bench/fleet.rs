//! Repositories of many connectors: made from those of the clone, or from a real fleet's metadata where it is there.

use std::{collections::BTreeMap, fs, num::NonZeroUsize};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::bed::Bed;
use crate::{
    model::connector::{Connector, Language},
    tools::{
        files::{remove_directory, write},
        git,
    },
};

/// How many connectors of the large fleet differ from its base, committed and not.
const CHANGED: usize = 10;
/// Files whose text makes a difference to questions about a connector.
const TELLING: [&str; 4] = ["manifest.yaml", "icon.svg", "pyproject.toml", "poetry.lock"];
const CONNECTORS: &str = "airbyte-integrations/connectors";

/// Copies Python connectors of the clone in turn under other names, until there are `count`; their names.
pub fn python_copies(bed: &Bed, count: usize) -> Result<Vec<String>> {
    let samples: Vec<Connector> = bed
        .repo
        .load(&bed.context.resolved)?
        .whole()?
        .into_iter()
        .filter(|connector| connector.language == Some(Language::Python))
        .collect();
    let mut names = Vec::new();
    for (number, sample) in (1..=count).zip(samples.iter().cycle()) {
        let name = format!("{}-copy-{number}", sample.name);
        let directory = sample.directory.with_file_name(&name);
        let (from, to) = (
            bed.repo.root.join(&sample.directory),
            bed.repo.root.join(directory),
        );
        copy_renamed(&from, &to, sample.name.as_str(), &name)?;
        names.push(name);
    }
    git::commit_all(&bed.repo.root, "Copy connectors")?;
    Ok(names)
}

/// Copies manifest-only connectors in turn under other names into the clone, until there are `count`; their names.
pub fn manifest_copies(bed: &Bed, count: usize) -> Result<Vec<String>> {
    let sources = Sources::read(bed)?;
    let mut samples = sources.directories;
    samples.retain(|directory| directory.join("manifest.yaml").is_file());
    let mut names = Vec::new();
    for (number, sample) in (1..=count).zip(samples.iter().cycle()) {
        let old = sample.file_name().context("a connector has a name")?;
        let name = format!("{old}-copy-{number}");
        let directory = bed.repo.root.join(CONNECTORS).join(&name);
        copy_renamed(sample, &directory, old, &name)?;
        names.push(name);
    }
    git::commit_all(&bed.repo.root, "Copy manifests")?;
    Ok(names)
}

/// Copies a connector, its name in text and paths becoming another one.
fn copy_renamed(from: &Utf8Path, to: &Utf8Path, old: &str, new: &str) -> Result<()> {
    let rename = |text: &str| {
        text.replace(old, new)
            .replace(&old.replace('-', "_"), &new.replace('-', "_"))
    };
    for entry in from
        .read_dir_utf8()
        .with_context(|| format!("read {from}"))?
    {
        let entry = entry.with_context(|| format!("read {from}"))?;
        let target = to.join(rename(entry.file_name()));
        if entry.path().is_dir() {
            copy_renamed(entry.path(), &target, old, new)?;
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            write(&target, &rename(&text))?;
        }
    }
    Ok(())
}

/// A repository of so many connectors on a branch that changes some, committed and not, beside its base `base`.
pub fn large(bed: &Bed, count: NonZeroUsize) -> Result<Utf8PathBuf> {
    let root = bed.directory.join("fleet");
    remove_directory(&root)?;
    let sources = Sources::read(bed)?;
    let mut directories = Vec::new();
    for (number, source) in (0..count.get()).zip(sources.directories.iter().cycle()) {
        let old = source.file_name().context("a connector has a name")?;
        let new = match number / sources.directories.len() {
            0 => old.to_owned(),
            round => format!("{old}-{round}"),
        };
        let directory = root.join(CONNECTORS).join(&new);
        copy_renamed(source, &directory, old, &new)?;
        sources.fill(&directory, old, number)?;
        directories.push(directory);
    }
    write(
        &root.join("Cargo.toml"),
        "[workspace]\n[workspace.metadata.connector]\n",
    )?;
    git::init(&root)?;
    git::branch(&root, "base")?;
    for directory in directories.iter().take(CHANGED) {
        write(&directory.join("changed.py"), "changed = True\n")?;
    }
    git::commit_all(&root, "Change some")?;
    for directory in directories.iter().skip(CHANGED).take(CHANGED) {
        write(&directory.join("changed.py"), "changed = True\n")?;
    }
    Ok(root)
}

/// What a large fleet is made from.
struct Sources {
    directories: Vec<Utf8PathBuf>,
    /// `NAME/FILE` for every file that connectors have in truth, where only some are at hand.
    listed: Vec<String>,
    /// Texts of such files by their names, of the connectors that have them.
    texts: BTreeMap<&'static str, Vec<String>>,
}

impl Sources {
    /// The real fleet beside the repository where it is there, else the clone's own connectors.
    fn read(bed: &Bed) -> Result<Sources> {
        let real = bed.context.repo.root.join("../shared/fleet");
        let directory = if real.is_dir() {
            real.join("connectors")
        } else {
            bed.repo.root.join(CONNECTORS)
        };
        let mut directories = Vec::new();
        for entry in directory
            .read_dir_utf8()
            .with_context(|| format!("read {directory}"))?
        {
            let entry = entry.with_context(|| format!("read {directory}"))?;
            if entry.path().join("metadata.yaml").is_file() {
                directories.push(entry.into_path());
            }
        }
        directories.sort();
        anyhow::ensure!(!directories.is_empty(), "{directory} holds no connector");
        let listed = fs::read_to_string(real.join("files.txt")).unwrap_or_default();
        let texts = TELLING.map(|file| {
            let texts = directories
                .iter()
                .filter_map(|directory| fs::read_to_string(directory.join(file)).ok());
            (file, texts.collect())
        });
        Ok(Sources {
            directories,
            listed: listed.lines().map(str::to_owned).collect(),
            texts: texts.into(),
        })
    }

    /// Adds the files that the connector `name` has in truth, with another one's text or next to none.
    fn fill(&self, directory: &Utf8Path, name: &str, number: usize) -> Result<()> {
        let first = self
            .listed
            .partition_point(|line| line.split('/').next() < Some(name));
        let files = self.listed[first..]
            .iter()
            .map_while(|line| line.strip_prefix(name)?.strip_prefix('/'));
        for file in files.filter(|file| !directory.join(file).exists()) {
            let texts = self.texts.get(file).filter(|texts| !texts.is_empty());
            let text = texts.map_or("\n", |texts| &texts[number % texts.len()]);
            write(&directory.join(file), text)?;
        }
        Ok(())
    }
}
