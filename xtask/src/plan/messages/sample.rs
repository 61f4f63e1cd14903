//! A small sync that a destination is tried with: one stream for each sync mode that its spec supports.

use serde_json::{Value, json};

/// What goes into `write`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The configured catalog.
    pub catalog: Value,
    /// The messages, in the order in which they are written.
    pub messages: Vec<Value>,
}

/// Destination sync modes that a sample can be made for; `append` is what a spec without any supports.
const MODES: [&str; 3] = ["append", "overwrite", "append_dedup"];

impl Sample {
    /// For a destination with this spec, the value of `spec` in its SPEC message.
    pub fn of(spec: &Value) -> Sample {
        let supported = spec["supported_destination_sync_modes"].as_array();
        let is_supported = |mode: &&str| match supported {
            Some(modes) if !modes.is_empty() => modes.iter().any(|one| one == mode),
            _ => *mode == MODES[0],
        };
        let modes: Vec<&str> = MODES.into_iter().filter(is_supported).collect();
        // Only such destinations are told that a stream is complete, and some of those wait for it.
        let told = spec["supportsRefreshes"] == true;
        Sample {
            catalog: json!({ "streams": modes.iter().map(|mode| configured(mode)).collect::<Vec<_>>() }),
            messages: modes.iter().flat_map(|mode| sync(mode, told)).collect(),
        }
    }

    /// As `write` reads them: one a line.
    pub fn lines(&self) -> String {
        let line = |message: &Value| format!("{message}\n");
        self.messages.iter().map(line).collect()
    }

    /// The states among the messages: each has to come back.
    pub fn states(&self) -> impl Iterator<Item = &Value> {
        self.messages.iter().filter_map(|one| one.get("state"))
    }

    /// How many of the messages are records, over all streams.
    pub fn records(&self) -> usize {
        let is_record = |message: &&Value| message["type"] == "RECORD";
        self.messages.iter().filter(is_record).count()
    }
}

fn name(mode: &str) -> String {
    format!("airbyte_test_{mode}")
}

/// A stream with a column of every type that sources have.
fn configured(mode: &str) -> Value {
    let full = mode == "overwrite";
    json!({
        "stream": {
            "name": name(mode),
            "json_schema": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {
                    "id": {"type": "integer"},
                    "name": {"type": ["null", "string"]},
                    "price": {"type": ["null", "number"]},
                    "active": {"type": ["null", "boolean"]},
                    "born": {"type": ["null", "string"], "format": "date"},
                    "updated_at": {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"},
                    "tags": {"type": ["null", "array"], "items": {"type": "string"}},
                    "address": {"type": ["null", "object"], "properties": {"city": {"type": "string"}}},
                },
            },
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_cursor": true,
            "default_cursor_field": ["updated_at"],
            "source_defined_primary_key": [["id"]],
        },
        "sync_mode": if full { "full_refresh" } else { "incremental" },
        "destination_sync_mode": mode,
        "cursor_field": ["updated_at"],
        "primary_key": [["id"]],
        "sync_id": 1,
        "generation_id": 1,
        // Whatever is of an earlier generation is to go.
        "minimum_generation_id": if full { 1 } else { 0 },
    })
}

/// The stream's records, its state behind them and, where that is told, its end.
fn sync(mode: &str, told: bool) -> Vec<Value> {
    let stream = name(mode);
    let empty = json!(null);
    let rows = [
        json!({"id": 1, "name": "Ada", "price": 1.5, "active": true, "born": "1815-12-10",
            "updated_at": "2024-01-01T00:00:00Z", "tags": ["a", "b"], "address": {"city": "London"}}),
        json!({"id": 2, "name": "Zoë \"the\" 💡\nsecond line", "price": -0.25, "active": false, "born": "1970-01-01",
            "updated_at": "2024-01-02T12:30:00.123456Z", "tags": [], "address": {}}),
        json!({"id": 3, "name": empty, "price": empty, "active": empty, "born": empty,
            "updated_at": "2024-01-03T00:00:00+02:00", "tags": empty, "address": empty}),
        // The first again, changed: what dedups keeps this one.
        json!({"id": 1, "name": "Ada Lovelace", "price": 2, "active": true, "born": "1815-12-10",
            "updated_at": "2024-01-04T00:00:00Z", "tags": ["c"], "address": {"city": "London"}}),
    ];
    let emitted_at = 1_704_412_800_000_u64;
    let record = |data| json!({"type": "RECORD", "record": {"stream": stream, "data": data, "emitted_at": emitted_at}});
    let state = json!({"type": "STATE", "state": {"type": "STREAM", "stream": {
        "stream_descriptor": {"name": stream}, "stream_state": {"updated_at": "2024-01-04T00:00:00Z"}}}});
    let complete = json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": emitted_at, "stream_status": {
        "stream_descriptor": {"name": stream}, "status": "COMPLETE"}}});
    let rows = rows.into_iter().map(record);
    rows.chain([state])
        .chain(told.then_some(complete))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::messages::{Command, judge};

    #[test]
    fn every_supported_mode_gets_a_stream_of_its_own() {
        for (spec, expected) in [
            (json!({}), vec!["append"]),
            (
                json!({"supported_destination_sync_modes": []}),
                vec!["append"],
            ),
            (
                json!({"supported_destination_sync_modes": ["append_dedup", "overwrite", "update"]}),
                vec!["overwrite", "append_dedup"],
            ),
        ] {
            let sample = Sample::of(&spec);
            let streams = sample.catalog["streams"].as_array().unwrap();
            let modes: Vec<_> = streams
                .iter()
                .map(|one| one["destination_sync_mode"].as_str().unwrap())
                .collect();
            assert_eq!(modes, expected, "{spec}");
            assert_eq!(sample.states().count(), expected.len());
            assert_eq!(sample.records(), 4 * expected.len());
            assert!(!sample.lines().contains("COMPLETE"));
        }
        let told = Sample::of(&json!({"supportsRefreshes": true}));
        assert_eq!(told.lines().matches("COMPLETE").count(), 1);
    }

    /// What a source would have to be to print it: so the messages keep the protocol and fit their own schema.
    #[test]
    fn the_messages_are_right_by_the_rules_that_sources_are_judged_by() {
        let all = json!({"supported_destination_sync_modes": MODES, "supportsRefreshes": true});
        let sample = Sample::of(&all);
        let answer = judge(Command::Read(&sample.catalog), &sample.lines(), None).unwrap();
        assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    }
}
