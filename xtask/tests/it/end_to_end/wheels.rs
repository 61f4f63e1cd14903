//! Dependencies as locked on both platforms: from uv.lock and poetry.lock, from wheels and sdists, pure and native.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{docker, elsewhere, root, xtask};
use crate::monorepo::{CONNECTORS, Finished, Monorepo, metadata};

const BASE: &str = "airbyte/python-connector-base";

/// What the sandbox offers to a repository that is not this one.
pub(super) struct Sandbox {
    status: Value,
}

impl Sandbox {
    pub(super) fn up() -> Sandbox {
        xtask(&["sandbox", "up"]).code(0);
        Sandbox {
            status: xtask(&["sandbox", "status", "--json"]).code(0).json(),
        }
    }

    fn image(&self, repository: &str) -> &str {
        self.status["stand_ins"][format!("docker.io/{repository}")]
            .as_str()
            .unwrap()
    }

    fn registry(&self) -> &str {
        self.status["registry"].as_str().unwrap()
    }

    /// xtask on another repository, with this engine and these base images.
    pub(super) fn on(
        &self,
        repo: &Monorepo,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Finished {
        let stand_ins = self.status["stand_ins"].as_object().unwrap().iter();
        let stand_ins =
            stand_ins.map(|(name, image)| format!("{name}={}", image.as_str().unwrap()));
        let stand_ins = stand_ins.collect::<Vec<_>>().join(",");
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["-C", repo.root().to_str().unwrap()])
            .args(arguments)
            .env("DOCKER_HOST", self.status["docker_host"].as_str().unwrap())
            .env("XTASK_STAND_INS", stand_ins)
            .envs(variables.iter().copied())
            .output();
        Finished::from(output.unwrap())
    }
}

fn build(name: &str) -> [&str; 6] {
    ["connector", "build", name, "--platform", "all", "--json"]
}

/// The text of each platform's spec.
pub(super) fn specs(built: &Value) -> Vec<String> {
    let read = |spec: &Value| fs::read_to_string(spec["path"].as_str().unwrap()).unwrap();
    let specs: Vec<String> = built["specs"]
        .as_array()
        .unwrap()
        .iter()
        .map(read)
        .collect();
    assert_eq!(specs.len(), 2, "{built}");
    specs
}

/// metadata.yaml of a connector on the sandbox's Python base.
pub(super) fn on_base(name: &str) -> String {
    metadata(name).replace("airbyte/base:1.0.0", &format!("{BASE}:4.0.2"))
}

/// A package index of this test's own, beside the machine's.
struct Index {
    _directory: TempDir,
    server: Child,
    address: String,
    /// Hashes of copycat's sdist, planted's wheel, halfway's sdist and its wheel.
    hashes: Vec<String>,
}

