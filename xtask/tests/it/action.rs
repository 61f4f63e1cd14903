//! The action, run as GitHub's runner does it: inputs become variables, GITHUB_OUTPUT becomes outputs.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use serde_yaml::{Mapping, Value};
use tempfile::TempDir;

use crate::{
    end_to_end::publish::Registry,
    monorepo::{Finished, Monorepo, executable},
};

const ACTION: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../.github/actions/connector-image-build-push/action.yml"
);

/// Keeps its arguments, each closed by a NUL, and the variables that it must get.
const RECORDER: &str = r#"#!/bin/sh
printf '%s\0' "$@" > "$RECORD/arguments"
printf '%s\0' "$DOCKER_HUB_USERNAME" "$DOCKER_HUB_PASSWORD" "$UV_PUBLISH_TOKEN" > "$RECORD/variables"
printf 'digest=sha256:1=2\nscan-summary<<_end_\ntwo\n=lines\n_end_\nconnector-name=source-a\n' >> "$GITHUB_OUTPUT"
exit "${RECORD_EXIT:-0}"
"#;

struct Action(Value);

fn action() -> Action {
    Action(serde_yaml::from_str(&fs::read_to_string(ACTION).unwrap()).unwrap())
}

impl Action {
    fn table(&self, key: &str) -> &Mapping {
        self.0[key].as_mapping().unwrap()
    }

    fn steps(&self) -> &[Value] {
        self.0["runs"]["steps"].as_sequence().unwrap()
    }

    /// The one step with a script.
    fn script(&self) -> &Value {
        let mut scripts = self.steps().iter().filter(|step| !step["run"].is_null());
        let script = scripts.next().unwrap();
        assert!(scripts.next().is_none(), "one step calls xtask");
        script
    }

    /// The value of an input: what is given, else its default.
    fn input(&self, name: &str, given: &[(&str, &str)]) -> String {
        let declared = &self.0["inputs"][name];
        assert!(!declared.is_null(), "no input is called {name}");
        let default = declared["default"].as_str().unwrap_or_default();
        let given = given.iter().find(|(key, _)| *key == name);
        given.map_or(default, |(_, value)| value).to_owned()
    }

    /// Runs the script with these inputs in `directory`, where `programs` come first on PATH.
    fn run(&self, given: &[(&str, &str)], job: &Job) -> Ran {
        let script = self.script();
        assert_eq!(script["shell"], "bash");
        let output = job.directory.path().join("output");
        fs::write(&output, "").unwrap();
        let file = job.directory.path().join("script.sh");
        fs::write(&file, script["run"].as_str().unwrap()).unwrap();
        let mut command = Command::new("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(file)
            .current_dir(&job.work);
        for (name, value) in &job.variables {
            command.env(name, value);
        }
        for (name, value) in script["env"].as_mapping().unwrap() {
            let value = match expression(value.as_str().unwrap()).as_slice() {
                ["inputs", input] => self.input(input, given),
                other => panic!("{other:?} is no input"),
            };
            command.env(name.as_str().unwrap(), value);
        }
        command.env("GITHUB_OUTPUT", &output);
        let finished = Finished::from(command.output().unwrap());
        let written = outputs(&fs::read_to_string(output).unwrap());
        let mapped = self.table("outputs").iter().map(|(name, declared)| {
            let value = match expression(declared["value"].as_str().unwrap()).as_slice() {
                ["steps", id, "outputs", output] if script["id"] == *id => {
                    written.get(*output).cloned().unwrap_or_default()
                }
                other => panic!("{other:?} is no output of the script"),
            };
            (name.as_str().unwrap().to_owned(), value)
        });
        Ran {
            finished,
            outputs: mapped.collect(),
        }
    }
}

/// A runner's job: where it works and its variables.
struct Job {
    directory: TempDir,
    work: PathBuf,
    variables: Vec<(String, String)>,
}

impl Job {
    /// With this script as `cargo`.
    fn new(cargo: &str) -> Job {
        let directory = tempfile::tempdir().unwrap();
        let programs = directory.path().join("bin");
        let work = directory.path().join("work");
        fs::create_dir_all(&work).unwrap();
        executable(&programs.join("cargo"), cargo);
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let record = directory.path().display().to_string();
        Job {
            work,
            variables: vec![("PATH".to_owned(), path), ("RECORD".to_owned(), record)],
            directory,
        }
    }

    fn recorded(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join(file)).unwrap();
        let words = text.strip_suffix('\0').unwrap().split('\0');
        words.map(str::to_owned).collect()
    }
}

struct Ran {
    finished: Finished,
    outputs: BTreeMap<String, String>,
}

/// The words of `${{ a.b.c }}`, which is all that an action without logic holds.
fn expression(text: &str) -> Vec<&str> {
    let inner = text
        .strip_prefix("${{ ")
        .and_then(|text| text.strip_suffix(" }}"));
    let words: Vec<&str> = inner
        .unwrap_or_else(|| panic!("{text}"))
        .split('.')
        .collect();
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    assert!(words.iter().all(plain), "{text}");
    words
}

