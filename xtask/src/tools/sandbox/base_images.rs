//! The images that connectors extend, made here where docker.io can't be reached.

use std::{collections::BTreeMap, fs, thread};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::{
    layout::{self, Layout},
    packages, registry,
};
use crate::{
    model::{
        config::Config,
        image::{Digest, ImageRef},
        platform::{self, Platform},
    },
    tools::{buildx, docker::Engine, docker_images::BASE_FILES, files, host, process::Program, uv},
};

/// The Debian release whose Python is Airbyte's (3.11).
pub const RELEASE: &str = "bookworm";
/// Python, what it and its extension modules load, what Dockerfiles call, and what scanners recognise a system by.
const PACKAGES: &str = "base-files,base-passwd,bash,ca-certificates,coreutils,dash,findutils,grep,gzip,libc-bin,\
libgcc-s1,libgomp1,libstdc++6,libyaml-0-2,passwd,python3,python3-distutils,sed,tar,tzdata";
/// What an extension module in C is made with.
const COMPILER_PACKAGES: &str = "gcc,libc6-dev,libyaml-dev,python3-dev";
/// 1980: the same content gets the same digest whenever it is built.
const DATE: &str = "315532800";
const TAG: &str = "sandbox";

/// One image: the repository on docker.io that it stands in for, the Dockerfile, and the image it extends.
pub struct Recipe {
    pub repository: &'static str,
    dockerfile: &'static str,
    extends: Option<&'static str>,
    needs_uv: bool,
}

/// Images that are made together, on one root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The base images of connectors.
    Bases,
    /// An image with a C compiler, for `builder-images` of the configuration.
    Compiler,
}

impl Family {
    /// The images, each after the one it extends.
    pub fn recipes(self) -> &'static [Recipe] {
        match self {
            Family::Bases => &BASES,
            Family::Compiler => &COMPILER,
        }
    }

    fn packages(self) -> String {
        match self {
            Family::Bases => PACKAGES.to_owned(),
            Family::Compiler => format!("{PACKAGES},{COMPILER_PACKAGES}"),
        }
    }

    /// The file that says what was made.
    pub fn record(self) -> &'static str {
        match self {
            Family::Bases => "base-images.json",
            Family::Compiler => "compiler-image.json",
        }
    }
}

/// Docker's own Debian with compilers.
const COMPILER: [Recipe; 1] = [Recipe {
    repository: "library/buildpack-deps",
    dockerfile: "Dockerfile.sandbox-python",
    extends: None,
    needs_uv: false,
}];

const BASES: [Recipe; 3] = [
    Recipe {
        repository: "library/python",
        dockerfile: "Dockerfile.sandbox-python",
        extends: None,
        needs_uv: false,
    },
    Recipe {
        repository: "airbyte/python-connector-base",
        dockerfile: "Dockerfile.python-connector-base",
        extends: Some("library/python"),
        needs_uv: false,
    },
    Recipe {
        repository: "airbyte/source-declarative-manifest",
        dockerfile: "Dockerfile.declarative-manifest-base",
        extends: Some("airbyte/python-connector-base"),
        needs_uv: true,
    },
];

/// What was made, and from what.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Made {
    /// Hash of everything that went in.
    key: String,
    /// Digest by repository.
    digests: BTreeMap<String, Digest>,
}

/// What images are made with.
pub struct Inputs<'a> {
    pub layout: &'a Layout,
    pub engine: &'a Engine,
    /// Address of the sandbox's registry.
    pub registry: &'a str,
    pub config: &'a Config,
    /// Directory with the Dockerfiles.
    pub docker_images: &'a Utf8Path,
    pub family: Family,
    /// Where fetched programs are kept.
    pub tools: &'a Utf8Path,
}

/// What stands in for what, when all of it is made and in the registry; None when something is missing or outdated.
pub fn stand_ins(
    family: Family,
    layout: &Layout,
    registry: &str,
    docker_images: &Utf8Path,
    config: &Config,
) -> Result<Option<BTreeMap<String, ImageRef>>> {
    let made = read(layout, family);
    let there = |recipe: &Recipe| {
        let digest = made.digests.get(recipe.repository);
        digest
            .is_some_and(|digest| registry::holds(registry, recipe.repository, &digest.to_string()))
    };
    if made.key != key(family, docker_images, config)? || !family.recipes().iter().all(there) {
        return Ok(None);
    }
    references(&made, registry).map(Some)
}

