//! Layers of packages that published images have: a machine that never made them, such as a CI runner, takes them from
//! there.
//!
//! Who may write to the repositories that are published to is trusted with what a layer's recipe says, as is who writes
//! to the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use oci_spec::image::ImageManifest;
use semver::Version;

use super::{
    layer_store::LayerStore,
    layout,
    registry::{Credentials, Reference, Registries, Repository},
    retry::{is_transient, status_of},
    wheel_cache::{ANSWER, PATIENCE},
    work::lock,
};
use crate::model::{
    image::{Digest, ImageRef},
    layer::Layer,
    manifest_document::{self, Content, Document},
    published_layers::{self, Recipe, Wheel},
};

/// What the published images that one run came across have.
pub struct PublishedLayers<'a> {
    registries: Registries<'a>,
    /// Told of what was in the way, in one line.
    say: Box<dyn Fn(&str) + Sync + 'a>,
    /// Set by the first fault of a registry's: the rest of the run does without.
    broken: AtomicBool,
    /// Names of repositories that were read.
    read: Mutex<BTreeSet<String>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By their keys, with the repository that has each.
    layers: BTreeMap<Digest, (Layer, ImageRef)>,
    /// By their ids.
    wheels: BTreeMap<String, Wheel>,
}

impl<'a> PublishedLayers<'a> {
    /// `say` hears of each retry too.
    pub fn new(say: impl Fn(&str) + Send + Sync + Copy + 'a) -> Result<PublishedLayers<'a>> {
        Ok(PublishedLayers {
            registries: Registries::new(Credentials::gather()?, say)
                .with_patience(PATIENCE, ANSWER),
            say: Box::new(say),
            broken: AtomicBool::new(false),
            read: Mutex::default(),
            known: Mutex::default(),
        })
    }

    /// What is said of a wheel by `image`'s repository or by one that was read before.
    pub fn wheel(&self, image: &ImageRef, id: &str) -> Option<Wheel> {
        self.read(image);
        lock(&self.known).wheels.get(id).cloned()
    }

    /// Brings a layer into the store, from `image`'s repository or from one that was read before; None when none has it.
    pub fn take(&self, image: &ImageRef, key: &Digest, store: &LayerStore) -> Option<Layer> {
        self.read(image);
        let (layer, from) = lock(&self.known).layers.get(key).cloned()?;
        let repository = self.registries.repository(&from);
        let taken = store.take(key, &layer, |digest, path| {
            repository.download(digest, path)
        });
        match taken {
            Ok(()) => Some(layer),
            Err(error) => {
                lock(&self.known).layers.remove(key);
                (self.say)(&format!(
                    "{}: {error:#}; this layer is made again",
                    repository.full_name()
                ));
                None
            }
        }
    }

    /// Reads what the newest image of a repository says of its layers, once. That it can't be read is said and never an
    /// error.
    fn read(&self, image: &ImageRef) {
        let repository = self.registries.repository(image);
        // Held while it is read: who needs the same answer waits for it.
        let mut read = lock(&self.read);
        if !read.insert(repository.full_name()) || self.broken.load(Ordering::Relaxed) {
            return;
        }
        match layers(&repository) {
            Ok(layers) => {
                let mut known = lock(&self.known);
                for (recipe, layer) in layers {
                    let wheels = recipe.wheels.into_iter();
                    known
                        .wheels
                        .extend(wheels.map(|wheel| (wheel.id().to_owned(), wheel)));
                    known.layers.insert(recipe.key, (layer, image.clone()));
                }
            }
            // How registries speak of a repository that nothing was pushed to yet, to those who only want to pull.
            Err(error) if matches!(status_of(&error), Some(401 | 403)) => {}
            Err(error) => {
                let without = match is_of_the_registry(&error) {
                    true => {
                        self.broken.store(true, Ordering::Relaxed);
                        "published layers"
                    }
                    false => "these",
                };
                (self.say)(&format!(
                    "layers of {}: {error:#}; going on without {without}",
                    repository.full_name()
                ));
            }
        }
    }
}

/// Whether a fault is one that the registry's other repositories have too: it is silent, busy or broken.
fn is_of_the_registry(error: &anyhow::Error) -> bool {
    error.is::<ureq::Error>() || status_of(error).is_some_and(is_transient)
}

/// The layers of the newest image that say what they are made from.
fn layers(repository: &Repository<'_>) -> Result<Vec<(Recipe, Layer)>> {
    let Some(newest) = newest(repository)? else {
        return Ok(Vec::new());
    };
    let mut layers = Vec::new();
    let mut add = |manifest: &ImageManifest| -> Result<()> {
        let configuration = repository.configuration(manifest)?;
        let read = published_layers::read(manifest, &configuration);
        layers.extend(read.map_err(anyhow::Error::msg)?);
        Ok(())
    };
    match newest.content().map_err(anyhow::Error::msg)? {
        Content::Manifest(manifest) => add(&manifest)?,
        Content::Index(index) => {
            for (_, descriptor) in manifest_document::images(&index) {
                let digest = layout::digest(descriptor)?;
                let document = repository.manifest(&Reference::Digest(digest.clone()))?;
                let document = document.with_context(|| format!("{digest} is not there"))?;
                if let Content::Manifest(manifest) =
                    document.content().map_err(anyhow::Error::msg)?
                {
                    add(&manifest)?;
                }
            }
        }
    }
    Ok(layers)
}

/// What the tag latest points to, else the tag of the newest version.
fn newest(repository: &Repository<'_>) -> Result<Option<Document>> {
    let tagged = |tag: &str| {
        let tag = tag.parse().map_err(anyhow::Error::msg)?;
        repository.manifest(&Reference::Tag(tag))
    };
    if let Some(latest) = tagged("latest")? {
        return Ok(Some(latest));
    }
    let tags = repository.tags()?.unwrap_or_default();
    let versions = tags.iter().filter_map(|tag| Version::parse(tag).ok());
    match versions.max() {
        Some(version) => tagged(&version.to_string()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use oci_spec::image::MediaType;
    use serde_json::{Value, json};

    use super::*;
    use crate::tools::{
        layer::{LayerWriter, Mode, Owner},
        retry::Policy,
        test_server::{Answer, Server},
    };

    /// A layer and the answers by which a registry shows an image of it, its blob not among them.
    fn published(key: &Digest) -> (Layer, Vec<u8>, Vec<Answer>) {
        let mut writer = LayerWriter::new(Vec::new());
        writer.file("a", Mode::Plain, Owner::Root, b"a").unwrap();
        let written = writer.finish().unwrap();
        let layer = written.layer;
        let wheel = format!("a-1-py3-none-any.whl {} 5", Digest::of(b"wheel"));
        let configuration = json!({
            "architecture": "arm64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "config": {
                "mediaType": MediaType::ImageConfig.to_string(),
                "digest": Digest::of(configuration.as_bytes()),
                "size": configuration.len(),
            },
            "layers": [{
                "mediaType": MediaType::ImageLayerGzip.to_string(), "digest": layer.digest, "size": layer.size,
                "annotations": { published_layers::RECIPE: format!("{key}\n{wheel}") },
            }],
        });
        let answer = |kind: MediaType, value: String| Answer::ok(kind.as_ref(), value);
        let answers = vec![
            answer(MediaType::ImageManifest, Value::to_string(&manifest)),
            answer(MediaType::ImageConfig, configuration),
        ];
        (layer, written.inner, answers)
    }

    /// Tries once.
    fn impatient<'a>(say: impl Fn(&str) + Send + Sync + Copy + 'a) -> PublishedLayers<'a> {
        let policy = Policy {
            tries: 1,
            ..PATIENCE
        };
        PublishedLayers {
            registries: Registries::new(Credentials::default(), say).with_patience(policy, ANSWER),
            ..PublishedLayers::new(say).unwrap()
        }
    }