/// A GITHUB_OUTPUT file as the runner reads it: `name=value`, or `name<<delimiter` and lines up to that.
fn outputs(text: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let equals = line.find('=').unwrap_or(usize::MAX);
        let (name, value) = match line.find("<<") {
            Some(at) if at < equals => {
                let end = &line[at + 2..];
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
                (&line[..at], value.join("\n"))
            }
            _ => {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
                (name, value.to_owned())
            }
        };
        outputs.insert(name.to_owned(), value);
    }
    outputs
}

#[test]
fn inputs_and_outputs_are_those_of_the_old_action_and_a_few_more() {
    let action = action();
    let inputs: Vec<(&str, bool, Option<&str>)> = action
        .table("inputs")
        .iter()
        .map(|(name, input)| {
            let required = input["required"].as_bool().unwrap();
            (name.as_str().unwrap(), required, input["default"].as_str())
        })
        .collect();
    assert_eq!(
        inputs,
        [
            ("connector-name", true, None),
            ("registry", false, Some("docker.io/airbyte")),
            ("tag-override", false, Some("")),
            ("push-latest", false, Some("false")),
            ("dry-run", false, Some("true")),
            ("force-publish", false, Some("false")),
            ("release-type", false, Some("main")),
            ("sign", false, Some("false")),
            ("docker-hub-username", true, None),
            ("docker-hub-password", true, None),
            ("pypi-token", false, Some("")),
        ]
    );
    let outputs: Vec<&str> = action
        .table("outputs")
        .keys()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        outputs,
        [
            "connector-name",
            "connector-type",
            "connector-dir",
            "base-image",
            "connector-version-tag",
            "connector-image-name",
            "docker-tags",
            "image-exists",
            "build-executed",
            "push-executed",
            "digest",
            "platforms",
            "scan-summary",
            "scan-sarif",
            "latest-moved",
        ]
    );
}

#[test]
fn other_actions_are_pinned_by_commit_and_get_no_input() {
    let action = action();
    let others = action.steps().iter().filter(|step| !step["uses"].is_null());
    for step in others {
        let (_, commit) = step["uses"].as_str().unwrap().split_once('@').unwrap();
        assert!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()));
        assert!(!serde_yaml::to_string(step).unwrap().contains("${{"));
    }
}

#[test]
fn every_input_reaches_xtask_as_one_word_or_as_a_variable() {
    let job = Job::new(RECORDER);
    let ran = action().run(
        &[
            ("connector-name", "source-a"),
            ("docker-hub-username", "someone"),
            ("docker-hub-password", "secret"),
            ("push-latest", "true"),
        ],
        &job,
    );
    ran.finished.code(0);
    assert_eq!(
        job.recorded("arguments"),
        [
            "xtask",
            "connector",
            "publish",
            "--registry=docker.io/airbyte",
            "--tag-override=",
            "--push-latest=true",
            "--dry-run=true",
            "--force-publish=false",
            "--release-type=main",
            "--sign=false",
            "--",
            "source-a",
        ]
    );
    assert_eq!(job.recorded("variables"), ["someone", "secret", ""]);
    assert_eq!(ran.outputs["digest"], "sha256:1=2");
    assert_eq!(ran.outputs["scan-summary"], "two\n=lines");
    assert_eq!(ran.outputs["push-executed"], "");
}

/// Bug 5 of the old action: inputs were pasted into shell text.
#[test]
fn bug_5_no_input_can_become_shell_text() {
    let hostile = [
        "$(touch pwned)",
        "`touch pwned`",
        "\"; touch pwned; \"",
        "'; touch pwned; '",
        "a\ntouch pwned\n",
        "${IFS}touch${IFS}pwned",
        "a b  c*?[x] ~ \\ && touch pwned || touch pwned & | > pwned < pwned",
        "--plan",
        "$DOCKER_HUB_PASSWORD",
    ];
    let action = action();
    for text in hostile {
        for (input, _) in action.table("inputs") {
            let input = input.as_str().unwrap();
            let job = Job::new(RECORDER);
            action.run(&[(input, text)], &job).finished.code(0);
            assert_eq!(
                fs::read_dir(&job.work).unwrap().count(),
                0,
                "{input}: {text}"
            );
            let arguments = job.recorded("arguments");
            assert_eq!(arguments.len(), 12, "{input}: {text}: {arguments:?}");
            let words = arguments
                .iter()
                .chain(&job.recorded("variables"))
                .cloned()
                .collect::<Vec<_>>();
            let whole = words
                .iter()
                .filter(|word| *word == text || word.ends_with(&format!("={text}")));
            assert_eq!(whole.count(), 1, "{input}: {words:?}");
            // Behind `--` nothing is a flag.
            assert_eq!(arguments[10], "--");
        }
    }
}

