//! Puts assembled images into an engine's store, sending only what the engine lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Error, Result};
use camino::Utf8PathBuf;

use super::{
    docker::Engine,
    layout::{self, Layout, OCI_LAYOUT, index_of},
    process::{Finished, check_interrupted},
    retry::{self, Policy, SayingClock},
};
use crate::model::{image::ImageRef, platform::Platform, problem::Problem};

/// Unpacking a base image of 1 GB on a slow disk.
const LOAD: Duration = Duration::from_secs(900);
const QUESTION: Duration = Duration::from_secs(30);
/// Blobs up to this size go along unasked: documents and a connector's own code. In bytes.
const SMALL: u64 = 256 << 10;

/// How much of a layout is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// What is new with each build; an engine has the rest from the build before.
    Small,
    Everything,
}

/// An image to put into an engine's store.
pub struct Load<'a> {
    pub layout: &'a Layout,
    pub platform: Platform,
    pub name: &'a ImageRef,
    /// Where layers come from that the layout does not hold.
    pub base: &'a ImageRef,
    /// Hears of each retry of the base's pull.
    pub say: &'a (dyn Fn(&str) + Sync),
}

/// An image that would go as soon as its name is given to another, and the engine's unpacked layers with it, which that
/// other one shares. Kept until this is dropped.
#[derive(Debug)]
pub struct Kept {
    engine: Engine,
    name: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Ok(program) = self.engine.docker(&["rmi", &self.name]) {
            // What stays is found, and replaced, by the next build.
            let _ = program.finish_after_interrupt();
        }
    }
}

impl Engine {
    /// Keeps the image that is called `name` now; None where there is none.
    pub fn keep(&self, name: &ImageRef) -> Option<Kept> {
        let kept = Kept {
            engine: self.clone(),
            name: format!("xtask.invalid/previous/{}", name.repository),
        };
        let tagged = self.docker(&["tag", &name.to_string(), &kept.name]);
        let tagged = tagged.and_then(|program| program.limit(QUESTION).output());
        // Dropped as well where nothing was tagged: an interrupted run may have left one.
        tagged.is_ok().then_some(kept)
    }

    /// Makes `layout` the engine's image `name`, with the layers of one of its platforms; those of the others come by
    /// further calls. Layers that the layout does not hold come from `base`, which is pulled when the engine lacks it.
    /// After [`Sent::Small`] the image may lack layers: engines since Docker 27 take in such a one without a word and fail
    /// when it is started.
    pub fn load(&self, load: &Load<'_>, mut send: Sent) -> Result<()> {
        let Load {
            layout,
            platform,
            name,
            base,
            say,
        } = *load;
        let what = || format!("put {name} for {platform} into the engine's store");
        let mut pulled = false;
        loop {
            let ours = layout.own_blobs(platform)?;
            let finished = self
                .load_once(layout, &ours, name, send)
                .with_context(what)?;
            if finished.status.success() && finished.timed_out.is_none() {
                return Ok(());
            }
            // containerd names the first blob that it did not find; the base is small next to sending ours in vain.
            let lacks_ours = ours.keys().any(|digest| finished.tail().contains(digest));
            if !pulled && finished.tail().contains("not found") {
                let pulled_base = self.pull(base, platform, say);
                pulled_base.map_err(no_base).with_context(what)?;
                pulled = true;
                if lacks_ours {
                    send = Sent::Everything;
                }
            } else if lacks_ours && send == Sent::Small {
                send = Sent::Everything;
            } else {
                return Err(finished.error().into());
            }
        }
    }

    fn load_once(
        &self,
        layout: &Layout,
        ours: &BTreeMap<String, (Utf8PathBuf, u64)>,
        name: &ImageRef,
        send: Sent,
    ) -> Result<Finished> {
        let sent = ours
            .iter()
            .filter(|(_, (_, size))| send == Sent::Everything || *size <= SMALL);
        // A program's input can't fail any more.
        let open = |(digest, (path, _)): (&String, &(Utf8PathBuf, u64))| {
            let file = File::open(path).with_context(|| format!("open {path}"))?;
            Ok((digest.clone(), file))
        };
        let files: Vec<(String, File)> = sent.map(open).collect::<Result<_>>()?;
        let annotations = BTreeMap::from([
            ("io.containerd.image.name", name.to_string()),
            (
                "org.opencontainers.image.ref.name",
                name.tag.iter().map(ToString::to_string).collect(),
            ),
        ]);
        let index = index_of(&layout.top, &annotations).to_string();
        self.docker(&["load", "--quiet"])?
            .limit(LOAD)
            .input_from(move |pipe| archive(pipe, &index, files))
            .finish()
    }

    /// Fetches one platform of an image from its registry, as often as the policy allows; `say` hears of each retry.
    pub fn pull(
        &self,
        image: &ImageRef,
        platform: Platform,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<()> {
        let what = format!("docker pull {image}");
        retry::retry(&Policy::NETWORK, &SayingClock::new(&what, say), || {
            self.pull_once(image, platform)
                .map_err(retry::failed_program)
        })
    }

    /// As [`pull`](Self::pull), where a failure is told by a later step.
    pub fn pull_once(&self, image: &ImageRef, platform: Platform) -> Result<()> {
        let (image, platform) = (image.to_string(), platform.to_string());
        let args = ["pull", "--quiet", "--platform", &platform, &image];
        self.docker(&args)?.limit(LOAD).output().map(drop)
    }
}

fn no_base(error: Error) -> Problem {
    Problem::failure(format!("{error:#}")).help(
        "check connectorBuildOptions.baseImage in metadata.yaml, the network, and `mirrors` in `cargo xtask config`",
    )
}

impl Layout {
    /// Every blob of a platform's image that lies in the layout, by the text of its digest: path and size in bytes.
    fn own_blobs(&self, platform: Platform) -> Result<BTreeMap<String, (Utf8PathBuf, u64)>> {
        let mut digests = BTreeSet::from([self.top.digest.clone()]);
        if let Some(image) = self.images.get(&platform) {
            digests.insert(image.document.digest.clone());
            for descriptor in image.blobs() {
                digests.insert(layout::digest(descriptor)?);
            }
        }
        let mut blobs = BTreeMap::new();
        for digest in digests {
            let path = self.blob(&digest);
            match path.metadata() {
                Ok(metadata) => {
                    blobs.insert(digest.to_string(), (path, metadata.len()));
                }
                // It is the base's.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("look at {path}")),
            }
        }
        Ok(blobs)
    }
}

/// An OCI layout as one archive.
fn archive(pipe: &mut dyn Write, index: &str, files: Vec<(String, File)>) -> io::Result<()> {
    let mut archive = tar::Builder::new(pipe);
    for (path, text) in [("oci-layout", OCI_LAYOUT), ("index.json", index)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, path, text.as_bytes())?;
    }
    for (digest, mut file) in files {
        check_interrupted().map_err(io::Error::other)?;
        let path_inside = format!("blobs/{}", digest.replace(':', "/"));
        archive.append_file(path_inside, &mut file)?;
    }
    archive.finish()
}
