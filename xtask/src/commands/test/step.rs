//! What came of the things that `connector test` tries.

use anyhow::Result;
use serde::Serialize;

use crate::{
    commands::tool_checks::{self, Ran},
    model::{finding::Finding, problem::Exit},
    report::{counted, exit_of},
};

/// What came of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
    /// It could not be tried, which says nothing of the connector.
    Unknown,
}

/// One thing that was tried on a connector.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Id of a tool check, `build`, `spec`, or a command of connectors.
    pub step: &'static str,
    pub outcome: Outcome,
    /// What passed, what is wrong, or why it was skipped.
    pub detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// How the run ends because of it.
    #[serde(skip)]
    pub exit: Exit,
}

impl Step {
    /// Without findings. A step that failed ends the run with 1, one that is unknown with 3.
    pub fn new(step: &'static str, outcome: Outcome, detail: impl Into<String>) -> Step {
        Step {
            step,
            outcome,
            detail: detail.into(),
            findings: Vec::new(),
            exit: match outcome {
                Outcome::Failed => Exit::Failure,
                Outcome::Unknown => Exit::Environment,
                Outcome::Passed | Outcome::Skipped => Exit::Success,
            },
        }
    }

    /// Passed with a few words, or failed by an error; unknown where the machine is at fault.
    pub fn of(step: &'static str, result: Result<String>) -> Step {
        match result {
            Ok(detail) => Step::new(step, Outcome::Passed, detail),
            Err(error) => {
                let exit = exit_of(&error);
                let outcome = match exit {
                    Exit::Environment => Outcome::Unknown,
                    _ => Outcome::Failed,
                };
                Step {
                    exit,
                    ..Step::new(step, outcome, format!("{error:#}"))
                }
            }
        }
    }

    /// None for a check of connectors of another kind.
    pub fn of_check(ran: Ran) -> Option<Step> {
        use tool_checks::Outcome as Came;
        let check = ran.check;
        Some(match ran.outcome {
            Came::Passed(detail) => Step::new(check, Outcome::Passed, detail),
            Came::Skipped(why) => Step::new(check, Outcome::Skipped, why),
            Came::Unknown(error) => Step::new(check, Outcome::Unknown, format!("{error:#}")),
            Came::Failed(findings) => Step {
                findings,
                ..Step::new(check, Outcome::Failed, "")
            }
            .counted(),
            Came::Inapplicable => return None,
        })
    }

    fn counted(self) -> Step {
        Step {
            detail: counted(self.findings.len(), "finding"),
            ..self
        }
    }
}
