//! What a tag points to, and which of it is really there.

use std::collections::HashMap;

use anyhow::{Error, Result};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};

use super::{Reference, Repository, address::is_docker_hub};
use crate::{
    model::{
        image::{Digest, Tag},
        manifest_document::{self, Content, Document},
        platform::Platform,
    },
    tools::layout::digest,
};

/// Where an image says which version it is: Airbyte's label, then that of the OCI image specification.
const VERSION: [&str; 2] = ["io.airbyte.version", "org.opencontainers.image.version"];

/// What a tag points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// Of the index, or of the only manifest.
    pub digest: Digest,
    /// The images that are there; an index may name more.
    pub platforms: Vec<(Platform, Digest)>,
}

impl Repository<'_> {
    /// What is under `tag`, asked in a way that counts as no pull where there is one.
    pub fn tagged(&self, tag: &Tag) -> Result<Option<Tagged>> {
        if is_docker_hub(&self.registry) {
            return self.on_docker_hub(tag);
        }
        let digest = self.digest(&Reference::Tag(tag.clone()))?;
        digest.map(|digest| self.on_registry(digest)).transpose()
    }

    /// The same of what a tag points to, by the API that every registry has.
    pub fn on_registry(&self, digest: Digest) -> Result<Tagged> {
        let document = self.manifest(&Reference::Digest(digest.clone()))?;
        let platforms = match document {
            Some(document) => self.present(&document)?,
            None => Vec::new(),
        };
        Ok(Tagged { digest, platforms })
    }

    /// The images of an index that are there, or the one that a manifest is.
    fn present(&self, document: &Document) -> Result<Vec<(Platform, Digest)>> {
        match document.content().map_err(Error::msg)? {
            Content::Manifest(manifest) => {
                let configuration = self.configuration(&manifest)?;
                let text = format!("{}/{}", configuration.os(), configuration.architecture());
                let platform = text.parse().ok();
                Ok(platform
                    .map(|platform| (platform, document.digest.clone()))
                    .into_iter()
                    .collect())
            }
            Content::Index(index) => {
                let mut present = Vec::new();
                for (platform, descriptor) in manifest_document::images(&index) {
                    let digest = digest(descriptor)?;
                    if self.digest(&Reference::Digest(digest.clone()))?.is_some() {
                        present.push((platform, digest));
                    }
                }
                present.sort();
                Ok(present)
            }
        }
    }

    /// The version that an image says it is, by an annotation of its index or a label; None when it says nothing.
    pub fn version(&self, digest: &Digest) -> Result<Option<String>> {
        let Some(document) = self.manifest(&Reference::Digest(digest.clone()))? else {
            return Ok(None);
        };
        let manifest = match document.content().map_err(Error::msg)? {
            Content::Manifest(manifest) => *manifest,
            Content::Index(index) => {
                if let Some(version) = version_in(index.annotations().as_ref()) {
                    return Ok(Some(version));
                }
                match self.first_image(&manifest_document::images(&index))? {
                    Some(manifest) => manifest,
                    None => return Ok(None),
                }
            }
        };
        let configuration = self.configuration(&manifest)?;
        let labels = configuration
            .config()
            .as_ref()
            .and_then(|config| config.labels().as_ref());
        Ok(version_in(labels))
    }

    fn first_image(&self, images: &[(Platform, &Descriptor)]) -> Result<Option<ImageManifest>> {
        for (_, descriptor) in images {
            let Some(document) = self.manifest(&Reference::Digest(digest(descriptor)?))? else {
                continue;
            };
            if let Content::Manifest(manifest) = document.content().map_err(Error::msg)? {
                return Ok(Some(*manifest));
            }
        }
        Ok(None)
    }

    /// The configuration that a manifest names.
    pub fn configuration(&self, manifest: &ImageManifest) -> Result<ImageConfiguration> {
        let digest = digest(manifest.config())?;
        let bytes = self.blob(&digest)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| anyhow::anyhow!("read the configuration {digest}: {error}"))
    }
}

fn version_in(labels: Option<&HashMap<String, String>>) -> Option<String> {
    let labels = labels?;
    VERSION.iter().find_map(|name| labels.get(*name)).cloned()
}
