//! What `connector publish` prints and writes where files are in the way, against fake programs.

use std::fs;

use crate::monorepo::{Finished, Monorepo};

fn one() -> Monorepo {
    Monorepo::new().manifest_only("source-a")
}

fn place(repo: &Monorepo, name: &str) -> String {
    repo.scratch().join(name).to_str().unwrap().to_owned()
}

/// A dry run at a registry that no network has (RFC 2606).
fn publish(repo: &Monorepo, (name, value): (&str, &str), flags: &[&str]) -> Finished {
    let start = ["connector", "publish", "source-a"];
    let registry = ["--registry=registry.invalid/airbyte"];
    repo.xtask()
        .env(name, value)
        .env("DOCKER_CONFIG", &place(repo, ""))
        .env("GITHUB_OUTPUT", &place(repo, "output"))
        .env("GITHUB_STEP_SUMMARY", &place(repo, "summary.md"))
        .run(&[&start[..], &registry, flags].concat())
}

fn errors(finished: &Finished) -> Vec<&str> {
    let lines = finished.stderr.lines();
    lines.filter(|line| line.starts_with("error: ")).collect()
}

#[test]
fn results_that_can_t_be_written_are_printed() {
    let repo = one();
    let finished = publish(&repo, ("FAKE_DOCKER", "taken-results"), &["--json"]).code(1);
    assert_eq!(finished.json()["connectors"][0]["action"], "tested");
    let summary = fs::read_to_string(place(&repo, "summary.md")).unwrap();
    assert!(
        summary.contains("| source-a | 1.2.3 | tested |"),
        "{summary}"
    );
    let [error] = errors(&finished)[..] else {
        panic!("{finished:?}")
    };
    assert!(error.contains("results.json"), "{error}");
}

#[test]
fn outputs_that_can_t_be_written_hide_no_reason() {
    let repo = one().file("target/xtask/runs", "in the way");
    let outputs = place(&repo, "outputs.json");
    let taken = ("FAKE_TAKES", outputs.as_str());
    let finished = publish(&repo, taken, &["--outputs-file", &outputs]).code(1);
    let [error] = errors(&finished)[..] else {
        panic!("{finished:?}")
    };
    assert!(error.contains("target/xtask/runs"), "{error}");
}
