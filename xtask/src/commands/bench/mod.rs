//! `bench`: this tool against the flow that it replaces, side by side on one engine and one registry.

mod bed;
mod fleet;
mod results;
mod sides;
mod tool;

use std::cell::RefCell;

use anyhow::{Context as _, Result};

use self::{
    bed::Bed,
    results::{Measured, Results},
    sides::Timed,
};
use super::Context;
use crate::{
    flags::Bench,
    model::{
        bench::Case,
        image::ImageRef,
        problem::{Exit, Problem},
    },
    plan::bench::{Side, figures::Run, order},
    report::exit_of,
    tools::process::Program,
};

/// How many manifest-only connectors there are: as many as Airbyte has.
const MANIFESTS: usize = 384;

/// The runs of each side.
type Runs = Vec<(Side, Vec<Run>)>;

/// Measures the cases that are named, all where none is, and prints them. Ends as the worst failure says; a goal that
/// is missed is no failure.
pub fn run(context: &Context, flags: &Bench) -> Result<Exit> {
    let cases = if flags.cases.is_empty() {
        Case::ALL.to_vec()
    } else {
        flags.cases.clone()
    };
    let bed = Bed::make(context, &cases)?;
    let mut results = Results::begin(&bed, flags)?;
    for case in cases {
        let bench = Measurement {
            bed: &bed,
            flags,
            case,
            measured: RefCell::default(),
            remarks: RefCell::default(),
        };
        let outcome = bench.measure();
        // What was measured until something failed is worth having, and so are the other cases.
        let (runs, remarks) = (bench.measured.into_inner(), bench.remarks.into_inner());
        if !runs.is_empty() || !remarks.is_empty() {
            let measured = Measured::new(case, runs, remarks);
            results.add(match outcome {
                Ok(()) => measured,
                Err(_) => measured.broken_off(),
            });
        }
        if let Err(error) = outcome {
            let interrupted = exit_of(&error) == Exit::Interrupted;
            results.failed(case, error.context(format!("bench {case}")));
            if interrupted {
                break;
            }
        }
    }
    let cleared = bed.clear();
    let exit = results.print(context, flags)?;
    cleared?;
    Ok(exit)
}

/// One case under way.
struct Measurement<'a> {
    bed: &'a Bed<'a>,
    flags: &'a Bench,
    case: Case,
    measured: RefCell<Runs>,
    /// What has to be said beside the figures.
    remarks: RefCell<Vec<String>>,
}

