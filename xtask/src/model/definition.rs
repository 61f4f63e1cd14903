//! Every field that metadata.yaml may have, as Airbyte's own models declare them
//! (`ConnectorMetadataDefinitionV0` of airbyte-ci's metadata_service).
//!
//! Serde says yes or no in microseconds. [`SCHEMA`] says the same to editors and, where serde said no, names all
//! that is wrong at once; a test below holds the two together. A new field is a line in both.
//! Closed objects refuse unknown keys; the four that Airbyte leaves open take any.

// The fields are declared so that an unknown one is known to be unknown; checks read few of them.
#![expect(dead_code, reason = "declared, not read")]

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    date::Date,
    metadata::{ConnectorType, SupportLevel},
};

/// The same as JSON Schema (draft 7), for editors: `cargo xtask connector schema` prints it.
pub const SCHEMA: &str = include_str!("../../metadata.schema.json");

/// [`SCHEMA`] with further keys, by dotted path from the top; `*` stands for any key or member. An error names the
/// path that leads through no object.
pub fn schema_with(keys: &[String]) -> Result<String, String> {
    if keys.is_empty() {
        return Ok(SCHEMA.to_owned());
    }
    // The schema is part of the program and tested with it.
    let mut schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    for key in keys {
        let parts: Vec<&str> = key.split('.').collect();
        allow(&mut schema, &parts).ok_or_else(|| {
            format!("`{key}` leads through no object of metadata.yaml that has a key of that name")
        })?;
    }
    serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())
}

/// Lets any value stand at a path.
fn allow(schema: &mut Value, parts: &[&str]) -> Option<()> {
    let (last, around) = parts.split_last()?;
    let mut pointer = String::new();
    for part in around {
        let node = schema.pointer(&pointer)?;
        let step = match *part {
            "*" if node.get("items").is_some() => "/items".to_owned(),
            "*" => "/additionalProperties".to_owned(),
            name => format!("/properties/{name}"),
        };
        pointer = resolved(schema, pointer + &step)?;
    }
    let properties = schema.pointer_mut(&pointer)?.get_mut("properties")?;
    let properties = properties.as_object_mut()?;
    // A key that is known keeps its own schema.
    properties
        .entry(*last)
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    Some(())
}

