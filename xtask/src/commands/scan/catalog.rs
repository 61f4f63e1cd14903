//! What images consist of: listed by syft once for each manifest, and kept by its digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard},
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use crate::{
    commands::Context,
    model::{image::Digest, manifest_document::Document, platform::Platform},
    tools::{
        evidence::{self, Evidence, EvidenceStore, Shown},
        files, layer,
        layout::{self, Layout, LayoutImage, LayoutWriter},
        registry::Registries,
        syft::{self, Documents},
        work::{each, lock},
    },
};

/// The lists of this repository's images.
pub struct Catalogs<'a> {
    registries: &'a Registries<'a>,
    /// Of the lists that this syft made; another one may find more.
    directory: Utf8PathBuf,
    attached: Utf8PathBuf,
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
    /// Lists nothing yet; what this version of syft listed in earlier runs is found again.
    pub fn new(context: &Context, registries: &'a Registries<'a>) -> Catalogs<'a> {
        let config = &context.resolved.config;
        let cataloguer = evidence::cataloguer(&config.tools.syft);
        let directory = context.repo.target().join("sboms");
        Catalogs {
            registries,
            directory: directory.join(&cataloguer),
            attached: directory.join("attached"),
            evidence: EvidenceStore::in_store(&context.repo.store(), &cataloguer),
            jobs: config.parallelism(),
            unpacking: Mutex::default(),
        }
    }

    /// Where the lists of what a manifest's image holds are kept that were made here, by this syft.
    pub fn documents(&self, manifest: &Digest) -> Documents {
        Documents::in_directory(&self.directory.join(manifest.hex()))
    }

    /// Where the list is kept that a registry has of a manifest's image, in CycloneDX. It says what was published, and
    /// never stands for what is built here.
    pub fn attached(&self, manifest: &Digest) -> Utf8PathBuf {
        self.attached.join(format!("{}.json", manifest.hex()))
    }

    /// The list of what a manifest's image holds, in CycloneDX: one that was made here, else the one from a registry.
    pub fn kept(&self, manifest: &Digest) -> Option<Utf8PathBuf> {
        let lists = [self.documents(manifest).cyclonedx, self.attached(manifest)];
        lists.into_iter().find(|list| list.is_file())
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
        // Another process may remove what is not linked.
        let place = |diff_id: &Digest| {
            let kept = self.evidence.get(diff_id)?;
            let blob = self.evidence.blob(&kept.digest);
            writer.link(&kept.digest, &blob).ok()?;
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
        let layers = kept.iter().map(|(layer, _)| layer.clone()).collect();
        let shown = evidence::show(kept, &writer.blobs())?;

        let document = |media_type: MediaType, value: &Value| {
            Document::new(media_type.to_string(), value.to_string().into_bytes())
        };
        let mut configuration = serde_json::to_value(&subject.image.configuration)?;
        let digests = shown.iter().map(|shown| shown.digest.to_string());
        configuration["rootfs"]["diff_ids"] = digests.collect();
        let configuration = document(MediaType::ImageConfig, &configuration);
        let described = |media_type: MediaType, digest: &Digest, size: u64| json!({ "mediaType": media_type, "digest": digest, "size": size });
        let described_layers = shown
            .iter()
            .map(|shown| described(MediaType::ImageLayer, &shown.digest, shown.size));
        let size = configuration.bytes.len() as u64;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest,
            "config": described(MediaType::ImageConfig, &configuration.digest, size),
            "layers": described_layers.collect::<Value>(),
        });
        let manifest = document(MediaType::ImageManifest, &manifest);
        writer.put(&configuration)?;
        writer.finish(&manifest)?;
        Ok(Reduced {
            manifest: (manifest.digest, subject.image.document.digest.clone()),
            layers,
            shown,
        })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.unpacking)
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
    /// The digest of the manifest that was shown, and that of the image's own.
    manifest: (Digest, Digest),
    /// Digests of the layers' content.
    layers: Vec<Digest>,
    shown: Vec<Shown>,
}

impl Reduced {
    /// Has the lists name the image and its layers by what they are; returns the paths that they name, without a
    /// leading slash.
    fn restore(&self, documents: &Documents) -> Result<BTreeSet<String>> {
        let read = |path: &Utf8Path| -> Result<Value> {
            let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
            let (shown, manifest) = &self.manifest;
            let text = text.replace(shown.hex(), manifest.hex());
            serde_json::from_str(&text).with_context(|| format!("read {path}"))
        };
        let (mut cyclonedx, mut spdx) = (read(&documents.cyclonedx)?, read(&documents.spdx)?);
        for component in elements(&mut cyclonedx["components"]) {
            self.restore_properties(component)?;
        }
        for file in elements(&mut spdx["files"]) {
            let shown = file["comment"]
                .as_str()
                .and_then(|comment| comment.strip_prefix("layerID: "));
            if let (Some(shown), Some(path)) = (shown, file["fileName"].as_str()) {
                file["comment"] = format!("layerID: {}", self.holder(shown, path)?).into();
            }
        }
        only_related(&mut spdx);
        for (path, document) in [(&documents.cyclonedx, &cyclonedx), (&documents.spdx, &spdx)] {
            files::write(path, &document.to_string())?;
        }
        Ok(named(&cyclonedx))
    }

