//! One commit makes one image: built again from nothing, it has the same digest.

use std::{fs, path::Path, time::SystemTime};

use super::{alone, docker, scan::Vulnerable, spec_batch};
use crate::monorepo::{CONNECTORS, Finished, Monorepo};

/// Builds by `scan`, which makes both platforms' halves and starts neither: emulated starts are the dear part of a build.
fn clean_builds_are_the_same(sandbox: &Vulnerable, name: &str, file: &str) {
    // The image's dates are those of the commit.
    sandbox.repo.commit("airbyte-integrations");
    let file = sandbox.repo.root().join(CONNECTORS).join(name).join(file);
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store");
    for builder in ["assemble", "docker"] {
        // What builders and xtask keep of earlier builds is gone before each.
        let digest = || {
            docker(&["builder", "prune", "--all", "--force"]).code(0);
            let _ = fs::remove_dir_all(store.join("layers"));
            let mut command = sandbox.command();
            command.args(["connector", "scan", name]);
            let finished = Finished::from(command.env("XTASK_BUILDER", builder).output().unwrap());
            let finished = finished.code(0);
            let built = format!("{name} build: ");
            let line = finished.stderr.lines().find(|line| line.contains(&built));
            let (_, rest) = line.unwrap().split_once(" sha256:").unwrap();
            rest[..64].to_owned()
        };
        let first = digest();
        // A checkout's files are as old as the checkout.
        let checked_out = fs::File::options().append(true).open(&file).unwrap();
        checked_out.set_modified(SystemTime::now()).unwrap();
        assert_eq!(digest(), first, "{builder} {name}");
    }
}

#[test]
fn two_clean_builds_of_a_python_connector_give_the_same_index_digest() {
    let _turn = alone();
    clean_builds_are_the_same(&Vulnerable::new(), "source-vulnerable", "main.py");
}

#[test]
fn two_clean_builds_of_a_manifest_only_connector_give_the_same_index_digest() {
    let _turn = alone();
    let repo = spec_batch::with(Monorepo::new(), "source-a", "source-pokeapi", &[]);
    clean_builds_are_the_same(&Vulnerable::of(repo), "source-a", "manifest.yaml");
}
