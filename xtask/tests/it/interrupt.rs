//! Ctrl-C.

use std::{process::Stdio, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};

use crate::monorepo::Monorepo;

#[test]
fn ctrl_c_ends_the_children_and_leaves_nothing_behind() {
    let repo = Monorepo::new().manifest_only("source-a");
    let mut command = repo.xtask().env("FAKE_DOCKER", "endless-build").command;
    let child = command
        .args(["connector", "build", "source-a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !repo.building().exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let finished = crate::monorepo::Finished::from(child.wait_with_output().unwrap()).code(130);
    finished.says("error: ").says("interrupted");
    let left: Vec<_> = std::fs::read_dir(repo.scratch()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        test_kill_process_group(pid).is_err(),
        "children are still running"
    );
}
