//! The metadata of a real fleet, when it is there: `../shared/fleet` beside the repository, or $XTASK_TEST_FLEET.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::monorepo::Monorepo;

/// The fleet's directory; says so when it is not there.
pub fn fleet() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fleet");
    let fleet = std::env::var_os("XTASK_TEST_FLEET").map_or(beside, PathBuf::from);
    if fleet.join("connectors").is_dir() {
        return fleet.canonicalize().ok();
    }
    println!("skipped: no fleet at {}", fleet.display());
    None
}

#[test]
fn every_connector_of_a_real_fleet_is_listed() {
    let Some(fleet) = fleet() else { return };
    let repo = Monorepo::new();
    let connectors = repo.root().join(crate::monorepo::CONNECTORS);
    std::fs::remove_dir(&connectors).unwrap();
    symlink(fleet.join("connectors"), &connectors).unwrap();
    let document = repo
        .xtask()
        .run(&["connector", "list", "--json", "--strict"])
        .code(0)
        .json();
    let directories = std::fs::read_dir(fleet.join("connectors")).unwrap().count();
    assert_eq!(
        document["connectors"].as_array().unwrap().len(),
        directories
    );
    assert_eq!(document["broken"].as_array().unwrap().len(), 0);
    let unknown = document["connectors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["language"].is_null())
        .count();
    assert_eq!(unknown, 0);
}
