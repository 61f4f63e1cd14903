//! `connector build` against a fake docker.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::monorepo::{CONNECTORS, Finished, Monorepo, git, metadata};

const BUILD: [&str; 3] = ["connector", "build", "source-a"];

fn one() -> Monorepo {
    Monorepo::new().manifest_only("source-a")
}

#[test]
fn one_buildx_call_for_all_platforms_then_spec_on_each() {
    let repo = one();
    let finished = repo
        .xtask()
        .run(&["connector", "build", "source-a", "--platform", "all"])
        .code(0);
    assert_eq!(finished.stdout, "docker.io/airbyte/source-a:dev\n");
    let last = finished.stderr.lines().last().unwrap();
    assert_eq!(
        last,
        "run it: docker run --rm docker.io/airbyte/source-a:dev spec"
    );
    let log = repo.log();
    let builds: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("buildx build"))
        .collect();
    assert_eq!(builds.len(), 1, "{log}");
    for expected in [
        "--platform=linux/amd64,linux/arm64",
        "--build-arg=BASE_IMAGE=docker.io/airbyte/base:1.0.0@sha256:c44839",
        "--build-arg=CONNECTOR_NAME=source-a --build-arg=CONNECTOR_SNAKE_NAME=source_a --build-arg=CONNECTOR_VERSION=1.2.3",
        "--label=io.airbyte.name=airbyte/source-a --label=io.airbyte.version=1.2.3",
        "--label=org.opencontainers.image.base.digest=sha256:c44839",
    ] {
        assert!(builds[0].contains(expected), "{expected}\n{}", builds[0]);
    }
    for platform in ["linux/amd64", "linux/arm64"] {
        let run = log
            .lines()
            .find(|line| line.starts_with("run ") && line.contains(platform))
            .unwrap();
        assert!(
            run.contains("--rm")
                && run.contains("--network none")
                && run.contains(" docker.io/airbyte/source-a@sha256:")
                && run.ends_with(" spec"),
            "{run}"
        );
    }
}

#[test]
fn the_default_is_the_hosts_platform_alone() {
    let repo = one();
    repo.xtask().run(&BUILD).code(0);
    let log = repo.log();
    assert!(
        log.lines().any(
            |line| line.starts_with("buildx build") && line.contains("--platform=linux/amd64 ")
        ),
        "{log}"
    );
    assert_eq!(
        log.lines()
            .filter(|line| line.starts_with("run --rm --name"))
            .count(),
        1
    );
}

#[test]
fn json_gives_digest_and_where_the_spec_is() {
    let repo = one();
    let built = repo
        .xtask()
        .run(&["connector", "build", "source-a", "--json", "--tag", "t1"])
        .code(0)
        .json();
    assert_eq!(built[0]["image"], "docker.io/airbyte/source-a:t1");
    // That of the index which the fake client writes.
    let digest = "sha256:4bfbc28867d17a969af61a4f6d379e128411b2702ae0cc8f0438b3e40c4c5a8b";
    assert_eq!(built[0]["digest"], digest);
    let run = format!(" docker.io/airbyte/source-a@{digest} spec\n");
    assert!(repo.log().contains(&run), "{}", repo.log());
    let spec = std::fs::read_to_string(built[0]["specs"][0]["path"].as_str().unwrap()).unwrap();
    assert!(spec.contains("\"connectionSpecification\""), "{spec}");
}

#[test]
fn a_dry_run_prints_the_plan_and_starts_nothing() {
    let repo = one();
    let finished = repo
        .xtask()
        .run(&[
            "connector",
            "build",
            "source-a",
            "--dry-run",
            "--platform",
            "all",
        ])
        .code(0);
    for expected in [
        "source-a (manifest-only) -> docker.io/airbyte/source-a:dev",
        "spec   linux/arm64 (emulated, at most 900 s)",
    ] {
        assert!(finished.stdout.contains(expected), "{}", finished.stdout);
    }
    assert!(
        !repo.log().contains("build") && !repo.log().contains("run"),
        "{}",
        repo.log()
    );
    let without_engine = repo.xtask().env("FAKE_DOCKER", "no-engine").run(&[
        "connector",
        "build",
        "source-a",
        "--dry-run",
        "--platform",
        "all",
    ]);
    assert_eq!(without_engine.code(0).stdout, finished.stdout);
}

