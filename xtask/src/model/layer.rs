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

/// Whether an entry of a layer removes what lower layers hold (OCI image specification 1.1, "Whiteouts").
pub fn is_whiteout(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with(".wh.")
}
