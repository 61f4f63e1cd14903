//! `connector publish-package` against a fake docker, a fake uv and an index of a few pages.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use crate::{
    end_to_end::publish::Registry,
    monorepo::{CONNECTORS, Finished, Monorepo, Xtask, executable, metadata},
};

const WHEEL: &str = "airbyte_source_py-1.2.3-py3-none-any.whl";
const PUBLISH: [&str; 4] = [
    "connector",
    "publish-package",
    "source-py",
    "--dry-run=false",
];

/// A fake uv that keeps its arguments, and the token it was given in the environment.
const UV: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "uv 99.0.0"; exit; }
printf '%s\n' "$*" >> "$FAKE_LOG.uv"
echo "token $UV_PUBLISH_TOKEN" >> "$FAKE_LOG.uv"
[ "$(grep -c '^publish' "$FAKE_LOG.uv")" -le "${FAKE_UV_FAILS:-0}" ] && {
    echo "error: Failed to publish: Server returned status code ${FAKE_UV_STATUS:-503} Oh. Server says:" >&2
    exit 2
}
exit 0
"#;

/// Serves one project's page, or 404, for as long as the tests run.
fn index(files: &'static [&'static str]) -> String {
    guarded_index(files, None)
}

/// Answers 401 to whoever does not bring this value of the Authorization header.
fn guarded_index(files: &'static [&'static str], wanted: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/simple/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            let known = head
                .next()
                .is_some_and(|line| line.starts_with("GET /simple/airbyte-source-py/ "));
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let brought = |wanted| {
                head.iter()
                    .any(|line| *line == format!("authorization: {wanted}"))
            };
            let status = if !wanted.is_none_or(brought) {
                "401 Unauthorized"
            } else if known && !files.is_empty() {
                "200 OK"
            } else {
                "404 Not Found"
            };
            let body: String = files
                .iter()
                .map(|file| format!("<a href=\"{file}\">{file}</a>"))
                .collect();
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

/// A Python connector that is published as airbyte-source-py 1.2.3.
fn monorepo() -> Monorepo {
    let pypi = "  remoteRegistries:\n    pypi:\n      enabled: true\n      packageName: airbyte-source-py\n  name:";
    let repo = Monorepo::new().python("source-py");
    let project = repo.read(&format!("{CONNECTORS}/source-py/pyproject.toml"));
    let repo = repo
        .file(
            &format!("{CONNECTORS}/source-py/metadata.yaml"),
            &metadata("source-py").replace("  name:", pypi),
        )
        .file(
            &format!("{CONNECTORS}/source-py/pyproject.toml"),
            &project.replace("name = \"source-py\"", "name = \"airbyte-source-py\""),
        );
    executable(&repo.root().join("bin/uv"), UV);
    repo
}

fn xtask(repo: &Monorepo, index: &str) -> Xtask {
    let xtask = repo.xtask();
    let path = xtask.command.get_envs().find(|(name, _)| *name == "PATH");
    let path = path.unwrap().1.unwrap().to_str().unwrap();
    let path = format!("{}:{path}", repo.root().join("bin").display());
    xtask
        .env("PATH", &path)
        .env("XTASK_PACKAGES_SIMPLE", index)
        .env("XTASK_PACKAGES_UPLOAD", "http://upload.example/legacy/")
        .env("UV_PUBLISH_TOKEN", "")
        .env("FAKE_WHEEL", WHEEL)
}

/// What the fake uv was called with.
fn calls(repo: &Monorepo) -> String {
    fs::read_to_string(repo.root().with_file_name("fake.log.uv")).unwrap_or_default()
}

fn builds(repo: &Monorepo) -> usize {
    repo.log().matches("--target=own-package").count()
}

/// The only row of `--json`.
fn row(finished: &Finished) -> serde_json::Value {
    finished.json()[0].clone()
}

#[test]
fn a_new_version_is_built_by_its_images_stage_and_uploaded_by_uv() {
    let repo = monorepo();
    let index = index(&["airbyte_source_py-1.2.2-py3-none-any.whl"]);
    let done = xtask(&repo, &index)
        .env("UV_PUBLISH_TOKEN", "sesame")
        .run(&[&PUBLISH[..], &["--json"]].concat())
        .code(0);
    assert_eq!(row(&done)["outcome"], "published");
    assert_eq!(row(&done)["package"]["version"], "1.2.3");
    assert_eq!(builds(&repo), 1, "{}", repo.log());
    let calls = calls(&repo);
    assert!(
        calls.contains("--publish-url http://upload.example/legacy/"),
        "{calls}"
    );
    assert!(
        calls.contains(&format!("--check-url {index}")) && calls.contains(WHEEL),
        "{calls}"
    );
    // In the environment and nowhere else.
    assert_eq!(calls.matches("sesame").count(), 1);
    assert!(calls.contains("\ntoken sesame"));
    assert!(!repo.log().contains("sesame") && !done.stderr.contains("sesame"));
}

