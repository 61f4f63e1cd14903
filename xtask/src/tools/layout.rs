//! OCI image layouts (OCI image specification 1.1, "Image Layout"): a directory of blobs and what ties them together.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

use super::files;
use crate::model::{
    image::{Digest, ImageRef},
    manifest_document::{self, Content, Document},
    platform::Platform,
};

/// One build's result on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    pub directory: Utf8PathBuf,
    /// What the build made: an index, or a single platform's manifest.
    pub top: Document,
    /// One image a platform, in the platforms' order.
    pub images: BTreeMap<Platform, LayoutImage>,
    /// What else the index names: BuildKit's statements about the images.
    pub attestations: Vec<(Document, ImageManifest)>,
}

/// One platform's half.
#[derive(Debug, Clone)]
pub struct LayoutImage {
    /// The manifest as stored.
    pub document: Document,
    pub manifest: ImageManifest,
    pub configuration: ImageConfiguration,
}

impl Layout {
    /// Reads the layout in `directory`: it holds one build, of one or more platforms.
    pub fn open(directory: &Utf8Path) -> Result<Layout> {
        let read = || -> Result<Layout> {
            let index = fs::read(directory.join("index.json")).context("read index.json")?;
            let index: ImageIndex = serde_json::from_slice(&index).context("read index.json")?;
            let [top] = index.manifests().as_slice() else {
                anyhow::bail!(
                    "index.json names {} images, not one",
                    index.manifests().len()
                );
            };
            let mut layout = Layout {
                directory: directory.to_owned(),
                top: document(directory, top)?,
                images: BTreeMap::new(),
                attestations: Vec::new(),
            };
            match layout.top.content().map_err(anyhow::Error::msg)? {
                Content::Manifest(manifest) => {
                    let document = layout.top.clone();
                    layout.add(document, *manifest)?;
                }
                Content::Index(index) => {
                    for descriptor in manifest_document::attestations(&index) {
                        let document = document(directory, descriptor)?;
                        if let Content::Manifest(manifest) =
                            document.content().map_err(anyhow::Error::msg)?
                        {
                            layout.attestations.push((document, *manifest));
                        }
                    }
                    for (_, descriptor) in manifest_document::images(&index) {
                        let document = document(directory, descriptor)?;
                        match document.content().map_err(anyhow::Error::msg)? {
                            Content::Manifest(manifest) => layout.add(document, *manifest)?,
                            Content::Index(_) => {
                                anyhow::bail!("{} nests an index", document.digest)
                            }
                        }
                    }
                }
            }
            Ok(layout)
        };
        read().with_context(|| format!("read the OCI layout {directory}"))
    }

    fn add(&mut self, document: Document, manifest: ImageManifest) -> Result<()> {
        let path = self.blob(&digest(manifest.config())?);
        let bytes = fs::read(&path).with_context(|| format!("read {path}"))?;
        let configuration: ImageConfiguration =
            serde_json::from_slice(&bytes).with_context(|| format!("read {path}"))?;
        let platform = format!("{}/{}", configuration.os(), configuration.architecture());
        let platform: Platform = platform.parse().map_err(anyhow::Error::msg)?;
        let image = LayoutImage {
            document,
            manifest,
            configuration,
        };
        self.images.insert(platform, image);
        Ok(())
    }

    /// Digest of what the build made: that of the index when it is for several platforms.
    pub fn digest(&self) -> &Digest {
        &self.top.digest
    }

    /// Where a blob lies; the layers of an assembled image's base may not be there.
    pub fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        blob(&self.directory, digest)
    }

    /// Makes `into` a layout that holds one platform's image alone, as a scanner takes it; blobs are shared by a link.
    pub fn of_platform(&self, platform: Platform, into: &Utf8Path) -> Result<()> {
        let image = self
            .images
            .get(&platform)
            .with_context(|| format!("{} holds no image for {platform}", self.directory))?;
        let index = index_of(&image.document, &BTreeMap::new());
        fs::create_dir_all(into).with_context(|| format!("make {into}"))?;
        let blobs = self
            .directory
            .join("blobs")
            .canonicalize_utf8()
            .with_context(|| format!("find the blobs of {}", self.directory))?;
        std::os::unix::fs::symlink(&blobs, into.join("blobs"))
            .with_context(|| format!("link {blobs} into {into}"))?;
        files::write(&into.join("oci-layout"), OCI_LAYOUT)?;
        files::write(&into.join("index.json"), &index.to_string())
    }
}

