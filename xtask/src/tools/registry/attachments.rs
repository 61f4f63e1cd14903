//! What is attached to an image: manifests with a `subject` (OCI image specification 1.1), listed by the registry's
//! referrers, else under the tag that the distribution specification gives for registries without such lists.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Blob, BlobContent, Reference, Repository};
use crate::model::{
    image::Digest,
    manifest_document::{Content, Document},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The configuration of what has none; its content is `{}`.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A document to attach.
#[derive(Debug)]
pub struct Attachment<'a> {
    /// Media type of the document, which is the artifact's type too.
    pub media_type: &'a str,
    pub content: Vec<u8>,
}

impl Repository<'_> {
    /// Attaches a document to a manifest of this repository and gives the digest of the manifest that names both.
    pub fn attach(&self, subject: &Document, attachment: Attachment<'_>) -> Result<Digest> {
        let content = Document::new(attachment.media_type, attachment.content);
        let config = Document::new(EMPTY, b"{}".to_vec());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": attachment.media_type,
            "config": descriptor(&config),
            "layers": [descriptor(&content)],
            "subject": descriptor(subject),
        });
        for document in [config, content] {
            let blob = Blob {
                digest: document.digest,
                size: document.bytes.len() as u64,
                content: BlobContent::Bytes(document.bytes),
            };
            self.push_blob(&blob, None)?;
        }
        let manifest = Document::new(MANIFEST, manifest.to_string().into_bytes());
        let reference = Reference::Digest(manifest.digest.clone());
        let put = self.put_manifest(&reference, &manifest)?;
        if put.subject.is_none() {
            self.list_under_tag(&subject.digest, &manifest, attachment.media_type)?;
        }
        Ok(manifest.digest)
    }

    /// Enters an attachment into the list that stands in for the registry's own.
    fn list_under_tag(&self, subject: &Digest, manifest: &Document, kind: &str) -> Result<()> {
        let tag = fallback_tag(subject)?;
        let listed = self.manifest(&tag)?;
        let mut index: Value = match &listed {
            Some(document) => serde_json::from_slice(&document.bytes)
                .with_context(|| format!("read what is attached to {subject}"))?,
            None => json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }),
        };
        let manifests = index["manifests"]
            .as_array_mut()
            .with_context(|| format!("{tag} is no list of what is attached to {subject}"))?;
        if manifests
            .iter()
            .any(|one| one["digest"] == *manifest.digest.to_string())
        {
            return Ok(());
        }
        let mut entry = descriptor(manifest);
        entry["artifactType"] = kind.into();
        manifests.push(entry);
        let document = Document::new(INDEX, index.to_string().into_bytes());
        self.put_manifest(&tag, &document)?;
        Ok(())
    }

    /// The newest document of this type that is attached to `subject`; None when there is none.
    pub fn attached(&self, subject: &Digest, media_type: &str) -> Result<Option<Vec<u8>>> {
        let listed = match self.referrers(subject)? {
            Some(index) => Some(index),
            None => self.listed_under_tag(subject)?,
        };
        let found = listed.as_ref().and_then(|index| {
            let mut manifests = index.manifests().iter().rev();
            manifests.find(|one| {
                one.artifact_type()
                    .as_ref()
                    .is_some_and(|kind| kind.to_string() == media_type)
            })
        });
        let Some(descriptor) = found else {
            return Ok(None);
        };
        let digest = crate::tools::layout::digest(descriptor)?;
        let document = self
            .manifest(&Reference::Digest(digest.clone()))?
            .with_context(|| format!("{digest}, which is listed as attached, is not there"))?;
        let Content::Manifest(manifest) = document.content().map_err(anyhow::Error::msg)? else {
            anyhow::bail!("{digest}, which is attached, is an index");
        };
        let layer = manifest
            .layers()
            .first()
            .context("an attachment without content")?;
        self.blob(&crate::tools::layout::digest(layer)?).map(Some)
    }

    fn listed_under_tag(&self, subject: &Digest) -> Result<Option<oci_spec::image::ImageIndex>> {
        let Some(document) = self.manifest(&fallback_tag(subject)?)? else {
            return Ok(None);
        };
        match document.content().map_err(anyhow::Error::msg)? {
            Content::Index(index) => Ok(Some(*index)),
            Content::Manifest(_) => Ok(None),
        }
    }
}

/// `sha256-HEX`: "Referrers Tag Schema" of the distribution specification.
fn fallback_tag(subject: &Digest) -> Result<Reference> {
    let tag = format!("sha256-{}", subject.hex());
    Ok(Reference::Tag(tag.parse().map_err(anyhow::Error::msg)?))
}

fn descriptor(document: &Document) -> Value {
    json!({
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": document.bytes.len(),
    })
}
