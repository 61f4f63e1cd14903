//! The real thing: this repository's own connectors on the sandbox's engine, registry and QEMU.
//!
//! The tests share one sandbox: each starts it when it is not up and leaves it running, as `cargo xtask ci` takes it
//! down at its end. Those on this repository's connectors take turns, and beside them those on a repository of their
//! own, whose images and stores are others; who must have the engine for itself takes both turns.

mod assemble;
mod base_bump;
mod bench;
mod online;
mod package;
mod proxy;
pub mod publish;
mod publish_faults;
mod repeat;
mod scan;
mod secrets;
mod spec_batch;
mod tool_checks;
mod wheels;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

use serde_json::{Value, json};

use crate::monorepo::Finished;

type Turn = MutexGuard<'static, ()>;

/// The next one on this repository's own connectors.
fn here() -> Turn {
    static HERE: Mutex<()> = Mutex::new(());
    HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next one on a repository of the test's own.
fn elsewhere() -> Turn {
    static ELSEWHERE: Mutex<()> = Mutex::new(());
    ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that stops the engine, empties its builder's cache, or reads what it and its registry log.
fn alone() -> [Turn; 2] {
    [here(), elsewhere()]
}

/// A name or version, begun so, that no earlier run gave: the registry keeps what those pushed, and in containers process
/// ids recur.
fn fresh(start: &str) -> String {
    format!("{start}{}", UNIX_EPOCH.elapsed().unwrap().as_nanos())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn xtask(arguments: &[&str]) -> Finished {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .current_dir(root())
        .args(arguments)
        .output()
        .unwrap();
    Finished::from(output)
}

fn sandboxed(arguments: &[&str]) -> Finished {
    xtask(&[&["--sandbox"], arguments].concat())
}

fn docker(arguments: &[&str]) -> Finished {
    let status = xtask(&["sandbox", "status", "--json"]).code(0).json();
    let host = status["docker_host"].as_str().unwrap();
    Finished::from(
        Command::new("docker")
            .env("DOCKER_HOST", host)
            .args(arguments)
            .output()
            .unwrap(),
    )
}

/// The messages of one type that a connector printed; every line must be a message.
fn messages(finished: &Finished, kind: &str) -> Vec<Value> {
    let all: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        all.iter().all(|message| message["type"].is_string()),
        "{finished:?}"
    );
    all.into_iter()
        .filter(|message| message["type"] == kind)
        .collect()
}

#[test]
fn all_connectors_are_built_for_both_platforms_and_their_spec_is_right_on_each() {
    let _turn = here();
    let built = sandboxed(&["connector", "build", "*", "--platform", "all", "--json"])
        .code(0)
        .json();
    let built = built.as_array().unwrap();
    let listed = xtask(&["connector", "list", "--json"]).code(0).json();
    assert_eq!(built.len(), listed["connectors"].as_array().unwrap().len());
    for connector in built {
        let specs = connector["specs"].as_array().unwrap();
        let platforms: Vec<&str> = specs
            .iter()
            .map(|spec| spec["platform"].as_str().unwrap())
            .collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"], "{connector}");
        let texts: Vec<String> = specs
            .iter()
            .map(|spec| fs::read_to_string(spec["path"].as_str().unwrap()).unwrap())
            .collect();
        assert_eq!(
            texts[0], texts[1],
            "the spec is the same on both platforms: {connector}"
        );
    }
}

#[test]
fn an_image_has_user_entry_point_work_directory_and_labels() {
    let _turn = here();
    for (name, entry_point) in [
        ("source-faker", json!(["/entrypoint.sh"])),
        (
            "source-pokeapi",
            json!(["python", "/airbyte/integration_code/main.py"]),
        ),
    ] {
        let image = sandboxed(&["connector", "build", name])
            .code(0)
            .stdout
            .trim()
            .to_owned();
        let config = docker(&["image", "inspect", "--format", "{{json .Config}}", &image])
            .code(0)
            .json();
        let info = xtask(&["connector", "info", name, "--json"]).code(0).json();
        assert_eq!(config["User"], "airbyte");
        assert_eq!(config["WorkingDir"], "/airbyte/integration_code");
        assert_eq!(config["Entrypoint"], entry_point);
        let words: Vec<&str> = entry_point
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let announced = format!("AIRBYTE_ENTRYPOINT={}", words.join(" "));
        assert!(
            config["Env"]
                .as_array()
                .unwrap()
                .iter()
                .any(|variable| *variable == *announced),
            "{config:#}"
        );
        for (label, expected) in [
            ("io.airbyte.name", format!("airbyte/{name}")),
            (
                "io.airbyte.version",
                info["version"].as_str().unwrap().to_owned(),
            ),
            (
                "org.opencontainers.image.title",
                info["title"].as_str().unwrap().to_owned(),
            ),
            (
                "org.opencontainers.image.version",
                info["version"].as_str().unwrap().to_owned(),
            ),
        ] {
            assert_eq!(config["Labels"][label], expected, "{label}");
        }
        for label in ["source", "revision", "created", "base.name", "base.digest"] {
            assert!(
                config["Labels"][format!("org.opencontainers.image.{label}")].is_string(),
                "{label} {config:#}"
            );
        }
        let id = docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "id",
            &image,
        ])
        .code(0)
        .stdout;
        assert!(id.starts_with("uid=1000(airbyte)"), "{id}");
    }
}

