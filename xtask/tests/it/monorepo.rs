//! A repository of connectors in a temporary directory, and xtask run on it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

pub const CONNECTORS: &str = "airbyte-integrations/connectors";

/// Variables of this process that would reach xtask and change what a test sees.
const FOREIGN: [&str; 7] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_COLOR",
];

pub struct Monorepo {
    directory: TempDir,
}

impl Monorepo {
    /// An empty repository with a fake docker.
    pub fn new() -> Monorepo {
        let repo = Monorepo {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(repo.root().join(CONNECTORS)).unwrap();
        fs::create_dir_all(repo.scratch()).unwrap();
        repo
    }

    pub fn root(&self) -> PathBuf {
        self.directory
            .path()
            .join("repo")
            .canonicalize()
            .unwrap_or_else(|_| self.directory.path().join("repo"))
    }

    /// Where xtask's temporary files go.
    pub fn scratch(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    pub fn file(self, path: &str, text: &str) -> Monorepo {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A connector with valid metadata and the files given.
    pub fn connector(self, name: &str, files: &[&str]) -> Monorepo {
        let metadata = metadata(name);
        let repo = self.file(&format!("{CONNECTORS}/{name}/metadata.yaml"), &metadata);
        files.iter().fold(repo, |repo, file| {
            repo.file(&format!("{CONNECTORS}/{name}/{file}"), "")
        })
    }

    pub fn manifest_only(self, name: &str) -> Monorepo {
        let manifest = "version: 6.1.0\ntype: DeclarativeSource\ncheck: {}\n";
        self.connector(name, &[])
            .file(&format!("{CONNECTORS}/{name}/manifest.yaml"), manifest)
    }

    /// A Python connector that locks six and is built by poetry-core.
    pub fn python(self, name: &str) -> Monorepo {
        let directory = format!("{CONNECTORS}/{name}");
        self.connector(name, &["main.py"])
            .file(
                &format!("{directory}/pyproject.toml"),
                include_str!("fixtures/pyproject.toml"),
            )
            .file(
                &format!("{directory}/poetry.lock"),
                include_str!("fixtures/poetry.lock"),
            )
    }

    /// xtask at the top of the repository, with the fake programs first on PATH.
    pub fn xtask(&self) -> Xtask {
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fake");
        let path = std::env::join_paths([fakes, "/usr/bin".into(), "/bin".into()]).unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_xtask"), &self.root());
        for (name, _) in std::env::vars() {
            if name.starts_with("XTASK_") || FOREIGN.contains(&name.as_str()) {
                command.env_remove(name);
            }
        }
        command
            .env("PATH", path)
            .env(
                "FAKE_REAL_PATH",
                std::env::var_os("PATH").unwrap_or_default(),
            )
            // What is fetched from the package index is fetched once for all tests.
            .env(
                "XTASK_CACHE",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/store"),
            )
            // A fake docker has no registry to read a base image from.
            .env("XTASK_BUILDER", "docker")
            .env("TMPDIR", self.scratch())
            .env("FAKE_LOG", self.log_path());
        Xtask { command }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("fake.log")
    }

    /// A file that the fake docker makes when it has begun what does not end: the processes that do it.
    pub fn building(&self) -> PathBuf {
        self.directory.path().join("fake.log.building")
    }

    /// Waits until it is there; fails when `child`, by which it is made, ends before.
    pub fn wait_until_building(&self, child: &mut Child) {
        while !self.building().exists() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?} before it began");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The calls of the fake docker so far, one a line.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Commits what is at `path` as the first commit.
    #[track_caller]
    pub fn commit(&self, path: &str) {
        for arguments in [
            &["init", "--quiet"][..],
            &["add", "--all", path],
            &["commit", "--quiet", "--message", "one"],
        ] {
            git(&self.root(), arguments);
        }
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

/// metadata.yaml of a connector that has all it needs.
pub fn metadata(name: &str) -> String {
    let kind = name.split('-').next().unwrap();
    format!(
        "data:
  connectorBuildOptions:
    baseImage: docker.io/airbyte/base:1.0.0@sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916
  connectorSubtype: api
  connectorType: {kind}
  definitionId: dfd88b22-b603-4c3d-aad7-3701784586b1
  dockerImageTag: 1.2.3
  dockerRepository: airbyte/{name}
  documentationUrl: https://docs.airbyte.com/integrations/{kind}s/x
  githubIssueLabel: {name}
  license: MIT
  name: The {name}
  releaseStage: alpha
  supportLevel: community
  tags:
    - cdk:low-code
    - language:manifest-only
metadataSpecVersion: \"1.0\"
"
    )
}

/// Puts a program there. Another process writes it: a file that this one has open for writing, and with it whatever other
/// threads are just starting, can't be run (execve(2), ETXTBSY).
#[track_caller]
pub fn executable(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = install.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(install.wait().unwrap().success());
}

/// git with an identity and a default branch of its own, whatever this machine is set up with. What it prints.
#[track_caller]
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    git_reading(directory, arguments, b"")
}

/// As [`git`], with this on standard input.
#[track_caller]
pub fn git_reading(directory: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = command("git", directory)
        .args(["-c", "user.name=n", "-c", "user.email=n@example.com"])
        .args(["-c", "init.defaultBranch=main"])
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A program in `directory` that does not hear how this machine, or the job that runs the tests, has git set up.
pub fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("GITHUB_") || name.starts_with("GIT_"))
    {
        command.env_remove(name);
    }
    command
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// One run of xtask to come.
pub struct Xtask {
    pub command: Command,
}

impl Xtask {
    pub fn env(mut self, name: &str, value: &str) -> Xtask {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Xtask {
        self.command.current_dir(directory);
        self
    }

    pub fn run(mut self, arguments: &[&str]) -> Finished {
        Finished::from(self.command.args(arguments).output().unwrap())
    }
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        Finished {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// Asserts the exit code, showing everything when it is another, and last what was said last: the end of a log
    /// is what people are shown of it.
    #[track_caller]
    pub fn code(self, expected: i32) -> Finished {
        let Finished {
            status,
            stdout,
            stderr,
        } = &self;
        assert!(
            *status == Some(expected),
            "stdout:\n{stdout}\nstderr:\n{stderr}\nended with {status:?} instead of {expected}"
        );
        self
    }

    #[track_caller]
    pub fn says(self, expected: &str) -> Finished {
        assert!(
            self.stderr.contains(expected),
            "stderr lacks {expected:?}\n{}",
            self.stderr
        );
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self:#?}"))
    }
}
