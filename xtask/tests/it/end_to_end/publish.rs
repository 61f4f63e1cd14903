//! Publishing to a real registry, whose access log tells what was asked of it. The images are a fake docker's, which
//! costs seconds less each; the first test is the real thing all the way.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    docker, elsewhere, here,
    proxy::{self, Verdict},
    sandboxed,
    scan::Vulnerable,
    xtask,
};
use crate::monorepo::{CONNECTORS, Finished, Monorepo, metadata};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry on a port of its own; it ends with the test.
pub struct Registry {
    process: Child,
    directory: TempDir,
    pub address: String,
}

impl Registry {
    pub fn start() -> Registry {
        Registry::with_auth(json!({}))
    }

    fn with_auth(auth: Value) -> Registry {
        let directory = tempfile::tempdir().unwrap();
        let mut config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": directory.path().join("data")}, "delete": {"enabled": true}},
            "http": {"addr": "127.0.0.1:0"},
        });
        if auth != json!({}) {
            config["auth"] = auth;
        }
        let file = directory.path().join("config.yml");
        fs::write(&file, config.to_string()).unwrap();
        if !Path::new("/usr/bin/docker-registry").exists() {
            xtask(&["sandbox", "up"]).code(0);
        }
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(File::create(directory.path().join("access.log")).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = log.by_ref().lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let (_, address) = line.split_once("listening on ")?;
            Some(address.split('"').next()?.to_owned())
        });
        // One whose log nobody reads would stand still.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Registry {
            process,
            directory,
            address: address.expect("docker-registry ended"),
        }
    }

    /// The requests so far, such as `HEAD /v2/airbyte/source-a/manifests/1.2.3`.
    fn access(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap();
        let request = |line: &str| Some(line.split('"').nth(1)?.rsplit_once(' ')?.0.to_owned());
        log.lines().filter_map(request).collect()
    }

    /// What is asked of the registry meanwhile that is no mere question.
    pub fn changes(&self, during: impl FnOnce()) -> Vec<String> {
        let before = self.access().len();
        during();
        let all = self.access().split_off(before);
        assert!(!all.is_empty(), "the access log tells nothing");
        all.into_iter()
            .filter(|line| !line.starts_with("HEAD") && !line.starts_with("GET"))
            .collect()
    }

    /// Sends a request; status, digest header and body of the answer.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: {INDEX}, {MANIFEST}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let digest = head
            .lines()
            .find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            digest.unwrap_or_default().to_owned(),
            body.to_owned(),
        )
    }

    pub fn path(&self, reference: &str) -> String {
        format!("/v2/airbyte/source-a/manifests/{reference}")
    }

    /// The digest under a tag of source-a's; empty when there is none.
    pub fn digest(&self, tag: &str) -> String {
        match self.send("HEAD", &self.path(tag), "", "") {
            (200, digest, _) => digest,
            _ => String::new(),
        }
    }

    pub fn index(&self, tag: &str) -> Value {
        serde_json::from_str(&self.send("GET", &self.path(tag), "", "").2).unwrap()
    }

    pub fn put(&self, tag: &str, index: &Value) {
        let answer = self.send("PUT", &self.path(tag), INDEX, &index.to_string());
        assert_eq!(answer.0, 201, "{answer:?}");
    }

    /// Publishes for real; the one connector's part of the JSON.
    pub fn publish(&self, repo: &Monorepo, flags: &[&str], code: i32) -> Value {
        let published = self.run(repo, &[&["source-a", "--json"], flags].concat(), code);
        published.json()["connectors"][0].clone()
    }

    fn run(&self, repo: &Monorepo, flags: &[&str], code: i32) -> Finished {
        run_at(&self.address, repo, flags).code(code)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub fn run_at(address: &str, repo: &Monorepo, flags: &[&str]) -> Finished {
    let registry = format!("--registry={address}/airbyte");
    let start = ["connector", "publish", "--dry-run=false", &registry];
    repo.xtask()
        .env("DOCKER_CONFIG", repo.scratch().to_str().unwrap())
        .run(&[&start, flags].concat())
}

pub fn one() -> Monorepo {
    Monorepo::new().manifest_only("source-a")
}

pub fn at_version(repo: Monorepo, version: &str) -> Monorepo {
    let text = metadata("source-a").replace(
        "dockerImageTag: 1.2.3",
        &format!("dockerImageTag: {version}"),
    );
    repo.file(&format!("{CONNECTORS}/source-a/metadata.yaml"), &text)
}

#[test]
fn the_image_that_was_tested_is_what_the_registry_serves() {
    let _turn = here();
    let flags = [
        "connector",
        "publish",
        "source-pokeapi",
        "--dry-run=false",
        "--force-publish",
        "--push-latest",
        "--json",
    ];
    let published = sandboxed(&flags).code(0).json()["connectors"][0].clone();
    let digest = published["digest"].as_str().unwrap();
    let name = published["image"].as_str().unwrap();
    let (repository, _) = name.rsplit_once(':').unwrap();
    // The engine pulls it from there and runs it; the foreign half was run before it was pushed.
    let image = format!("{repository}@{digest}");
    docker(&["pull", &image]).code(0);
    let spec = docker(&["run", "--rm", "--network", "none", &image, "spec"]);
    assert!(spec.code(0).stdout.contains("connectionSpecification"));
    assert_eq!(published["outputs"]["platforms"], "linux/amd64,linux/arm64");
    let again = [
        "connector",
        "publish",
        "source-pokeapi",
        "--dry-run=false",
        "--json",
    ];
    assert_eq!(
        sandboxed(&again).code(0).json()["connectors"][0]["action"],
        "exists"
    );
}

#[test]
fn what_the_builder_attests_is_no_platform() {
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();
    sandbox.repo.commit(CONNECTORS);
    let run = |verb: &str, more: &[&str]| {
        let mut command = sandbox.command();
        command.args(["connector", verb, "source-vulnerable", "--json"]);
        let finished = Finished::from(command.args(more).output().unwrap());
        finished.code(0).json()
    };
    let publish = |more: &[&str]| {
        let flags = [&["--dry-run=false"], more].concat();
        run("publish", &flags)["connectors"][0].clone()
    };
    let published = publish(&["--provenance", "--force-publish"]);
    assert_eq!(published["outputs"]["platforms"], "linux/amd64,linux/arm64");
    let (digest, image) = (&published["digest"], published["image"].as_str().unwrap());
    let raw = docker(&["buildx", "imagetools", "inspect", "--raw", image]).code(0);
    let index = raw.json();
    let manifests = index["manifests"].as_array().unwrap().iter();
    let architectures = manifests.map(|one| one["platform"]["architecture"].as_str().unwrap());
    let mut architectures: Vec<&str> = architectures.collect();
    architectures.sort();
    assert_eq!(architectures, ["amd64", "arm64", "unknown", "unknown"]);

    let again = publish(&[]);
    assert_eq!(
        (&again["action"], &again["digest"]),
        (&json!("exists"), digest)
    );
    let verified = run("verify", &[]);
    assert_eq!(&verified["digest"], digest, "{verified}");
    let plain = publish(&["--force-publish"]);
    assert_ne!(&plain["digest"], digest);
}

#[test]
fn a_version_is_published_kept_repaired_guarded_and_replaced() {
    let (registry, repo) = (Registry::start(), one());
    let first = registry.publish(&repo, &["--push-latest"], 0);
    let digest = registry.digest("1.2.3");
    assert_eq!(
        (&first["action"], &first["digest"]),
        (&json!("published"), &json!(digest))
    );
    assert_eq!(registry.digest("latest"), digest);
    let tag = format!("{}/airbyte/source-a", registry.address);
    let outputs = &first["outputs"];
    for (name, expected) in [
        ("connector-image-name", format!("{tag}:1.2.3")),
        ("docker-tags", format!("{tag}:1.2.3,{tag}:latest")),
        ("image-exists", "false".to_owned()),
        ("build-executed", "true".to_owned()),
        ("push-executed", "true".to_owned()),
        ("latest-moved", "true".to_owned()),
        ("digest", digest.clone()),
    ] {
        assert_eq!(outputs[name], expected, "{name}");
    }

    // Nothing to do: no engine, no upload, no pull.
    let calls = repo.log();
    let changes = registry.changes(|| {
        let again = registry.publish(&repo, &["--push-latest"], 0);
        assert_eq!(again["action"], "exists");
        assert_eq!(again["outputs"]["push-executed"], "false");
    });
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(repo.log(), calls, "docker was started");

    // One platform is gone.
    let index = registry.index("1.2.3");
    let arm64 = index["manifests"][1]["digest"].as_str().unwrap();
    assert_eq!(
        registry.send("DELETE", &registry.path(arm64), "", "").0,
        202
    );
    let repaired = registry.publish(&repo, &[], 0);
    assert_eq!(
        (&repaired["action"], &repaired["digest"]),
        (&json!("repaired"), &json!(digest))
    );
    assert_eq!(registry.digest(arm64), arm64);

    // Somebody overwrote the tag.
    let mut other = index.clone();
    other["annotations"] = json!({"by": "another"});
    registry.put("1.2.3", &other);
    let foreign = registry.digest("1.2.3");
    assert_ne!(foreign, digest);
    let changes = registry.changes(|| {
        let refused = registry.publish(&repo, &[], 1);
        let error = refused["error"].as_str().unwrap();
        assert_eq!(refused["action"], "refused");
        assert!(
            error.contains(&foreign) && error.contains(&digest),
            "{error}"
        );
    });
    assert!(changes.is_empty(), "{changes:?}");
    let replaced = registry.publish(&repo, &["--force-publish"], 0);
    assert_eq!(replaced["action"], "replaced");
    assert_eq!(
        (&replaced["replaced"], &replaced["digest"]),
        (&json!(foreign), &json!(digest))
    );
    let reason = replaced["reason"].as_str().unwrap();
    assert!(
        reason.contains(&format!("replaces {foreign} by {digest}")),
        "{reason}"
    );
    assert_eq!(registry.digest("1.2.3"), digest);
}

#[test]
fn latest_goes_forward_and_is_repaired_without_a_build() {
    let registry = Registry::start();
    let old = at_version(one(), "1.9.0");
    registry.publish(&old, &["--push-latest"], 0);
    let new = at_version(one(), "1.10.0");
    let forward = registry.publish(&new, &["--push-latest"], 0);
    assert_eq!(forward["outputs"]["latest-moved"], "true");
    let newest = registry.digest("1.10.0");
    assert_eq!(registry.digest("latest"), newest);

    // An older release is published and latest stays; nor do a pre-release or a candidate take it.
    let between = at_version(one(), "1.9.1");
    let published = registry.publish(&between, &["--push-latest"], 0);
    assert_eq!(
        (&published["action"], &published["outputs"]["latest-moved"]),
        (&json!("published"), &json!("false"))
    );
    assert!(
        published["reason"]
            .as_str()
            .unwrap()
            .contains("it is 1.10.0, which is newer"),
        "{published}"
    );
    let candidate = at_version(one(), "2.0.0-rc.1");
    registry.publish(&candidate, &["--push-latest"], 0);
    assert_eq!(registry.digest("latest"), newest);

    // Latest fell back: it is moved again, by one manifest and no build.
    registry.put("latest", &registry.index("1.9.0"));
    let calls = new.log();
    let changes = registry.changes(|| {
        let repaired = registry.publish(&new, &["--push-latest"], 0);
        assert_eq!(repaired["action"], "latest-moved");
        assert_eq!(repaired["outputs"]["build-executed"], "false");
    });
    assert_eq!(changes, [format!("PUT {}", registry.path("latest"))]);
    assert_eq!(registry.digest("latest"), newest);
    assert_eq!(new.log(), calls);
}

#[test]
fn one_failing_connector_hides_no_other_and_is_tried_again() {
    let registry = Registry::start();
    let repo = Monorepo::new()
        .manifest_only("source-a")
        .manifest_only("source-b");
    let flags = format!("--registry={}/airbyte", registry.address);
    let start = ["connector", "publish", "--dry-run=false", "--json", &flags];
    let first = repo
        .xtask()
        .env("FAKE_BREAKS", "airbyte/source-a:publish")
        .run(&[&start[..], &["source-*"]].concat())
        .code(1);
    let actions = |finished: &Finished| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = finished.json()["connectors"].as_array().unwrap().clone();
        all.iter()
            .map(|one| (text(&one["connector"]), text(&one["action"])))
            .collect()
    };
    let pair = |name: &str, action: &str| (name.to_owned(), action.to_owned());
    assert_eq!(
        actions(&first),
        [pair("source-a", "failed"), pair("source-b", "published")]
    );
    let first = first
        .says("build image for source-a")
        .says("1 of 2 not done");
    let record = first.json()["record"].as_str().unwrap().to_owned();
    let log = fs::read_to_string(format!("{record}/source-a/build.log")).unwrap();
    assert!(log.contains("airbyte/source-a:publish broke"), "{log}");
    assert_eq!(registry.digest("1.2.3"), "");

    let retried = repo
        .xtask()
        .run(&[&start[..], &["--retry-failed"]].concat())
        .code(0);
    assert_eq!(actions(&retried), [pair("source-a", "published")]);
    let nothing = repo
        .xtask()
        .run(&[&start[..], &["--retry-failed"]].concat())
        .code(0);
    assert!(actions(&nothing).is_empty());

    let stopped = Monorepo::new()
        .manifest_only("source-a")
        .manifest_only("source-c");
    let stopped = stopped
        .xtask()
        .env("FAKE_BREAKS", "airbyte/source-a:publish")
        .run(
            &[
                &start[..],
                &["source-*", "--fail-fast", "--jobs=1", "--force-publish"],
            ]
            .concat(),
        )
        .code(1);
    assert_eq!(
        actions(&stopped),
        [pair("source-a", "failed"), pair("source-c", "not-run")]
    );
}

