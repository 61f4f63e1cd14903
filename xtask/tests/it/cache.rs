//! `cache`.

use std::{fs, time::SystemTime};

use crate::monorepo::Monorepo;

#[test]
fn the_store_is_measured_and_emptied() {
    let repo = Monorepo::new().file("target/xtask/store/files/sha256-00/a-1.tar.gz", "12345");
    let size = repo
        .xtask()
        .env("XTASK_CACHE", "")
        .run(&["cache", "size", "--json"])
        .code(0)
        .json();
    assert_eq!(size["fetched"], serde_json::json!({"files": 1, "bytes": 5}));
    let kept = repo
        .xtask()
        .env("XTASK_CACHE", "")
        .run(&["cache", "prune", "--json"])
        .code(0)
        .json();
    assert_eq!(kept["files"], 0, "used today");
    let gone = repo
        .xtask()
        .env("XTASK_CACHE", "")
        .run(&["cache", "prune", "--all"])
        .code(0);
    assert_eq!(gone.stdout, "removed 1 files, 0.0 MB\n");
    let size = repo
        .xtask()
        .env("XTASK_CACHE", "")
        .run(&["cache", "size"])
        .code(0);
    assert_eq!(
        size.stdout,
        "KIND     FILES  SIZE\nfetched  0      0.0 MB\nbuilt    0      0.0 MB\npartial  0      0.0 MB\n"
    );
}

#[test]
fn a_store_elsewhere_is_shared_and_old_files_go() {
    let repo = Monorepo::new().file("shared/built/key/a.whl", "123");
    let file = fs::File::options()
        .append(true)
        .open(repo.root().join("shared/built/key/a.whl"))
        .unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let cache = |arguments: &[&str]| {
        repo.xtask()
            .env("XTASK_CACHE", "shared")
            .run(arguments)
            .code(0)
    };
    assert_eq!(
        cache(&["cache", "size", "--json"]).json()["built"]["bytes"],
        3
    );
    assert_eq!(
        cache(&["cache", "prune"]).stdout,
        "removed 1 files, 0.0 MB\n"
    );
    assert!(!repo.root().join("shared/built/key").exists());
}
