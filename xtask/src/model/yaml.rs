//! YAML that remembers where everything stands, so that whatever is wrong can be shown in its place.
//!
//! Plain scalars mean what YAML 1.2's core schema says; quoted ones and blocks are text whatever they look like,
//! so `"60"` is not 60 and `2024-01-31` is text. `<<` merges mappings, as it does for Airbyte's readers (YAML 1.1).

mod de;
pub mod edit;

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// For what is wrong with a file as a whole, such as one that is empty or missing.
    pub const START: Place = Place { line: 1, column: 1 };

    /// Where the byte at an offset of a text stands.
    pub fn of(text: &str, offset: usize) -> Place {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Something wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    pub at: Option<Place>,
    pub message: String,
}

impl Flaw {
    /// At a known place; serde's errors have none when they are made.
    pub fn new(at: Place, message: impl Into<String>) -> Flaw {
        Flaw {
            at: Some(at),
            message: message.into(),
        }
    }

    /// `FILE:LINE:COLUMN: message`, the form that editors and terminals make a link of.
    pub fn in_file(&self, file: &str) -> String {
        match self.at {
            Some(Place { line, column }) => format!("{file}:{line}:{column}: {}", self.message),
            None => format!("{file}: {}", self.message),
        }
    }
}

/// One value of a document and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Place,
    pub value: Value,
}

/// What stands at a node; aliases and `<<` are resolved, so this is a tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A value without parts, not yet interpreted: [`meaning`](Self::meaning) says whether it is more than text.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// As written, without quotes.
    pub text: String,
    /// Whether it stands without quotes and is no block, so that it may mean something else than text.
    pub plain: bool,
}

/// A key and its value, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub at: Place,
    pub value: Node,
}

/// What a scalar means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(&'a str),
}

impl Scalar {
    /// YAML 1.2.2, section 10.3.2, "Tag Resolution".
    pub fn meaning(&self) -> Meaning<'_> {
        let text = self.text.as_str();
        if !self.plain {
            return Meaning::Text(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
            "true" | "True" | "TRUE" => return Meaning::Bool(true),
            "false" | "False" | "FALSE" => return Meaning::Bool(false),
            _ => {}
        }
        let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        if !number {
            return Meaning::Text(text);
        }
        integer(text)
            .map(Meaning::Integer)
            .or_else(|| float(text).map(Meaning::Float))
            .unwrap_or(Meaning::Text(text))
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    let bare = text.trim_start_matches(['+', '-']);
    match bare {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        _ if bare.contains(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-')) => None,
        _ => text.parse().ok(),
    }
}

impl Node {
    /// The value of `key`, None where this is no mapping or has no such key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// As [`get`](Self::get), with the place of the key; of a key that stands twice the first.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value under a key or at an index, and where that begins.
    pub fn child(&self, key: &str) -> Option<(Place, &Node)> {
        match self.entry(key) {
            Some(entry) => Some((entry.at, &entry.value)),
            None => {
                let item = self.items().get(key.parse::<usize>().ok()?)?;
                Some((item.at, item))
            }
        }
    }

    /// The value at a dotted path, such as `data.releases.breakingChanges`.
    pub fn at_path(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| node.get(key))
    }

    /// The keys of a mapping; nothing for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The members of a sequence; nothing for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// None for a sequence or a mapping.
    pub fn meaning(&self) -> Option<Meaning<'_>> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar.meaning()),
            _ => None,
        }
    }

    /// The text of a scalar that means text.
    pub fn text(&self) -> Option<&str> {
        match self.meaning()? {
            Meaning::Text(text) => Some(text),
            _ => None,
        }
    }

    /// None for what is no truth value to YAML 1.2: `yes` is text, as is `"true"` in quotes.
    pub fn boolean(&self) -> Option<bool> {
        match self.meaning()? {
            Meaning::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A whole number, also one that is written `60.0`; None for text and for anything else.
    pub fn integer(&self) -> Option<i64> {
        match self.meaning()? {
            Meaning::Integer(value) => Some(value),
            Meaning::Float(value) => whole(value),
            _ => None,
        }
    }

    /// Whether it is `null`, `~` or nothing at all; `""` is text.
    pub fn is_null(&self) -> bool {
        self.meaning() == Some(Meaning::Null)
    }

    /// The node that a JSON pointer leads to, or as far as it leads.
    pub fn at_pointer(&self, pointer: &str) -> &Node {
        let parts = pointer.split('/').skip(1);
        let step = |node: &'_ Node, part: &str| -> Option<usize> {
            match &node.value {
                Value::Mapping(entries) => entries.iter().position(|entry| entry.key == part),
                Value::Sequence(items) => part.parse().ok().filter(|index| *index < items.len()),
                Value::Scalar(_) => None,
            }
        };
        let mut node = self;
        for part in parts {
            let part = part.replace("~1", "/").replace("~0", "~");
            let Some(index) = step(node, &part) else {
                break;
            };
            node = match &node.value {
                Value::Mapping(entries) => &entries[index].value,
                Value::Sequence(items) => &items[index],
                Value::Scalar(_) => node,
            };
        }
        node
    }

    /// Takes out the entries that `path` names; `*` stands for every key and every member.
    pub fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        match &mut self.value {
            Value::Mapping(entries) if rest.is_empty() => {
                entries.retain(|entry| *first != "*" && entry.key != *first)
            }
            Value::Mapping(entries) => entries
                .iter_mut()
                .filter(|entry| *first == "*" || entry.key == *first)
                .for_each(|entry| entry.value.remove(rest)),
            Value::Sequence(items) if *first == "*" => {
                items.iter_mut().for_each(|item| item.remove(rest))
            }
            _ => {}
        }
    }

    /// The same as JSON; of a key that stands twice the first counts.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Scalar(scalar) => match scalar.meaning() {
                Meaning::Null => Json::Null,
                Meaning::Bool(value) => value.into(),
                Meaning::Integer(value) => value.into(),
                Meaning::Float(value) if !value.is_finite() => scalar.text.as_str().into(),
                Meaning::Float(value) => whole(value).map_or_else(|| value.into(), Json::from),
                Meaning::Text(text) => text.into(),
            },
            Value::Sequence(items) => items.iter().map(Node::to_json).collect(),
            Value::Mapping(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// `60.0` is the integer 60, as JSON Schema sees it too.
pub fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
}

