//! Every flag of `cargo xtask`.

use std::{collections::BTreeSet, num::NonZeroUsize, str::FromStr};

use camino::Utf8PathBuf;
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::model::{
    attestation::Attestations,
    bench::Case,
    builder::Builder,
    connector::{ConnectorName, Language},
    image::Tag,
    metadata::{ConnectorType, SupportLevel},
    platform::Platform,
    release::{Existing, Latest, Mode, ReleaseType, Signing},
    shard::Shard,
    spec_runs::SpecRuns,
    step::Step,
};

const EXIT_CODES: &str = "Exit codes:
  0    everything asked for was done
  1    the work failed or something was found: a build, a spec, a check, a base image behind, a blocking scan
  2    bad input: flags, configuration, an unknown connector, metadata that nothing can be done without
  3    the machine is not ready or something can't be known: no engine, a full disk, a silent registry
  130  stopped by Ctrl-C";

/// Build, test and publish the connectors of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Xtask {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Over the options that every command has, so that a command's own stand together.
const EVERYWHERE: &str = "Options of every command";

#[derive(Debug, Args)]
pub struct Global {
    /// Work on the repository at DIR instead of the one around the current directory
    #[arg(short = 'C', value_name = "DIR", global = true, help_heading = EVERYWHERE)]
    pub directory: Option<Utf8PathBuf>,
    /// Use an engine, a registry and base images of the repository's own, set up on first use
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub sandbox: bool,
    /// Override one setting of the configuration (`cargo xtask config` lists them); may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", global = true, help_heading = EVERYWHERE)]
    pub settings: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Work with connectors
    #[command(subcommand, visible_alias = "c")]
    Connector(Connector),
    /// Check whether this machine is ready, and say what to do where it is not
    Doctor(Json),
    /// An engine, a registry and base images of this repository's own, all below target/sandbox
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// Check formatting, lint and test everything, end to end on the sandbox
    Ci,
    /// Print each setting with where it came from
    Config(Json),
    /// Measure this tool against the flow that it replaces
    ///
    /// It pushes images and prunes the engine's builder cache: give --sandbox, or an engine and a registry meant for it.
    Bench(Bench),
    /// Look after the store: locked files, built wheels, layers of them, documents of base images, evidence for scans
    #[command(subcommand)]
    Cache(Cache),
}

#[derive(Debug, Subcommand)]
pub enum Connector {
    /// List connectors: all, those named, or those that a change touches
    List(List),
    /// Show all that is known of one connector
    Info(Info),
    /// Build a connector's image and check its spec
    Build(Build),
    /// Publish connectors' images: what the registry lacks is built, tested, scanned and pushed
    Publish(Box<Publish>),
    /// Publish the Python packages of connectors that declare one, and nothing else of them
    PublishPackage(PublishPackage),
    /// Build images and tell what is vulnerable in them
    Scan(Scan),
    /// Tell what is vulnerable in the images now at `latest`, of all connectors or those named, without pulling one
    Rescan(Rescan),
    /// Compare a published image with its metadata and commit, and run its spec
    ///
    /// A signature is checked by the key in COSIGN_PUBLIC_KEY, else as one by the workflows of GITHUB_REPOSITORY. With
    /// that key set, an image that nobody signed is wrong.
    Verify(Verify),
    /// Check metadata, files and pages of connectors, of all where none is named; `--list` prints every check
    Check(Check),
    /// Raise the version of connectors, in every file that has it
    Bump(Bump),
    /// Run connectors' own tool checks, build them for this host and check their spec; with --config-file try one's commands
    Test(Test),
    /// Move connectors to the newest base image of the same name
    UpToDate(UpToDate),
    /// Print the JSON Schema of metadata.yaml, for editors
    Schema,
}

#[derive(Debug, Subcommand)]
pub enum Sandbox {
    /// Start it; the first time it is set up, which takes minutes
    Up(SandboxUp),
    /// Show what of it runs and how to use it
    Status(Json),
    /// Stop it; what it holds stays for the next time
    Down(SandboxDown),
}