#[test]
fn what_is_planned_is_what_runs() {
    let repo = one();
    let plan = repo
        .xtask()
        .run(&["connector", "build", "source-a", "--dry-run", "--json"])
        .code(0)
        .json();
    repo.xtask().run(&BUILD).code(0);
    let log = repo.log();
    let build = log
        .lines()
        .find(|line| line.starts_with("buildx build"))
        .unwrap();
    for (field, flag) in [
        ("arguments", "--build-arg"),
        ("labels", "--label"),
        ("contexts", "--build-context"),
    ] {
        let planned: Vec<String> = plan[0][field]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| {
                format!(
                    "{flag}={}={}",
                    pair[0].as_str().unwrap(),
                    pair[1].as_str().unwrap()
                )
            })
            .collect();
        let ran = build.matches(&format!("{flag}=")).count();
        assert_eq!(planned.len(), ran, "{field}: {build}");
        assert!(
            planned.iter().all(|argument| build.contains(argument)),
            "{planned:?}\n{build}"
        );
    }
}

#[test]
fn a_wrong_spec_is_shown_with_the_last_words() {
    let repo = one();
    for (spec, expected) in [
        (
            "Traceback (most recent call last):",
            "first line that is no Airbyte message: Traceback",
        ),
        (
            r#"{"type":"SPEC","spec":{"connectionSpecification":{"type":"array"}}}"#,
            "type is \"array\", expected \"object\"",
        ),
    ] {
        let finished = repo.xtask().env("FAKE_SPEC", spec).run(&BUILD).code(1);
        finished
            .says("spec of source-a on linux/amd64 is wrong")
            .says(expected)
            .says("    the last words");
    }
    let failing = repo
        .xtask()
        .env("FAKE_DOCKER", "failing-spec")
        .run(&BUILD)
        .code(1);
    failing.says("the container exited with 3");
}

#[test]
fn a_spec_that_hangs_is_ended_with_its_container() {
    let repo = one();
    let finished = repo
        .xtask()
        .env("FAKE_DOCKER", "endless-spec")
        .env("XTASK_SPEC_TIMEOUT", "1")
        .run(&BUILD)
        .code(1);
    finished.says("the container took longer than 1 s");
    assert!(
        repo.log().contains("rm --force --volumes xtask-spec-"),
        "{}",
        repo.log()
    );
}

#[test]
fn failures_of_the_engine_say_what_to_do() {
    let repo = one();
    for (fault, code, expected) in [
        (
            "broken-build",
            1,
            "build image for source-a: `docker buildx build ",
        ),
        (
            "broken-build",
            1,
            "exited with 1\n    ERROR: failed to solve: it broke",
        ),
        ("full-disk", 3, "the disk is full"),
        ("full-disk", 3, "help: `docker system df`"),
        (
            "no-base",
            1,
            "base image docker.io/airbyte/base:1 can't be had",
        ),
        ("no-base", 1, "help: check connectorBuildOptions.baseImage"),
    ] {
        repo.xtask()
            .env("FAKE_DOCKER", fault)
            .run(&BUILD)
            .code(code)
            .says(expected);
    }
}

#[test]
fn one_failing_connector_hides_no_other() {
    let repo = one().manifest_only("source-b").manifest_only("source-c");
    let finished = repo
        .xtask()
        .env("FAKE_BREAKS", "airbyte/source-b:dev")
        .run(&["connector", "build", "source-*"])
        .code(1);
    assert_eq!(
        finished.stdout,
        "docker.io/airbyte/source-a:dev\ndocker.io/airbyte/source-c:dev\n"
    );
    finished
        .says("build image for source-b")
        .says("1 of 3 failed: source-b");
}

