//! The spec of many manifest-only connectors in one container of their base.

use std::fs;

use serde_json::Value;

use super::{alone, docker, messages, root, scan::Vulnerable};
use crate::monorepo::{CONNECTORS, Finished, Monorepo, metadata};

/// Programs that a connector may bring in place of the base's. This one leaves files and a process behind.
const LITTERS: &str = "
import subprocess
subprocess.Popen(['sleep', '3600'])
for path in ('/tmp/left', '/airbyte/integration_code/left.py', '/airbyte/integration_code/main.py'):
    open(path, 'w').write('raise SystemExit(9)')
from source_declarative_manifest.run import run
run()
";
const CRASHES: &str = "import os\nos._exit(3)\n";
const HANGS: &str = "import time\ntime.sleep(3600)\n";
/// A module of the connector's in place of one that is imported already.
const SHADOWS: &str = "raise SystemExit('not the real requests')\n";
const PROGRAM: &str = "main.py";

pub fn with(repo: Monorepo, name: &str, like: &str, files: &[(&str, &str)]) -> Monorepo {
    let directory = format!("{CONNECTORS}/{name}");
    let text =
        fs::read_to_string(root().join(CONNECTORS).join(like).join("manifest.yaml")).unwrap();
    let metadata = metadata(name).replace(
        "airbyte/base:1.0.0",
        "airbyte/source-declarative-manifest:7.0.0",
    );
    let repo = repo.file(&format!("{directory}/metadata.yaml"), &metadata);
    let repo = repo.file(
        &format!("{directory}/manifest.yaml"),
        &text.replace("PokeAPI", name),
    );
    files.iter().fold(repo, |repo, (file, text)| {
        repo.file(&format!("{directory}/{file}"), text)
    })
}

#[test]
fn a_batch_says_what_each_image_says_by_itself_and_no_one_harms_another() {
    let _turn = alone();
    let (pokeapi, meteo) = ("source-pokeapi", "source-open-meteo");
    let components =
        fs::read_to_string(root().join(CONNECTORS).join(meteo).join("components.py")).unwrap();
    let mut repo = Monorepo::new().file(
        "Cargo.toml",
        "[workspace]\n[workspace.metadata.connector]\nspec-timeout = 60\n",
    );
    for (name, like, files) in [
        ("source-a", pokeapi, &[] as &[(&str, &str)]),
        ("source-b-litters", pokeapi, &[(PROGRAM, LITTERS)]),
        ("source-c", meteo, &[("components.py", &components)]),
        ("source-crashes", pokeapi, &[(PROGRAM, CRASHES)]),
        ("source-hangs", pokeapi, &[(PROGRAM, HANGS)]),
        ("source-n", pokeapi, &[]),
        ("source-shadows", pokeapi, &[("requests.py", SHADOWS)]),
        ("source-z", meteo, &[("components.py", &components)]),
    ] {
        repo = with(repo, name, like, files);
    }
    let sandbox = Vulnerable::of(repo);
    let since = docker(&["info", "--format", "{{.SystemTime}}"]).code(0);
    let build = [
        "connector",
        "build",
        "source-*",
        "--builder",
        "assemble",
        "--json",
    ];
    let output = sandbox.command().args(build).output().unwrap();
    let built = Finished::from(output).code(1).json();
    let until = docker(&["info", "--format", "{{.SystemTime}}"]).code(0);
    let created = docker(&[
        "events",
        "--since",
        since.stdout.trim(),
        "--until",
        until.stdout.trim(),
        "--filter",
        "event=create",
        "--format",
        "{{.Actor.Attributes.name}}",
    ]);
    let started = |purpose: &str| {
        created
            .stdout
            .lines()
            .filter(|name| name.starts_with(purpose))
            .count()
    };
    assert!((1..=2).contains(&started("xtask-specs-")), "{created:?}");
    // One first and the three that fail; on a slow machine some that took too long in the batch.
    assert!((4..8).contains(&started("xtask-spec-")), "{created:?}");

    let mut failed = Vec::new();
    for connector in built.as_array().unwrap() {
        if let Some(error) = connector["error"].as_str() {
            failed.push(
                error.lines().next().unwrap().to_owned() + error.lines().nth(1).unwrap_or_default(),
            );
            continue;
        }
        let kept = fs::read_to_string(connector["specs"][0]["path"].as_str().unwrap()).unwrap();
        let image = connector["image"].as_str().unwrap();
        let ran = docker(&["run", "--rm", "--network", "none", image, "spec"]).code(0);
        let spec = &messages(&ran, "SPEC")[0]["spec"];
        assert_eq!(
            &serde_json::from_str::<Value>(&kept).unwrap(),
            spec,
            "{image}"
        );
    }
    let reasons = [
        "spec of source-crashes on linux/amd64 is wrong    the container exited with 3",
        "spec of source-hangs on linux/amd64 is wrong    the container took longer than 60 s",
        "spec of source-shadows on linux/amd64 is wrong    the container exited with 1",
    ];
    assert_eq!(failed, reasons);
}