#[test]
fn a_failure_of_xtask_fails_the_step_and_outputs_stay() {
    let mut job = Job::new(RECORDER);
    job.variables
        .push(("RECORD_EXIT".to_owned(), "3".to_owned()));
    let ran = action().run(&[("connector-name", "source-a")], &job);
    ran.finished.code(3);
    assert_eq!(ran.outputs["connector-name"], "source-a");
}

/// A job in a repository with source-a, whose `cargo xtask` is the built one and whose docker has this fault.
fn real(repo: &Monorepo, fault: &str) -> Job {
    let xtask = repo.xtask();
    let mut job = Job::new(&format!(
        "#!/bin/sh\nshift\nPATH=\"$XTASK_PATH\" exec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_xtask")
    ));
    job.work = repo.root();
    let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
    for (name, value) in xtask.command.get_envs() {
        let name = if name == "PATH" {
            "XTASK_PATH".to_owned()
        } else {
            text(name)
        };
        job.variables.extend(value.map(|value| (name, text(value))));
    }
    let configuration = repo.scratch().display().to_string();
    for (name, value) in [
        ("FAKE_DOCKER", fault),
        ("FAKE_PASSWORD", "secret"),
        ("DOCKER_CONFIG", &configuration),
    ] {
        job.variables.push((name.to_owned(), value.to_owned()));
    }
    job
}

#[test]
fn without_a_registry_that_of_the_configuration_counts() {
    let configured =
        "[workspace]\n[workspace.metadata.connector]\nregistry = '127.0.0.1:9/configured'\n";
    let repo = Monorepo::new().manifest_only("source-a");
    let repo = repo.file("Cargo.toml", configured);
    let given = [("connector-name", "source-a"), ("registry", "")];
    let ran = action().run(&given, &real(&repo, "broken-build"));
    ran.finished.code(1).says("it broke");
    let image = &ran.outputs["connector-image-name"];
    assert_eq!(image, "127.0.0.1:9/configured/source-a:1.2.3");
}

#[test]
fn outputs_of_a_build_that_fails_say_what_happened() {
    let repo = Monorepo::new().manifest_only("source-a");
    let given = [
        ("connector-name", "source-a"),
        ("registry", "127.0.0.1:9/airbyte"),
    ];
    let ran = action().run(&given, &real(&repo, "broken-build"));
    ran.finished.code(1).says("it broke");
    for (output, expected) in [
        ("connector-name", "source-a"),
        ("connector-type", "manifest-only"),
        ("connector-dir", "airbyte-integrations/connectors/source-a"),
        ("connector-version-tag", "1.2.3"),
        ("connector-image-name", "127.0.0.1:9/airbyte/source-a:1.2.3"),
        ("image-exists", "false"),
        ("build-executed", "false"),
        ("push-executed", "false"),
        ("latest-moved", "false"),
    ] {
        assert_eq!(ran.outputs[output], expected, "{output}");
    }
}

#[test]
fn a_hostile_name_is_no_connector() {
    let repo = Monorepo::new().manifest_only("source-a");
    for name in ["$(touch pwned)", "`touch pwned`", "\"; touch pwned; \""] {
        let ran = action().run(&[("connector-name", name)], &real(&repo, ""));
        ran.finished.code(2);
        assert!(!repo.root().join("pwned").exists());
    }
}

#[test]
fn outputs_of_a_publish_and_of_the_next_one_are_what_happened() {
    let (registry, repo) = (Registry::start(), Monorepo::new().manifest_only("source-a"));
    let address = format!("{}/airbyte", registry.address);
    let given = [
        ("connector-name", "source-a"),
        ("registry", &address),
        ("push-latest", "true"),
        ("dry-run", "false"),
        ("docker-hub-username", "me"),
        ("docker-hub-password", "secret"),
    ];
    let publish = || {
        let ran = action().run(&given, &real(&repo, ""));
        let printed = format!("{:?}", ran.finished);
        ran.finished.code(0);
        assert!(!printed.contains("secret"), "{printed}");
        ran.outputs
    };
    let expected = |exists: &str, done: &str, tags: &str, scan: &str| {
        let pairs = [
            ("connector-name", "source-a"),
            ("connector-type", "manifest-only"),
            ("connector-dir", "airbyte-integrations/connectors/source-a"),
            (
                "base-image",
                "docker.io/airbyte/base:1.0.0@sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916",
            ),
            ("connector-version-tag", "1.2.3"),
            ("connector-image-name", &format!("{address}/source-a:1.2.3")),
            ("docker-tags", tags),
            ("image-exists", exists),
            ("build-executed", done),
            ("push-executed", done),
            ("digest", &registry.digest("1.2.3")),
            ("platforms", "linux/amd64,linux/arm64"),
            ("scan-summary", scan),
            ("scan-sarif", ""),
            ("latest-moved", done),
        ];
        BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    let tags = format!("{address}/source-a:1.2.3,{address}/source-a:latest");
    // Nothing here can scan, and that is what is said.
    assert_eq!(publish(), expected("false", "true", &tags, "scan-failed"));
    assert_eq!(publish(), expected("true", "false", "", ""));
}
