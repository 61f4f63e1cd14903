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
        "KIND      FILES  SIZE\nfetched   0      0.0 MB\nbuilt     0      0.0 MB\npartial   0      0.0 MB\nown       0      0.0 MB\nlayers    0      0.0 MB\nbases     0      0.0 MB\nevidence  0      0.0 MB\n"
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

#[test]
fn what_a_build_may_use_stays() {
    let repo = Monorepo::new()
        .file("shared/files/sha256-00/a-1.tar.gz", "12345")
        .file("shared/own/built/key/a.whl", "123")
        .file("shared/bases/00", "document")
        .file("shared/layers/blobs/half", "half")
        .file("shared/lock", "");
    let prune = || {
        let shared = repo.xtask().env("XTASK_CACHE", "shared");
        shared.run(&["cache", "prune", "--all", "--json"]).code(0)
    };
    let lock = fs::File::open(repo.root().join("shared/lock")).unwrap();
    lock.lock_shared().unwrap();
    let beside_a_build = prune();
    assert_eq!(beside_a_build.json()["files"], 1, "the base");
    beside_a_build.says("a build is under way and may use any of the wheels and layers");
    lock.unlock().unwrap();
    assert_eq!(prune().json()["files"], 3);
}

#[test]
fn every_part_is_counted_and_goes_by_age_and_size() {
    let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
    let layer = |letter: &str| {
        let digest = digest(letter);
        format!(r#"{{"digest": "{digest}", "diff-id": "{digest}", "size": 3000000}}"#)
    };
    let blob = "x".repeat(3_000_000);
    let mut repo = Monorepo::new()
        .file("shared/own/built/key/a.whl", "123")
        .file("shared/bases/00", "document")
        .file("shared/evidence/blobs/00", &blob);
    for letter in ["a", "b"] {
        repo = repo
            .file(&format!("shared/layers/{letter}.json"), &layer(letter))
            .file(&format!("shared/layers/blobs/{}", letter.repeat(64)), &blob);
    }
    let cache = |arguments: &[&str]| {
        let shared = repo.xtask().env("XTASK_CACHE", "shared");
        shared.run(&[&["cache"], arguments].concat()).code(0)
    };
    let day = std::time::Duration::from_secs(24 * 3600);
    let age = |path: &str, days: u32| {
        let file = fs::File::options()
            .append(true)
            .open(repo.root().join("shared").join(path));
        file.unwrap()
            .set_modified(SystemTime::now() - days * day)
            .unwrap();
    };
    let size = cache(&["size", "--json"]).json();
    assert_eq!(size["own"], serde_json::json!({"files": 1, "bytes": 3}));
    assert_eq!(
        size["layers"],
        serde_json::json!({"files": 2, "bytes": 6_000_000})
    );
    assert_eq!(size["bases"]["files"], 1);
    assert_eq!(size["evidence"]["files"], 1);
    age("layers/a.json", 3);
    age("evidence/blobs/00", 2);
    age("bases/00", 40);
    assert_eq!(
        cache(&["prune", "--json"]).json()["files"],
        1,
        "the base, by its age"
    );
    let pruned = cache(&["prune", "--max-size", "7"]);
    assert_eq!(pruned.stdout, "removed 1 files, 3.0 MB\n");
    assert!(
        pruned.stderr.contains("layers: 1 files, 3.0 MB"),
        "{pruned:?}"
    );
    assert!(
        repo.root().join("shared/layers/b.json").exists()
            && !repo.root().join("shared/layers/a.json").exists()
    );
    let pruned = cache(&["prune", "--max-size", "4"]);
    assert!(
        pruned.stderr.contains("evidence: 1 files, 3.0 MB"),
        "{pruned:?}"
    );
    assert_eq!(cache(&["prune", "--all", "--json"]).json()["files"], 2);
    assert_eq!(cache(&["size", "--json"]).json()["layers"]["files"], 0);
}
