//! A whole layout into a repository: blobs first, then manifests by their digests, the index last.

use std::{collections::BTreeMap, num::NonZeroUsize};

use anyhow::Result;

use super::{Arrived, Blob, BlobContent, Reference, Repository};
use crate::{
    model::image::{Digest, ImageRef},
    tools::{
        layout::{self, Layout},
        work,
    },
};

/// Blobs of one image that move at a time.
const AT_A_TIME: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// What a push moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    pub existed: usize,
    pub mounted: usize,
    pub uploaded: usize,
    /// Bytes of the uploaded blobs.
    pub bytes: u64,
}

/// Pushes everything that `layout` holds, by digest alone: no tag is set. Layers that lie in `base`'s repository are
/// taken from there, by a mount when it is on the same registry; an assembled layout does not hold them at all.
pub fn push_layout(
    to: &Repository<'_>,
    layout: &Layout,
    base: Option<&ImageRef>,
) -> Result<Pushed> {
    let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
    for image in layout.images.values() {
        for descriptor in image.blobs() {
            blobs.insert(layout::digest(descriptor)?, descriptor.size());
        }
    }
    for (_, manifest) in &layout.attestations {
        for descriptor in std::iter::once(manifest.config()).chain(manifest.layers()) {
            blobs.insert(layout::digest(descriptor)?, descriptor.size());
        }
    }
    let blobs: Vec<(Digest, u64)> = blobs.into_iter().collect();
    let moved = work::each(&blobs, AT_A_TIME, |(digest, size)| {
        push_blob(to, layout, base, digest, *size).map(|arrived| (arrived, *size))
    });
    let mut pushed = Pushed::default();
    for moved in moved {
        match moved? {
            (Arrived::Existed, _) => pushed.existed += 1,
            (Arrived::Mounted, _) => pushed.mounted += 1,
            (Arrived::Uploaded, size) => {
                pushed.uploaded += 1;
                pushed.bytes += size;
            }
        }
    }
    let attestations = layout.attestations.iter().map(|(document, _)| document);
    let manifests = layout.images.values().map(|image| &image.document);
    let manifests = manifests.chain(attestations);
    let rest = manifests.filter(|document| document.digest != layout.top.digest);
    for document in rest.chain([&layout.top]) {
        to.put_manifest(&Reference::Digest(document.digest.clone()), document)?;
    }
    Ok(pushed)
}

fn push_blob(
    to: &Repository<'_>,
    layout: &Layout,
    base: Option<&ImageRef>,
    digest: &Digest,
    size: u64,
) -> Result<Arrived> {
    let path = layout.blob(digest);
    let mount = base
        .filter(|base| base.registry == to.registry)
        .map(|base| base.repository.as_str());
    let blob = |content| Blob {
        digest: digest.clone(),
        size,
        content,
    };
    if path.exists() {
        return to.push_blob(&blob(BlobContent::File(path)), mount);
    }
    // Fetched only if the registry neither has it nor can mount it.
    let Some(base) = base else {
        anyhow::bail!("{} lacks blob {digest}", layout.directory);
    };
    if let Some(arrived) = to.mount_blob(digest, mount)? {
        return Ok(arrived);
    }
    to.registries.repository(base).download(digest, &path)?;
    to.push_blob(&blob(BlobContent::File(path)), None)
}
