//! Manifests and configurations of base images: asked of the registry once for each digest, then kept.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{Arc, Mutex, OnceLock},
    time::SystemTime,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::ImageManifest;
use serde_json::Value;

use super::{
    files, layout,
    process::check_interrupted,
    registry::{Reference, Registries, Repository},
    wheel_store::{self, Usage, entries, mark_used},
    work::lock,
};
use crate::model::{
    image::{Digest, ImageRef},
    manifest_document::{self, Content, Document},
    platform::Platform,
    problem::Problem,
};

/// A base image as far as an image on top of it needs to know it.
#[derive(Debug)]
pub struct Base {
    pub platforms: BTreeMap<Platform, BasePlatform>,
}

/// A base image on one platform; its layers are named by the manifest and stay where they are.
#[derive(Debug)]
pub struct BasePlatform {
    pub manifest: ImageManifest,
    /// As it stands: what a later version of the specification adds is kept.
    pub configuration: Value,
}

/// How much the documents kept in `store` take up.
pub fn size(store: &Utf8Path) -> Result<Usage> {
    Ok(Usage::of(&entries(&store.join(BASES))?))
}

/// When each document kept in `store` was last used, and its bytes.
pub fn uses(store: &Utf8Path) -> Result<Vec<(SystemTime, u64)>> {
    Ok(wheel_store::uses(&entries(&store.join(BASES))?))
}

/// Removes those that were last used before `before`; who wants one again asks the registry.
pub fn prune(store: &Utf8Path, before: SystemTime) -> Result<Usage> {
    wheel_store::prune(&entries(&store.join(BASES))?, before)
}

const BASES: &str = "bases";

/// The base images of one run.
pub struct BaseStore<'r> {
    registries: Registries<'r>,
    directory: Utf8PathBuf,
    /// What came of reading each, once somebody has; a failure is kept too.
    known: Mutex<HashMap<ImageRef, Arc<OnceLock<Read>>>>,
}

type Read = Result<Arc<Base>, Problem>;

impl<'r> BaseStore<'r> {
    /// Keeps documents in `store`, each under its digest.
    pub fn new(registries: Registries<'r>, store: &Utf8Path) -> BaseStore<'r> {
        BaseStore {
            registries,
            directory: store.join(BASES),
            known: Mutex::default(),
        }
    }

    /// What there is of `image` on `platforms`; an error when it lacks one of them.
    pub fn get(&self, image: &ImageRef, platforms: &[Platform]) -> Result<Arc<Base>> {
        let known = Arc::clone(lock(&self.known).entry(image.clone()).or_default());
        // Connectors that share a base wait for one answer; those on another do not.
        let read = known.get_or_init(|| {
            let base = self.read(image).map(Arc::new);
            let base = base.with_context(|| format!("read base image {image}"));
            base.map_err(|error| Problem::again(&error))
        });
        // A wait that Ctrl-C ended is no fault of the base's.
        check_interrupted()?;
        let base = Arc::clone(read.as_ref().map_err(Problem::clone)?);
        let lacking = platforms
            .iter()
            .find(|platform| !base.platforms.contains_key(platform));
        match lacking {
            None => Ok(base),
            Some(platform) => Err(Problem::failure(format!(
                "base image {image} has nothing for {platform}"
            ))
            .help("`--platform` names fewer platforms; a newer base may have them all")
            .into()),
        }
    }

    fn read(&self, image: &ImageRef) -> Result<Base> {
        let repository = self.registries.repository(image);
        let digest = match &image.digest {
            Some(digest) => digest.clone(),
            None => self.digest(&repository, image)?,
        };
        let top = self.document(&repository, &digest)?;
        let mut base = Base {
            platforms: BTreeMap::new(),
        };
        match top.content().map_err(anyhow::Error::msg)? {
            Content::Manifest(manifest) => self.add(&repository, &mut base, *manifest)?,
            Content::Index(index) => {
                for (_, descriptor) in manifest_document::images(&index) {
                    let document = self.document(&repository, &layout::digest(descriptor)?)?;
                    match document.content().map_err(anyhow::Error::msg)? {
                        Content::Manifest(manifest) => {
                            self.add(&repository, &mut base, *manifest)?;
                        }
                        Content::Index(_) => anyhow::bail!("{} nests an index", document.digest),
                    }
                }
            }
        }
        Ok(base)
    }

    fn digest(&self, repository: &Repository<'_>, image: &ImageRef) -> Result<Digest> {
        let tag = image.tag.clone().map_or_else(|| "latest".parse(), Ok);
        let tag = tag.map_err(anyhow::Error::msg)?;
        let found = repository.digest(&Reference::Tag(tag))?;
        found.ok_or_else(|| missing(image).into())
    }

    fn add(
        &self,
        repository: &Repository<'_>,
        base: &mut Base,
        manifest: ImageManifest,
    ) -> Result<()> {
        let digest = layout::digest(manifest.config())?;
        let bytes = self.kept(&digest, || repository.blob(&digest))?;
        let configuration: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("read configuration {digest}"))?;
        let text = |key: &str| configuration[key].as_str().unwrap_or_default();
        let platform = format!("{}/{}", text("os"), text("architecture"));
        // An image for another machine is none that connectors are built for.
        if let Ok(platform) = platform.parse() {
            let of_platform = BasePlatform {
                manifest,
                configuration,
            };
            base.platforms.insert(platform, of_platform);
        }
        Ok(())
    }

