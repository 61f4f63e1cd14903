//! `check --online` and `up-to-date` against a registry that answers from a table, and one that does not.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use crate::monorepo::{CONNECTORS, Finished, Monorepo, metadata};

const OLD: &str = "sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916";
const NEW: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// Answers HEAD and GET by path: a digest as a manifest's, anything else as a body. Its address.
fn registry(answers: &[(&str, &str)]) -> String {
    let answers: BTreeMap<String, String> = answers
        .iter()
        .map(|(path, answer)| (format!("/v2/airbyte/{path}"), (*answer).to_owned()))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let path = first.split(' ').nth(1).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default().to_owned();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (status, digest, body) = match answers.get(&path) {
                None => ("404 Not Found", String::new(), ""),
                Some(answer) if answer.starts_with("sha256:") => {
                    ("200 OK", format!("Docker-Content-Digest: {answer}\r\n"), "")
                }
                Some(body) => ("200 OK", String::new(), body.as_str()),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\n{digest}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(head.as_bytes());
        }
    });
    address
}

fn run(repo: &Monorepo, registry: &str, arguments: &[&str]) -> Finished {
    let mirrors = format!("mirrors=docker.io/airbyte={registry}/airbyte");
    let published = format!("registry={registry}/airbyte");
    let flags = ["--config", &mirrors, "--config", &published, "connector"];
    repo.xtask()
        .env("SOURCE_DATE_EPOCH", "1781524800")
        .env("HOME", repo.scratch().to_str().unwrap())
        .run(&[&flags[..], arguments].concat())
}

fn repo() -> Monorepo {
    Monorepo::new()
        .manifest_only("source-a")
        .manifest_only("source-b")
}

const ONLINE: &str = "base-image-exists,base-image-tag,version-not-below-released";

