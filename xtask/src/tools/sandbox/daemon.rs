//! Programs that outlive xtask, and ending those of this sandbox and no others.

use std::{
    fs,
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::layout::Layout;
use crate::{
    model::problem::Problem,
    tools::{
        files,
        process::{self, Program},
    },
};

/// How long a daemon may take until it answers; a loaded machine needs several times the usual second.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end: dockerd gives its containers 15 s.
const STOP: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(20);
/// An answer from a daemon on this machine takes a millisecond.
pub const ANSWER: Duration = Duration::from_secs(5);
/// Lines of a daemon's log that an error shows.
const TAIL: usize = 15;

/// One daemon of the sandbox's.
#[derive(Debug)]
pub struct Daemon {
    pub name: &'static str,
    /// Its program and arguments, among them a path of this sandbox's own: no other process has the same.
    argv: Vec<String>,
    variables: &'static [(&'static str, &'static str)],
    record: Utf8PathBuf,
    pub log: Utf8PathBuf,
}

/// A process that can't be mistaken for a later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (`proc_pid_stat(5)`, starttime).
    pub start: u64,
    /// Differs each time the machine starts.
    pub boot: String,
}

impl Daemon {
    /// Starts nothing. What runs is written down in `NAME.pid.json` of the layout, its output goes to `log/NAME.log`.
    pub fn new(layout: &Layout, name: &'static str, argv: &[&str]) -> Daemon {
        Daemon {
            name,
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            variables: &[],
            record: layout.file(&format!("{name}.pid.json")),
            log: layout.file(&format!("log/{name}.log")),
        }
    }

    /// With these in its environment.
    pub fn with(self, variables: &'static [(&'static str, &'static str)]) -> Daemon {
        Daemon { variables, ..self }
    }

    /// The running process: the one that was written down, or one with exactly this command line, which a run that
    /// was killed could not write down any more.
    pub fn running(&self) -> Option<Process> {
        let recorded = fs::read_to_string(&self.record)
            .ok()
            .and_then(|text| serde_json::from_str::<Process>(&text).ok());
        recorded
            .filter(Process::is_alive)
            .or_else(|| find(|argv| self.is_its_line(argv)).into_iter().next())
    }