    /// An index or manifest. Its media type is what it says itself, as both specifications ask for.
    fn document(&self, repository: &Repository<'_>, digest: &Digest) -> Result<Document> {
        let bytes = self.kept(digest, || {
            let found = repository.manifest(&Reference::Digest(digest.clone()))?;
            let document = found.ok_or_else(|| {
                let name = format!("{}@{digest}", repository.full_name());
                missing(name)
            })?;
            Ok(document.bytes)
        })?;
        let value: Value =
            serde_json::from_slice(&bytes).with_context(|| format!("read {digest}"))?;
        let said = value["mediaType"].as_str();
        let media_type = said.unwrap_or(if value["manifests"].is_array() {
            "application/vnd.oci.image.index.v1+json"
        } else {
            "application/vnd.oci.image.manifest.v1+json"
        });
        Ok(Document::new(media_type, bytes))
    }

    /// What is kept under a digest, as long as it is whole; else what `fetch` brings.
    fn kept(&self, digest: &Digest, fetch: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let path = self.directory.join(digest.hex());
        if let Ok(bytes) = fs::read(&path)
            && Digest::of(&bytes) == *digest
        {
            mark_used(&path);
            return Ok(bytes);
        }
        let bytes = fetch()?;
        files::write_bytes(&path, &bytes)?;
        Ok(bytes)
    }
}

fn missing(image: impl std::fmt::Display) -> Problem {
    Problem::failure(format!("base image {image} is not there")).help(
        "check connectorBuildOptions.baseImage in metadata.yaml, and `mirrors` in `cargo xtask config`",
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
        time::Duration,
    };

    use serde_json::json;

    use super::*;
    use crate::tools::{registry::Credentials, retry::Policy};

    /// A base whose documents are all kept; its digest.
    fn kept(store: &BaseStore<'_>) -> Digest {
        let keep = |value: Value| {
            let document = Document::new("", value.to_string().into_bytes());
            let path = store.directory.join(document.digest.hex());
            files::write_bytes(&path, &document.bytes).unwrap();
            document
        };
        let configuration = keep(json!({"os": "linux", "architecture": "arm64"}));
        let config = json!({
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": configuration.digest,
            "size": configuration.bytes.len(),
        });
        keep(json!({"schemaVersion": 2, "config": config, "layers": []})).digest
    }

    #[test]
    fn a_base_that_can_not_be_read_is_asked_for_once_and_keeps_no_other_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let policy = Policy {
            tries: 1,
            ..Policy::NETWORK
        };
        let registries = Registries::new(Credentials::default(), |_| {})
            .with_patience(policy, Duration::from_secs(20));
        let store = BaseStore::new(registries, Utf8Path::from_path(directory.path()).unwrap());
        let registry = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("{}/a/b", registry.local_addr().unwrap());
        let image = |rest: String| format!("{name}{rest}").parse().unwrap();
        let (missing, whole) = (image(":1".into()), image(format!("@{}", kept(&store))));
        let error = |image| format!("{:#}", store.get(image, &[]).unwrap_err());
        let first = thread::scope(|scope| {
            let first = scope.spawn(|| error(&missing));
            let (mut asked, _) = registry.accept().unwrap();
            let platforms = &store.get(&whole, &[]).unwrap().platforms;
            assert_eq!(platforms.len(), 1);
            let head = BufReader::new(&asked).lines();
            head.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                .count();
            asked
                .write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            first.join().unwrap()
        });
        let expected = format!("read base image {missing}: base image {missing} is not there");
        assert_eq!(first, expected);
        drop(registry);
        assert_eq!(error(&missing), expected);
        let error = store.get(&missing, &[]).unwrap_err();
        assert!(Problem::help_of(&error).is_some_and(|help| help.contains("`mirrors`")));
    }
}