impl Index {
    fn start() -> Index {
        let directory = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/make_index.py");
        let made = Command::new("python3")
            .arg(script)
            .current_dir(directory.path())
            .output();
        let hashes = Finished::from(made.unwrap()).code(0).stdout;
        let mut server = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // `Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...`
        let mut line = String::new();
        let output = server.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port = line.split_whitespace().nth(5).unwrap();
        Index {
            _directory: directory,
            server,
            address: format!("http://127.0.0.1:{port}/simple"),
            hashes: hashes.lines().map(str::to_owned).collect(),
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// A connector whose uv.lock holds one package of the test's own index.
fn locking(package: &str, files: &str, main: &str) -> Monorepo {
    let directory = format!("{CONNECTORS}/source-own");
    let pyproject = format!(
        "[build-system]\nrequires = [\"poetry-core>=2.0\"]\nbuild-backend = \"poetry.core.masonry.api\"\n\
         [project]\nname = \"source-own\"\nversion = \"1.2.3\"\nrequires-python = \">=3.11,<3.12\"\n\
         dependencies = [\"{package}==1.0\"]\n[tool.poetry]\npackages = [{{ include = \"source_own\" }}]\n"
    );
    let lock = format!(
        "version = 1\nrequires-python = \">=3.11, <3.12\"\n\
         [[package]]\nname = \"source-own\"\nversion = \"1.2.3\"\nsource = {{ editable = \".\" }}\n\
         dependencies = [{{ name = \"{package}\" }}]\n[package.metadata]\n\
         requires-dist = [{{ name = \"{package}\", specifier = \"==1.0\" }}]\n\
         [[package]]\nname = \"{package}\"\nversion = \"1.0\"\nsource = {{ registry = \"https://index.example/simple\" }}\n{files}\n"
    );
    Monorepo::new()
        .file(
            &format!("{directory}/metadata.yaml"),
            &on_base("source-own"),
        )
        .file(&format!("{directory}/pyproject.toml"), &pyproject)
        .file(&format!("{directory}/uv.lock"), &lock)
        .file(&format!("{directory}/source_own/__init__.py"), "")
        .file(&format!("{directory}/main.py"), main)
}

/// A connector of the fixtures, on the sandbox's base.
fn fixture(name: &str) -> Monorepo {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    let directory = format!("{CONNECTORS}/{name}");
    let repo = Monorepo::new().file(&format!("{directory}/metadata.yaml"), &on_base(name));
    copy(&from.join(name), &repo.root().join(directory));
    repo
}

/// pendulum 2.1.2 and genson 1.2.2 have no wheel for Python 3.11; built where there is no compiler both are pure, so one
/// wheel each serves both platforms.
#[test]
fn sdists_become_one_wheel_for_both_platforms() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    let repo = fixture("source-sdists");
    let first = sandbox
        .on(&repo, &[], &build("source-sdists"))
        .code(0)
        .says("pendulum-2.1.2-py3-none-any.whl for linux/amd64, built")
        .says("pendulum-2.1.2-py3-none-any.whl for linux/arm64, kept");
    let built = first.json();
    for spec in specs(&built[0]) {
        assert!(spec.contains("made of sdists"), "{spec}");
    }
    let store = repo.root().join("target/xtask/store/built");
    assert_eq!(
        fs::read_dir(&store).unwrap().count(),
        2,
        "one wheel of each sdist for both platforms"
    );
    let again = sandbox.on(&repo, &[], &build("source-sdists")).code(0);
    assert_eq!(
        again.json()[0]["digest"],
        built[0]["digest"],
        "the same inputs make the same image"
    );
    let info = sandbox.on(
        &repo,
        &[],
        &["connector", "info", "source-sdists", "--json"],
    );
    let info = info.code(0).json();
    let kept = info["dependencies"]["kept"].as_array().unwrap();
    assert_eq!(kept.len(), 4, "two wheels on two platforms: {kept:?}");
}

/// pyyaml 5.4.1 needs a compiler, libyaml and an old Cython to have machine code: an image with the first two and the
/// third as a build constraint are named in the configuration. Its wheel for the foreign platform is all that is
/// emulated.
#[test]
fn pyyaml_is_compiled_for_each_platform() {
    let _turn = elsewhere();
    xtask(&["sandbox", "up", "--compiler"]).code(0);
    let sandbox = Sandbox::up();
    let repo = fixture("source-pyyaml");
    let image = "pyyaml=docker.io/library/buildpack-deps:bookworm";
    let variables = [
        ("XTASK_BUILDER_IMAGES", image),
        ("XTASK_BUILD_CONSTRAINTS", "pyyaml=cython<3"),
    ];
    let dry = [&build("source-pyyaml")[..], &["--dry-run"]].concat();
    let plan = sandbox.on(&repo, &variables, &dry).code(0).json();
    assert_eq!(plan[0]["method"]["how"], "assemble", "{plan}");
    let builds = plan[0]["python"]["dependencies"]["builds"]
        .as_array()
        .unwrap();
    assert_eq!(builds.len(), 1, "{builds:?}");
    assert_eq!(builds[0]["name"], "pyyaml");
    assert_eq!(builds[0]["emulated"], serde_json::json!(["linux/arm64"]));
    assert_eq!(builds[0]["constraints"], serde_json::json!(["cython<3"]));
    let built = sandbox
        .on(&repo, &variables, &build("source-pyyaml"))
        .code(0)
        .says("pyyaml-5.4.1-cp311-cp311-linux_x86_64.whl for linux/amd64, built")
        .says("pyyaml-5.4.1-cp311-cp311-linux_aarch64.whl for linux/arm64, built")
        .json();
    for spec in specs(&built[0]) {
        assert!(spec.contains("made of pyyaml, native"), "{spec}");
    }
}

/// Machine code is told by content, built on each platform in the configured image, and built once for all machines
/// that share a wheel cache. What it links to and the base image lacks is said, also where it is built no more.
#[test]
fn a_native_sdist_is_built_for_each_platform_and_shared_through_the_wheel_cache() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    let index = Index::start();
    let sdist = format!(
        "sdist = {{ url = \"https://index.example/copycat-1.0.tar.gz\", hash = \"sha256:{}\" }}",
        index.hashes[0]
    );
    let main = r#"import json, copycat
import copycat._json
schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": "made on " + copycat.MACHINE}
print(json.dumps({"type": "SPEC", "spec": {"connectionSpecification": schema}}))
"#;
    let repo = locking("copycat", &sdist, main);
    let builder = format!("copycat={}", sandbox.image("library/python"));
    // A repository that no earlier test filled.
    let name = repo
        .scratch()
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_owned();
    let name: String = name.to_str().unwrap().to_lowercase().replace('.', "");
    let cache = format!("{}/test/wheels-{name}", sandbox.registry());
    let stores = ["one", "two", "three"].map(|name| repo.scratch().join(name));
    let variables = |store: &Path, cache: &str| -> Vec<(String, String)> {
        [
            ("PIP_EXTRA_INDEX_URL", index.address.as_str()),
            ("XTASK_BUILDER_IMAGES", &builder),
            ("XTASK_WHEEL_CACHE", cache),
            ("XTASK_CACHE", store.to_str().unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    };
    let on = |store: &PathBuf, cache: &str, arguments: &[&str]| {
        let variables = variables(store, cache);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        sandbox.on(&repo, &variables, arguments).code(0)
    };
    let wheels = ["x86_64.whl for linux/amd64", "aarch64.whl for linux/arm64"];
    let first = on(&stores[0], &cache, &build("source-own"));
    let first = wheels.iter().fold(first, |first, wheel| {
        first
            .says(&format!("copycat-1.0-cp311-cp311-linux_{wheel}, built"))
            .says(&format!(
                "{} links to libq.so.6, and ",
                wheel.split(' ').next().unwrap()
            ))
    });
    let built = first.json();
    let machines = specs(&built[0]);
    assert!(machines[0].contains("made on x86_64"), "{machines:?}");
    assert!(machines[1].contains("made on aarch64"), "{machines:?}");

    let pushed = on(&stores[0], &cache, &["cache", "push", "--json"]).json();
    assert_eq!(pushed, serde_json::json!({"pushed": 2, "existed": 0}));
    let pushed = on(&stores[0], &cache, &["cache", "push", "--json"]).json();
    assert_eq!(pushed, serde_json::json!({"pushed": 0, "existed": 2}));

    let elsewhere = on(&stores[1], &cache, &build("source-own"));
    let elsewhere = wheels.iter().fold(elsewhere, |elsewhere, wheel| {
        elsewhere.says(&format!("linux_{wheel}, from the wheel cache"))
    });
    let elsewhere = elsewhere.says("links to libq.so.6");
    assert_eq!(elsewhere.json()[0]["digest"], built[0]["digest"]);

    // A cache that is not there costs a warning and a build.
    on(&stores[2], "127.0.0.1:1/test/wheels", &build("source-own"))
        .says("going on without it")
        .says("linux_x86_64.whl for linux/amd64, built");
}

/// Where the wheel for one platform holds machine code, the sdist is built on the other one at once.
#[test]
fn a_package_that_is_native_on_one_platform_is_not_tried_there() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    let index = Index::start();
    let file = |name: &str, hash: &str| {
        format!("{{ url = \"https://index.example/{name}\", hash = \"sha256:{hash}\" }}")
    };
    let wheel = "halfway-1.0-cp311-cp311-manylinux2014_x86_64.whl";
    let files = format!(
        "sdist = {}\nwheels = [{}]",
        file("halfway-1.0.tar.gz", &index.hashes[2]),
        file(wheel, &index.hashes[3])
    );
    let main = r#"import json, halfway
schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": "made on " + halfway.MACHINE}
print(json.dumps({"type": "SPEC", "spec": {"connectionSpecification": schema}}))
"#;
    let repo = locking("halfway", &files, main);
    let builder = format!("halfway={}", sandbox.image("library/python"));
    let variables = [
        ("PIP_EXTRA_INDEX_URL", index.address.as_str()),
        ("XTASK_BUILDER_IMAGES", &builder),
    ];
    let built = sandbox
        .on(&repo, &variables, &build("source-own"))
        .code(0)
        .says("halfway-1.0-cp311-cp311-linux_aarch64.whl for linux/arm64, built")
        .json();
    let machines = specs(&built[0]);
    assert!(machines[0].contains("made on x86_64"), "{machines:?}");
    assert!(machines[1].contains("made on aarch64"), "{machines:?}");
}

#[test]
fn a_wheel_that_holds_what_its_tag_denies_is_caught() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    let index = Index::start();
    let wheel = format!(
        "wheels = [{{ url = \"https://index.example/planted-1.0-py3-none-any.whl\", hash = \"sha256:{}\" }}]",
        index.hashes[1]
    );
    let repo = locking("planted", &wheel, "");
    let variables = [("PIP_EXTRA_INDEX_URL", index.address.as_str())];
    let refused = sandbox
        .on(&repo, &variables, &build("source-own"))
        .code(1)
        .says("planted/native.so (of planted-1.0) is for x86_64, not for linux/arm64");
    assert!(
        !refused.stderr.contains("not for linux/amd64"),
        "{refused:?}"
    );
}

/// The lock is made from whatever package index this machine has.
#[test]
fn source_faker_with_a_uv_lock_holds_exactly_the_closure_that_info_shows() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    let repo = Monorepo::new();
    let directory = format!("{CONNECTORS}/source-faker");
    copy(&root().join(&directory), &repo.root().join(&directory));
    fs::remove_file(repo.root().join(&directory).join("poetry.lock")).unwrap();
    let repo = repo.file(
        &format!("{directory}/pyproject.toml"),
        "[build-system]\nrequires = [\"uv_build>=0.9,<1\"]\nbuild-backend = \"uv_build\"\n\
         [tool.uv.build-backend]\nmodule-name = \"source_faker\"\nmodule-root = \"\"\n\
         [project]\nname = \"airbyte-source-faker\"\nversion = \"7.3.0\"\nrequires-python = \">=3.11,<3.12\"\n\
         dependencies = [\"airbyte-cdk>=7,<8\", \"mimesis>=22.2,<23\"]\n\
         [project.scripts]\nsource-faker = \"source_faker.run:run\"\n",
    );
    let tools = fs::read_dir(root().join("target/xtask/tools")).unwrap();
    let uv = tools
        .map(|entry| entry.unwrap().path().join("bin/uv"))
        .find(|uv| {
            Command::new(uv)
                .arg("--version")
                .output()
                .is_ok_and(|o| o.status.success())
        })
        .expect("the sandbox brought a uv");
    let locked = Command::new(uv)
        .args(["lock", "--quiet", "--directory"])
        .arg(repo.root().join(&directory))
        .output();
    Finished::from(locked.unwrap()).code(0);