#[test]
fn what_can_t_be_built_is_said_at_once_and_before_anything_runs() {
    let no_base = metadata("source-bare")
        .replace("  connectorBuildOptions:\n", "")
        .replace("    baseImage", "  erdUrl");
    let repo = one()
        .connector("source-java", &["build.gradle.kts"])
        .file(&format!("{CONNECTORS}/source-bare/metadata.yaml"), &no_base)
        .file(&format!("{CONNECTORS}/source-bare/manifest.yaml"), "");
    let finished = repo
        .xtask()
        .run(&["connector", "build", "source-*"])
        .code(2);
    finished
        .says("source-java is written in java, which is not supported")
        .says("source-bare/metadata.yaml: data.connectorBuildOptions.baseImage: missing");
    assert_eq!(repo.log(), "");
}

#[test]
fn images_are_named_by_the_declared_repository() {
    let text = metadata("source-a").replace("airbyte/source-a", "airbyte/source-declared");
    let repo = one().file(&format!("{CONNECTORS}/source-a/metadata.yaml"), &text);
    assert_eq!(
        repo.xtask().run(&BUILD).code(0).stdout,
        "docker.io/airbyte/source-declared:dev\n"
    );
}

#[test]
fn a_repository_without_dockerfiles_is_built_with_our_own() {
    let repo = one();
    repo.xtask().run(&BUILD).code(0);
    let ours = include_str!("../../../docker-images/Dockerfile.manifest-only-connector");
    assert_eq!(
        repo.read("target/xtask/docker-images/Dockerfile.manifest-only-connector"),
        ours
    );
}

#[test]
fn a_manifest_that_is_none_is_said_with_its_place() {
    let repo = one().file(
        &format!("{CONNECTORS}/source-a/manifest.yaml"),
        "a: [b\nc: d\n",
    );
    repo.xtask()
        .run(&BUILD)
        .code(2)
        .says("source-a/manifest.yaml: ")
        .says("line 2 column 2");
    assert!(!repo.log().contains("buildx build"), "{}", repo.log());
}

#[test]
fn what_must_run_in_an_image_is_not_assembled() {
    let repo = one();
    let dry = ["connector", "build", "source-a", "--dry-run"];
    let run = |builder: &str, settings: &[&str]| {
        let flags = ["--builder", builder];
        let xtask = repo.xtask();
        xtask.run(&[&dry[..], &flags, settings].concat())
    };
    let plain = run("auto", &[]).code(0).stdout;
    assert!(plain.contains("build  linux/amd64 assembled"), "{plain}");
    let script = ["--config", "prerequisites=source-a=install.sh"];
    run("auto", &script)
        .code(2)
        .says("source-a is manifest-only, and only images of python connectors are prepared");
    let named = run("cloud", &[]).code(0).stdout;
    assert!(named.contains("by docker's builder cloud"), "{named}");
    run("--push", &[]).code(2);
    let asked = repo.xtask().run(&[&dry[..], &["--json"]].concat()).code(0);
    assert_eq!(asked.json()[0]["method"]["how"], "docker");
}

#[test]
fn an_engine_that_lacks_the_image_gets_all_of_it_once_and_runs_no_other() {
    // By a builder of another kind each platform is sent; the engine's own leaves its image there, until another run
    // takes the name.
    for (builder, needed, sent, tried, exit) in [
        ("cloud", "1", 1, 1, 0),
        ("cloud", "2", 2, 2, 0),
        ("cloud", "3", 2, 2, 1),
        ("docker", "0", 0, 1, 0),
        ("docker", "1", 1, 2, 0),
        ("docker", "2", 1, 2, 1),
    ] {
        let repo = one();
        let forgetful = repo.xtask().env("FAKE_DOCKER", "forgetful");
        let build = ["connector", "build", "source-a", "--builder", builder];
        let finished = forgetful.env("FAKE_LOADS", needed).run(&build).code(exit);
        let log = repo.log();
        let calls = |command: &str| log.lines().filter(|line| line.starts_with(command)).count();
        let called = (calls("load"), calls("run --rm --name"));
        assert_eq!(called, (sent, tried), "{log}");
        if exit == 1 {
            finished.says("No such image: airbyte/x@sha256:0");
        }
    }
}

