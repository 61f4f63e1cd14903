//! One layer of an image.

use serde::{Deserialize, Serialize};

use super::image::Digest;

/// A gzipped layer as manifests and configurations name it (OCI image specification 1.1, "Image Layer").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Layer {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Digest of the archive inside.
    pub diff_id: Digest,
    /// Compressed, in bytes.
    pub size: u64,
}