#[test]
fn a_run_killed_between_push_and_tag_is_finished_by_the_next() {
    let (registry, repo) = (Registry::start(), one());
    let (tell, tagging) = mpsc::channel();
    let proxy = proxy::before(&registry.address, move |request| {
        if request.starts_with("PUT /v2/airbyte/source-a/manifests/1.2.3 ") {
            tell.send(()).unwrap();
            return Verdict::Hold;
        }
        Verdict::Pass
    });
    let flag = format!("--registry={proxy}/airbyte");
    let mut command = repo.xtask().command;
    let child = command
        .args(["connector", "publish", "source-a", "--dry-run=false", &flag])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = child;
    // The tag's request has come and is not passed on.
    tagging.recv().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(registry.digest("1.2.3"), "");
    assert!(
        registry
            .access()
            .iter()
            .any(|line| line.starts_with("PUT /v2/airbyte/source-a/manifests/sha256"))
    );

    let changes = registry.changes(|| {
        assert_eq!(registry.publish(&repo, &[], 0)["action"], "published");
    });
    assert!(
        changes.iter().all(|line| !line.contains("/blobs/")),
        "only what is missing is done: {changes:?}"
    );
    assert_ne!(registry.digest("1.2.3"), "");
}

#[test]
fn wrong_credentials_are_said_and_shown_nowhere() {
    const RIGHT: &str = "sesame-of-this-test";
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    // bcrypt of RIGHT.
    fs::write(
        &users,
        "me:$2b$05$abcdefghijklmnopqrstuuxMCz68cFC2pOjQzcj4UQ.ctCHQZh8Ga\n",
    )
    .unwrap();
    let registry = Registry::with_auth(json!({"htpasswd": {"realm": "test", "path": users}}));
    let repo = one();
    let flag = format!("--registry={}/airbyte", registry.address);
    let secret = "not-the-right-one";
    let publish = |password: &str| {
        let run = repo
            .xtask()
            .env("DOCKER_CONFIG", repo.scratch().to_str().unwrap());
        run.env("DOCKER_HUB_USERNAME", "me")
            .env("DOCKER_HUB_PASSWORD", password)
            .env("FAKE_PASSWORD", RIGHT)
            .run(&["connector", "publish", "source-a", "--dry-run=false", &flag])
    };
    let denied = publish(secret).code(1);
    let printed = format!("{}{}", denied.stdout, denied.stderr);
    let denied = denied
        .says("status 401")
        .says("help: the credentials known for 127.0.0.1:");
    assert!(!printed.contains(secret) && !denied.stderr.contains("trying again"));
    publish(RIGHT).code(0);
    let kept = Command::new("grep")
        .args(["-rlE", &format!("{secret}|{RIGHT}|bWU6")])
        .arg(repo.root())
        .arg(repo.scratch())
        .output();
    assert_eq!(
        Finished::from(kept.unwrap()).stdout,
        "",
        "a secret stays in a file"
    );
    assert!(!repo.log().contains(RIGHT));
}

