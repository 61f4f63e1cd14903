//! `connector check --tools` and `connector test` against a fake uv, whose poe runs what a connector's file `tasks` says.

use std::path::Path;

use crate::monorepo::{CONNECTORS, Finished, Monorepo, metadata};

const DIRECTORY: &str = "airbyte-integrations/connectors/source-py";

/// A connector that locks six and has these tasks.
fn with_tasks(tasks: &str) -> Monorepo {
    Monorepo::new()
        .python("source-py")
        .file(&format!("{DIRECTORY}/tasks"), tasks)
}

fn check(repo: &Monorepo, arguments: &[&str]) -> Finished {
    tooled(repo, &[&["check"], arguments].concat(), &[])
}

/// `connector ARGUMENTS` with the fake uv.
fn tooled(repo: &Monorepo, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let path = [fakes.join("fake_uv"), fakes.join("fake")]
        .into_iter()
        .chain(["/usr/bin".into(), "/bin".into()]);
    let path = std::env::join_paths(path).unwrap();
    let xtask = repo.xtask().env("PATH", path.to_str().unwrap());
    variables
        .iter()
        .fold(xtask, |xtask, (name, value)| xtask.env(name, value))
        .run(&[&["connector"], arguments].concat())
}

const ONLY: [&str; 4] = [
    "--only",
    "format,lint,unit-tests",
    "--output-format",
    "json",
];

#[test]
fn tasks_run_in_an_environment_of_the_lock_and_leave_the_tree_as_it_is() {
    let repo = with_tasks(
        "format-check true\n\
         lint-check test \"$UV_PROJECT_ENVIRONMENT\" = \"$VIRTUAL_ENV\" && test -x \"$VIRTUAL_ENV/bin/python\"\n\
         test-unit-tests poetry install --no-root && poetry run python3 -c 'import os, main; assert os.environ[\"RUFF_CACHE_DIR\"]'\n",
    );
    let document = check(&repo, &ONLY).code(0).json();
    assert_eq!(document["findings"].as_array().unwrap().len(), 0);
    let log = repo.log();
    let wheel = "sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";
    assert!(
        log.contains(&format!("six==1.17.0 --hash={wheel}")),
        "{log}"
    );
    // Where it lies for every connector, so that uv unpacks it once.
    let place = format!("/store/files/{}/\n", wheel.replace(':', "-"));
    let found = log.lines().any(|line| {
        line.starts_with("--find-links file:///") && format!("{line}\n").ends_with(&place)
    });
    assert!(found, "{log}");
    for option in ["--no-deps", "--require-hashes", "--no-index"] {
        assert!(log.contains(option), "{option}\n{log}");
    }
    assert!(log.contains("--executor simple format-check"), "{log}");
    let left = std::fs::read_dir(repo.root().join(DIRECTORY)).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(
        left,
        [
            "main.py",
            "metadata.yaml",
            "poetry.lock",
            "pyproject.toml",
            "tasks"
        ]
    );
    check(&repo, &ONLY).code(0);
    assert_eq!(
        repo.log().matches("uv --quiet pip install").count(),
        1,
        "an environment is made again only for another lock"
    );
}

#[test]
fn what_tasks_print_becomes_findings_at_their_places() {
    let repo = with_tasks(
        "format-check echo 'Would reformat: main.py'; exit 1\n\
         lint-check echo 'main.py:3:5: F401 unused'; exit 1\n\
         test-unit-tests echo 'no pytest' >&2; exit 4\n",
    );
    let document = check(&repo, &ONLY).code(1).json();
    let found: Vec<_> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            (text("check"), text("file"), one["line"].as_u64().unwrap())
        })
        .collect();
    let at =
        |check: &str, file: &str, line| (check.to_owned(), format!("{DIRECTORY}/{file}"), line);
    assert_eq!(
        found,
        [
            at("format", "main.py", 1),
            at("lint", "main.py", 3),
            at("unit-tests", "pyproject.toml", 1)
        ]
    );
    let said = document["findings"][2]["message"].as_str().unwrap();
    assert!(
        said.contains("exited with 4") && said.contains("no pytest"),
        "{said}"
    );
}

