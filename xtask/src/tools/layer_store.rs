//! Layers that were packed before, by what went into them: one blob serves every connector that locks the same wheels.
//!
//! `layers/KEY.json` says what the layer of a key is, `layers/blobs/HEX` is it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    time::SystemTime,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    files,
    layer::{LayerWriter, diff_id},
    store_lock::StoreLock,
    wheel_store::{Usage, entries, mark_used, modified},
};
use crate::model::{image::Digest, layer::Layer, machine_code::MachineCode};

/// The layers as a run uses them: as long as it lives nobody prunes them.
pub struct LayerStore {
    directory: Utf8PathBuf,
    /// Held as long as layers may be taken.
    _lock: StoreLock,
}

/// How much the layers in `store` take up.
pub fn size(store: &Utf8Path) -> Result<Usage> {
    Ok(Usage::of(&entries(&store.join(LAYERS).join(BLOBS))?))
}

/// When each layer in `store` was last used, and its bytes.
pub fn uses(store: &Utf8Path) -> Result<Vec<(SystemTime, u64)>> {
    let records = records(&store.join(LAYERS))?;
    Ok(records
        .iter()
        .map(|(path, layer)| (modified(path), layer.size))
        .collect())
}

/// Removes the layers that were last used before `before`, and blobs that no record names. The caller holds the store's
/// lock alone.
pub fn prune(store: &Utf8Path, before: SystemTime) -> Result<Usage> {
    let directory = store.join(LAYERS);
    let remove = |path: &Utf8Path| fs::remove_file(path).with_context(|| format!("remove {path}"));
    let mut kept = BTreeSet::new();
    for (path, layer) in records(&directory)? {
        if modified(&path) < before {
            remove(&path)?;
        } else {
            kept.insert(layer.digest.hex().to_owned());
        }
    }
    let mut freed = Usage::default();
    for blob in entries(&directory.join(BLOBS))? {
        if !blob.file_name().is_some_and(|name| kept.contains(name)) {
            freed = freed.and(&blob);
            remove(&blob)?;
        }
    }
    Ok(freed)
}

const LAYERS: &str = "layers";
const BLOBS: &str = "blobs";

/// What is said of each layer. A record that can't be read is of no use and counts as older than all.
fn records(directory: &Utf8Path) -> Result<Vec<(Utf8PathBuf, Layer)>> {
    let mut records = Vec::new();
    for path in entries(directory)? {
        let text = fs::read(&path).unwrap_or_default();
        if let Ok(layer) = serde_json::from_slice(&text) {
            records.push((path, layer));
        }
    }
    Ok(records)
}

/// A layer that was just packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub layer: Layer,
    /// The kinds of machine code in its files.
    pub code: BTreeSet<MachineCode>,
}

impl LayerStore {
    /// The layers in `store`, beside its wheels.
    pub fn in_store(store: &Utf8Path) -> Result<LayerStore> {
        Ok(LayerStore {
            directory: store.join(LAYERS),
            _lock: StoreLock::shared(store)?,
        })
    }

    /// The layer of a key, when it is there whole.
    pub fn get(&self, key: &Digest) -> Option<Layer> {
        let record = self.record(key);
        let text = fs::read(&record).ok()?;
        let layer: Layer = serde_json::from_slice(&text).ok()?;
        let size = self.blob(&layer.digest).metadata().ok()?.len();
        if size != layer.size {
            return None;
        }
        mark_used(&record);
        Some(layer)
    }

    /// Packs a layer and keeps it. Whoever makes the same one at the same time makes the same bytes.
    pub fn make(
        &self,
        key: &Digest,
        pack: impl FnOnce(&mut LayerWriter<tempfile::NamedTempFile>) -> Result<()>,
    ) -> Result<Packed> {
        let blobs = self.directory.join(BLOBS);
        fs::create_dir_all(&blobs).with_context(|| format!("make {blobs}"))?;
        let file = tempfile::NamedTempFile::new_in(&blobs)
            .with_context(|| format!("write into {blobs}"))?;
        let mut writer = LayerWriter::new(file);
        pack(&mut writer)?;
        let written = writer.finish()?;
        let path = self.blob(&written.layer.digest);
        written
            .inner
            .persist(&path)
            .with_context(|| format!("write {path}"))?;
        self.keep(key, &written.layer)?;
        Ok(Packed {
            layer: written.layer,
            code: written.code,
        })
    }

