//! Poetry's content-hash: what of pyproject.toml a poetry.lock was made from.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value, ser::Formatter};
use sha2::{Digest, Sha256};

use crate::model::pyproject::{Pyproject, members};

/// Keys that count even when they are missing: as null.
const LEGACY_KEYS: [&str; 4] = ["dependencies", "source", "extras", "dev-dependencies"];
const PROJECT_KEYS: [&str; 3] = ["requires-python", "dependencies", "optional-dependencies"];

/// Whether `recorded` is the content-hash of this pyproject.toml, as Poetry before or since 2.3 makes it.
pub fn matches(pyproject: &Pyproject, recorded: &str) -> bool {
    [Groups::Counted, Groups::Ignored]
        .into_iter()
        .any(|groups| content_hash(pyproject, groups) == recorded)
}

/// Whether `[dependency-groups]` (PEP 735) counts: since Poetry 2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    Counted,
    Ignored,
}

/// The sha256 of the relevant tables as Python's `json.dumps(content, sort_keys=True)` writes them.
/// Source: `Locker._get_content_hash` in poetry/packages/locker.py (1.8.5 and 2.x; without `[project]` and
/// groups both make the same).
pub fn content_hash(pyproject: &Pyproject, groups: Groups) -> String {
    let document = &pyproject.document;
    let mut project = members(document, &["project"]);
    project.retain(|key, _| PROJECT_KEYS.contains(key));
    let mut dependency_groups = members(document, &["dependency-groups"]);
    if groups == Groups::Ignored {
        dependency_groups.clear();
    }
    let poetry = members(document, &["tool", "poetry"]);
    let nested = !project.is_empty() || !dependency_groups.is_empty();

    let mut relevant = Map::new();
    for key in LEGACY_KEYS {
        match poetry.get(key) {
            Some(value) => _ = relevant.insert(key.to_owned(), json(value)),
            None if !nested => _ = relevant.insert(key.to_owned(), Value::Null),
            None => {}
        }
    }
    if let Some(group) = poetry.get("group") {
        relevant.insert("group".to_owned(), json(group));
    }
    let mut content = relevant;
    if nested {
        let mut outer = Map::new();
        if !project.is_empty() {
            outer.insert("project".to_owned(), object(project));
        }
        if !dependency_groups.is_empty() {
            outer.insert("dependency-groups".to_owned(), object(dependency_groups));
        }
        outer.insert("tool".to_owned(), serde_json::json!({ "poetry": content }));
        content = outer;
    }
    digest(&python_json(Value::Object(content)))
}

fn digest(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, &'a toml::Value)>) -> Value {
    let members = members.into_iter();
    Value::Object(
        members
            .map(|(key, value)| (key.to_owned(), json(value)))
            .collect(),
    )
}

fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Table(table) => object(table.iter().map(|(key, value)| (key.as_str(), value))),
        toml::Value::Array(items) => Value::Array(items.iter().map(json).collect()),
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        // Python's json refuses dates, so no content-hash was ever made of one.
        toml::Value::Datetime(date) => Value::from(date.to_string()),
    }
}

/// JSON as Python writes it: keys sorted, `, ` and `: ` between, everything beyond ASCII escaped.
fn python_json(mut value: Value) -> String {
    value.sort_all_objects();
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Python);
    // Writing a Value into memory can't fail; if it ever did, the hash would simply not match.
    if value.serialize(&mut serializer).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Python's `json.dumps` with its defaults.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        for character in fragment.chars() {
            if character.is_ascii() {
                write!(writer, "{character}")?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = serde_json::json!({"b": [1, 1.5, true, null, []], "a": {"é😀\u{7f}\n\"": "\\"}, "c": {}});
        // json.dumps(..., sort_keys=True)
        let expected = r#"{"a": {"\u00e9\ud83d\ude00"#.to_owned()
            + "\u{7f}"
            + r#"\n\"": "\\"}, "b": [1, 1.5, true, null, []], "c": {}}"#;
        assert_eq!(python_json(value), expected);
    }

    #[test]
    fn the_hash_of_poetry_before_and_since_project() {
        // Each made by `Locker(path, data)._get_content_hash()` of the named Poetry.
        for (poetry, text, groups, expected) in CASES {
            let pyproject = Pyproject::parse(text).unwrap();
            assert_eq!(
                content_hash(&pyproject, *groups),
                *expected,
                "{poetry}: {text}"
            );
            assert!(matches(&pyproject, expected));
        }
        assert!(!matches(&Pyproject::parse(CASES[0].1).unwrap(), CASES[1].3));
    }

    const CASES: &[(&str, &str, Groups, &str)] = &[
        (
            "1.8.5 and 2.5.1",
            r#"[tool.poetry]
name = "a"
[tool.poetry.dependencies]
python = "^3.9"
b = {version = "1", optional = true}
[tool.poetry.extras]
x = ["b"]
"#,
            Groups::Counted,
            "a8dcb5a36d750fb883e1f9868d6dff76c2b7552405887fe801cac3c8525b304b",
        ),
        (
            "2.5.1",
            r#"[project]
name = "a"
requires-python = ">=3.10"
dependencies = ["b>=1"]
[project.optional-dependencies]
"é" = ["c"]
[tool.poetry.group.dev.dependencies]
pytest = "^8"
"#,
            Groups::Counted,
            "591314ecdd11f7b95d9029d17336632e17657301f8b0a67f701cfde7e71acbb5",
        ),
        (
            "2.5.1",
            r#"[project]
name = "a"
[dependency-groups]
dev = ["pytest"]
[tool.poetry.dependencies]
python = "^3.9"
"#,
            Groups::Counted,
            "04b3a1d18795e990996fc6694dd5d8d470a0158a5a0ed97ea0457c283c6b1ff2",
        ),
        (
            "2.2",
            r#"[project]
name = "a"
[dependency-groups]
dev = ["pytest"]
[tool.poetry.dependencies]
python = "^3.9"
"#,
            Groups::Ignored,
            "c595a0588c25d58f3e3834ad7169126836d262b925fe6ca9b5d540dcf301d254",
        ),
    ];
}