#[derive(Debug, Args)]
pub struct SandboxUp {
    /// Also make an image with a C compiler where docker.io can't be reached: it stands in for
    /// docker.io/library/buildpack-deps, to be named in `builder-images`
    #[arg(long)]
    pub compiler: bool,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
pub struct SandboxDown {
    /// Remove its data too
    #[arg(long)]
    pub purge: bool,
}

#[derive(Debug, Subcommand)]
pub enum Cache {
    /// Print how much the store holds
    Size(Json),
    /// Remove what no build used lately
    Prune(CachePrune),
    /// Copy built wheels to the repository that `wheel-cache` of the configuration names
    Push(Json),
}

#[derive(Debug, Args)]
pub struct CachePrune {
    /// Keep what was used within so many days
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub days: u64,
    /// Remove everything that no running build holds
    #[arg(long, conflicts_with = "days")]
    pub all: bool,
    /// Also remove what was used longest ago, until the rest takes up so many megabytes
    #[arg(long, value_name = "MB", conflicts_with = "all")]
    pub max_size: Option<u64>,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
pub struct Bench {
    /// cold, fresh-machine, code-change, no-change, batch, manifests, base-bump, start, list, list-changed, memory,
    /// compile; none for all
    pub cases: Vec<Case>,
    /// How often each side runs
    #[arg(long, value_name = "N", default_value = "3")]
    pub runs: NonZeroUsize,
    /// How many connectors the repository of list-changed and memory has; Airbyte's has 606
    #[arg(long, value_name = "N", default_value = "600")]
    pub fleet: NonZeroUsize,
    /// How many connectors batch has, and base-bump of each kind
    #[arg(long, value_name = "N", default_value = "20")]
    pub batch: NonZeroUsize,
    /// The Python connector of the cases that have one
    #[arg(long, value_name = "NAME", default_value = "source-faker")]
    pub connector: ConnectorName,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
pub struct Json {
    /// Print one JSON document to stdout
    #[arg(long)]
    pub json: bool,
}

/// Which connectors to work on: those named, or those that a change touches.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Selection {
    /// Names, globs or paths
    pub names: Vec<String>,
    /// Connectors touched since the merge base with --base, also by files not yet committed
    #[arg(long, group = "change", conflicts_with = "names")]
    pub all_changed: bool,
    /// What --all-changed compares with; else the pull request's target or the remote's default branch
    #[arg(long, value_name = "REF", requires = "all_changed")]
    pub base: Option<String>,
    /// Connectors touched since COMMIT itself, also by files not yet committed
    #[arg(
        long,
        value_name = "COMMIT",
        group = "change",
        conflicts_with = "names"
    )]
    pub since: Option<String>,
    /// Connectors touched by the files that FILE (`-`: standard input) lists, one a line or with NUL between them
    #[arg(long, value_name = "FILE", group = "change", conflicts_with = "names")]
    pub files_from: Option<Utf8PathBuf>,
    /// Only part I of N: connectors are dealt out by their names
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    Table,
    Json,
    /// A matrix for GitHub: one entry a connector, one empty entry for none
    Matrix,
    /// A list of matrices, since GitHub takes 256 entries in one
    Matrices,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub selection: Selection,
    /// Count changes of documentation pages too, as checks do
    #[arg(long, requires = "change")]
    pub docs: bool,
    /// Print why each connector is selected
    #[arg(long, requires = "change", conflicts_with_all = ["json", "format"])]
    pub explain: bool,
    /// How to print
    #[arg(long, default_value = "table", conflicts_with = "json")]
    pub format: ListFormat,
    /// Only connectors in this language; several may be given
    #[arg(long)]
    pub language: Vec<Language>,
    /// Only connectors at this support level
    #[arg(long)]
    pub support_level: Option<SupportLevel>,
    /// Only sources or only destinations
    #[arg(long = "type", value_name = "TYPE")]
    pub connector_type: Option<ConnectorType>,
    /// Exit with 1 when a connector's metadata can't be read
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
pub struct Info {
    /// Name of the connector, or a path into its directory
    pub name: String,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub selection: Selection,
    /// Only this check; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Not this check; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Run the tool checks too: poe tasks in the connector's own environment, the CDK of its base image
    #[arg(long)]
    pub tools: bool,
    /// Also ask registries whether base images and versions are there
    #[arg(long)]
    pub online: bool,
    /// Mend what can be, then check: the version in pyproject.toml, a changelog entry to be filled in, and with
    /// `--tools` the format (poe task `format-fix`)
    #[arg(long)]
    pub fix: bool,
    /// How findings are written; `github` makes annotations and the step summary
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: OutputFormat,
    /// Print the checks and stop
    #[arg(long)]
    pub list: bool,
}

impl Check {
    /// Whether tool checks may be among those asked for.
    pub fn runs_tools(&self) -> bool {
        (self.tools || !self.only.is_empty()) && !self.list
    }
}

#[derive(Debug, Args)]
pub struct Bump {
    /// Names, globs or paths
    #[arg(required = true)]
    pub names: Vec<String>,
    /// What of the version goes up
    pub step: Step,
    /// Also add a row with this text to the changelog in the documentation page
    #[arg(long, value_name = "TEXT")]
    pub changelog: Option<String>,
    /// Number of the pull request in that row
    #[arg(long, value_name = "N", requires = "changelog")]
    pub pull_request: Option<u64>,
    /// Print what would be written and stop
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
pub struct UpToDate {
    /// Names, globs or paths; none is all connectors
    pub names: Vec<String>,
    /// Write nothing, and exit with 1 when a base image is behind
    #[arg(long)]
    pub check: bool,
    /// Also raise the version: the patch, of a release candidate its number
    #[arg(long)]
    pub bump: bool,
    /// Also add a row with this text to the changelog in the documentation page
    #[arg(long, value_name = "TEXT", requires = "bump")]
    pub changelog: Option<String>,
    /// Number of the pull request in that row
    #[arg(long, value_name = "N", requires = "changelog")]
    pub pull_request: Option<u64>,
    /// How the result is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: StandingFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StandingFormat {
    Text,
    Markdown,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Text,
    Json,
    Sarif,
    Github,
    Junit,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["names", "all_changed", "since", "files_from"]).required(true)))]
