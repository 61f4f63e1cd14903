//! Which locked packages an image needs: the walk from what the connector asks for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pep508_rs::{ExtraName, MarkerEnvironment, PackageName};

use super::{Purpose, Reason};
use crate::model::{
    dependency::{Activation, Dependency},
    lock::{Duplicates, Lock, Origin, Package, Source},
    pyproject::Pyproject,
    target::Target,
};

/// Every package that the connector needs on `target`, once. Optional packages that no extra calls in are never
/// reached, nor are dependency groups for an image.
pub fn walk<'a>(
    purpose: Purpose,
    pyproject: &'a Pyproject,
    lock: &'a Lock,
    target: Target,
) -> Result<Vec<&'a Package>, Vec<Reason>> {
    let markers = target
        .markers()
        .map_err(|detail| vec![Reason::Target { detail }])?;
    let mut walk = Walk {
        purpose,
        lock,
        target,
        markers,
        wanted: BTreeMap::new(),
        queue: VecDeque::new(),
        seen: BTreeSet::new(),
        reasons: Vec::new(),
    };
    let (roots, groups, by) = match &lock.origin {
        Origin::Poetry(_) => (
            &pyproject.dependencies,
            &pyproject.development,
            "the connector".to_owned(),
        ),
        Origin::Uv(origin) => {
            let root = &lock.packages[origin.root];
            (
                &root.dependencies,
                &origin.development,
                root.name.to_string(),
            )
        }
    };
    walk.follow(roots, &by, &[]);
    if purpose == Purpose::Development {
        walk.follow(groups, &by, &[]);
    }
    walk.run();
    while walk.settle() {
        walk.run();
    }
    walk.finish()
}

/// A name that the closure needs and the locked versions of it that satisfy everything said so far.
struct Wanted {
    candidates: Vec<usize>,
    extras: BTreeSet<ExtraName>,
}

/// Versions are only ever struck out, so the order of the walk doesn't change what it finds.
struct Walk<'a> {
    purpose: Purpose,
    lock: &'a Lock,
    target: Target,
    markers: MarkerEnvironment,
    wanted: BTreeMap<PackageName, Wanted>,
    /// Names whose dependencies are to be looked at again.
    queue: VecDeque<PackageName>,
    /// Edges that were followed: package and number of its dependency.
    seen: BTreeSet<(usize, usize)>,
    reasons: Vec<Reason>,
}

impl<'a> Walk<'a> {
    fn run(&mut self) {
        while let Some(name) = self.queue.pop_front() {
            let Some(wanted) = self.wanted.get(&name) else {
                continue;
            };
            // Of several versions none is followed: another dependency may still tell which it is.
            let [index] = wanted.candidates[..] else {
                continue;
            };
            let extras: Vec<ExtraName> = wanted.extras.iter().cloned().collect();
            let lock = self.lock;
            let package = &lock.packages[index];
            for (number, dependency) in package.dependencies.iter().enumerate() {
                if !self.seen.contains(&(index, number)) && self.stands(dependency, &extras) {
                    self.seen.insert((index, number));
                    self.want(dependency, &format!("{} {}", package.name, package.version));
                }
            }
        }
    }

    /// Takes the newest version of one package that everything said so far leaves several of, where the lock is
    /// of the kind that is read so; false when there is none.
    fn settle(&mut self) -> bool {
        let newest_counts = matches!(
            &self.lock.origin,
            Origin::Poetry(origin) if origin.duplicates == Duplicates::Newest
        );
        let open = self
            .wanted
            .iter_mut()
            .find(|(_, wanted)| newest_counts && wanted.candidates.len() > 1);
        let Some((name, wanted)) = open else {
            return false;
        };
        let packages = &self.lock.packages;
        wanted
            .candidates
            .sort_by(|a, b| packages[*b].version.cmp(&packages[*a].version));
        wanted.candidates.truncate(1);
        self.queue.push_back(name.clone());
        true
    }

    fn follow(&mut self, dependencies: &[Dependency], by: &str, extras: &[ExtraName]) {
        for dependency in dependencies {
            if self.stands(dependency, extras) {
                self.want(dependency, by);
            }
        }
    }