/// The pointer itself, or the one that `$ref` there gives.
fn resolved(schema: &Value, pointer: String) -> Option<String> {
    match schema.pointer(&pointer)?.get("$ref") {
        Some(reference) => resolved(schema, reference.as_str()?.strip_prefix('#')?.to_owned()),
        None => Some(pointer),
    }
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Definition {
    metadata_spec_version: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Data {
    name: String,
    icon: Option<String>,
    definition_id: Uuid,
    connector_build_options: Option<ConnectorBuildOptions>,
    connector_test_suites_options: Option<Vec<ConnectorTestSuiteOptions>>,
    connector_type: ConnectorType,
    docker_repository: String,
    docker_image_tag: String,
    supports_dbt: Option<bool>,
    supports_normalization: Option<bool>,
    license: String,
    documentation_url: Url,
    github_issue_label: String,
    max_seconds_between_messages: Option<u64>,
    release_date: Option<Date>,
    protocol_version: Option<String>,
    erd_url: Option<String>,
    connector_subtype: ConnectorSubtype,
    release_stage: ReleaseStage,
    support_level: Option<SupportLevel>,
    tags: Option<Vec<String>>,
    registry_overrides: Option<RegistryOverride>,
    allowed_hosts: Option<AllowedHosts>,
    releases: Option<ConnectorReleases>,
    normalization_config: Option<Normalization>,
    suggested_streams: Option<SuggestedStreams>,
    resource_requirements: Option<ActorResourceRequirements>,
    #[serde(rename = "ab_internal")]
    ab_internal: Option<AirbyteInternal>,
    remote_registries: Option<RemoteRegistries>,
    supports_refreshes: Option<bool>,
    generated: Option<GeneratedFields>,
    supports_file_transfer: Option<bool>,
    supports_data_activation: Option<bool>,
    external_documentation_urls: Option<Vec<ExternalDocumentationUrl>>,
    #[serde(rename = "connectorIPCOptions")]
    connector_ipc_options: Option<ConnectorIpcOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ExternalDocumentationUrl {
    title: String,
    url: Url,
    r#type: Option<ExternalDocumentation>,
    requires_login: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExternalDocumentation {
    ApiDeprecations,
    ApiReference,
    ApiReleaseHistory,
    AuthenticationGuide,
    CodeRepository,
    DataModelReference,
    DeveloperCommunity,
    MigrationGuide,
    OpenapiSpec,
    Other,
    PermissionsScopes,
    RateLimits,
    SpecRepository,
    SqlReference,
    StatusPage,
}

/// How messages reach the platform.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConnectorIpcOptions {
    data_channel: DataChannel,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DataChannel {
    version: String,
    supported_serialization: Vec<Serialization>,
    supported_transport: Vec<Transport>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Serialization {
    Jsonl,
    Protobuf,
    Flatbuffers,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Transport {
    Stdio,
    Socket,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReleaseStage {
    Alpha,
    Beta,
    GenerallyAvailable,
    Custom,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConnectorSubtype {
    Api,
    Database,
    Datalake,
    File,
    Custom,
    MessageQueue,
    Unknown,
    Vectorstore,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConnectorBuildOptions {
    base_image: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConnectorTestSuiteOptions {
    suite: Suite,
    test_secrets: Option<Vec<Secret>>,
    test_connections: Option<Vec<TestConnection>>,
    scenarios: Option<Vec<SmokeTestScenario>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SmokeTestScenario {
    name: String,
    config_file: Option<String>,
    config_settings: Option<BTreeMap<String, IgnoredAny>>,
    expect_failure: Option<bool>,
    only_streams: Option<Vec<String>>,
    exclude_streams: Option<Vec<String>>,
    suggested_streams_only: Option<bool>,
    configured_catalog_path: Option<String>,
}

#[derive(Debug, Deserialize)]
enum Suite {
    #[serde(rename = "unitTests")]
    Unit,
    #[serde(rename = "integrationTests")]
    Integration,
    #[serde(rename = "acceptanceTests")]
    Acceptance,
    #[serde(rename = "liveTests")]
    Live,
    #[serde(rename = "smokeTests")]
    Smoke,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Secret {
    name: String,
    file_name: Option<String>,
    secret_store: SecretStore,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretStore {
    alias: Option<String>,
    r#type: Option<SecretStoreType>,
}

#[derive(Debug, Deserialize)]
enum SecretStoreType {
    #[serde(rename = "GSM")]
    GoogleSecretManager,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestConnection {
    name: String,
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryOverride {
    oss: Option<RegistryOverrides>,
    cloud: Option<RegistryOverrides>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RegistryOverrides {
    enabled: bool,
    public: Option<bool>,
    name: Option<String>,
    docker_repository: Option<String>,
    docker_image_tag: Option<String>,
    supports_dbt: Option<bool>,
    supports_normalization: Option<bool>,
    license: Option<String>,
    documentation_url: Option<Url>,
    connector_subtype: Option<String>,
    allowed_hosts: Option<AllowedHosts>,
    normalization_config: Option<Normalization>,
    suggested_streams: Option<SuggestedStreams>,
    resource_requirements: Option<ActorResourceRequirements>,
}

/// Open.
#[derive(Debug, Deserialize)]
struct AllowedHosts {
    hosts: Option<Vec<String>>,
}

/// Open.
#[derive(Debug, Deserialize)]
struct SuggestedStreams {
    streams: Option<Vec<String>>,
}

/// Open.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Normalization {
    normalization_repository: String,
    normalization_tag: String,
    normalization_integration_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConnectorReleases {
    rollout_configuration: Option<RolloutConfiguration>,
    breaking_changes: Option<BTreeMap<VersionKey, VersionBreakingChange>>,
    unsafe_downgrades: Option<BTreeMap<VersionKey, UnsafeDowngrade>>,
    migration_documentation_url: Option<Url>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RolloutConfiguration {
    enable_progressive_rollout: Option<bool>,
    default_rollout_mode: Option<RolloutMode>,
    autopilot_config: Option<AutopilotConfig>,
    // Airbyte had these three until 2026.
    initial_percentage: Option<Percentage>,
    max_percentage: Option<Percentage>,
    advance_delay_minutes: Option<DelayMinutes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RolloutMode {
    Manual,
    Autopilot,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AutopilotConfig {
    auto_start: Option<bool>,
    auto_promote_stages: Option<bool>,
    strategy: Option<RolloutStrategy>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RolloutStrategy {
    Fast,
    Slow,
    Default,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct VersionBreakingChange {
    upgrade_deadline: Date,
    message: String,
    deadline_action: Option<DeadlineAction>,
    migration_documentation_url: Option<Url>,
    is_breaking: Option<bool>,
    safe_to_downgrade: Option<bool>,
    scoped_impact: Option<AtLeastOne<StreamScope>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsafeDowngrade {
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DeadlineAction {
    AutoUpgrade,
    Disable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StreamScope {
    scope_type: Option<ScopeType>,
    impacted_scopes: AtLeastOne<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ScopeType {
    Stream,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ActorResourceRequirements {
    default: Option<ResourceRequirements>,
    job_specific: Option<Vec<JobTypeResourceLimit>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JobTypeResourceLimit {
    job_type: JobType,
    resource_requirements: ResourceRequirements,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JobType {
    GetSpec,
    CheckConnection,
    DiscoverSchema,
    Sync,
    ResetConnection,
    ConnectionUpdater,
    Replicate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceRequirements {
    cpu_request: Option<String>,
    cpu_limit: Option<String>,
    memory_request: Option<String>,
    memory_limit: Option<String>,
}

/// Open.
#[derive(Debug, Deserialize)]
struct AirbyteInternal {
    sl: Option<SupportRank>,
    ql: Option<QualityRank>,
    #[serde(rename = "isEnterprise")]
    is_enterprise: Option<bool>,
    #[serde(rename = "requireVersionIncrementsInPullRequests")]
    require_version_increments_in_pull_requests: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteRegistries {
    pypi: Option<PyPi>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PyPi {
    enabled: bool,
    package_name: String,
}

/// Open.
#[derive(Debug, Deserialize)]
struct GeneratedFields {
    git: Option<GitInfo>,
    release: Option<ReleaseInfo>,
    source_file_info: Option<SourceFileInfo>,
    metrics: Option<ConnectorMetrics>,
    #[serde(rename = "sbomUrl")]
    sbom_url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GitInfo {
    commit_sha: Option<String>,
    commit_timestamp: Option<Timestamp>,
    commit_author: Option<String>,
    commit_author_email: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseInfo {
    source: ReleaseSource,
    pr_number: Option<OrNull<i64>>,
    pr_url: Option<OrNull<String>>,
    pr_author_id: Option<OrNull<i64>>,
    pr_author_login: Option<OrNull<String>>,
    pr_author_type: Option<OrNull<AccountType>>,
    pr_author_association: Option<OrNull<String>>,
    pr_merged_by_login: Option<OrNull<String>>,
    pr_merged_by_type: Option<OrNull<AccountType>>,
    attributed_to: Option<OrNull<String>>,
    attributed_to_kind: Option<OrNull<AttributedTo>>,
    merge_commit_sha: Option<OrNull<String>>,
    merged_at: Option<OrNull<Timestamp>>,
    released_at: Option<OrNull<Timestamp>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReleaseSource {
    Publish,
    GitBackfill,
    Prerelease,
    Changelog,
}

#[derive(Debug, Deserialize)]
enum AccountType {
    User,
    Bot,
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AttributedTo {
    Maintainer,
    Bot,
    Other,
}

/// Null is a value here.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OrNull<T> {
    Value(T),
    Null,
}

/// Open.
#[derive(Debug, Deserialize)]
struct SourceFileInfo {
    metadata_etag: Option<String>,
    metadata_file_path: Option<String>,
    metadata_bucket_name: Option<String>,
    metadata_last_modified: Option<String>,
    registry_entry_generated_at: Option<String>,
}

/// Open.
#[derive(Debug, Deserialize)]
struct ConnectorMetrics {
    all: Option<IgnoredAny>,
    cloud: Option<IgnoredAny>,
    oss: Option<IgnoredAny>,
}

/// 8-4-4-4-12 hexadecimal digits.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Uuid(String);

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Uuid, String> {
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        let digits = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        if lengths == [8, 4, 4, 4, 12] && text.bytes().all(digits) {
            Ok(Uuid(text))
        } else {
            Err(format!("`{text}` is not a UUID"))
        }
    }
}

/// `scheme://host...` without white space.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Url(String);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Url, String> {
        let good = text.split_once("://").is_some_and(|(scheme, rest)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'))
                && !rest.is_empty()
                && !rest.starts_with(['/', '?', '#'])
                && !rest.contains(char::is_whitespace)
        });
        if good {
            Ok(Url(text))
        } else {
            Err(format!("`{text}` is not an address (expected https://...)"))
        }
    }
}

/// `N.N.N` without leading zeros, at most 18 digits each.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct VersionKey(String);

impl TryFrom<String> for VersionKey {
    type Error = String;

    fn try_from(text: String) -> Result<VersionKey, String> {
        let part = |part: &str| {
            (1..=18).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'))
        };
        if text.split('.').count() == 3 && text.split('.').all(part) {
            Ok(VersionKey(text))
        } else {
            Err(format!("`{text}` is not a version (expected N.N.N)"))
        }
    }
}

/// A date with or without a time of day.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Timestamp(String);

impl TryFrom<String> for Timestamp {
    type Error = String;

    fn try_from(text: String) -> Result<Timestamp, String> {
        let (date, time) = text
            .split_once(['T', ' '])
            .map_or((text.as_str(), None), |(date, time)| (date, Some(time)));
        let time = time.is_none_or(|time| {
            time.len() >= 5
                && time
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b":.+-Z".contains(&b))
        });
        let lengths: Vec<usize> = date.split('-').map(str::len).collect();
        let digits = |b: u8| b.is_ascii_digit() || b == b'-';
        if lengths == [4, 2, 2] && date.bytes().all(digits) && time {
            Ok(Timestamp(text))
        } else {
            Err(format!("`{text}` is not a point in time"))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "u64")]
struct Percentage(u64);

impl TryFrom<u64> for Percentage {
    type Error = String;

    fn try_from(number: u64) -> Result<Percentage, String> {
        if number <= 100 {
            Ok(Percentage(number))
        } else {
            Err(format!("{number} is not a percentage"))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "u64")]
struct DelayMinutes(u64);

impl TryFrom<u64> for DelayMinutes {
    type Error = String;

    fn try_from(number: u64) -> Result<DelayMinutes, String> {
        if number >= 10 {
            Ok(DelayMinutes(number))
        } else {
            Err(format!("{number} is less than 10 minutes"))
        }
    }
}

/// Airbyte's internal support level.
#[derive(Debug, Deserialize)]
#[serde(try_from = "u64")]
struct SupportRank(u64);

impl TryFrom<u64> for SupportRank {
    type Error = String;

    fn try_from(number: u64) -> Result<SupportRank, String> {
        if [0, 100, 200, 300].contains(&number) {
            Ok(SupportRank(number))
        } else {
            Err(format!("{number} is none of 0, 100, 200, 300"))
        }
    }
}

/// Airbyte's internal quality level.
#[derive(Debug, Deserialize)]
#[serde(try_from = "u64")]
struct QualityRank(u64);

impl TryFrom<u64> for QualityRank {
    type Error = String;

    fn try_from(number: u64) -> Result<QualityRank, String> {
        if [0, 100, 200, 300, 400, 500, 600].contains(&number) {
            Ok(QualityRank(number))
        } else {
            Err(format!("{number} is none of 0, 100, ... 600"))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<T>")]
struct AtLeastOne<T>(Vec<T>);

impl<T> TryFrom<Vec<T>> for AtLeastOne<T> {
    type Error = String;

    fn try_from(items: Vec<T>) -> Result<AtLeastOne<T>, String> {
        if items.is_empty() {
            return Err("the list is empty, expected at least one".to_owned());
        }
        Ok(AtLeastOne(items))
    }
}