pub struct Build {
    #[command(flatten)]
    pub selection: Selection,
    /// `host`, `all` (those of the configuration) or a list such as linux/amd64,linux/arm64
    #[arg(long, default_value = "host")]
    pub platform: Platforms,
    /// Tag of the image in the engine's store
    #[arg(long, default_value = "dev")]
    pub tag: Tag,
    /// `auto` assembles what needs no command run in the image and leaves the rest to `docker`; `assemble`; `docker`;
    /// or the name of one of buildx's builders
    #[arg(long, value_name = "BUILDER")]
    pub builder: Option<Builder>,
    #[command(flatten)]
    pub attest: Attest,
    /// On which images `spec` is tried: `sample` leaves out, on an emulated platform, most that bring no code of their own
    #[arg(long, value_name = "IMAGES", default_value = "sample")]
    pub spec: SpecRuns,
    /// Print the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: Json,
}

/// Statements of BuildKit's in the index.
#[derive(Debug, Args)]
pub struct Attest {
    /// Have BuildKit attest how the image was built: docker builds it then, and the index has another digest
    #[arg(long)]
    pub provenance: bool,
    /// Have BuildKit attest what the image holds, by its own scanner's image; a publish attaches syft's lists without it
    #[arg(long)]
    pub sbom: bool,
}

impl Attest {
    /// What only BuildKit does: an image that is to have any is built by docker.
    pub fn asked(&self) -> Attestations {
        Attestations {
            provenance: self.provenance,
            sbom: self.sbom,
        }
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("scanned").args(["names", "all_changed", "since", "files_from"]).required(true)))]
pub struct Scan {
    #[command(flatten)]
    pub selection: Selection,
    /// `host`, `all` (those of the configuration) or a list such as linux/amd64,linux/arm64
    #[arg(long, default_value = "all")]
    pub platform: Platforms,
    /// Tag of the image in the engine's store
    #[arg(long, default_value = "dev")]
    pub tag: Tag,
    /// How findings are written; `github` makes annotations and the step summary
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: ScanFormat,
}

#[derive(Debug, Args)]
pub struct Rescan {
    #[command(flatten)]
    pub selection: Selection,
    /// How findings are written; `github` makes annotations and the step summary
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: ScanFormat,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// A connector, of which the image of its version is meant, or an image: repository:tag or repository@digest
    #[arg(value_name = "NAME|IMAGE")]
    pub image: String,
    /// Build again from the commit that the image names, and compare the digests
    #[arg(long)]
    pub rebuild: bool,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScanFormat {
    Text,
    Json,
    Sarif,
    Github,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["names", "all_changed", "since", "files_from"]).required(true)))]
pub struct PublishPackage {
    #[command(flatten)]
    pub selection: Selection,
    /// Build, but upload nothing; the token for uploading is in UV_PUBLISH_TOKEN
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["names", "all_changed", "since", "files_from"]).required(true)))]
pub struct Test {
    #[command(flatten)]
    pub selection: Selection,
    /// Configuration to try the one connector named with: a source by `check`, `discover` and `read`, a destination by
    /// `check` and by `write` of a few records to streams called airbyte_test_MODE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all_changed", "since", "files_from"])]
    pub config_file: Option<Utf8PathBuf>,
    /// Configured catalog for a source to `read`; else one of all streams that `discover` finds
    #[arg(long, value_name = "FILE", requires = "config_file")]
    pub catalog: Option<Utf8PathBuf>,
    /// Network of the containers that try those commands, as docker names it; `none` for none
    #[arg(
        long,
        value_name = "NETWORK",
        default_value = "bridge",
        requires = "config_file"
    )]
    pub network: String,
    /// How long each of those commands may take
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        requires = "config_file"
    )]
    pub timeout: u64,
    #[command(flatten)]
    pub output: Json,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["names", "all_changed", "since", "files_from", "retry_failed"]).required(true)))]
