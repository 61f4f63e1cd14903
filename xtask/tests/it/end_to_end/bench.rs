//! Both sides of the bench at work, on a connector that installs nothing but itself.

use super::{alone, scan::Vulnerable};
use crate::monorepo::{CONNECTORS, Finished, metadata};

const PYPROJECT: &str = r#"[build-system]
requires = ["poetry-core>=1.0.0"]
build-backend = "poetry.core.masonry.api"

[tool.poetry]
name = "source-tiny"
version = "1.2.3"
description = "A connector that needs nothing."
authors = ["Nobody <nobody@example.com>"]
packages = [{ include = "source_tiny" }]

[tool.poetry.dependencies]
python = "^3.11,<3.12"

[tool.poetry.scripts]
source-tiny = "source_tiny.run:run"
"#;
const RUN: &str = r#"import json

def run():
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {}}
    print(json.dumps({"type": "SPEC", "spec": {"connectionSpecification": schema}}))
"#;

#[test]
fn both_sides_build_test_scan_push_and_tag_a_changed_connector() {
    let _turn = alone();
    let mut sandbox = Vulnerable::new();
    let directory = format!("{CONNECTORS}/source-tiny");
    let metadata = metadata("source-tiny")
        .replace("airbyte/base:1.0.0", "airbyte/python-connector-base:4.0.2");
    for (file, text) in [
        ("metadata.yaml", metadata.as_str()),
        ("pyproject.toml", PYPROJECT),
        ("main.py", "from source_tiny.run import run\n\nrun()\n"),
        ("source_tiny/__init__.py", ""),
        ("source_tiny/run.py", RUN),
    ] {
        sandbox.repo = sandbox.repo.file(&format!("{directory}/{file}"), text);
    }
    sandbox.repo.commit(CONNECTORS);
    let bench = [
        "bench",
        "code-change",
        "--connector",
        "source-tiny",
        "--runs",
        "1",
        "--json",
    ];
    // Emulated, what the old flow installs takes minutes.
    let mut command = sandbox.command();
    command.env("XTASK_PLATFORMS", "linux/amd64");
    let output = command.args(bench).output().unwrap();
    let results = Finished::from(output).code(0).json();
    let sides = results["cases"][0]["sides"].as_array().unwrap();
    let phases = |side: usize| {
        let phases = sides[side]["phases"].as_array().unwrap().iter();
        phases
            .map(|phase| phase["name"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!([&sides[0]["side"], &sides[1]["side"]], ["ours", "old-flow"]);
    for step in ["build", "spec", "scan", "push", "tag", "latest"] {
        assert!(phases(0).contains(&step), "{step}: {results:#}");
    }
    let old_flow = [
        "build for the host",
        "spec on the host",
        "build and push all",
        "scan the host's",
        "tag latest",
    ];
    assert_eq!(phases(1), old_flow, "{results:#}");
}
