//! The only place that starts programs.
//!
//! Every program runs in a process group of its own, so that Ctrl-C and time limits end its children too, and
//! every error carries the quoted command line, the exit status and the last lines that were printed.

use std::{
    fmt,
    io::{self, BufRead, BufReader, PipeReader, Read, Write},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
    process::{Pid, Signal, kill_process_group, setpriority_process},
};

use super::work::lock;
use crate::model::problem::{Exit, Problem};

/// Process groups that are running now, for the interrupt handler.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a program may take to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long output may be on its way after a program has ended. Whoever holds it longer was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(1);
/// How long what clears up may take: an engine with hundreds of images forgets one in 12 s.
const CLEARING: Duration = Duration::from_secs(60);
/// How often a running program, its time limit and the interrupt flag are looked at: an eighth of the time it has
/// taken so far (since it closed its standard output), so that a quick one is not held up, within these bounds.
const TICK: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));
/// The longest time between two looks at a program whose memory is watched: what it takes in its last moment is missed.
const MEMORY_TICK: Duration = Duration::from_millis(1);
/// How many bytes a pipe holds (pipe(7), "Pipe capacity").
const PIPE: usize = 64 << 10;
/// How many of the last lines a failed program printed its error shows.
const TAIL: usize = 20;

/// Has SIGINT, SIGTERM and a closed terminal end every running program; the commands then end by themselves.
pub fn watch_interrupts() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context("watch for Ctrl-C")?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !ignores_hangup(&status) {
        signals
            .add_signal(SIGHUP)
            .context("watch for a closed terminal")?;
    }
    thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            for group in lock(&RUNNING).iter() {
                let _ = kill_process_group(*group, Signal::TERM);
            }
        }
    });
    Ok(())
}

/// Whether SIGHUP is ignored, as it is under nohup, by /proc/self/status; where the system does not tell, it counts so.
fn ignores_hangup(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 == 1)
}

/// Fails once Ctrl-C was pressed: called between steps that start no program.
pub fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        return Err(Problem::new(Exit::Interrupted, "interrupted").into());
    }
    Ok(())
}

/// Whether `program` is on PATH.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| {
        let file = directory.join(program);
        file.is_file() && rustix::fs::access(&file, rustix::fs::Access::EXEC_OK).is_ok()
    })
}

/// A program about to be run, made from an `xshell::cmd!`.
pub struct Program {
    command: Command,
    line: String,
    limit: Option<Duration>,
    input: Option<Input>,
    output: Option<Output>,
    memory: Memory,
    gives_way: bool,
}

/// As `nice` does by itself.
const NICENESS: i32 = 10;

/// Whether a running program's memory is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Ignored,
    Watched,
}

/// Writes what a program reads.
type Input = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;
/// Reads what a program prints.
type Output = Box<dyn FnOnce(&mut dyn Read) + Send>;

impl From<xshell::Cmd<'_>> for Program {
    fn from(cmd: xshell::Cmd<'_>) -> Program {
        let line = cmd.to_string();
        let mut command = Command::from(cmd);
        command.process_group(0).stdin(Stdio::null());
        Program {
            command,
            line,
            limit: None,
            input: None,
            output: None,
            memory: Memory::Ignored,
            gives_way: false,
        }
    }
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// The quoted command line.
    pub line: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The limit it ran into, if it did.
    pub timed_out: Option<Duration>,
    /// The most memory it took itself, its children left out, in bytes; where that was watched and the system tells.
    pub peak_memory: Option<u64>,
}

impl Program {
    /// Ends the program when it runs longer than this.
    pub fn limit(mut self, limit: Duration) -> Program {
        self.limit = Some(limit);
        self
    }

    /// Has the program leave the processors to whatever else runs: for work beside something that takes longer.
    pub fn giving_way(mut self) -> Program {
        self.gives_way = true;
        self
    }

    /// What the program reads from standard input, instead of nothing.
    pub fn input(self, bytes: impl Into<Vec<u8>>) -> Program {
        let bytes = bytes.into();
        self.input_from(move |pipe| pipe.write_all(&bytes))
    }