#[test]
fn a_version_that_exists_is_not_built_and_asks_for_no_token() {
    let repo = monorepo();
    let done = xtask(&repo, &index(&[WHEEL])).run(&PUBLISH).code(0);
    assert_eq!(done.stdout, "airbyte-source-py 1.2.3 is on the index\n");
    assert_eq!((builds(&repo), calls(&repo)), (0, String::new()));
}

#[test]
fn a_missing_token_is_an_error_before_anything_is_built() {
    let repo = monorepo();
    xtask(&repo, &index(&[]))
        .run(&PUBLISH)
        .code(2)
        .says("airbyte-source-py 1.2.3 is not published yet, and UV_PUBLISH_TOKEN is not set");
    assert_eq!((builds(&repo), calls(&repo)), (0, String::new()));
}

/// Neither the token nor the index, which no program can ask at this address.
#[test]
fn a_release_that_is_no_package_asks_for_nothing_of_one() {
    let (registry, repo) = (Registry::start(), monorepo());
    repo.commit(CONNECTORS);
    let address = format!("--registry={}/airbyte", registry.address);
    let plan = |flags: &[&str]| {
        let start = ["connector", "publish", "source-py", "--dry-run=false"];
        xtask(&repo, "ftp://index.example/simple/")
            .env("DOCKER_CONFIG", repo.scratch().to_str().unwrap())
            .run(&[&start[..], &["--plan", &address], flags].concat())
    };
    for flag in ["--release-type=pre-release", "--tag-override=v1"] {
        let planned = plan(&[flag]).code(0);
        let expected = "  - pypi     only a main release is a package too\n";
        assert!(planned.stdout.contains(expected), "{flag}: {planned:#?}");
    }
    plan(&[]).code(2).says("only http and https are supported");
}

#[test]
fn a_dry_run_builds_and_uploads_nothing() {
    for flags in [&[][..], &["--dry-run"], &["--dry-run=true"]] {
        let repo = monorepo();
        let words = [&PUBLISH[..3], flags].concat();
        let done = xtask(&repo, &index(&[])).run(&words).code(0);
        assert_eq!(
            done.stdout,
            "airbyte-source-py 1.2.3 was built, and not uploaded\n"
        );
        assert_eq!((builds(&repo), calls(&repo)), (1, String::new()));
    }
}

#[test]
fn a_package_that_can_not_be_looked_up_keeps_no_other_from_being_published() {
    let unusable = metadata("source-other").replace(
        "  name:",
        "  remoteRegistries:\n    pypi:\n      enabled: true\n      packageName: no name\n  name:",
    );
    let metadata = format!("{CONNECTORS}/source-other/metadata.yaml");
    let repo = monorepo().python("source-other").file(&metadata, &unusable);
    let both = [&PUBLISH[..], &["source-other", "--json"]].concat();
    let finished = xtask(&repo, &index(&[]))
        .env("UV_PUBLISH_TOKEN", "secret")
        .run(&both)
        .code(2);
    let rows = finished.json();
    let outcome = |connector: &str| {
        let mut rows = rows.as_array().unwrap().iter();
        rows.find(|row| row["connector"] == connector).unwrap()["outcome"].clone()
    };
    assert_eq!(outcome("source-py"), "published", "{rows}");
    assert_eq!(outcome("source-other"), serde_json::Value::Null, "{rows}");
    finished.says("source-other: remoteRegistries.pypi.packageName");
}

#[test]
fn an_upload_is_tried_again_when_the_index_is_at_fault_only() {
    for (status, uploads, code) in [("503", 2, 0), ("403", 1, 1)] {
        let repo = monorepo();
        let done = xtask(&repo, &index(&[]))
            .env("UV_PUBLISH_TOKEN", "sesame")
            .env("FAKE_UV_FAILS", "1")
            .env("FAKE_UV_STATUS", status)
            .run(&PUBLISH)
            .code(code);
        assert_eq!(
            calls(&repo).matches("publish ").count(),
            uploads,
            "{done:#?}"
        );
        assert_eq!(done.stderr.matches("trying again").count(), uploads - 1);
        assert!(
            code == 0 || done.stderr.contains("help: UV_PUBLISH_TOKEN must hold"),
            "{done:#?}"
        );
    }
}

#[test]
fn another_wheel_than_the_declared_one_is_not_uploaded() {
    for made in ["airbyte_source_py-1.2.4-py3-none-any.whl", ""] {
        let repo = monorepo();
        xtask(&repo, &index(&[]))
            .env("UV_PUBLISH_TOKEN", "sesame")
            .env("FAKE_WHEEL", made)
            .run(&PUBLISH)
            .code(1)
            .says("expected one wheel of airbyte-source-py 1.2.3, its build made");
        assert_eq!(calls(&repo), "");
    }
}

