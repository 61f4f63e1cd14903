//! Each check by a table: one good connector, small edits to it, and the checks that must speak up.

use std::collections::BTreeSet;

use super::*;
use crate::{
    model::{
        connector_files::Content, definition, json_schema::JsonSchema, lock::content_hash,
        pyproject::Pyproject, random::Random, yaml::Document,
    },
    plan::dependencies::Reason,
};

const PYPROJECT_TOML: &str = "pyproject.toml";

const GOOD: &str = r#"data:
  ab_internal:
    isEnterprise: false
    ql: 300
    requireVersionIncrementsInPullRequests: true
    sl: 200
  allowedHosts:
    hosts: ["*.example.com"]
  connectorBuildOptions:
    baseImage: docker.io/airbyte/python-connector-base:4.0.0@sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916
  connectorIPCOptions:
    dataChannel:
      version: "0.0.2"
      supportedSerialization: [JSONL, PROTOBUF]
      supportedTransport: [STDIO, SOCKET]
  connectorSubtype: api
  connectorTestSuitesOptions:
    - suite: unitTests
    - suite: acceptanceTests
      testSecrets:
        - name: CREDS
          fileName: config.json
          secretStore: {type: GSM, alias: store}
    - suite: liveTests
      testConnections:
        - {name: one, id: 73abc3a9}
    - suite: smokeTests
      scenarios:
        - name: oauth
          configFile: secrets/oauth.json
          configSettings: {region: eu}
          expectFailure: false
          onlyStreams: [users]
          excludeStreams: [events]
          suggestedStreamsOnly: false
          configuredCatalogPath: catalog.json
  connectorType: source
  definitionId: dfd88b22-b603-4c3d-aad7-3701784586b1
  dockerImageTag: 10.0.0
  dockerRepository: airbyte/source-good
  documentationUrl: https://docs.airbyte.com/integrations/sources/good
  erdUrl: https://example.com/erd
  externalDocumentationUrls:
    - title: Reference
      url: https://example.com/reference
      type: api_reference
      requiresLogin: true
    - {title: Code, url: "https://example.com/code", type: code_repository}
    - {title: Spec, url: "https://example.com/spec", type: spec_repository}
  generated:
    git:
      commit_sha: abc
      commit_timestamp: "2026-01-02T03:04:05Z"
      commit_author: someone
      commit_author_email: someone@example.com
    release:
      source: git-backfill
      pr_number: 7
      pr_url: https://example.com/pull/7
      pr_author_id: 8
      pr_author_login: someone
      pr_author_type: User
      pr_author_association: MEMBER
      pr_merged_by_login: robot
      pr_merged_by_type: Bot
      attributed_to: someone
      attributed_to_kind: maintainer
      merge_commit_sha: null
      merged_at: "2026-01-02T03:04:05Z"
      released_at: null
    source_file_info:
      metadata_etag: a
      metadata_file_path: b
      metadata_bucket_name: c
      metadata_last_modified: d
      registry_entry_generated_at: e
    metrics:
      all: {usage: high}
      cloud: {usage: high}
      oss: {usage: low}
    sbomUrl: https://example.com/sbom
  githubIssueLabel: source-good
  icon: good.svg
  license: MIT
  maxSecondsBetweenMessages: 60
  name: Good
  normalizationConfig:
    normalizationRepository: a
    normalizationTag: b
    normalizationIntegrationType: c
  protocolVersion: "0.1"
  registryOverrides:
    cloud:
      enabled: true
      public: false
    oss:
      enabled: true
      name: Good
      dockerRepository: airbyte/source-good
      dockerImageTag: 9.0.0
      supportsDbt: false
      supportsNormalization: false
      license: MIT
      documentationUrl: https://example.com/docs
      connectorSubtype: api
      allowedHosts: {hosts: []}
      normalizationConfig:
        normalizationRepository: a
        normalizationTag: b
        normalizationIntegrationType: c
      suggestedStreams: {streams: []}
      resourceRequirements: {}
  releaseDate: 2026-01-02
  releaseStage: generally_available
  releases:
    migrationDocumentationUrl: https://example.com/migrate
    rolloutConfiguration:
      enableProgressiveRollout: false
      defaultRolloutMode: autopilot
      autopilotConfig: {autoStart: true, autoPromoteStages: false, strategy: slow}
      initialPercentage: 5
      maxPercentage: 50
      advanceDelayMinutes: 30
    breakingChanges:
      10.0.0:
        message: Everything changes.
        upgradeDeadline: "2026-12-31"
        deadlineAction: auto_upgrade
        migrationDocumentationUrl: https://example.com/migrate
        isBreaking: true
        safeToDowngrade: false
        scopedImpact:
          - scopeType: stream
            impactedScopes: [users]
      9.0.0:
        message: Something changes.
        upgradeDeadline: 2025-01-31
    unsafeDowngrades:
      9.1.0: {message: Rows are stored in another way.}
  remoteRegistries:
    pypi:
      enabled: true
      packageName: airbyte-source-good
  resourceRequirements:
    default: {cpu_request: "1", cpu_limit: "2", memory_request: 1Gi, memory_limit: 2Gi}
    jobSpecific:
      - jobType: sync
        resourceRequirements: {cpu_limit: "4.0"}
  suggestedStreams:
    streams: [users]
  supportLevel: certified
  supportsDataActivation: false
  supportsDbt: false
  supportsFileTransfer: false
  supportsNormalization: false
  supportsRefreshes: true
  tags:
    - cdk:python
    - language:python
metadataSpecVersion: "1.0"
"#;

const PYPROJECT: &str = "[tool.poetry]\nname = 'source-good'\nversion = '10.0.0'\nlicense = 'mit'\n[tool.poetry.dependencies]\nairbyte-cdk = '^6'\n";
const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 10 10\"/>";
const PAGE: &str = "# Good\n\n## Changelog\n\n| 10.0.0 | 2026-01-01 |\n";
const GUIDE: &str =
    "# Good Migration Guide\n\n## Upgrading to 10.0.0\n\nText.\n\n## Upgrading to 9.0.0\n";
const PAGE_PATH: &str = "docs/integrations/sources/good.md";
const GUIDE_PATH: &str = "docs/integrations/sources/good-migrations.md";

/// A poetry.lock of a pyproject.toml with that content-hash; `more` says more of the one package in it.
fn poetry_lock(hash: &str, more: &str) -> String {
    let file = format!(
        "{{file = \"airbyte_cdk-6.0.0-py3-none-any.whl\", hash = \"sha256:{:064}\"}}",
        0
    );
    let package = format!(
        "[[package]]\nname = \"airbyte-cdk\"\nversion = \"6.0.0\"\nfiles = [{file}]\n{more}"
    );
    let metadata = format!(
        "[metadata]\nlock-version = \"2.0\"\npython-versions = \"*\"\ncontent-hash = \"{hash}\"\n"
    );
    package + &metadata
}

/// A connector to change.
#[derive(Clone)]
struct Fixture {
    files: ConnectorFiles,
    settings: Checks,
    today: &'static str,
    released: Released,
    earlier: Option<Earlier>,
}

