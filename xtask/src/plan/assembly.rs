//! Images put together without a builder: whether that can be done, and what their documents say.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageIndex, ImageIndexBuilder, ImageManifest,
    ImageManifestBuilder, MediaType, PlatformBuilder, SCHEMA_VERSION,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::{
    attestation::Attestations,
    builder::Builder,
    image::Digest,
    layer::Layer,
    manifest_document::Document,
    platform::Platform,
    problem::Problem,
    published_layers::{self, Recipe},
    shard::fnv1a,
};

/// How an image comes to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Method {
    /// By xtask: the base's layers and layers of ours, without running anything in the image.
    Assemble,
    /// By `docker buildx build`.
    Docker {
        because: String,
        /// The builder of buildx's that is named, if one is.
        builder: Option<String>,
    },
}

/// What decides whether an image can be assembled.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// Script that runs in the image before anything is installed.
    pub prerequisites: Option<&'a str>,
    /// Whether every package and its file is known beforehand.
    pub packages: Packages,
    pub dockerfile: Dockerfile<'a>,
    /// Only BuildKit writes these.
    pub attestations: Attestations,
}

/// What is known beforehand of an image's packages; all but `None` and `Locked` are in the way of assembling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packages {
    None,
    Locked,
    Unlocked,
    /// Locked, and the connector's own package is built by what is only in uv.
    BuiltByUv,
}

/// Whose Dockerfile is built by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dockerfile<'a> {
    /// The one that assembling does the same as.
    Ours,
    /// One that the repository changed, by its name.
    Changed(&'a str),
}

impl Method {
    /// What `asked` comes to; an error when that is to assemble what can't be.
    pub fn choose(connector: &str, asked: &Builder, needs: Needs<'_>) -> Result<Method, Problem> {
        let docker = |because: String, builder: Option<String>| Method::Docker { because, builder };
        let asked_for = |why: Option<String>| match why {
            Some(why) => format!("it was asked for, and {why}"),
            None => "it was asked for".to_owned(),
        };
        match (asked, needs.in_the_way()) {
            (Builder::Docker, why) => Ok(docker(asked_for(why), None)),
            (Builder::Named(name), why) => Ok(docker(asked_for(why), Some(name.clone()))),
            (_, None) => Ok(Method::Assemble),
            (Builder::Auto, Some(why)) => Ok(docker(why, None)),
            (Builder::Assemble, Some(why)) => Err(Problem::usage(format!(
                "{connector} can't be assembled: {why}"
            ))
            .help("leave --builder out or give `--builder docker`")),
        }
    }
}

impl Needs<'_> {
    fn in_the_way(&self) -> Option<String> {
        if let Some(asked) = self.attestations.names() {
            return Some(format!("only BuildKit attests: {asked}"));
        }
        if let Some(script) = self.prerequisites {
            return Some(format!("{script} has to run in the image"));
        }
        let packages = match self.packages {
            Packages::None | Packages::Locked => None,
            Packages::Unlocked => Some("without a lock only uv's resolver knows what is installed"),
            Packages::BuiltByUv => Some("uv_build is in uv alone, which runs there"),
        };
        if let Some(why) = packages {
            return Some(why.to_owned());
        }
        match self.dockerfile {
            Dockerfile::Ours => None,
            Dockerfile::Changed(name) => Some(format!("{name} is not the one of this xtask")),
        }
    }
}

/// What an image's configuration says besides its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub user: &'static str,
    pub work_directory: &'static str,
    pub entry_point: Vec<String>,
    /// Added to the base's, replacing those of the same name.
    pub variables: Vec<(String, String)>,
    pub labels: Vec<(String, String)>,
    /// RFC 3339; None is as old as the base.
    pub created: Option<String>,
}

/// A layer and what it is, for the image's history.
#[derive(Debug, Clone)]
pub struct NamedLayer {
    pub layer: Layer,
    pub holds: String,
    /// None of a layer that no other image has.
    pub recipe: Option<Recipe>,
}

/// One platform's image on top of its base's: the documents that name its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub configuration: Document,
    pub manifest: Document,
}

