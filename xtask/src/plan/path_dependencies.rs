//! Which directories of the repository a connector's build files take code from.

use std::collections::{BTreeSet, HashMap};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use toml::{Table, Value};

const BULK_CDK: &str = "airbyte-cdk/bulk";
const JAVA_CDK: &str = "airbyte-cdk/java/airbyte-cdk";

/// What a connector sets in its block of Airbyte's Gradle plugins to build against a CDK in the tree, and that CDK's
/// directory: `airbyteBulkConnector { cdk = 'local' }`, `airbyteJavaConnector { useLocalCdk = true }`. Which of its
/// projects are taken is the plugin's business, so all of them count.
const LOCAL_CDKS: [(&str, &[&str], &str); 2] = [
    ("cdk", &["'local'", "\"local\""], BULK_CDK),
    ("useLocalCdk", &["true"], JAVA_CDK),
];

/// Every directory that a connector in `directory` takes code from: those that its build files name (`named`), and
/// those that are named in turn by the ones that are no connectors (`libraries`: what each of them names). Behind a
/// connector nothing is looked for: a change that reaches it reaches those that take code from it. What lies in
/// `directory` is the connector's own, but what that names is not.
pub fn reached(
    directory: &Utf8Path,
    named: &[Utf8PathBuf],
    libraries: &HashMap<Utf8PathBuf, Vec<Utf8PathBuf>>,
) -> Vec<Utf8PathBuf> {
    let mut reached: BTreeSet<&Utf8PathBuf> = BTreeSet::new();
    let mut ahead: Vec<&Utf8PathBuf> = named.iter().collect();
    while let Some(next) = ahead.pop() {
        if reached.insert(next) {
            ahead.extend(libraries.get(next).into_iter().flatten());
        }
    }
    let foreign = |path: &&Utf8PathBuf| !path.starts_with(directory);
    reached.into_iter().filter(foreign).cloned().collect()
}

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
    paths
        .into_iter()
        .filter_map(|path| normalised(&directory.join(path)))
        .collect()
}

/// Directories that a build.gradle(.kts) takes code from: the projects it names, and the CDK if it takes the tree's.
pub fn of_gradle(text: &str) -> Vec<Utf8PathBuf> {
    let code = without_comments(text);
    let cdks = LOCAL_CDKS
        .into_iter()
        .filter(|(name, values, _)| sets(&code, name, values))
        .map(|(_, _, directory)| Utf8PathBuf::from(directory));
    gradle_projects(&code).chain(cdks).collect()
}

/// The CDK's directory where a gradle.properties asks for the one in the tree. Airbyte's bulk plugin has come to look
/// for its version there (buildSrc/src/main/groovy/airbyte-bulk-connector.gradle).
pub fn of_gradle_properties(text: &str) -> Option<Utf8PathBuf> {
    let is_local = |line: &str| {
        line.split_once(['=', ':'])
            .is_some_and(|(key, value)| key.trim() == "cdkVersion" && value.trim() == "local")
    };
    text.lines().any(is_local).then(|| BULK_CDK.into())
}

/// `project(':airbyte-integrations:connectors:x')`, a project's path being its directory with colons for slashes
/// (Gradle's default layout, which Airbyte keeps for connectors).
fn gradle_projects(code: &str) -> impl Iterator<Item = Utf8PathBuf> {
    code.split("project(").skip(1).filter_map(|call| {
        // `':a:b'`, `":a:b"`, `path: ':a:b', configuration: 'c'`
        let arguments = call.split(')').next()?;
        let quoted = arguments[arguments.find(['\'', '"'])? + 1..]
            .split(['\'', '"'])
            .next()?;
        let path = quoted.strip_prefix(':')?.replace(':', "/");
        normalised(Utf8Path::new(&path))
    })
}

/// Whether the code sets `name` to one of the values: `name = value`, or `name value`, which Groovy takes too.
fn sets(code: &str, name: &str, values: &[&str]) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let after = &code[at + name.len()..];
        let is_word = !code[..at].ends_with(in_a_word) && !after.starts_with(in_a_word);
        let set_to = after.trim_start();
        let set_to = set_to.strip_prefix('=').unwrap_or(set_to).trim_start();
        let is_set_to = |value: &&str| {
            set_to
                .strip_prefix(*value)
                .is_some_and(|rest| !rest.starts_with(in_a_word))
        };
        is_word && values.iter().any(is_set_to)
    })
}

fn in_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Groovy or Kotlin with a blank for each comment. Strings are kept whole: `'**/*.kt'` begins no comment.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['/', '\'', '"']) {
        let (before, found) = rest.split_at(at);
        code.push_str(before);
        let end = match comment_length(found) {
            Some(end) => {
                code.push(' ');
                end
            }
            None => {
                let end = kept_length(found);
                code.push_str(&found[..end]);
                end
            }
        };
        rest = &found[end..];
    }
    code.push_str(rest);
    code
}

/// How many bytes the comment takes that the code begins with; None where it begins with none, or one without an end.
fn comment_length(code: &str) -> Option<usize> {
    if code.starts_with("//") {
        return Some(code.find('\n').unwrap_or(code.len()));
    }
    let inside = code.strip_prefix("/*")?;
    inside.find("*/").map(|end| end + "/**/".len())
}