    /// Starts it and waits until `answers` says yes.
    pub fn start(&self, answers: impl Fn() -> bool) -> Result<()> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log))?;
        let before = log.metadata().map_or(0, |metadata| metadata.len());
        let shell = Shell::new().context("open a shell")?;
        let (program, arguments) = self.argv.split_first().context("a daemon has a program")?;
        let program = Program::from(cmd!(shell, "{program} {arguments...}"));
        let variables = self.variables.iter();
        let program = variables.fold(program, |program, (name, value)| program.env(name, value));
        let pid = program.daemon(log)?;
        if let Some(process) = i32::try_from(pid).ok().and_then(Process::of) {
            self.write_down(&process)?;
        }
        let start = Instant::now();
        while !answers() {
            process::check_interrupted()?;
            if self.running().is_none() {
                return Err(self.failed("ended at once", before));
            }
            if start.elapsed() > START {
                return Err(self.failed("does not answer", before));
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Ends it, first by SIGTERM; false when it was not running.
    pub fn stop(&self) -> Result<bool> {
        let running = self.running();
        if let Some(process) = &running {
            process.end(self.name)?;
        }
        files::remove_file(&self.record)?;
        Ok(running.is_some())
    }

    /// For a moment after its start it is `setsid`, about to become itself.
    fn is_its_line(&self, argv: &[String]) -> bool {
        let started = argv.first().is_some_and(|program| program == "setsid");
        self.argv == if started { &argv[1..] } else { argv }
    }

    fn write_down(&self, process: &Process) -> Result<()> {
        files::write(&self.record, &serde_json::to_string(process)?)
    }

    fn failed(&self, how: &str, log_from: u64) -> anyhow::Error {
        let log = fs::read(&self.log).unwrap_or_default();
        let new = &log[usize::try_from(log_from).unwrap_or(0).min(log.len())..];
        let text = String::from_utf8_lossy(new);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        let line = self.argv.join(" ");
        Problem::environment(format!("`{line}` {how}\n{}", process::indent(&tail)))
            .help(format!("its whole log is {}", self.log))
            .into()
    }
}

impl Process {
    /// The process with this id as it runs now; None when there is none or only its exit status is left.
    pub fn of(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let start = parse_start(&stat)?;
        Some(Process {
            pid,
            start,
            boot: boot.trim().to_owned(),
        })
    }

    /// Whether this very process runs: not another one with its id, nor one of which only the exit status is left.
    pub fn is_alive(&self) -> bool {
        Process::of(self.pid).as_ref() == Some(self)
    }

    /// Ends it by SIGTERM, and by SIGKILL when that does not do.
    pub fn end(&self, name: &str) -> Result<()> {
        for (signal, patience) in [(Signal::TERM, STOP), (Signal::KILL, STOP)] {
            let pid = Pid::from_raw(self.pid).context("a process has an id")?;
            // It may end between the look and the signal.
            if self.is_alive() && kill_process(pid, signal).is_err() && self.is_alive() {
                return Err(Problem::environment(format!(
                    "{name} (process {}) can't be ended",
                    self.pid
                ))
                .help("run this as the user who started the sandbox")
                .into());
            }
            let since = Instant::now();
            while self.is_alive() && since.elapsed() < patience {
                thread::sleep(TICK);
            }
            if !self.is_alive() {
                return Ok(());
            }
        }
        Err(Problem::environment(format!("{name} (process {}) does not end", self.pid)).into())
    }
}

/// The start time in `/proc/PID/stat`; None for a process that has ended. The name, in parentheses, may hold anything.
fn parse_start(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    match fields.next()? {
        "Z" | "X" => None,
        // State is field 3, starttime is field 22.
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Processes whose command line is one that `wanted` says yes to.
pub fn find(wanted: impl Fn(&[String]) -> bool) -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let matches = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        wanted(&parse_command_line(&line))
    };
    pids.filter(matches).filter_map(Process::of).collect()
}

/// The arguments in `/proc/PID/cmdline`, each ended by a NUL.
fn parse_command_line(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let arguments = text.strip_suffix('\0').unwrap_or(&text).split('\0');
    arguments.map(str::to_owned).collect()
}

/// The status that a daemon answers `GET path` with; HTTP/1.0, so that the connection ends with the answer.
pub fn get(mut stream: impl Read + Write, path: &str) -> std::io::Result<u16> {
    let accept = "application/vnd.oci.image.index.v1+json";
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
    )?;
    let mut start = [0; 64];
    let mut length = 0;
    while length < start.len() {
        match stream.read(&mut start[length..])? {
            0 => break,
            count => length += count,
        }
    }
    let status = std::str::from_utf8(&start[..length]).ok();
    let status = status.and_then(|text| text.split(' ').nth(1)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no HTTP answer"))
}

/// Whether something answers `GET path` with 200 on a unix socket.
pub fn socket_answers(socket: &Utf8Path, path: &str) -> bool {
    let status = std::os::unix::net::UnixStream::connect(socket).and_then(|stream| {
        stream.set_read_timeout(Some(ANSWER))?;
        get(stream, path)
    });
    status.is_ok_and(|status| status == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_are_read_behind_any_name() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for (stat, expected) in [
            (format!("12 (dockerd) S {rest}"), Some(4711)),
            (format!("12 (a) b) c) R {rest}"), Some(4711)),
            (format!("12 (dockerd) Z {rest}"), None),
            ("12 (dockerd) S 1".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_start(&stat), expected, "{stat}");
        }
    }

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let me = Process::of(std::process::id().cast_signed()).unwrap();
        assert!(me.is_alive());
        assert!(
            !Process {
                start: me.start + 1,
                ..me.clone()
            }
            .is_alive()
        );
        assert!(
            !Process {
                boot: "another".to_owned(),
                ..me
            }
            .is_alive()
        );
    }

    #[test]
    fn command_lines_are_split_at_their_ends() {
        for (bytes, expected) in [
            (&b"a\0b c\0"[..], vec!["a", "b c"]),
            (b"a\0\0", vec!["a", ""]),
            (b"a", vec!["a"]),
        ] {
            assert_eq!(parse_command_line(bytes), expected);
        }
    }

    #[test]
    fn a_daemon_is_found_without_its_record_and_ends() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        fs::create_dir(root.join("target")).unwrap();
        let layout = Layout::new(root);
        layout.create().unwrap();
        let unique = layout.file("unique");
        let daemon = Daemon::new(
            &layout,
            "tail",
            &["tail", "-f", "/dev/null", unique.as_str()],
        );
        fs::write(&unique, "").unwrap();
        assert_eq!(daemon.running(), None);
        // Only then setsid has become the program that is asked for.
        let started = || !find(|argv| argv == daemon.argv).is_empty();
        daemon.start(started).unwrap();
        let process = daemon.running().unwrap();
        fs::remove_file(&daemon.record).unwrap();
        assert_eq!(daemon.running(), Some(process));
        assert!(daemon.stop().unwrap());
        assert!(!daemon.stop().unwrap());
    }
}