/// What of the base is carried on.
#[derive(Debug, Clone, Copy)]
pub struct On<'a> {
    pub manifest: &'a ImageManifest,
    pub configuration: &'a Value,
}

/// An image of the base's layers and then `layers`.
pub fn image(base: On<'_>, settings: &Settings, layers: &[NamedLayer]) -> Result<Image, String> {
    let configuration = configuration(base.configuration, settings, layers)?;
    let bytes = configuration.to_string().into_bytes();
    let configuration = Document::new(MediaType::ImageConfig.to_string(), bytes);
    let mut all = base
        .manifest
        .layers()
        .iter()
        .map(|layer| as_oci(layer.clone()))
        .collect::<Result<Vec<_>, String>>()?;
    for named in layers {
        let layer = &named.layer;
        let mut descriptor = descriptor(MediaType::ImageLayerGzip, &layer.digest, layer.size)?;
        // One alone: several would stand in any order.
        let annotations = named.recipe.as_ref().map(|recipe| {
            HashMap::from([(published_layers::RECIPE.to_owned(), recipe.to_string())])
        });
        descriptor.set_annotations(annotations);
        all.push(descriptor);
    }
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(of(&configuration, MediaType::ImageConfig)?)
        .layers(all)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Image {
        configuration,
        manifest: document(MediaType::ImageManifest, &manifest)?,
    })
}

/// The index over one image a platform.
pub fn index(images: &BTreeMap<Platform, Image>) -> Result<Document, String> {
    let mut manifests = Vec::new();
    for (platform, image) in images {
        let mut descriptor = of(&image.manifest, MediaType::ImageManifest)?;
        let platform = PlatformBuilder::default()
            .os("linux")
            .architecture(platform.architecture())
            .build()
            .map_err(|error| error.to_string())?;
        descriptor.set_platform(Some(platform));
        manifests.push(descriptor);
    }
    let index: ImageIndex = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .map_err(|error| error.to_string())?;
    document(MediaType::ImageIndex, &index)
}

fn configuration(
    base: &Value,
    settings: &Settings,
    layers: &[NamedLayer],
) -> Result<Value, String> {
    let mut all = base
        .as_object()
        .ok_or("the base's configuration is no object")?
        .clone();
    let created = settings
        .created
        .clone()
        .or_else(|| Some(base["created"].as_str()?.to_owned()))
        .unwrap_or_else(|| "1980-01-01T00:00:00Z".to_owned());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut history = list(&base["history"]);
    let mut diff_ids = list(&base["rootfs"]["diff_ids"]);
    for named in layers {
        history.push(json!({"created": created, "created_by": named.holds, "comment": COMMENT}));
        diff_ids.push(json!(named.layer.diff_id));
    }
    history.push(json!({
        "created": created, "created_by": "user, work directory, entry point and labels", "comment": COMMENT,
        "empty_layer": true,
    }));
    let mut config = base["config"].as_object().cloned().unwrap_or_default();
    settings.lay_over(&mut config);
    all.insert("config".to_owned(), Value::Object(config));
    all.insert("created".to_owned(), json!(created));
    all.insert("history".to_owned(), Value::Array(history));
    all.insert(
        "rootfs".to_owned(),
        json!({"type": "layers", "diff_ids": diff_ids}),
    );
    Ok(Value::Object(all))
}

/// What the history of an assembled image says of each layer of ours.
pub const COMMENT: &str = "cargo xtask";

