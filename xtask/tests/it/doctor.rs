//! `doctor`, and the checks that every command with an engine makes first.

use crate::monorepo::Monorepo;

fn check(fault: &str, name: &str) -> serde_json::Value {
    let repo = Monorepo::new();
    let xtask = repo
        .xtask()
        .env("FAKE_DOCKER", fault)
        .env("XTASK_REGISTRY", "127.0.0.1:1/airbyte");
    let checks = xtask.run(&["doctor", "--json"]).json();
    checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == name)
        .unwrap()
        .clone()
}

#[test]
fn a_ready_machine_has_no_problem() {
    let repo = Monorepo::new();
    let xtask = repo.xtask().env("XTASK_REGISTRY", "127.0.0.1:1/airbyte");
    let finished = xtask.run(&["doctor"]).code(0);
    for expected in [
        "ok       engine       docker 26.1.5",
        "ok       platforms    linux/amd64 (native), linux/arm64 (emulated)",
        "warning  registry     127.0.0.1:1 can't be reached",
    ] {
        assert!(
            finished.stdout.contains(expected),
            "{expected}\n{}",
            finished.stdout
        );
    }
}

/// A monorepo may have Dockerfiles of the same names that know nothing of this program.
#[test]
fn dockerfiles_of_another_make_are_told() {
    let said = |repo: &Monorepo| {
        let xtask = repo.xtask().env("XTASK_REGISTRY", "127.0.0.1:1/airbyte");
        let lines = xtask.run(&["doctor", "--json"]).json();
        let lines = lines.as_array().unwrap();
        let line = lines.iter().find(|line| line["name"] == "dockerfiles");
        line.unwrap()["detail"].as_str().unwrap().to_owned()
    };
    let repo = Monorepo::new();
    assert_eq!(said(&repo), "this program's own");
    let repo = repo.file(
        "docker-images/Dockerfile.python-connector",
        "FROM scratch\n",
    );
    assert_eq!(
        said(&repo),
        "this program's own; of another make in docker-images, and not used: Dockerfile.python-connector"
    );
}

#[test]
fn each_fault_is_found_with_its_fix() {
    for (fault, name, detail, fix) in [
        ("no-engine", "engine", "Cannot connect", "--sandbox"),
        (
            "classic-store",
            "image store",
            "classic store",
            "containerd-snapshotter",
        ),
        ("no-buildx", "buildx", "no buildx plugin", "docker-buildx"),
        (
            "old-buildx",
            "buildx",
            "0.11.2 is too old",
            "0.13.0 or newer",
        ),
        (
            "no-arm64",
            "platforms",
            "linux/arm64 can't be run here",
            "qemu-user-static",
        ),
        (
            "no-home",
            "platforms",
            "mkdir /nowhere/.docker: permission denied",
            "DOCKER_CONFIG",
        ),
    ] {
        let check = check(fault, name);
        assert_eq!(check["status"], "problem", "{fault}");
        assert!(
            check["detail"].as_str().unwrap().contains(detail),
            "{fault}: {check}"
        );
        assert!(
            check["fix"].as_str().unwrap().contains(fix),
            "{fault}: {check}"
        );
    }
}

#[test]
fn doctor_exits_with_3_when_something_is_missing() {
    Monorepo::new()
        .xtask()
        .env("FAKE_DOCKER", "no-engine")
        .run(&["doctor"])
        .code(3);
}

#[test]
fn a_build_stops_with_all_problems_at_once() {
    let repo = Monorepo::new().manifest_only("source-a");
    let build = ["connector", "build", "source-a", "--platform", "all"];
    for (fault, expected) in [
        (
            "no-engine",
            "engine: Cannot connect to the Docker daemon; start docker, or add --sandbox",
        ),
        (
            "classic-store",
            "image store: the engine keeps images in its classic store",
        ),
        ("old-buildx", "buildx: 0.11.2 is too old"),
        ("no-arm64", "platforms: linux/arm64 can't be run here"),
        (
            "no-home",
            "platforms: `docker buildx inspect default` exited with 1",
        ),
        (
            "own-builder",
            "builder: cloud, the one in use, is of the kind docker-container, which keeps no images; `docker buildx use default`, or build with it: --builder cloud",
        ),
    ] {
        repo.xtask()
            .env("FAKE_DOCKER", fault)
            .run(&build)
            .code(3)
            .says("this machine can't build images")
            .says(expected);
    }
    repo.xtask()
        .run(&[&build[..], &["--builder", "nowhere"]].concat())
        .code(3)
        .says("builder: `docker buildx inspect nowhere` exited with 1")
        .says("no builder \"nowhere\" found");
    assert!(!repo.log().contains("buildx build"), "{}", repo.log());
}
