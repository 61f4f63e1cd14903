//! From the times of several runs to the figures that are shown.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// The least, the middle and the greatest of several values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub minimum: f64,
    /// Of an even number of values the mean of the two in the middle.
    pub median: f64,
    pub maximum: f64,
}

impl Spread {
    /// None of no values at all.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = if sorted.len() % 2 == 1 {
            upper
        } else {
            (sorted[middle - 1] + upper) / 2.0
        };
        Some(Spread {
            minimum: *sorted.first()?,
            median,
            maximum: *sorted.last()?,
        })
    }
}

/// One part of a run and what of it was measured. Parts may overlap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    pub name: String,
    pub value: f64,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.1}", self.name, self.value)
    }
}

/// One run: what was measured (seconds, or megabytes of memory), and its parts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    pub value: f64,
    pub phases: Vec<Phase>,
}

/// The medians of each phase over several runs, in the order the phases first came up. What came up twice in one run
/// is added up.
pub fn phases(runs: &[Run]) -> Vec<Phase> {
    let mut names: Vec<&str> = Vec::new();
    for phase in runs.iter().flat_map(|run| &run.phases) {
        if !names.contains(&phase.name.as_str()) {
            names.push(&phase.name);
        }
    }
    let sums: Vec<BTreeMap<&str, f64>> = runs.iter().map(sums).collect();
    let median = |name: &&str| {
        let values: Vec<f64> = sums
            .iter()
            .filter_map(|run| run.get(name).copied())
            .collect();
        Some(Phase {
            name: (*name).to_owned(),
            value: Spread::of(&values)?.median,
        })
    };
    names.iter().filter_map(median).collect()
}

fn sums(run: &Run) -> BTreeMap<&str, f64> {
    let mut sums = BTreeMap::new();
    for phase in &run.phases {
        *sums.entry(phase.name.as_str()).or_insert(0.0) += phase.value;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_values_in_any_order() {
        for (values, expected) in [
            (&[2.0][..], Some((2.0, 2.0, 2.0))),
            (&[3.0, 1.0, 2.0], Some((1.0, 2.0, 3.0))),
            (&[4.0, 1.0, 2.0, 9.0], Some((1.0, 3.0, 9.0))),
            (&[], None),
        ] {
            let spread = Spread::of(values);
            assert_eq!(
                spread.map(|spread| (spread.minimum, spread.median, spread.maximum)),
                expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn phases_are_medians_over_the_runs_that_had_them() {
        let run = |phases: &[(&str, f64)]| Run {
            value: 9.0,
            phases: phases
                .iter()
                .map(|(name, value)| Phase {
                    name: (*name).to_owned(),
                    value: *value,
                })
                .collect(),
        };
        let runs = [
            run(&[("spec", 1.0), ("push", 4.0), ("spec", 2.0)]),
            run(&[("fetch", 7.0), ("spec", 5.0), ("push", 6.0)]),
        ];
        let seen: Vec<(String, f64)> = phases(&runs)
            .into_iter()
            .map(|phase| (phase.name, phase.value))
            .collect();
        let expected = [("spec", 4.0), ("push", 5.0), ("fetch", 7.0)];
        assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
