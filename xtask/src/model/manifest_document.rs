//! Image indexes and manifests as a registry stores them: bytes, of which every one counts for the digest.

use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, MediaType, Os};

use super::{image::Digest, platform::Platform};

/// Docker's own names for what the OCI image specification calls index and manifest.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a client takes when it asks for a tag or digest.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// One index or manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Index(Box<ImageIndex>),
    Manifest(Box<ImageManifest>),
}

impl Document {
    /// Of bytes that came or will be sent. The digest is made of them; whether they are what the media type says is for
    /// [`content`](Self::content) to find.
    pub fn new(media_type: impl Into<String>, bytes: Vec<u8>) -> Document {
        Document {
            digest: Digest::of(&bytes),
            media_type: media_type.into(),
            bytes,
        }
    }

    /// Reads the document by its media type.
    pub fn content(&self) -> Result<Content, String> {
        let unreadable = |error: serde_json::Error| {
            format!(
                "{} ({}) can't be read: {error}",
                self.digest, self.media_type
            )
        };
        match self.media_type.as_str() {
            text if text == DOCKER_INDEX || text == MediaType::ImageIndex.as_ref() => {
                serde_json::from_slice(&self.bytes)
                    .map(Content::Index)
                    .map_err(unreadable)
            }
            text if text == DOCKER_MANIFEST || text == MediaType::ImageManifest.as_ref() => {
                serde_json::from_slice(&self.bytes)
                    .map(Content::Manifest)
                    .map_err(unreadable)
            }
            other => Err(format!("{} is a {other}, no image", self.digest)),
        }
    }
}

/// The images of an index with their platforms; attestations (unknown/unknown) and platforms that connectors are not
/// built for are left out.
pub fn images(index: &ImageIndex) -> Vec<(Platform, &Descriptor)> {
    let of = |descriptor: &Descriptor| {
        let platform = descriptor.platform().as_ref()?;
        match (platform.os(), platform.architecture()) {
            (Os::Linux, Arch::Amd64) => Some(Platform::LinuxAmd64),
            (Os::Linux, Arch::ARM64) => Some(Platform::LinuxArm64),
            _ => None,
        }
    };
    index
        .manifests()
        .iter()
        .filter_map(|descriptor| Some((of(descriptor)?, descriptor)))
        .collect()
}

/// What an index names beside images: BuildKit's attestations, which are for the platform `unknown/unknown`.
pub fn attestations(index: &ImageIndex) -> Vec<&Descriptor> {
    let is_attestation = |descriptor: &&Descriptor| {
        let platform = descriptor.platform().as_ref();
        platform.is_some_and(|platform| platform.os().to_string() == "unknown")
    };
    index.manifests().iter().filter(is_attestation).collect()
}

/// A descriptor's digest; an error for algorithms other than sha256.
pub fn digest(descriptor: &Descriptor) -> Result<Digest, String> {
    descriptor.digest().to_string().parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916";

    fn index(platforms: &[(&str, &str)]) -> ImageIndex {
        let manifests: Vec<serde_json::Value> = platforms
            .iter()
            .map(|(os, architecture)| {
                serde_json::json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": format!("sha256:{HEX}"), "size": 3,
                    "platform": {"os": os, "architecture": architecture}
                })
            })
            .collect();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        serde_json::from_value(index).unwrap()
    }

    #[test]
    fn attestations_and_foreign_platforms_are_no_images() {
        let index = index(&[
            ("linux", "arm64"),
            ("unknown", "unknown"),
            ("linux", "s390x"),
            ("windows", "amd64"),
            ("linux", "amd64"),
        ]);
        let found: Vec<Platform> = images(&index)
            .iter()
            .map(|(platform, _)| *platform)
            .collect();
        assert_eq!(found, [Platform::LinuxArm64, Platform::LinuxAmd64]);
        assert_eq!(digest(images(&index)[0].1).unwrap().hex(), HEX);
        assert_eq!(attestations(&index).len(), 1);
    }

    #[test]
    fn media_types_decide_how_a_document_is_read() {
        let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
        for (media_type, bytes, expected) in [
            (DOCKER_INDEX, empty, Ok(true)),
            ("application/vnd.oci.image.index.v1+json", empty, Ok(true)),
            (DOCKER_MANIFEST, empty, Err("missing field")),
            (
                "application/vnd.oci.image.index.v1+json",
                "{",
                Err("can't be read"),
            ),
            ("text/html", empty, Err("is a text/html, no image")),
        ] {
            let document = Document::new(media_type, bytes.into());
            match (document.content(), expected) {
                (Ok(Content::Index(_)), Ok(true)) => {}
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