/// As Airbyte's own tasks do: pytest runs below unit_tests, and its JUnit file lies where `--junitxml` of the task says.
#[test]
fn a_task_may_write_its_junit_file_where_airbytes_do() {
    let junit = |case: &str| {
        format!(
            "<testsuites><testsuite><testcase name=\"test_no\" file=\"test_a.py\" line=\"3\">{case}</testcase></testsuite></testsuites>"
        )
    };
    let writes = |code: u8| {
        format!(
            "test-unit-tests cp junit.xml build/test-results/pytest-unit-tests-junit.xml; exit {code}\n"
        )
    };
    let failed =
        junit("<failure message=\"assert 1 == 2\">\ntest_a.py:6: AssertionError</failure>");
    let repo = with_tasks(&writes(1))
        .file(&format!("{DIRECTORY}/unit_tests/test_a.py"), "")
        .file(
            &format!("{DIRECTORY}/build/test-results/earlier.xml"),
            &junit(""),
        )
        .file(&format!("{DIRECTORY}/junit.xml"), &failed);
    let only = ["--only", "unit-tests", "--output-format", "json"];
    let found = check(&repo, &only).code(1).json()["findings"].clone();
    assert_eq!(
        found[0]["file"],
        format!("{DIRECTORY}/unit_tests/test_a.py")
    );
    assert_eq!(
        (&found[0]["line"], &found[0]["message"]),
        (&6.into(), &"test_no: assert 1 == 2".into())
    );
    let repo = repo
        .file(&format!("{DIRECTORY}/tasks"), &writes(0))
        .file(&format!("{DIRECTORY}/junit.xml"), &junit("<skipped/>"));
    check(&repo, &only)
        .code(0)
        .says("unit-tests is skipped: there are no tests to run");
}

#[test]
fn a_suite_without_tests_is_skipped_and_one_without_its_program_unknown() {
    let only = ["--only", "unit-tests", "--output-format", "json"];
    check(&with_tasks("test-unit-tests exit 5\n"), &only).code(1);
    check(
        &with_tasks("test-unit-tests echo '== no tests ran in 0.01s =='; exit 5\n"),
        &only,
    )
    .code(0)
    .says("unit-tests is skipped: there are no tests to run");
    let document = check(&with_tasks("test-unit-tests no-such-program\n"), &only)
        .code(3)
        .says("exited with 127")
        .says("help: install what the poe task `test-unit-tests` starts")
        .json();
    assert_eq!(document["findings"].as_array().unwrap().len(), 0);
    assert_eq!(document["not_run"][0]["reason"], "unknown");
}

#[test]
fn a_missing_task_is_skipped_and_said() {
    let repo = with_tasks("format-check true\n");
    check(&repo, &ONLY)
        .code(0)
        .says("source-py: lint is skipped: it defines no poe task `lint-check`")
        .says("source-py: unit-tests is skipped");
    let junit = [&ONLY[..3], &["junit"]].concat();
    let junit = check(&repo, &junit).code(0).stdout;
    assert_eq!(junit.matches("<skipped message=").count(), 2, "{junit}");
}

#[test]
fn a_stale_lock_is_a_finding_and_makes_no_environment() {
    let repo = with_tasks("format-check true\n");
    let pyproject = repo
        .read(&format!("{DIRECTORY}/pyproject.toml"))
        .replace("six = \"", "seven = \"");
    let repo = repo.file(&format!("{DIRECTORY}/pyproject.toml"), &pyproject);
    let only = ["--only", "poetry-lock,format", "--output-format", "json"];
    let finished = check(&repo, &only).code(1).says("content-hash");
    assert_eq!(finished.json()["findings"][0]["check"], "poetry-lock");
    assert!(!repo.log().contains("pip install"));
}

