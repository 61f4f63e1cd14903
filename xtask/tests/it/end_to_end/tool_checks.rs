//! Tool checks on the real thing: the CDK of the sandbox's base image, this repository's own connectors.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, process::Command};

use serde_json::Value;

use super::{elsewhere, here, root, sandboxed, xtask};
use crate::{
    fleet::fleet,
    monorepo::{CONNECTORS, Finished, Monorepo, metadata},
};

/// xtask on another repository, with the engine and the base images of the sandbox.
fn on_sandbox(repo: &Monorepo, arguments: &[&str]) -> Finished {
    xtask(&["sandbox", "up"]).code(0);
    let status = xtask(&["sandbox", "status", "--json"]).code(0).json();
    let stand_ins: Vec<String> = status["stand_ins"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, image)| format!("{name}={}", image.as_str().unwrap()))
        .collect();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["-C", repo.root().to_str().unwrap()])
        .args(arguments)
        .env("DOCKER_HOST", status["docker_host"].as_str().unwrap())
        .env("XTASK_STAND_INS", stand_ins.join(","))
        .output();
    Finished::from(output.unwrap())
}

const JUDGE: [&str; 6] = [
    "connector",
    "check",
    "--only",
    "manifest-valid,components",
    "--output-format",
    "json",
];

/// One connector a fault: the edits of a good manifest, and the line and words of what must be found.
#[test]
fn the_cdk_finds_each_fault_at_its_line() {
    let _turn = elsewhere();
    let good = fs::read_to_string(
        root()
            .join(CONNECTORS)
            .join("source-open-meteo/manifest.yaml"),
    )
    .unwrap();
    let components = fs::read_to_string(
        root()
            .join(CONNECTORS)
            .join("source-open-meteo/components.py"),
    )
    .unwrap();
    let line_of = |text: &str, part: &str| {
        let line = text.lines().position(|line| line.contains(part));
        line.unwrap() as u64 + 1
    };
    let reference = good
        .lines()
        .find_map(|line| line.trim().strip_prefix("$ref: "))
        .unwrap();
    let class = good
        .lines()
        .find_map(|line| line.trim().strip_prefix("class_name: "))
        .unwrap();
    let dangling = good.replacen(reference, "\"#/definitions/nowhere\"", 1);
    let classless = good.replace(class, "source_declarative_manifest.components.Nowhere");
    let mistyped = good.replacen("http_method: GET", "http_method: 5", 1);
    let streamless = format!(
        "{}streams: []\n",
        good.split("\nstreams:").next().unwrap().to_owned() + "\n"
    );
    let dated = format!("{good}start_date: 2024-02-30\n");
    let cases: [(&str, &str, &str, &str, u64, &str); 7] = [
        ("good", &good, &components, "", 0, ""),
        (
            "dangling",
            &dangling,
            &components,
            "manifest.yaml",
            1,
            "nowhere",
        ),
        (
            "classless",
            &classless,
            &components,
            "manifest.yaml",
            line_of(&classless, "components.Nowhere"),
            "defines no Nowhere",
        ),
        (
            "mistyped",
            &mistyped,
            &components,
            "manifest.yaml",
            line_of(&mistyped, "http_method: 5"),
            "5",
        ),
        (
            "streamless",
            &streamless,
            &components,
            "manifest.yaml",
            line_of(&streamless, "streams: []"),
            "no stream",
        ),
        (
            "dated",
            &dated,
            &components,
            "manifest.yaml",
            1,
            "day is out of range",
        ),
        (
            "syntax",
            &good,
            "import os\ndef f(:\n    pass\n",
            "components.py",
            2,
            "does not compile",
        ),
    ];
    let repo = cases
        .iter()
        .fold(Monorepo::new(), |repo, (name, manifest, components, ..)| {
            let metadata = metadata(&format!("source-{name}")).replace(
                "airbyte/base:1.0.0",
                "airbyte/source-declarative-manifest:7.17.2",
            );
            repo.file(
                &format!("{CONNECTORS}/source-{name}/metadata.yaml"),
                &metadata,
            )
            .file(
                &format!("{CONNECTORS}/source-{name}/manifest.yaml"),
                manifest,
            )
            .file(
                &format!("{CONNECTORS}/source-{name}/components.py"),
                components,
            )
        });
    let document = on_sandbox(&repo, &JUDGE).code(1).json();
    let findings = document["findings"].as_array().unwrap();
    for (name, _, _, file, line, words) in cases {
        let connector = format!("source-{name}");
        let of: Vec<&Value> = findings
            .iter()
            .filter(|one| one["connector"] == *connector)
            .collect();
        if file.is_empty() {
            assert!(of.is_empty(), "{name}: {of:#?}");
            continue;
        }
        assert_eq!(of.len(), 1, "{name}: {of:#?}");
        assert_eq!(
            of[0]["file"],
            format!("{CONNECTORS}/{connector}/{file}"),
            "{name}"
        );
        assert_eq!(of[0]["line"], line, "{name}: {:#}", of[0]);
        assert!(
            of[0]["message"].as_str().unwrap().contains(words),
            "{name}: {:#}",
            of[0]
        );
    }
}

