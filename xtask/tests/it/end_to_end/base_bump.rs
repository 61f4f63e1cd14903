//! A newer base image under the same packages.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::{docker, elsewhere, fresh, scan::Vulnerable};
use crate::monorepo::{CONNECTORS, Finished};

const STORE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/store/layers");
const FORCED: [&str; 5] = [
    "connector",
    "publish",
    "source-vulnerable",
    "--dry-run=false",
    "--force-publish",
];

/// The names in a directory.
fn names(directory: impl AsRef<Path>) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What the store says of the layers that it keeps.
fn kept() -> BTreeSet<String> {
    let mut names = names(STORE);
    names.retain(|name| name.ends_with(".json"));
    names
}

/// Publishes on a base to a namespace of its registry; what the push says it moved: blobs uploaded, their bytes, mounted,
/// there.
fn publish(sandbox: &Vulnerable, base: &str, namespace: &str) -> Vec<u64> {
    publish_with(sandbox, base, namespace, &[])
}

/// The same with more variables.
fn publish_with(
    sandbox: &Vulnerable,
    base: &str,
    namespace: &str,
    variables: &[(&str, &str)],
) -> Vec<u64> {
    let stand_in = format!("docker.io/airbyte/python-connector-base={base}");
    let registry = base.split('/').next().unwrap();
    let mut command = sandbox.command();
    command.env("XTASK_REGISTRY", format!("{registry}/{namespace}"));
    command
        .env("XTASK_STAND_INS", stand_in)
        .env("XTASK_PLATFORMS", "linux/amd64")
        .envs(variables.iter().copied());
    let published = Finished::from(command.args(FORCED).arg("--json").output().unwrap())
        .code(0)
        .json();
    let record = published["record"].as_str().unwrap().to_owned();
    let log = fs::read_to_string(format!("{record}/source-vulnerable/push.log")).unwrap();
    // `1 blobs uploaded (7 bytes), 2 mounted, 3 there`
    let numbers = log
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok());
    numbers.collect()
}

/// A base image on top of another, under a tag of its registry.
pub fn newer(base: &str, tag: &str, instructions: &str) -> String {
    let context = tempfile::tempdir().unwrap();
    let dockerfile = format!("FROM {base}\n{instructions}");
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let registry = base.split('/').next().unwrap();
    let name = format!("{registry}/airbyte/python-connector-base:{tag}");
    let output = format!("--output=type=image,name={name},push=true");
    let metadata = context.path().join("metadata.json");
    let metadata_file = format!("--metadata-file={}", metadata.display());
    docker(&[
        "buildx",
        "build",
        "--quiet",
        "--provenance=false",
        &output,
        &metadata_file,
        context.path().to_str().unwrap(),
    ])
    .code(0);
    let made: Value = serde_json::from_str(&fs::read_to_string(metadata).unwrap()).unwrap();
    format!("{name}@{}", made["containerimage.digest"].as_str().unwrap())
}

#[test]
fn after_a_base_bump_only_configurations_are_uploaded_and_no_package_is_installed_again() {
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();
    let base = sandbox.stand_in("airbyte/python-connector-base");
    let namespace = fresh("bumped-");
    publish(&sandbox, &base, &namespace);
    let before = kept();

    let bumped = newer(&base, "bumped", "ENV BUMPED=1\nCOPY Dockerfile /bumped\n");

    let [uploaded, _, mounted, there] = publish(&sandbox, &bumped, &namespace)[..] else {
        unreachable!("four numbers")
    };
    assert_eq!(uploaded, 1, "the configuration");
    assert!(mounted > 1, "the base's layers, new and old: {mounted}");
    assert!(there > 1, "layers of packages: {there}");
    // The one more is byte-code of the base's own library.
    assert!(kept().difference(&before).count() <= 1);
    assert!(kept().is_superset(&before));
}

#[test]
fn layers_that_another_repository_has_are_mounted_from_there() {
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();
    let base = sandbox.stand_in("airbyte/python-connector-base");
    let names = ["one-", "another-"].map(fresh);
    let [_, first, ..] = publish(&sandbox, &base, &names[0])[..] else {
        unreachable!("four numbers")
    };
    let [_, second, mounted, _] = publish(&sandbox, &base, &names[1])[..] else {
        unreachable!("four numbers")
    };
    assert!(first > 1 << 20, "layers of packages: {first} bytes");
    assert!(
        second < 1 << 20,
        "documents and its own code: {second} bytes"
    );
    assert!(mounted > 3, "{mounted}");
}

#[test]
fn a_machine_that_made_no_layers_takes_them_from_the_published_image() {
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();
    let base = sandbox.stand_in("airbyte/python-connector-base");
    let namespace = fresh("taken-");
    publish(&sandbox, &base, &namespace);
    let module = "source-vulnerable/source_vulnerable/__init__.py";
    let module = sandbox.repo.root().join(CONNECTORS).join(module);
    fs::write(module, "CHANGED = True\n").unwrap();
    for (taking, layers) in [("true", 6), ("false", 6)] {
        let store = sandbox.repo.scratch().join(format!("store-{taking}"));
        let variables = [
            ("XTASK_CACHE", store.to_str().unwrap()),
            ("XTASK_LAYERS_FROM_REGISTRY", taking),
        ];
        publish_with(&sandbox, &base, &namespace, &variables);
        let files = store.join("files");
        let files = names(&files)
            .into_iter()
            .flat_map(|hash| names(files.join(hash)));
        // Backends that build its own package are fetched either way.
        let fetched = files.filter(|name| name.starts_with("requests-")).count();
        assert_eq!(fetched, usize::from(taking == "false"));
        let mut records = names(store.join("layers"));
        records.retain(|name| name.ends_with(".json"));
        assert_eq!(records.len(), layers);
        for record in records {
            let of = |directory: &Path| fs::read_to_string(directory.join(&record)).unwrap();
            assert_eq!(of(&store.join("layers")), of(Path::new(STORE)), "{taking}");
        }
    }
}
