//! Changes a value in a text of YAML and leaves every other byte as it is.

use std::ops::Range;

use serde_json::{Map, Value as Json, json};

use super::{Document, Entry, Flaw, Node, Place, Scalar, Value};

/// Sets the value at a dotted path to a text or a boolean. What is there is replaced in its place and between its
/// quotes; missing keys become lines of their own. The result is read again: were anything else in it different, or
/// can the value not be edited (a block, an alias), this fails.
pub fn set(text: &str, path: &str, value: &Json) -> Result<String, Flaw> {
    let before = Document::read(text)?;
    let keys: Vec<&str> = path.split('.').collect();
    let (node, depth) = deepest(&before.root, &keys);
    let edited = match &keys[depth..] {
        [] => replace(text, node, value),
        missing => insert(text, node, missing, value),
    };
    let after = edited.and_then(|edited| Some((Document::read(&edited).ok()?, edited)));
    let expected = with(before.root.to_json(), &keys, value);
    match after {
        Some((after, edited))
            if after.root.to_json() == expected
                && after.duplicates.len() == before.duplicates.len() =>
        {
            Ok(edited)
        }
        _ => {
            let message = format!("{path}: not written in a way that can be edited here");
            Err(Flaw::new(node.at, message))
        }
    }
}

/// The node that as many of the keys as are there lead to, and how many that are.
fn deepest<'a>(root: &'a Node, keys: &[&str]) -> (&'a Node, usize) {
    let mut node = root;
    for (depth, key) in keys.iter().enumerate() {
        match node.get(key) {
            Some(inner) => node = inner,
            None => return (node, depth),
        }
    }
    (node, keys.len())
}

fn with(document: Json, keys: &[&str], value: &Json) -> Json {
    let Some((first, rest)) = keys.split_first() else {
        return value.clone();
    };
    let mut map = match document {
        Json::Object(map) => map,
        _ => Map::new(),
    };
    let inner = map.get(*first).cloned().unwrap_or(json!({}));
    map.insert((*first).to_owned(), with(inner, rest, value));
    Json::Object(map)
}

fn replace(text: &str, node: &Node, value: &Json) -> Option<String> {
    let range = span(text, node)?;
    let quote = text[range.start..]
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''));
    let new = match (value, quote) {
        (Json::String(new), Some(quote)) => format!("{quote}{new}{quote}"),
        (Json::String(new), None) => new.clone(),
        (other, _) => other.to_string(),
    };
    Some([&text[..range.start], &new, &text[range.end..]].concat())
}

/// Where a scalar stands, with its quotes; None for a block and an alias.
fn span(text: &str, node: &Node) -> Option<Range<usize>> {
    let Value::Scalar(Scalar { text: read, plain }) = &node.value else {
        return None;
    };
    let start = offset(text, node.at)?;
    let rest = &text[start..];
    let length = match rest.chars().next()? {
        '"' => {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            end? + 2
        }
        // Two quotes are one in the text.
        '\'' => read.len() + read.matches('\'').count() + 2,
        _ if *plain && rest.starts_with(read) && !read.is_empty() => read.len(),
        _ => return None,
    };
    rest.get(..length).map(|_| start..start + length)
}

