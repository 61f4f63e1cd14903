//! One commit makes one image: built again from nothing, it has the same digest.

use std::{fs, time::SystemTime};

use super::{docker, root, sandboxed, scan::Vulnerable, turn};
use crate::monorepo::{CONNECTORS, Finished};

fn from_nothing(build: impl Fn() -> Finished, file: &std::path::Path) {
    docker(&["builder", "prune", "--all", "--force"]).code(0);
    let first = build().code(0).json()[0]["digest"].clone();
    docker(&["builder", "prune", "--all", "--force"]).code(0);
    // A checkout's files are as old as the checkout.
    let checked_out = fs::File::options().append(true).open(file).unwrap();
    checked_out.set_modified(SystemTime::now()).unwrap();
    assert_eq!(
        build().code(0).json()[0]["digest"],
        first,
        "{}",
        file.display()
    );
}

const BUILD: [&str; 2] = ["connector", "build"];

#[test]
fn two_clean_builds_of_a_python_connector_give_the_same_index_digest() {
    let _turn = turn();
    let sandbox = Vulnerable::new();
    // The image's dates are those of the commit.
    sandbox.repo.commit("airbyte-integrations");
    let build = || {
        let mut command = sandbox.command();
        command
            .args(BUILD)
            .args(["source-vulnerable", "--platform", "all", "--json"]);
        Finished::from(command.output().unwrap())
    };
    from_nothing(
        build,
        &sandbox
            .repo
            .root()
            .join(CONNECTORS)
            .join("source-vulnerable/main.py"),
    );
}

#[test]
fn two_clean_builds_of_a_manifest_only_connector_give_the_same_index_digest() {
    let _turn = turn();
    sandboxed(&["sandbox", "up"]).code(0);
    let build = || {
        sandboxed(
            &[
                &BUILD[..],
                &[
                    "source-pokeapi",
                    "--platform",
                    "all",
                    "--builder",
                    "docker",
                    "--json",
                ],
            ]
            .concat(),
        )
    };
    from_nothing(
        build,
        &root().join(CONNECTORS).join("source-pokeapi/manifest.yaml"),
    );
}
