//! Files of the repository as they will be, written all at once at the end.

use std::{collections::BTreeMap, fs, io::ErrorKind};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::tools::files::{self, Replacement};

/// Changes to files, none of them written yet.
pub struct Edits<'a> {
    root: &'a Utf8Path,
    files: BTreeMap<Utf8PathBuf, Edited>,
}

struct Edited {
    before: String,
    after: String,
}

impl<'a> Edits<'a> {
    /// Of files below `root`, the repository's; each is read when it is first changed.
    pub fn new(root: &'a Utf8Path) -> Edits<'a> {
        Edits {
            root,
            files: BTreeMap::new(),
        }
    }

    /// Changes a file (its path from the root); says whether it is there and is another one now.
    pub fn edit<E: Into<anyhow::Error>>(
        &mut self,
        path: &Utf8Path,
        change: impl FnOnce(&str) -> Result<String, E>,
    ) -> Result<Edit> {
        if !self.files.contains_key(path) {
            let text = match fs::read_to_string(self.root.join(path)) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Edit::NoFile),
                Err(error) => return Err(error).with_context(|| format!("read {path}")),
            };
            let edited = Edited {
                before: text.clone(),
                after: text,
            };
            self.files.insert(path.to_owned(), edited);
        }
        let Some(edited) = self.files.get_mut(path) else {
            return Ok(Edit::NoFile);
        };
        let after = change(&edited.after).map_err(Into::into)?;
        let same = after == edited.after;
        edited.after = after;
        Ok(if same { Edit::Same } else { Edit::Changed })
    }

    /// Writes every changed file, or none when one can't be written.
    pub fn write(self) -> Result<()> {
        let changed = self
            .files
            .into_iter()
            .filter(|(_, one)| one.before != one.after);
        let replacements: Vec<Replacement> = changed
            .map(|(path, Edited { before, after })| Replacement {
                path: self.root.join(path),
                before,
                after,
            })
            .collect();
        files::replace(&replacements)
    }
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    NoFile,
    Same,
    Changed,
}
