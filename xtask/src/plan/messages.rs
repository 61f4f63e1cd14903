//! Judges what a connector prints for `check`, `discover`, `read` and `write`: every line one message of the Airbyte protocol,
//! with the fields that its type must have, in its place.
//!
//! Source: airbyte_protocol.yaml of the repository airbyte-protocol, version 0.

pub mod sample;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::sample::Sample;
use crate::model::json_schema::{self, JsonSchema};

/// What a connector was asked.
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    Check,
    Discover,
    /// With this configured catalog.
    Read(&'a Value),
    /// These messages, of a destination.
    Write(&'a Sample),
}

impl Command<'_> {
    /// As connectors know it.
    pub fn name(self) -> &'static str {
        match self {
            Command::Check => "check",
            Command::Discover => "discover",
            Command::Read(_) => "read",
            Command::Write(_) => "write",
        }
    }
}

/// An answer that is right.
#[derive(Debug, Default)]
pub struct Answer {
    /// How many messages there were of each type.
    pub counts: BTreeMap<&'static str, usize>,
    /// The value of `catalog`, after `discover`.
    pub catalog: Option<Value>,
    /// What is odd, yet breaks no rule of the protocol.
    pub warnings: Vec<String>,
}

impl Answer {
    /// How many messages of a type such as `RECORD` there were; 0 where none came.
    pub fn count(&self, kind: &str) -> usize {
        self.counts.get(kind).copied().unwrap_or(0)
    }
}

/// More lines of one kind of trouble help no one.
const MOST: usize = 10;
/// A line is shown up to this many characters.
const SHOWN: usize = 200;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Number,
    Object,
    List,
    Truth,
    OneOf(&'static [&'static str]),
}

/// A field by its path below a message's payload, what it must be, and whether it must be there.
type Field = (&'static str, Kind, Presence);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Must,
    May,
}

use Kind::{Integer, List, Number, Object, OneOf, Text, Truth};
use Presence::{May, Must};

/// Types of messages, the key of their payload, and its fields.
const TYPES: [(&str, &str, &[Field]); 8] = [
    (
        "LOG",
        "log",
        &[
            (
                "level",
                OneOf(&["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"]),
                Must,
            ),
            ("message", Text, Must),
            ("stack_trace", Text, May),
        ],
    ),
    (
        "TRACE",
        "trace",
        &[
            (
                "type",
                OneOf(&["ERROR", "ESTIMATE", "STREAM_STATUS", "ANALYTICS"]),
                Must,
            ),
            ("emitted_at", Number, Must),
        ],
    ),
    ("SPEC", "spec", &[("connectionSpecification", Object, Must)]),
    (
        "CONNECTION_STATUS",
        "connectionStatus",
        &[
            ("status", OneOf(&["SUCCEEDED", "FAILED"]), Must),
            ("message", Text, May),
        ],
    ),
    ("CATALOG", "catalog", &[("streams", List, Must)]),
    (
        "RECORD",
        "record",
        &[
            ("stream", Text, Must),
            ("data", Object, Must),
            ("emitted_at", Integer, Must),
            ("namespace", Text, May),
        ],
    ),
    (
        "STATE",
        "state",
        &[("type", OneOf(&["GLOBAL", "STREAM", "LEGACY"]), May)],
    ),
    (
        "CONTROL",
        "control",
        &[
            ("type", OneOf(&["CONNECTOR_CONFIG"]), Must),
            ("emitted_at", Number, Must),
            ("connectorConfig.config", Object, Must),
        ],
    ),
];