    /// As [`input`](Self::input), for what is too long to be held in memory.
    pub fn input_from(
        mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Program {
        self.input = Some(Box::new(write));
        self.command.stdin(Stdio::piped());
        self
    }

    /// Hands standard output to `read` while the program runs, instead of keeping it.
    pub fn output_to(mut self, read: impl FnOnce(&mut dyn Read) + Send + 'static) -> Program {
        self.output = Some(Box::new(read));
        self
    }

    /// Looks every millisecond at how much memory the program takes.
    pub fn watch_memory(mut self) -> Program {
        self.memory = Memory::Watched;
        self
    }

    /// Sets a variable for this program alone. Errors show the command line and no variables, so secrets go here.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    /// The quoted command line, for plans.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Runs to the end, whatever its status. Fails when it can't be started or Ctrl-C was pressed.
    pub fn finish(self) -> Result<Finished> {
        self.finish_watching(|_| ())
    }

    /// As [`finish`](Self::finish), also after Ctrl-C: for clearing up. An engine that hangs is not waited for.
    pub fn finish_after_interrupt(mut self) -> Result<()> {
        let child = self
            .command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| start_error(&self.command, &self.line, error))?;
        Group::of(&child, OnInterrupt::GoOn)
            .wait(&mut child, Some(CLEARING), Memory::Ignored)
            .with_context(|| format!("wait for {}", self.line))?;
        Ok(())
    }

    /// As [`finish`](Self::finish), calling `watch` with each line of standard error as it comes.
    pub fn finish_watching(mut self, watch: impl FnMut(&str) + Send) -> Result<Finished> {
        check_interrupted()?;
        let input = self.input.take();
        let output = self.output.take();
        let (cut, open) = io::pipe().with_context(|| format!("run `{}`", self.line))?;
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| start_error(&self.command, &self.line, error))?;
        let group = Group::of(&child, OnInterrupt::End);
        if self.gives_way {
            // One that can't be is only faster.
            let _ = setpriority_process(Some(Pid::from_child(&child)), NICENESS);
        }
        let waiting = thread::current();
        let (waited, stdout, stderr) = thread::scope(|scope| {
            // Each thread drops its copy of `at_work` at its end, and `open` is dropped at the latest when this returns.
            let (at_work, idle) = mpsc::channel::<()>();
            let stdout_at_work = at_work.clone();
            let stderr_at_work = at_work.clone();
            let writer = child.stdin.take().zip(input);
            scope.spawn(move || {
                let _at_work = at_work;
                // A program that ends without reading all of it is judged by its status.
                writer.map(|(mut pipe, write)| write(&mut pipe))
            });
            let stdout = child.stdout.take().map(|pipe| {
                let pipe = Until::new(pipe, &cut);
                scope.spawn(move || {
                    let _at_work = stdout_at_work;
                    let read = read_all(pipe, output);
                    waiting.unpark();
                    read
                })
            });
            let stderr = child.stderr.take().map(|pipe| {
                let pipe = Until::new(pipe, &cut);
                scope.spawn(move || {
                    let _at_work = stderr_at_work;
                    read_lines(pipe, watch)
                })
            });
            let waited = group.wait(&mut child, self.limit, self.memory)?;
            group.end_left_behind(&idle);
            drop(open);
            let collect = |reader: Option<thread::ScopedJoinHandle<'_, Vec<u8>>>| {
                reader
                    .and_then(|reader| reader.join().ok())
                    .unwrap_or_default()
            };
            Ok::<_, io::Error>((waited, collect(stdout), collect(stderr)))
        })
        .with_context(|| format!("wait for {}", self.line))?;
        drop(group);
        check_interrupted()?;
        Ok(Finished {
            line: self.line,
            status: waited.status,
            stdout,
            stderr,
            timed_out: waited.timed_out,
            peak_memory: waited.peak_memory,
        })
    }

    /// Runs to success; a failure is an error with the command line, status and last lines printed.
    pub fn output(self) -> Result<Finished> {
        self.finish()?.success()
    }

    /// Standard output of a successful run, trimmed.
    pub fn read(self) -> Result<String> {
        Ok(self.output()?.text().trim().to_owned())
    }

    /// Runs with the terminal's own output streams (for cargo, whose colours and closing lines count).
    pub fn pass_through(mut self) -> Result<()> {
        check_interrupted()?;
        let mut child = self
            .command
            .spawn()
            .map_err(|error| start_error(&self.command, &self.line, error))?;
        let group = Group::of(&child, OnInterrupt::End);
        let waited = group
            .wait(&mut child, self.limit, self.memory)
            .with_context(|| format!("wait for {}", self.line))?;
        drop(group);
        check_interrupted()?;
        Finished {
            line: self.line,
            status: waited.status,
            stdout: Vec::new(),
            stderr: Vec::new(),
            timed_out: waited.timed_out,
            peak_memory: waited.peak_memory,
        }
        .success()?;
        Ok(())
    }

    /// Starts a daemon: a session of its own, output appended to `log`, not ended with xtask.
    pub fn daemon(mut self, log: std::fs::File) -> Result<u32> {
        check_interrupted()?;
        let second = log.try_clone().context("open the daemon's log twice")?;
        // `setsid` as a program keeps this free of unsafe code; it replaces itself by the daemon.
        let mut command = Command::new("setsid");
        command
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            .spawn();
        Ok(child
            .map_err(|error| start_error(&self.command, &self.line, error))?
            .id())
    }
}

