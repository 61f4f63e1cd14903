//! Wheels built from sdists as artifacts in a repository of an image registry: a machine whose store is empty, such
//! as a CI runner, takes them from there instead of building them again.
//!
//! A wheel is one artifact (OCI image specification 1.1, "Guidelines for Artifact Usage"): an empty configuration and
//! one layer, under the key of its store entry as tag. Who may write to the repository is trusted with what is
//! installed, as is who writes to the store.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use camino::Utf8Path;
use oci_spec::image::MediaType;
use serde_json::json;

use super::{
    layout,
    registry::{Arrived, Blob, BlobContent, Credentials, Reference, Registries},
    retry::Policy,
};
use crate::model::{
    image::{Digest, ImageRef},
    manifest_document::{Content, Document},
};

const ARTIFACT: &str = "application/vnd.pypa.wheel.v1";
const LAYER: &str = "application/zip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const TITLE: &str = "org.opencontainers.image.title";
/// Making is always possible, so less patience than with a registry that is needed.
pub const PATIENCE: Policy = Policy {
    tries: 3,
    total: Duration::from_secs(30),
    first: Duration::from_millis(500),
    longest: Duration::from_secs(5),
};
/// How long one answer may take, and how long a transfer may stand still.
pub const ANSWER: Duration = Duration::from_secs(20);

/// The repository that configuration names.
pub struct WheelCache<'a> {
    registries: Registries<'a>,
    image: ImageRef,
    /// Told of what was in the way, in one line.
    say: Box<dyn Fn(&str) + Sync + 'a>,
    /// Set by the first fault: the rest of the run does without.
    broken: AtomicBool,
}

impl<'a> WheelCache<'a> {
    /// `say` hears of each retry too.
    pub fn open(
        image: ImageRef,
        say: impl Fn(&str) + Send + Sync + Copy + 'a,
    ) -> Result<WheelCache<'a>> {
        Ok(WheelCache {
            registries: Registries::new(Credentials::gather()?, say)
                .with_patience(PATIENCE, ANSWER),
            image,
            say: Box::new(say),
            broken: AtomicBool::new(false),
        })
    }

    /// File name and content of the wheel kept under `key`. None when it is not there, or can't be got: that is said
    /// once and never an error.
    pub fn pull(&self, key: &str) -> Option<(String, Vec<u8>)> {
        if self.broken.load(Ordering::Relaxed) {
            return None;
        }
        self.get(key).unwrap_or_else(|error| {
            self.broken.store(true, Ordering::Relaxed);
            (self.say)(&format!(
                "wheel cache {}: {error:#}; going on without it",
                self.image
            ));
            None
        })
    }

    /// Says that what is kept under `key` is not used.
    pub fn refuse(&self, key: &str, because: &str) {
        (self.say)(&format!(
            "wheel cache {}: {key} is not used: {because}",
            self.image
        ));
    }

    fn get(&self, key: &str) -> Result<Option<(String, Vec<u8>)>> {
        let repository = self.registries.repository(&self.image);
        let Some(document) = repository.manifest(&tag(key)?)? else {
            return Ok(None);
        };
        let Content::Manifest(manifest) = document.content().map_err(anyhow::Error::msg)? else {
            anyhow::bail!("{key} is an image index, not a wheel");
        };
        let layer = manifest.layers().first();
        let layer = layer.with_context(|| format!("{key} has no layer"))?;
        let titles = layer.annotations().as_ref();
        let name = titles.and_then(|annotations| annotations.get(TITLE));
        let name = name.with_context(|| format!("{key} has no {TITLE}"))?;
        let directory = tempfile::tempdir().context("make a directory for a wheel")?;
        let directory = Utf8Path::from_path(directory.path()).context("a path is not UTF-8")?;
        let path = directory.join("wheel");
        repository.download(&layout::digest(layer)?, &path)?;
        let bytes = fs::read(&path).with_context(|| format!("read {path}"))?;
        Ok(Some((name.clone(), bytes)))
    }

    /// Keeps the wheel at `path` under `key`; what is there already stays as it is.
    pub fn push(&self, key: &str, path: &Utf8Path) -> Result<Arrived> {
        let repository = self.registries.repository(&self.image).for_push();
        let reference = tag(key)?;
        if repository.digest(&reference)?.is_some() {
            return Ok(Arrived::Existed);
        }
        let bytes = fs::read(path).with_context(|| format!("read {path}"))?;
        let config = blob(b"{}".to_vec());
        let wheel = blob(bytes);
        let name = path.file_name().unwrap_or_default();
        let manifest = manifest(&config, &wheel, name);
        for blob in [&config, &wheel] {
            repository.push_blob(blob, None)?;
        }
        repository.put_manifest(&reference, &manifest)?;
        Ok(Arrived::Uploaded)
    }
}