#[test]
fn a_connector_is_built_by_one_run_at_a_time() {
    let repo = one();
    let go = repo.scratch().join("go");
    let mut fifo = std::process::Command::new("mkfifo");
    assert!(fifo.arg(&go).status().unwrap().success());
    let start = |fault: &str| {
        let xtask = repo.xtask().env("FAKE_DOCKER", fault);
        let mut command = xtask.env("FAKE_GO", go.to_str().unwrap()).command;
        let command = command.args(BUILD).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut first = start("waiting-spec");
    repo.wait_until_building(&mut first);
    let mut second = start("");
    let mut said = String::new();
    let stderr = second.stderr.as_mut().unwrap();
    BufReader::new(stderr).read_line(&mut said).unwrap();
    let log = repo.log();
    fs::write(&go, "").unwrap();
    Finished::from(first.wait_with_output().unwrap()).code(0);
    Finished::from(second.wait_with_output().unwrap()).code(0);
    assert_eq!(said, "source-a: waits for another run that builds it\n");
    assert_eq!(log.matches("buildx build").count(), 1, "{log}");
}

#[test]
fn a_shallow_clone_dates_no_image_in_silence() {
    let repo = one();
    repo.commit(".");
    let repo = repo.file("docs/note.md", "later");
    repo.commit(".");
    let clone = repo.scratch().join("clone");
    let address = format!("file://{}", repo.root().display());
    let clone_to = clone.to_str().unwrap();
    git(
        &repo.root(),
        &["clone", "--quiet", "--depth=1", &address, clone_to],
    );
    let dry = ["connector", "build", "source-a", "--dry-run"];
    let whole = repo.xtask().run(&dry).code(0);
    let shallow = [&["-C", clone.to_str().unwrap()], &dry[..]].concat();
    let shallow = repo.xtask().run(&shallow).code(0);
    let warning = "source-a: this clone is shallow, so images carry the date of its oldest commit";
    assert!(!whole.stderr.contains(warning), "{whole:?}");
    shallow.says(warning).says("git fetch --unshallow");
}

#[test]
fn attestations_are_asked_of_buildkit_and_an_assembled_image_has_none() {
    let repo = one();
    let ask = |flags: &[&str]| {
        let dry = ["connector", "build", "source-a", "--dry-run", "--json"];
        repo.xtask().run(&[&dry[..], flags].concat())
    };
    let attest = |flags: &[&str]| ask(flags).code(0).json()[0]["attest"].clone();
    assert_eq!(
        attest(&[]),
        serde_json::json!(["--provenance=false", "--sbom=false"])
    );
    assert_eq!(
        attest(&["--provenance", "--sbom"]),
        serde_json::json!(["--provenance=mode=max", "--sbom=true"])
    );
    let mirror = "tools.sbom-generator=ghcr.io/org/scanner:1";
    assert_eq!(
        attest(&["--sbom", "--config", mirror])[1],
        "--sbom=generator=ghcr.io/org/scanner:1"
    );
    ask(&["--provenance", "--builder", "assemble"])
        .code(2)
        .says("source-a can't be assembled: only BuildKit attests: --provenance");
    let build = ["connector", "build", "source-a", "--provenance"];
    repo.xtask().run(&build).code(0);
    assert!(repo.log().contains("--provenance=mode=max --sbom=false"));
}

#[test]
fn a_repository_that_git_does_not_trust_is_an_error_and_not_none() {
    let repo = one();
    repo.commit(".");
    let build = |owner: &str| {
        repo.xtask()
            .env("HOME", repo.scratch().to_str().unwrap())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TEST_ASSUME_DIFFERENT_OWNER", owner)
            .run(&["connector", "build", "source-a", "--dry-run"])
    };
    build("0").code(0);
    build("1").code(1).says("dubious ownership");
}
