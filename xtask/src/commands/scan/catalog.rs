//! What images consist of: listed by syft once for each manifest, and kept by its digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use crate::{
    commands::Context,
    model::{image::Digest, manifest_document::Document, platform::Platform},
    tools::{
        evidence::{Evidence, EvidenceStore},
        files, layer,
        layout::{self, Layout, LayoutImage, LayoutWriter},
        registry::Registries,
        syft::{self, Documents},
        work::each,
    },
};

/// The lists of this repository's images.
pub struct Catalogs<'a> {
    registries: &'a Registries<'a>,
    directory: Utf8PathBuf,
    evidence: EvidenceStore,
    jobs: NonZeroUsize,
    /// A layer that several images share is unpacked by the first that asks.
    unpacking: Mutex<()>,
}

/// A platform's image and what its lists call it.
pub struct Subject<'a> {
    pub name: &'a str,
    pub layout: &'a Layout,
    pub platform: Platform,
    pub image: &'a LayoutImage,
}

impl<'a> Catalogs<'a> {
    pub fn new(context: &Context, registries: &'a Registries<'a>) -> Catalogs<'a> {
        let config = &context.resolved.config;
        let cataloguer = format!("syft-{}", config.tools.syft);
        Catalogs {
            registries,
            directory: context.repo.target().join("sboms"),
            evidence: EvidenceStore::in_store(&context.repo.store(), &cataloguer),
            jobs: config.parallelism(),
            unpacking: Mutex::default(),
        }
    }

    /// Where the lists of what a manifest's image holds are kept.
    pub fn documents(&self, manifest: &Digest) -> Documents {
        Documents::in_directory(&self.directory.join(manifest.hex()))
    }

    /// Lists what one platform's image holds, all or nothing; nothing is done when that is there.
    ///
    /// syft is shown the image without what packages are never known by, which is most of it: the lists are the same.
    pub fn make(&self, syft: &Utf8Path, subject: &Subject<'_>) -> Result<()> {
        let manifest = &subject.image.document.digest;
        if self.documents(manifest).cyclonedx.is_file() {
            return Ok(());
        }
        fs::create_dir_all(&self.directory).with_context(|| format!("make {}", self.directory))?;
        let partial = tempfile::tempdir_in(&self.directory)
            .with_context(|| format!("make a directory in {}", self.directory))?;
        let partial = Utf8Path::from_path(partial.path()).context("a path is not UTF-8")?;
        let (shown, made) = (partial.join("layout"), partial.join("documents"));
        fs::create_dir(&made).with_context(|| format!("make {made}"))?;
        let documents = Documents::in_directory(&made);
        let layers = subject.image.manifest.layers().iter();
        let known = |layer: &Descriptor| layer::is_known(layer.media_type().as_ref());
        if layers.clone().all(known) {
            let reduced = self.reduce(subject, &shown)?;
            syft::catalog(syft, &shown, subject.name, &documents)?;
            let named = reduced.restore(&documents)?;
            let _turn = self.turn();
            self.evidence.trim(&reduced.layers, &named)?;
        } else {
            for layer in layers {
                self.blob(subject, layer)?;
            }
            subject.layout.of_platform(subject.platform, &shown)?;
            syft::catalog(syft, &shown, subject.name, &documents)?;
        }
        let place = self.directory.join(manifest.hex());
        // Another process may have been faster; its lists are as good.
        if let Err(error) = fs::rename(&made, &place)
            && !place.is_dir()
        {
            return Err(error).with_context(|| format!("move {made} to {place}"));
        }
        Ok(())
    }

    /// Makes `into` a layout that holds the image with what syft learns from alone.
    fn reduce(&self, subject: &Subject<'_>, into: &Utf8Path) -> Result<Reduced> {
        let writer = LayoutWriter::begin(into)?;
        let diff_ids = subject.image.diff_ids()?;
        let layers = subject.image.manifest.layers().iter().zip(diff_ids);
        let layers: Vec<(&Descriptor, Digest)> = layers.collect();
        let place = |digest: &Digest| {
            let kept = self.evidence.get(digest)?;
            writer
                .link(&kept.digest, &self.evidence.blob(&kept.digest))
                .ok()?;
            Some(kept)
        };
        let turn = self.turn();
        let kept = each(&layers, self.jobs, |(descriptor, diff_id)| {
            let kept = match place(diff_id) {
                Some(kept) => kept,
                None => {
                    let blob = self.blob(subject, descriptor)?;
                    let media_type = descriptor.media_type().to_string();
                    self.evidence.make(diff_id, &blob, &media_type)?;
                    place(diff_id).with_context(|| format!("layer {diff_id} is gone"))?
                }
            };
            Ok((diff_id.clone(), kept))
        });
        drop(turn);
        let kept: Vec<(Digest, Evidence)> = kept.into_iter().collect::<Result<_>>()?;

        let document = |media_type: MediaType, value: &Value| {
            Document::new(media_type.to_string(), value.to_string().into_bytes())
        };
        let mut configuration = serde_json::to_value(&subject.image.configuration)?;
        let digests = kept.iter().map(|(_, kept)| kept.digest.to_string());
        configuration["rootfs"]["diff_ids"] = digests.collect();
        let configuration = document(MediaType::ImageConfig, &configuration);
        let described = |media_type: MediaType, digest: &Digest, size: u64| json!({ "mediaType": media_type, "digest": digest, "size": size });
        let layers = kept.iter();
        let layers =
            layers.map(|(_, kept)| described(MediaType::ImageLayer, &kept.digest, kept.size));
        let size = configuration.bytes.len() as u64;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": described(MediaType::ImageConfig, &configuration.digest, size),
            "layers": layers.collect::<Value>(),
        });
        let manifest = document(MediaType::ImageManifest, &manifest);
        writer.put(&configuration)?;
        writer.finish(&manifest)?;
        let mut digests =
            BTreeMap::from([(manifest.digest, subject.image.document.digest.clone())]);
        // Of layers that are the same without what was left out, the files of the uppermost are seen.
        let layers = kept
            .iter()
            .map(|(digest, kept)| (kept.digest.clone(), digest.clone()));
        digests.extend(layers);
        Ok(Reduced {
            layers: kept.into_iter().map(|(digest, _)| digest).collect(),
            digests,
        })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.unpacking
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A layer's blob; one of the base image's is fetched into a layout that was made without them.
    fn blob(&self, subject: &Subject<'_>, descriptor: &Descriptor) -> Result<Utf8PathBuf> {
        let digest = layout::digest(descriptor)?;
        let path = subject.layout.blob(&digest);
        if !path.exists() {
            let base = layout::base_of(&subject.image.configuration).with_context(|| {
                let directory = &subject.layout.directory;
                format!("{digest} is not in {directory}, which names no base image")
            })?;
            self.registries.repository(&base).download(&digest, &path)?;
        }
        Ok(path)
    }
}