impl Made {
    /// Nothing yet, of what `inputs` say.
    pub fn begin(inputs: &Inputs) -> Result<Made> {
        Ok(Made {
            key: key(inputs.family, inputs.docker_images, inputs.config)?,
            digests: BTreeMap::new(),
        })
    }

    /// Makes one image and pushes it; `watch` sees each line of progress.
    pub fn make(
        &mut self,
        recipe: &Recipe,
        inputs: &Inputs,
        roots: &Utf8Path,
        watch: impl FnMut(&str) + Send,
    ) -> Result<Digest> {
        let args = arguments(recipe, inputs, self, roots)?;
        let digest = buildx::build(inputs.engine, &args, watch)?;
        self.digests
            .insert(recipe.repository.to_owned(), digest.clone());
        Ok(digest)
    }

    /// Writes down what was made, and what stands in for what.
    pub fn finish(self, inputs: &Inputs, roots: &Utf8Path) -> Result<BTreeMap<String, ImageRef>> {
        let record = inputs.layout.file(inputs.family.record());
        files::write(&record, &serde_json::to_string(&self)?)?;
        // The images hold what the roots held.
        fs::remove_dir_all(roots).with_context(|| format!("remove {roots}"))?;
        references(&self, inputs.registry)
    }
}

fn read(layout: &Layout, family: Family) -> Made {
    let text = fs::read_to_string(layout.file(family.record())).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn references(made: &Made, registry: &str) -> Result<BTreeMap<String, ImageRef>> {
    let reference = |(repository, digest): (&String, &Digest)| {
        let image = format!("{registry}/{repository}:{TAG}@{digest}")
            .parse()
            .map_err(anyhow::Error::msg)?;
        Ok((format!("docker.io/{repository}"), image))
    };
    made.digests.iter().map(reference).collect()
}

/// Changes with everything that goes into the images, except what the package mirror has to offer.
fn key(family: Family, docker_images: &Utf8Path, config: &Config) -> Result<String> {
    let mut parts = vec![
        family.packages(),
        RELEASE.to_owned(),
        config.tools.uv.to_string(),
    ];
    for (name, _) in BASE_FILES {
        let path = docker_images.join(name);
        parts.push(fs::read_to_string(&path).with_context(|| format!("read {path}"))?);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(format!("{:016x}", layout::hash(&parts)))
}

/// A directory with `rootfs-amd64.tar` and `rootfs-arm64.tar`: extracted packages, so that nothing is emulated.
pub fn make_roots(inputs: &Inputs) -> Result<Utf8PathBuf> {
    let directory = inputs.layout.file("roots");
    fs::create_dir_all(&directory).with_context(|| format!("make {directory}"))?;
    let sources = directory.join("debian.sources");
    files::write(&sources, &packages::sources_for_roots(RELEASE)?)?;
    let make_root = |platform: Platform| make_root(inputs, &directory, &sources, platform);
    thread::scope(|scope| {
        let workers = Platform::ALL.map(|platform| scope.spawn(move || make_root(platform)));
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("making a root file system panicked"))?
        })
    })?;
    Ok(directory)
}

fn make_root(
    inputs: &Inputs,
    directory: &Utf8Path,
    sources: &Utf8Path,
    platform: Platform,
) -> Result<()> {
    let architecture = platform.architecture();
    let root = directory.join(format!("rootfs-{architecture}.tar"));
    if root.is_file() {
        return Ok(());
    }
    // One that a killed run left may still be written to.
    let partial = directory.join(format!("partial-{architecture}-{}.tar", std::process::id()));
    let shell = Shell::new().context("open a shell")?;
    let packages = inputs.family.packages();
    let args = ["--quiet", "--variant=extract"];
    let mmdebstrap = cmd!(
        shell,
        "mmdebstrap {args...} --architectures={architecture} --include={packages} {RELEASE} {partial} {sources}"
    );
    Program::from(mmdebstrap)
        .env("TMPDIR", inputs.layout.file("tmp"))
        .env("SOURCE_DATE_EPOCH", DATE)
        .output()?;
    fs::rename(&partial, &root).with_context(|| format!("move {partial}"))
}

