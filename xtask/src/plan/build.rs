//! How a connector's image is built and tested: the plan that is printed is the value that is executed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::{
    assembly::{Dockerfile, Method, Needs, Packages, Settings},
    backend::BuiltBy,
    base_image::{BaseImage, Because},
    dependencies::{Dependencies, Summary},
    entry_point::EntryPoint,
    prerequisites::{self, Prerequisites},
};
use crate::model::{
    attestation::Attestations,
    base_package::BasePackage,
    build_system::Pin,
    builder::Builder,
    config::Config,
    connector::{Connector, ConnectorName, Language},
    image::{ImageRef, Tag},
    platform::{self, Platform},
    problem::Problem,
    revision::Revision,
    spec_runs::Trial,
    target::{Interpreter, User},
};

/// Where a connector's code lies in its image.
pub const CODE: &str = "/airbyte/integration_code";

/// The script that starts a Python connector.
pub const ENTRY_POINT: &str = "/entrypoint.sh";

const CREATED: &str = "org.opencontainers.image.created";

/// zstd layers have broken pulls on old engines; level 1, since a heavy connector's layers take a third of the time
/// and a tenth more space.
const GZIP: &str = "compression=gzip,compression-level=1";

/// Gives the image in the engine's store the digest of the one in the layout; BuildKit's default there is docker's types.
const OCI: &str = "oci-mediatypes=true";

/// Everything that one `docker buildx build` and the spec checks after it need.
#[derive(Debug, Clone, Serialize)]
pub struct BuildPlan {
    pub connector: ConnectorName,
    pub language: Language,
    /// Name that the image gets in the engine's store.
    pub image: ImageRef,
    pub base: BaseImage,
    pub platforms: Vec<Platform>,
    pub method: Method,
    /// Absolute paths of the Dockerfile and of the directory it is built from.
    pub dockerfile: Utf8PathBuf,
    pub directory: Utf8PathBuf,
    /// Build arguments, labels and named contexts, in the order they are given.
    pub arguments: Vec<(String, String)>,
    pub labels: Vec<(String, String)>,
    /// What BuildKit attests, as arguments.
    pub attest: Vec<String>,
    pub contexts: Vec<(String, String)>,
    /// Files handed to the build that leave no trace in the image: id and path.
    pub secrets: Vec<(String, Utf8PathBuf)>,
    /// Where the image is written to as an OCI layout besides, to be looked through.
    pub layout: Utf8PathBuf,
    /// Variables passed on by name; docker keeps these out of the image.
    pub proxies: Vec<String>,
    /// None for a connector in another language.
    pub python: Option<PythonPlan>,
    /// Who runs the connector.
    pub user: User,
    pub components: Components,
    /// Repository whose newest image may have layers that this machine lacks.
    pub layers_from: Option<ImageRef>,
    pub specs: Vec<SpecCheck>,
}

/// Whether a manifest-only connector brings code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Components {
    None,
    /// A components.py.
    Own,
}

/// One run of `spec`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SpecCheck {
    pub platform: Platform,
    pub emulated: bool,
    pub trial: Trial,
    #[serde(rename = "limit_seconds", serialize_with = "whole_seconds")]
    pub limit: Duration,
}

/// What a plan is made from besides the connector itself.
pub struct Inputs<'a> {
    pub config: &'a Config,
    pub platforms: &'a [Platform],
    pub tag: &'a Tag,
    pub builder: &'a Builder,
    pub attestations: Attestations,
    pub dockerfile: Dockerfile<'a>,
    /// Platform that the engine's containers run on natively.
    pub native: Option<Platform>,
    /// None outside a git work tree.
    pub revision: Option<&'a Revision>,
    /// Where the image is written to as an OCI layout.
    pub layout: Utf8PathBuf,
    /// Absolute path of the repository.
    pub root: &'a Utf8Path,
    /// Directory with the Dockerfiles, absolute.
    pub docker_images: &'a Utf8Path,
    pub proxies: Vec<String>,
    /// None for a connector in another language.
    pub python: Option<PythonPlan>,
    /// Whom the base image has to run the connector as.
    pub user: User,
    pub components: Components,
    /// Certificates that this host trusts.
    pub ca: Option<Utf8PathBuf>,
}

