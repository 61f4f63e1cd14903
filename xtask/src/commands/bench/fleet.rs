//! Repositories of many connectors: made from those of the clone, or from a real fleet's metadata where it is there.

use std::fs;

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

/// Airbyte's monorepo has 606.
const LARGE: usize = 600;
/// How many connectors of the large fleet differ from its base, committed and not.
const CHANGED: usize = 10;
const CONNECTORS: &str = "airbyte-integrations/connectors";

/// Copies Python connectors of the clone in turn under other names, until there are `count`; their names.
pub fn python_copies(bed: &Bed, count: usize) -> Result<Vec<String>> {
    let config = &bed.context.resolved.config;
    let samples: Vec<Connector> = bed
        .repo
        .load(config)?
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

/// A repository of 600 connectors on a branch that changes some, committed and not, beside its base `base`.
pub fn large(bed: &Bed) -> Result<Utf8PathBuf> {
    let root = bed.directory.join("fleet");
    remove_directory(&root)?;
    let sources = sources(bed)?;
    let mut directories = Vec::new();
    for (number, source) in (0..LARGE).zip(sources.iter().cycle()) {
        let old = source.file_name().context("a connector has a name")?;
        let new = match number / sources.len() {
            0 => old.to_owned(),
            round => format!("{old}-{round}"),
        };
        let directory = root.join(CONNECTORS).join(&new);
        copy_renamed(source, &directory, old, &new)?;
        directories.push(directory);
    }
    write(
        &root.join("Cargo.toml"),
        "[workspace]\n[workspace.metadata.connector]\n",
    )?;
    git::init(&root)?;
    git::branch(&root, "base")?;
    for directory in &directories[..CHANGED] {
        write(&directory.join("changed.py"), "changed = True\n")?;
    }
    git::commit_all(&root, "Change some")?;
    for directory in &directories[CHANGED..2 * CHANGED] {
        write(&directory.join("changed.py"), "changed = True\n")?;
    }
    Ok(root)
}

/// The directories of the real fleet beside the repository, else the clone's own connectors.
fn sources(bed: &Bed) -> Result<Vec<Utf8PathBuf>> {
    let real = bed.context.repo.root.join("../shared/fleet/connectors");
    let directory = if real.is_dir() {
        real
    } else {
        bed.repo.root.join(CONNECTORS)
    };
    let mut sources = Vec::new();
    for entry in directory
        .read_dir_utf8()
        .with_context(|| format!("read {directory}"))?
    {
        let entry = entry.with_context(|| format!("read {directory}"))?;
        if entry.path().join("metadata.yaml").is_file() {
            sources.push(entry.into_path());
        }
    }
    sources.sort();
    anyhow::ensure!(!sources.is_empty(), "{directory} holds no connector");
    Ok(sources)
}
