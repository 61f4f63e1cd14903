//! Whether a lock was made from the pyproject.toml beside it, for the interpreter it is used with.

use pep508_rs::ExtraName;

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
    reasons.extend(out_of_date(pyproject, lock).map(|detail| Reason::OutOfDate { detail }));
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

fn out_of_date(pyproject: &Pyproject, lock: &Lock) -> Option<String> {
    match &lock.origin {
        Origin::Poetry(origin) => (!content_hash::matches(pyproject, &origin.content_hash))
            .then(|| "its content-hash is another".to_owned()),
        Origin::Uv(origin) => changed_requirements(pyproject, lock, origin),
    }
}

/// Compares what pyproject.toml asks for with what uv recorded of it (`requires-dist`), as `uv lock --check`
/// does before it looks further. Extras of the connector itself are never installed and so not compared.
fn changed_requirements(pyproject: &Pyproject, lock: &Lock, origin: &UvOrigin) -> Option<String> {
    let root = &lock.packages[origin.root];
    if let Some(name) = &pyproject.name
        && *name != root.name
    {
        return Some(format!("it was made for {}", root.name));
    }
    let mut recorded: Vec<&Dependency> = origin
        .requires
        .iter()
        .filter(|required| {
            let free = required
                .marker
                .clone()
                .simplify_extras_with(|_: &ExtraName| true);
            free == required.marker
        })
        .collect();
    for wanted in &pyproject.dependencies {
        match recorded.iter().position(|required| same(required, wanted)) {
            Some(index) => _ = recorded.swap_remove(index),
            None => return Some(format!("{} is not what it was made from", said(wanted))),
        }
    }
    recorded
        .first()
        .map(|gone| format!("{} is no longer asked for", said(gone)))
}

/// Markers are compared by name and version alone where both have one: uv shortens them by `requires-python`.
fn same(recorded: &Dependency, wanted: &Dependency) -> bool {
    let extras = |dependency: &Dependency| {
        let mut extras = dependency.extras.clone();
        extras.sort();
        extras.dedup();
        extras
    };
    recorded.name == wanted.name
        && extras(recorded) == extras(wanted)
        && specifiers(recorded) == specifiers(wanted)
}

/// Specifiers as a sorted list: their order says nothing.
fn specifiers(dependency: &Dependency) -> Vec<String> {
    let text = dependency.constraint.to_pep440().unwrap_or_default();
    let mut all: Vec<String> = text.split(',').map(|one| one.trim().to_owned()).collect();
    all.sort();
    all
}

fn said(dependency: &Dependency) -> String {
    dependency
        .to_pep508()
        .unwrap_or_else(|_| dependency.name.to_string())
}