impl Settings {
    /// Changes the base's `config` (OCI image specification 1.1, "Image Configuration") as a Dockerfile would.
    fn lay_over(&self, config: &mut Map<String, Value>) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut variables: Vec<String> = config
            .get("Env")
            .and_then(Value::as_array)
            .map(|all| all.iter().map(text).collect())
            .unwrap_or_default();
        for (name, value) in &self.variables {
            let start = format!("{name}=");
            let whole = format!("{start}{value}");
            match variables.iter_mut().find(|line| line.starts_with(&start)) {
                Some(line) => *line = whole,
                None => variables.push(whole),
            }
        }
        let mut labels: BTreeMap<String, String> = config
            .get("Labels")
            .and_then(Value::as_object)
            .map(|all| {
                all.iter()
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect()
            })
            .unwrap_or_default();
        labels.extend(self.labels.iter().cloned());
        config.insert("User".to_owned(), json!(self.user));
        config.insert("Env".to_owned(), json!(variables));
        config.insert("Entrypoint".to_owned(), json!(self.entry_point));
        config.insert("WorkingDir".to_owned(), json!(self.work_directory));
        config.insert("Labels".to_owned(), json!(labels));
        // What the base would start with its own entry point means nothing to ours.
        config.shift_remove("Cmd");
    }
}

/// A base's layer under OCI's name for its media type: one image is not written in two languages.
fn as_oci(mut layer: Descriptor) -> Result<Descriptor, String> {
    let media_type = match layer.media_type().to_string().as_str() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => MediaType::ImageLayerGzip,
        "application/vnd.docker.image.rootfs.diff.tar" => MediaType::ImageLayer,
        text if text.starts_with("application/vnd.oci.image.layer.v1.tar") => {
            layer.media_type().clone()
        }
        other => return Err(format!("layer {} of the base is a {other}", layer.digest())),
    };
    layer.set_media_type(media_type);
    Ok(layer)
}

fn document(media_type: MediaType, value: &impl Serialize) -> Result<Document, String> {
    let bytes = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    Ok(Document::new(media_type.to_string(), bytes))
}

fn of(document: &Document, media_type: MediaType) -> Result<Descriptor, String> {
    descriptor(media_type, &document.digest, document.bytes.len() as u64)
}

fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Result<Descriptor, String> {
    let digest: oci_spec::image::Digest = digest
        .to_string()
        .parse()
        .map_err(|error| format!("{digest}: {error}"))?;
    DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest)
        .size(size)
        .build()
        .map_err(|error| error.to_string())
}

/// From this size on a wheel has a layer of its own. In bytes. This and the numbers below share most over the fleet's locks:
/// ARCHITECTURE.md has the table.
const LARGE: u64 = 256 << 10;
/// Layers of large wheels, the largest first; those that are left over go with the small ones.
const ALONE: usize = 24;
/// Layers of small wheels that serve every platform, and of those for one.
const SHARED: u64 = 10;
const NATIVE: u64 = 3;

/// A wheel as far as the layer it goes into is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Wheel<'a> {
    pub name: &'a str,
    /// In bytes.
    pub size: u64,
    pub runs: Runs,
}

/// Whether a wheel serves all platforms or one. Small wheels of either kind share no layer with those of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runs {
    Everywhere,
    OnePlatform,
}