#[test]
fn source_faker_reads_valid_messages_and_goes_on_from_its_state() {
    let _turn = here();
    let image = sandboxed(&["connector", "build", "source-faker"])
        .code(0)
        .stdout
        .trim()
        .to_owned();
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, value: &Value| {
        fs::write(directory.path().join(name), value.to_string()).unwrap()
    };
    let mount = format!("{}:/config:ro", directory.path().display());
    let run = |arguments: &[&str]| {
        let start = [
            "run",
            "--rm",
            "--network",
            "none",
            "--volume",
            &mount,
            &image,
        ];
        docker(&[&start, arguments].concat()).code(0)
    };
    put(
        "config.json",
        &json!({ "count": 20, "seed": 7, "always_updated": false }),
    );
    // The container's user must be able to read what root wrote.
    Command::new("chmod")
        .arg("-R")
        .arg("a+rX")
        .arg(directory.path())
        .status()
        .unwrap();

    let check = run(&["check", "--config", "/config/config.json"]);
    assert_eq!(
        messages(&check, "CONNECTION_STATUS")[0]["connectionStatus"]["status"],
        "SUCCEEDED"
    );

    let catalog = messages(
        &run(&["discover", "--config", "/config/config.json"]),
        "CATALOG",
    )
    .remove(0);
    let streams = catalog["catalog"]["streams"].as_array().unwrap().clone();
    let names: Vec<&str> = streams
        .iter()
        .map(|stream| stream["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["users", "products", "purchases"]);
    let configured: Vec<Value> = streams
        .iter()
        .map(|stream| json!({ "stream": stream, "sync_mode": "incremental", "destination_sync_mode": "append" }))
        .collect();
    put("catalog.json", &json!({ "streams": configured }));

    let read = [
        "read",
        "--config",
        "/config/config.json",
        "--catalog",
        "/config/catalog.json",
    ];
    let first = run(&read);
    let records = messages(&first, "RECORD");
    let users = records
        .iter()
        .filter(|message| message["record"]["stream"] == "users")
        .count();
    assert_eq!(users, 20);
    let data = |records: &[Value]| {
        records
            .iter()
            .map(|m| m["record"]["data"]["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        data(&messages(&run(&read), "RECORD")),
        data(&records),
        "one seed gives one set of records"
    );

    let states = messages(&first, "STATE");
    let mut last = std::collections::BTreeMap::new();
    for state in &states {
        let state = &state["state"];
        last.insert(
            state["stream"]["stream_descriptor"]["name"].to_string(),
            state.clone(),
        );
    }
    put("state.json", &Value::Array(last.into_values().collect()));
    let again = run(&[&read[..], &["--state", "/config/state.json"]].concat());
    assert!(
        messages(&again, "RECORD").is_empty(),
        "nothing new since the state: {again:?}"
    );
}

#[test]
fn doctor_finds_the_sandbox_ready() {
    let _turn = here();
    let checks = sandboxed(&["doctor", "--json"]).code(0).json();
    let engine = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "engine")
        .unwrap();
    assert_eq!(engine["status"], "ok");
    assert!(
        engine["detail"].as_str().unwrap().contains("docker.sock"),
        "{engine}"
    );
}

#[test]
fn doctor_without_an_engine_says_what_to_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .current_dir(root())
        .args(["doctor", "--json"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output();
    let checks = Finished::from(output.unwrap()).code(3).json();
    let check = |name: &str| {
        checks
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(check("engine")["status"], "problem");
    assert!(
        check("engine")["fix"]
            .as_str()
            .unwrap()
            .contains("--sandbox")
    );
    assert_eq!(check("poe")["status"], "ok", "{checks:#}");
}

#[test]
fn the_sandbox_comes_up_twice_goes_down_and_comes_up_again() {
    let _turn = alone();
    let up = |value: &Value| value["up"].as_bool().unwrap();
    let first = xtask(&["sandbox", "up", "--json"]).code(0).json();
    let second = xtask(&["sandbox", "up", "--json"]).code(0).json();
    assert_eq!(first, second, "a second up changes nothing");
    xtask(&["sandbox", "down"]).code(0);
    assert!(!up(&xtask(&["sandbox", "status", "--json"]).json()));
    xtask(&["sandbox", "down"]).code(0);
    xtask(&["sandbox", "up"]).code(0);
    assert!(up(&xtask(&["sandbox", "status", "--json"]).code(0).json()));
    docker(&["info"]).code(0);
}

/// Without a bridge of its own, an engine removes a docker0 that it finds, and with it a system engine's network.
#[test]
fn the_bridge_of_a_system_engine_is_left_alone() {
    let _turn = alone();
    let interface = Path::new("/sys/class/net/docker0/ifindex");
    let made = !interface.exists();
    if made {
        ip(&["link", "add", "name", "docker0", "type", "bridge"]);
    }
    let before = fs::read_to_string(interface).unwrap();
    xtask(&["sandbox", "down"]).code(0);
    let up = xtask(&["sandbox", "up"]);
    let after = fs::read_to_string(interface);
    if made {
        ip(&["link", "delete", "dev", "docker0"]);
    }
    up.code(0);
    assert_eq!(after.unwrap(), before);
}

fn ip(arguments: &[&str]) {
    Finished::from(Command::new("ip").args(arguments).output().unwrap()).code(0);
}
