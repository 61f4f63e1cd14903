//! Everything that is printed: results to stdout, all else to stderr, progress only on a terminal.

pub mod findings;
pub mod scans;

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::model::problem::{Exit, Problem};

/// Owns stdout, stderr and the progress lines. Shared by every thread of a command.
#[derive(Debug)]
pub struct Report {
    progress: MultiProgress,
    /// Whether stderr is a terminal: spinners and colours there, plain lines elsewhere.
    terminal: bool,
}

impl Report {
    /// One for the process; whether stderr is a terminal is looked up here, once.
    pub fn new() -> Report {
        Report {
            progress: MultiProgress::new(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// One line of the result.
    pub fn result(&self, line: impl Display) {
        self.progress
            .suspend(|| write_or_quit(std::io::stdout(), format_args!("{line}\n")));
    }

    /// The whole result as one JSON document.
    pub fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.result(text);
        Ok(())
    }

    /// A line for the reader that is no result.
    pub fn note(&self, line: impl Display) {
        self.progress
            .suspend(|| write_or_quit(std::io::stderr(), format_args!("{line}\n")));
    }

    /// A line on stderr for what the reader should know; the run goes on and its exit stays the same.
    pub fn warning(&self, line: impl Display) {
        self.note(format_args!("{} {line}", self.paint("warning:", "33;1")));
    }

    /// Prints an error with its causes and, where there is one, the next step.
    pub fn error(&self, error: &anyhow::Error) {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        self.note(format_args!(
            "{} {}",
            self.paint("error:", "31;1"),
            chain.join(": ")
        ));
        if let Some(help) = Problem::help_of(error) {
            self.note(format_args!("{} {help}", self.paint("help:", "36;1")));
        }
    }

    /// Starts a step: a spinner on a terminal, one line at its end elsewhere.
    pub fn step(&self, label: impl Into<String>) -> Step<'_> {
        let label = label.into();
        let bar = self.terminal.then(|| {
            let bar = self.progress.add(ProgressBar::new_spinner());
            // The template is a constant.
            bar.set_style(
                ProgressStyle::with_template("{spinner} {prefix} {wide_msg:.dim}")
                    .expect("valid template"),
            );
            bar.set_prefix(label.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Step {
            report: self,
            label,
            bar,
            start: Instant::now(),
        }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.terminal && std::env::var_os("NO_COLOR").is_none() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A step under way. Dropped without [`done`](Step::done) or [`failed`](Step::failed) it leaves no line.
pub struct Step<'a> {
    report: &'a Report,
    label: String,
    bar: Option<ProgressBar>,
    start: Instant,
}

impl Step<'_> {
    /// What the step is busy with at the moment; shown on a terminal only.
    pub fn busy(&self, with: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(with.to_owned());
        }
    }

    /// Ends the step with what came of it.
    pub fn done(self, outcome: impl Display) {
        let line = format!(
            "{} {}: {outcome} ({})",
            self.report.paint("✓", "32;1"),
            self.label,
            seconds(self.start.elapsed())
        );
        self.report.note(line);
    }

    /// Ends the step as failed; the error itself is printed by whoever returns it.
    pub fn failed(self) {
        let line = format!(
            "{} {} failed ({})",
            self.report.paint("✗", "31;1"),
            self.label,
            seconds(self.start.elapsed())
        );
        self.report.note(line);
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `0.4 s`, `12.3 s`, `3 min 05 s`.
pub fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    if tenths < 1200 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        format!("{} min {:02} s", tenths / 600, tenths / 10 % 60)
    }
}

/// `1 connector`, `2 connectors`.
pub fn counted(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// Rows under a header, each column as wide as its widest cell; the last one is not padded.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(header.to_vec()))
        .chain(body)
        .collect::<Vec<_>>()
        .join("\n")
}

/// How the process ends because of an error.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    error
        .downcast_ref::<Problem>()
        .map_or(Exit::Failure, |problem| problem.exit)
}

/// A reader that went away (`| head`) is no failure of ours.
fn write_or_quit(mut stream: impl Write, text: std::fmt::Arguments<'_>) {
    let _ = stream.write_fmt(text).and_then(|()| stream.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_leave_no_trailing_space() {
        let rows = vec![
            vec!["a".into(), "long name".into(), "x".into()],
            vec!["bb".into(), "n".into(), "".into()],
        ];
        assert_eq!(
            table(&["id", "name", "why"], &rows),
            "id  name       why\na   long name  x\nbb  n"
        );
    }

    #[test]
    fn durations_read_well() {
        for (milliseconds, text) in [
            (40, "0.0 s"),
            (12_345, "12.3 s"),
            (119_999, "119.9 s"),
            (185_000, "3 min 05 s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), text);
        }
    }
}
