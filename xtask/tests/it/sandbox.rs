//! `sandbox` where none can be started.

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, Stdio},
};

use crate::monorepo::Monorepo;

#[test]
fn what_runs_is_stopped_also_when_its_directory_is_gone() {
    let repo = Monorepo::new();
    let down = |says: &str| {
        let run = repo.xtask().run(&["sandbox", "down"]);
        run.code(0).says(says);
    };
    down("nothing of the sandbox was running");
    // `yes` takes any arguments, and blocks once nobody reads what it prints.
    let mut registry = Command::new("yes")
        .arg0("docker-registry")
        .arg("serve")
        .arg(repo.root().join("target/sandbox/registry.yml"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    down("stopped or removed: registry\n");
    assert_eq!(registry.wait().unwrap().signal(), Some(15));
    assert!(!repo.root().join("target").exists());
}