#[test]
fn what_the_registry_knows_is_checked() {
    let base = format!("base/manifests/{OLD}");
    let there = registry(&[
        (&base, OLD),
        ("base/manifests/1.0.0", OLD),
        (
            "source-a/tags/list",
            r#"{"tags": ["1.2.3", "1.2.2", "2.0.0-rc.1", "latest"]}"#,
        ),
        ("source-b/tags/list", r#"{"tags": ["1.10.0"]}"#),
    ]);
    let repo = repo();
    let flags = ["check", "--only", ONLINE, "--output-format", "json"];
    let finished = run(&repo, &there, &flags).code(1);
    let findings = finished.json()["findings"].clone();
    assert_eq!(findings.as_array().unwrap().len(), 1, "{findings}");
    assert_eq!(
        findings[0]["message"],
        "dockerImageTag: 1.2.3 is below 1.10.0, which is released"
    );
    assert_eq!(
        (&findings[0]["connector"], &findings[0]["severity"]),
        (&"source-b".into(), &"error".into())
    );
    let empty = registry(&[]);
    let finished = run(&repo, &empty, &["check", "source-a", "--only", ONLINE]).code(1);
    assert!(finished.stdout.contains("error[base-image-exists] connectorBuildOptions.baseImage: docker.io/airbyte/base:1.0.0@sha256:"), "{}", finished.stdout);
    run(&repo, &empty, &["check", "source-a", "--only", "license"]).code(0);
}

#[test]
fn a_base_images_tag_is_looked_up_beside_its_digest() {
    let base = format!("base/manifests/{OLD}");
    let declared =
        format!("connectorBuildOptions.baseImage: the tag of docker.io/airbyte/base:1.0.0@{OLD}");
    let repo = repo();
    for (tag, code, expected) in [
        (
            None,
            1,
            format!("error[base-image-exists] {declared} is not on its registry"),
        ),
        (
            Some(NEW),
            0,
            format!("warning[base-image-tag] {declared} stands for {NEW}"),
        ),
    ] {
        let tag = tag.map(|digest| ("base/manifests/1.0.0", digest));
        let there = registry(&[&[(base.as_str(), OLD)], tag.as_slice()].concat());
        let finished = run(&repo, &there, &["check", "source-a", "--only", ONLINE]).code(code);
        assert!(finished.stdout.contains(&expected), "{}", finished.stdout);
    }
}

#[test]
fn a_released_version_is_not_asked_for_what_comes_before_a_release() {
    let notes = format!("{CONNECTORS}/source-a/notes.yaml");
    let repo = repo().file(&notes, "url: http://example.org\n");
    let there = registry(&[("source-a/tags/list", r#"{"tags": ["1.2.3"]}"#)]);
    run(
        &repo,
        &there,
        &["check", "source-a", "--only", "https-only"],
    )
    .code(1);
    run(
        &repo,
        &there,
        &["check", "source-a", "--only", "https-only", "--online"],
    )
    .code(0);
}

/// A broken connector hides nothing of the others.
#[test]
fn metadata_that_can_not_be_read_is_unknown_and_the_others_are_told() {
    let there = registry(&[
        ("base/tags/list", r#"{"tags": ["1.0.0"]}"#),
        ("base/manifests/1.0.0", OLD),
    ]);
    let file = format!("{CONNECTORS}/source-about/metadata.yaml");
    let repo = repo().file(&file, "data: [");
    let with = |format: &str| {
        let flags = ["up-to-date", "--check", "--output-format", format];
        run(&repo, &there, &flags)
            .code(3)
            .says("3 connectors: 0 behind, 1 unknown")
    };
    let reason = format!("{file}:2:1: while parsing a node, did not find expected node content");
    for (format, end) in [("markdown", " |"), ("text", "")] {
        let printed = with(format).stdout;
        let mut rows = printed.lines();
        let row = rows.find(|row| row.contains("source-about")).unwrap();
        assert!(
            row.contains(" unknown ") && row.ends_with(&format!("{reason}{end}")),
            "{printed}"
        );
        assert!(rows.next().unwrap().contains("source-b"), "{printed}");
    }
    let lines = with("json").json();
    let states = [0, 1, 2].map(|at| [&lines[at]["connector"], &lines[at]["state"]]);
    let expected = [
        ["source-a", "current"],
        ["source-about", "unknown"],
        ["source-b", "current"],
    ];
    assert_eq!(states, expected);

    let json = run(&repo, &there, &["rescan", "--output-format", "json"]);
    assert_eq!(
        json.code(3).json()["failed"][0]["connector"],
        "source-about"
    );
    run(&repo, &there, &["rescan"])
        .code(3)
        .says("of 2 connectors are published")
        .says(&format!("error: metadata can't be used\n{reason}"));
}

/// The sandbox's registry is asked where a proxy is set and NO_PROXY names no loopback.
#[test]
fn a_registry_on_this_host_is_asked_without_the_proxy() {
    let there = registry(&[
        ("base/tags/list", r#"{"tags": ["1.0.0"]}"#),
        ("base/manifests/1.0.0", OLD),
    ]);
    let repo = repo();
    let mirrors = format!("mirrors=docker.io/airbyte={there}/airbyte");
    repo.xtask()
        .env("HOME", repo.scratch().to_str().unwrap())
        .env("ALL_PROXY", "http://127.0.0.1:9")
        .env("NO_PROXY", "")
        .run(&["--config", &mirrors, "connector", "up-to-date", "--check"])
        .code(0);
}

/// A fault is no finding for or against a connector, in any format.
#[test]
fn a_registry_that_does_not_answer_is_unknown() {
    let repo = repo();
    let nowhere = "127.0.0.1:9";
    let with = |format: &str| {
        run(
            &repo,
            nowhere,
            &["check", "--only", ONLINE, "--output-format", format],
        )
        .code(3)
    };
    let text = with("text").says("0 errors, 0 warnings, 6 unknown");
    assert!(
        text.stdout.contains("unknown[base-image-exists] "),
        "{}",
        text.stdout
    );
    assert_eq!(with("json").json()["findings"][0]["severity"], "unknown");
    let result = with("sarif").json()["runs"][0]["results"][0].clone();
    assert_eq!(
        (&result["kind"], &result["level"]),
        (&"open".into(), &"none".into())
    );
    let junit = with("junit").stdout;
    assert!(
        junit.contains("<skipped message=\"unknown: ") && junit.contains("failures=\"0\""),
        "{junit}"
    );
    assert!(with("github").stdout.starts_with("::notice file="));
    let before = repo.read(&format!("{CONNECTORS}/source-a/metadata.yaml"));
    let finished = run(
        &repo,
        nowhere,
        &["up-to-date", "source-a", "--output-format", "json"],
    )
    .code(3);
    assert_eq!(finished.json()[0]["state"], "unknown");
    assert_eq!(
        repo.read(&format!("{CONNECTORS}/source-a/metadata.yaml")),
        before
    );
}

#[test]
fn base_images_move_to_the_newest_release() {
    let there = registry(&[
        (
            "base/tags/list",
            r#"{"tags": ["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "latest"]}"#,
        ),
        ("base/manifests/1.10.0", NEW),
        ("current/tags/list", r#"{"tags": ["1.0.0"]}"#),
        ("current/manifests/1.0.0", OLD),
    ]);
    let path = |name: &str| format!("{CONNECTORS}/{name}/metadata.yaml");
    let (old, new) = (
        format!("docker.io/airbyte/base:1.0.0@{OLD}"),
        format!("docker.io/airbyte/base:1.10.0@{NEW}"),
    );
    let text = metadata("source-a").replace(&old, &format!("\"{old}\" # the base"));
    let none = metadata("source-none").replace("    baseImage: ", "    unused: ");
    let repo = repo()
        .file(&path("source-a"), &text)
        .file(
            &path("source-b"),
            &metadata("source-b").replace("airbyte/base:", "airbyte/current:"),
        )
        .file(&path("source-none"), &none);
    let finished = run(
        &repo,
        &there,
        &["up-to-date", "--check", "--output-format", "markdown"],
    )
    .code(1);
    let finished = finished.says("3 connectors: 1 behind, 0 unknown");
    let row = format!("| source-a | behind | {old} | {new} |");
    assert!(finished.stdout.contains(&row), "{}", finished.stdout);
    assert_eq!(repo.read(&path("source-a")), text);
    let planned = run(
        &repo,
        &there,
        &["up-to-date", "--check", "--output-format", "json"],
    )
    .code(1)
    .json();
    let states: Vec<&str> = planned
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["behind", "current", "none"]);
    assert_eq!(planned[0]["newest"], new);
    run(&repo, &there, &["up-to-date", "source-a", "--bump"]).code(0);
    let expected = text.replace(&old, &new).replace("Tag: 1.2.3", "Tag: 1.2.4");
    assert_eq!(repo.read(&path("source-a")), expected);
    run(&repo, &there, &["up-to-date", "source-*", "--check"]).code(0);
}