    // This repository's own source-faker may be built meanwhile.
    let build = [&build("source-faker")[..], &["--tag", "uv-lock"]].concat();
    let built = sandbox.on(&repo, &[], &build).code(0).json();
    let specs = specs(&built[0]);
    assert_eq!(specs[0], specs[1]);
    let info = ["connector", "info", "source-faker", "--json"];
    let info = sandbox.on(&repo, &[], &info).code(0).json();
    assert_eq!(info["dependencies"]["file"], "uv.lock");
    let closures = info["dependencies"]["closures"].as_array().unwrap();
    assert_eq!(closures.len(), 2);
    for (closure, platform) in closures.iter().zip(["linux/amd64", "linux/arm64"]) {
        let shown: BTreeSet<String> = closure["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| {
                let text = |key: &str| package[key].as_str().unwrap().to_owned();
                format!("{} {}", text("name"), text("version"))
            })
            .collect();
        let image = built[0]["image"].as_str().unwrap();
        assert_eq!(installed(image, platform), shown, "{platform}");
    }
}

/// Names and versions of what is installed in an image, except the connector itself.
fn installed(image: &str, platform: &str) -> BTreeSet<String> {
    let script = "import importlib.metadata as m, re\n\
        for d in m.distributions(path=['/usr/local/lib/python3.11/site-packages']):\n \
        print(re.sub('[-_.]+', '-', d.name).lower(), d.version)";
    let run = ["run", "--rm", "--network=none", "--platform", platform];
    let python = ["--entrypoint", "python", image, "-c", script];
    let printed = docker(&[&run[..], &python].concat()).code(0).stdout;
    let lines = printed.lines().map(str::to_owned);
    lines
        .filter(|line| !line.starts_with("airbyte-source-faker "))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
