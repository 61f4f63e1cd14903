//! `sandbox` where none can be started.

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, Stdio},
};

use crate::monorepo::Monorepo;

#[test]
fn what_runs_is_stopped_also_when_its_directory_is_gone() {
    // A shell runs the file `serve`, whatever its own name is.
    let repo = Monorepo::new().file("serve", "read line\n");
    let down = |says: &str| {
        let run = repo.xtask().run(&["sandbox", "down"]);
        run.code(0).says(says);
    };
    down("nothing of the sandbox was running");
    let mut registry = Command::new("sh")
        .arg0("docker-registry")
        .arg("serve")
        .arg(repo.root().join("target/sandbox/registry.yml"))
        .current_dir(repo.root())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    down("stopped or removed: registry\n");
    assert_eq!(registry.wait().unwrap().signal(), Some(15));
    assert!(!repo.root().join("target").exists());
}