/// Further fields by the `type` inside a payload.
const VARIANTS: [(&str, &str, &[Field]); 7] = [
    (
        "TRACE",
        "ERROR",
        &[
            ("error.message", Text, Must),
            (
                "error.failure_type",
                OneOf(&["system_error", "config_error", "transient_error"]),
                May,
            ),
        ],
    ),
    (
        "TRACE",
        "ESTIMATE",
        &[
            ("estimate.name", Text, Must),
            ("estimate.type", OneOf(&["STREAM", "SYNC"]), Must),
        ],
    ),
    (
        "TRACE",
        "STREAM_STATUS",
        &[
            ("stream_status.stream_descriptor.name", Text, Must),
            (
                "stream_status.status",
                OneOf(&["STARTED", "RUNNING", "COMPLETE", "INCOMPLETE"]),
                Must,
            ),
        ],
    ),
    ("TRACE", "ANALYTICS", &[("analytics.type", Text, Must)]),
    (
        "STATE",
        "STREAM",
        &[("stream.stream_descriptor.name", Text, Must)],
    ),
    ("STATE", "GLOBAL", &[("global.stream_states", List, Must)]),
    ("STATE", "LEGACY", &[("data", Object, Must)]),
];

const STREAM: [Field; 9] = [
    ("name", Text, Must),
    ("json_schema", Object, Must),
    ("supported_sync_modes", List, Must),
    ("source_defined_cursor", Truth, May),
    ("default_cursor_field", List, May),
    ("source_defined_primary_key", List, May),
    ("namespace", Text, May),
    ("is_resumable", Truth, May),
    ("is_file_based", Truth, May),
];

/// Judges an answer line by line: a sync's is too long to be held.
pub struct Judge<'a> {
    command: Command<'a>,
    /// How many lines there were.
    lines: usize,
    answer: Answer,
    /// The first ones.
    problems: Vec<String>,
    /// Problems beyond those.
    more: usize,
    statuses: Vec<Value>,
    catalogs: Vec<Value>,
    /// The states that came back from a destination.
    states: Vec<Value>,
    streams: BTreeMap<String, Stream>,
}

/// What is known of a stream while it is read.
struct Stream {
    schema: Option<JsonSchema>,
    /// The first record that does not fit the schema, and how many do not.
    misfits: Option<(String, usize)>,
}

