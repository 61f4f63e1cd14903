//! Ctrl-C.

use std::{process::Stdio, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};

use crate::monorepo::{Finished, Monorepo};

/// xtask with the fake docker's endless `fault`, sent `signal` once that has begun.
fn interrupted(
    repo: &Monorepo,
    fault: &str,
    arguments: &[&str],
    signal: Signal,
) -> (Pid, Finished) {
    let mut command = repo.xtask().env("FAKE_DOCKER", fault).command;
    let child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !repo.building().exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, signal).unwrap();
    (pid, Finished::from(child.wait_with_output().unwrap()))
}

#[test]
fn ctrl_c_and_a_closed_terminal_end_the_children_and_leave_nothing_behind() {
    // Whoever started this test may have it ignore a closed terminal.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let minds = status.lines().any(|line| {
        line.starts_with("SigIgn:") && line.ends_with(['0', '2', '4', '6', '8', 'a', 'c', 'e'])
    });
    for signal in [Signal::INT]
        .into_iter()
        .chain(minds.then_some(Signal::HUP))
    {
        let repo = Monorepo::new().manifest_only("source-a");
        let build = ["connector", "build", "source-a"];
        let (pid, finished) = interrupted(&repo, "endless-build", &build, signal);
        finished.code(130).says("error: ").says("interrupted");
        let left: Vec<_> = std::fs::read_dir(repo.scratch()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(
            test_kill_process_group(pid).is_err(),
            "children are still running"
        );
    }
}

#[test]
fn what_is_asked_of_the_engine_first_is_interrupted_too() {
    for arguments in [
        &["doctor"][..],
        &["connector", "build", "source-a"],
        &["connector", "test", "source-a"],
    ] {
        let repo = Monorepo::new().manifest_only("source-a");
        let (_, finished) = interrupted(&repo, "endless-inspect", arguments, Signal::INT);
        let finished = finished.code(130);
        assert_eq!(finished.stdout, "");
        assert!(
            finished.stderr.ends_with("error: interrupted\n"),
            "{finished:?}"
        );
    }
}
