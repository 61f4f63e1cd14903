//! The fifteen bugs of the action that this replaces: none of them can come back unseen. Bug 1 (no retries) and bug 2
//! (a fault ends the script) are tried fault by fault in tools/registry as well, 5 (injection) with every input in
//! action.rs, 14 and 15 as plans in plan/publish/tests.rs.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::{
    end_to_end::publish::Registry,
    monorepo::{CONNECTORS, Finished, Monorepo, metadata},
};

/// A registry that answers each request with the next status, the last one for ever.
struct Scripted {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(statuses: &'static [u16]) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                let text = String::from_utf8_lossy(&head);
                seen.lock()
                    .unwrap()
                    .push(text.lines().next().unwrap_or_default().to_owned());
                let status = statuses[number.min(statuses.len() - 1)];
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Scripted { address, requests }
    }

    fn publish(&self, repo: &Monorepo, flags: &[&str]) -> Finished {
        let registry = format!("--registry={}/airbyte", self.address);
        let start = [
            "connector",
            "publish",
            "source-a",
            "--dry-run=false",
            &registry,
        ];
        publish(repo, &[&start, flags].concat())
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn publish(repo: &Monorepo, arguments: &[&str]) -> Finished {
    let configuration = repo.scratch();
    repo.xtask()
        .env("DOCKER_CONFIG", configuration.to_str().unwrap())
        .env(
            "GITHUB_OUTPUT",
            configuration.join("outputs").to_str().unwrap(),
        )
        .run(arguments)
}

/// A dry run at a registry that no network has (RFC 2606).
fn dry_run(repo: &Monorepo, flags: &[&str]) -> Finished {
    let start = [
        "connector",
        "publish",
        "source-a",
        "--registry=registry.invalid/airbyte",
    ];
    publish(repo, &[&start, flags].concat())
}

/// What a workflow's next step reads.
fn outputs(repo: &Monorepo) -> Vec<(String, String)> {
    let text = fs::read_to_string(repo.scratch().join("outputs")).unwrap();
    let mut lines = text.lines();
    let mut outputs = Vec::new();
    while let Some(line) = lines.next() {
        let (name, delimiter) = line.split_once("<<").unwrap();
        let value: Vec<&str> = lines
            .by_ref()
            .take_while(|line| *line != delimiter)
            .collect();
        outputs.push((name.to_owned(), value.join("\n")));
    }
    outputs
}

/// The last value of an output, which is the one that counts.
fn output(repo: &Monorepo, name: &str) -> String {
    let all = outputs(repo);
    let found = all.iter().rfind(|(key, _)| key == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {all:?}"))
        .1
        .clone()
}

fn one() -> Monorepo {
    Monorepo::new().manifest_only("source-a")
}

fn with_metadata(from: &str, to: &str) -> Monorepo {
    let text = metadata("source-a");
    assert!(text.contains(from));
    one().file(
        &format!("{CONNECTORS}/source-a/metadata.yaml"),
        &text.replace(from, to),
    )
}

fn plan(repo: &Monorepo, flags: &[&str]) -> Value {
    dry_run(repo, &[&["--plan", "--json"], flags].concat())
        .code(0)
        .json()[0]
        .clone()
}

#[test]
fn bug_01_a_busy_registry_is_asked_again_and_it_is_said() {
    let registry = Scripted::start(&[429, 404, 403]);
    let finished = registry.publish(&one(), &[]).code(1);
    assert_eq!(
        finished
            .stderr
            .matches("status 429; trying again in")
            .count(),
        1,
        "{}",
        finished.stderr
    );
    let asked = "HEAD /v2/airbyte/source-a/manifests/1.2.3 HTTP/1.1";
    assert_eq!(registry.requests()[..2], [asked, asked]);
}

#[test]
fn bug_02_a_fault_while_asking_ends_in_an_error_that_says_so() {
    let registry = Scripted::start(&[403]);
    registry
        .publish(&one(), &["--json"])
        .code(1)
        .says("look whether 127.0.0.1:")
        .says("answered with status 403")
        .says("help: no credentials are known for 127.0.0.1:");
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn bug_03_a_missing_field_is_an_error_and_never_the_text_null() {
    for (from, to) in [
        ("dockerImageTag: 1.2.3", "dockerImageTag: null"),
        ("  dockerImageTag: 1.2.3\n", ""),
    ] {
        let finished = dry_run(&with_metadata(from, to), &["--plan"]).code(2);
        finished
            .says("metadata.yaml")
            .says("data.dockerImageTag: missing");
    }
    let no_base = with_metadata("baseImage:", "other:");
    dry_run(&no_base, &[])
        .code(2)
        .says("connectorBuildOptions.baseImage: missing");
}

#[test]
fn bug_04_rc_counts_only_where_a_version_has_its_pre_release() {
    let latest = |version: &str| {
        let repo = with_metadata(
            "dockerImageTag: 1.2.3",
            &format!("dockerImageTag: {version}"),
        );
        let registry = Scripted::start(&[404]);
        let address = format!("--registry={}/airbyte", registry.address);
        let flags = [
            "connector",
            "publish",
            "source-a",
            "--dry-run=false",
            "--push-latest",
            "--plan",
            "--json",
            &address,
        ];
        let steps = publish(&repo, &flags).code(0).json()[0]["steps"].clone();
        let step = steps
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["step"] == "latest")
            .unwrap()
            .clone();
        step["does"].as_str().unwrap().to_owned()
    };
    assert_eq!(latest("1.2.3"), "run");
    assert_eq!(latest("1.2.3-rc.1"), "skip");
    assert_eq!(latest("1.2.3-arch"), "skip");
    let arch = with_metadata(
        "dockerRepository: airbyte/source-a",
        "dockerRepository: airbyte/source-rc",
    );
    assert_eq!(
        plan(&arch, &[])["image"],
        "registry.invalid/airbyte/source-rc:1.2.3"
    );
}

#[test]
fn bug_05_what_is_given_is_a_value_and_never_a_command() {
    let repo = one();
    let mark = repo.scratch().join("pwned");
    let hostile = format!("$(touch {})", mark.display());
    for flag in [
        format!("--tag-override={hostile}"),
        format!("--registry={hostile}/x"),
    ] {
        publish(&repo, &["connector", "publish", "source-a", &flag]).code(2);
    }
    publish(&repo, &["connector", "publish", &hostile]).code(2);
    assert!(!mark.exists());
}

#[test]
fn bug_06_the_repository_is_the_declared_one_at_the_registry_given() {
    let repo = with_metadata(
        "dockerRepository: airbyte/source-a",
        "dockerRepository: airbyte/source-other",
    );
    assert_eq!(
        plan(&repo, &[])["image"],
        "registry.invalid/airbyte/source-other:1.2.3"
    );
    let registry = Scripted::start(&[404]);
    let address = format!("--registry={}/mine", registry.address);
    publish(
        &repo,
        &["connector", "publish", "source-a", "--plan", &address],
    )
    .code(0);
    assert_eq!(
        registry.requests(),
        ["HEAD /v2/mine/source-other/manifests/1.2.3 HTTP/1.1"]
    );
}

#[test]
fn bug_07_every_platform_is_run_and_scanned_before_anything_is_pushed() {
    let steps = plan(&one(), &[])["steps"].clone();
    let names: Vec<&str> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    let place = |name: &str| names.iter().position(|one| *one == name).unwrap();
    assert!(
        place("spec") < place("push")
            && place("scan") < place("push")
            && place("push") < place("tag"),
        "{names:?}"
    );
    let repo = one();
    dry_run(&repo, &[])
        .code(0)
        .says("source-a spec linux/amd64: ok")
        .says("source-a spec linux/arm64: ok");
    let runs: Vec<String> = repo
        .log()
        .lines()
        .filter(|line| line.starts_with("run "))
        .map(str::to_owned)
        .collect();
    // Side by side, so in either order.
    for platform in ["--platform linux/amd64", "--platform linux/arm64"] {
        assert!(runs.iter().any(|run| run.contains(platform)), "{runs:?}");
    }
}

#[test]
fn bug_08_a_program_that_exits_well_without_a_spec_has_none() {
    let repo = one();
    for spec in ["hello", r#"{"type":"SPEC","spec":{}}"#] {
        let run = repo.xtask().env("FAKE_SPEC", spec);
        let flags = [
            "connector",
            "publish",
            "source-a",
            "--registry=registry.invalid/airbyte",
        ];
        run.run(&flags)
            .code(1)
            .says("spec of source-a on linux/amd64 is wrong");
    }
}

#[test]
fn bug_09_build_arguments_and_labels_reach_the_build() {
    let repo = one();
    dry_run(&repo, &[]).code(0);
    let log = repo.log();
    for expected in [
        "--build-arg=CONNECTOR_NAME=source-a",
        "--build-arg=CONNECTOR_SNAKE_NAME=source_a",
        "--build-arg=CONNECTOR_VERSION=1.2.3",
        "--build-arg=BASE_IMAGE=docker.io/airbyte/base:1.0.0@sha256:",
        "--label=io.airbyte.name=airbyte/source-a",
        "--label=io.airbyte.version=1.2.3",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
}

#[test]
fn bug_10_one_build_makes_what_is_tested_and_what_is_shipped() {
    let repo = one();
    let finished = dry_run(&repo, &["--json"]).code(0);
    let log = repo.log();
    let builds: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("buildx build"))
        .collect();
    assert_eq!(builds.len(), 1, "{log}");
    assert!(builds[0].contains("--platform=linux/amd64,linux/arm64"));
    // Both come out of that one build: the store that spec runs from and the layout that is pushed.
    assert!(builds[0].contains("--output=type=image,") && builds[0].contains("--output=type=oci,"));
    let json = finished.json();
    let digest = json["connectors"][0]["digest"].as_str().unwrap();
    // Not by its name, which another run on the same engine may have taken meanwhile.
    let image = format!(" docker.io/airbyte/source-a@{digest} spec");
    let specs = log.lines().filter(|line| line.ends_with(&image));
    assert_eq!(specs.count(), 2, "{log}");
}

#[test]
fn bug_11_a_tag_of_its_own_never_moves_latest() {
    // As the action's README has it under "Advanced Usage".
    let registry = Scripted::start(&[404]);
    let flags = [
        "--tag-override=v1.2.3",
        "--push-latest",
        "--force-publish",
        "--plan",
        "--json",
    ];
    let plan = registry.publish(&one(), &flags).code(0).json()[0].clone();
    let steps = plan["steps"].as_array().unwrap();
    let latest = steps.iter().find(|step| step["step"] == "latest").unwrap();
    assert_eq!(latest["does"], "skip");
    assert_eq!(
        latest["because"],
        "an image under a tag of its own (--tag-override) is never latest"
    );
}

#[test]
fn bug_12_outputs_tell_what_happened_also_when_a_later_step_fails() {
    let repo = one();
    let dry = dry_run(&repo, &[]).code(0);
    assert!(dry.stdout.contains("tested"), "{}", dry.stdout);
    for (name, expected) in [
        ("build-executed", "true"),
        ("push-executed", "false"),
        ("docker-tags", ""),
        ("latest-moved", "false"),
    ] {
        assert_eq!(output(&repo, name), expected, "{name}");
    }
    // Nothing is there, and pushing is forbidden.
    let repo = one();
    Scripted::start(&[404, 403])
        .publish(&repo, &[])
        .code(1)
        .says("status 403");
    for (name, expected) in [
        ("connector-name", "source-a"),
        ("connector-type", "manifest-only"),
        ("connector-dir", "airbyte-integrations/connectors/source-a"),
        ("connector-version-tag", "1.2.3"),
        ("image-exists", "false"),
        ("build-executed", "true"),
        ("push-executed", "false"),
        ("latest-moved", "false"),
    ] {
        assert_eq!(output(&repo, name), expected, "{name}");
    }
    assert!(output(&repo, "connector-image-name").ends_with("/airbyte/source-a:1.2.3"));
    // Not even the question could be asked, or there is no engine to build with.
    let repo = one();
    Scripted::start(&[403]).publish(&repo, &[]).code(1);
    assert_eq!(
        (
            output(&repo, "connector-name").as_str(),
            output(&repo, "build-executed").as_str()
        ),
        ("source-a", "false")
    );
    let repo = one();
    let run = repo.xtask().env("FAKE_DOCKER", "no-engine");
    let run = run.env(
        "GITHUB_OUTPUT",
        repo.scratch().join("outputs").to_str().unwrap(),
    );
    run.run(&[
        "connector",
        "publish",
        "source-a",
        "--registry=registry.invalid/airbyte",
    ])
    .code(3);
    assert_eq!(
        (
            output(&repo, "connector-version-tag").as_str(),
            output(&repo, "push-executed").as_str()
        ),
        ("1.2.3", "false")
    );
    assert!(output(&repo, "base-image").starts_with("docker.io/airbyte/base:1.0.0@sha256:"));
}

#[test]
fn bug_13_a_dry_run_needs_no_registry() {
    let finished = dry_run(&one(), &[]).code(0);
    finished
        .says("assumed not to be there")
        .says("source-a build: ");
}

#[test]
fn bug_14_latest_is_repaired_where_the_version_exists() {
    let (registry, repo) = (Registry::start(), one());
    registry.publish(&repo, &[], 0);
    assert_eq!(registry.digest("latest"), "");
    let builds = repo.log();
    let repaired = registry.publish(&repo, &["--push-latest"], 0);
    assert_eq!(repaired["action"], "latest-moved");
    assert_eq!(registry.digest("latest"), registry.digest("1.2.3"));
    assert_eq!(repo.log(), builds, "docker was started");
}

#[test]
fn bug_15_a_version_of_which_one_platform_arrived_does_not_exist() {
    let (registry, repo) = (Registry::start(), one());
    registry.publish(&repo, &[], 0);
    let arm64 = registry.index("1.2.3")["manifests"][1]["digest"].clone();
    let path = registry.path(arm64.as_str().unwrap());
    assert_eq!(registry.send("DELETE", &path, "", "").0, 202);
    let repaired = registry.publish(&repo, &[], 0);
    assert_eq!(repaired["outputs"]["image-exists"], "false");
    assert_eq!(repaired["action"], "repaired");
    assert_eq!(registry.send("HEAD", &path, "", "").0, 200);
}