impl Fixture {
    fn good() -> Fixture {
        let files = ConnectorFiles {
            name: "source-good".to_owned(),
            directory: "connectors/source-good".into(),
            metadata: Document::read(GOOD),
            files: Default::default(),
            pages: [
                (PAGE_PATH.into(), PAGE.to_owned()),
                (GUIDE_PATH.into(), GUIDE.to_owned()),
            ]
            .into(),
        };
        let good = Fixture {
            files,
            settings: Checks::default(),
            today: "2026-06-15",
            released: Released::Unknown,
            earlier: None,
        };
        good.file("metadata.yaml", GOOD)
            .file("pyproject.toml", PYPROJECT)
            .file("icon.svg", ICON)
    }

    /// With pyproject.toml comes the lock that is made from it.
    fn file(mut self, path: &str, text: &str) -> Fixture {
        if let (PYPROJECT_TOML, Ok(pyproject)) = (path, Pyproject::parse(text)) {
            let hash = content_hash::content_hash(&pyproject, content_hash::Groups::Counted);
            self = self.file("poetry.lock", &poetry_lock(&hash, ""));
        }
        self.content(path, Content::Text(text.to_owned()))
    }

    fn content(mut self, path: &str, content: Content) -> Fixture {
        self.files.files.insert(path.into(), content);
        self
    }

    fn without(mut self, path: &str) -> Fixture {
        self.files.files.remove(camino::Utf8Path::new(path));
        self
    }

    fn page(mut self, path: &str, text: &str) -> Fixture {
        self.files.pages.insert(path.into(), text.to_owned());
        self
    }

    fn without_page(mut self, path: &str) -> Fixture {
        self.files.pages.remove(camino::Utf8Path::new(path));
        self
    }

    fn today(mut self, today: &'static str) -> Fixture {
        self.today = today;
        self
    }

    fn metadata(mut self, text: &str) -> Fixture {
        self.files.metadata = Document::read(text);
        self
    }

    /// The good metadata with one place written differently.
    fn edit(self, from: &str, to: &str) -> Fixture {
        assert_eq!(
            GOOD.matches(from).count(),
            1,
            "{from:?} stands once in the good document"
        );
        self.metadata(&GOOD.replacen(from, to, 1))
    }

    /// As the connector of another version, with page and package to match.
    fn version(self, version: &str) -> Fixture {
        self.edit("Tag: 10.0.0", &format!("Tag: {version}"))
            .file("pyproject.toml", &PYPROJECT.replace("10.0.0", version))
            .page(PAGE_PATH, &PAGE.replace("10.0.0", version))
    }

    fn manifest_only(self) -> Fixture {
        let text = GOOD
            .replace("python-connector-base", "source-declarative-manifest")
            .replace("language:python", "language:manifest-only")
            .replace(
                "      enabled: true\n      packageName",
                "      enabled: false\n      packageName",
            );
        self.without("pyproject.toml")
            .without("poetry.lock")
            .file("manifest.yaml", "type: x")
            .metadata(&text)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut subject = Subject::new(&self.files, self.today.parse().unwrap(), &self.settings);
        subject.released = self.released;
        subject.earlier = self.earlier.clone();
        let subjects = [subject];
        all()
            .flat_map(|check| [check.of(&subjects[0]), check.of_fleet(&subjects)].concat())
            .collect()
    }

    /// Ids of the checks that speak up.
    fn caught(&self) -> BTreeSet<&'static str> {
        self.findings()
            .iter()
            .map(|finding| finding.check)
            .collect()
    }
}