/// What the image of a Python connector installs and starts.
#[derive(Debug, Clone, Serialize)]
pub struct PythonPlan {
    pub interpreter: Interpreter,
    /// Whether that is only the usual one, since the base image was not asked.
    pub assumed: bool,
    /// What of the base image makes way for other versions.
    pub replaces: BTreeMap<Platform, Vec<BasePackage>>,
    pub dependencies: PlannedDependencies,
    pub entry_point: EntryPoint,
    pub prerequisites: Option<Prerequisites>,
    /// Directory with a uv for containers.
    pub uv: Utf8PathBuf,
    /// Directory of the lists that uv installs from; written before the build.
    pub requirements: Utf8PathBuf,
    /// Directory of the files that they name; laid out before the build.
    pub wheels: Utf8PathBuf,
    /// Pinned backends that build the connector's own package.
    #[serde(skip)]
    pub backends: Vec<Pin>,
    #[serde(skip)]
    pub built_by: BuiltBy,
}

/// Where an image's packages come from.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub enum PlannedDependencies {
    /// What the lock file names, by hash.
    Locked(Summary),
    /// What the package index has on the day: not repeatable.
    Resolved { requirements: Vec<String> },
}

impl PlannedDependencies {
    /// `native` is the platform that builds run on without emulation.
    pub fn new(
        dependencies: Dependencies,
        native: Platform,
        config: &Config,
    ) -> PlannedDependencies {
        match dependencies {
            Dependencies::Locked(closures) => {
                PlannedDependencies::Locked(Summary::new(closures, native, config))
            }
            Dependencies::Unlocked { requirements } => {
                PlannedDependencies::Resolved { requirements }
            }
        }
    }
}

impl BuildPlan {
    /// Plans the build of `connector`; an error when it is one that can't be built here.
    pub fn new(connector: &Connector, inputs: Inputs<'_>) -> Result<BuildPlan, Problem> {
        let language = buildable(connector)?;
        let base = base_image(connector, inputs.config)?;
        let image = format!("{}:{}", connector.metadata.docker_repository, inputs.tag);
        let image = image.parse().map_err(|error| {
            Problem::usage(format!(
                "{}: data.dockerRepository: {error}",
                connector.name
            ))
        })?;
        if inputs.python.is_none() && inputs.config.prerequisites.contains_key(&connector.name) {
            return Err(prerequisites::refuse(connector.name.as_str(), language));
        }
        let script = inputs.python.as_ref().map(|python| &python.prerequisites);
        let needs = Needs {
            prerequisites: script.and_then(|script| Some(script.as_ref()?.script.as_str())),
            packages: inputs.python.as_ref().map_or(Packages::None, packages),
            dockerfile: inputs.dockerfile,
            attestations: inputs.attestations,
        };
        Ok(BuildPlan {
            connector: connector.name.clone(),
            language,
            image,
            platforms: inputs.platforms.to_vec(),
            method: Method::choose(connector.name.as_str(), inputs.builder, needs)?,
            dockerfile: inputs.docker_images.join(dockerfile(language)),
            directory: inputs.root.join(&connector.directory),
            arguments: arguments(connector, &base, &inputs),
            labels: labels(connector, &base, &inputs),
            attest: attest(inputs.attestations, inputs.config),
            contexts: inputs.python.iter().flat_map(contexts).collect(),
            secrets: secrets(&inputs),
            layout: inputs.layout,
            proxies: inputs.proxies,
            python: inputs.python,
            user: inputs.user,
            components: inputs.components,
            layers_from: None,
            specs: inputs
                .platforms
                .iter()
                .map(|platform| spec_check(*platform, inputs.native, inputs.config))
                .collect(),
            base,
        })
    }

    /// With layers from the newest image in the repository of `published`, where this can be assembled of such.
    pub fn taking_layers_from(mut self, published: &ImageRef) -> BuildPlan {
        let layered = self.method == Method::Assemble && self.python.is_some();
        self.layers_from = layered.then(|| ImageRef {
            tag: None,
            digest: None,
            ..published.clone()
        });
        self
    }

    /// What an assembled image says of how it is run, as the Dockerfiles say it.
    pub fn settings(&self) -> Settings {
        let main = format!("{CODE}/main.py");
        let entry_point = match self.language {
            Language::ManifestOnly => vec!["python".to_owned(), main],
            Language::Python | Language::Java => vec![ENTRY_POINT.to_owned()],
        };
        let created = self.labels.iter().find(|(name, _)| name == CREATED);
        Settings {
            user: self.user.as_str(),
            work_directory: CODE,
            variables: vec![("AIRBYTE_ENTRYPOINT".to_owned(), entry_point.join(" "))],
            entry_point,
            labels: self.labels.clone(),
            created: created.map(|(_, date)| date.clone()),
        }
    }