/// A builder that keeps no images: what was pushed is pulled by its digest and tested, and only then gets a tag.
#[test]
fn what_another_builder_made_is_pulled_by_digest_and_tested_before_it_has_a_tag() {
    let registry = Registry::start();
    let flags = ["--builder=cloud", "--push-latest"];
    let run = |repo: &Monorepo, variables: &[(&str, &str)], code: i32| {
        let mut xtask = repo.xtask();
        for (name, value) in variables {
            xtask = xtask.env(name, value);
        }
        let registry = format!("--registry={}/airbyte", registry.address);
        let start = ["connector", "publish", "source-a", "--dry-run=false"];
        let words = [&start[..], &[&registry, "--json"], &flags].concat();
        xtask
            .env("DOCKER_CONFIG", repo.scratch().to_str().unwrap())
            .run(&words)
            .code(code)
    };
    // A spec that is none: what was pushed stays without a tag.
    let repo = one();
    let failed = run(&repo, &[("FAKE_SPEC", "hello")], 1);
    assert!(failed.stderr.contains("spec of source-a"), "{failed:#?}");
    let digest = failed.json()["connectors"][0]["digest"].clone();
    let digest = digest.as_str().unwrap();
    assert_eq!(registry.digest(digest), digest);
    assert_eq!(registry.digest("1.2.3"), "");
    // The limit of pulls is met once, said once, and waited for.
    let repo = one();
    let done = run(&repo, &[("FAKE_PULL_FAILS", "1")], 0);
    let said = done.stderr.matches("pull rate limit.; trying again in");
    assert_eq!(said.count(), 1, "{done:#?}");
    assert_eq!(registry.digest("1.2.3"), digest);
    let image = format!("{}/airbyte/source-a@{digest}", registry.address);
    let log = repo.log();
    let build = log.lines().find(|line| line.starts_with("buildx build"));
    let build = build.unwrap();
    assert!(
        build.contains("--builder=cloud")
            && !build.contains("type=image")
            && !build.contains("--network=host"),
        "{build}"
    );
    for platform in ["linux/amd64", "linux/arm64"] {
        let pull = format!("pull --quiet --platform {platform} {image}");
        let run = format!("--platform {platform} ");
        let at = |found: &dyn Fn(&str) -> bool| log.lines().position(found).unwrap();
        let pulled = at(&|line| line == pull);
        let ran = at(&|line| {
            line.starts_with("run ")
                && line.contains(&run)
                && line.ends_with(&format!("{image} spec"))
        });
        assert!(pulled < ran, "{log}");
    }
    // What is denied is asked once.
    let repo = at_version(one(), "1.2.4");
    let denied = "denied: requested access to the resource is denied";
    let denied = [("FAKE_PULL_FAILS", "9"), ("FAKE_PULL_SAYS", denied)];
    let finished = run(&repo, &denied, 1);
    assert!(!finished.stderr.contains("trying again"), "{finished:#?}");
    assert_eq!(registry.digest("1.2.4"), "");
}