/// Which wheels go into one layer, as their places in `wheels`: at most 37 layers. What a small wheel goes with depends
/// on its name alone, so that a package that one lock has more or newer changes one layer.
pub fn group(wheels: &[Wheel<'_>]) -> Vec<Vec<usize>> {
    let mut large: Vec<usize> = (0..wheels.len())
        .filter(|index| wheels[*index].size >= LARGE)
        .collect();
    large.sort_by_key(|index| (std::cmp::Reverse(wheels[*index].size), wheels[*index].name));
    large.truncate(ALONE);
    let mut small: BTreeMap<(Runs, u64), Vec<usize>> = BTreeMap::new();
    for (index, wheel) in wheels.iter().enumerate() {
        if !large.contains(&index) {
            let layers = match wheel.runs {
                Runs::Everywhere => SHARED,
                Runs::OnePlatform => NATIVE,
            };
            let layer = fnv1a(wheel.name.as_bytes()) % layers;
            small.entry((wheel.runs, layer)).or_default().push(index);
        }
    }
    large.sort_by_key(|index| wheels[*index].name);
    let mut groups: Vec<Vec<usize>> = large.into_iter().map(|index| vec![index]).collect();
    groups.extend(small.into_values().map(|mut group| {
        group.sort_by_key(|index| wheels[*index].name);
        group
    }));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_wheels_stand_alone_and_small_ones_keep_their_company() {
        let names: Vec<String> = (0..150).map(|number| format!("package-{number}")).collect();
        let wheels: Vec<Wheel<'_>> = names
            .iter()
            .enumerate()
            .map(|(number, name)| Wheel {
                name,
                size: if number % 5 == 0 {
                    LARGE + number as u64
                } else {
                    100
                },
                runs: if number % 7 == 0 {
                    Runs::OnePlatform
                } else {
                    Runs::Everywhere
                },
            })
            .collect();
        let groups = group(&wheels);
        assert!(groups.len() <= 37, "{}", groups.len());
        assert_eq!(
            groups.iter().filter(|group| group.len() == 1).count(),
            ALONE
        );
        let mut all: Vec<usize> = groups.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..150).collect::<Vec<_>>(), "each wheel once");
        for group in &groups {
            assert!(
                group
                    .iter()
                    .all(|index| wheels[*index].runs == wheels[group[0]].runs)
            );
        }
        let named = |groups: &[Vec<usize>], wheels: &[Wheel<'_>]| -> Vec<Vec<String>> {
            groups
                .iter()
                .map(|group| {
                    group
                        .iter()
                        .map(|index| wheels[*index].name.to_owned())
                        .collect()
                })
                .collect()
        };
        // One small wheel less.
        let fewer: Vec<Wheel<'_>> = wheels
            .iter()
            .copied()
            .filter(|wheel| wheel.name != "package-1")
            .collect();
        let (before, after) = (named(&groups, &wheels), named(&group(&fewer), &fewer));
        assert_eq!(
            before.iter().filter(|group| !after.contains(group)).count(),
            1
        );
    }

    const HEX: &str = "c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916";

    #[test]
    fn what_must_run_in_the_image_is_dockers() {
        let plain = Needs {
            prerequisites: None,
            packages: Packages::Locked,
            dockerfile: Dockerfile::Ours,
            attestations: Attestations::NONE,
        };
        let attested = Needs {
            attestations: Attestations {
                provenance: true,
                sbom: true,
            },
            ..plain
        };
        let script = Needs {
            prerequisites: Some("install.sh"),
            ..plain
        };
        let unlocked = Needs {
            packages: Packages::Unlocked,
            ..plain
        };
        let by_uv = Needs {
            packages: Packages::BuiltByUv,
            ..plain
        };
        let changed = Needs {
            dockerfile: Dockerfile::Changed("Dockerfile.python-connector"),
            ..plain
        };
        let named = Builder::Named("cloud".into());
        for (asked, needs, expected) in [
            (Builder::Auto, plain, "assemble"),
            (Builder::Assemble, plain, "assemble"),
            (Builder::Docker, plain, "it was asked for"),
            (
                Builder::Auto,
                by_uv,
                "uv_build is in uv alone, which runs there",
            ),
            (named, plain, "it was asked for by cloud"),
            (
                Builder::Auto,
                attested,
                "only BuildKit attests: --provenance --sbom",
            ),
            (
                Builder::Assemble,
                attested,
                "error: source-a can't be assembled: only BuildKit attests: --provenance --sbom",
            ),
            (
                Builder::Docker,
                script,
                "it was asked for, and install.sh has to run in the image",
            ),
            (Builder::Auto, script, "install.sh has to run in the image"),
            (
                Builder::Assemble,
                script,
                "error: source-a can't be assembled: install.sh has to run in the image",
            ),
            (
                Builder::Auto,
                unlocked,
                "without a lock only uv's resolver knows what is installed",
            ),
            (
                Builder::Auto,
                changed,
                "Dockerfile.python-connector is not the one of this xtask",
            ),
        ] {
            let got = match Method::choose("source-a", &asked, needs) {
                Ok(Method::Assemble) => "assemble".to_owned(),
                Ok(Method::Docker {
                    because,
                    builder: None,
                }) => because,
                Ok(Method::Docker {
                    because,
                    builder: Some(name),
                }) => format!("{because} by {name}"),
                Err(problem) => format!("error: {}", problem.message),
            };
            assert_eq!(got, expected, "{asked}");
        }
    }

    fn base(layer: &str) -> (ImageManifest, Value) {
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "c", "digest": format!("sha256:{HEX}"), "size": 1},
            "layers": [{"mediaType": layer, "digest": format!("sha256:{HEX}"), "size": 7}],
        });
        let configuration = json!({
            "architecture": "arm64", "os": "linux", "variant": "v8",
            "created": "2020-01-01T00:00:00Z",
            "config": {"Cmd": ["python3"], "Env": ["PATH=/bin", "A=1"], "Labels": {"b": "base", "c": "base"}, "StopSignal": "SIGINT"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{HEX}")]},
            "history": [{"created_by": "base"}],
        });
        (serde_json::from_value(manifest).unwrap(), configuration)
    }

    fn settings() -> Settings {
        Settings {
            user: "airbyte",
            work_directory: "/work",
            entry_point: vec!["/entrypoint.sh".into()],
            variables: vec![("A".into(), "2".into()), ("B".into(), "3".into())],
            labels: vec![("c".into(), "ours".into()), ("a".into(), "ours".into())],
            created: None,
        }
    }

    fn layers() -> Vec<NamedLayer> {
        let digest: Digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        vec![NamedLayer {
            layer: Layer {
                diff_id: format!("sha256:{}", "2".repeat(64)).parse().unwrap(),
                digest,
                size: 9,
            },
            holds: "the connector".into(),
            recipe: Some(Recipe {
                key: format!("sha256:{}", "3".repeat(64)).parse().unwrap(),
                wheels: Vec::new(),
            }),
        }]
    }

    #[test]
    fn an_image_is_its_base_and_more() {
        let (manifest, configuration) = base("application/vnd.docker.image.rootfs.diff.tar.gzip");
        let on = On {
            manifest: &manifest,
            configuration: &configuration,
        };
        let made = image(on, &settings(), &layers()).unwrap();
        let read =
            |document: &Document| -> Value { serde_json::from_slice(&document.bytes).unwrap() };
        let configuration = read(&made.configuration);
        assert_eq!(
            configuration["config"],
            json!({
                "Env": ["PATH=/bin", "A=2", "B=3"], "Labels": {"a": "ours", "b": "base", "c": "ours"},
                "StopSignal": "SIGINT", "User": "airbyte", "Entrypoint": ["/entrypoint.sh"], "WorkingDir": "/work",
            }),
            "the base's Cmd is gone"
        );
        assert_eq!(configuration["variant"], "v8");
        assert_eq!(configuration["created"], "2020-01-01T00:00:00Z");
        assert_eq!(
            configuration["rootfs"]["diff_ids"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        let filled = configuration["history"].as_array().unwrap().iter();
        let filled = filled.filter(|entry| entry["empty_layer"] != true);
        assert_eq!(filled.count(), 2, "one entry for each layer");
        let manifest = read(&made.manifest);
        assert_eq!(
            manifest["config"]["digest"],
            made.configuration.digest.to_string()
        );
        let media_types: Vec<&Value> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| &layer["mediaType"])
            .collect();
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert_eq!(media_types, [gzip, gzip]);
        let recipes: Vec<&Value> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| &layer["annotations"][published_layers::RECIPE])
            .collect();
        assert_eq!(
            recipes,
            [&Value::Null, &json!(format!("sha256:{}", "3".repeat(64)))]
        );
        assert_eq!(
            image(on, &settings(), &layers()).unwrap(),
            made,
            "repeatable"
        );
        let index = index(&[(Platform::LinuxArm64, made)].into()).unwrap();
        assert_eq!(
            read(&index)["manifests"][0]["platform"],
            json!({"architecture": "arm64", "os": "linux"})
        );
    }

    #[test]
    fn layers_that_can_not_be_carried_on_are_refused() {
        let (manifest, configuration) =
            base("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        let on = On {
            manifest: &manifest,
            configuration: &configuration,
        };
        assert!(
            image(on, &settings(), &layers())
                .unwrap_err()
                .contains("foreign")
        );
    }
}
