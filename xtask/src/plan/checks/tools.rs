//! Checks that run programs: a command runs them and hands in what they printed, here it becomes findings.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::{Check, Defect, Run};
use crate::model::{
    finding::Severity,
    yaml::{Document, Node, Place},
};

/// [`Check::of`] says nothing for these: a command runs them, with `--tools`, by `--only` or in `connector test`.
pub const CHECKS: &[Check] = &[
    Check {
        id: "manifest-valid",
        description: "the CDK of the base image takes manifest.yaml: references, schema, the classes it names",
        severity: Severity::Error,
        applies: "manifest-only; with --tools",
        run: Run::Tool(Tool::Manifest),
    },
    Check {
        id: "components",
        description: "components.py compiles with the Python of the base image",
        severity: Severity::Error,
        applies: "manifest-only with components.py; with --tools",
        run: Run::Tool(Tool::Components),
    },
    Check {
        id: "uv-lock",
        description: "`uv lock --check` passes",
        severity: Severity::Error,
        applies: "all with a uv.lock; with --tools",
        run: Run::Tool(Tool::UvLock),
    },
    Check {
        id: "format",
        description: "the poe task `format-check` passes",
        severity: Severity::Error,
        applies: "all that define it; with --tools",
        run: Run::Tool(Tool::Format),
    },
    Check {
        id: "lint",
        description: "the poe task `lint-check` passes",
        severity: Severity::Error,
        applies: "all that define it; with --tools",
        run: Run::Tool(Tool::Lint),
    },
    Check {
        id: "unit-tests",
        description: "the poe task `test-unit-tests` passes",
        severity: Severity::Error,
        applies: "all that define it; with --tools",
        run: Run::Tool(Tool::UnitTests),
    },
];

/// A check that a program makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Manifest,
    Components,
    UvLock,
    Format,
    Lint,
    UnitTests,
}

impl Tool {
    /// The poe task that makes it, under the name that Airbyte's connectors give it.
    pub fn task(self) -> Option<&'static str> {
        match self {
            Tool::Manifest | Tool::Components | Tool::UvLock => None,
            Tool::Format => Some("format-check"),
            Tool::Lint => Some("lint-check"),
            Tool::UnitTests => Some("test-unit-tests"),
        }
    }

    fn help(self, task: &str) -> String {
        match self {
            Tool::Format => format!("format the file as `poe {task}` wants it"),
            Tool::UnitTests => "correct the code, or the test".to_owned(),
            _ => "correct the line".to_owned(),
        }
    }
}

/// What a poe task came to.
#[derive(Debug)]
pub struct TaskRun<'a> {
    /// `exited with 1`, `took longer than 60 s`.
    pub ending: &'a str,
    /// All that it printed.
    pub output: &'a str,
    /// The JUnit files that pytest wrote.
    pub junit: &'a [String],
}

/// What made a task fail: the places that its output names, else the task itself in `defined_in`. Paths are below
/// `directory`, the connector's.
pub fn task_defects(
    tool: Tool,
    run: &TaskRun,
    directory: &Utf8Path,
    defined_in: &str,
) -> Vec<Defect> {
    let task = tool.task().unwrap_or_default();
    let located: Vec<Located> = match tool {
        Tool::UnitTests => run
            .junit
            .iter()
            .flat_map(|text| failed_tests(text))
            .collect(),
        _ => run.output.lines().filter_map(located).collect(),
    };
    if located.is_empty() {
        return vec![Defect {
            file: directory.join(defined_in),
            at: Place::START,
            message: format!("`poe {task}` {}\n{}", run.ending, last_lines(run.output)),
            help: format!("run `poe {task}` in {directory}"),
        }];
    }
    let defect = |(file, at, message): Located| Defect {
        file: directory.join(file),
        at,
        message,
        help: tool.help(task),
    };
    located.into_iter().map(defect).collect()
}

/// A place in a file of the connector and what is wrong there.
type Located = (Utf8PathBuf, Place, String);

/// How many of a task's last lines a finding without a place shows.
const LINES: usize = 20;