    /// Whether the dependency exists on the target, given the extras that its package is wanted with.
    fn stands(&self, dependency: &Dependency, extras: &[ExtraName]) -> bool {
        let called = match &dependency.activation {
            Activation::Always => true,
            Activation::Extras(calling) => calling.iter().any(|extra| extras.contains(extra)),
        };
        called
            && dependency.python.contains(&self.target.python.version())
            && dependency.marker.evaluate(&self.markers, extras)
    }

    fn want(&mut self, dependency: &Dependency, by: &str) {
        let name = &dependency.name;
        if let Some(kind) = &dependency.direct {
            self.refuse(Reason::Direct {
                name: name.clone(),
                kind: kind.clone(),
            });
            return;
        }
        let known = self
            .wanted
            .get(name)
            .map(|wanted| wanted.candidates.clone());
        let first = known.is_none();
        let before = known.unwrap_or_else(|| self.here(name));
        let after: Vec<usize> = before
            .iter()
            .copied()
            .filter(|index| self.will_do(*index, dependency))
            .collect();
        if after.is_empty() {
            let reason = self.none_left(dependency, by);
            self.refuse(reason);
            return;
        }
        let changed = first || after.len() != before.len();
        let wanted = self.wanted.entry(name.clone()).or_insert(Wanted {
            candidates: Vec::new(),
            extras: BTreeSet::new(),
        });
        wanted.candidates = after;
        let extras = wanted.extras.len();
        wanted.extras.extend(dependency.extras.iter().cloned());
        if changed || wanted.extras.len() > extras {
            self.queue.push_back(name.clone());
        }
    }

    /// Locked versions that are meant for this platform; where there are several, those that run on the
    /// interpreter.
    fn here(&self, name: &PackageName) -> Vec<usize> {
        let mut here = self.lock.versions(name).to_vec();
        here.retain(|index| {
            let package = &self.lock.packages[*index];
            let marker = match self.purpose {
                Purpose::Image => &package.marker,
                Purpose::Development => &package.development_marker,
            };
            marker.evaluate(&self.markers, &[])
        });
        if here.len() > 1 {
            let python = self.target.python.version();
            here.retain(|index| self.lock.packages[*index].python.contains(&python));
        }
        here
    }

    fn will_do(&self, index: usize, dependency: &Dependency) -> bool {
        let version = &self.lock.packages[index].version;
        match &dependency.version {
            Some(exact) => version == exact,
            None => dependency.constraint.contains(version),
        }
    }

    fn none_left(&self, dependency: &Dependency, by: &str) -> Reason {
        let name = dependency.name.clone();
        let versions = self.lock.versions(&name);
        let wanted_by = by.to_owned();
        if versions.is_empty() {
            return Reason::Missing { name, wanted_by };
        }
        let mut wanted = dependency.constraint.to_string();
        if let Some(exact) = &dependency.version {
            wanted = exact.to_string();
        }
        let locked = versions
            .iter()
            .map(|index| self.lock.packages[*index].version.clone())
            .collect();
        Reason::NoVersion {
            name,
            wanted,
            wanted_by,
            locked,
        }
    }

    fn refuse(&mut self, reason: Reason) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn finish(mut self) -> Result<Vec<&'a Package>, Vec<Reason>> {
        let mut packages = Vec::new();
        for (name, wanted) in std::mem::take(&mut self.wanted) {
            match wanted.candidates[..] {
                [index] => packages.push(&self.lock.packages[index]),
                _ => self.refuse(Reason::Ambiguous {
                    name,
                    versions: wanted
                        .candidates
                        .iter()
                        .map(|index| self.lock.packages[*index].version.clone())
                        .collect(),
                    platform: self.target.platform,
                }),
            }
        }
        for package in &packages {
            self.inspect(package);
        }
        // A dependency of the connector on itself (by extras) installs nothing.
        packages.retain(|package| package.source != Source::Root);
        if self.reasons.is_empty() {
            Ok(packages)
        } else {
            Err(self.reasons)
        }
    }

    fn inspect(&mut self, package: &Package) {
        if let Source::Direct(kind) = &package.source {
            self.refuse(Reason::Direct {
                name: package.name.clone(),
                kind: kind.clone(),
            });
        }
        if !package.python.contains(&self.target.python.version()) {
            self.refuse(Reason::PackagePython {
                name: package.name.clone(),
                version: package.version.clone(),
                python: self.target.python,
                constraint: package.python.to_string(),
            });
        }
    }
}