    /// Whether `spec` is tried on a platform in a container of this image itself.
    pub fn runs_alone(&self, platform: Platform) -> bool {
        let mut checks = self
            .specs
            .iter()
            .filter(|check| check.trial == Trial::Alone);
        checks.any(|check| check.platform == platform)
    }

    /// Whether docker leaves the image in the engine's own store: a builder of another kind has none.
    pub fn in_store(&self) -> bool {
        matches!(self.method, Method::Docker { builder: None, .. })
    }

    /// The builder of buildx's that is named, which has no store to run an image from.
    pub fn builder(&self) -> Option<&str> {
        match &self.method {
            Method::Docker { builder, .. } => builder.as_deref(),
            Method::Assemble => None,
        }
    }

    /// The arguments of `docker buildx build`.
    pub fn buildx_arguments(&self) -> Vec<String> {
        let mut args = vec![
            format!("--platform={}", platform::join(&self.platforms)),
            format!("--file={}", self.dockerfile),
        ];
        if self.in_store() {
            args.push(format!(
                "--output=type=image,name={},push=false,{OCI},{GZIP}",
                self.image
            ));
        }
        args.extend([format!(
            "--output=type=oci,dest={},tar=false,{GZIP}",
            self.layout
        )]);
        args.extend(self.attest.iter().cloned());
        args.extend(
            self.labels
                .iter()
                .map(|(name, value)| format!("--label={name}={value}")),
        );
        args.extend(self.inputs());
        args
    }

    /// The arguments of `docker buildx build` that write the connector's own wheel, the one in the image, to
    /// `directory`.
    pub fn package_arguments(&self, directory: &Utf8Path) -> Vec<String> {
        let mut args = vec![
            "--target=own-package".to_owned(),
            format!("--file={}", self.dockerfile),
            format!("--output=type=local,dest={directory}"),
        ];
        args.extend(self.inputs());
        args
    }

    /// Who builds, and what every stage of the Dockerfile may read.
    fn inputs(&self) -> Vec<String> {
        let given = |(name, value): &(String, String)| format!("--build-arg={name}={value}");
        let context = |(name, value): &(String, String)| format!("--build-context={name}={value}");
        let secret = |(id, path): &(String, Utf8PathBuf)| format!("--secret=id={id},src={path}");
        let mut args = vec!["--progress=plain".to_owned()];
        args.push(match self.builder() {
            Some(name) => format!("--builder={name}"),
            // A registry on the host's loopback and the host's own package index are reachable this way. Builders of
            // another kind allow it to nobody by default.
            None => "--network=host".to_owned(),
        });
        args.extend(self.arguments.iter().map(given));
        args.extend(
            self.proxies
                .iter()
                .map(|name| format!("--build-arg={name}")),
        );
        args.extend(self.contexts.iter().map(context));
        args.extend(self.secrets.iter().map(secret));
        args.push(self.directory.to_string());
        args
    }

    /// The plan as lines for a reader.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} ({}) -> {}",
            self.connector, self.language, self.image
        )];
        lines.push(match self.base.because {
            Because::Declared => format!("  base   {}", self.base.used),
            Because::Mirror => format!(
                "  base   {} (mirror of {})",
                self.base.used,
                self.base.declared.name()
            ),
            Because::StandIn => format!(
                "  base   {} (stands in for {})",
                self.base.used, self.base.declared
            ),
        });
        if self.user == User::Root {
            lines.push("  user   root: the base image has no user airbyte".to_owned());
        }
        let how = match &self.method {
            Method::Assemble => "assembled".to_owned(),
            Method::Docker { because, builder } => {
                let builder = builder.iter().map(|name| format!("'s builder {name}"));
                format!(
                    "by docker{} from {} ({because})",
                    builder.collect::<String>(),
                    self.dockerfile
                )
            }
        };
        lines.push(format!(
            "  build  {} {how}",
            platform::join(&self.platforms)
        ));
        lines.extend(self.python.iter().flat_map(PythonPlan::lines));
        if let Some(from) = &self.layers_from {
            lines.push(format!(
                "  layers that are not here from {from}, if it has them"
            ));
        }
        for spec in &self.specs {
            lines.push(format!("  spec   {}", spec.line()));
        }
        lines
    }
}

impl PythonPlan {
    /// The paths that are removed from the base image on `platform`, without a leading slash, none below another.
    pub fn removed(&self, platform: Platform) -> Vec<&str> {
        let replaced = self.replaces.get(&platform).into_iter().flatten();
        let paths: BTreeSet<&str> = replaced
            .flat_map(|one| one.paths.iter().map(String::as_str))
            .collect();
        let is_top = |path: &&str| {
            let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
            !above.any(|directory| paths.contains(directory))
        };
        paths.iter().copied().filter(is_top).collect()
    }

