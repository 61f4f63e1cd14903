//! Over the real locks of a fleet, where there is one: `../shared/fleet` beside the repository, or
//! $XTASK_TEST_FLEET.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Closure, Content, Planned, Summary};
use crate::{
    model::{
        config::Config,
        lock::{Lock, Origin, content_hash},
        platform::Platform,
        pyproject::Pyproject,
        shard::fnv1a,
        target::{Libc, Target},
    },
    plan::{
        assembly::{Runs, Wheel, group},
        entry_point::EntryPoint,
    },
};

fn fleet() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fleet");
    let fleet = std::env::var_os("XTASK_TEST_FLEET").map_or(beside, PathBuf::from);
    if fleet.join("connectors").is_dir() {
        return Some(fleet);
    }
    println!("skipped: no fleet at {}", fleet.display());
    None
}

/// Name, pyproject.toml and poetry.lock of every connector that has them.
fn locked(fleet: &Path) -> Vec<(String, Pyproject, Lock)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(fleet.join("connectors")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let Ok(lock) = fs::read_to_string(entry.path().join("poetry.lock")) else {
            continue;
        };
        let pyproject = fs::read_to_string(entry.path().join("pyproject.toml")).unwrap();
        let pyproject = Pyproject::parse(&pyproject).expect(&name);
        all.push((
            name.clone(),
            pyproject,
            Lock::parse_poetry(&lock).expect(&name),
        ));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}

fn target(platform: Platform) -> Target {
    Target {
        platform,
        python: "3.11.2".parse().unwrap(),
        libc: Libc::Glibc(2, 36),
    }
}

#[test]
fn every_content_hash_is_right() {
    let Some(fleet) = fleet() else { return };
    for (name, pyproject, lock) in locked(&fleet) {
        let Origin::Poetry(origin) = &lock.origin else {
            panic!("{name}: not a poetry.lock")
        };
        assert!(
            content_hash::matches(&pyproject, &origin.content_hash),
            "{name}"
        );
    }
}

#[test]
fn every_lock_resolves_for_both_platforms_to_the_same_packages() {
    let Some(fleet) = fleet() else { return };
    for (name, pyproject, lock) in locked(&fleet) {
        let closures = Platform::ALL.map(|platform| {
            Closure::resolve(&pyproject, &lock, target(platform))
                .unwrap_or_else(|reasons| panic!("{name}: {reasons:#?}"))
        });
        let names = |closure: &Closure| -> BTreeSet<String> {
            closure
                .packages
                .iter()
                .map(|p| format!("{}=={}", p.name, p.version))
                .collect()
        };
        assert_eq!(names(&closures[0]), names(&closures[1]), "{name}");
        let count = closures[0].packages.len();
        assert!((25..=160).contains(&count), "{name}: {count}");
        if let Some(directory) = std::env::var_os("XTASK_TEST_REQUIREMENTS") {
            for closure in &closures {
                let file = format!("{name}-{}.txt", closure.target.platform.architecture());
                fs::write(
                    Path::new(&directory).join(file),
                    closure.requirements(|_| None),
                )
                .unwrap();
            }
        }
        println!(
            "{name}: {}",
            Summary::new(closures.to_vec(), Platform::LinuxAmd64, &Config::default())
                .lines()
                .join("\n  ")
        );
    }
}

#[test]
fn every_lock_gives_an_environment_to_work_in() {
    let Some(fleet) = fleet() else { return };
    for (name, pyproject, lock) in locked(&fleet) {
        let target = target(Platform::LinuxAmd64);
        let image = Closure::resolve(&pyproject, &lock, target).unwrap();
        let environment = super::development(&pyproject, &lock, target).expect(&name);
        let has = |wanted: &str| {
            let mut packages = environment.packages.iter();
            packages.any(|planned| planned.name.to_string() == wanted)
        };
        assert!(has("pytest"), "{name}");
        let mut of_image = image.packages.iter();
        assert!(of_image.all(|planned| has(planned.name.as_ref())), "{name}");
    }
}

#[test]
fn known_sdists_are_found() {
    let Some(fleet) = fleet() else { return };
    let mut found = BTreeSet::new();
    for (_, pyproject, lock) in locked(&fleet) {
        let closures = Platform::ALL
            .map(|platform| Closure::resolve(&pyproject, &lock, target(platform)).unwrap());
        let builds =
            Summary::new(closures.to_vec(), Platform::LinuxAmd64, &Config::default()).builds;
        found.extend(builds.iter().map(|build| {
            (
                build.name.to_string(),
                build.version.to_string(),
                build.expected,
                build.platforms.len(),
            )
        }));
    }
    println!("{found:#?}");
    for (name, version, expected) in [
        ("pendulum", "2.1.2", Content::Native),
        ("genson", "1.2.2", Content::Pure),
    ] {
        assert!(
            found.contains(&(name.to_owned(), version.to_owned(), expected, 2)),
            "{name}"
        );
    }
}

#[test]
fn every_python_connector_has_something_to_start() {
    let Some(fleet) = fleet() else { return };
    let listing = fs::read_to_string(fleet.join("files.txt")).unwrap();
    for (name, pyproject, _) in locked(&fleet) {
        let prefix = format!("{name}/");
        let files: BTreeSet<String> = listing
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect();
        EntryPoint::choose(&name, &files, &pyproject).expect(&name);
    }
}

/// Docker takes 127 layers; the base has a few, and whoever pulls asks for each.
#[test]
fn no_image_of_the_fleet_has_more_than_forty_layers_of_ours() {
    let Some(fleet) = fleet() else { return };
    for (name, pyproject, lock) in locked(&fleet) {
        for platform in Platform::ALL {
            let closure = Closure::resolve(&pyproject, &lock, target(platform)).unwrap();
            // Locks do not tell sizes: whatever they are, there are few enough layers.
            for large in [0, 1, 2, 5] {
                let wheel = |planned: &Planned| {
                    let file = &planned.how.file().name;
                    let everywhere = file.ends_with("-none-any.whl");
                    Wheel {
                        name: planned.name.to_string().leak(),
                        size: match fnv1a(file.as_bytes()).checked_rem(large) {
                            Some(0) => 1 << 30,
                            _ => 1,
                        },
                        runs: match everywhere {
                            true => Runs::Everywhere,
                            false => Runs::OnePlatform,
                        },
                    }
                };
                let wheels: Vec<Wheel<'_>> = closure.packages.iter().map(wheel).collect();
                let groups = group(&wheels);
                let grouped: usize = groups.iter().map(Vec::len).sum();
                assert_eq!(grouped, wheels.len(), "{name}");
                // The connector's own files are one more, the standard library's byte-code another.
                assert!(groups.len() + 2 <= 40, "{name}: {}", groups.len());
            }
        }
    }
}
