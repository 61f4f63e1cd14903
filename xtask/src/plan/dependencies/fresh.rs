//! Whether a lock was made from the pyproject.toml beside it, for the interpreter it is used with.

use pep508_rs::{ExtraName, PackageName};

use super::Reason;
use crate::model::{
    dependency::Dependency,
    lock::{Lock, Origin, UvOrigin, content_hash},
    pyproject::Pyproject,
    target::Target,
};

/// All that makes the lock unusable as a whole.
pub fn check(pyproject: &Pyproject, lock: &Lock, target: Target) -> Result<(), Vec<Reason>> {
    let mut reasons = Vec::new();
    reasons.extend(out_of_date(pyproject, lock, target).map(|detail| Reason::OutOfDate { detail }));
    for constraint in [&pyproject.python, &lock.python] {
        if reasons.is_empty() && !constraint.contains(&target.python.version()) {
            reasons.push(Reason::Python {
                python: target.python,
                constraint: constraint.to_string(),
            });
        }
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(reasons)
    }
}

fn out_of_date(pyproject: &Pyproject, lock: &Lock, target: Target) -> Option<String> {
    match &lock.origin {
        Origin::Poetry(origin) => (!content_hash::matches(pyproject, &origin.content_hash))
            .then(|| "its content-hash is another".to_owned()),
        Origin::Uv(origin) => changed_requirements(pyproject, lock, origin, target),
    }
}

/// Compares what pyproject.toml asks for with what uv recorded of it (`requires-dist`), as `uv lock --check`
/// does before it looks further. Extras of the connector itself are never installed and so not compared.
fn changed_requirements(
    pyproject: &Pyproject,
    lock: &Lock,
    origin: &UvOrigin,
    target: Target,
) -> Option<String> {
    let root = &lock.packages[origin.root];
    if let Some(name) = &pyproject.name
        && *name != root.name
    {
        return Some(format!("it was made for {}", root.name));
    }
    let mut recorded: Vec<&Dependency> = origin.requires.iter().filter(|d| !of_extra(d)).collect();
    for wanted in &pyproject.dependencies {
        let same = |recorded: &&Dependency| asked(recorded, target) == asked(wanted, target);
        match recorded.iter().position(same) {
            Some(index) => _ = recorded.swap_remove(index),
            None => return Some(format!("{} is not what it was made from", said(wanted))),
        }
    }
    let gone = recorded.first()?;
    Some(format!("{} is no longer asked for", said(gone)))
}

fn of_extra(dependency: &Dependency) -> bool {
    let marker = &dependency.marker;
    marker.clone().simplify_extras_with(|_: &ExtraName| true) != *marker
}

/// What two ways of writing a requirement must have in common: name, extras, specifiers and whether it holds on
/// the target. uv shortens markers by `requires-python`, so their text says nothing.
fn asked(
    dependency: &Dependency,
    target: Target,
) -> (&PackageName, Vec<&ExtraName>, Vec<String>, Option<bool>) {
    let mut extras: Vec<&ExtraName> = dependency.extras.iter().collect();
    extras.sort();
    extras.dedup();
    let specifiers = dependency.constraint.to_pep440().unwrap_or_default();
    let mut specifiers: Vec<String> = specifiers
        .split(',')
        .map(|one| one.trim().to_owned())
        .collect();
    specifiers.sort();
    let holds = target
        .markers()
        .ok()
        .map(|here| dependency.marker.evaluate(&here, &[]));
    (&dependency.name, extras, specifiers, holds)
}

fn said(dependency: &Dependency) -> String {
    dependency
        .to_pep508()
        .unwrap_or_else(|_| dependency.name.to_string())
}
