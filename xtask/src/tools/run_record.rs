//! What one run did: a directory with its plan, events as they came, and a log for each step of each connector. The plan
//! comes last when a record begins: one without it began nothing and counts for nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::{files, work::lock};
use crate::model::{connector::ConnectorName, date::Date, release::Mode};

const PLAN: &str = "plan.json";
const EVENTS: &str = "events.jsonl";
/// So many runs are kept.
const KEPT: usize = 50;

/// The record of a run that is under way.
#[derive(Debug)]
pub struct RunRecord {
    pub directory: Utf8PathBuf,
    events: Mutex<File>,
}

/// The first line of the events, which older records lack.
#[derive(Serialize, Deserialize)]
struct Header {
    mode: Mode,
}

/// One line of the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub connector: ConnectorName,
    pub step: String,
    pub state: State,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How far a connector or a step of it has come. What is planned and not finished `--retry-failed` tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The connector belongs to the run.
    Planned,
    Started,
    Done,
    Skipped,
    Failed,
    /// The connector's last step is done.
    Finished,
}

#[derive(Serialize)]
struct Stamped<'a> {
    /// Milliseconds since 1970.
    time: u128,
    #[serde(flatten)]
    event: &'a Event,
}

impl RunRecord {
    /// Starts a record in a directory of its own below `runs`, named after the time, with its first events and its plan.
    pub fn start(runs: &Utf8Path, mode: Mode, planned: &[Event], plan: &str) -> Result<RunRecord> {
        fs::create_dir_all(runs).with_context(|| format!("make {runs}"))?;
        forget_old(runs)?;
        let name = moment(SystemTime::now());
        for number in 1.. {
            let directory = runs.join(if number == 1 {
                name.clone()
            } else {
                format!("{name}-{number}")
            });
            match fs::create_dir(&directory) {
                Ok(()) => {
                    let events = begin(&directory, mode, planned, plan)?;
                    return Ok(RunRecord {
                        directory,
                        events: Mutex::new(events),
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("make {directory}")),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Writes one event, whole.
    pub fn event(&self, event: &Event) -> Result<()> {
        let line = line(event)?;
        let mut events = lock(&self.events);
        events
            .write_all(line.as_bytes())
            .with_context(|| format!("write to {}/{EVENTS}", self.directory))
    }

    /// The log of a connector's step.
    pub fn log_of(&self, connector: &ConnectorName, step: &str) -> Utf8PathBuf {
        let directory = self.directory.join(connector.as_str());
        directory.join(format!("{step}.log"))
    }

    /// Adds to the log of a connector's step.
    pub fn log(&self, connector: &ConnectorName, step: &str, text: &str) -> Result<()> {
        let path = self.log_of(connector, step);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(text.as_bytes())?;
            if text.ends_with('\n') {
                Ok(())
            } else {
                file.write_all(b"\n")
            }
        };
        write().with_context(|| format!("write {path}"))
    }
}

/// Makes the file of the events, whose first line says what kind of run it is, then that of the plan.
fn begin(directory: &Utf8Path, mode: Mode, planned: &[Event], plan: &str) -> Result<File> {
    let path = directory.join(EVENTS);
    let mut events = File::create(&path).with_context(|| format!("make {path}"))?;
    let header = serde_json::to_string(&Header { mode }).context("write a run's mode as JSON")?;
    let lines: Vec<String> = planned.iter().map(line).collect::<Result<_>>()?;
    events
        .write_all(format!("{header}\n{}", lines.concat()).as_bytes())
        .with_context(|| format!("write to {path}"))?;
    files::write(&directory.join(PLAN), plan)?;
    Ok(events)
}

/// An event as it stands in its file.
fn line(event: &Event) -> Result<String> {
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let stamped = Stamped {
        time: time.as_millis(),
        event,
    };
    Ok(serde_json::to_string(&stamped).context("write an event as JSON")? + "\n")
}

/// The connectors of the last run below `runs` that did not get to their end; None when there was no run. For a real run
/// it is the last real one: a dry run that went well says nothing about that.
pub fn unfinished(
    runs: &Utf8Path,
    mode: Mode,
) -> Result<Option<(Utf8PathBuf, Vec<ConnectorName>)>> {
    for last in directories(runs)?.into_iter().rev() {
        let path = last.join(EVENTS);
        let bytes = match fs::read(&path) {
            // Another run that begins forgets old ones.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read.with_context(|| format!("read {path}"))?,
        };
        // A run that was killed may have left half a character.
        let text = String::from_utf8_lossy(&bytes);
        if mode == Mode::DryRun || mode_of(&text).is_none_or(|its| its == mode) {
            return Ok(Some((last, open(&text))));
        }
    }
    Ok(None)
}

/// The mode that a record's events begin with; None where they don't say, which counts for every mode.
fn mode_of(events: &str) -> Option<Mode> {
    let header: Header = serde_json::from_str(events.lines().next()?).ok()?;
    Some(header.mode)
}

/// The connectors that a record's events leave unfinished.
fn open(events: &str) -> Vec<ConnectorName> {
    // The first line is none, and a run that was killed may have left half a line.
    let events = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok());
    let mut open = Vec::new();
    for event in events {
        match event.state {
            State::Planned => open.push(event.connector),
            State::Finished => open.retain(|name| *name != event.connector),
            _ => {}
        }
    }
    open
}

/// The records below `runs`, the oldest first.
fn directories(runs: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    if !runs.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in runs
        .read_dir_utf8()
        .with_context(|| format!("read {runs}"))?
    {
        let entry = entry.with_context(|| format!("read {runs}"))?;
        if entry.path().join(PLAN).is_file() {
            found.push(entry.into_path());
        }
    }
    // The names' order is that of time, `…-10` after `…-9`.
    found.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default();
        let (moment, number) = name
            .split_once("Z-")
            .unwrap_or((name.trim_end_matches('Z'), "1"));
        (moment.to_owned(), number.parse::<u32>().unwrap_or(0))
    });
    Ok(found)
}

/// Removes the oldest records, but the last of a real run, which may have to be taken up.
fn forget_old(runs: &Utf8Path) -> Result<()> {
    let all = directories(runs)?;
    let old = &all[..all.len().saturating_sub(KEPT - 1)];
    if old.is_empty() {
        return Ok(());
    }
    let last_real = unfinished(runs, Mode::Real)?.map(|(directory, _)| directory);
    for old in old.iter().filter(|old| Some(*old) != last_real.as_ref()) {
        files::remove_directory(old)?;
    }
    Ok(())
}

/// `2026-11-23T06-41-30Z`: sorts by time and is a file name everywhere.
fn moment(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let day = Date::from_unix(seconds);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{day}T{hour:02}-{minute:02}-{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(connector: &str, state: State) -> Event {
        Event {
            connector: connector.parse().unwrap(),
            step: String::new(),
            state,
            detail: String::new(),
        }
    }

    #[test]
    fn the_last_run_tells_what_did_not_get_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let runs = Utf8Path::from_path(directory.path()).unwrap().join("runs");
        assert_eq!(unfinished(&runs, Mode::Real).unwrap(), None);
        for run in 0..11 {
            let planned = ["a", "b", "c"].map(|name| event(name, State::Planned));
            let record = RunRecord::start(&runs, Mode::Real, &planned, "[]").unwrap();
            record.event(&event("b", State::Finished)).unwrap();
            record.event(&event("a", State::Failed)).unwrap();
            if run == 10 {
                record.event(&event("a", State::Finished)).unwrap();
                fs::write(record.directory.join("half"), "").unwrap();
                record
                    .events
                    .lock()
                    .unwrap()
                    .write_all(b"{\"connector\": \"\xc3")
                    .unwrap();
            }
        }
        let (last, open) = unfinished(&runs, Mode::Real).unwrap().unwrap();
        assert!(last.join("half").exists(), "{last}");
        assert_eq!(open, ["c".parse().unwrap()]);
    }

    #[test]
    fn a_dry_run_does_not_hide_what_a_real_one_left() {
        let directory = tempfile::tempdir().unwrap();
        let runs = Utf8Path::from_path(directory.path()).unwrap();
        let start = |mode, name| {
            let planned = [event(name, State::Planned)];
            RunRecord::start(runs, mode, &planned, "[]").unwrap()
        };
        let left = |mode| {
            let (_, open) = unfinished(runs, mode).unwrap()?;
            Some(open.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        start(Mode::Real, "a");
        assert_eq!(left(Mode::DryRun), Some(vec!["a".to_owned()]));
        let dry = start(Mode::DryRun, "b");
        dry.event(&event("b", State::Finished)).unwrap();
        assert_eq!(left(Mode::Real), Some(vec!["a".to_owned()]));
        assert_eq!(left(Mode::DryRun), Some(Vec::new()));

        // One of an older version, which did not say what it was.
        let old = start(Mode::DryRun, "c").directory.join(EVENTS);
        let text = fs::read_to_string(&old).unwrap();
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&old, rest).unwrap();
        for mode in [Mode::DryRun, Mode::Real] {
            assert_eq!(left(mode), Some(vec!["c".to_owned()]));
        }
    }

    #[test]
    fn a_record_that_could_not_be_begun_hides_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let runs = Utf8Path::from_path(directory.path()).unwrap();
        let planned = ["a", "b"].map(|name| event(name, State::Planned));
        let whole = RunRecord::start(runs, Mode::Real, &planned, "[]").unwrap();
        // What stands in the place of a file keeps it from being written.
        for (blocked, written) in [(PLAN, true), (EVENTS, false)] {
            let broken = runs.join(format!("9999-{blocked}"));
            fs::create_dir_all(broken.join(blocked)).unwrap();
            begin(&broken, Mode::Real, &planned, "[]").unwrap_err();
            let events = fs::read_to_string(broken.join(EVENTS)).unwrap_or_default();
            assert_eq!(open(&events).len() == planned.len(), written);
            assert!(!broken.join(PLAN).is_file());
        }
        let (last, left) = unfinished(runs, Mode::Real).unwrap().unwrap();
        assert_eq!((last, left.len()), (whole.directory, 2));
    }

    #[test]
    fn old_runs_make_way() {
        let directory = tempfile::tempdir().unwrap();
        let runs = Utf8Path::from_path(directory.path()).unwrap();
        let run = |second: usize, mode| {
            let directory = runs.join(format!(
                "2026-01-01T00-{:02}-{:02}Z",
                second / 60,
                second % 60
            ));
            fs::create_dir(&directory).unwrap();
            begin(&directory, mode, &[], "[]").unwrap();
            directory
        };
        run(0, Mode::Real);
        let last_real = run(1, Mode::Real);
        for second in 2..KEPT + 4 {
            run(second, Mode::DryRun);
        }
        RunRecord::start(runs, Mode::DryRun, &[], "[]").unwrap();
        let kept = directories(runs).unwrap();
        assert_eq!(kept.len(), KEPT + 1);
        assert_eq!(kept[0], last_real);
        run(KEPT + 4, Mode::Real);
        RunRecord::start(runs, Mode::DryRun, &[], "[]").unwrap();
        assert_eq!(directories(runs).unwrap().len(), KEPT);
        assert!(!last_real.exists());
    }

    #[test]
    fn a_moment_is_a_file_name() {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(1_795_416_090);
        assert_eq!(moment(time), "2026-11-23T06-41-30Z");
    }
}
