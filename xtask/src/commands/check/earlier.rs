//! How connectors were at the merge base.

use std::collections::BTreeMap;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    commands::{Context, selection::Touched},
    model::yaml::Document,
    plan::{
        checks::{Earlier, METADATA},
        selection::{Reason, Selected},
    },
    tools::git::objects::{self, Past},
};

/// The touched connectors that were there at a merge base, by directory; nothing where a list of files said what
/// changed.
pub fn of(context: &Context, touched: &Touched) -> Result<BTreeMap<Utf8PathBuf, Earlier>> {
    let Some(range) = &touched.range else {
        return Ok(BTreeMap::new());
    };
    let connectors = &touched.selection.connectors;
    let asked: Vec<Past> = connectors
        .iter()
        .flat_map(|selected| {
            range.merge_bases.iter().map(|commit| Past {
                commit: commit.clone(),
                path: selected.directory.join(METADATA),
            })
        })
        .collect();
    let contents = objects::contents(&context.repo.root, &asked)?;
    let mut contents = contents.into_iter();
    let mut earlier = BTreeMap::new();
    for selected in connectors {
        let then = contents.by_ref().take(range.merge_bases.len()).flatten();
        // What was no YAML then has nothing to compare with.
        let read = |bytes: Vec<u8>| Document::read(std::str::from_utf8(&bytes).ok()?).ok();
        let metadata: Vec<Document> = then.filter_map(read).collect();
        if !metadata.is_empty() {
            let changed = own_files(selected);
            earlier.insert(selected.directory.clone(), Earlier { metadata, changed });
        }
    }
    Ok(earlier)
}

/// The changed files of the connector's own, from its directory: what changed of others does not change its version.
fn own_files(selected: &Selected) -> Vec<Utf8PathBuf> {
    let own = |reason: &Reason| match reason {
        Reason::File { path, .. } => {
            let path = path.lossy();
            let relative = Utf8Path::new(&*path).strip_prefix(&selected.directory);
            relative.ok().map(Utf8Path::to_owned)
        }
        _ => None,
    };
    selected.reasons.iter().filter_map(own).collect()
}