impl Measurement<'_> {
    fn measure(&self) -> Result<()> {
        let name = self.flags.connector.as_str();
        match self.case {
            Case::Cold => self.cold(name),
            Case::FreshMachine => self.releases(name, Stores::Emptied),
            Case::CodeChange => self.releases(name, Stores::Kept),
            Case::NoChange => self.no_change(name),
            Case::Batch => self.batch(),
            Case::Manifests => self.manifests(),
            Case::BaseBump => self.base_bump(),
            Case::Start => self.start(name),
            Case::List => {
                tool::list(self.bed)?;
                self.rounds(&[Side::Ours], |_| tool::list(self.bed))
            }
            Case::ListChanged => self.list_changed(),
            Case::Memory => self.memory(),
            Case::Compile => self.rounds(&[Side::Ours], |_| tool::compile(self.bed)),
        }
    }

    /// Runs each side as often as asked for, in turn.
    fn rounds(&self, sides: &[Side], run: impl Fn(Side) -> Result<Run>) -> Result<()> {
        self.rounds_with(sides, || Ok(()), run)
    }

    /// As [`rounds`](Self::rounds), doing something before each round.
    fn rounds_with(
        &self,
        sides: &[Side],
        before: impl Fn() -> Result<()>,
        run: impl Fn(Side) -> Result<Run>,
    ) -> Result<()> {
        let count = self.flags.runs.get();
        for round in 0..count {
            before()?;
            for side in order(sides, round) {
                let label = format!("{} {side}, run {} of {count}", self.case, round + 1);
                let step = self.bed.context.report.step(label);
                let run = run(side)?;
                step.done(format_args!("{:.2}", run.value));
                let mut measured = self.measured.borrow_mut();
                match measured.iter_mut().find(|(owner, _)| *owner == side) {
                    Some((_, runs)) => runs.push(run),
                    None => measured.push((side, vec![run])),
                }
            }
        }
        Ok(())
    }

    /// One side's work on these connectors, which may fail on neither ours nor the old flow.
    fn work(&self, side: Side, registry: &str, names: &[&str]) -> Result<Timed> {
        match side {
            Side::OldFlow => sides::old_flow(self.bed, registry, names),
            _ => sides::ours(self.bed, registry, names),
        }
    }

    /// From nothing: builder cache, stores and registry emptied before each run.
    fn emptied(&self, side: Side, names: &[&str]) -> Result<Run> {
        self.bed.empty_stores()?;
        let timed = self.work(side, &self.bed.empty_registry(), names)?;
        self.bed.remove_images(&timed.images)?;
        Ok(timed.run)
    }

    fn cold(&self, name: &str) -> Result<()> {
        // Programs are fetched by whoever comes first.
        let first = self.work(Side::Ours, &self.bed.empty_registry(), &[name])?;
        self.bed.remove_images(&first.images)?;
        self.remark_scanner()?;
        self.rounds(&[Side::Ours, Side::OldFlow], |side| {
            self.emptied(side, &[name])
        })?;
        self.peer(name)
    }

    /// The peer where it runs; why not where it doesn't.
    fn peer(&self, name: &str) -> Result<()> {
        let peer = self.rounds(&[Side::Peer], |_| {
            self.bed.empty_stores()?;
            let timed = sides::peer(self.bed, name)?;
            self.bed.remove_images(&timed.images)?;
            Ok(timed.run)
        });
        match peer {
            Ok(()) => {
                self.remark("airbyte-cdk builds the host's platform alone, checks that spec works there, and neither pushes nor scans");
                Ok(())
            }
            Err(error) if exit_of(&error) == Exit::Interrupted => Err(error),
            Err(error) => {
                self.remark(format!(
                    "airbyte-cdk image build does not run here: {error:#}"
                ));
                Ok(())
            }
        }
    }

    /// New versions of a connector whose earlier ones the registry holds, each with one changed line of code.
    fn releases(&self, name: &str, stores: Stores) -> Result<()> {
        self.remark_scanner()?;
        let sides = [Side::Ours, Side::OldFlow];
        let mut registries = Vec::new();
        // An engine that is kept has what it ran before.
        let images = RefCell::new(Vec::new());
        for side in sides {
            let registry = self.bed.empty_registry();
            let first = self.work(side, &registry, &[name])?;
            images.borrow_mut().extend(first.images);
            registries.push((side, registry));
        }
        let forget = || self.bed.remove_images(&images.take());
        let measured = self.rounds_with(
            &sides,
            || self.bed.release(name),
            |side| {
                if stores == Stores::Emptied {
                    forget()?;
                    self.bed.empty_stores()?;
                }
                let registry = registries.iter().find(|(owner, _)| *owner == side);
                let (_, registry) = registry.context("each side has its part of the registry")?;
                let timed = self.work(side, registry, &[name])?;
                images.borrow_mut().extend(timed.images);
                Ok(timed.run)
            },
        );
        measured.and(forget())
    }

    fn no_change(&self, name: &str) -> Result<()> {
        let registry = self.bed.empty_registry();
        let first = self.work(Side::Ours, &registry, &[name])?;
        self.bed.remove_images(&first.images)?;
        self.remark("measured where no engine answers: nothing is pulled, built or run");
        self.rounds(&[Side::Ours], |_| {
            Ok(sides::ours_without_engine(self.bed, &registry, &[name])?.run)
        })
    }

    fn batch(&self) -> Result<()> {
        self.remark_scanner()?;
        let names = fleet::python_copies(self.bed, self.flags.batch.get())?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.rounds(&[Side::Ours, Side::OldFlow], |side| {
            self.emptied(side, &names)
        })
    }

    /// From nothing; once more, when everything is there; and for the host's platform alone.
    fn manifests(&self) -> Result<()> {
        let names = fleet::manifest_copies(self.bed, MANIFESTS)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.rounds(&[Side::Ours], |_| {
            self.bed.empty_stores()?;
            let registry = self.bed.empty_registry();
            let first = self.bed.publish(&registry, &names)?;
            let run = self.published("first", first)?;
            let stand_ins = &self.bed.context.resolved.config.stand_ins;
            let again = self.bed.publish_again(&registry, &names, stand_ins)?;
            self.published("all there", again)?;
            let native = sides::native(self.bed)?.to_string();
            let host = self.bed.publish(&self.bed.empty_registry(), &names)?;
            self.published(&native, host.env("XTASK_PLATFORMS", &native))?;
            Ok(run)
        })
    }

    /// Connectors of both kinds that were published before, on newer bases.
    fn base_bump(&self) -> Result<()> {
        let count = self.flags.batch.get();
        let mut names = fleet::python_copies(self.bed, count)?;
        names.extend(fleet::manifest_copies(self.bed, count)?);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let registry = self.bed.empty_registry();
        self.published("first", self.bed.publish(&registry, &names)?)?;
        self.rounds(&[Side::Ours], |_| {
            let bases = self.bed.newer_bases(&self.bed.empty_registry())?;
            let bumped = self.bed.publish_again(&registry, &names, &bases)?;
            self.published("bumped", bumped)
        })
    }

    /// A publish of many connectors: what it moved and what failed in it is said.
    fn published(&self, what: &str, program: Program) -> Result<Run> {
        let publish = sides::timed_publish(program)?;
        let run = publish.timed.run;
        let phases: Vec<String> = run.phases.iter().map(ToString::to_string).collect();
        self.remark(format!(
            "{what}: {:.1} s ({}), {}",
            run.value,
            phases.join(", "),
            publish.pushed
        ));
        if let Some(failure) = publish.failed.first() {
            let (failed, all) = (publish.failed.len(), publish.timed.images.len());
            self.remark(format!("{failed} of {all} failed, such as {failure}"));
        }
        Ok(run)
    }

    /// `spec` in the images of both sides.
    fn start(&self, name: &str) -> Result<()> {
        let sides = [Side::Ours, Side::OldFlow];
        let mut made = Vec::new();
        for side in sides {
            let timed = self.work(side, &self.bed.empty_registry(), &[name])?;
            let image = timed.images.first().cloned();
            made.push((side, image.context("each side makes an image")?));
        }
        let image = |side: Side| made.iter().find(|(owner, _)| *owner == side);
        // The first start unpacks and reads what later ones find in memory.
        for (_, image) in &made {
            sides::pull(self.bed, image)?;
            sides::start(self.bed, image)?;
        }
        let measured = self.rounds(&sides, |side| {
            let (_, image) = image(side).context("each side makes an image")?;
            sides::start(self.bed, image)
        });
        let images: Vec<ImageRef> = made.into_iter().map(|(_, image)| image).collect();
        measured.and(self.bed.remove_images(&images))
    }

    fn list_changed(&self) -> Result<()> {
        let fleet = fleet::large(self.bed, self.flags.fleet)?;
        let commands = tool::git_commands(self.bed, &fleet)?;
        self.remark(format!("git's commands: {}", commands.len()));
        tool::git_alone(&commands)?;
        self.rounds(&[Side::Ours, Side::Git], |side| match side {
            Side::Git => tool::git_alone(&commands),
            _ => tool::list_changed(self.bed, &fleet),
        })
    }

    fn memory(&self) -> Result<()> {
        let fleet = fleet::large(self.bed, self.flags.fleet)?;
        self.rounds(&[Side::Ours], |_| {
            tool::memory(self.bed, &fleet)?.ok_or_else(|| {
                Problem::environment("this system doesn't tell a program's memory").into()
            })
        })
    }

    fn remark_scanner(&self) -> Result<()> {
        if self.bed.scanner()?.is_none() {
            self.remark("no vulnerability database is there: neither side scans");
        }
        Ok(())
    }

    fn remark(&self, remark: impl Into<String>) {
        self.remarks.borrow_mut().push(remark.into());
    }
}

/// What becomes of this machine's stores, the engine's images among them, before each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stores {
    Kept,
    Emptied,
}