pub struct Publish {
    #[command(flatten)]
    pub selection: Selection,
    /// What failed or was not reached in the last run; with --dry-run=false in the last one with that
    #[arg(long, conflicts_with_all = ["names", "change"])]
    pub retry_failed: bool,
    /// Registry and namespace to publish to; with --sandbox its registry, in the same namespace [default: `registry` of
    /// `cargo xtask config`, also where it is empty]
    #[arg(long, value_name = "HOST/NAMESPACE")]
    pub registry: Option<String>,
    /// Tag instead of the version; such an image is never latest. Empty is none
    #[arg(
        long,
        value_name = "TAG",
        default_value = "",
        hide_default_value = true
    )]
    pub tag_override: String,
    #[arg(long, help = "Move the tag latest here, when this is the newest release", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub push_latest: bool,
    #[arg(long, help = "Build and test, change nothing elsewhere", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub dry_run: bool,
    #[arg(long, help = "Build and push even what exists, saying which digest is replaced by which; needs --dry-run=false", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub force_publish: bool,
    /// Sign what is pushed with cosign: with the key in COSIGN_PRIVATE_KEY (COSIGN_PASSWORD), else keyless, by the identity
    /// of the workflow
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub sign: bool,
    /// main tags with the version, pre-release with VERSION-dev.COMMIT (or as `pre-release` of `cargo xtask config` says)
    #[arg(long, value_name = "TYPE", default_value = "main")]
    pub release_type: ReleaseType,
    /// `auto` assembles what needs no command run in the image and leaves the rest to `docker`; `assemble`; `docker`;
    /// or the name of one of buildx's builders: one that keeps no images is tested by what is pulled from the registry
    #[arg(long, value_name = "BUILDER")]
    pub builder: Option<Builder>,
    #[command(flatten)]
    pub attest: Attest,
    /// On which images `spec` is tried: `sample` leaves out, on an emulated platform, most that bring no code of their own
    #[arg(long, value_name = "IMAGES", default_value = "sample")]
    pub spec: SpecRuns,
    /// How many connectors are worked on at a time [default: `jobs` of `cargo xtask config`]
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Begin no further connector once one has failed
    #[arg(long)]
    pub fail_fast: bool,
    /// Print the plan and stop
    #[arg(long)]
    pub plan: bool,
    /// Write the outputs of every connector to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub outputs_file: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub output: Json,
}

impl Publish {
    /// `--dry-run`, which is the default.
    pub fn mode(&self) -> Mode {
        if self.dry_run {
            Mode::DryRun
        } else {
            Mode::Real
        }
    }

    /// `--force-publish`.
    pub fn existing(&self) -> Existing {
        if self.force_publish {
            Existing::Replace
        } else {
            Existing::Keep
        }
    }

    /// `--sign`.
    pub fn signing(&self) -> Signing {
        if self.sign { Signing::On } else { Signing::Off }
    }

    /// `--push-latest`; whether the release is the newest is for the plan to say.
    pub fn latest(&self) -> Latest {
        if self.push_latest {
            Latest::Follow
        } else {
            Latest::Leave
        }
    }
}

/// Which platforms to build for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    Host,
    All,
    Listed(Vec<Platform>),
}

impl Platforms {
    /// The platforms meant, with `configured` for `all`.
    pub fn resolve(&self, configured: &[Platform]) -> Vec<Platform> {
        match self {
            Platforms::Host => vec![Platform::host()],
            Platforms::All => configured.to_vec(),
            Platforms::Listed(platforms) => platforms.clone(),
        }
    }
}

impl FromStr for Platforms {
    type Err = String;

    fn from_str(text: &str) -> Result<Platforms, String> {
        match text {
            "host" => Ok(Platforms::Host),
            "all" => Ok(Platforms::All),
            _ => {
                let platforms = text.split(',').map(str::parse);
                let platforms = platforms.collect::<Result<BTreeSet<Platform>, _>>()?;
                Ok(Platforms::Listed(platforms.into_iter().collect()))
            }
        }
    }
}
