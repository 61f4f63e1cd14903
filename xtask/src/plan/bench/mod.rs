//! What is measured, in which order, what it is compared with and what it must reach.

pub mod events;
pub mod figures;
pub mod old_flow;

use std::fmt;

use serde::Serialize;

use crate::model::bench::Case;

/// Who does the work that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Ours,
    /// The action that this project replaces, reproduced by [`old_flow`].
    OldFlow,
    /// `airbyte-cdk image build`.
    Peer,
    /// The git commands that one of ours ran, run again without it.
    Git,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Side::Ours => "ours",
            Side::OldFlow => "old flow",
            Side::Peer => "airbyte-cdk",
            Side::Git => "git alone",
        })
    }
}

/// What ours has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// The reference's time is at least so many times ours.
    Faster(f64),
    /// Our time is at most so many times the reference's.
    Within(f64),
    /// Our time.
    Seconds(f64),
    /// Our memory, in units of 1,000,000 bytes.
    Megabytes(f64),
}

impl Goal {
    /// The goal of a case on a machine with two cores; None where the figures are for the reader.
    pub fn of(case: Case) -> Option<Goal> {
        Some(match case {
            Case::Cold => Goal::Faster(4.0),
            Case::FreshMachine | Case::Batch => Goal::Faster(6.0),
            Case::CodeChange => Goal::Faster(12.0),
            // 15 s to assemble and push 384 of them, 60 s for their specs.
            Case::Manifests => Goal::Seconds(75.0),
            Case::BaseBump => return None,
            Case::Start => Goal::Faster(2.0),
            Case::NoChange => Goal::Seconds(1.0),
            Case::List => Goal::Seconds(0.3),
            Case::ListChanged => Goal::Within(1.5),
            Case::Memory => Goal::Megabytes(64.0),
            Case::Compile => Goal::Seconds(75.0),
        })
    }

    /// Whether the medians of ours and of what it is compared with reach it; None without what it takes to tell.
    pub fn met(self, ours: f64, reference: Option<f64>) -> Option<bool> {
        Some(match self {
            Goal::Faster(times) => reference? >= times * ours,
            Goal::Within(times) => ours <= times * reference?,
            Goal::Seconds(limit) | Goal::Megabytes(limit) => ours <= limit,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Faster(times) => write!(f, "{times} times as fast"),
            Goal::Within(times) => write!(f, "{times} times git at most"),
            Goal::Seconds(limit) => write!(f, "{limit} s at most"),
            Goal::Megabytes(limit) => write!(f, "{limit} MB at most"),
        }
    }
}

/// The sides of a round: each goes first in turn, so that none always meets the warmer or the busier machine.
pub fn order(sides: &[Side], round: usize) -> Vec<Side> {
    let mut order = sides.to_vec();
    let start = round.checked_rem(order.len()).unwrap_or(0);
    order.rotate_left(start);
    order
}

/// What is said beside a ratio: what one side does and the other doesn't.
pub fn differences(case: Case) -> &'static [&'static str] {
    match case {
        Case::Cold | Case::FreshMachine | Case::CodeChange | Case::Batch => &[
            "ours runs and judges spec on both platforms; the old flow runs it on the host's and looks at the exit status alone",
            "ours looks through every layer for another machine's code and installs the locked versions by hash; the old flow resolves afresh",
            "left out of the old flow, in its favour: its questions to Docker Hub, the poe and yq calls that read metadata, apt-get of git and openssh-client",
        ],
        Case::Manifests => &[
            "spec is tried of each on the host's platform, and on the other as `--spec sample` has it",
        ],
        Case::BaseBump => &["spec is tried of each Python connector on both platforms"],
        Case::Start => &[
            "byte-code is compiled into our image and not into the old flow's; neither may write any at run time",
        ],
        Case::ListChanged => &["git alone runs the same commands one after another"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_goes_first_in_turn() {
        let sides = [Side::Ours, Side::OldFlow];
        assert_eq!(order(&sides, 0), [Side::Ours, Side::OldFlow]);
        assert_eq!(order(&sides, 1), [Side::OldFlow, Side::Ours]);
        assert_eq!(order(&sides, 2), [Side::Ours, Side::OldFlow]);
        assert_eq!(order(&[], 3), []);
    }

    #[test]
    fn goals_are_judged_by_medians() {
        for (goal, ours, reference, expected) in [
            (Goal::Faster(4.0), 10.0, Some(40.0), Some(true)),
            (Goal::Faster(4.0), 10.1, Some(40.0), Some(false)),
            (Goal::Faster(4.0), 10.0, None, None),
            (Goal::Within(1.5), 1.5, Some(1.0), Some(true)),
            (Goal::Within(1.5), 1.6, Some(1.0), Some(false)),
            (Goal::Seconds(1.0), 1.0, None, Some(true)),
            (Goal::Seconds(1.0), 1.1, Some(9.0), Some(false)),
            (Goal::Megabytes(64.0), 65.0, None, Some(false)),
        ] {
            assert_eq!(goal.met(ours, reference), expected, "{goal} {ours}");
        }
    }
}