    #[test]
    fn a_repository_that_can_not_be_read_spoils_no_other_unless_the_registry_is_at_fault() {
        let (_, _, good) = published(&Digest::of(b"key"));
        let other = Answer::ok(MediaType::ImageManifest.as_ref(), "{}");
        let asks = Answer::status(401)
            .header(r#"WWW-Authenticate: Bearer realm="http://127.0.0.1:PORT/token""#);
        let token = Answer::ok("application/json", r#"{"token":"x"}"#);
        for (answers, goes_on, words) in [
            // Docker Hub, and ghcr.io, of what nothing was pushed to yet.
            (vec![asks.clone(), token.clone(), asks, token], true, None),
            (vec![Answer::status(403)], true, None),
            (vec![other], true, Some("going on without these")),
            (
                vec![Answer::status(429)],
                false,
                Some("going on without published layers"),
            ),
            (
                vec![Answer::hang_up()],
                false,
                Some("going on without published layers"),
            ),
        ] {
            let server = Server::start([answers, good.clone()].concat());
            let said = Mutex::new(Vec::new());
            let say = |line: &str| said.lock().unwrap().push(line.to_owned());
            let published = impatient(say);
            let port = server.url("/").port().unwrap();
            let wheel = |name: &str| {
                let image = format!("127.0.0.1:{port}/airbyte/{name}").parse().unwrap();
                published.wheel(&image, &Digest::of(b"wheel").to_string())
            };
            assert_eq!(wheel("source-new"), None);
            assert_eq!(wheel("source-a").is_some(), goes_on, "{words:?}");
            let said = said.lock().unwrap();
            assert_eq!(said.len(), words.iter().len(), "{said:?}");
            let is_said = |words| said.iter().any(|line| line.contains(words));
            assert!(words.is_none_or(is_said), "{said:?}");
        }
    }

    #[test]
    fn a_layer_is_taken_when_it_is_what_its_image_says_and_no_fault_is_an_error() {
        let key = Digest::of(b"key");
        let (layer, blob, good) = published(&key);
        let with = |more: Answer| [good.clone(), vec![more]].concat();
        let by_version = [
            vec![
                Answer::status(404),
                Answer::ok("application/json", r#"{"tags": ["1.0.0", "sha256-0"]}"#),
            ],
            with(Answer::ok("application/octet-stream", blob.as_slice())),
        ];
        for (answers, taken, words) in [
            (
                with(Answer::ok("application/octet-stream", blob.as_slice())),
                true,
                "",
            ),
            (by_version.concat(), true, ""),
            (vec![Answer::status(404), Answer::status(404)], false, ""),
            (
                with(Answer::ok("application/octet-stream", "other")),
                false,
                "this layer is made again",
            ),
            (with(Answer::status(404)), false, "this layer is made again"),
            (
                vec![Answer::status(500)],
                false,
                "going on without published layers",
            ),
        ] {
            let server = Server::start(answers);
            let said = Mutex::new(Vec::new());
            let say = |line: &str| said.lock().unwrap().push(line.to_owned());
            let published = impatient(say);
            let port = server.url("/").port().unwrap();
            let image = format!("127.0.0.1:{port}/airbyte/source-a")
                .parse()
                .unwrap();
            let directory = tempfile::tempdir().unwrap();
            let store =
                LayerStore::in_store(Utf8Path::from_path(directory.path()).unwrap()).unwrap();
            let got = published.take(&image, &key, &store);
            assert_eq!(got, taken.then(|| layer.clone()), "{words} {said:?}");
            assert_eq!(store.get(&key), got);
            // What failed is not tried again.
            let failed = if taken {
                Digest::of(b"other")
            } else {
                key.clone()
            };
            assert_eq!(published.take(&image, &failed, &store), None);
            let wheel = published.wheel(&image, &format!("{}", Digest::of(b"wheel")));
            let known = taken || words.contains("made again");
            assert_eq!(wheel.map(|wheel| wheel.size), known.then_some(5));
            let said = said.lock().unwrap();
            let warned = said
                .iter()
                .filter(|line| !words.is_empty() && line.contains(words));
            assert_eq!(warned.count(), usize::from(!words.is_empty()), "{said:?}");
        }
    }
}