fn tag(key: &str) -> Result<Reference> {
    Ok(Reference::Tag(key.parse().map_err(anyhow::Error::msg)?))
}

fn blob(bytes: Vec<u8>) -> Blob {
    Blob {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        content: BlobContent::Bytes(bytes),
    }
}

fn manifest(config: &Blob, wheel: &Blob, name: &str) -> Document {
    let media_type = MediaType::ImageManifest.to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "artifactType": ARTIFACT,
        "config": {"mediaType": EMPTY, "digest": config.digest.to_string(), "size": config.size},
        "layers": [{
            "mediaType": LAYER,
            "digest": wheel.digest.to_string(),
            "size": wheel.size,
            "annotations": {TITLE: name},
        }],
    });
    Document::new(media_type, manifest.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::tools::test_server::{Answer, Server};

    /// Token servers deny a repository that is not there yet to whoever does not ask to push.
    #[test]
    fn who_keeps_a_wheel_asks_for_leave_to_push() {
        let asks = r#"WWW-Authenticate: Bearer realm="http://127.0.0.1:PORT/token""#;
        let server = Server::start(vec![
            Answer::status(401).header(asks),
            Answer::ok("application/json", r#"{"token":"x"}"#),
            Answer::status(200).header(&format!("Docker-Content-Digest: {}", Digest::of(b""))),
        ]);
        let port = server.url("/").port().unwrap();
        let cache = WheelCache {
            registries: Registries::new(Credentials::default(), |_| {}),
            image: format!("127.0.0.1:{port}/cache/wheels").parse().unwrap(),
            say: Box::new(|_| {}),
            broken: AtomicBool::new(false),
        };
        let pushed = cache.push("a-1-cp311-pure-00", Utf8Path::new("unread"));
        assert_eq!(pushed.unwrap(), Arrived::Existed);
        let asked = server.requests()[1].clone();
        assert!(asked.contains("cache%2Fwheels%3Apull%2Cpush "), "{asked}");
    }

    #[test]
    fn a_wheel_comes_back_whole_and_any_fault_is_said_once() {
        let config = blob(b"{}".to_vec());
        let wheel = blob(b"PK".to_vec());
        let document = manifest(&config, &wheel, "a-1-py3-none-any.whl");
        let text = String::from_utf8(document.bytes.clone()).unwrap();
        let listed = Answer::ok(&document.media_type, text.as_str());
        let untitled = Answer::ok(&document.media_type, text.replace(TITLE, "other"));
        let good = Some(("a-1-py3-none-any.whl".to_owned(), b"PK".to_vec()));
        for (answers, expected, words) in [
            (vec![listed.clone(), Answer::ok(LAYER, "PK")], good, ""),
            (vec![Answer::status(404)], None, ""),
            (vec![Answer::status(403)], None, "status 403"),
            (
                vec![listed, Answer::ok(LAYER, "other")],
                None,
                "going on without it",
            ),
            (vec![untitled], None, "has no org"),
            (
                vec![Answer::ok(MediaType::ImageIndex.as_ref(), "{")],
                None,
                "can't be read",
            ),
        ] {
            let server = Server::start(answers);
            let said = Mutex::new(Vec::new());
            let say = |line: &str| said.lock().unwrap().push(line.to_owned());
            let port = server.url("/").port().unwrap();
            let image = format!("127.0.0.1:{port}/cache/wheels").parse().unwrap();
            let quick = Policy {
                first: Duration::from_millis(1),
                longest: Duration::from_millis(1),
                ..PATIENCE
            };
            let cache = WheelCache {
                registries: Registries::new(Credentials::default(), say)
                    .with_patience(quick, ANSWER),
                image,
                say: Box::new(say),
                broken: AtomicBool::new(false),
            };
            assert_eq!(cache.pull("a-1-cp311-pure-00"), expected, "{words}");
            let asked = server.requests().len();
            let warned =
                |said: &Vec<String>| said.iter().filter(|l| l.contains("wheel cache")).count();
            if words.is_empty() {
                assert_eq!(warned(&said.lock().unwrap()), 0, "{said:?}");
                continue;
            }
            assert!(
                said.lock().unwrap().iter().any(|line| line.contains(words)),
                "{words}: {said:?}"
            );
            assert_eq!(cache.pull("a-1-cp311-pure-00"), None);
            assert_eq!(server.requests().len(), asked, "not asked again");
            assert_eq!(warned(&said.lock().unwrap()), 1, "{said:?}");
        }
    }
}