#[test]
fn a_missing_lock_is_unknown_to_the_tasks_that_there_are() {
    let repo = with_tasks("format-check true\ntest-unit-tests true\n");
    std::fs::remove_file(repo.root().join(DIRECTORY).join("poetry.lock")).unwrap();
    let document = check(&repo, &ONLY)
        .code(3)
        .says(&format!("{DIRECTORY} has no lock file"))
        .says("help: run `uv lock` or `poetry lock`")
        .says("source-py: lint is skipped: it defines no poe task `lint-check`")
        .json();
    let reasons: Vec<_> = document["not_run"].as_array().unwrap().iter().collect();
    let of = |check: &str| &reasons.iter().find(|one| one["check"] == check).unwrap()["reason"];
    assert_eq!(
        ["format", "lint", "unit-tests"].map(of),
        ["unknown", "skipped", "unknown"]
    );
    assert!(!repo.log().contains("pip install"));
    // Where nothing is asked for nothing is missing.
    std::fs::remove_file(repo.root().join(DIRECTORY).join("pyproject.toml")).unwrap();
    check(&repo, &ONLY).code(0).says("there is no");
}

#[test]
fn a_uv_lock_is_checked_by_uv() {
    let only = ["--only", "uv-lock", "--output-format", "json"];
    let repo = with_tasks("").file(&format!("{DIRECTORY}/uv.lock"), "version = 1\n");
    let document = check(&repo, &only).code(1).json();
    assert_eq!(
        document["findings"][0]["file"],
        format!("{DIRECTORY}/uv.lock")
    );
    check(&repo.file(&format!("{DIRECTORY}/fresh"), ""), &only).code(0);
}

#[test]
fn tool_checks_run_only_when_they_are_asked_for() {
    let repo = with_tasks("format-check exit 1\n");
    let skip = ["--skip", "lock-file,license-equal,version-equal"];
    check(&repo, &skip);
    assert!(!repo.log().contains("uv "), "{}", repo.log());
    check(&repo, &[&skip[..], &["--tools"]].concat()).code(1);
    assert!(repo.log().contains("format-check"));
    let list = check(&repo, &["--list"]).code(0).stdout;
    for id in ["unit-tests", "manifest-valid", "components", "uv-lock"] {
        assert!(list.contains(&format!("\n{id} ")), "{id}\n{list}");
    }
}

const MANIFESTS: [&str; 4] = [
    "--only",
    "manifest-valid,components",
    "--output-format",
    "json",
];

#[test]
fn what_the_cdk_of_the_base_image_says_stands_at_lines_of_the_files() {
    let directory = format!("{CONNECTORS}/source-m");
    let manifest = "version: 6.1.0\ndefinitions:\n  a:\n    name: 1\nstreams:\n  - $ref: \"#/definitions/a\"\n";
    let repo = Monorepo::new()
        .manifest_only("source-m")
        .file(&format!("{directory}/manifest.yaml"), manifest)
        .file(&format!("{directory}/components.py"), "a = 1\nb =\n");
    let says = r#"{"cdk": "6.11.1", "found": {"source-m": [
        {"file": "manifest.yaml", "path": ["streams", "0", "name"], "line": null, "message": "1 is not of type 'string'"},
        {"file": "components.py", "path": [], "line": 2, "message": "it does not compile: invalid syntax"}]}}"#;
    let document = tooled(
        &repo,
        &[&["check"], &MANIFESTS[..]].concat(),
        &[("FAKE_CDK", says)],
    )
    .code(1)
    .says("1 judged by CDK 6.11.1")
    .json();
    let found = document["findings"].as_array().unwrap();
    let at = |index: usize| (found[index]["file"].clone(), found[index]["line"].clone());
    assert_eq!(
        at(0),
        (format!("{directory}/components.py").into(), 2.into())
    );
    assert_eq!(
        at(1),
        (format!("{directory}/manifest.yaml").into(), 4.into())
    );
    assert_eq!(found.len(), 2);
}