#[test]
fn an_index_is_reached_by_http() {
    let repo = monorepo();
    xtask(&repo, "ftp://index.example/simple/")
        .env("UV_PUBLISH_TOKEN", "sesame")
        .run(&PUBLISH)
        .code(2)
        .says("only http and https are supported");
    assert_eq!(builds(&repo), 0);
}

/// As for uv: the whole address first, then its host; once a run, and never by name for what is not configured.
#[test]
fn the_password_of_a_user_alone_comes_from_the_keyring_that_uv_is_told_to_ask() {
    // ann:from-the-keyring
    const ANN: &str = "Basic YW5uOmZyb20tdGhlLWtleXJpbmc=";
    const KEYRING: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$FAKE_LOG.keyring"
case "$2" in http*) exit 1 ;; *) echo from-the-keyring ;; esac
"#;
    let address = guarded_index(&[WHEEL], Some(ANN));
    let repo = monorepo();
    let program = repo.root().join("bin/keyring");
    executable(&program, KEYRING);
    let with_user = address.replace("http://", "http://ann@");
    let run = |provider: &str| {
        xtask(&repo, &with_user)
            .env("UV_KEYRING_PROVIDER", provider)
            .env("HOME", repo.scratch().to_str().unwrap())
            .run(&PUBLISH)
    };
    let asked = || fs::read_to_string(repo.root().with_file_name("fake.log.keyring"));

    let denied = run("disabled").code(3);
    denied
        .says("status 401")
        .says("from a keyring where `keyring-provider` is `subprocess`");
    assert!(asked().is_err());

    let done = run("subprocess").code(0);
    assert_eq!(done.stdout, "airbyte-source-py 1.2.3 is on the index\n");
    assert!(!done.stderr.contains("from-the-keyring"), "{done:#?}");
    let host = address.split('/').nth(2).unwrap();
    assert_eq!(
        asked().unwrap(),
        format!("get {address} ann\nget {host} ann\n")
    );

    fs::remove_file(program).unwrap();
    run("subprocess")
        .code(3)
        .says("there is no program `keyring`");
}

#[test]
fn a_connector_that_declares_no_package_is_passed_over() {
    let repo = Monorepo::new().python("source-py");
    let done = repo.xtask().run(&PUBLISH).code(0);
    done.says("source-py is not published as a package");
}

/// The image comes first, and a rerun only does what is missing.
#[test]
fn a_publish_brings_the_package_after_its_image() {
    let (registry, repo) = (Registry::start(), monorepo());
    let publish = |simple: &str, variables: &[(&str, &str)]| {
        let mut xtask = xtask(&repo, simple);
        for (name, value) in variables {
            xtask = xtask.env(name, value);
        }
        let registry = format!("--registry={}/airbyte", registry.address);
        let start = ["connector", "publish", "source-py", "--dry-run=false"];
        xtask
            .env("DOCKER_CONFIG", repo.scratch().to_str().unwrap())
            .run(&[&start[..], &[&registry, "--json"]].concat())
    };
    let image = || {
        registry
            .send("HEAD", "/v2/airbyte/source-py/manifests/1.2.3", "", "")
            .0
    };
    let outcome = |finished: &Finished| finished.json()["connectors"][0].clone();
    let missing = index(&[]);

    let token = publish(&missing, &[]).code(2);
    token.says("airbyte-source-py 1.2.3 is not published yet, and UV_PUBLISH_TOKEN is not set");
    assert_eq!((image(), calls(&repo)), (404, String::new()));

    let token = ("UV_PUBLISH_TOKEN", "sesame");
    let denied = [token, ("FAKE_UV_FAILS", "1"), ("FAKE_UV_STATUS", "403")];
    let denied = publish(&missing, &denied)
        .code(1)
        .says("help: UV_PUBLISH_TOKEN must hold");
    assert_eq!(outcome(&denied)["outputs"]["push-executed"], "true");
    assert_eq!(image(), 200);

    let pushes = registry.changes(|| {
        let done = publish(&missing, &[token]).code(0);
        assert_eq!(outcome(&done)["action"], "exists");
        let reason = outcome(&done)["reason"].clone();
        assert_eq!(reason, "airbyte-source-py 1.2.3 was published");
        assert!(!done.stderr.contains("sesame"), "{done:#?}");
    });
    assert!(pushes.is_empty(), "{pushes:?}");
    assert_eq!(calls(&repo).matches("publish ").count(), 2);

    let builds = repo.log();
    let done = publish(&index(&[WHEEL]), &[]).code(0);
    done.says("pypi     airbyte-source-py 1.2.3 is on the index");
    assert_eq!(repo.log(), builds);
}