/// An image as it was shown to syft.
struct Reduced {
    /// Digests of the layers' content.
    layers: Vec<Digest>,
    /// What stands for what: the manifest's digest and those of the layers.
    digests: BTreeMap<Digest, Digest>,
}

impl Reduced {
    /// Has the lists name the image and its layers by what they are; returns the paths that they name, without a
    /// leading slash.
    fn restore(&self, documents: &Documents) -> Result<BTreeSet<String>> {
        let read = |path: &Utf8Path| -> Result<Value> {
            let mut text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
            for (shown, digest) in &self.digests {
                text = text.replace(shown.hex(), digest.hex());
            }
            serde_json::from_str(&text).with_context(|| format!("read {path}"))
        };
        let cyclonedx = read(&documents.cyclonedx)?;
        let mut spdx = read(&documents.spdx)?;
        only_related(&mut spdx);
        for (path, document) in [(&documents.cyclonedx, &cyclonedx), (&documents.spdx, &spdx)] {
            files::write(path, &document.to_string())?;
        }
        Ok(named(&cyclonedx))
    }
}

/// Takes out of an SPDX document the files that nothing in it is about: every program of an image is listed, whether a
/// package is known by it or not.
fn only_related(spdx: &mut Value) {
    let relationships = spdx["relationships"].as_array().into_iter().flatten();
    let ends = relationships.flat_map(|one| [&one["spdxElementId"], &one["relatedSpdxElement"]]);
    let related: BTreeSet<String> = ends
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    if let Some(files) = spdx["files"].as_array_mut() {
        files.retain(|file| {
            file["SPDXID"]
                .as_str()
                .is_some_and(|id| related.contains(id))
        });
    }
}

/// The paths of files that the components of a CycloneDX document are known by (`syft:location:NUMBER:path`).
fn named(cyclonedx: &Value) -> BTreeSet<String> {
    let components = cyclonedx["components"].as_array().into_iter().flatten();
    let properties = components.flat_map(|one| one["properties"].as_array().into_iter().flatten());
    let paths = properties.filter_map(|property| {
        let name = property["name"].as_str()?;
        let is_path = name.starts_with("syft:location:") && name.ends_with(":path");
        is_path.then(|| property["value"].as_str())?
    });
    paths
        .map(|path| path.trim_start_matches('/').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_restored_to_the_image_that_was_reduced() {
        let directory = tempfile::tempdir().unwrap();
        let documents = Documents::in_directory(Utf8Path::from_path(directory.path()).unwrap());
        let [shown, layer, whole, content] = [b"a", b"b", b"c", b"d"].map(|one| Digest::of(one));
        let properties = json!([
            { "name": "syft:location:0:layerID", "value": layer },
            { "name": "syft:location:0:path", "value": "/usr/a.dist-info/METADATA" },
            { "name": "syft:package:foundBy", "value": "/no/path" },
        ]);
        let cyclonedx = json!({
            "metadata": { "component": { "version": shown } },
            "components": [{ "properties": properties }, { "name": "without any" }],
        });
        let spdx = json!({
            "files": [{ "SPDXID": "of-a-package", "comment": format!("layerID: {layer}") }, { "SPDXID": "loose" }],
            "packages": [{ "checksums": [{ "checksumValue": shown.hex() }] }],
            "relationships": [{ "spdxElementId": "package", "relatedSpdxElement": "of-a-package" }],
        });
        fs::write(&documents.cyclonedx, cyclonedx.to_string()).unwrap();
        fs::write(&documents.spdx, spdx.to_string()).unwrap();
        let reduced = Reduced {
            layers: Vec::new(),
            digests: [(shown, whole.clone()), (layer, content.clone())].into(),
        };
        let named = reduced.restore(&documents).unwrap();
        assert_eq!(named, ["usr/a.dist-info/METADATA".to_owned()].into());
        let read = |path: &Utf8Path| -> Value {
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        };
        let (cyclonedx, spdx) = (read(&documents.cyclonedx), read(&documents.spdx));
        assert_eq!(cyclonedx["metadata"]["component"]["version"], json!(whole));
        assert_eq!(
            cyclonedx["components"][0]["properties"][0]["value"],
            json!(content)
        );
        let files = json!([{ "SPDXID": "of-a-package", "comment": format!("layerID: {content}") }]);
        assert_eq!(spdx["files"], files);
        assert_eq!(
            spdx["packages"][0]["checksums"][0]["checksumValue"],
            whole.hex()
        );
    }
}