/// How many bytes hold no comment in code that begins with none: those of a string. What has no end hides nothing, and
/// is not looked at twice: the line of a string and all behind a comment count as code.
fn kept_length(code: &str) -> usize {
    if code.starts_with("/*") {
        return code.len();
    }
    for quote in ["\"\"\"", "'''"] {
        if let Some(inside) = code.strip_prefix(quote) {
            let end = inside.find(quote).map(|at| at + 2 * quote.len());
            return end.unwrap_or(quote.len());
        }
    }
    let mut characters = code.char_indices();
    let Some((_, quote @ ('\'' | '"'))) = characters.next() else {
        return 1;
    };
    let mut is_escaped = false;
    for (at, c) in characters {
        match c {
            '\n' => return at,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    code.len()
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
                &["a/connectors/lib", "a/connectors/source-a/own"],
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
            ("api project(\n    ':a'\n)\nproject(name) + ':b'\n", &["a"]),
        ] {
            assert_eq!(of_gradle(text), expected, "{text}");
        }
    }

    #[test]
    fn gradle_names_the_cdk_in_the_tree_where_a_plugin_is_told_to_take_it() {
        for (text, expected) in [
            (
                "airbyteBulkConnector {\n    core = 'load'\n    cdk = 'local'\n}\n",
                &[BULK_CDK][..],
            ),
            ("airbyteBulkConnector { cdk=\"local\" }", &[BULK_CDK]),
            ("airbyteBulkConnector.cdk\t=\n  'local'", &[BULK_CDK]),
            ("airbyteBulkConnector { cdk 'local' }", &[BULK_CDK]),
            ("cdk = '0.300'\ncdk = local\ncdk == 'local'", &[]),
            (
                "mycdk = 'local'\ncdk_x = 'local'\ncdkVersion = 'local'",
                &[],
            ),
            (
                "airbyteJavaConnector {\n    features = ['db-sources']\n    useLocalCdk = true\n}\n",
                &[JAVA_CDK],
            ),
            ("airbyteJavaConnector { useLocalCdk true }", &[JAVA_CDK]),
            ("useLocalCdk=true;", &[JAVA_CDK]),
            ("useLocalCdk = false\nuseLocalCdk = trueish", &[]),
            ("useLocalCdktrue\nreuseLocalCdk = true", &[]),
            (
                "api project(':a')\nuseLocalCdk = true\ncdk = 'local'\n",
                &["a", BULK_CDK, JAVA_CDK],
            ),
        ] {
            assert_eq!(of_gradle(text), expected, "{text}");
        }
    }

    #[test]
    fn gradle_comments_name_nothing_and_strings_hold_none() {
        for (text, expected) in [
            (
                "x() // project(':a')\n/* project(':b')\n*/ project(':c')",
                &["c"][..],
            ),
            ("useLocalCdk = false // useLocalCdk = true", &[]),
            ("/**\n * don't: cdk = 'local'\n */", &[]),
            ("useLocalCdk /* once */ = true // yes", &[JAVA_CDK]),
            ("url 'https://x'; project(':a')", &["a"]),
            (
                "include '**/*.kt'\nproject(':a')\ninclude \"**/*.java\"\n",
                &["a"],
            ),
            (
                "x = '''it's\n/* 'in'\n'''\nproject(':a')\ny = \"*/\"",
                &["a"],
            ),
            ("x = 'it\\'s // '; project(':a')", &["a"]),
            // What has no end hides nothing.
            ("x = /don't/\nproject(':a')", &["a"]),
            ("/* project(':a')", &["a"]),
            ("x = \"\"\"\nproject(':a')", &["a"]),
            ("x = 1 / 2\nproject(':a') //", &["a"]),
        ] {
            assert_eq!(of_gradle(text), expected, "{text}");
        }
    }

    #[test]
    fn gradle_properties_ask_for_the_cdk_in_the_tree() {
        for (text, expected) in [
            ("x=1\ncdkVersion=local\n", true),
            ("  cdkVersion : local \r\n", true),
            ("cdkVersion=0.1.51\n", false),
            ("# cdkVersion=local\n", false),
            ("cdkVersionX=local\ncdkVersion=localhost\n", false),
            ("", false),
        ] {
            let expected = expected.then(|| Utf8PathBuf::from(BULK_CDK));
            assert_eq!(of_gradle_properties(text), expected, "{text}");
        }
    }

    #[test]
    fn code_is_followed_through_libraries_and_no_further_than_connectors() {
        let paths = |names: &[&str]| names.iter().map(Utf8PathBuf::from).collect::<Vec<_>>();
        let libraries: HashMap<Utf8PathBuf, Vec<Utf8PathBuf>> = [
            ("base", &["core", "core"][..]),
            // A circle.
            ("core", &["base", "deep", "c/x"]),
            ("deep", &[]),
            ("c/x/own", &["other"]),
            ("other", &["other"]),
        ]
        .map(|(library, named)| (Utf8PathBuf::from(library), paths(named)))
        .into();
        for (named, expected) in [
            (&["deep"][..], &["deep"][..]),
            (&[], &[]),
            (&["base"], &["base", "core", "deep"]),
            (&["core"], &["base", "core", "deep"]),
            (&["c/y", "unread"], &["c/y", "unread"]),
            (&["c/x/own"], &["other"]),
        ] {
            assert_eq!(
                reached(Utf8Path::new("c/x"), &paths(named), &libraries),
                paths(expected),
                "{named:?}"
            );
        }
    }
}
