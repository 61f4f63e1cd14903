//! A package on a real index, pypiserver, which lets nobody add files without the token: the wheel of the image that
//! the engine built, uploaded by the real uv.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    docker, elsewhere,
    publish::Registry,
    wheels::{Sandbox, on_base},
};
use crate::monorepo::{CONNECTORS, Finished, Monorepo};

const PUBLISH_PACKAGE: [&str; 4] = [
    "connector",
    "publish-package",
    "source-py",
    "--dry-run=false",
];
const WHEEL: &str = "airbyte_source_py-1.2.3-py3-none-any.whl";
const TOKEN: &str = "token-of-this-test";
/// `openssl passwd -apr1` of the token, for the user that uv logs in as.
const USERS: &str = "__token__:$apr1$abcdefgh$/8H3xtaQPE6OoTgnQ2yX91\n";

/// Serves a directory, and says on which port that is: pypiserver by itself takes none that is free.
const SERVER: &str = r#"
import pathlib, sys
from wsgiref.simple_server import make_server
import pypiserver

files = pathlib.Path(sys.argv[1])
app = pypiserver.app(
    roots=[files], password_file=str(files / ".users"), authenticate=["update"], disable_fallback=True
)
server = make_server("127.0.0.1", 0, app)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// pypiserver on a port of its own; it ends with the test.
struct Index {
    process: Child,
    files: TempDir,
    address: String,
}

impl Index {
    fn start() -> Index {
        let program = pypiserver();
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join(".users"), USERS).unwrap();
        let mut process = Command::new("python3")
            .args(["-c", SERVER])
            .arg(files.path())
            .env("PYTHONPATH", program)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(process.stdout.as_mut().unwrap());
        said.read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("pypiserver ended");
        Index {
            process,
            files,
            address: format!("http://127.0.0.1:{port}/"),
        }
    }

    /// Name and bytes of each file on it.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.files.path()).unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .filter(|(name, _)| !name.starts_with('.'))
            .map(|(name, path)| (name, fs::read(path).unwrap()))
            .collect()
    }

    /// xtask with this index for packages, and `token` for uploads; it is shown nowhere.
    fn run(&self, sandbox: &Sandbox, repo: &Monorepo, token: &str, words: &[&str]) -> Finished {
        let simple = format!("{}simple/", self.address);
        let variables = [
            ("XTASK_PACKAGES_UPLOAD", self.address.as_str()),
            ("XTASK_PACKAGES_SIMPLE", &simple),
            ("UV_PUBLISH_TOKEN", token),
        ];
        let finished = sandbox.on(repo, &variables, words);
        assert!(
            token.is_empty() || !finished.stderr.contains(token),
            "{finished:#?}"
        );
        finished
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The directory of an installed pypiserver, fetched once.
fn pypiserver() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pypiserver-2.4.2");
    let fetched = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(&directory)
        .args(["pypiserver==2.4.2", "passlib==1.7.4"])
        .stderr(Stdio::null())
        .status();
    assert!(directory.join("pypiserver").is_dir() || fetched.unwrap().success());
    directory
}

/// A Python connector that is published as airbyte-source-py 1.2.3, and has this name in its pyproject.toml.
fn monorepo(name: &str) -> Monorepo {
    let repo = Monorepo::new().python("source-py");
    let directory = format!("{CONNECTORS}/source-py");
    let pyproject = repo.read(&format!("{directory}/pyproject.toml"));
    let pypi = "  remoteRegistries:\n    pypi:\n      enabled: true\n      packageName: airbyte-source-py\n  name:";
    repo.file(
        &format!("{directory}/pyproject.toml"),
        &pyproject.replace("name = \"source-py\"", &format!("name = \"{name}\"")),
    )
    .file(
        &format!("{directory}/metadata.yaml"),
        &on_base("source-py").replace("  name:", pypi),
    )
    .file(
        &format!("{directory}/source_py/__init__.py"),
        "ANSWER = 42\n",
    )
    .file(
        &format!("{directory}/main.py"),
        "print('{\"type\":\"SPEC\",\"spec\":{\"connectionSpecification\":{\"type\":\"object\",\"properties\":{}}}}')\n",
    )
}