/// Of three the components.py is not among what was recorded; all else passes, on CDK 6.11.1 (their own) as well.
#[test]
fn a_real_fleets_manifests_are_valid() {
    let _turn = elsewhere();
    let Some(fleet) = fleet() else { return };
    let repo = Monorepo::new();
    let connectors = repo.root().join(CONNECTORS);
    fs::remove_dir(&connectors).unwrap();
    symlink(fleet.join("connectors"), &connectors).unwrap();
    let finished = on_sandbox(&repo, &JUDGE).code(1).says("30 judged by CDK");
    let document = finished.json();
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for finding in document["findings"].as_array().unwrap() {
        let message = finding["message"].as_str().unwrap();
        assert!(
            message.ends_with("there is no components.py"),
            "{finding:#}"
        );
        found.insert(finding["connector"].as_str().unwrap(), message);
    }
    let names: Vec<&str> = found.into_keys().collect();
    assert_eq!(
        names,
        [
            "source-apify-dataset",
            "source-aws-cloudtrail",
            "source-bamboo-hr"
        ]
    );
}

/// Everything that is not committed, also what git ignores, but for target/.
fn left_behind() -> String {
    let git = [
        "status",
        "--porcelain",
        "--ignored",
        "--",
        ":!target",
        ":!xtask",
    ];
    let output = Command::new("git").current_dir(root()).args(git).output();
    Finished::from(output.unwrap()).code(0).stdout
}

#[test]
fn the_connectors_of_this_repository_pass_their_tests_and_leave_the_tree_clean() {
    let _turn = here();
    let before = left_behind();
    let tested = sandboxed(&["connector", "test", "*", "--json"])
        .code(0)
        .json();
    let tested = tested.as_array().unwrap();
    assert_eq!(tested.len(), 4);
    for connector in tested {
        let steps = connector["steps"].as_array().unwrap();
        let passed: Vec<&str> = steps
            .iter()
            .filter(|step| step["outcome"] == "passed")
            .map(|step| step["step"].as_str().unwrap())
            .collect();
        for step in ["format", "lint", "unit-tests", "build", "spec"] {
            assert!(passed.contains(&step), "{connector:#}");
        }
        let tests = steps
            .iter()
            .find(|step| step["step"] == "unit-tests")
            .unwrap();
        assert!(
            tests["detail"].as_str().unwrap().ends_with(" tests"),
            "{tests}"
        );
    }
    assert_eq!(left_behind(), before);
}

/// `connector test NAME --json` with this configuration, without a network: what its steps say, by step.
fn tried(name: &str, config: &str, code: i32) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    fs::write(&path, config).unwrap();
    let path = path.to_str().unwrap();
    let arguments = [
        "connector",
        "test",
        name,
        "--json",
        "--network",
        "none",
        "--config-file",
        path,
    ];
    let tested = sandboxed(&arguments).code(code).json();
    let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = tested[0]["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            (
                text(step, "step"),
                format!("{}: {}", text(step, "outcome"), text(step, "detail")),
            )
        })
        .collect()
}

#[test]
fn a_source_and_a_destination_are_tried_on_a_configuration() {
    let _turn = here();
    let steps = tried("source-faker", "{\"count\": 20, \"seed\": 7}", 0);
    assert_eq!(steps["read"], "passed: 60 records, 3 states");
    let steps = tried("source-faker", "{\"count\": \"many\"}", 1);
    assert!(steps["check"].starts_with("failed: "), "{steps:#?}");
    let steps = tried(
        "destination-jsonl",
        "{\"destination_path\": \"/tmp/out\"}",
        0,
    );
    assert_eq!(
        steps["write"],
        "passed: 8 records written, 2 states came back"
    );
}
