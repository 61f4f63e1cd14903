//! Whether a lock was made from the pyproject.toml beside it, for the interpreter it is used with.

use std::collections::BTreeSet;

use pep508_rs::{ExtraName, PackageName};

use super::Reason;
use crate::model::{
    dependency::Dependency,
    lock::{Lock, Origin, UvOrigin, content_hash},
    pyproject::{Pyproject, members},
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
    // What the build backend reads elsewhere only it knows.
    if is_dynamic(pyproject) {
        return None;
    }
    let sourced = sourced(pyproject);
    let is_direct = |d: &Dependency| d.direct.is_some() || sourced.contains(&d.name);
    // uv records no specifier of what a source replaces, and each of several sources by itself: there the name has to do,
    // beside what is as it was asked for.
    let by_name = |d: &Dependency| {
        let recorded = || origin.requires.iter().filter(|one| one.name == d.name);
        let asked_alike = |one: &Dependency| {
            let specifiers = |d: &Dependency| (d.extras.clone(), d.constraint.to_string());
            let mut wanted = pyproject.dependencies.iter().filter(|d| d.name == one.name);
            one.direct.is_some() || wanted.any(|wanted| specifiers(wanted) == specifiers(one))
        };
        sourced.contains(&d.name)
            && recorded().any(|one| one.direct.is_some())
            && recorded().all(asked_alike)
    };
    let recorded = origin.requires.iter();
    let mut recorded: Vec<&Dependency> = recorded.filter(|d| !of_extra(d) && !by_name(d)).collect();
    for wanted in pyproject.dependencies.iter().filter(|d| !by_name(d)) {
        let same = |recorded: &&Dependency| {
            recorded.direct.is_some() == is_direct(wanted)
                && asked(recorded, target) == asked(wanted, target)
        };
        match recorded.iter().position(same) {
            Some(index) => _ = recorded.swap_remove(index),
            None => return Some(format!("{} is not what it was made from", said(wanted))),
        }
    }
    let gone = recorded.first()?;
    Some(format!("{} is no longer asked for", said(gone)))
}

/// Whether the dependencies stand elsewhere (`[project] dynamic`, such as setuptools' requirements.txt).
fn is_dynamic(pyproject: &Pyproject) -> bool {
    let project = pyproject.document.get("project");
    let fields = project.and_then(|project| project.get("dynamic")?.as_array());
    fields.is_some_and(|fields| {
        fields
            .iter()
            .any(|one| one.as_str() == Some("dependencies"))
    })
}

/// Packages that `[tool.uv.sources]` takes from elsewhere than an index, also outside one extra or group.
fn sourced(pyproject: &Pyproject) -> BTreeSet<PackageName> {
    const KINDS: [&str; 4] = ["git", "url", "path", "workspace"];
    let is_elsewhere = |source: &toml::Value| {
        let has = |key: &&str| source.get(key).is_some();
        KINDS.iter().any(has) && !["extra", "group"].iter().any(has)
    };
    let sources = members(&pyproject.document, &["tool", "uv", "sources"]);
    let elsewhere = sources.into_iter().filter(|(_, source)| match source {
        toml::Value::Array(several) => several.iter().any(is_elsewhere),
        one => is_elsewhere(one),
    });
    elsewhere
        .filter_map(|(name, _)| name.parse().ok())
        .collect()
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