impl Finished {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// An error unless the program succeeded.
    pub fn success(self) -> Result<Finished> {
        if self.status.success() && self.timed_out.is_none() {
            Ok(self)
        } else {
            Err(self.error().into())
        }
    }

    /// The failure as an error, whatever the status.
    pub fn error(&self) -> Problem {
        let tail = self.tail();
        let printed = if tail.is_empty() {
            String::new()
        } else {
            format!("\n{}", indent(&tail))
        };
        Problem::failure(format!("`{}` {}{printed}", self.line, self.ending()))
    }

    /// `exited with 1`, `was ended by signal 9` or `took longer than 60 s`.
    pub fn ending(&self) -> String {
        match (self.timed_out, self.status.code(), self.status.signal()) {
            (Some(limit), ..) => format!("took longer than {} s", limit.as_secs()),
            (_, Some(code), _) => format!("exited with {code}"),
            (_, _, Some(signal)) => format!("was ended by signal {signal}"),
            _ => "ended in an unknown way".to_owned(),
        }
    }

    /// The last lines of standard error, or of standard output when that is empty.
    pub fn tail(&self) -> String {
        let bytes = if self.stderr.trim_ascii().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let text = plain(&String::from_utf8_lossy(bytes));
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

/// Without the escape sequences that programs colour their words with (ECMA-48, 5.4): ESC, `[`, parameters, a letter.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| {
        part.trim_start_matches(|c: char| !c.is_ascii_alphabetic())
            .get(1..)
            .unwrap_or_default()
    });
    std::iter::once(first).chain(rest).collect()
}

/// Each line behind four spaces.
pub fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn start_error(command: &Command, line: &str, error: io::Error) -> Problem {
    let program = command.get_program().to_string_lossy();
    if error.kind() == io::ErrorKind::NotFound {
        return Problem::environment(format!(
            "`{program}` is not installed (wanted for `{line}`)"
        ))
        .help("`cargo xtask doctor` lists everything that is missing");
    }
    Problem::environment(format!("start `{line}`: {error}"))
}

/// A program's output, which ends when `cut` does: a session of its own may hold it, or write to it, for ever.
struct Until<'a, P> {
    pipe: P,
    cut: &'a PipeReader,
    /// Bytes that are still read once it is cut: what was printed before.
    left: usize,
}

impl<'a, P> Until<'a, P> {
    fn new(pipe: P, cut: &'a PipeReader) -> Until<'a, P> {
        Until {
            pipe,
            cut,
            left: PIPE,
        }
    }
}

impl<P: Read + AsFd> Read for Until<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ready = [
            PollFd::new(&self.pipe, PollFlags::IN),
            PollFd::new(self.cut, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut ready, None))?;
        if ready[0].revents().is_empty() {
            return Ok(0);
        }
        if ready[1].revents().is_empty() {
            return self.pipe.read(buffer);
        }
        let most = buffer.len().min(self.left);
        let count = self.pipe.read(&mut buffer[..most])?;
        self.left -= count;
        Ok(count)
    }
}

fn read_all(mut pipe: impl Read, output: Option<Output>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(read) = output {
        read(&mut pipe);
    }
    // A broken pipe ends the reading; the status tells the rest.
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}

fn read_lines(pipe: impl Read, mut watch: impl FnMut(&str)) -> Vec<u8> {
    let mut bytes = Vec::new();
    each_line(pipe, |line| {
        bytes.extend_from_slice(line);
        watch(String::from_utf8_lossy(line).trim_end());
    });
    bytes
}

