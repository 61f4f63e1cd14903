//! Manifests and configurations of base images: asked of the registry once for each digest, then kept.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::ImageManifest;
use serde_json::Value;

use super::{
    files, layout,
    registry::{Reference, Registries, Repository},
    wheel_store::{self, Usage, entries, mark_used},
};
use crate::model::{
    image::{Digest, ImageRef},
    manifest_document::{self, Content, Document},
    platform::Platform,
    problem::Problem,
};

/// A base image as far as an image on top of it needs to know it.
#[derive(Debug)]
pub struct Base {
    pub platforms: BTreeMap<Platform, BasePlatform>,
}

#[derive(Debug)]
pub struct BasePlatform {
    pub manifest: ImageManifest,
    /// As it stands: what a later version of the specification adds is kept.
    pub configuration: Value,
}

/// How much the documents kept in `store` take up.
pub fn size(store: &Utf8Path) -> Result<Usage> {
    Ok(Usage::of(&entries(&store.join(BASES))?))
}

/// When each document kept in `store` was last used, and its bytes.
pub fn uses(store: &Utf8Path) -> Result<Vec<(SystemTime, u64)>> {
    Ok(wheel_store::uses(&entries(&store.join(BASES))?))
}

/// Removes those that were last used before `before`; who wants one again asks the registry.
pub fn prune(store: &Utf8Path, before: SystemTime) -> Result<Usage> {
    wheel_store::prune(&entries(&store.join(BASES))?, before)
}

const BASES: &str = "bases";

/// The base images of one run.
pub struct BaseStore<'r> {
    registries: Registries<'r>,
    directory: Utf8PathBuf,
    known: Mutex<HashMap<ImageRef, Arc<Base>>>,
}

impl<'r> BaseStore<'r> {
    /// Keeps documents in `store`, each under its digest.
    pub fn new(registries: Registries<'r>, store: &Utf8Path) -> BaseStore<'r> {
        BaseStore {
            registries,
            directory: store.join(BASES),
            known: Mutex::default(),
        }
    }

    /// What there is of `image` on `platforms`; an error when it lacks one of them.
    pub fn get(&self, image: &ImageRef, platforms: &[Platform]) -> Result<Arc<Base>> {
        // Held while it is read: connectors that share a base wait for one answer.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(image) {
            let base = self
                .read(image)
                .with_context(|| format!("read base image {image}"))?;
            known.insert(image.clone(), Arc::new(base));
        }
        let base = Arc::clone(&known[image]);
        let lacking = platforms
            .iter()
            .find(|platform| !base.platforms.contains_key(platform));
        match lacking {
            None => Ok(base),
            Some(platform) => Err(Problem::failure(format!(
                "base image {image} has nothing for {platform}"
            ))
            .help("`--platform` names fewer platforms; a newer base may have them all")
            .into()),
        }
    }

    fn read(&self, image: &ImageRef) -> Result<Base> {
        let repository = self.registries.repository(image);
        let digest = match &image.digest {
            Some(digest) => digest.clone(),
            None => self.digest(&repository, image)?,
        };
        let top = self.document(&repository, &digest)?;
        let mut base = Base {
            platforms: BTreeMap::new(),
        };
        match top.content().map_err(anyhow::Error::msg)? {
            Content::Manifest(manifest) => self.add(&repository, &mut base, *manifest)?,
            Content::Index(index) => {
                for (_, descriptor) in manifest_document::images(&index) {
                    let document = self.document(&repository, &layout::digest(descriptor)?)?;
                    match document.content().map_err(anyhow::Error::msg)? {
                        Content::Manifest(manifest) => {
                            self.add(&repository, &mut base, *manifest)?;
                        }
                        Content::Index(_) => anyhow::bail!("{} nests an index", document.digest),
                    }
                }
            }
        }
        Ok(base)
    }

    fn digest(&self, repository: &Repository<'_>, image: &ImageRef) -> Result<Digest> {
        let tag = image.tag.clone().map_or_else(|| "latest".parse(), Ok);
        let tag = tag.map_err(anyhow::Error::msg)?;
        let found = repository.digest(&Reference::Tag(tag))?;
        found.ok_or_else(|| missing(image).into())
    }

    fn add(
        &self,
        repository: &Repository<'_>,
        base: &mut Base,
        manifest: ImageManifest,
    ) -> Result<()> {
        let digest = layout::digest(manifest.config())?;
        let bytes = self.kept(&digest, || repository.blob(&digest))?;
        let configuration: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("read configuration {digest}"))?;
        let text = |key: &str| configuration[key].as_str().unwrap_or_default();
        let platform = format!("{}/{}", text("os"), text("architecture"));
        // An image for another machine is none that connectors are built for.
        if let Ok(platform) = platform.parse() {
            let of_platform = BasePlatform {
                manifest,
                configuration,
            };
            base.platforms.insert(platform, of_platform);
        }
        Ok(())
    }

    /// An index or manifest. Its media type is what it says itself, as both specifications ask for.
    fn document(&self, repository: &Repository<'_>, digest: &Digest) -> Result<Document> {
        let bytes = self.kept(digest, || {
            let found = repository.manifest(&Reference::Digest(digest.clone()))?;
            let document = found.ok_or_else(|| {
                let name = format!("{}@{digest}", repository.full_name());
                missing(name)
            })?;
            Ok(document.bytes)
        })?;
        let value: Value =
            serde_json::from_slice(&bytes).with_context(|| format!("read {digest}"))?;
        let said = value["mediaType"].as_str();
        let media_type = said.unwrap_or(if value["manifests"].is_array() {
            "application/vnd.oci.image.index.v1+json"
        } else {
            "application/vnd.oci.image.manifest.v1+json"
        });
        Ok(Document::new(media_type, bytes))
    }

    /// What is kept under a digest, as long as it is whole; else what `fetch` brings.
    fn kept(&self, digest: &Digest, fetch: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let path = self.directory.join(digest.hex());
        if let Ok(bytes) = fs::read(&path)
            && Digest::of(&bytes) == *digest
        {
            mark_used(&path);
            return Ok(bytes);
        }
        let bytes = fetch()?;
        files::write_bytes(&path, &bytes)?;
        Ok(bytes)
    }
}

fn missing(image: impl std::fmt::Display) -> Problem {
    Problem::failure(format!("base image {image} is not there")).help(
        "check connectorBuildOptions.baseImage in metadata.yaml, and `mirrors` in `cargo xtask config`",
    )
}
