//! Layers that were packed before, by what went into them: one blob serves every connector that locks the same wheels.
//!
//! `layers/KEY.json` says what the layer of a key is, `layers/blobs/HEX` is it.

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{files, layer::LayerWriter};
use crate::model::{image::Digest, layer::Layer};

pub struct LayerStore {
    directory: Utf8PathBuf,
}

impl LayerStore {
    /// The layers in `store`, beside its wheels.
    pub fn in_store(store: &Utf8Path) -> LayerStore {
        LayerStore {
            directory: store.join("layers"),
        }
    }

    /// The layer of a key, when it is there whole.
    pub fn get(&self, key: &Digest) -> Option<Layer> {
        let text = fs::read(self.record(key)).ok()?;
        let layer: Layer = serde_json::from_slice(&text).ok()?;
        let size = self.blob(&layer.digest).metadata().ok()?.len();
        (size == layer.size).then_some(layer)
    }

    /// Packs a layer and keeps it. Whoever makes the same one at the same time makes the same bytes.
    pub fn make(
        &self,
        key: &Digest,
        pack: impl FnOnce(&mut LayerWriter<tempfile::NamedTempFile>) -> Result<()>,
    ) -> Result<Layer> {
        let blobs = self.directory.join("blobs");
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
        let text = serde_json::to_string(&written.layer).context("describe a layer")?;
        files::write(&self.record(key), &text)?;
        Ok(written.layer)
    }

    pub fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.directory.join("blobs").join(digest.hex())
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
        let store = LayerStore::in_store(Utf8Path::from_path(directory.path()).unwrap());
        let key = Digest::of(b"key");
        assert_eq!(store.get(&key), None);
        let pack = |writer: &mut LayerWriter<_>| writer.file("a", Mode::Plain, Owner::Root, b"a");
        let made = store.make(&key, pack).unwrap();
        assert_eq!(store.get(&key), Some(made.clone()));
        let blob = store.blob(&made.digest);
        assert_eq!(Digest::of(&fs::read(&blob).unwrap()), made.digest);
        fs::write(&blob, "half").unwrap();
        assert_eq!(store.get(&key), None);
        assert_eq!(store.make(&key, pack).unwrap(), made);
    }
}