/// A CDK that takes every manifest, for manifests in JSON.
const CDK: [(&str, &str); 9] = [
    (
        "airbyte_cdk-7.0.0.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: airbyte-cdk\nVersion: 7.0.0\n",
    ),
    ("airbyte_cdk/__init__.py", ""),
    (
        "airbyte_cdk/sources/declarative/declarative_component_schema.yaml",
        "{}",
    ),
    (
        "airbyte_cdk/sources/declarative/parsers/manifest_component_transformer.py",
        "class ManifestComponentTransformer:\n    def propagate_types_and_parameters(self, field, manifest, parameters):\n        return manifest\n",
    ),
    (
        "airbyte_cdk/sources/declarative/parsers/manifest_reference_resolver.py",
        "class ManifestReferenceResolver:\n    def preprocess_manifest(self, manifest):\n        return manifest\n",
    ),
    ("jsonschema/__init__.py", ""),
    ("jsonschema/exceptions.py", "best_match = max\n"),
    (
        "jsonschema/validators.py",
        "class Validator:\n    def __init__(self, schema):\n        pass\n\n    def iter_errors(self, manifest):\n        return 1 / 0 if \"breaks\" in manifest else []\n\n\ndef validator_for(schema):\n    return Validator\n",
    ),
    (
        "yaml.py",
        "import datetime, json\n\n\nclass YAMLError(Exception):\n    pass\n\n\ndef safe_load(text):\n    \"\"\"As PyYAML's: a plain date becomes one, whether there is such a day or not.\"\"\"\n    if \"2024-02-30\" in str(text):\n        datetime.date(2024, 2, 30)\n    return json.loads(text)\n",
    ),
];

#[test]
fn one_manifest_keeps_no_other_from_being_judged() {
    let stream = r#""streams": [{"class_name": "source_declarative_manifest.components.Own"}]"#;
    let good = format!("{{{stream}}}");
    let cases = [
        (
            "source-date",
            format!("{{{stream}, \"start_date\": 2024-02-30}}"),
            "class Own: ...",
        ),
        (
            "source-breaks",
            format!("{{{stream}, \"breaks\": 1}}"),
            "class Own: ...",
        ),
        (
            "source-try",
            good.clone(),
            "try:\n    from x import Own\nexcept ImportError:\n    pass\n",
        ),
        (
            "source-if",
            good.clone(),
            "if 1:\n    pass\nelse:\n    class Own: ...\n",
        ),
        ("source-star", good.clone(), "from x import *\n"),
        ("source-inner", good, "def f():\n    class Own: ...\n"),
    ];
    let repo = cases
        .iter()
        .fold(Monorepo::new(), |repo, (name, manifest, components)| {
            let directory = format!("{CONNECTORS}/{name}");
            repo.manifest_only(name)
                .file(&format!("{directory}/manifest.yaml"), manifest)
                .file(&format!("{directory}/components.py"), components)
        });
    let repo = CDK.iter().fold(repo, |repo, (path, text)| {
        repo.file(&format!("cdk/{path}"), text)
    });
    let modules = repo.root().join("cdk");
    let variables = [("FAKE_CDK_MODULES", modules.to_str().unwrap())];
    let document = tooled(&repo, &[&["check"], &MANIFESTS[..]].concat(), &variables)
        .code(1)
        .says("6 judged by CDK 7.0.0")
        .json();
    let found = document["findings"].as_array().unwrap().iter();
    let found: Vec<String> = found
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap();
            assert!(text("file").ends_with("/manifest.yaml"), "{one}");
            format!("{} {}", text("connector"), text("message"))
        })
        .collect();
    assert_eq!(
        found,
        [
            "source-breaks it can't be judged: ZeroDivisionError('division by zero')",
            "source-date it holds a value that can't be read: day is out of range for month",
            "source-inner streams.0.class_name: `source_declarative_manifest.components.Own` is wanted, yet components.py defines no Own",
        ]
    );
}