    /// Keeps a layer that was made elsewhere, when it is what is said of it. `fetch` writes the blob of its digest.
    pub fn take(
        &self,
        key: &Digest,
        layer: &Layer,
        fetch: impl FnOnce(&Digest, &Utf8Path) -> Result<()>,
    ) -> Result<()> {
        let blob = self.blob(&layer.digest);
        fetch(&layer.digest, &blob)?;
        let file = File::open(&blob).with_context(|| format!("open {blob}"))?;
        let size = file
            .metadata()
            .with_context(|| format!("read {blob}"))?
            .len();
        let diff_id = diff_id(file)?;
        anyhow::ensure!(
            diff_id == layer.diff_id && size == layer.size,
            "layer {} holds {diff_id} in {size} bytes, not {} in {}",
            layer.digest,
            layer.diff_id,
            layer.size
        );
        self.keep(key, layer)
    }

    fn keep(&self, key: &Digest, layer: &Layer) -> Result<()> {
        let text = serde_json::to_string(layer).context("describe a layer")?;
        files::write(&self.record(key), &text)
    }

    /// Where the packed layer of this digest is kept, whether it is there or not.
    pub fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.directory.join(BLOBS).join(digest.hex())
    }

    fn record(&self, key: &Digest) -> Utf8PathBuf {
        self.directory.join(format!("{}.json", key.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::layer::{Mode, Owner};

    #[test]
    fn a_layer_is_packed_once_and_one_that_lost_its_blob_again() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let store = LayerStore::in_store(root).unwrap();
        let key = Digest::of(b"key");
        assert_eq!(store.get(&key), None);
        let pack = |writer: &mut LayerWriter<_>| writer.file("a", Mode::Plain, Owner::Root, b"a");
        let made = store.make(&key, pack).unwrap().layer;
        assert_eq!(store.get(&key), Some(made.clone()));
        let blob = store.blob(&made.digest);
        assert_eq!(Digest::of(&fs::read(&blob).unwrap()), made.digest);
        fs::write(&blob, "half").unwrap();
        assert_eq!(store.get(&key), None);
        assert_eq!(store.make(&key, pack).unwrap().layer, made);
    }

    #[test]
    fn a_layer_made_elsewhere_is_kept_when_it_is_what_is_said_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let elsewhere = LayerStore::in_store(&root.join("elsewhere")).unwrap();
        let here = LayerStore::in_store(&root.join("here")).unwrap();
        let key = Digest::of(b"key");
        let pack = |writer: &mut LayerWriter<_>| writer.file("a", Mode::Plain, Owner::Root, b"a");
        let layer = elsewhere.make(&key, pack).unwrap().layer;
        let fetch = |digest: &Digest, into: &Utf8Path| {
            fs::create_dir_all(into.parent().unwrap())?;
            fs::copy(elsewhere.blob(digest), into)?;
            Ok(())
        };
        let other = Digest::of(b"other");
        for said in [
            Layer {
                diff_id: other,
                ..layer.clone()
            },
            Layer {
                size: 1,
                ..layer.clone()
            },
        ] {
            let error = here.take(&key, &said, fetch).unwrap_err().to_string();
            assert!(
                error.contains(&format!("not {} in {}", said.diff_id, said.size)),
                "{error}"
            );
            assert_eq!(here.get(&key), None);
        }
        here.take(&key, &layer, fetch).unwrap();
        assert_eq!(here.get(&key), Some(layer));
    }

    #[test]
    fn layers_are_cleared_by_their_last_use() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let store = LayerStore::in_store(root).unwrap();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        for (key, text) in [(&old, "1"), (&new, "2")] {
            let pack = |writer: &mut LayerWriter<_>| {
                writer.file(text, Mode::Plain, Owner::Root, text.as_bytes())
            };
            store.make(key, pack).unwrap();
        }
        fs::write(root.join("layers/blobs/.tmp1"), "half").unwrap();
        let age = |key: &Digest, time: SystemTime| {
            let record = File::options()
                .append(true)
                .open(store.record(key))
                .unwrap();
            record.set_modified(time).unwrap();
        };
        let long_ago = SystemTime::UNIX_EPOCH;
        let limit = long_ago + std::time::Duration::from_secs(60);
        age(&old, long_ago);
        age(&new, long_ago);
        // Taking it is using it.
        assert!(store.get(&new).is_some());
        let new_layer = store.get(&new).unwrap();
        let freed = prune(root, limit).unwrap();
        assert_eq!(freed.files, 2, "the old layer and what is half written");
        assert_eq!(store.get(&old), None);
        assert_eq!(store.get(&new), Some(new_layer));
        assert_eq!(uses(root).unwrap().len(), 1);
        assert_eq!(size(root).unwrap().files, 1);
    }
}
