//! The command that starts a connector, told from its files before anything is built.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{
    problem::Problem,
    pyproject::{Pyproject, Script},
};

/// What AIRBYTE_ENTRYPOINT starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EntryPoint {
    /// `main.py` at the top of the connector's directory.
    Main,
    /// A console script that the connector's own package installs.
    Script { name: String },
}

impl EntryPoint {
    /// The command for a connector whose files are under `directory` in its image.
    pub fn command(&self, directory: &str) -> String {
        match self {
            EntryPoint::Main => format!("python {directory}/main.py"),
            EntryPoint::Script { name } => name.clone(),
        }
    }

    /// Chooses main.py when it is there (21 real connectors declare a script whose module is missing), else
    /// the console script whose module is there, the one named `connector` before others. `files` are paths
    /// relative to the connector's directory. An error when nothing would start.
    pub fn choose(
        connector: &str,
        files: &BTreeSet<String>,
        pyproject: &Pyproject,
    ) -> Result<EntryPoint, Problem> {
        if files.contains("main.py") {
            return Ok(EntryPoint::Main);
        }
        let mut starting: Vec<&Script> = pyproject
            .scripts
            .iter()
            .filter(|script| has_module(script, files, pyproject))
            .collect();
        // One real connector's script is named after another folder, so the name only decides among several.
        starting.sort_by_key(|script| script.name != connector);
        match starting.as_slice() {
            [] => Err(nothing_starts(connector, pyproject)),
            [only] => Ok(EntryPoint::script(only)),
            [first, ..] if first.name == connector => Ok(EntryPoint::script(first)),
            several => Err(ambiguous(connector, several)),
        }
    }

    fn script(script: &Script) -> EntryPoint {
        EntryPoint::Script {
            name: script.name.clone(),
        }
    }
}

/// Whether the module that a script imports is a file of the connector.
fn has_module(script: &Script, files: &BTreeSet<String>, pyproject: &Pyproject) -> bool {
    let module = script.module.replace('.', "/");
    let roots = pyproject
        .package_roots
        .iter()
        .map(|root| format!("{}/", root.trim_end_matches('/')));
    std::iter::once(String::new()).chain(roots).any(|root| {
        files.contains(&format!("{root}{module}.py"))
            || files.contains(&format!("{root}{module}/__init__.py"))
    })
}

fn nothing_starts(connector: &str, pyproject: &Pyproject) -> Problem {
    let missing: Vec<String> = pyproject
        .scripts
        .iter()
        .map(|script| {
            format!(
                "script {} names module {}, which is no file here",
                script.name, script.module
            )
        })
        .collect();
    let why = if missing.is_empty() {
        "neither main.py nor a console script in pyproject.toml".to_owned()
    } else {
        format!("no main.py, and {}", missing.join("; "))
    };
    Problem::usage(format!("{connector} has nothing to start: {why}")).help(format!(
        "add main.py, or `[project.scripts]` with `{connector} = \"{}.run:run\"` and that module",
        connector.replace('-', "_")
    ))
}

fn ambiguous(connector: &str, scripts: &[&Script]) -> Problem {
    let names: Vec<&str> = scripts.iter().map(|script| script.name.as_str()).collect();
    Problem::usage(format!(
        "{connector} has several console scripts and none of its name: {}",
        names.join(", ")
    ))
    .help(format!(
        "name the one that starts the connector {connector}"
    ))
}

/// An error for a connector with a build_customization.py, which Airbyte's old builder ran and nothing runs now.
pub fn refuse_build_customization(
    connector: &str,
    files: &BTreeSet<String>,
) -> Result<(), Problem> {
    if !files.contains("build_customization.py") {
        return Ok(());
    }
    Err(Problem::usage(format!(
        "{connector} has a build_customization.py, which is not run"
    ))
    .help(
        format!(
            "remove it; what it installs for more than tests belongs into a script of the connector that the \
             configuration names (`prerequisites.{connector} = \"install.sh\"`, the build argument EXTRA_PREREQS_SCRIPT)"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn scripts(lines: &str) -> Pyproject {
        Pyproject::parse(&format!("[tool.poetry.scripts]\n{lines}")).unwrap()
    }

    #[test]
    fn main_comes_first_then_a_script_that_starts() {
        let script = |name: &str| {
            Some(EntryPoint::Script {
                name: name.to_owned(),
            })
        };
        let one = "source-x = \"source_x.run:run\"\n";
        let two = "tool = \"source_x.tool:run\"\nsource-x = \"source_x.run:run\"\n";
        for (present, lines, expected) in [
            (
                &["main.py", "source_x/run.py"][..],
                one,
                Some(EntryPoint::Main),
            ),
            // 21 real connectors: the script's module is missing, main.py works.
            (
                &["main.py", "source_x/__init__.py"],
                one,
                Some(EntryPoint::Main),
            ),
            (&["source_x/run.py"], one, script("source-x")),
            (&["src/source_x/run.py"], one, script("source-x")),
            (&["source_x/run/__init__.py"], one, script("source-x")),
            // One real connector: named after another folder.
            (
                &["source_x/run.py"],
                "source-y = \"source_x.run:run\"\n",
                script("source-y"),
            ),
            (
                &["source_x/run.py", "source_x/tool.py"],
                two,
                script("source-x"),
            ),
            (&["source_x/tool.py"], two, script("tool")),
            (&["source_x/__init__.py"], one, None),
            (&["sub/main.py"], "", None),
            (
                &["source_x/run.py"],
                "a = \"source_x.run:run\"\nb = \"source_x.run:run\"\n",
                None,
            ),
        ] {
            let chosen = EntryPoint::choose("source-x", &files(present), &scripts(lines));
            assert_eq!(chosen.ok(), expected, "{present:?} {lines}");
        }
    }

    #[test]
    fn nothing_to_start_is_said_with_the_missing_module() {
        let problem = EntryPoint::choose(
            "source-x",
            &files(&[]),
            &scripts("s = \"source_x.run:run\"\n"),
        )
        .unwrap_err();
        assert_eq!(
            problem.message,
            "source-x has nothing to start: no main.py, and script s names module source_x.run, which is no file here"
        );
        assert!(problem.help.unwrap().contains("source_x.run:run"));
    }

    #[test]
    fn commands_are_what_the_image_announces() {
        assert_eq!(
            EntryPoint::Main.command("/airbyte/integration_code"),
            "python /airbyte/integration_code/main.py"
        );
        assert_eq!(
            EntryPoint::Script {
                name: "source-x".into()
            }
            .command("/a"),
            "source-x"
        );
    }

    #[test]
    fn build_customization_is_refused_with_what_to_do() {
        assert!(refuse_build_customization("source-x", &files(&["main.py"])).is_ok());
        let problem = refuse_build_customization("source-x", &files(&["build_customization.py"]))
            .unwrap_err();
        assert!(problem.message.contains("build_customization.py"));
        assert!(problem.help.unwrap().contains("EXTRA_PREREQS_SCRIPT"));
    }
}
