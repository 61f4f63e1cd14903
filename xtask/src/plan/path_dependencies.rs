//! Which directories of the repository a connector's build files take code from.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use toml::{Table, Value};

/// Directories (from the repository's top) that a pyproject.toml in `directory` names as `path = "../x"`: poetry's
/// path dependencies and uv's path sources. A file that is no TOML names none; building it says why.
pub fn of_pyproject(text: &str, directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    // Most files have none; parsing is the dear part.
    if !text.contains("path") {
        return Vec::new();
    }
    let Ok(document) = toml::from_str::<Table>(text) else {
        return Vec::new();
    };
    let mut paths = Vec::new();
    for tool in ["poetry", "uv"] {
        if let Some(table) = document.get("tool").and_then(|tools| tools.get(tool)) {
            gather_paths(table, &mut paths);
        }
    }
    let own = |path: &Utf8PathBuf| !path.starts_with(directory);
    paths
        .into_iter()
        .filter_map(|path| normalised(&directory.join(path)))
        .filter(own)
        .collect()
}

/// Directories of the projects that a build.gradle(.kts) names: `project(':airbyte-integrations:connectors:x')`, a
/// project's path being its directory with colons for slashes (Gradle's default layout, which Airbyte keeps).
pub fn of_gradle(text: &str) -> Vec<Utf8PathBuf> {
    let code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines()
        .filter(code)
        .flat_map(gradle_projects)
        .collect()
}

fn gradle_projects(line: &str) -> impl Iterator<Item = Utf8PathBuf> {
    line.split("project(").skip(1).filter_map(|call| {
        // `':a:b'`, `":a:b"`, `path: ':a:b', configuration: 'c'`
        let quoted = call[call.find(['\'', '"'])? + 1..]
            .split(['\'', '"'])
            .next()?;
        let path = quoted.strip_prefix(':')?.replace(':', "/");
        normalised(Utf8Path::new(&path))
    })
}

/// Every `path` key with a string, at any depth.
fn gather_paths(value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            if let Some(Value::String(path)) = table.get("path") {
                paths.push(path.clone());
            }
            table.values().for_each(|value| gather_paths(value, paths));
        }
        Value::Array(values) => values.iter().for_each(|value| gather_paths(value, paths)),
        _ => {}
    }
}

/// The path without `.` and `..`; None when it is empty or leaves the repository.
fn normalised(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let mut normal = Utf8PathBuf::new();
    for component in path.components() {
        match component {
            Utf8Component::Normal(part) => normal.push(part),
            Utf8Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Utf8Component::CurDir => {}
            Utf8Component::RootDir | Utf8Component::Prefix(_) => return None,
        }
    }
    (!normal.as_str().is_empty()).then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pyproject_names_directories_by_path() {
        for (text, expected) in [
            (
                "[tool.poetry.dependencies]\nairbyte-cdk = {path = '../../../airbyte-cdk/python', develop = true}\n",
                &["airbyte-cdk/python"][..],
            ),
            (
                "[tool.poetry.group.dev.dependencies]\nx = [{path = '../source-x', python = '>3.9'}]\n",
                &["a/connectors/source-x"],
            ),
            (
                "[tool.uv.sources]\nlib = { path = './../lib/' }\nown = { path = 'own' }\n",
                &["a/connectors/lib"],
            ),
            (
                "[tool.uv.sources]\nout = { path = '../../../../out' }\nroot = { path = '/abs' }\n",
                &[],
            ),
            ("[tool.coverage]\npath = '../x'\n", &[]),
            ("[tool.poetry.dependencies]\npathlib2 = '^2'\n", &[]),
            ("path = [\n", &[]),
        ] {
            assert_eq!(
                of_pyproject(text, Utf8Path::new("a/connectors/source-a")),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn gradle_names_projects_by_their_paths() {
        for (text, expected) in [
            (
                "    implementation project(':airbyte-integrations:connectors:destination-x')\n",
                &["airbyte-integrations/connectors/destination-x"][..],
            ),
            (
                "testImplementation(project(\":a:b\")) ; api project(path: ':c', configuration: 'd')",
                &["a/b", "c"],
            ),
            ("    // implementation project(':a')\n", &[]),
            (
                "implementation 'org.x:project:1.0'\nproject(name)\nproject('')",
                &[],
            ),
        ] {
            assert_eq!(of_gradle(text), expected, "{text}");
        }
    }
}