    /// The list of those.
    pub fn removals(&self, platform: Platform) -> Utf8PathBuf {
        self.requirements
            .join(format!("replaced-{}.txt", platform.architecture()))
    }

    /// The list of what is installed on `platform`.
    pub fn list(&self, platform: Platform) -> Utf8PathBuf {
        self.requirements
            .join(format!("requirements-{}.txt", platform.architecture()))
    }

    fn lines(&self) -> Vec<String> {
        let assumed = if self.assumed {
            ", assumed until the base image is there"
        } else {
            ""
        };
        let Interpreter { python, libc, .. } = self.interpreter;
        let mut lines = vec![format!("  python {python} with {libc}{assumed}")];
        let replaced = self.replaces.values().flatten().map(BasePackage::to_string);
        let replaced: BTreeSet<String> = replaced.collect();
        if !replaced.is_empty() {
            let replaced = replaced.into_iter().collect::<Vec<_>>().join(", ");
            lines.push(format!("  replaces {replaced} of the base image"));
        }
        let (source, details) = match &self.dependencies {
            PlannedDependencies::Locked(summary) => ("locked", summary.lines()),
            PlannedDependencies::Resolved { requirements } => (
                "resolved when it is built, so not repeatable",
                vec![requirements.join(", ")],
            ),
        };
        lines.extend(
            self.prerequisites
                .iter()
                .map(|script| format!("  script {script}")),
        );
        lines.push(format!("  packages {source}"));
        lines.extend(details.iter().map(|line| format!("    {line}")));
        lines.push(format!("  starts {}", self.entry_point.command(CODE)));
        lines
    }
}

/// BuildKit attests the least by itself unless it is told not to.
fn attest(asked: Attestations, config: &Config) -> Vec<String> {
    let provenance = if asked.provenance {
        "mode=max"
    } else {
        "false"
    };
    let generator = &config.tools.sbom_generator;
    let sbom = match (asked.sbom, generator.as_str()) {
        (false, _) => "false".to_owned(),
        (true, "") => "true".to_owned(),
        (true, image) => format!("generator={image}"),
    };
    vec![
        format!("--provenance={provenance}"),
        format!("--sbom={sbom}"),
    ]
}

fn contexts(python: &PythonPlan) -> Vec<(String, String)> {
    let directories = [
        ("uv", &python.uv),
        ("requirements", &python.requirements),
        ("wheels", &python.wheels),
    ];
    directories
        .map(|(name, path)| (name.to_owned(), path.to_string()))
        .into()
}

/// Only the builds that install something ask a package index.
fn secrets(inputs: &Inputs<'_>) -> Vec<(String, Utf8PathBuf)> {
    let ca = inputs.ca.iter().filter(|_| inputs.python.is_some());
    ca.map(|path| ("ca".to_owned(), path.clone())).collect()
}

/// The Dockerfile that connectors in a language are built by.
pub fn dockerfile(language: Language) -> &'static str {
    match language {
        Language::ManifestOnly => "Dockerfile.manifest-only-connector",
        Language::Python | Language::Java => "Dockerfile.python-connector",
    }
}

/// The language, when it is one whose images are built here.
pub fn buildable(connector: &Connector) -> Result<Language, Problem> {
    match connector.language {
        Some(language @ (Language::Python | Language::ManifestOnly)) => Ok(language),
        Some(Language::Java) => Err(Problem::usage(format!(
            "{} is written in java, which is not supported",
            connector.name
        ))
        .help("python and manifest-only connectors are built here; Gradle builds the java ones")),
        None => Err(
            Problem::usage(format!("the language of {} can't be told", connector.name)).help(
                format!(
                    "{} has neither manifest.yaml nor pyproject.toml",
                    connector.directory
                ),
            ),
        ),
    }
}

/// The base image to build on; an error when metadata declares none.
pub fn base_image(connector: &Connector, config: &Config) -> Result<BaseImage, Problem> {
    let place = format!(
        "{}/metadata.yaml: data.connectorBuildOptions.baseImage",
        connector.directory
    );
    let declared = connector.metadata.base_image.as_ref().ok_or_else(|| {
        Problem::usage(format!("{place}: missing"))
            .help("declare the image to build on as image:tag@sha256:digest")
    })?;
    BaseImage::resolve(declared, config)
        .map_err(|error| Problem::usage(format!("{place}: {error}")))
}