fn last_lines(output: &str) -> String {
    /// poe repeats its help after an error of its own.
    const HELP: &str = "\nUsage:\n  poe ";
    let output = output.split(HELP).next().unwrap_or(output);
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A line of ruff, flake8, mypy or black: `a.py:1:8: F401 unused`, `a.py:3: error: no`, `would reformat a.py`.
fn located(line: &str) -> Option<Located> {
    let line = line.trim();
    for prefix in ["Would reformat: ", "would reformat "] {
        if let Some(path) = line.strip_prefix(prefix) {
            return Some((path.into(), Place::START, "it is not formatted".to_owned()));
        }
    }
    let (path, rest) = line.split_once(':')?;
    let inside = !path.is_empty() && !path.starts_with(['/', '.']) && !path.contains(' ');
    let (number, rest) = rest.split_once(':')?;
    let number = number.parse().ok().filter(|_| inside)?;
    let column = rest
        .split_once(':')
        .and_then(|(column, rest)| Some((column.parse().ok()?, rest)));
    let (column, message) = column.unwrap_or((1, rest));
    let at = Place {
        line: number,
        column,
    };
    Some((path.into(), at, message.trim().to_owned()))
}

/// The tests that failed or could not be run, from a JUnit file of pytest's family `xunit1`.
fn failed_tests(junit: &str) -> Vec<Located> {
    let Ok(document) = roxmltree::Document::parse(junit) else {
        return Vec::new();
    };
    let cases = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    cases.filter_map(failed_test).collect()
}

fn failed_test(case: roxmltree::Node) -> Option<Located> {
    let failure = case
        .children()
        .find(|node| node.has_tag_name("failure") || node.has_tag_name("error"))?;
    let traceback = failure.text().unwrap_or_default();
    let name = case.attribute("name").unwrap_or_default();
    let file = match case.attribute("file") {
        Some(file) => file.to_owned(),
        // A module that can't be imported is a case of that module's dotted name.
        None => format!("{}.py", name.replace('.', "/")),
    };
    let failed_at = traceback.lines().rev().find_map(|line| {
        let (number, _) = line
            .strip_prefix(&file)?
            .strip_prefix(':')?
            .split_once(':')?;
        number.parse().ok()
    });
    let defined_at = || Some(case.attribute("line")?.parse::<usize>().ok()? + 1);
    let at = Place {
        line: failed_at.or_else(defined_at).unwrap_or(1),
        column: 1,
    };
    let message = failure.attribute("message").unwrap_or("failed");
    Some((file.into(), at, format!("{name}: {message}")))
}

/// How many tests a JUnit file says were run, not counting those skipped.
pub fn tests_run(junit: &str) -> Option<usize> {
    let document = roxmltree::Document::parse(junit).ok()?;
    let cases = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    let run = cases.filter(|case| !case.children().any(|node| node.has_tag_name("skipped")));
    Some(run.count())
}

/// One thing that the CDK has against a manifest or its components, as `manifest_check.py` prints it.
#[derive(Debug, Deserialize)]
pub struct ManifestFault {
    file: String,
    /// Keys and indices in the manifest with its references resolved.
    path: Vec<String>,
    line: Option<usize>,
    message: String,
}

/// What the CDK has against one of the files that it judged, at the lines of that file.
pub fn manifest_defects(
    faults: &[ManifestFault],
    file: &str,
    directory: &Utf8Path,
    manifest: &str,
) -> Vec<Defect> {
    let document = Document::read(manifest).ok();
    let mut defects: Vec<Defect> = Vec::new();
    let mut seen: BTreeSet<(Place, &str)> = BTreeSet::new();
    for fault in faults.iter().filter(|fault| fault.file == file) {
        let at = match (fault.line, &document) {
            (Some(line), _) => Place { line, column: 1 },
            (None, Some(document)) => place(&document.root, &fault.path),
            (None, None) => Place::START,
        };
        // What several streams refer to is at fault once.
        if !seen.insert((at, &fault.message)) {
            continue;
        }
        let within = match fault.path.as_slice() {
            [] => String::new(),
            path => format!("{}: ", path.join(".")),
        };
        defects.push(Defect {
            file: directory.join(file),
            at,
            message: format!("{within}{}", fault.message),
            help: "the CDK's reference of declarative components says what may stand there"
                .to_owned(),
        });
    }
    defects
}

/// Where a path through the resolved manifest leads in the file: through `$ref` to what it names, else as far as
/// the file goes.
fn place(root: &Node, path: &[String]) -> Place {
    /// More than any manifest nests, so that references in a circle end.
    const MOST: usize = 32;
    let (mut node, mut at) = (root, Place::START);
    for key in path {
        let mut next = node.child(key);
        for _ in 0..MOST {
            if next.is_some() {
                break;
            }
            let Some(named) = referenced(root, node) else {
                return at;
            };
            node = named;
            next = node.child(key);
        }
        let Some((found, value)) = next else {
            return at;
        };
        (node, at) = (value, found);
    }
    at
}

/// What `$ref: "#/definitions/x"`, or the text itself, names.
fn referenced<'a>(root: &'a Node, node: &Node) -> Option<&'a Node> {
    let text = node.text().or_else(|| node.get("$ref")?.text())?;
    let mut named = root;
    for part in text.strip_prefix("#/")?.split('/') {
        named = named.child(part)?.1;
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tool: Tool, output: &str, junit: Option<&str>) -> Vec<(String, usize, usize, String)> {
        let junit: Vec<String> = junit.map(str::to_owned).into_iter().collect();
        let run = TaskRun {
            ending: "exited with 1",
            output,
            junit: &junit,
        };
        let defects = task_defects(tool, &run, Utf8Path::new("c/source-x"), "poe_tasks.toml");
        let flat = |defect: Defect| {
            (
                defect.file.into_string(),
                defect.at.line,
                defect.at.column,
                defect.message,
            )
        };
        defects.into_iter().map(flat).collect()
    }

    #[test]
    fn linters_and_formatters_name_places() {
        for (tool, line, place, message) in [
            (
                Tool::Lint,
                "source_x/a.py:3:8: F401 [*] `os` imported but unused",
                ("c/source-x/source_x/a.py", 3, 8),
                "F401 [*] `os` imported but unused",
            ),
            (
                Tool::Lint,
                "a.py:7: error: Incompatible types",
                ("c/source-x/a.py", 7, 1),
                "error: Incompatible types",
            ),
            (
                Tool::Format,
                "Would reformat: unit_tests/a.py",
                ("c/source-x/unit_tests/a.py", 1, 1),
                "it is not formatted",
            ),
            (
                Tool::Format,
                "would reformat main.py",
                ("c/source-x/main.py", 1, 1),
                "it is not formatted",
            ),
        ] {
            let found = of(
                tool,
                &format!("Poe => ruff check .\n{line}\nFound 1 error.\n"),
                None,
            );
            let (file, number, column) = place;
            assert_eq!(
                found,
                [(file.to_owned(), number, column, message.to_owned())],
                "{line}"
            );
        }
    }

    #[test]
    fn output_without_a_place_is_shown() {
        for (tool, output) in [
            (Tool::Lint, "error: Failed to spawn: `ruff`\n"),
            (Tool::UnitTests, "ModuleNotFoundError: no\n"),
            (Tool::Lint, "Error: executable 'ruff' could not be found"),
        ] {
            let printed = format!("{output}\nUsage:\n  poe [global options] task\nhelp\n");
            let found = of(tool, &printed, Some("no XML"));
            let (file, line, _, message) = &found[0];
            assert_eq!((file.as_str(), *line), ("c/source-x/poe_tasks.toml", 1));
            assert_eq!(
                *message,
                format!(
                    "`poe {}` exited with 1\n{}",
                    tool.task().unwrap(),
                    output.trim()
                )
            );
        }
    }

    /// As pytest 8.4 writes it.
    const JUNIT: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4">