#[test]
fn a_base_image_that_can_not_judge_says_nothing_of_the_connector() {
    let repo = Monorepo::new().manifest_only("source-m");
    let variables = [("FAKE_DOCKER", "no-cdk")];
    let finished = tooled(&repo, &[&["check"], &MANIFESTS[..]].concat(), &variables)
        .code(3)
        .says("ask the CDK of docker.io/airbyte/base:1.0.0")
        .says("No module named 'airbyte_cdk'")
        .says("0 errors, 0 warnings, 2 unknown");
    let document = finished.json();
    assert_eq!(document["findings"].as_array().unwrap().len(), 0);
    assert_eq!(document["not_run"][0]["reason"], "unknown");
    let tested = test(&repo, &["source-m", "--json"], &variables).code(3);
    assert_eq!(steps(&tested.json())[0], "source-m manifest-valid unknown");
}

#[test]
fn what_is_wrong_counts_before_what_is_not_known() {
    let repo = with_tasks("lint-check exit 1\n").manifest_only("source-m");
    let words = ["check", "--only", "manifest-valid,lint"];
    let variables = [("FAKE_DOCKER", "no-engine")];
    tooled(&repo, &words, &variables)
        .code(1)
        .says("1 error, 0 warnings, 1 unknown");
}

#[test]
fn a_uv_that_fails_says_nothing_of_the_connector() {
    let repo = with_tasks("format-check true\n");
    let summary = repo.scratch().join("summary.md");
    let variables = [
        ("FAKE_UV", "broken"),
        ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
    ];
    let words = ["check", "--only", "format", "--output-format", "github"];
    let finished = tooled(&repo, &words, &variables).code(3).says("it broke");
    let notice = "::notice title=source-py format::could not be run: list the poe tasks";
    assert!(finished.stdout.starts_with(notice), "{}", finished.stdout);
    let summary = std::fs::read_to_string(summary).unwrap();
    let row = "| source-py | unknown `format` | | could not be run: ";
    assert!(summary.contains(row), "{summary}");
}

/// Neither checks that run programs nor those that ask registries pass over it.
#[test]
fn of_a_connector_without_usable_metadata_nothing_is_known() {
    let gold = metadata("source-py").replace("supportLevel: community", "supportLevel: gold");
    let repo = Monorepo::new()
        .python("source-py")
        .file(&format!("{DIRECTORY}/metadata.yaml"), &gold)
        .connector("Source_X", &[]);
    let junit = ["--only", "unit-tests,format", "--output-format", "junit"];
    let finished = check(&repo, &junit).code(3).says("supportLevel");
    let skipped = "<skipped message=\"unknown: its metadata can&apos;t be used";
    let skipped = skipped.replace("&apos;", "'");
    assert_eq!(finished.stdout.matches(&skipped).count(), 4, "{finished:?}");
    check(&repo, &["--only", "base-image-exists"])
        .code(3)
        .says("2 unknown");
    check(&repo, &["--only", "license"]).code(0);
}

#[test]
fn without_an_engine_manifests_are_not_judged() {
    let repo = Monorepo::new().manifest_only("source-m");
    let variables = [("FAKE_DOCKER", "no-engine")];
    tooled(&repo, &[&["check"], &MANIFESTS[..]].concat(), &variables)
        .code(3)
        .says("Cannot connect to the Docker daemon");
    let junit = [&["check"], &MANIFESTS[..3], &["junit"]].concat();
    let junit = tooled(&repo, &junit, &variables).code(3).stdout;
    assert!(junit.contains("<skipped message=\"unknown: "), "{junit}");
}