/// Build arguments as Airbyte's own Dockerfiles take them, and the entry point.
fn arguments(
    connector: &Connector,
    base: &BaseImage,
    inputs: &Inputs<'_>,
) -> Vec<(String, String)> {
    let mut arguments = vec![
        ("BASE_IMAGE", base.used.to_string()),
        ("CONNECTOR_NAME", connector.name.to_string()),
        ("CONNECTOR_SNAKE_NAME", connector.name.snake()),
        ("CONNECTOR_VERSION", connector.metadata.version.to_string()),
    ];
    if let Some(python) = &inputs.python {
        arguments.push(("ENTRY_POINT", python.entry_point.command(CODE)));
        arguments.extend(
            python
                .interpreter
                .libc
                .manylinux()
                .map(|tag| ("MANYLINUX", tag)),
        );
        if !python.replaces.is_empty() {
            arguments.push(("REPLACES", "true".to_owned()));
        }
        arguments.extend(
            python
                .prerequisites
                .iter()
                .map(|script| ("EXTRA_PREREQS_SCRIPT", script.script.clone())),
        );
    }
    if inputs.user != User::Airbyte {
        arguments.push(("CONNECTOR_USER", inputs.user.as_str().to_owned()));
    }
    arguments.extend(
        inputs
            .revision
            .and_then(|r| r.changed.as_ref())
            .map(|c| ("SOURCE_DATE_EPOCH", c.epoch.to_string())),
    );
    arguments
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Labels of the OCI image specification ("Pre-Defined Annotation Keys") and Airbyte's two.
fn labels(connector: &Connector, base: &BaseImage, inputs: &Inputs<'_>) -> Vec<(String, String)> {
    let version = connector.metadata.version.to_string();
    let mut labels = vec![
        (
            "io.airbyte.name",
            connector.metadata.docker_repository.clone(),
        ),
        ("io.airbyte.version", version.clone()),
        (
            "org.opencontainers.image.title",
            connector.metadata.title.clone(),
        ),
        ("org.opencontainers.image.version", version),
        (
            "org.opencontainers.image.licenses",
            connector.metadata.license.clone(),
        ),
        (
            "org.opencontainers.image.documentation",
            connector.metadata.documentation_url.clone(),
        ),
        (
            "org.opencontainers.image.base.name",
            base.used.clone().without_digest().to_string(),
        ),
    ];
    labels.extend(
        base.used
            .digest
            .iter()
            .map(|digest| ("org.opencontainers.image.base.digest", digest.to_string())),
    );
    let source = Some(inputs.config.source.clone()).filter(|source| !source.is_empty());
    let source = source.or_else(|| inputs.revision?.source.clone());
    labels.extend(source.map(|source| ("org.opencontainers.image.source", source)));
    if let Some(revision) = inputs.revision {
        let dirty = if revision.dirty { "-dirty" } else { "" };
        labels.push((
            "org.opencontainers.image.revision",
            format!("{}{dirty}", revision.commit),
        ));
        labels.extend(
            revision
                .changed
                .iter()
                .map(|changed| (CREATED, changed.date.clone())),
        );
    }
    labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl SpecCheck {
    fn line(&self) -> String {
        let how = if self.emulated { "emulated" } else { "native" };
        let limit = self.limit.as_secs();
        let platform = self.platform;
        match self.trial {
            Trial::Alone => format!("{platform} ({how}, at most {limit} s)"),
            Trial::Batch => format!(
                "{platform} ({how}, at most {limit} s, in one container of its base with others)"
            ),
            Trial::LeftOut => format!(
                "{platform} left out ({how}: others of its base run there; --spec all runs all)"
            ),
        }
    }
}

/// How `spec` is run on a platform.
pub fn spec_check(platform: Platform, native: Option<Platform>, config: &Config) -> SpecCheck {
    let emulated = native != Some(platform);
    let seconds = if emulated {
        config.spec_timeout_emulated
    } else {
        config.spec_timeout
    };
    SpecCheck {
        platform,
        emulated,
        trial: Trial::Alone,
        limit: Duration::from_secs(seconds),
    }
}

fn whole_seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn packages(python: &PythonPlan) -> Packages {
    match python.dependencies {
        PlannedDependencies::Resolved { .. } => Packages::Unlocked,
        PlannedDependencies::Locked(_) => match python.built_by {
            BuiltBy::Uv => Packages::BuiltByUv,
            BuiltBy::Pinned => Packages::Locked,
        },
    }
}
