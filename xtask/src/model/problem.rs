//! An error that knows what to do next and how the process ends because of it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// How the process ends. The table is printed by `cargo xtask --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything asked for was done.
    Success,
    /// The work itself failed or something was found: a build, a spec, a check, a base image behind, a blocking scan.
    Failure,
    /// What was asked for makes no sense: flags, configuration, an unknown connector, bad metadata.
    Usage,
    /// The machine is not ready or something can't be known: no engine, a full disk, a silent registry.
    Environment,
    /// Stopped by Ctrl-C (128 + SIGINT).
    Interrupted,
}

impl Exit {
    /// The status the operating system sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Environment => 3,
            Exit::Interrupted => 130,
        }
    }
}

/// An error message (lower case, no full stop), the exit it leads to and, when there is one, the next step.
#[derive(Debug, Clone)]
pub struct Problem {
    pub exit: Exit,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    /// Without a next step, which [`help`](Self::help) adds; the functions below are for the exits that are usual.
    pub fn new(exit: Exit, message: impl Into<String>) -> Problem {
        Problem {
            exit,
            message: message.into(),
            help: None,
        }
    }

    /// Bad input: exit 2.
    pub fn usage(message: impl Into<String>) -> Problem {
        Problem::new(Exit::Usage, message)
    }

    /// Failed work: exit 1.
    pub fn failure(message: impl Into<String>) -> Problem {
        Problem::new(Exit::Failure, message)
    }

    /// A machine that is not ready: exit 3.
    pub fn environment(message: impl Into<String>) -> Problem {
        Problem::new(Exit::Environment, message)
    }

    /// Several problems as one, below a line that says what they are in the way of; the help is the first one's.
    pub fn all(summary: &str, mut problems: Vec<Problem>) -> Problem {
        if problems.len() == 1 {
            return problems.remove(0);
        }
        let lines: Vec<String> = problems.iter().map(|one| format!("    {one}")).collect();
        Problem {
            exit: problems
                .iter()
                .map(|one| one.exit)
                .max()
                .unwrap_or(Exit::Usage),
            message: format!("{summary}\n{}", lines.join("\n")),
            help: problems.into_iter().find_map(|one| one.help),
        }
    }

    /// The same error for another who was kept from working by it: the same words and exit.
    pub fn again(error: &anyhow::Error) -> Problem {
        let known = error.downcast_ref::<Problem>().cloned();
        Problem {
            message: format!("{error:#}"),
            ..known.unwrap_or_else(|| Problem::failure(""))
        }
    }

    /// The next step to take after an error, where it knows one.
    pub fn help_of(error: &anyhow::Error) -> Option<&str> {
        error.downcast_ref::<Problem>()?.help.as_deref()
    }

    /// The same problem with the next step to take.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// What `work` gives. One that panics keeps nobody else from working.
///
/// # Errors
/// When it panics, with the panic's words; where that was stands on standard error by then.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        let words = words.unwrap_or("a panic without words");
        Problem::failure(format!("a fault of xtask's own: {words}"))
            .help("report it, with what stands about a panic on standard error")
    })
}