impl<'a> Judge<'a> {
    /// For the answer to `command`, of which no line was heard yet.
    pub fn new(command: Command<'a>) -> Judge<'a> {
        let streams = match command {
            Command::Read(catalog) => configured(catalog),
            _ => BTreeMap::new(),
        };
        Judge {
            command,
            lines: 0,
            answer: Answer::default(),
            problems: Vec::new(),
            more: 0,
            statuses: Vec::new(),
            catalogs: Vec::new(),
            states: Vec::new(),
            streams,
        }
    }

    /// Takes the next line of standard output, an empty one too; [`finish`](Self::finish) tells what was wrong.
    pub fn line(&mut self, line: &str) {
        self.lines += 1;
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        let message = match serde_json::from_str::<Value>(line) {
            Ok(message) if message.is_object() => message,
            _ => {
                let shown: String = line.chars().take(SHOWN).collect();
                return self.wrong(&format!("no Airbyte message: {shown}"));
            }
        };
        let named = message["type"].as_str().unwrap_or_default();
        let Some((kind, key, fields)) = TYPES.iter().find(|(kind, ..)| *kind == named) else {
            return self.wrong(&format!("`{named}` is no type of message"));
        };
        *self.answer.counts.entry(kind).or_default() += 1;
        let payload = &message[*key];
        if !payload.is_object() {
            return self.wrong(&format!("a {kind} message without `{key}`"));
        }
        let inner = payload["type"].as_str().unwrap_or_default();
        let variant = VARIANTS
            .iter()
            .find(|(outer, name, _)| outer == kind && *name == inner);
        let fields = fields
            .iter()
            .chain(variant.into_iter().flat_map(|(_, _, fields)| *fields));
        for problem in fields.filter_map(|field| flaw(payload, key, field)) {
            self.wrong(&format!("{kind}: {problem}"));
        }
        self.place(kind, payload);
    }

    /// What the message means for this command.
    fn place(&mut self, kind: &str, payload: &Value) {
        match (kind, self.command) {
            ("LOG" | "CONTROL", _) => {}
            ("TRACE", _) => self.trace(payload),
            ("CONNECTION_STATUS", Command::Check) => self.statuses.push(payload.clone()),
            ("CATALOG", Command::Discover) => self.catalogs.push(payload.clone()),
            ("RECORD", Command::Read(_)) => self.record(payload),
            ("STATE", Command::Read(_)) => {
                if let Some(name) = payload["stream"]["stream_descriptor"]["name"].as_str() {
                    self.known(name);
                }
            }
            ("STATE", Command::Write(_)) => self.states.push(payload.clone()),
            _ => self.wrong(&format!(
                "a {kind} message has no place in the answer to `{}`",
                self.command.name()
            )),
        }
    }

    fn trace(&mut self, trace: &Value) {
        let status = &trace["stream_status"];
        if let Some(text) = trace["error"]["message"].as_str() {
            self.problem(format!("the connector reported an error: {text}"));
        } else if status["status"] == "INCOMPLETE" {
            let name = status["stream_descriptor"]["name"].as_str();
            self.problem(format!(
                "stream {} was left incomplete",
                name.unwrap_or_default()
            ));
        }
    }

    fn record(&mut self, record: &Value) {
        let Some(name) = record["stream"].as_str() else {
            return;
        };
        self.known(name);
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        let Some(schema) = &stream.schema else {
            return;
        };
        let misfits = schema.misfits(&record["data"]);
        let Some(misfit) = misfits.first() else {
            return;
        };
        let said = || {
            format!("data{}: {}", misfit.pointer, misfit.why)
                .chars()
                .take(SHOWN)
                .collect()
        };
        let (_, count) = stream.misfits.get_or_insert_with(|| (said(), 0));
        *count += 1;
    }

    fn known(&mut self, stream: &str) {
        if !self.streams.contains_key(stream) {
            self.wrong(&format!(
                "stream `{stream}` is not in the configured catalog"
            ));
        }
    }

    fn wrong(&mut self, what: &str) {
        self.problem(format!("line {}: {what}", self.lines));
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < MOST {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// The answer, or what is wrong with it. `ending` is how a process that did not exit with 0 ended.
    pub fn finish(mut self, ending: Option<&str>) -> Result<Answer, Vec<String>> {
        match self.command {
            Command::Check => self.finish_check(),
            Command::Discover => self.finish_discover(),
            Command::Read(_) => self.finish_read(),
            Command::Write(sample) => self.finish_write(sample),
        }
        let mut problems = self.problems;
        if let Some(ending) = ending {
            problems.insert(0, format!("the container {ending}"));
        }
        if problems.is_empty() {
            return Ok(self.answer);
        }
        if self.more > 0 {
            problems.push(format!("and {} more", self.more));
        }
        Err(problems)
    }

    fn finish_check(&mut self) {
        match self.statuses.as_slice() {
            [one] if one["status"] == "FAILED" => {
                let message = one["message"].as_str().unwrap_or("without a message");
                self.problem(format!("the connection failed: {message}"));
            }
            [_] => {}
            other => self.problem(format!(
                "{} CONNECTION_STATUS messages were printed, expected one",
                other.len()
            )),
        }
    }

    fn finish_discover(&mut self) {
        let catalog = match self.catalogs.as_slice() {
            [one] => one.clone(),
            other => {
                return self.problem(format!(
                    "{} CATALOG messages were printed, expected one",
                    other.len()
                ));
            }
        };
        let streams = catalog["streams"].as_array().map_or(&[][..], Vec::as_slice);
        if streams.is_empty() {
            self.problem("the catalog has no streams".to_owned());
        }
        let mut names = BTreeSet::new();
        for (index, stream) in streams.iter().enumerate() {
            let place = format!("catalog.streams[{index}]");
            for flaw in stream_flaws(stream, &place) {
                self.problem(flaw);
            }
            let name = (
                &stream["namespace"],
                stream["name"].as_str().unwrap_or_default(),
            );
            if !names.insert((name.0.to_string(), name.1)) {
                self.problem(format!("{place}: a second stream `{}`", name.1));
            }
        }
        self.answer.catalog = Some(catalog);
    }

    fn finish_read(&mut self) {
        if self.answer.count("RECORD") == 0 {
            self.answer.warnings.push("no record was read".to_owned());
        }
        for (name, stream) in &self.streams {
            if let Some((first, count)) = &stream.misfits {
                self.answer.warnings.push(format!(
                    "{count} records of stream {name} do not fit its schema, first: {first}"
                ));
            }
        }
    }
}

impl Judge<'_> {
    /// A state that comes back says that all records before it are stored; each has to, once.
    fn finish_write(&mut self, sample: &Sample) {
        let name = |state: &Value| state["stream"]["stream_descriptor"]["name"].to_string();
        let mut returned = std::mem::take(&mut self.states);
        for sent in sample.states() {
            // Destinations may add to a state how many records they stored.
            let same = |state: &Value| state["stream"] == sent["stream"];
            match returned.iter().position(same) {
                Some(index) => drop(returned.remove(index)),
                None => self.problem(format!(
                    "the state of stream {} did not come back as it was sent",
                    name(sent)
                )),
            }
        }
        for state in returned {
            self.problem(format!(
                "a state was printed that was not sent: {}",
                shown(&state)
            ));
        }
    }
}

/// What keeps a field from being what it must be.
fn flaw(payload: &Value, key: &str, (path, kind, presence): &Field) -> Option<String> {
    let value = path
        .split('.')
        .try_fold(payload, |value, part| value.get(part))
        .unwrap_or(&Value::Null);
    let expected = match kind {
        _ if value.is_null() => {
            return (*presence == Must).then(|| format!("{key}.{path} is missing"));
        }
        Text => (!value.is_string()).then_some("a text".to_owned()),
        Integer => (!value.is_i64() && !value.is_u64()).then_some("an integer".to_owned()),
        Number => (!value.is_number()).then_some("a number".to_owned()),
        Object => (!value.is_object()).then_some("an object".to_owned()),
        List => (!value.is_array()).then_some("a list".to_owned()),
        Truth => (!value.is_boolean()).then_some("true or false".to_owned()),
        OneOf(words) => {
            let known = value.as_str().is_some_and(|word| words.contains(&word));
            (!known).then(|| format!("one of {}", words.join(", ")))
        }
    }?;
    Some(format!(
        "{key}.{path} is {}, expected {expected}",
        shown(value)
    ))
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(SHOWN).collect()
}

fn stream_flaws(stream: &Value, place: &str) -> Vec<String> {
    let mut flaws: Vec<String> = STREAM
        .iter()
        .filter_map(|field| flaw(stream, place, field))
        .collect();
    let modes = stream["supported_sync_modes"].as_array();
    let unknown = |mode: &&Value| !matches!(mode.as_str(), Some("full_refresh" | "incremental"));
    match modes {
        Some(modes) if modes.is_empty() => {
            flaws.push(format!("{place}.supported_sync_modes is empty"))
        }
        Some(modes) => flaws.extend(modes.iter().find(unknown).map(|mode| {
            format!("{place}.supported_sync_modes: {mode} is neither full_refresh nor incremental")
        })),
        None => {}
    }
    let schema = &stream["json_schema"];
    if schema.is_object()
        && let Some(flaw) = json_schema::flaw(schema)
    {
        flaws.push(format!(
            "{place}.json_schema{} is not valid JSON Schema: {}",
            flaw.pointer, flaw.why
        ));
    }
    flaws
}

/// The streams of a configured catalog, by name.
fn configured(catalog: &Value) -> BTreeMap<String, Stream> {
    let streams = catalog["streams"].as_array().into_iter().flatten();
    let stream = |configured: &Value| {
        let stream = &configured["stream"];
        let schema = JsonSchema::new(&stream["json_schema"]);
        let name = stream["name"].as_str()?.to_owned();
        Some((
            name,
            Stream {
                schema,
                misfits: None,
            },
        ))
    };
    streams.filter_map(stream).collect()
}

/// A configured catalog of all streams: incremental where a stream has a cursor of its own, else full refresh.
pub fn configure(catalog: &Value) -> Value {
    let streams = catalog["streams"].as_array().into_iter().flatten();
    let configure = |stream: &Value| {
        let supported = stream["supported_sync_modes"].as_array();
        let incremental =
            supported.is_some_and(|modes| modes.contains(&Value::from("incremental")));
        let cursor = stream["default_cursor_field"].as_array();
        let has_cursor = stream["source_defined_cursor"] == true
            || cursor.is_some_and(|cursor| !cursor.is_empty());
        let sync_mode = match incremental && has_cursor {
            true => "incremental",
            false => "full_refresh",
        };
        json!({
            "stream": stream,
            "sync_mode": sync_mode,
            "destination_sync_mode": "append",
            "cursor_field": cursor.cloned().unwrap_or_default(),
            "primary_key": stream["source_defined_primary_key"].as_array().cloned().unwrap_or_default(),
        })
    };
    json!({ "streams": streams.map(configure).collect::<Vec<_>>() })
}

#[cfg(test)]
fn judge(command: Command, stdout: &str, ending: Option<&str>) -> Result<Answer, Vec<String>> {
    let mut judge = Judge::new(command);
    stdout.lines().for_each(|line| judge.line(line));
    judge.finish(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Value {
        let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}});
        json!({"streams": [
            {"name": "a", "json_schema": schema, "supported_sync_modes": ["full_refresh", "incremental"],
             "source_defined_cursor": true, "default_cursor_field": ["id"], "source_defined_primary_key": [["id"]]},
            {"name": "b", "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]},
        ]})
    }

    fn lines(messages: &[Value]) -> String {
        messages
            .iter()
            .map(|message| format!("{message}\n"))
            .collect()
    }

    fn record(stream: &str, data: Value) -> Value {
        json!({"type": "RECORD", "record": {"stream": stream, "data": data, "emitted_at": 1}})
    }

    #[test]
    fn right_answers_pass() {
        let log = json!({"type": "LOG", "log": {"level": "INFO", "message": "hello"}});
        let status =
            json!({"type": "CONNECTION_STATUS", "connectionStatus": {"status": "SUCCEEDED"}});
        assert!(judge(Command::Check, &lines(&[log.clone(), status]), None).is_ok());
        let found = json!({"type": "CATALOG", "catalog": catalog()});
        let answer = judge(Command::Discover, &lines(&[log.clone(), found]), None).unwrap();
        assert_eq!(answer.catalog, Some(catalog()));
        let configured = configure(&catalog());
        let read = [
            log,
            json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1.5, "stream_status":
                {"stream_descriptor": {"name": "a"}, "status": "STARTED"}}}),
            record("a", json!({"id": 1})),
            json!({"type": "STATE", "state": {"type": "STREAM", "stream": {"stream_descriptor": {"name": "a"}}}}),
            json!({"type": "STATE", "state": {"type": "GLOBAL", "global": {"stream_states": []}}}),
            json!({"type": "CONTROL", "control": {"type": "CONNECTOR_CONFIG", "emitted_at": 1,
                "connectorConfig": {"config": {}}}}),
        ];
        let answer = judge(Command::Read(&configured), &lines(&read), None).unwrap();
        assert_eq!((answer.count("RECORD"), answer.count("STATE")), (1, 2));
        assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    }

    #[test]
    fn a_catalog_is_configured_by_what_its_streams_can_do() {
        let configured = configure(&catalog());
        let modes: Vec<&Value> = (0..2)
            .map(|index| &configured["streams"][index]["sync_mode"])
            .collect();
        assert_eq!(modes, ["incremental", "full_refresh"]);
        assert_eq!(configured["streams"][0]["primary_key"], json!([["id"]]));
        assert_eq!(configured["streams"][1]["cursor_field"], json!([]));
    }

    #[test]
    fn records_that_do_not_fit_are_warned_of_once_a_stream() {
        let configured = configure(&catalog());
        let read = [
            record("a", json!({"id": "x"})),
            record("a", json!({"id": "y"})),
            record("b", json!({})),
        ];
        let answer = judge(Command::Read(&configured), &lines(&read), None).unwrap();
        assert_eq!(answer.warnings.len(), 1);
        assert!(
            answer.warnings[0]
                .starts_with("2 records of stream a do not fit its schema, first: data/id:")
        );
        let nothing = judge(Command::Read(&configured), "", None).unwrap();
        assert_eq!(nothing.warnings, ["no record was read"]);
    }

    /// Each of these messages, alone, is answered with these words.
    #[test]
    fn what_is_wrong_is_said() {
        let configured = configure(&catalog());
        let read = Command::Read(&configured);
        let of =
            |kind: &str, key: &str, payload: Value| json!({"type": kind, key: payload}).to_string();
        for (command, line, words) in [
            (
                read,
                "Traceback".to_owned(),
                "line 1: no Airbyte message: Traceback",
            ),
            (read, "[1]".to_owned(), "no Airbyte message: [1]"),
            (
                read,
                r#"{"type": "NEWS"}"#.to_owned(),
                "`NEWS` is no type of message",
            ),
            (
                read,
                r#"{"type": "LOG"}"#.to_owned(),
                "a LOG message without `log`",
            ),
            (
                read,
                of("LOG", "log", json!({"level": "LOUD", "message": "a"})),
                "log.level is \"LOUD\", expected one of FATAL",
            ),
            (
                read,
                of("LOG", "log", json!({"level": "INFO"})),
                "log.message is missing",
            ),
            (
                read,
                of("RECORD", "record", json!({"stream": "a", "data": {}})),
                "record.emitted_at is missing",
            ),
            (
                read,
                of(
                    "RECORD",
                    "record",
                    json!({"stream": "a", "data": [], "emitted_at": 1}),
                ),
                "record.data is [], expected an object",
            ),
            (
                read,
                of(
                    "RECORD",
                    "record",
                    json!({"stream": "a", "data": {}, "emitted_at": 1.5}),
                ),
                "expected an integer",
            ),
            (
                read,
                record("c", json!({})).to_string(),
                "stream `c` is not in the configured catalog",
            ),
            (
                read,
                of("STATE", "state", json!({"type": "STREAM"})),
                "state.stream.stream_descriptor.name is missing",
            ),
            (
                read,
                of("STATE", "state", json!({"type": "GLOBAL"})),
                "state.global.stream_states is missing",
            ),
            (
                read,
                of("STATE", "state", json!({"type": "OTHER"})),
                "expected one of GLOBAL",
            ),
            (
                read,
                of(
                    "TRACE",
                    "trace",
                    json!({"type": "ERROR", "emitted_at": 1, "error": {"message": "boom"}}),
                ),
                "reported an error: boom",
            ),
            (
                read,
                of("TRACE", "trace", json!({"type": "ERROR", "emitted_at": 1})),
                "trace.error.message is missing",
            ),
            (
                read,
                of(
                    "TRACE",
                    "trace",
                    json!({"type": "STREAM_STATUS", "emitted_at": 1, "stream_status":
                {"stream_descriptor": {"name": "a"}, "status": "INCOMPLETE"}}),
                ),
                "stream a was left incomplete",
            ),
            (
                read,
                of(
                    "CONTROL",
                    "control",
                    json!({"type": "CONNECTOR_CONFIG", "emitted_at": 1}),
                ),
                "control.connectorConfig.config is missing",
            ),
            (
                read,
                of("CATALOG", "catalog", catalog()),
                "a CATALOG message has no place in the answer to `read`",
            ),
            (
                Command::Check,
                record("a", json!({})).to_string(),
                "a RECORD message has no place in the answer to `check`",
            ),
            (
                Command::Check,
                String::new(),
                "0 CONNECTION_STATUS messages were printed, expected one",
            ),
            (
                Command::Check,
                of(
                    "CONNECTION_STATUS",
                    "connectionStatus",
                    json!({"status": "FAILED", "message": "no key"}),
                ),
                "the connection failed: no key",
            ),
            (
                Command::Check,
                of(
                    "CONNECTION_STATUS",
                    "connectionStatus",
                    json!({"status": "OK"}),
                ),
                "expected one of SUCCEEDED, FAILED",
            ),
            (
                Command::Discover,
                String::new(),
                "0 CATALOG messages were printed, expected one",
            ),
            (
                Command::Discover,
                of("CATALOG", "catalog", json!({"streams": []})),
                "the catalog has no streams",
            ),
            (
                Command::Discover,
                of("CATALOG", "catalog", json!({"streams": [{"name": "a"}]})),
                "catalog.streams[0].json_schema is missing",
            ),
            (
                Command::Discover,
                of(
                    "CATALOG",
                    "catalog",
                    json!({"streams": [{"name": "a", "json_schema": {}, "supported_sync_modes": ["x"]}]}),
                ),
                "\"x\" is neither full_refresh nor incremental",
            ),
            (
                Command::Discover,
                of(
                    "CATALOG",
                    "catalog",
                    json!({"streams": [{"name": "a", "json_schema": {"type": "x"}, "supported_sync_modes": ["full_refresh"]}]}),
                ),
                "json_schema/type is not valid JSON Schema",
            ),
            (
                Command::Discover,
                of(
                    "CATALOG",
                    "catalog",
                    json!({"streams": [catalog()["streams"][0], catalog()["streams"][0]]}),
                ),
                "a second stream `a`",
            ),
        ] {
            let problems = judge(command, &line, None).expect_err(words);
            assert!(
                problems.iter().any(|problem| problem.contains(words)),
                "{words}: {problems:?}"
            );
        }
        let ended = judge(read, "", Some("exited with 1")).unwrap_err();
        assert_eq!(ended, ["the container exited with 1"]);
    }

    #[test]
    fn a_destination_gives_back_each_state_once() {
        let sample =
            Sample::of(&json!({"supported_destination_sync_modes": ["append", "overwrite"]}));
        let write = Command::Write(&sample);
        let state = |state: &Value| json!({"type": "STATE", "state": state});
        let sent: Vec<Value> = sample.states().map(state).collect();
        let mut counted = sent.clone();
        counted[1]["state"]["destinationStats"] = json!({"recordCount": 4});
        counted.reverse();
        let answer = judge(write, &lines(&counted), None).unwrap();
        assert_eq!(answer.count("STATE"), 2);
        let mut changed = sent.clone();
        changed[0]["state"]["stream"]["stream_state"] = json!({});
        let twice = [sent.clone(), sent[..1].to_vec()].concat();
        for (printed, words) in [
            (vec![], "\"airbyte_test_append\" did not come back"),
            (
                sent[..1].to_vec(),
                "\"airbyte_test_overwrite\" did not come back",
            ),
            (changed, "not sent: {\"type\":\"STREAM\""),
            (twice, "a state was printed that was not sent"),
            (
                vec![record("a", json!({}))],
                "a RECORD message has no place in the answer to `write`",
            ),
        ] {
            let problems = judge(write, &lines(&printed), None).expect_err(words);
            assert!(
                problems.iter().any(|one| one.contains(words)),
                "{words}: {problems:?}"
            );
        }
    }

    #[test]
    fn many_problems_are_cut_short() {
        let problems = judge(Command::Check, &"x\n".repeat(50), None).unwrap_err();
        assert_eq!(problems.len(), MOST + 1);
        assert_eq!(problems[MOST], "and 41 more");
    }
}