/// Adds the keys, each in a line of its own, to a mapping: before the key that sorts after them, else as its first.
fn insert(text: &str, mapping: &Node, keys: &[&str], value: &Json) -> Option<String> {
    let first = *keys.first()?;
    let entries = mapping.entries();
    let after = |entry: &&Entry| entry.key.as_str() > first;
    let next = entries.iter().find(after).or(entries.first())?;
    let key = offset(text, next.at)?;
    let mut start = line_start(text, key);
    let indent = &text[start..key];
    if !indent.bytes().all(|byte| byte == b' ') {
        return None;
    }
    // A comment above a key is the key's.
    while start > 0 {
        let above = line_start(text, start - 1);
        let line = &text[above..start];
        let is_comment = |rest: &str| rest.starts_with('#');
        if !line.strip_prefix(indent).is_some_and(is_comment) {
            break;
        }
        start = above;
    }
    let after = text[key..].find('\n').map(|newline| key + newline);
    let newline = after.or(text[..key].rfind('\n'));
    let end = match newline {
        Some(newline) if text[..newline].ends_with('\r') => "\r\n",
        _ => "\n",
    };
    let mut lines = String::new();
    for (depth, key) in keys.iter().enumerate() {
        lines.push_str(&format!("{indent}{}{key}:", "  ".repeat(depth)));
        if depth + 1 == keys.len() {
            lines.push_str(&format!(" {value}"));
        }
        lines.push_str(end);
    }
    Some([&text[..start], &lines, &text[start..]].concat())
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The byte at a place of the text.
fn offset(text: &str, at: Place) -> Option<usize> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut start = text.len() - bare.len();
    for line in bare.split_inclusive('\n').take(at.line - 1) {
        start += line.len();
    }
    let line = text.get(start..)?;
    let (column, _) = line.char_indices().nth(at.column - 1)?;
    Some(start + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_value_changes() {
        for (text, expected) in [
            ("data:\n  tag: 1.2.3\n", "data:\n  tag: 2.0.0\n"),
            (
                "data:\n  tag: \"1.2.3\" # why\n",
                "data:\n  tag: \"2.0.0\" # why\n",
            ),
            ("data:\n  tag: '1.2.3'#\n", ""),
            (
                "data:\n  tag:   '1.2.3'   # it's\n",
                "data:\n  tag:   '2.0.0'   # it's\n",
            ),
            (
                "# c\r\ndata:\r\n  é: x\r\n  tag: 1.2.3\r\n",
                "# c\r\ndata:\r\n  é: x\r\n  tag: 2.0.0\r\n",
            ),
            ("data:\n  tag: 1.2.3", "data:\n  tag: 2.0.0"),
            (
                "\u{feff}data: {é: ü, tag: 1.2.3, x: 1.2.3}",
                "\u{feff}data: {é: ü, tag: 2.0.0, x: 1.2.3}",
            ),
            (
                "{\"data\": {\"tag\":\"1.\\u0032.3\"}}\n",
                "{\"data\": {\"tag\":\"2.0.0\"}}\n",
            ),
            ("data:\n  tag:\n    1.2.3\n", "data:\n  tag:\n    2.0.0\n"),
            ("data:\n  ? tag\n  : 1.2.3\n", "data:\n  ? tag\n  : 2.0.0\n"),
            ("data:\n  tag: !!str 1.2.3\n", ""),
            ("data:\n  tag: >-\n    1.2.3\n", ""),
            ("x: &v 1.2.3\ndata:\n  tag: *v\n", ""),
            ("data:\n  tag: &v 1.2.3\n  x: *v\n", ""),
            ("data:\n  tag: [1.2.3]\n", ""),
        ] {
            let edited = set(text, "data.tag", &json!("2.0.0"));
            assert_eq!(edited.unwrap_or_default(), expected, "{text:?}");
        }
    }

    #[test]
    fn missing_keys_become_lines() {
        for (text, expected) in [
            (
                "data:\n  a: 1\n  # of z\n  z: 2\n",
                "data:\n  a: 1\n  r:\n    b:\n      c: true\n  # of z\n  z: 2\n",
            ),
            (
                "data:\n  a: 1\n  r:\n    a: 1\n",
                "data:\n  a: 1\n  r:\n    b:\n      c: true\n    a: 1\n",
            ),
            (
                "data:\r\n    r:\r\n        b:\r\n            d: 1",
                "data:\r\n    r:\r\n        b:\r\n            c: true\r\n            d: 1",
            ),
            (
                "data:\n  r:\n    b:\n      c: false # so\n",
                "data:\n  r:\n    b:\n      c: true # so\n",
            ),
            (
                "data:\n  a: |\n    text\n  # text\n  z: 1\n",
                "data:\n  a: |\n    text\n  r:\n    b:\n      c: true\n  # text\n  z: 1\n",
            ),
            ("data: {z: 1}\n", ""),
            ("data:\n  r: {}\n", ""),
            ("data:\n  r:\n", ""),
        ] {
            let edited = set(text, "data.r.b.c", &json!(true));
            assert_eq!(edited.unwrap_or_default(), expected, "{text:?}");
        }
    }
}