/// The environment's credentials reach docker by standard input, in a configuration that ends with the run.
#[test]
fn docker_is_logged_in_for_the_run_alone() {
    const PASSWORD: &str = "sesame-of-this-test";
    let (registry, repo) = (Registry::start(), one());
    let own = repo.scratch().join("docker");
    fs::create_dir_all(own.join("buildx")).unwrap();
    let config = r#"{"auths": {"ghcr.io": {"auth": "YTpi"}}}"#;
    fs::write(own.join("config.json"), config).unwrap();
    let flag = format!("--registry={}/airbyte", registry.address);
    let publish = |variables: &[(&str, &str)]| {
        let mut xtask = repo.xtask();
        for (name, value) in variables {
            xtask = xtask.env(name, value);
        }
        xtask
            .env("DOCKER_CONFIG", own.to_str().unwrap())
            .env("FAKE_PASSWORD", PASSWORD)
            .run(&["connector", "publish", "source-a", "--dry-run=false", &flag])
    };
    let ours = |password| {
        [
            ("DOCKER_HUB_USERNAME", "me"),
            ("DOCKER_HUB_PASSWORD", password),
        ]
    };
    publish(&ours("another"))
        .code(1)
        .says("log in to ")
        .says("incorrect username or password");
    assert_eq!(registry.digest("1.2.3"), "");
    publish(&ours(PASSWORD)).code(0);
    let log = repo.log();
    assert!(
        log.contains("login --username me --password-stdin\n")
            && log.contains(&format!(
                "login --username me --password-stdin {}\n",
                registry.address
            )),
        "{log}"
    );
    let below = log
        .lines()
        .find_map(|line| line.strip_prefix("logged in below "));
    let below = Path::new(below.unwrap());
    assert!(below != own && !below.exists(), "{below:?}");
    assert_eq!(fs::read_to_string(own.join("config.json")).unwrap(), config);
    assert!(!log.contains(PASSWORD));
}