/// What a wheel's RECORD says of the files in it: `path,hash,size`.
fn record(wheel: &Path) -> String {
    let mut archive = zip::ZipArchive::new(File::open(wheel).unwrap()).unwrap();
    let mut text = String::new();
    let mut record = archive
        .by_name("airbyte_source_py-1.2.3.dist-info/RECORD")
        .unwrap();
    record.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_images_own_wheel_is_published_once_and_only_with_the_token() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    let index = Index::start();
    let repo = monorepo("airbyte-source-py");
    let built = sandbox
        .on(&repo, &[], &["connector", "build", "source-py"])
        .code(0);

    let publish = |token| index.run(&sandbox, &repo, token, &PUBLISH_PACKAGE);
    let without = publish("").code(2);
    without.says("UV_PUBLISH_TOKEN is not set");
    let wrong = publish("a-wrong-token").code(1);
    wrong
        .says("status code 403")
        .says("UV_PUBLISH_TOKEN must hold a token");
    assert_eq!(index.files(), []);

    let published = publish(TOKEN).code(0);
    assert_eq!(published.stdout, "airbyte-source-py 1.2.3 was published\n");
    let files = index.files();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].0, WHEEL);

    // Every file of the wheel is the image's, by its hash.
    let ask = "import importlib.metadata as m; print(m.distribution('airbyte-source-py').read_text('RECORD'))";
    let image = built.stdout.trim();
    let installed = docker(&["run", "--rm", "--entrypoint", "python", image, "-c", ask]).code(0);
    let record = record(&index.files.path().join(WHEEL));
    let hashed: Vec<&str> = record
        .lines()
        .filter(|line| line.contains("sha256="))
        .collect();
    assert!(
        hashed
            .iter()
            .any(|line| line.starts_with("source_py/__init__.py,")),
        "{record}"
    );
    for line in hashed {
        assert!(
            installed.stdout.lines().any(|there| there.ends_with(line)),
            "{line}\n{installed:#?}"
        );
    }

    let again = publish(TOKEN).code(0);
    assert_eq!(again.stdout, "airbyte-source-py 1.2.3 is on the index\n");
    assert_eq!(index.files(), files);
}

/// Image and package of one connector, in the order of the plan: nothing is begun without the token, and what is there
/// is left alone.
#[test]
fn a_publish_brings_the_image_to_the_registry_and_the_package_to_the_index() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    // As most of Airbyte's connectors have it.
    let repo = monorepo("source-py");
    let (index, registry) = (Index::start(), Registry::start());
    let flag = format!("--registry={}/airbyte", registry.address);
    let words = ["connector", "publish", "source-py", "--dry-run=false"];
    let words = [&words[..], &[&flag, "--json"]].concat();
    let publish = |token| index.run(&sandbox, &repo, token, &words);
    let platforms = || {
        let path = "/v2/airbyte/source-py/manifests/1.2.3";
        let (status, _, body) = registry.send("GET", path, "", "");
        let index: Value = serde_json::from_str(&body).unwrap();
        (status, index["manifests"].as_array().map_or(0, Vec::len))
    };
    let row = |finished: &Finished| finished.json()["connectors"][0].clone();

    let changes = registry.changes(|| {
        let without = publish("").code(2);
        without
            .says("airbyte-source-py 1.2.3 is not published yet, and UV_PUBLISH_TOKEN is not set");
    });
    assert_eq!((changes, index.files()), (vec![], vec![]));
    assert_eq!(platforms(), (404, 0));

    let first = row(&publish(TOKEN).code(0));
    assert_eq!(first["action"], "published");
    assert_eq!(platforms(), (200, 2));
    let files = index.files();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [WHEEL]);
    let record = record(&index.files.path().join(WHEEL));
    assert!(
        record.contains("\nairbyte_source_py-1.2.3.dist-info/METADATA,"),
        "{record}"
    );

    // No token is needed where nothing is left to upload.
    let changes = registry.changes(|| {
        let again = publish("").code(0);
        assert_eq!(row(&again)["action"], "exists");
        again.says("pypi     airbyte-source-py 1.2.3 is on the index");
    });
    assert_eq!((changes, index.files()), (vec![], files));
}
