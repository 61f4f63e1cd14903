//! What is attached to an image: manifests with a `subject` (OCI image specification 1.1), listed by the registry's
//! referrers, else under the tag that the distribution specification gives for registries without such lists.

use anyhow::{Context, Result};
use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::{Arrived, Blob, BlobContent, Reference, Repository};
use crate::model::{
    image::Digest,
    manifest_document::{Content, Document},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of image indexes, and so of lists of referrers (OCI distribution specification, "Listing Referrers").
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The configuration of what has none; its content is `{}`.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A document to attach.
#[derive(Debug)]
pub struct Attachment<'a> {
    /// Media type of the document, which is the artifact's type too.
    pub media_type: &'a str,
    pub content: Vec<u8>,
}

/// What came of attaching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attached {
    Listed,
    /// The registry keeps no lists, and this tag, which would stand in for one, is an image's.
    Nowhere(Reference),
}

impl Repository<'_> {
    /// Attaches documents to a manifest of this repository; one of whose type something is attached already is left out.
    pub fn attach(&self, subject: &Document, attachments: &[Attachment<'_>]) -> Result<Attached> {
        let Some(listed) = self.attachments(&subject.digest)? else {
            return Ok(Attached::Nowhere(fallback_tag(&subject.digest)?));
        };
        let is_new = |one: &&Attachment<'_>| of_type(&listed, one.media_type).is_none();
        let new: Vec<&Attachment<'_>> = attachments.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(Attached::Listed);
        }
        let config = Document::new(EMPTY, b"{}".to_vec());
        self.push_document(&config)?;
        let mut unlisted = Vec::new();
        for attachment in new {
            let kind = attachment.media_type;
            let content = Document::new(kind, attachment.content.clone());
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": kind,
                "config": descriptor(&config),
                "layers": [descriptor(&content)],
                "subject": descriptor(subject),
            });
            self.push_document(&content)?;
            let manifest = Document::new(MANIFEST, manifest.to_string().into_bytes());
            let reference = Reference::Digest(manifest.digest.clone());
            if self.put_manifest(&reference, &manifest)?.subject.is_none() {
                let mut entry = descriptor(&manifest);
                entry["artifactType"] = kind.into();
                unlisted.push(entry);
            }
        }
        if !unlisted.is_empty() {
            self.list_under_tag(&subject.digest, unlisted)?;
        }
        Ok(Attached::Listed)
    }

    fn push_document(&self, document: &Document) -> Result<Arrived> {
        let blob = Blob {
            digest: document.digest.clone(),
            size: document.bytes.len() as u64,
            content: BlobContent::Bytes(document.bytes.clone()),
        };
        self.push_blob(&blob, None)
    }

    /// Enters attachments into the list that stands in for the registry's own.
    fn list_under_tag(&self, subject: &Digest, entries: Vec<Value>) -> Result<()> {
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
        for entry in entries {
            if manifests.iter().all(|one| one["digest"] != entry["digest"]) {
                manifests.push(entry);
            }
        }
        let document = Document::new(INDEX, index.to_string().into_bytes());
        self.put_manifest(&tag, &document)?;
        Ok(())
    }

    /// The list of what is attached to `subject`; None where none can be kept: the registry does not, and an image has
    /// the tag that would stand in for it.
    fn attachments(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        if let Some(listed) = self.referrers(subject)? {
            return Ok(Some(listed));
        }
        let Some(document) = self.manifest(&fallback_tag(subject)?)? else {
            return Ok(Some(Vec::new()));
        };
        match document.content().map_err(anyhow::Error::msg)? {
            Content::Index(index) => Ok(Some(index.manifests().clone())),
            Content::Manifest(_) => Ok(None),
        }
    }

    /// The newest document of this type that is attached to `subject`; None when there is none.
    pub fn attached(&self, subject: &Digest, media_type: &str) -> Result<Option<Vec<u8>>> {
        let listed = self.attachments(subject)?.unwrap_or_default();
        let Some(descriptor) = of_type(&listed, media_type) else {
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
}

/// The newest of a list that has this type.
fn of_type<'l>(listed: &'l [Descriptor], media_type: &str) -> Option<&'l Descriptor> {
    listed.iter().rev().find(|one| {
        one.artifact_type()
            .as_ref()
            .is_some_and(|kind| kind.to_string() == media_type)
    })
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