/// A document and the keys that stand in it twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub root: Node,
    pub duplicates: Vec<Flaw>,
}

/// More than any real file holds; aliases of aliases could make any number. What is kept of anchors counts too.
const MOST_NODES: usize = 200_000;
/// Deeper than any real file; guards the stack of whoever walks the tree.
const DEEPEST: usize = 100;

impl Document {
    /// Reads a text of exactly one document.
    pub fn read(text: &str) -> Result<Document, Flaw> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Some((offset, c)) = text.char_indices().find(|(_, c)| !is_printable(*c)) {
            let message = format!("the control character U+{:04X}", u32::from(c));
            return Err(Flaw::new(Place::of(text, offset), message));
        }
        let mut reader = Reader {
            events: Parser::new_from_str(text),
            anchors: HashMap::new(),
            duplicates: Vec::new(),
            nodes: 0,
        };
        let mut root = None;
        while let Some((event, at)) = reader.next()? {
            match event {
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(Flaw::new(at, "a second document starts here, expected one"));
                }
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                Event::StreamEnd => break,
                event => root = Some(reader.node(event, at, 0)?),
            }
        }
        let root = root.ok_or_else(|| Flaw::new(Place::START, "the file is empty"))?;
        Ok(Document {
            root,
            duplicates: reader.duplicates,
        })
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    duplicates: Vec<Flaw>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Place)>, Flaw> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, Span { start, .. }))) => {
                Ok(Some((event, place(start.line(), start.col()))))
            }
            Some(Err(error)) => {
                let at = place(error.marker().line(), error.marker().col());
                Err(Flaw::new(at, error.info()))
            }
        }
    }

    fn inner(&mut self) -> Result<(Event<'a>, Place), Flaw> {
        self.next()?
            .ok_or_else(|| Flaw::new(Place::START, "the file ends in the middle of a value"))
    }

    fn node(&mut self, event: Event<'a>, at: Place, depth: usize) -> Result<Node, Flaw> {
        self.count(1, at)?;
        expect_shallow(depth, at)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text = text.into_owned();
                let plain = match expect_core(tag.as_deref(), at)? {
                    Some("str") => false,
                    Some(_) => true,
                    None => style == ScalarStyle::Plain,
                };
                (Value::Scalar(Scalar { text, plain }), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                expect_core(tag.as_deref(), at)?;
                (Value::Sequence(self.sequence(depth)?), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                expect_core(tag.as_deref(), at)?;
                (Value::Mapping(self.mapping(depth)?), anchor)
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).cloned();
                let target = target.ok_or_else(|| Flaw::new(at, "an alias of itself"))?;
                self.count(size(&target), at)?;
                expect_shallow(depth + height(&target), at)?;
                (target.value, 0)
            }
            _ => return Err(Flaw::new(at, "expected a value")),
        };
        let node = Node { at, value };
        if anchor > 0 {
            self.count(size(&node), at)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Flaw> {
        let mut items = Vec::new();
        loop {
            match self.inner()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, Flaw> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = match self.inner()? {
                (Event::MappingEnd, _) => break,
                start => start,
            };
            let Value::Scalar(Scalar { text: key, plain }) = self.node(event, at, depth + 1)?.value
            else {
                return Err(Flaw::new(at, "a key must be plain text"));
            };
            let (event, value_at) = self.inner()?;
            let value = self.node(event, value_at, depth + 1)?;
            if plain && key == MERGE {
                merged.extend(to_merge(value)?);
                continue;
            }
            match lines.get(&key) {
                Some(first) => {
                    let message = format!("`{key}` stands twice, first in line {first}");
                    self.duplicates.push(Flaw::new(at, message));
                }
                None => {
                    lines.insert(key.clone(), at.line);
                    entries.push(Entry { key, at, value });
                }
            }
        }
        // What stands here goes before what is merged, and what was merged first before the rest.
        for entry in merged {
            if !lines.contains_key(&entry.key) {
                lines.insert(entry.key.clone(), entry.at.line);
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn count(&mut self, more: usize, at: Place) -> Result<(), Flaw> {
        self.nodes += more;
        if self.nodes > MOST_NODES {
            return Err(Flaw::new(at, format!("more than {MOST_NODES} values")));
        }
        Ok(())
    }
}

/// The key under which a mapping takes in others.
const MERGE: &str = "<<";

/// The entries of a mapping, or of each of a list of mappings.
fn to_merge(value: Node) -> Result<Vec<Entry>, Flaw> {
    match value.value {
        Value::Mapping(entries) => Ok(entries),
        Value::Sequence(items)
            if items
                .iter()
                .all(|item| matches!(item.value, Value::Mapping(_))) =>
        {
            Ok(items
                .into_iter()
                .map(to_merge)
                .collect::<Result<Vec<_>, Flaw>>()?
                .concat())
        }
        _ => Err(Flaw::new(
            value.at,
            "`<<` merges a mapping or a list of mappings",
        )),
    }
}

/// The suffix of a tag that every reader knows; an error for others, which mean something to some program only.
fn expect_core(tag: Option<&Tag>, at: Place) -> Result<Option<&str>, Flaw> {
    const CORE: [&str; 7] = ["bool", "float", "int", "map", "null", "seq", "str"];
    match tag {
        None => Ok(None),
        Some(tag) if tag.is_yaml_core_schema() && CORE.contains(&tag.suffix.as_str()) => {
            Ok(Some(&tag.suffix))
        }
        Some(tag) => {
            let handle = if tag.is_yaml_core_schema() {
                "!!"
            } else {
                &tag.handle
            };
            let message = format!("the tag `{handle}{}` means nothing here", tag.suffix);
            Err(Flaw::new(at, message))
        }
    }
}

/// As YAML 1.2.2, section 5.1, has it.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

fn place(line: usize, column: usize) -> Place {
    Place {
        line,
        column: column + 1,
    }
}

fn expect_shallow(depth: usize, at: Place) -> Result<(), Flaw> {
    match depth > DEEPEST {
        true => Err(Flaw::new(
            at,
            format!("nested deeper than {DEEPEST} levels"),
        )),
        false => Ok(()),
    }
}

/// How many nodes a copy makes; text counts as the nodes that would fill its bytes.
fn size(node: &Node) -> usize {
    let text = |text: &str| text.len() / size_of::<Node>();
    match &node.value {
        Value::Scalar(scalar) => 1 + text(&scalar.text),
        Value::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Mapping(entries) => {
            let entry = |entry: &Entry| text(&entry.key) + size(&entry.value);
            1 + entries.iter().map(entry).sum::<usize>()
        }
    }
}

/// How many levels lie below a node.
fn height(node: &Node) -> usize {
    let below = match &node.value {
        Value::Scalar(_) => None,
        Value::Sequence(items) => items.iter().map(height).max(),
        Value::Mapping(entries) => entries.iter().map(|entry| height(&entry.value)).max(),
    };
    below.map_or(0, |below| below + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_meanings_are_kept() {
        let text = "a:\n  - 60\n  - \"60\"\n  - >\n    folded\n    text\n  - 2024-01-31\n  - ~\n  - 1.0\n  - é: yes # comment\n";
        let root = Document::read(text).unwrap().root;
        let items = root.get("a").unwrap().items();
        let meanings: Vec<_> = items.iter().filter_map(Node::meaning).collect();
        assert_eq!(
            meanings,
            [
                Meaning::Integer(60),
                Meaning::Text("60"),
                Meaning::Text("folded text\n"),
                Meaning::Text("2024-01-31"),
                Meaning::Null,
                Meaning::Float(1.0),
            ]
        );
        assert_eq!(items[1].at, Place { line: 3, column: 5 });
        assert_eq!(
            items[6].get("é").unwrap().at,
            Place {
                line: 10,
                column: 8
            }
        );
        assert_eq!(root.at_pointer("/a/6/é").text(), Some("yes"));
    }

    #[test]
    fn keys_that_stand_twice_are_found_at_any_depth() {
        let document = Document::read("a: 1\nb:\n  c: 1\n  c: 2\n  \"c\": 3\na: 2\n").unwrap();
        let lines: Vec<_> = document
            .duplicates
            .iter()
            .map(|d| d.at.unwrap().line)
            .collect();
        assert_eq!(lines, [4, 5, 6]);
        assert_eq!(document.root.get("a").unwrap().integer(), Some(1));
    }

    #[test]
    fn mappings_are_merged_and_the_core_tags_are_read() {
        let text = "a: &a {k: 1, l: 1}\nb: &b\n  <<: *a\n  k: 2\nc:\n  m: 3\n  <<: [*b, {l: 4, n: 5}]\n  \"<<\": 6\n";
        let document = Document::read(text).unwrap();
        assert_eq!(document.duplicates, []);
        let merged = document.root.get("c").unwrap().to_json();
        assert_eq!(
            merged,
            serde_json::json!({"m": 3, "<<": 6, "k": 2, "l": 1, "n": 5})
        );
        let tags = Document::read("[!!str 1, !!int \"1\", !!seq [a]]\n").unwrap();
        assert_eq!(tags.root.to_json(), serde_json::json!(["1", 1, ["a"]]));
    }

    #[test]
    fn what_is_no_single_document_is_a_flaw() {
        let bomb = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
            let before = format!("*a{}", n - 1);
            text + &format!("a{n}: &a{n} [{before}, {before}, {before}]\n")
        });
        let deep = "[".repeat(5000);
        let (open, close) = ("[".repeat(60), "]".repeat(60));
        let aliased = format!("a: &a {open}{close}\nb: {open}*a{close}\n");
        let anchors: String = (0..90).map(|n| format!("[&a{n} ")).collect();
        let kept = format!("{anchors}[{}]{}", "x, ".repeat(3000), "]".repeat(90));
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            "*a, ".repeat(250)
        );
        for (text, expected) in [
            ("", "the file is empty"),
            ("a: 1\n---\nb: 2\n", "a second document"),
            ("a: [1\nb: 2\n", ""),
            ("a:\n\tb: 1\n", ""),
            ("? [a]\n: 1\n", "a key must be plain text"),
            ("a: &x\n  b: *x\n", ""),
            ("a: é\u{7}\n", "the control character U+0007"),
            (
                "a: !!python/object:os.system x\n",
                "the tag `!!python/object:os.system` means",
            ),
            ("a: !secret [x]\n", "the tag `!secret` means nothing here"),
            ("a:\n  <<: x\n", "`<<` merges a mapping"),
            (bomb.as_str(), "more than 200000 values"),
            (deep.as_str(), ""),
            (aliased.as_str(), "nested deeper than 100 levels"),
            (kept.as_str(), "more than 200000 values"),
            (long.as_str(), "more than 200000 values"),
        ] {
            let flaw = Document::read(text).unwrap_err();
            assert!(
                flaw.at.is_some() && flaw.message.contains(expected),
                "{flaw:?}"
            );
        }
    }

    /// Every prefix of a real text, and the text with each character exchanged, is read or refused, never a panic.
    #[test]
    fn no_text_makes_the_reader_panic() {
        let text = "data: &d\n  a: [1, 'x', \"y\\u00e9\", {b: c}]\n  f: >-\n    é\n    b\n  m: |\n    x\n  <<: *d\n  <<: [*d, {q: 1}]\n? k\n: !t v # c\n";
        let characters: Vec<char> = text.chars().collect();
        for at in 0..characters.len() {
            let _ = Document::read(&characters[..at].iter().collect::<String>());
            for other in [
                '\t', '\n', ':', '-', '[', '}', '&', '*', '"', '\0', '\u{feff}', '💡',
            ] {
                let mut changed = characters.clone();
                changed[at] = other;
                let _ = Document::read(&changed.iter().collect::<String>());
            }
        }
    }
}