/// Calls `hear` with each line and its end, holding one at a time.
pub fn each_line(pipe: impl Read, mut hear: impl FnMut(&[u8])) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    // A broken pipe ends the reading; the status tells the rest.
    while let Ok(1..) = reader.read_until(b'\n', &mut line) {
        hear(&line);
        line.clear();
    }
}

/// The most memory that a running process took so far, in bytes: its high-water mark, as Linux keeps it.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// How a child ended.
struct Waited {
    status: ExitStatus,
    timed_out: Option<Duration>,
    peak_memory: Option<u64>,
}

/// What becomes of a running program when Ctrl-C is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnInterrupt {
    End,
    GoOn,
}

/// A running process group; taken off the list of running ones when dropped.
struct Group {
    leader: Pid,
    on_interrupt: OnInterrupt,
}

impl Group {
    fn of(child: &Child, on_interrupt: OnInterrupt) -> Group {
        let leader = Pid::from_child(child);
        if on_interrupt == OnInterrupt::End {
            lock(&RUNNING).push(leader);
        }
        Group {
            leader,
            on_interrupt,
        }
    }

    fn is_interrupted(&self) -> bool {
        self.on_interrupt == OnInterrupt::End && INTERRUPTED.load(Ordering::SeqCst)
    }

    fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill_process_group(self.leader, signal);
    }

    /// Waits, once the child has ended, for all that read and write for it, which is told by `idle`, and ends what else of
    /// the group keeps them. What keeps them from a session of its own goes on: [`Until`] ends the reading of output, and
    /// nothing the writing of input.
    fn end_left_behind(&self, idle: &Receiver<()>) {
        let start = Instant::now();
        while idle.recv_timeout(TICK.1) == Err(RecvTimeoutError::Timeout) {
            if start.elapsed() > LEFT_BEHIND || self.is_interrupted() {
                return self.signal(Signal::KILL);
            }
        }
    }

    /// Waits for the child, ending its group at the limit: SIGTERM, then SIGKILL after a grace period.
    fn wait(
        &self,
        child: &mut Child,
        limit: Option<Duration>,
        memory: Memory,
    ) -> io::Result<Waited> {
        let start = Instant::now();
        let mut since = start;
        let mut ending: Option<Instant> = None;
        let mut timed_out = None;
        let mut most = None;
        loop {
            if memory == Memory::Watched {
                most = peak_memory(child.id()).max(most);
            }
            if let Some(status) = child.try_wait()? {
                // Grandchildren that hold the pipes open would keep the readers waiting.
                if ending.is_some() {
                    self.signal(Signal::KILL);
                }
                return Ok(Waited {
                    status,
                    timed_out,
                    peak_memory: most,
                });
            }
            let over = limit.filter(|limit| start.elapsed() > *limit);
            if ending.is_none() && (over.is_some() || self.is_interrupted()) {
                ending = Some(Instant::now());
                timed_out = over;
                self.signal(Signal::TERM);
            }
            if ending.is_some_and(|since| since.elapsed() > GRACE) {
                self.signal(Signal::KILL);
            }
            let longest = match memory {
                Memory::Ignored => TICK.1,
                Memory::Watched => MEMORY_TICK,
            };
            let pause = (since.elapsed() / 8).clamp(TICK.0, longest);
            let parked = Instant::now();
            thread::park_timeout(pause);
            // What has closed its standard output is about to end.
            if parked.elapsed() < pause {
                since = parked;
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        lock(&RUNNING).retain(|pid| *pid != self.leader);
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::kill_process;
    use xshell::{Shell, cmd};

    fn program(script: &str) -> Program {
        let shell = Shell::new().unwrap();
        cmd!(shell, "sh -c {script}").into()
    }

    #[test]
    fn colours_are_left_out() {
        for (text, expected) in [
            ("\x1b[0;31mred\x1b[0m: \x1b[1mx", "red: x"),
            ("no [31m colour", "no [31m colour"),
            ("cut \x1b[", "cut "),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn a_failure_shows_line_status_and_last_lines() {
        let error = program("echo out; echo first >&2; echo last >&2; exit 7")
            .output()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("`sh -c "), "{error}");
        assert!(
            error.contains("exited with 7\n    first\n    last"),
            "{error}"
        );
    }

    #[test]
    fn a_limit_ends_the_whole_group() {
        let mut limit = Duration::from_millis(50);
        // Where starting takes longer than the limit, the next one is twice as long.
        let finished = loop {
            let both = program("sleep 100000 > /dev/null 2>&1 & echo $! >&2; wait");
            let finished = both.limit(limit).finish().unwrap();
            assert_eq!(finished.timed_out, Some(limit));
            if !finished.stderr.is_empty() {
                break finished;
            }
            limit *= 2;
        };
        wait_until_gone(finished.tail().parse().unwrap());
        assert!(
            finished
                .success()
                .unwrap_err()
                .to_string()
                .contains("took longer than")
        );
    }

    #[test]
    fn who_is_left_behind_with_the_output_is_not_waited_for() {
        for command in ["sleep 100000", "setsid sleep 100000", "setsid yes"] {
            let finished = program(&format!("{command} & echo $! >&2"))
                // What `yes` prints in a second is too much to be kept.
                .output_to(|pipe| {
                    let _ = io::copy(pipe, &mut io::sink());
                })
                .output()
                .unwrap();
            let left = finished.tail().parse().unwrap();
            if command.starts_with("setsid") {
                // It lives on.
                let _ = kill_process(Pid::from_raw(left).unwrap(), Signal::KILL);
            }
            wait_until_gone(left);
        }
    }

    /// For a process that was sent a signal. What nobody reaps stays as a zombie.
    fn wait_until_gone(pid: i32) {
        let start = Instant::now();
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
        while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(start.elapsed() < CLEARING, "{pid} was left behind");
            thread::sleep(TICK.1);
        }
    }

    #[test]
    fn hangup_is_minded_unless_it_is_ignored() {
        for (status, expected) in [
            ("Name:\tx\nSigIgn:\t0000000000001000\n", false),
            ("Name:\tx\nSigIgn:\t0000000000001001\n", true),
            ("", true),
        ] {
            assert_eq!(ignores_hangup(status), expected, "{status}");
        }
    }

    #[test]
    fn input_reaches_the_program_and_lines_are_watched() {
        let mut seen = Vec::new();
        let finished = program("cat; echo one >&2; printf two >&2")
            .input("hello")
            .finish_watching(|line| seen.push(line.to_owned()));
        assert_eq!(finished.unwrap().text(), "hello");
        assert_eq!(seen, ["one", "two"]);
    }

    #[test]
    fn a_program_is_answered_while_it_runs() {
        let (answer, answers) = std::sync::mpsc::channel();
        let finished = program("read x; echo \"$x\"; read y; echo \"$y\"")
            .input_from(move |pipe| {
                writeln!(pipe, "first")?;
                let echoed: String = answers.recv().map_err(io::Error::other)?;
                writeln!(pipe, "after {echoed}")
            })
            .output_to(move |pipe| {
                let mut lines = BufReader::new(pipe).lines();
                let first = lines.next().unwrap().unwrap();
                answer.send(first).unwrap();
                assert_eq!(lines.next().unwrap().unwrap(), "after first");
            });
        assert_eq!(finished.output().unwrap().text(), "");
    }

    #[test]
    fn memory_is_told_where_it_is_watched() {
        // It lives until it was looked at.
        let peak = |program: Program| program.limit(Duration::ZERO).finish().unwrap().peak_memory;
        assert_eq!(peak(program("sleep 100000")), None);
        let watched = peak(program("sleep 100000").watch_memory());
        assert_eq!(watched.is_some(), cfg!(target_os = "linux"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_the_most_that_a_process_ever_took() {
        let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); x=; echo ready; read y";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        let peak = peak_memory(child.id()).unwrap();
        child.wait().unwrap();
        assert!((20_000_000..400_000_000).contains(&peak), "{peak}");
    }

    #[test]
    fn a_missing_program_is_an_environment_problem() {
        let shell = Shell::new().unwrap();
        let error = Program::from(cmd!(shell, "no-such-program --flag"))
            .output()
            .unwrap_err();
        let problem = error.downcast_ref::<Problem>().unwrap();
        assert_eq!(problem.exit, Exit::Environment);
        assert!(
            problem
                .message
                .contains("`no-such-program` is not installed")
        );
    }
}
