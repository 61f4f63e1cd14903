//! One commit makes one image: built again from nothing, it has the same digest.

use std::{fs, time::SystemTime};

use super::{alone, docker, root, sandboxed, scan::Vulnerable};
use crate::monorepo::{CONNECTORS, Finished};

/// What builders and xtask keep of earlier builds is gone before each.
fn from_nothing(build: impl Fn(&str) -> Finished, file: &std::path::Path, store: &std::path::Path) {
    let emptied = |builder: &str| {
        docker(&["builder", "prune", "--all", "--force"]).code(0);
        let _ = fs::remove_dir_all(store.join("layers"));
        build(builder).code(0).json()[0]["digest"].clone()
    };
    for builder in ["assemble", "docker"] {
        let first = emptied(builder);
        // A checkout's files are as old as the checkout.
        let checked_out = fs::File::options().append(true).open(file).unwrap();
        checked_out.set_modified(SystemTime::now()).unwrap();
        assert_eq!(emptied(builder), first, "{builder} {}", file.display());
    }
}

const BUILD: [&str; 5] = ["connector", "build", "--platform", "all", "--json"];

#[test]
fn two_clean_builds_of_a_python_connector_give_the_same_index_digest() {
    let _turn = alone();
    let sandbox = Vulnerable::new();
    // The image's dates are those of the commit.
    sandbox.repo.commit("airbyte-integrations");
    let build = |builder: &str| {
        let mut command = sandbox.command();
        command
            .args(BUILD)
            .args(["source-vulnerable", "--builder", builder]);
        Finished::from(command.output().unwrap())
    };
    let file = sandbox
        .repo
        .root()
        .join(CONNECTORS)
        .join("source-vulnerable/main.py");
    let store = concat!(env!("CARGO_TARGET_TMPDIR"), "/store");
    from_nothing(build, &file, store.as_ref());
}

#[test]
fn two_clean_builds_of_a_manifest_only_connector_give_the_same_index_digest() {
    let _turn = alone();
    sandboxed(&["sandbox", "up"]).code(0);
    let build = |builder: &str| {
        sandboxed(&[&BUILD[..], &["source-pokeapi", "--builder", builder]].concat())
    };
    let file = root().join(CONNECTORS).join("source-pokeapi/manifest.yaml");
    // It has no layer of packages.
    from_nothing(build, &file, &root().join("target/none"));
}