    /// The places of a component in a CycloneDX document: `syft:location:NUMBER:path` and `...:layerID`.
    fn restore_properties(&self, component: &mut Value) -> Result<()> {
        let paths: BTreeMap<String, String> = elements(&mut component["properties"])
            .filter_map(|property| {
                Some((
                    location(property, ":path")?,
                    property["value"].as_str()?.to_owned(),
                ))
            })
            .collect();
        for property in elements(&mut component["properties"]) {
            let path = location(property, ":layerID").and_then(|number| paths.get(&number));
            if let (Some(path), Some(shown)) = (path, property["value"].as_str()) {
                property["value"] = json!(self.holder(shown, path)?);
            }
        }
        Ok(())
    }

    /// The image's layer that holds the file at `path` of the layer that was shown.
    fn holder(&self, shown: &str, path: &str) -> Result<&Digest> {
        // Of layers that are the same without what was left out, the files of the uppermost are seen.
        let layer = self
            .shown
            .iter()
            .rfind(|layer| layer.digest.to_string() == shown);
        layer
            .and_then(|layer| layer.holder(path.trim_start_matches('/')))
            .with_context(|| format!("syft names {path} of layer {shown}, which has none such"))
    }
}

fn elements(array: &mut Value) -> impl Iterator<Item = &mut Value> {
    array.as_array_mut().into_iter().flatten()
}

/// The number of the place that a component's property is about, when it tells `what` of it.
fn location(property: &Value, what: &str) -> Option<String> {
    let name = property["name"].as_str()?;
    let number = name.strip_prefix("syft:location:")?.strip_suffix(what)?;
    Some(number.to_owned())
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
    let paths = properties
        .filter_map(|property| location(property, ":path").and(property["value"].as_str()));
    paths
        .map(|path| path.trim_start_matches('/').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evidence::LayerFiles;

    #[test]
    fn lists_are_restored_to_the_image_that_was_reduced() {
        let directory = tempfile::tempdir().unwrap();
        let documents = Documents::in_directory(Utf8Path::from_path(directory.path()).unwrap());
        let [manifest, alone, merged, whole, base, a, b] =
            [b"1", b"2", b"3", b"4", b"5", b"6", b"7"].map(|one| Digest::of(one));
        let place = |number: usize, layer: &Digest, path: &str| {
            let property = |what: &str, value: &str| json!({ "name": format!("syft:location:{number}:{what}"), "value": value });
            [
                property("layerID", &layer.to_string()),
                property("path", path),
            ]
        };
        let mut properties = place(0, &merged, "/usr/b.dist-info/METADATA").to_vec();
        properties.extend(place(1, &alone, "/var/lib/dpkg/status"));
        properties.push(json!({ "name": "syft:package:foundBy", "value": "/no/path" }));
        let cyclonedx = json!({
            "metadata": { "component": { "version": manifest } },
            "components": [{ "properties": properties }, { "name": "without any" }],
        });
        let spdx = json!({
            "files": [
                { "SPDXID": "of-a-package", "fileName": "usr/a.dist-info/METADATA", "comment": format!("layerID: {merged}") },
                { "SPDXID": "loose" },
            ],
            "packages": [{ "checksums": [{ "checksumValue": manifest.hex() }] }],
            "relationships": [{ "spdxElementId": "package", "relatedSpdxElement": "of-a-package" }],
        });
        fs::write(&documents.cyclonedx, cyclonedx.to_string()).unwrap();
        fs::write(&documents.spdx, spdx.to_string()).unwrap();
        let files = |paths: &[&str]| LayerFiles {
            others: paths.iter().map(|path| (*path).to_owned()).collect(),
            ..LayerFiles::default()
        };
        let shown = |digest: &Digest, layers: Vec<(Digest, LayerFiles)>| Shown {
            digest: digest.clone(),
            size: 0,
            layers,
        };
        let mut reduced = Reduced {
            manifest: (manifest, whole.clone()),
            layers: Vec::new(),
            shown: vec![
                shown(&alone, vec![(base.clone(), files(&[]))]),
                shown(
                    &merged,
                    vec![
                        (a.clone(), files(&["usr/a.dist-info/METADATA"])),
                        (b.clone(), files(&["usr/b.dist-info/METADATA"])),
                    ],
                ),
            ],
        };
        let named = reduced.restore(&documents).unwrap();
        let paths = ["usr/b.dist-info/METADATA", "var/lib/dpkg/status"];
        assert_eq!(named, paths.map(str::to_owned).into());
        let read = |path: &Utf8Path| -> Value {
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        };
        let (cyclonedx, spdx) = (read(&documents.cyclonedx), read(&documents.spdx));
        assert_eq!(cyclonedx["metadata"]["component"]["version"], json!(whole));
        let properties = &cyclonedx["components"][0]["properties"];
        assert_eq!(properties[0]["value"], json!(b));
        assert_eq!(properties[2]["value"], json!(base));
        assert_eq!(spdx["files"].as_array().unwrap().len(), 1);
        assert_eq!(spdx["files"][0]["comment"], format!("layerID: {a}"));
        assert_eq!(
            spdx["packages"][0]["checksums"][0]["checksumValue"],
            whole.hex()
        );

        reduced.shown.clear();
        let error = reduced.restore(&documents).unwrap_err().to_string();
        assert!(error.contains("which has none such"), "{error}");
    }
}