#[track_caller]
fn expect(what: &str, fixture: Fixture, expected: &[&'static str]) {
    let caught = fixture.caught();
    assert_eq!(
        caught,
        expected.iter().copied().collect(),
        "{what}: {:#?}",
        fixture.findings()
    );
}

#[test]
fn the_good_connector_passes_and_ids_are_unique() {
    expect("good", Fixture::good(), &[]);
    expect("manifest-only", Fixture::good().manifest_only(), &[]);
    let ids: BTreeSet<_> = all().map(|check| check.id).collect();
    assert_eq!(ids.len(), all().count());
}

#[test]
fn a_check_that_panics_is_unknown() {
    let broken = Check {
        id: "broken",
        description: "",
        severity: Severity::Error,
        applies: "",
        run: Run::Connector(|_| panic!("on purpose")),
    };
    let fixture = Fixture::good();
    let today = "2026-06-15".parse().unwrap();
    let found = broken.of(&Subject::new(&fixture.files, today, &fixture.settings));
    assert_eq!(
        (found[0].check, found[0].severity),
        ("broken", Severity::Unknown)
    );
}

/// One defect each, caught by exactly the intended check.
#[test]
fn each_of_many_bad_metadata_files_is_caught_by_exactly_one_check() {
    const SCHEMA: &str = "metadata-schema";
    let cases: &[(&str, &str, &str)] = &[
        ("data:\n  ab", "data:\n\tab", "metadata-syntax"),
        (
            "[\"*.example.com\"]",
            "[\"*.example.com\"",
            "metadata-syntax",
        ),
        ("    hosts: [\"", "    hosts: ['", "metadata-syntax"),
        (
            "metadataSpecVersion: \"1.0\"",
            "metadataSpecVersion: \"1.0\"\n---\na: b",
            "metadata-syntax",
        ),
        (
            "  name: Good\n  norm",
            "  name: *nobody\n  norm",
            "metadata-syntax",
        ),
        (
            "  license: MIT\n  max",
            "  license: MIT\n  license: ELv2\n  max",
            "metadata-duplicate-key",
        ),
        (
            "    sl: 200",
            "    sl: 200\n    sl: 200",
            "metadata-duplicate-key",
        ),
        (
            "      9.0.0:\n",
            "      9.0.0: {message: a, upgradeDeadline: 2025-01-31}\n      9.0.0:\n",
            "metadata-duplicate-key",
        ),
        (
            "metadataSpecVersion: \"1.0\"",
            "metadataSpecVersion: \"1.0\"\nmore: 1",
            SCHEMA,
        ),
        ("metadataSpecVersion: \"1.0\"\n", "", SCHEMA),
        (
            "metadataSpecVersion: \"1.0\"",
            "metadataSpecVersion: 1.0",
            SCHEMA,
        ),
        ("  license: MIT\n  max", "  max", SCHEMA),
        ("  license: MIT\n  max", "  license: null\n  max", SCHEMA),
        (
            "  license: MIT\n  max",
            "  licence: MIT\n  license: MIT\n  max",
            SCHEMA,
        ),
        ("  githubIssueLabel: source-good\n", "", SCHEMA),
        (
            "  connectorSubtype: api\n  connectorTest",
            "  connectorSubtype: apis\n  connectorTest",
            SCHEMA,
        ),
        (
            "  releaseStage: generally_available",
            "  releaseStage: stable",
            SCHEMA,
        ),
        ("  releaseStage: generally_available\n", "", SCHEMA),
        ("definitionId: dfd88b22", "definitionId: dfd88b2", SCHEMA),
        (
            "definitionId: dfd88b22-b603-4c3d-aad7-3701784586b1",
            "definitionId: 12",
            SCHEMA,
        ),
        ("  name: Good\n  norm", "  name: [Good]\n  norm", SCHEMA),
        (
            "supportsRefreshes: true",
            "supportsRefreshes: \"true\"",
            SCHEMA,
        ),
        ("supportsRefreshes: true", "supportsRefreshes: yes", SCHEMA),
        (
            "maxSecondsBetweenMessages: 60",
            "maxSecondsBetweenMessages: \"60\"",
            SCHEMA,
        ),
        (
            "maxSecondsBetweenMessages: 60",
            "maxSecondsBetweenMessages: 60.7",
            SCHEMA,
        ),
        (
            "maxSecondsBetweenMessages: 60",
            "maxSecondsBetweenMessages: -1",
            SCHEMA,
        ),
        ("releaseDate: 2026-01-02", "releaseDate: 20260102", SCHEMA),
        ("releaseDate: 2026-01-02", "releaseDate: 2026-02-30", SCHEMA),
        (
            "upgradeDeadline: 2025-01-31",
            "upgradeDeadline: 1738281600",
            SCHEMA,
        ),
        (
            "upgradeDeadline: 2025-01-31",
            "upgradeDeadline: soon",
            SCHEMA,
        ),
        ("        message: Something changes.\n", "", SCHEMA),
        (
            "message: Something changes.",
            "message: Something changes.\n        urgency: high",
            SCHEMA,
        ),
        (
            "deadlineAction: auto_upgrade",
            "deadlineAction: delete",
            SCHEMA,
        ),
        ("impactedScopes: [users]", "impactedScopes: []", SCHEMA),
        ("scopeType: stream", "scopeType: table", SCHEMA),
        ("initialPercentage: 5\n", "initialPercentage: 500\n", SCHEMA),
        ("maxPercentage: 50", "maxPercentage: -50", SCHEMA),
        ("maxPercentage: 50", "maxPercentage: 101", SCHEMA),
        ("advanceDelayMinutes: 30", "advanceDelayMinutes: 9", SCHEMA),
        (
            "enableProgressiveRollout: false",
            "enableProgressiveRollout: \"false\"",
            SCHEMA,
        ),
        ("    ql: 300", "    ql: 350", SCHEMA),
        ("    sl: 200", "    sl: high", SCHEMA),
        ("suite: unitTests", "suite: unit", SCHEMA),
        ("Mode: autopilot", "Mode: auto", SCHEMA),
        ("strategy: slow", "strategy: slowly", SCHEMA),
        ("autoStart: true", "autostart: true", SCHEMA),
        ("isBreaking: true", "isBreaking: \"no\"", SCHEMA),
        ("9.1.0: {message", "9.1.x: {message", SCHEMA),
        ("9.1.0: {message", "9.1.0: {reason", SCHEMA),
        ("- name: oauth\n          config", "- config", SCHEMA),
        ("expectFailure", "expectsFailure", SCHEMA),
        ("public: false", "public: cloud", SCHEMA),
        ("source: git-backfill", "source: null", SCHEMA),
        ("type: GSM", "type: VAULT", SCHEMA),
        ("jobType: sync", "jobType: dream", SCHEMA),
        ("cpu_limit: \"4.0\"", "cpu_limit: 4.0", SCHEMA),
        ("cpu_limit: \"4.0\"", "gpu_limit: \"4.0\"", SCHEMA),
        ("      packageName: airbyte-source-good\n", "", SCHEMA),
        (
            "    cloud:\n      enabled: true",
            "    cloud:\n      enabled: 1",
            SCHEMA,
        ),
        (
            "    cloud:\n      enabled: true\n      public: false\n",
            "    cloud: {}\n",
            SCHEMA,
        ),
        ("  erdUrl: https://example.com/erd", "  erdUrl: 7", SCHEMA),
        (
            "migrationDocumentationUrl: https://example.com/migrate\n    roll",
            "migrationDocumentationUrl: here\n    roll",
            SCHEMA,
        ),
        ("supportLevel: certified", "supportLevel: gold", SCHEMA),
        (
            "  tags:\n    - cdk:python\n    - language:python\n",
            "  tags: language:python\n",
            SCHEMA,
        ),
        (
            "commit_timestamp: \"2026-01-02T03:04:05Z\"",
            "commit_timestamp: yesterday",
            SCHEMA,
        ),
        ("- cdk:python\n", "- cdk:python\n    - python\n", "tag-form"),
        (
            "- cdk:python\n",
            "- cdk:python\n    - \"owner:\"\n",
            "tag-form",
        ),
        ("- language:python", "- lang:python", "language-tag"),
        (
            "- language:python",
            "- language:python\n    - language:low-code",
            "language-tag",
        ),
        (
            "- language:python\n",
            "- language:python\n    - language:python\n",
            "language-tag",
        ),
        ("- cdk:python\n", "", "cdk-tag"),
        ("- cdk:python\n", "- cdk:low-code\n", "cdk-tag"),
        ("- cdk:python\n", "- cdk:python-file-based\n", "cdk-tag"),
        ("  license: MIT\n  max", "  license: mit \n  max", ""),
        (
            "baseImage: docker.io/airbyte/python-connector-base:4.0.0@",
            "baseImage: docker.io/airbyte/python-connector-base@",
            "base-image",
        ),
        ("916\n", "91\n", "base-image"),
        (
            "@sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916",
            "",
            "base-image",
        ),
        (
            "  connectorBuildOptions:\n    baseImage",
            "  connectorBuildOptions: {}\n  icon: x\n  #",
            "metadata-duplicate-key no-dockerfile",
        ),
        (
            "maxSecondsBetweenMessages: 60",
            "maxSecondsBetweenMessages: 0",
            "max-seconds-between-messages",
        ),
        (
            "  maxSecondsBetweenMessages: 60\n",
            "",
            "max-seconds-between-messages",
        ),
        (
            "- suite: acceptanceTests",
            "- suite: integrationTests",
            "acceptance-tests",
        ),
        (
            "initialPercentage: 5\n",
            "initialPercentage: 51\n",
            "rollout-percentages",
        ),
        (
            "enableProgressiveRollout: false\n      defaultRolloutMode: autopilot\n",
            "enableProgressiveRollout: true\n",
            "release-candidate",
        ),
        (
            "upgradeDeadline: \"2026-12-31\"",
            "upgradeDeadline: \"2026-06-22\"",
            "breaking-change-deadline",
        ),
        (
            "    pypi:\n      enabled: true\n      packageName: airbyte-source-good\n",
            "    {}\n",
            "pypi-declared",
        ),
        (
            "integrations/sources/good\n",
            "integrations/sources/bad\n",
            "documentation-page",
        ),
        (
            "  name: Good\n  norm",
            "  name: Better\n  norm",
            "migration-guide",
        ),
        (
            "  name: Good\n  norm",
            "  name: Go\u{7}od\n  norm",
            "metadata-syntax",
        ),
        (
            "  name: Good\n  norm",
            "  name: !secret Good\n  norm",
            "metadata-syntax",
        ),
        (
            "  name: Good\n  norm",
            "  <<: Good\n  name: Good\n  norm",
            "metadata-syntax",
        ),
        (
            "  name: Good\n  norm",
            "  name: Good\n  <<: {nmae: Good}\n  norm",
            SCHEMA,
        ),
        ("data:\n  ab", "data: []\nother:\n  ab", SCHEMA),
        (
            "dockerImageTag: 10.0.0\n",
            "dockerImageTag: v10.0.0\n",
            "version version-equal",
        ),
    ];
    let mut caught = 0;
    for (from, to, expected) in cases {
        let what = format!("{from:?} -> {to:?}");
        assert!(GOOD.contains(from), "{what}");
        let expected: Vec<&str> = expected.split_whitespace().collect();
        expect(&what, Fixture::good().edit(from, to), &expected);
        caught += usize::from(expected.len() == 1);
    }
    assert!(caught >= 60, "{caught} seeded files, one defect each");
}

#[test]
fn many_findings_in_one_file_come_at_once_in_their_places_with_help() {
    let text = GOOD
        .replace("    sl: 200", "    sl: 1")
        .replace("  githubIssueLabel: source-good\n", "")
        .replace("releaseStage: generally_available", "releaseStage: x")
        .replace("supportsRefreshes: true", "supportsRefreshes: 1")
        .replace("jobType: sync", "jobType: x")
        .replace("type: GSM", "kind: GSM")
        .replace("      9.0.0:\n", "      09.0.0:\n")
        .replace("maxPercentage: 50", "maxPercentage: 500")
        .replace("- cdk:python\n", "- cdk\n")
        .replace("license: MIT\n  max", "license: GPL\n  max")
        .replace("definitionId: dfd", "definitionId: xyz");
    let findings = Fixture::good().metadata(&text).findings();
    assert!(findings.len() >= 11, "{findings:#?}");
    for finding in &findings {
        assert!(!finding.help.is_empty() && !finding.message.is_empty());
    }
    let line = |needle: &str| text.lines().position(|line| line.contains(needle)).unwrap() + 1;
    for (needle, column) in [
        ("sl: 1", 9),
        ("09.0.0", 7),
        ("kind: GSM", 25),
        ("license: GPL", 12),
    ] {
        let found = findings
            .iter()
            .any(|one| (one.at.line, one.at.column) == (line(needle), column));
        assert!(found, "{needle} {column}: {findings:#?}");
    }
}

#[test]
fn configuration_adds_keys() {
    let mut fixture = Fixture::good().edit(
        "  license: MIT\n  max",
        "  license: MIT\n  novelty: {a: 1}\n  max",
    );
    expect("unknown", fixture.clone(), &["metadata-schema"]);
    fixture.settings.metadata_keys = vec!["data.novelty".to_owned()];
    expect("known", fixture, &[]);
    let keys = [
        "data.novelty",
        "data.releases.breakingChanges.*.owner",
        "data.connectorTestSuitesOptions.*.team",
    ];
    let schema = definition::schema_with(&keys.map(str::to_owned)).unwrap();
    let schema = JsonSchema::new(&serde_json::from_str(&schema).unwrap()).unwrap();
    let valid = |from: &str, to: &str| {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let document = Document::read(&text).unwrap();
        schema.misfits(&document.root.to_json()).is_empty()
    };
    assert!(valid(
        "  license: MIT\n",
        "  license: MIT\n  novelty: {a: 1}\n"
    ));
    assert!(!valid(
        "  license: MIT\n",
        "  license: MIT\n  other: {a: 1}\n"
    ));
    assert!(valid(
        "- suite: unitTests\n",
        "- suite: unitTests\n      team: a\n"
    ));
    assert!(valid(
        "        message:",
        "        owner: a\n        message:"
    ));
    for (from, setting) in [
        ("      9.1.0: {", "unsafeDowngrades.*.owner"),
        ("      9.0.0:\n", "breakingChanges.*.owner"),
    ] {
        let to = match from.ends_with('{') {
            true => format!("{from}owner: a, "),
            false => format!("{from}        owner: a\n"),
        };
        let found = Fixture::good().edit(from, &to).findings();
        let setting = format!("`data.releases.{setting}`");
        assert!(found[0].help.contains(&setting), "{found:?}");
    }
    let misnamed = Fixture::good().edit("9.1.0: {message", "9.1.x: {message");
    let line = GOOD.lines().position(|line| line.contains("9.1.0: {"));
    assert_eq!(Some(misnamed.findings()[0].at.line - 1), line);
    let twice = GOOD.replace("9.1.0: {message", "9.1.x: {message");
    let twice = twice.replace("      9.0.0:\n", "      9.1.x:\n");
    let twice = Fixture::good().metadata(&twice).findings();
    let of_schema = twice.iter().filter(|one| one.check == "metadata-schema");
    let messages: Vec<&str> = of_schema.map(|one| one.message.as_str()).collect();
    assert_eq!(
        messages,
        ["breakingChanges", "unsafeDowngrades"]
            .map(|field| format!("data.releases.{field}: `9.1.x` is not a version"))
    );
    for wrong in ["data.name.x", "data.nowhere.x"] {
        let error = definition::schema_with(&[wrong.to_owned()]).unwrap_err();
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn releases() {
    let good = Fixture::good;
    let rollout = "    rolloutConfiguration:\n      enableProgressiveRollout: false\n      defaultRolloutMode: autopilot\n      autopilotConfig: {autoStart: true, autoPromoteStages: false, strategy: slow}\n      initialPercentage: 5\n      maxPercentage: 50\n      advanceDelayMinutes: 30\n";
    let rc = |version: &str, configuration: &str| {
        let text = GOOD
            .replace("Tag: 10.0.0", &format!("Tag: {version}"))
            .replace(rollout, configuration);
        good()
            .version("10.0.0")
            .metadata(&text)
            .file("pyproject.toml", &PYPROJECT.replace("10.0.0", version))
            .page(PAGE_PATH, &PAGE.replace("10.0.0", version))
    };
    let on = "    rolloutConfiguration: {enableProgressiveRollout: true}\n";
    for (what, fixture, expected) in [
        (
            "a major version without entry",
            good().version("11.0.0"),
            &["major-version"][..],
        ),
        ("1.0.0 too", good().version("1.0.0"), &["major-version"]),
        ("0.0.0 is a beginning", good().version("0.0.0"), &[]),
        ("a minor version", good().version("10.1.0"), &[]),
        (
            "2.0.0+b can't be a tag and is no release",
            good().version("2.0.0+b"),
            &["version"],
        ),
        ("not semver", good().version("1.2.x"), &["version"]),
        (
            "the declarative manifest is exempt",
            good()
                .version("11.0.0")
                .metadata(&GOOD.replace("Tag: 10.0.0", "Tag: 11.0.0").replace(
                    "dfd88b22-b603-4c3d-aad7-3701784586b1",
                    "64a2f99c-542f-4af8-9a6f-355f1217b436",
                )),
            &[],
        ),
        ("8 days ahead", good().today("2026-12-23"), &[]),
        (
            "7 days ahead",
            good().today("2026-12-24"),
            &["breaking-change-deadline"],
        ),
        (
            "released already",
            Fixture {
                released: Released::Yes,
                ..good().today("2027-01-01")
            },
            &[],
        ),
        (
            "an entry that is no breaking change",
            good()
                .edit("isBreaking: true", "isBreaking: false")
                .today("2027-01-01"),
            &[],
        ),
        (
            "an old entry's deadline",
            good().version("10.1.0").today("2027-01-01"),
            &[],
        ),
        (
            "a candidate of a breaking change",
            rc("11.0.0-rc.1", on),
            &["release-candidate"],
        ),
        ("0.0.0-rc.1", rc("0.0.0-rc.1", on), &[]),
        ("a candidate with rollout", rc("1.2.3-rc.1", on), &[]),
        ("rc1", rc("1.2.3-rc1", on), &[]),
        (
            "a candidate without rollout",
            rc("1.2.3-rc.1", ""),
            &["release-candidate"],
        ),
        (
            "an empty rollout",
            rc("1.2.3-rc.1", "    rolloutConfiguration: {}\n"),
            &["release-candidate"],
        ),
        (
            "a release whose mode of rollout is stated",
            good().edit(
                "enableProgressiveRollout: false",
                "enableProgressiveRollout: true",
            ),
            &[],
        ),
        ("false is said too", rc("1.2.3-rc.1", rollout), &[]),
        ("-arch is no candidate", rc("1.2.3-arch", ""), &[]),
        ("-arch is a pre-release", rc("1.2.3-arch", on), &[]),
    ] {
        expect(what, fixture, expected);
    }
}

#[test]
fn packages() {
    let good = Fixture::good;
    let pep621 = "[project]\nversion = '10.0.0'\nlicense = {text = 'MIT'}\ndependencies = ['airbyte-cdk[vector, file-based]>=6']\n";
    let poetry = format!(
        "{}\n",
        PYPROJECT.replace("'^6'", "{version = '^6', extras = ['file-based']}")
    );
    let file_based = || good().edit("- cdk:python\n", "- cdk:python-file-based\n");
    let low_code = || good().file("source_good/manifest.yaml", "");
    let lock = good().files.text("poetry.lock").unwrap().to_owned();
    let hash = lock.split('"').nth_back(1).unwrap();
    let uv_lock = "version = 1\nrequires-python = \">=3.9\"\n[[package]]\nname = \"source-good\"\nsource = { virtual = \".\" }\n[package.metadata]\nrequires-dist = [{ name = \"airbyte-cdk\", specifier = \">=6,<7\" }]\n";
    let uv = |text: &str| good().without("poetry.lock").file("uv.lock", text);
    let git = "[package.source]\ntype = \"git\"\nurl = \"x\"\n";
    let locked = |more: &str| good().file("poetry.lock", &poetry_lock(hash, more));
    for (what, fixture, expected) in [
        ("no lock", good().without("poetry.lock"), &["lock-file"][..]),
        ("uv.lock", uv(uv_lock), &[]),
        (
            "a uv.lock of other dependencies",
            uv(&uv_lock.replace("<7", "<8")),
            &["lock-file"],
        ),
        (
            "a uv.lock of no package",
            uv("version = 1\n"),
            &["lock-file"],
        ),
        ("a package from git", locked(git), &["lock-file"]),
        (
            "one from git where a single release of Python is allowed",
            good().file(
                "poetry.lock",
                &poetry_lock(hash, git)
                    .replace(r#"python-versions = "*""#, r#"python-versions = "3.11.9""#),
            ),
            &["lock-file"],
        ),
        (
            "one without a hash",
            good().file("poetry.lock", &lock.replace("sha256", "md5")),
            &["lock-file"],
        ),
        (
            "one that the lock does not hold",
            locked("[package.dependencies]\nrequests = \"*\"\n"),
            &["lock-file"],
        ),
        (
            "one from git for none of the interpreters that are allowed",
            locked(
                "[package.dependencies]\nold = {git = \"x\", markers = \"python_version < '3.8'\"}\n",
            ),
            &[],
        ),
        (
            "one from git for some of them is the base image's to say",
            locked(
                "[package.dependencies]\nnew = {git = \"x\", markers = \"python_version > '3.10'\"}\n",
            ),
            &[],
        ),
        (
            "a lock of other dependencies",
            good().file("poetry.lock", &poetry_lock("0", "")),
            &["poetry-lock"],
        ),
        (
            "a lock without a hash",
            good().file("poetry.lock", &lock.replace("content-hash", "hash")),
            &["lock-file", "poetry-lock"],
        ),
        (
            "setup.py beside",
            good().file("setup.py", ""),
            &["lock-file"],
        ),
        (
            "setup.py alone",
            good().file("setup.py", "").without("pyproject.toml"),
            &["lock-file"],
        ),
        (
            "no TOML",
            good().file("pyproject.toml", "a = [\n"),
            &["lock-file"],
        ),
        (
            "no text",
            good().content("pyproject.toml", Content::Opaque(b"# \xe9\n".to_vec())),
            &["lock-file"],
        ),
        (
            "a link",
            good().content("pyproject.toml", Content::Unreadable("a link".into())),
            &["lock-file"],
        ),
        (
            "what no build understands",
            good().file(
                "pyproject.toml",
                &format!("{PYPROJECT}python = 'nonsense ! 3'\n"),
            ),
            &["lock-file"],
        ),
        (
            "poetry.lock with git's marks",
            good().file(
                "poetry.lock",
                &format!("<<<<<<< HEAD\n=======\n>>>>>>> x\n{lock}"),
            ),
            &["lock-file"],
        ),
        (
            "uv.lock with git's marks",
            good()
                .without("poetry.lock")
                .file("uv.lock", "version = 1\n<<<<<<< HEAD\n"),
            &["lock-file"],
        ),
        (
            "a lock that is no text",
            good().content("poetry.lock", Content::Opaque(b"\xe9".to_vec())),
            &["lock-file"],
        ),
        (
            "another license",
            good().file("pyproject.toml", &PYPROJECT.replace("mit", "ELv2")),
            &["license-equal"],
        ),
        (
            "no license",
            good().file("pyproject.toml", &PYPROJECT.replace("license", "licence")),
            &["license-equal"],
        ),
        (
            "another version",
            good().file("pyproject.toml", &PYPROJECT.replace("10.0.0", "10.0.1")),
            &["version-equal"],
        ),
        (
            "[project]",
            file_based().file("pyproject.toml", pep621),
            &[],
        ),
        (
            "file-based by poetry",
            file_based().file("pyproject.toml", &poetry),
            &[],
        ),
        (
            "file-based untagged",
            good().file("pyproject.toml", pep621),
            &["cdk-tag"],
        ),
        ("low-code untagged", low_code(), &["cdk-tag"]),
        (
            "low-code",
            low_code().edit("- cdk:python\n", "- cdk:low-code\n"),
            &[],
        ),
        (
            "a Dockerfile",
            good().file("Dockerfile", ""),
            &["no-dockerfile"],
        ),
        ("a Dockerfile deeper", good().file("x/Dockerfile", ""), &[]),
        (
            "a license of no connector",
            good()
                .edit("  license: MIT\n  max", "  license: GPL\n  max")
                .file("pyproject.toml", &PYPROJECT.replace("mit", "gpl")),
            &["license"],
        ),
        (
            "any case",
            good()
                .edit("  license: MIT\n  max", "  license: elV2\n  max")
                .file("pyproject.toml", &PYPROJECT.replace("mit", "ELv2")),
            &[],
        ),
        (
            "pypi for another language",
            good().manifest_only().metadata(
                &GOOD
                    .replace("python-connector-base", "source-declarative-manifest")
                    .replace("language:python", "language:manifest-only"),
            ),
            &["pypi-language"],
        ),
        (
            "another base for a manifest",
            good().manifest_only().metadata(
                &GOOD
                    .replace("language:python", "language:manifest-only")
                    .replace(
                        "      enabled: true\n      packageName",
                        "      enabled: false\n      packageName",
                    ),
            ),
            &["manifest-only-base-image"],
        ),
        (
            "nothing is known of an archived one",
            good().without("pyproject.toml").without("poetry.lock"),
            &[],
        ),
    ] {
        expect(what, fixture, expected);
    }
    // What a build says of it, and where.
    let found = &locked(git).findings()[0];
    let direct = Reason::Direct {
        name: "airbyte-cdk".parse().unwrap(),
        kind: "git".to_owned(),
    };
    assert_eq!(
        (found.at.line, &found.message, &found.help),
        (2, &direct.to_string(), &direct.help())
    );
}

#[test]
fn icons() {
    let icon = |text: &str| Fixture::good().file("icon.svg", text);
    let default = format!(
        "<svg><path d=\"{} 54\"/></svg>",
        "M95.775 53.416c20.364-22.88"
    );
    for (what, fixture, expected) in [
        (
            "missing",
            Fixture::good().without("icon.svg"),
            &["icon"][..],
        ),
        ("empty", icon(""), &["icon"]),
        ("no XML", icon("<svg>"), &["icon"]),
        ("no SVG", icon("<html/>"), &["icon"]),
        ("the default", icon(&default), &["icon"]),
        ("wide", icon("<svg viewBox='0 0 20 10'/>"), &["icon-square"]),
        (
            "drawn square",
            icon("<svg width='250px' height='250' viewBox='0 0 20 10'/>"),
            &[],
        ),
        ("no size", icon("<svg width='100%'/>"), &[]),
        (
            "a doctype",
            icon(
                "<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg viewBox='0,0,5,5'/>",
            ),
            &[],
        ),
    ] {
        expect(what, fixture, expected);
    }
}

#[test]
fn unencrypted_addresses() {
    for (path, text, found) in [
        ("a.py", "x = 'http://api.example.com/v1'", true),
        ("a.py", "  # http://api.example.com", false),
        ("a.kt", "// http://api.example.com", false),
        ("a.java", " // http://api.example.com", false),
        ("a.md", "<!-- http://api.example.com -->", false),
        ("a.md", "# http://api.example.com", true),
        ("a.py", "u = 'http://a.example' # ignore-https-check", false),
        (
            "a.json",
            "\"$schema\": \"http://json-schema.org/draft-07/schema#\"",
            false,
        ),
        ("a.py", "http://localhost:8000 and http://localhost", false),
        ("a.py", "'http://localhost.evil.example'", true),
        ("a.py", "'http://json-schema.org.evil.example'", true),
        ("a.py", "http://localhost http://a.example", true),
        ("source-file/a.py", "'http://a.example'", true),
        ("src/XTest.java", "\"http://a.example\"", false),
        ("expected_records.jsonl", "http://a.example", false),
        ("x.svg", "http://a.example", false),
        ("a.py", "https://a.example", false),
        ("a.py", "A = 'HTTP://api.example.com'", true),
        ("a.py", "HTTP://LocalHost:80", false),
        ("a.py", "HTTPS://a.example", false),
        ("a.py", "x = 'http://a.example' # Ignore-HTTPS-Check", false),
        (
            "a.py",
            "elif storage in (\"https://\", \"http://\"):",
            false,
        ),
        ("a.py", "re.match('^(http://|https://)', url)", false),
        ("a.py", "'http://' or 'http://a.example'", true),
        ("a.md", "http://", false),
        ("a.md", "http://<host>/", true),
        ("a.py", "f'http://{host}'", true),
        ("a.py", "'http://[2001:db8::1]/'", true),
    ] {
        let expected: &[_] = if found { &["https-only"] } else { &[] };
        expect(
            &format!("{path}: {text}"),
            Fixture::good().file(path, text),
            expected,
        );
    }
    let released = Fixture {
        released: Released::Yes,
        ..Fixture::good().file("a.py", "http://a.example")
    };
    expect("released already", released, &[]);
}

#[test]
fn secrets_in_files() {
    // Made here, so that no scanner takes this file for a leak.
    let body = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC2eF4hJ6kL8nP0rS2uV4";
    let pem = |body: &str| format!("-----BEGIN RSA {}-----\n{body}\n", "PRIVATE KEY");
    let escaped = pem(body).replace('\n', "\\n");
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF";
    let encrypted = format!("{headers}\n\n{body}");
    for (text, found) in [
        (pem(body), true),
        (format!("{{\"key\": \"{escaped}\"}}"), true),
        (pem("..."), false),
        (pem(&"x".repeat(60)), false),
        (format!("token = '{}{}'", "ghp_", &body[..36]), true),
        (format!("{}{}", "ghp_", &body[..20]), false),
        (format!("x{}{}", "ghp_", &body[..36]), false),
        (format!("{}{}", "ghp_", "x".repeat(36)), false),
        (format!("{}{}", "AKIA", "IOSFODNN7EXAMPLE"), false),
        (format!("{}{}", "AKIA", "J5S7QWN2ZK4X8VT3"), true),
        (format!("{}{}", "xoxb-", &body[..40]), true),
        (format!("\"x\\n{}{}\"", "ghp_", &body[..36]), true),
        (pem(&encrypted), true),
        (pem(&encrypted).replace('\n', "\\n"), true),
    ] {
        let fixture = Fixture::good().file("config.json", &text);
        let expected: &[_] = if found { &["secrets"] } else { &[] };
        expect(&text, fixture.clone(), expected);
        let in_tests: &[_] = if found { &["secrets-in-tests"] } else { &[] };
        let file = "integration_tests/config.json";
        expect(&text, Fixture::good().file(file, &text), in_tests);
        let file = "src/test/resources/config.json";
        expect(&text, Fixture::good().file(file, &text), in_tests);
        let latin = [b"\xe9\n", text.as_bytes()].concat();
        let latin = Fixture::good().content("config.json", Content::Opaque(latin));
        expect(&text, latin, expected);
        assert!(
            fixture
                .findings()
                .iter()
                .all(|finding| !finding.message.contains(&body[..10]))
        );
    }
}

#[test]
fn pages() {
    let good = Fixture::good;
    let strict = || {
        let mut fixture = good();
        fixture.files.name = "source-good-strict-encrypt".to_owned();
        fixture
    };
    let annotated = || good().edit("isBreaking: true", "isBreaking: false");
    let small = "    sl: 0";
    for (what, fixture, expected) in [
        (
            "no page",
            good().without_page(PAGE_PATH),
            &["documentation-page"][..],
        ),
        (
            "an address of no page",
            good().edit(
                "https://docs.airbyte.com/integrations/sources/good",
                "https://Docs.airbyte.com//integrations/sources/good",
            ),
            &["documentation-page"],
        ),
        (
            "another host has no page here",
            good()
                .edit(
                    "https://docs.airbyte.com/integrations/sources/good",
                    "https://example.com/good",
                )
                .without_page(PAGE_PATH),
            &[],
        ),
        (
            "a longer version is not this one",
            good().page(
                PAGE_PATH,
                "## Changelog\n110.0.0 | 10.0.0.1 | 10.0.01 | 10.0.0-rc.1",
            ),
            &["changelog-entry"],
        ),
        (
            "that of a base image, in another version's row",
            good().page(
                PAGE_PATH,
                "## Changelog\n| Version | Subject |\n|---|---|\n| 5.4.3 | Base image v10.0.0 |\n",
            ),
            &["changelog-entry"],
        ),
        (
            "in a link",
            good().page(PAGE_PATH, "## CHANGELOG\n[v10.0.0](x)."),
            &[],
        ),
        (
            "before the changelog",
            good().page(PAGE_PATH, "10.0.0\n## Changelog\n"),
            &["changelog-entry"],
        ),
        (
            "no changelog",
            good().page(PAGE_PATH, "10.0.0"),
            &["changelog-entry"],
        ),
        (
            "little supported",
            good().edit("    sl: 200", small).page(PAGE_PATH, ""),
            &[],
        ),
        (
            "no guide",
            good().without_page(GUIDE_PATH),
            &["migration-guide"],
        ),
        (
            "no guide, little supported",
            good().edit("    sl: 200", small).without_page(GUIDE_PATH),
            &[],
        ),
        (
            "the guide's title",
            good().page(GUIDE_PATH, &GUIDE.replace("# Good M", "# M")),
            &["migration-guide"],
        ),
        (
            "oldest first",
            good().page(
                GUIDE_PATH,
                "# Good Migration Guide\n## Upgrading to 9.0.0\n## Upgrading to 10.0.0\n",
            ),
            &["migration-guide"],
        ),
        (
            "what breaks nothing needs no heading",
            annotated().page(GUIDE_PATH, &GUIDE.replace("## Upgrading to 10.0.0", "")),
            &[],
        ),
        ("and may have one", annotated(), &[]),
        (
            "others need theirs",
            annotated().page(GUIDE_PATH, &GUIDE.replace("9.0.0", "8.0.0")),
            &["migration-guide"],
        ),
        (
            "where nothing breaks there is no guide",
            good()
                .metadata(
                    &GOOD
                        .replace("isBreaking: true", "isBreaking: false")
                        .replace(
                            "changes.\n        upgradeDeadline: 2025",
                            "changes.\n        isBreaking: false\n        upgradeDeadline: 2025",
                        ),
                )
                .without_page(GUIDE_PATH),
            &[],
        ),
        (
            "one missing",
            good().page(GUIDE_PATH, &GUIDE.replace("9.0.0", "8.0.0")),
            &["migration-guide"],
        ),
        ("the parent's guide", strict(), &[]),
    ] {
        expect(what, fixture, expected);
    }
}

#[test]
fn page_structure_is_asked_for_by_configuration() {
    let headings = ["# CONNECTOR", "## Changelog"].map(str::to_owned).to_vec();
    let with = |headings: Vec<String>, sl: &str| {
        let mut fixture = Fixture::good().edit("    sl: 200", sl);
        fixture.settings.page_headings = headings;
        fixture
    };
    let reversed: Vec<_> = headings.iter().rev().cloned().collect();
    expect("in order", with(headings, "    sl: 300"), &[]);
    expect(
        "out of order",
        with(reversed.clone(), "    sl: 300"),
        &["page-structure"],
    );
    expect("less supported", with(reversed, "    sl: 200"), &[]);

    let spec = r#"{"connectionSpecification": {"required": ["start_date", "key"], "properties": {"start_date": {"title": "Start Date"}}}}"#;
    let asked = || with(vec!["## Prerequisites".to_owned()], "    sl: 300");
    for (what, section, expected) in [
        (
            "both named",
            "- the start date\n### Where\nyour key",
            &[][..],
        ),
        ("one named", "- a key", &["page-structure"]),
        (
            "named too late",
            "a key\n## Setup\nStart Date",
            &["page-structure"],
        ),
    ] {
        let page = format!("## Prerequisites\n{section}\n{PAGE}");
        let fixture = asked().page(PAGE_PATH, &page);
        expect(
            what,
            fixture.clone().file("source_good/spec.json", spec),
            expected,
        );
        expect("without a spec", fixture, &[]);
    }
}

#[test]
fn the_version_is_compared_with_the_merge_base() {
    const INCREMENT: &[&str] = &["version-increment"];
    let edited = |from: &str, to: &str| {
        assert_eq!(GOOD.matches(from).count(), 1, "{from}");
        Document::read(&GOOD.replacen(from, to, 1)).unwrap()
    };
    let then = |version: &str| edited("Tag: 10.0.0", &format!("Tag: {version}"));
    let since = |metadata: &[Document], now: &str, changed: &[&str]| {
        let mut fixture = Fixture::good().version(now);
        fixture.earlier = Some(Earlier {
            metadata: metadata.to_vec(),
            changed: changed.iter().map(|path| (*path).into()).collect(),
        });
        fixture
    };
    // What was merged with its deadline is out, however near that came since.
    for (before, expected) in [
        ("10.0.0", &[][..]),
        ("9.9.0", &["breaking-change-deadline"]),
    ] {
        let near = since(&[then(before)], "10.0.0", &[]).edit("2026-12-31", "2026-06-20");
        expect(before, near, expected);
    }
    for (before, now, changed, expected) in [
        ("9.1.0", "9.1.1", "main.py", &[][..]),
        ("9.1.0", "9.1.0", "source_good/source.py", INCREMENT),
        ("9.1.0", "9.1.0", "metadata.yaml", INCREMENT),
        ("9.1.0", "9.1.0", "unit_tests/test_x.py", &[]),
        ("9.1.0", "9.1.0", "icon.svg", &[]),
        ("9.1.0", "9.1.0", "erd/discovered_catalog.json", &[]),
        ("9.1.0", "9.1.0", "build_customization.py", &[]),
        ("9.1.0", "9.1.0", "icon.svg.py", INCREMENT),
        ("9.1.0", "9.1.0", "build.gradle.kts", &[]),
        ("9.1.0", "9.1.0", "src/testFixtures/java/X.java", &[]),
        ("9.1.0", "9.1.0", "src/test-integration-legacy/X.kt", &[]),
        ("9.1.0", "9.1.0", "src/main/java/X.java", INCREMENT),
        ("9.10.0", "9.9.0", "metadata.yaml", INCREMENT),
        ("9.1.1", "9.1.1-rc.1", "metadata.yaml", INCREMENT),
        ("9.1.1-rc.2", "9.1.1-rc.10", "main.py", &[]),
        ("9.1.1-rc.10", "9.1.1-rc.2", "main.py", INCREMENT),
        ("9.1.1-rc.2", "9.1.2-rc.1", "main.py", INCREMENT),
        ("9.1.1-rc.2", "9.1.1", "main.py", &[]),
        ("9.1.1-alpha", "9.1.2-rc.1", "main.py", &[]),
    ] {
        let fixture = since(&[then(before)], now, &[changed]);
        let found = fixture.findings();
        let found: Vec<_> = found
            .iter()
            .map(|one| one.check)
            .filter(|id| *id != "release-candidate")
            .collect();
        assert_eq!(found, expected, "{before} -> {now}, {changed}");
    }
    let exempt = |fixture: Fixture| fixture.edit("InPullRequests: true", "InPullRequests: false");
    let pinned = |fixture: Fixture| fixture.edit("dockerImageTag: 9.0.0", "dockerImageTag: 8.0.0");
    let changed = |before, path: &str| since(&[then(before)], "10.0.0", &[path]);
    expect("exempt", exempt(changed("10.0.0", "main.py")), &[]);
    expect("lower", exempt(changed("10.1.0", "main.py")), INCREMENT);
    expect("pinned", pinned(changed("10.0.0", "metadata.yaml")), &[]);
    expect("pinned", pinned(changed("10.0.0", "main.py")), INCREMENT);
    let other_base = edited("python-connector-base:4.0.0", "python-connector-base:3.0.0");
    for (before, path, may_be_ignored) in [
        (then("10.0.0"), "metadata.yaml", true),
        (then("10.0.0"), "main.py", false),
        (other_base, "metadata.yaml", false),
    ] {
        let found = since(&[before], "10.0.0", &[path]).findings();
        let help = &found[0].help;
        assert_eq!(
            help.contains("checks.exceptions"),
            may_be_ignored,
            "{found:?}"
        );
    }
    let two = [then("9.1.0"), then("9.2.0")];
    expect("criss-cross", since(&two, "9.1.1", &[]), INCREMENT);
    expect("new", since(&[], "9.1.1", &["main.py"]), &[]);
    let id = edited("dfd88b22", "00000000");
    expect(
        "other id",
        since(&[id], "9.1.1", &[]),
        &["definition-id-kept", "version-increment"],
    );
    let repository = edited("airbyte/source-good\n  doc", "airbyte/source-was\n  doc");
    expect(
        "other repository",
        since(&[repository], "10.0.1", &[]),
        &["docker-repository-kept"],
    );
}

#[test]
fn two_connectors_must_differ_unless_one_is_the_other_encrypted() {
    let named = |name: &str, repository: &str| {
        let mut fixture = Fixture::good().edit(
            "airbyte/source-good\n  doc",
            &format!("{repository}\n  doc"),
        );
        fixture.files.name = name.to_owned();
        fixture
    };
    let found = |fixtures: &[Fixture]| -> Vec<(&'static str, String)> {
        let subject = |one: &'_ Fixture| one.today.parse().unwrap();
        let subjects: Vec<_> = fixtures
            .iter()
            .map(|one| Subject::new(&one.files, subject(one), &one.settings))
            .collect();
        let findings = all().flat_map(|check| check.of_fleet(&subjects));
        findings
            .map(|finding| (finding.check, finding.connector))
            .collect()
    };
    assert_eq!(
        found(&[
            named("source-a", "a/a"),
            named("source-a-strict-encrypt", "a/b")
        ]),
        []
    );
    assert_eq!(
        found(&[named("source-a", "a/a"), named("source-b", "a/A")]),
        [
            ("definition-id-unique", "source-a".to_owned()),
            ("definition-id-unique", "source-b".to_owned()),
        ]
        .into_iter()
        .chain([
            ("docker-repository-unique", "source-a".to_owned()),
            ("docker-repository-unique", "source-b".to_owned()),
        ])
        .collect::<Vec<_>>()
    );
}

/// The typed model and the JSON Schema agree on the good document with each of its values exchanged, each key
/// removed, and an unknown key in each mapping.
#[test]
fn the_schema_and_the_typed_model_agree() {
    let schema: serde_json::Value = serde_json::from_str(crate::model::definition::SCHEMA).unwrap();
    let schema = JsonSchema::new(&schema).unwrap();
    let good = Document::read(GOOD).unwrap().root.to_json();
    let others = serde_json::json!([
        null,
        true,
        -1,
        0,
        11,
        60.7,
        1000,
        "",
        "x",
        "2026-02-30",
        "2026-01-02",
        "https://x.y/z",
        "1.2.3",
        [],
        ["x"],
        [{}],
        {}
    ]);
    let (mut accepted, mut refused) = (0, 0);
    let mut same = |document: &serde_json::Value, what: &str| {
        // JSON is YAML.
        let typed = Document::read(&document.to_string()).unwrap();
        let typed = typed.root.read::<crate::model::definition::Definition>();
        assert_eq!(
            typed.is_ok(),
            schema.misfits(document).is_empty(),
            "{what}: {typed:?} {:?}",
            schema.misfits(document)
        );
        match typed {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
    };
    same(&good, "good");
    for pointer in pointers(&good, String::new()) {
        for other in others.as_array().unwrap() {
            let mut document = good.clone();
            *document.pointer_mut(&pointer).unwrap() = other.clone();
            same(&document, &format!("{pointer} = {other}"));
        }
        let mut document = good.clone();
        if let Some(map) = document
            .pointer_mut(&pointer)
            .and_then(|value| value.as_object_mut())
        {
            map.insert("novelty".to_owned(), 1.into());
            same(&document, &format!("{pointer} + novelty"));
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut document = good.clone();
        if let Some(map) = document
            .pointer_mut(parent)
            .and_then(|value| value.as_object_mut())
        {
            map.remove(key);
            same(&document, &format!("{pointer} removed"));
        }
    }
    assert!(accepted > 300 && refused > 1000, "{accepted} {refused}");
}

/// Every value but the whole.
fn pointers(value: &serde_json::Value, at: String) -> Vec<String> {
    let inner: Vec<(String, &serde_json::Value)> = match value {
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    inner
        .into_iter()
        .flat_map(|(key, value)| {
            let pointer = format!("{at}/{key}");
            let mut all = pointers(value, pointer.clone());
            all.push(pointer);
            all
        })
        .collect()
}

/// No field is in the schema that the good document leaves out, so that the test above reaches all.
#[test]
fn the_good_document_has_every_field_of_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(crate::model::definition::SCHEMA).unwrap();
    let good = Document::read(GOOD).unwrap().root.to_json();
    let keys: BTreeSet<String> = pointers(&good, String::new())
        .into_iter()
        .filter_map(|pointer| Some(pointer.rsplit_once('/')?.1.to_owned()))
        .collect();
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        for key in definition["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
        {
            assert!(keys.contains(key), "{name}.{key}");
        }
    }
}

/// What a value of metadata.yaml may be written as instead.
const VALUES: [&str; 24] = [
    "",
    "null",
    "~",
    "true",
    "\"true\"",
    "0",
    "-1",
    "60.5",
    "1.0.0",
    "02.0.0",
    "1.2.3-rc.1",
    "1.2.3-arch",
    "2026-02-30",
    "\"2026-01-02\"",
    "[]",
    "{}",
    "[a, 1]",
    "{a: b}",
    "source",
    "language:java",
    "http://example.com",
    "x:y@z",
    "\u{e9}\u{661}",
    "|\n      block",
];

/// A generated corpus: edits of the good document and of its text. No check panics, every finding has a place in the
/// file and a help line, and the typed model and the JSON Schema say the same of each.
#[test]
fn checks_survive_what_is_generated_and_the_schema_agrees_with_the_types() {
    let schema: serde_json::Value = serde_json::from_str(crate::model::definition::SCHEMA).unwrap();
    let schema = JsonSchema::new(&schema).unwrap();
    let mut judged = [0, 0];
    for seed in 0..500 {
        let random = &mut Random(seed);
        let text = edited(random);
        let fixture = Fixture::good().metadata(&text);
        let last = text.lines().count() + 1;
        for finding in fixture.findings() {
            let within = finding.file.file_name() != Some(METADATA) || finding.at.line <= last;
            assert!(
                within && !finding.help.is_empty(),
                "seed {seed}: {finding:?}"
            );
        }
        let Ok(document) = &fixture.files.metadata else {
            continue;
        };
        let typed = document.root.read::<crate::model::definition::Definition>();
        let valid = schema.misfits(&document.root.to_json()).is_empty();
        assert_eq!(
            typed.is_ok(),
            valid,
            "seed {seed}: {:?}\n{text}",
            typed.err()
        );
        judged[usize::from(valid)] += 1;
    }
    assert!(judged.iter().all(|count| *count > 50), "{judged:?}");
}

/// The good document with a few of its lines taken out, doubled, moved or given another value, or its text damaged.
fn edited(random: &mut Random) -> String {
    let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
    for _ in 0..1 + random.below(2) {
        let at = random.below(lines.len());
        match random.below(8) {
            0 => _ = lines.remove(at),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines[at].insert_str(0, "  "),
            3 => lines[at] = lines[at].replacen(':', "Other:", 1),
            _ => {
                if let Some((key, _)) = lines[at].split_once(": ") {
                    lines[at] = format!("{key}: {}", random.pick(&VALUES));
                }
            }
        }
    }
    let mut bytes = lines.join("\n").into_bytes();
    if random.below(4) == 0 {
        random.damage(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
