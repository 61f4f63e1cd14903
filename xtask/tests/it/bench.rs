//! `bench`, as far as it goes without an engine.

use crate::monorepo::Monorepo;

/// A repository with everything committed.
fn committed() -> Monorepo {
    let repo = Monorepo::new()
        .file(
            "Cargo.toml",
            "[workspace]\n[workspace.metadata.connector]\n",
        )
        .manifest_only("source-one")
        .python("source-two");
    repo.commit(".");
    repo
}

#[test]
fn measures_memory_and_selection_over_many_connectors() {
    let repo = committed();
    let results = repo
        .xtask()
        .run(&[
            "bench",
            "memory",
            "list-changed",
            "--runs",
            "2",
            "--fleet",
            "24",
            "--json",
        ])
        .code(0)
        .json();
    let case = |name: &str| {
        let cases = results["cases"].as_array().unwrap();
        cases
            .iter()
            .find(|case| case["case"] == name)
            .unwrap()
            .clone()
    };
    let memory = case("memory");
    let phases = memory["sides"][0]["phases"].as_array().unwrap().clone();
    assert!(phases.len() >= 4, "{memory:#}");
    let most = phases.iter().map(|phase| phase["value"].as_f64().unwrap());
    assert_eq!(
        memory["sides"][0]["median"].as_f64().unwrap() > 1.0,
        cfg!(target_os = "linux")
    );
    assert!(
        most.into_iter()
            .all(|value| value <= memory["sides"][0]["maximum"].as_f64().unwrap())
    );

    let changed = case("list-changed");
    let sides: Vec<&str> = changed["sides"]
        .as_array()
        .unwrap()
        .iter()
        .map(|side| side["side"].as_str().unwrap())
        .collect();
    assert_eq!(sides, ["ours", "git"]);
    for side in changed["sides"].as_array().unwrap() {
        assert_eq!(side["runs"].as_array().unwrap().len(), 2);
        assert!(side["minimum"].as_f64() <= side["median"].as_f64());
    }
    let fleet = repo.root().join("target/xtask/bench/fleet");
    let listed = repo
        .xtask()
        .current_dir(&fleet)
        .run(&[
            "connector",
            "list",
            "--all-changed",
            "--base",
            "base",
            "--json",
        ])
        .code(0)
        .json();
    assert_eq!(
        listed["connectors"].as_array().unwrap().len(),
        20,
        "{listed:#}"
    );
}

#[test]
fn a_registry_that_nobody_named_is_not_pushed_to() {
    let repo = committed();
    repo.xtask()
        .run(&["bench", "cold"])
        .code(2)
        .says("the bench pushes images")
        .says("help: run it with --sandbox");
    assert_eq!(repo.log(), "", "no program was started");
}

#[test]
fn unknown_cases_are_refused_by_name() {
    committed()
        .xtask()
        .run(&["bench", "warm"])
        .code(2)
        .says("`warm` is no case of the bench")
        .says("fresh-machine");
}

/// One case that fails does not lose the others.
#[test]
fn what_was_measured_is_printed_when_another_case_fails() {
    let finished = committed()
        .xtask()
        .run(&[
            "bench", "list", "memory", "--runs", "1", "--fleet", "2", "--json",
        ])
        .code(3)
        .says("error: bench list: `cargo` is not installed");
    let results = finished.json();
    assert_eq!(results["failed"][0]["case"], "list");
    assert_eq!(results["cases"][0]["case"], "memory");
}
