//! Ctrl-C.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::monorepo::{Finished, Monorepo};

/// xtask with the fake docker's endless `fault`, sent `signal` once that has begun. No child is left behind.
fn interrupted(repo: &Monorepo, fault: &str, arguments: &[&str], signal: Signal) -> Finished {
    let mut command = repo.xtask().env("FAKE_DOCKER", fault).command;
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    repo.wait_until_building(&mut child);
    kill_process(Pid::from_child(&child), signal).unwrap();
    let finished = Finished::from(child.wait_with_output().unwrap());
    let begun = fs::read_to_string(repo.building()).unwrap();
    let start = Instant::now();
    for process in begun.split_whitespace() {
        // What nobody reaps stays as a zombie.
        let stat = || fs::read_to_string(format!("/proc/{process}/stat"));
        while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(start.elapsed().as_secs() < 60, "{process} goes on");
            thread::sleep(Duration::from_millis(10));
        }
    }
    finished
}

#[test]
fn ctrl_c_and_a_closed_terminal_end_the_children_and_leave_nothing_behind() {
    // Whoever started this test may have it ignore a closed terminal.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let minds = status.lines().any(|line| {
        line.starts_with("SigIgn:") && line.ends_with(['0', '2', '4', '6', '8', 'a', 'c', 'e'])
    });
    for signal in [Signal::INT]
        .into_iter()
        .chain(minds.then_some(Signal::HUP))
    {
        let repo = Monorepo::new().manifest_only("source-a");
        let build = ["connector", "build", "source-a"];
        let finished = interrupted(&repo, "endless-build", &build, signal);
        finished.code(130).says("error: ").says("interrupted");
        let left: Vec<_> = fs::read_dir(repo.scratch()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
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
        let finished = interrupted(&repo, "endless-inspect", arguments, Signal::INT);
        let finished = finished.code(130);
        assert_eq!(finished.stdout, "");
        assert!(
            finished.stderr.ends_with("error: interrupted\n"),
            "{finished:?}"
        );
    }
}