<testcase classname="" name="unit_tests.test_b" time="0.000"><error message="collection failure">ImportError while importing test module</error></testcase>
<testcase classname="unit_tests.test_a" name="test_ok" file="unit_tests/test_a.py" line="0" time="0.001" />
<testcase classname="unit_tests.test_a" name="test_no" file="unit_tests/test_a.py" line="3" time="0.001"><failure message="assert 1 == 2">def test_no():
&gt;       assert 1 == 2

unit_tests/test_a.py:6: AssertionError</failure></testcase>
<testcase classname="unit_tests.test_a" name="test_not" file="unit_tests/test_a.py" line="9" time="0.000"><skipped type="pytest.skip" message="no" /></testcase>
</testsuite></testsuites>"#;

    #[test]
    fn failed_tests_are_found_at_the_line_that_failed() {
        let found = of(Tool::UnitTests, "1 failed", Some(JUNIT));
        assert_eq!(
            found,
            [
                (
                    "c/source-x/unit_tests/test_b.py".to_owned(),
                    1,
                    1,
                    "unit_tests.test_b: collection failure".to_owned()
                ),
                (
                    "c/source-x/unit_tests/test_a.py".to_owned(),
                    6,
                    1,
                    "test_no: assert 1 == 2".to_owned()
                ),
            ]
        );
        assert_eq!(tests_run(JUNIT), Some(3));
        assert_eq!(tests_run("no XML"), None);
    }

    #[test]
    fn a_path_through_references_leads_to_a_line_of_the_file() {
        let manifest = "version: 6.0.0\ndefinitions:\n  a:\n    retriever:\n      url: 1\n  b:\n    $ref: \"#/definitions/a\"\nstreams:\n  - \"#/definitions/b\"\n  - name: c\n";
        let document = Document::read(manifest).unwrap();
        for (path, line) in [
            (vec!["streams", "0", "retriever", "url"], 5),
            (vec!["streams", "0"], 9),
            (vec!["streams", "1", "name"], 10),
            (vec!["streams", "0", "gone"], 9),
            (vec!["check"], 1),
        ] {
            let path: Vec<String> = path.into_iter().map(str::to_owned).collect();
            assert_eq!(place(&document.root, &path).line, line, "{path:?}");
        }
    }

    #[test]
    fn references_in_a_circle_end() {
        let document = Document::read("a: \"#/b\"\nb: \"#/a\"\n").unwrap();
        let path = ["a".to_owned(), "x".to_owned()];
        assert_eq!(place(&document.root, &path).line, 1);
    }
}