/// A layout that is being made.
pub struct LayoutWriter {
    directory: Utf8PathBuf,
}

impl LayoutWriter {
    /// Empties `directory`.
    pub fn begin(directory: &Utf8Path) -> Result<LayoutWriter> {
        files::remove_directory(directory)?;
        let writer = LayoutWriter {
            directory: directory.to_owned(),
        };
        let blobs = writer.blobs();
        fs::create_dir_all(&blobs).with_context(|| format!("make {blobs}"))?;
        Ok(writer)
    }

    /// Where the blobs are, named by digests.
    pub fn blobs(&self) -> Utf8PathBuf {
        self.directory.join("blobs/sha256")
    }

    /// Adds a document as a blob; its media type is for whatever refers to it to say.
    pub fn put(&self, document: &Document) -> Result<()> {
        self.put_blob(&document.digest, &document.bytes)
    }

    /// Adds a blob under `digest`, which is not compared with the bytes.
    pub fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = blob(&self.directory, digest);
        // Nothing opens the directory before it is finished.
        fs::write(&path, bytes).with_context(|| format!("write {path}"))
    }

    /// Adds a blob that lies in another place: as a hard link, or as a copy on another file system.
    pub fn link(&self, digest: &Digest, from: &Utf8Path) -> Result<()> {
        let path = blob(&self.directory, digest);
        if path.exists() || fs::hard_link(from, &path).is_ok() {
            return Ok(());
        }
        fs::copy(from, &path).with_context(|| format!("copy {from} to {path}"))?;
        Ok(())
    }

    /// Makes `top` what the layout is of.
    pub fn finish(self, top: &Document) -> Result<Layout> {
        self.put(top)?;
        files::write(&self.directory.join("oci-layout"), OCI_LAYOUT)?;
        let index = index_of(top, &BTreeMap::new());
        files::write(&self.directory.join("index.json"), &index.to_string())?;
        Layout::open(&self.directory)
    }
}

/// The file `oci-layout`.
pub const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The file `index.json` of a layout that holds one document.
pub fn index_of(document: &Document, annotations: &BTreeMap<&str, String>) -> serde_json::Value {
    let mut descriptor = serde_json::json!({
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": document.bytes.len(),
    });
    if !annotations.is_empty() {
        descriptor["annotations"] = serde_json::json!(annotations);
    }
    serde_json::json!({ "schemaVersion": 2, "manifests": [descriptor] })
}

impl LayoutImage {
    /// Configuration and layers: all that an image is, besides its manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(self.manifest.config()).chain(self.manifest.layers())
    }

    /// Digests of the layers' uncompressed content, in the order of the layers.
    pub fn diff_ids(&self) -> Result<Vec<Digest>> {
        let diff_ids = self.configuration.rootfs().diff_ids().iter();
        diff_ids
            .map(|text| text.parse().map_err(anyhow::Error::msg))
            .collect()
    }
}

/// The image that another was built on, as its labels have it.
pub fn base_of(configuration: &ImageConfiguration) -> Option<ImageRef> {
    let labels = configuration.config().as_ref()?.labels().as_ref()?;
    let label = |name: &str| labels.get(&format!("org.opencontainers.image.base.{name}"));
    let mut base: ImageRef = label("name")?.parse().ok()?;
    base.digest = label("digest").and_then(|digest| digest.parse().ok());
    Some(base)
}

/// A descriptor's digest.
pub fn digest(descriptor: &Descriptor) -> Result<Digest> {
    manifest_document::digest(descriptor).map_err(anyhow::Error::msg)
}

fn blob(directory: &Utf8Path, digest: &Digest) -> Utf8PathBuf {
    directory.join("blobs/sha256").join(digest.hex())
}

/// Reads an index or manifest and checks that it is what its descriptor promises.
fn document(directory: &Utf8Path, descriptor: &Descriptor) -> Result<Document> {
    let digest = digest(descriptor)?;
    let path = blob(directory, &digest);
    let bytes = fs::read(&path).with_context(|| format!("read {path}"))?;
    let document = Document::new(descriptor.media_type().to_string(), bytes);
    anyhow::ensure!(
        document.digest == digest,
        "{path} holds {}",
        document.digest
    );
    Ok(document)
}
