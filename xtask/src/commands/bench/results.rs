//! The figures of every case, as a table and as JSON.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::Serialize;

use super::{Runs, bed::Bed};
use crate::{
    commands::Context,
    flags::Bench,
    model::{bench::Case, date::Date, problem::Exit},
    plan::bench::{
        Goal, Side, differences,
        figures::{Phase, Run, Spread, phases},
        old_flow,
    },
    report::{exit_of, table},
    tools::host::{self, Machine},
};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Results {
    date: Date,
    machine: Machine,
    /// Average over the minute before the bench began.
    load: Option<f64>,
    engine: Option<String>,
    /// The connector of all cases that have one.
    connector: String,
    runs: usize,
    cases: Vec<Measured>,
    /// What the old flow is here and is not at Airbyte.
    deviations: Vec<&'static str>,
    failed: Vec<Failed>,
    #[serde(skip)]
    errors: Vec<anyhow::Error>,
}

#[derive(Debug, Serialize)]
struct Failed {
    case: Case,
    error: String,
}

/// One case.
#[derive(Debug, Serialize)]
pub struct Measured {
    case: Case,
    goal: Option<Goal>,
    /// None without a goal, or when what it takes to tell was not measured.
    goal_met: Option<bool>,
    /// The reference's median over ours.
    ratio: Option<f64>,
    sides: Vec<MeasuredSide>,
    /// Average over the last minute of the case.
    load: Option<f64>,
    remarks: Vec<String>,
}

/// One side of a case; seconds, or megabytes where the goal says so.
#[derive(Debug, Serialize)]
struct MeasuredSide {
    side: Side,
    #[serde(flatten)]
    spread: Spread,
    /// Median of each.
    phases: Vec<Phase>,
    runs: Vec<Run>,
}

impl Results {
    /// Notes date, machine and load as they are before the first case.
    pub fn begin(bed: &Bed, flags: &Bench) -> Result<Results> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Results {
            date: Date::from_unix(now.unwrap_or(Duration::ZERO).as_secs()),
            machine: Machine::here(),
            load: host::load(),
            engine: bed.engine().info().ok().map(|info| info.version),
            connector: flags.connector.to_string(),
            runs: flags.runs.get(),
            cases: Vec::new(),
            deviations: old_flow::deviations().collect(),
            failed: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// Takes the next case, in the order of the report.
    pub fn add(&mut self, measured: Measured) {
        self.cases.push(measured);
    }

    /// Keeps what ended a case until [`print`](Self::print), which ends the run by the worst of these.
    pub fn failed(&mut self, case: Case, error: anyhow::Error) {
        self.failed.push(Failed {
            case,
            error: format!("{error:#}"),
        });
        self.errors.push(error);
    }

    /// Prints everything; the exit is that of the worst failure.
    pub fn print(self, context: &Context, flags: &Bench) -> Result<Exit> {
        if flags.output.json {
            context.report.json(&self)?;
        } else {
            self.lines()
                .iter()
                .for_each(|line| context.report.result(line));
        }
        self.errors
            .iter()
            .for_each(|error| context.report.error(error));
        let worst = self.errors.iter().map(exit_of).max();
        Ok(worst.unwrap_or(Exit::Success))
    }

    fn lines(&self) -> Vec<String> {
        let header = [
            "CASE", "SIDE", "MIN", "MEDIAN", "MAX", "RATIO", "GOAL", "MET",
        ];
        let rows: Vec<Vec<String>> = self.cases.iter().flat_map(Measured::rows).collect();
        let load =
            |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
        let mut lines = vec![
            format!(
                "{}, {} cores, {} MB, {}, engine {}, load {} before; {} runs a side, {}",
                self.date,
                self.machine.cores,
                self.machine.memory,
                self.machine.kernel,
                self.engine.as_deref().unwrap_or("none"),
                load(self.load),
                self.runs,
                self.connector
            ),
            String::new(),
            table(&header, &rows),
        ];
        for case in &self.cases {
            lines.push(String::new());
            lines.push(format!("{} (load {}):", case.case, load(case.load)));
            lines.extend(case.details().map(|line| format!("  {line}")));
        }
        if self.cases.iter().any(|case| case.has(Side::OldFlow)) {
            lines.push(String::new());
            lines.push("the old flow here:".to_owned());
            lines.extend(self.deviations.iter().map(|line| format!("  {line}")));
        }
        lines
    }
}

impl Measured {
    /// Sums up what each side's runs took, with the load of this moment: for when the case has just ended. A side
    /// without runs is left out.
    pub fn new(case: Case, runs: Runs, remarks: Vec<String>) -> Measured {
        let sides = runs.into_iter().filter_map(|(side, runs)| {
            let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
            Some(MeasuredSide {
                side,
                spread: Spread::of(&values)?,
                phases: phases(&runs),
                runs,
            })
        });
        let sides: Vec<MeasuredSide> = sides.collect();
        let median = |wanted: &[Side]| {
            let side = sides.iter().find(|side| wanted.contains(&side.side))?;
            Some(side.spread.median)
        };
        let (ours, reference) = (median(&[Side::Ours]), median(&[Side::OldFlow, Side::Git]));
        let goal = Goal::of(case);
        let said = differences(case).iter().map(|line| (*line).to_owned());
        Measured {
            case,
            goal,
            goal_met: goal.and_then(|goal| goal.met(ours?, reference)),
            ratio: ours
                .zip(reference)
                .map(|(ours, reference)| reference / ours),
            sides,
            load: host::load(),
            remarks: said.chain(remarks).collect(),
        }
    }

    /// Less was measured than was asked for, so nothing is said of the goal.
    pub fn broken_off(self) -> Measured {
        Measured {
            goal_met: None,
            ..self
        }
    }

    fn has(&self, side: Side) -> bool {
        self.sides.iter().any(|measured| measured.side == side)
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let figure = |value: f64| format!("{value:.2}");
        let row = |measured: &MeasuredSide| {
            let (ratio, goal, met) = if measured.side == Side::Ours {
                let met = match (self.goal, self.goal_met) {
                    (_, Some(true)) => "yes",
                    (_, Some(false)) => "no",
                    (Some(_), None) => "not known",
                    (None, None) => "",
                };
                (
                    self.ratio.map(figure).unwrap_or_default(),
                    self.goal.map(|goal| goal.to_string()).unwrap_or_default(),
                    met,
                )
            } else {
                (String::new(), String::new(), "")
            };
            let spread = measured.spread;
            vec![
                self.case.to_string(),
                measured.side.to_string(),
                figure(spread.minimum),
                figure(spread.median),
                figure(spread.maximum),
                ratio,
                goal,
                met.to_owned(),
            ]
        };
        self.sides.iter().map(row).collect()
    }

    /// The phases of each side, then what has to be said.
    fn details(&self) -> impl Iterator<Item = String> {
        let phases = self
            .sides
            .iter()
            .filter(|side| !side.phases.is_empty())
            .map(|side| {
                let phases: Vec<String> = side.phases.iter().map(ToString::to_string).collect();
                format!("{}: {}", side.side, phases.join(", "))
            });
        phases.chain(self.remarks.iter().cloned())
    }
}
