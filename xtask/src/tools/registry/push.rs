//! A whole layout into a repository: blobs first, then manifests by their digests, the index last.

use std::{collections::BTreeMap, fmt, iter::Sum, num::NonZeroUsize, str::FromStr};

use anyhow::Result;

use super::{Arrived, Blob, BlobContent, BlobSources, Reference, Repository};
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

impl fmt::Display for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pushed {
            existed,
            mounted,
            uploaded,
            bytes,
        } = self;
        write!(
            f,
            "{uploaded} blobs uploaded ({bytes} bytes), {mounted} mounted, {existed} there"
        )
    }
}

impl FromStr for Pushed {
    type Err = String;

    fn from_str(text: &str) -> Result<Pushed, String> {
        let numbers = text.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u64> = numbers.filter_map(|word| word.parse().ok()).collect();
        let [uploaded, bytes, mounted, existed] = numbers[..] else {
            return Err(format!("`{text}` does not say what a push moved"));
        };
        Ok(Pushed {
            existed: existed as usize,
            mounted: mounted as usize,
            uploaded: uploaded as usize,
            bytes,
        })
    }
}

impl Sum for Pushed {
    fn sum<I: Iterator<Item = Pushed>>(all: I) -> Pushed {
        all.fold(Pushed::default(), |sum, one| Pushed {
            existed: sum.existed + one.existed,
            mounted: sum.mounted + one.mounted,
            uploaded: sum.uploaded + one.uploaded,
            bytes: sum.bytes + one.bytes,
        })
    }
}

/// Where blobs may be that a repository lacks.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    /// The image that this one is built on; an assembled layout does not hold its layers at all.
    pub base: Option<&'a ImageRef>,
    /// For layers that several connectors share.
    pub sources: &'a BlobSources,
}

/// Pushes everything that `layout` holds, by digest alone: no tag is set. What another repository of the same registry
/// has is mounted from there.
pub fn push_layout(to: &Repository<'_>, layout: &Layout, from: From<'_>) -> Result<Pushed> {
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
    let push = Push {
        to,
        layout,
        from,
        base: from
            .base
            .filter(|base| base.registry == to.registry)
            .map(|base| base.repository.as_str()),
    };
    let moved = work::each(&blobs, AT_A_TIME, |(digest, size)| {
        push.blob(digest, *size).map(|arrived| (arrived, *size))
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

/// A push under way.
struct Push<'p> {
    to: &'p Repository<'p>,
    layout: &'p Layout,
    from: From<'p>,
    /// Path of the base's repository, when that is in the same registry.
    base: Option<&'p str>,
}

impl Push<'_> {
    fn blob(&self, digest: &Digest, size: u64) -> Result<Arrived> {
        let Push { to, layout, .. } = self;
        let path = layout.blob(digest);
        let known = self.from.sources.repository(&to.registry, digest);
        let known = known.as_deref();
        let blob = || Blob {
            digest: digest.clone(),
            size,
            content: BlobContent::File(path.clone()),
        };
        let arrived = if path.exists() {
            to.push_blob(&blob(), known.or(self.base))?
        } else {
            let Some(image) = self.from.base else {
                anyhow::bail!("{} lacks blob {digest}", layout.directory);
            };
            match to.mount_blob(digest, self.base.or(known))? {
                Some(arrived) => arrived,
                // Fetched only if the registry neither has it nor can mount it.
                None => {
                    to.registries.repository(image).download(digest, &path)?;
                    to.push_blob(&blob(), None)?
                }
            }
        };
        // What was mounted is still where it was.
        if arrived != Arrived::Mounted {
            let blob = (digest, size);
            self.from.sources.remember(&to.registry, &to.name, blob)?;
        }
        Ok(arrived)
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;
    use crate::{
        model::manifest_document::Document,
        tools::{
            registry::{Credentials, Registries},
            test_server::{Answer, Server},
        },
    };

    /// A source that refuses once gives way to the repository that was pushed to.
    #[test]
    fn a_source_that_is_not_mounted_from_is_forgotten() {
        let server = Server::start(vec![Answer::status(401), Answer::status(200)]);
        let image: ImageRef = format!("127.0.0.1:{}/a/b", server.url("/").port().unwrap())
            .parse()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
        let (digest, size) = (Digest::of(b"content"), 1 << 20);
        let sources = BlobSources {
            directory: directory.join("sources"),
        };
        let layout = Layout {
            directory,
            top: Document::new("", Vec::new()),
            images: BTreeMap::new(),
            attestations: Vec::new(),
        };
        let path = layout.blob(&digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "content").unwrap();
        let registries = Registries::new(Credentials::default(), |_| {});
        let blob = (&digest, size);
        sources.remember(&image.registry, "a/other", blob).unwrap();
        let push = Push {
            to: &registries.repository(&image),
            layout: &layout,
            from: From {
                base: None,
                sources: &sources,
            },
            base: None,
        };
        assert_eq!(push.blob(&digest, size).unwrap(), Arrived::Existed);
        assert!(server.requests()[0].contains("from=a/other"));
        let known = sources.repository(&image.registry, &digest);
        assert_eq!(known.as_deref(), Some("a/b"));
    }

    #[test]
    fn what_a_push_says_it_moved_is_read_again() {
        let pushed = Pushed {
            existed: 1,
            mounted: 22,
            uploaded: 3,
            bytes: 4096,
        };
        let text = "3 blobs uploaded (4096 bytes), 22 mounted, 1 there";
        assert_eq!(pushed.to_string(), text);
        assert_eq!(text.parse(), Ok(pushed));
        assert!("3 blobs".parse::<Pushed>().is_err());
        let twice: Pushed = [pushed, pushed].into_iter().sum();
        assert_eq!((twice.mounted, twice.bytes), (44, 8192));
    }
}
