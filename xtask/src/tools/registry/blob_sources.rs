//! Which repository of a registry a blob was brought to from here, so that the next one mounts it from there instead of
//! uploading it again ("Mounting a blob from another repository" of the distribution specification).

use std::fs;

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::{model::image::Digest, tools::files};

/// Smaller blobs are documents and connectors' own code, which no other image has. In bytes.
const SHARED: u64 = 64 << 10;

/// `directory/REGISTRY/HEX` holds the path of a repository.
#[derive(Debug)]
pub struct BlobSources {
    pub directory: Utf8PathBuf,
}

impl BlobSources {
    /// The path of a repository that had the blob. It may have lost it since.
    pub fn repository(&self, registry: &str, digest: &Digest) -> Option<String> {
        fs::read_to_string(self.path(registry, digest)).ok()
    }

    /// Takes down that `repository` has a blob of `size` bytes.
    pub fn remember(
        &self,
        registry: &str,
        repository: &str,
        (digest, size): (&Digest, u64),
    ) -> Result<()> {
        let known = self.repository(registry, digest);
        if size < SHARED || known.as_deref() == Some(repository) {
            return Ok(());
        }
        files::write(&self.path(registry, digest), repository)
    }

    fn path(&self, registry: &str, digest: &Digest) -> Utf8PathBuf {
        self.directory
            .join(registry.replace(['/', ':'], "_"))
            .join(digest.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_repository_of_a_large_blob_is_known_for_its_registry() {
        let directory = tempfile::tempdir().unwrap();
        let sources = BlobSources {
            directory: Utf8PathBuf::try_from(directory.path().to_owned()).unwrap(),
        };
        let (large, small) = (Digest::of(b"large"), Digest::of(b"small"));
        for repository in ["airbyte/source-a", "airbyte/source-b"] {
            for (digest, size) in [(&large, SHARED), (&small, SHARED - 1)] {
                let blob = (digest, size);
                sources.remember("host:5000", repository, blob).unwrap();
            }
        }
        let known = |registry: &str, digest| sources.repository(registry, digest);
        assert_eq!(
            known("host:5000", &large).as_deref(),
            Some("airbyte/source-b")
        );
        assert_eq!(known("host:5000", &small), None);
        assert_eq!(known("other:5000", &large), None);
    }
}
