//! Reads what connectors consist of, each file once.

use std::path::Path;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use super::{Fleet, Repo, read_file};
use crate::model::{
    config::Resolved,
    connector::BrokenConnector,
    connector_files::{ConnectorFiles, Content, UNREAD, guide_path, page_path},
    yaml::Document,
};

impl Repo {
    /// The directories of all connectors, and whether each was named; all are when nothing was named.
    pub fn named_directories(
        &self,
        resolved: &Resolved,
        named: &[String],
    ) -> Result<Vec<(Utf8PathBuf, bool)>> {
        let directories = self.directories(resolved)?;
        // Selecting needs names only.
        let connector = |directory: &Utf8PathBuf| BrokenConnector {
            name: directory.file_name().unwrap_or_default().to_owned(),
            directory: directory.clone(),
            reasons: Vec::new(),
        };
        let fleet = Fleet {
            connectors: Vec::new(),
            broken: directories.iter().map(connector).collect(),
        };
        let selected = fleet.select(self, &resolved.config, named)?.broken;
        let is_selected = |directory: &Utf8Path| {
            selected
                .binary_search_by(|one| one.directory.as_path().cmp(directory))
                .is_ok()
        };
        Ok(directories
            .into_iter()
            .map(|directory| {
                let selected = is_selected(&directory);
                (directory, selected)
            })
            .collect())
    }

    /// A connector's metadata.yaml and nothing else of it: enough for what must hold of all together.
    pub fn metadata_only(&self, directory: &Utf8Path) -> ConnectorFiles {
        let content = content(
            self.root
                .join(directory)
                .join("metadata.yaml")
                .as_std_path(),
        );
        ConnectorFiles {
            name: directory.file_name().unwrap_or_default().to_owned(),
            directory: directory.to_owned(),
            metadata: content.text().and_then(Document::read),
            files: [("metadata.yaml".into(), content)].into(),
            pages: Default::default(),
        }
    }

    /// Everything of a connector that checks look at.
    pub fn connector_files(&self, directory: &Utf8Path) -> ConnectorFiles {
        let mut files = self.metadata_only(directory);
        let top = self.root.join(directory);
        walk(top.as_std_path(), top.as_std_path(), &mut files);
        let url = files.metadata.as_ref().ok().and_then(|document| {
            let url = document.root.at_path("data.documentationUrl")?;
            url.text()
        });
        let pages = [url.and_then(page_path), guide_path(&files.name)];
        for path in pages.into_iter().flatten() {
            if let Content::Text(text) = content(self.root.join(&path).as_std_path()) {
                files.pages.insert(path, text);
            }
        }
        files
    }
}

/// Reads what lies below `directory`. Symbolic links are known and not followed: they may lead anywhere.
fn walk(top: &Path, directory: &Path, files: &mut ConnectorFiles) {
    let Ok(entries) = directory.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            if !UNREAD.iter().any(|unread| entry.file_name() == *unread) {
                walk(top, &path, files);
            }
            continue;
        }
        let Ok(relative) = path.strip_prefix(top) else {
            continue;
        };
        // A name that is not UTF-8 is shown as well as it can be.
        let relative = Utf8PathBuf::from(relative.to_string_lossy().into_owned());
        files
            .files
            .entry(relative)
            .or_insert_with(|| match kind.is_file() {
                true => content(&path),
                false => Content::Unreadable(
                    "it is no regular file, and links are not followed".to_owned(),
                ),
            });
    }
}

fn content(path: &Path) -> Content {
    match read_file(path).map(String::from_utf8) {
        Ok(Ok(text)) => Content::Text(text),
        // By a NUL byte, as git tells a binary file; it may be large, and no check reads it.
        Ok(Err(error)) if error.as_bytes().contains(&0) => {
            Content::Unreadable("it is binary, and no text".to_owned())
        }
        Ok(Err(error)) => Content::Opaque(error.into_bytes()),
        Err(error) => Content::Unreadable(error.to_string()),
    }
}