/// Each step of each connector with its outcome.
fn steps(document: &serde_json::Value) -> Vec<String> {
    let tested = document.as_array().unwrap().iter();
    tested
        .flat_map(|tested| {
            let name = tested["connector"].as_str().unwrap();
            let steps = tested["steps"].as_array().unwrap().iter();
            steps.map(move |step| {
                let text = |key: &str| step[key].as_str().unwrap();
                format!("{name} {} {}", text("step"), text("outcome"))
            })
        })
        .collect()
}

fn test(repo: &Monorepo, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    tooled(repo, &[&["test"], arguments].concat(), variables)
}

#[test]
fn every_step_of_every_connector_is_tried_whatever_failed() {
    let repo = with_tasks("format-check true\nlint-check exit 1\n").manifest_only("source-m");
    let variables = [("FAKE_CDK", r#"{"cdk": "7.0.0", "found": {"source-m": []}}"#)];
    let document = test(&repo, &["*", "--json"], &variables).code(1).json();
    assert_eq!(
        steps(&document),
        [
            "source-m manifest-valid passed",
            "source-m format skipped",
            "source-m lint skipped",
            "source-m unit-tests skipped",
            "source-m build passed",
            "source-m spec passed",
            "source-m check skipped",
            "source-py format passed",
            "source-py lint failed",
            "source-py unit-tests skipped",
            "source-py build passed",
            "source-py spec passed",
            "source-py check skipped",
        ]
    );
    assert_eq!(document[1]["steps"][1]["findings"][0]["check"], "lint");
    let table = test(&repo, &["source-py"], &[]).code(1).stdout;
    assert!(
        table.contains("source-py  lint        FAILED   1 finding"),
        "{table}"
    );
    assert!(
        table.contains("error[lint] `poe lint-check` exited with 1"),
        "{table}"
    );
}

#[test]
fn a_broken_build_leaves_the_tool_checks_standing() {
    let repo = with_tasks("format-check true\n");
    let variables = [("FAKE_DOCKER", "broken-build")];
    let finished = test(&repo, &["source-py", "--json"], &variables).code(1);
    let document = finished.json();
    let steps = steps(&document);
    assert!(
        steps.contains(&"source-py format passed".to_owned()),
        "{steps:?}"
    );
    assert_eq!(steps.last().unwrap(), "source-py build failed");
    let without = test(
        &repo,
        &["source-py", "--json"],
        &[("FAKE_DOCKER", "no-engine")],
    )
    .code(3);
    assert!(without.stdout.contains("this machine can't build images"));
}

#[test]
fn a_configuration_asks_for_a_connector_that_can_be_built() {
    let repo = Monorepo::new()
        .connector("destination-j", &["build.gradle"])
        .file("config.json", "{}");
    test(
        &repo,
        &["destination-j", "--config-file=config.json"],
        &[("FAKE_DOCKER", "no-engine")],
    )
    .code(2)
    .says("destination-j is written in java, which is not supported");
}

/// What others build is named and fails nothing; alone it takes no engine either.
#[test]
fn a_changed_connector_in_java_is_skipped() {
    let changed = |repo: Monorepo| {
        repo.commit(".");
        repo.connector("destination-j", &["build.gradle"])
    };
    let words = ["--all-changed", "--base=HEAD", "--json"];
    let skipped = [
        "destination-j format skipped",
        "destination-j lint skipped",
        "destination-j unit-tests skipped",
        "destination-j build skipped",
    ];
    let repo = changed(Monorepo::new().file("README.md", ""));
    let without_engine = [("FAKE_DOCKER", "no-engine")];
    let alone = test(&repo, &words, &without_engine).code(0);
    assert_eq!(steps(&alone.json()), skipped);
    let table = test(&repo, &words[..2], &without_engine).code(0).stdout;
    assert!(
        table.contains("destination-j is written in java"),
        "{table}"
    );

    let repo = changed(Monorepo::new().file("README.md", "")).manifest_only("source-m");
    let variables = [("FAKE_CDK", r#"{"cdk": "7.0.0", "found": {"source-m": []}}"#)];
    let both = steps(&test(&repo, &words, &variables).code(0).json());
    assert_eq!(both[..4], skipped);
    assert!(
        both.contains(&"source-m spec passed".to_owned()),
        "{both:?}"
    );
}

#[test]
fn commands_are_tried_on_a_configuration() {
    let repo = with_tasks("").file("config.json", "{\"key\": \"SECRET\"}");
    let arguments = ["source-py", "--config-file", "config.json", "--json"];
    let passed = test(&repo, &arguments, &[]).code(0).json();
    let last = &steps(&passed)[5..];
    assert_eq!(
        last,
        [
            "source-py check passed",
            "source-py discover passed",
            "source-py read passed"
        ]
    );
    assert_eq!(passed[0]["steps"][7]["detail"], "1 records, 0 states");
    let log = repo.log();
    assert!(
        log.contains("airbyte-test/config.json\nairbyte-test/catalog.json"),
        "{log}"
    );
    assert!(log.contains("--network bridge"), "{log}");
    let images = log.matches(" docker.io/airbyte/source-py@sha256:").count();
    assert_eq!(images, 4, "{log}");
    assert!(!log.contains("SECRET"), "{log}");
    for (words, calls) in [
        ("--log-driver none --pull", 3),
        ("rm --force --volumes xtask-test-", 3),
    ] {
        assert_eq!(log.matches(words).count(), calls, "{words}: {log}");
    }

    let stray = test(&repo, &arguments, &[("FAKE_STREAM", "b")])
        .code(1)
        .json();
    let detail = stray[0]["steps"][7]["detail"].as_str().unwrap();
    assert_eq!(
        detail,
        "line 1: stream `b` is not in the configured catalog"
    );
    let garbage = test(&repo, &arguments, &[("FAKE_CHECK", "Traceback")])
        .code(1)
        .json();
    assert_eq!(steps(&garbage)[5], "source-py check failed");
}

#[test]
fn a_destination_is_written_to_and_has_to_give_back_every_state() {
    let repo = Monorepo::new()
        .manifest_only("destination-d")
        .file("config.json", "{}");
    let arguments = ["destination-d", "--config-file", "config.json", "--json"];
    let spec = r#"{"type":"SPEC","spec":{"connectionSpecification":{"type":"object"},
        "supported_destination_sync_modes":["append","overwrite"]}}"#
        .replace('\n', "");
    let faked = |forgets: &str| {
        let cdk = r#"{"cdk": "7.0.0", "found": {"destination-d": []}}"#;
        let variables = [
            ("FAKE_CDK", cdk),
            ("FAKE_SPEC", spec.as_str()),
            ("FAKE_FORGETS", forgets),
        ];
        test(&repo, &arguments, &variables)
    };
    let passed = faked("").code(0).json();
    let last = passed[0]["steps"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(last["step"], "write");
    assert_eq!(last["detail"], "8 records written, 2 states came back");
    let failed = faked("overwrite").code(1).json();
    let last = failed[0]["steps"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    let detail = last["detail"].as_str().unwrap();
    assert_eq!(
        detail,
        "the state of stream \"airbyte_test_overwrite\" did not come back as it was sent"
    );
    let catalog = [&arguments[..], &["--catalog", "config.json"]].concat();
    test(&repo, &catalog, &[])
        .code(2)
        .says("--catalog is what a source reads, and destination-d is a destination");
}

#[test]
fn a_configuration_is_for_one_connector_and_is_json() {
    let repo = with_tasks("")
        .manifest_only("source-m")
        .file("config.json", "{}")
        .file("list.json", "[]");
    test(&repo, &["*", "--config-file", "config.json"], &[])
        .code(2)
        .says("--config-file is for one connector, and 2 are named");
    test(&repo, &["source-py", "--config-file", "list.json"], &[])
        .code(2)
        .says("a configuration is a JSON object");
    test(&repo, &["source-py", "--config-file", "none.json"], &[])
        .code(2)
        .says("none.json");
}