/// The arguments of `docker buildx build`.
fn arguments(
    recipe: &Recipe,
    inputs: &Inputs,
    made: &Made,
    roots: &Utf8Path,
) -> Result<Vec<String>> {
    let name = format!("{}/{}:{TAG}", inputs.registry, recipe.repository);
    let mut args = vec![
        format!("--platform={}", platform::join(&Platform::ALL)),
        format!("--file={}", inputs.docker_images.join(recipe.dockerfile)),
        format!("--output=type=image,name={name},push=true,compression=gzip,compression-level=1"),
        "--provenance=false".to_owned(),
        "--progress=plain".to_owned(),
        "--network=host".to_owned(),
        format!("--build-arg=SOURCE_DATE_EPOCH={DATE}"),
    ];
    if let Some(base) = recipe.extends {
        let digest = made
            .digests
            .get(base)
            .context("base images are made in order")?;
        args.push(format!(
            "--build-arg=BASE_IMAGE={}/{base}:{TAG}@{digest}",
            inputs.registry
        ));
    }
    if recipe.needs_uv {
        let uv = uv::for_containers(&inputs.config.tools.uv, Platform::host(), inputs.tools)?;
        args.push(format!("--build-context=uv={uv}"));
        args.extend(host::ca_bundle().map(|bundle| format!("--secret=id=ca,src={bundle}")));
        args.extend(
            host::proxy_variables()
                .iter()
                .map(|proxy| format!("--build-arg={proxy}")),
        );
    }
    args.push(
        if recipe.extends.is_none() {
            roots
        } else {
            inputs.docker_images
        }
        .to_string(),
    );
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_extends_one_made_before_it() {
        let families = [Family::Bases, Family::Compiler].map(Family::recipes);
        let recipes = families.iter().flat_map(|family| {
            family
                .iter()
                .enumerate()
                .map(|(index, recipe)| (&family[..index], recipe))
        });
        for (before, recipe) in recipes {
            let earlier: Vec<&str> = before.iter().map(|recipe| recipe.repository).collect();
            assert!(
                recipe.extends.is_none_or(|base| earlier.contains(&base)),
                "{}",
                recipe.repository
            );
            assert!(
                BASE_FILES
                    .iter()
                    .any(|(name, _)| *name == recipe.dockerfile),
                "{}",
                recipe.dockerfile
            );
        }
    }

    #[test]
    fn the_key_changes_with_any_file() {
        let directory = tempfile::tempdir().unwrap();
        let docker_images = Utf8Path::from_path(directory.path()).unwrap();
        fs::create_dir(docker_images.join("source_declarative_manifest")).unwrap();
        let files = BASE_FILES.map(|(name, _)| name);
        for name in &files {
            fs::write(docker_images.join(name), "x").unwrap();
        }
        let config = Config::default();
        let key = |family| key(family, docker_images, &config);
        let mut seen = vec![key(Family::Bases).unwrap(), key(Family::Compiler).unwrap()];
        assert_ne!(seen[0], seen[1]);
        for name in &files {
            fs::write(docker_images.join(name), "y").unwrap();
            let key = key(Family::Bases).unwrap();
            assert!(!seen.contains(&key), "{name}");
            seen.push(key);
        }
        fs::remove_file(docker_images.join(files[0])).unwrap();
        assert!(key(Family::Bases).is_err());
    }

    #[test]
    fn references_are_pinned_by_digest() {
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let made = Made {
            key: String::new(),
            digests: [("airbyte/x".to_owned(), digest.clone())].into(),
        };
        let found = references(&made, "127.0.0.1:5000").unwrap();
        assert_eq!(
            found["docker.io/airbyte/x"].to_string(),
            format!("127.0.0.1:5000/airbyte/x:sandbox@{digest}")
        );
    }
}
