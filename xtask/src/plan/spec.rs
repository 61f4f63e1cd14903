//! Judges what `docker run IMAGE spec` printed.
//!
//! The Airbyte protocol: standard output carries one JSON message a line; `spec` prints exactly one of type
//! SPEC among optional LOG and TRACE messages and exits with 0.

use serde_json::Value;

use crate::model::json_schema;

/// What a connector said of itself, and what it printed besides.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The value of `spec` in the SPEC message.
    pub value: Value,
    /// Lines of standard output that are no Airbyte message; the platform ignores them.
    pub stray: Vec<String>,
}

/// Message types of the Airbyte protocol that may come before, with and after a SPEC.
const BESIDE_SPEC: [&str; 3] = ["LOG", "TRACE", "CONTROL"];
/// Message types that have no place in the answer to `spec`.
const ELSEWHERE: [&str; 4] = ["RECORD", "STATE", "CATALOG", "CONNECTION_STATUS"];
/// A stray line is shown up to this many characters.
const SHOWN: usize = 200;

/// The spec, or everything that is wrong with the output. `ending` is how a process that did not exit with 0 ended.
pub fn judge(stdout: &str, ending: Option<&str>) -> Result<Spec, Vec<String>> {
    let mut specs = Vec::new();
    let mut stray = Vec::new();
    let mut problems: Vec<String> = ending
        .map(|ending| format!("the container {ending}"))
        .into_iter()
        .collect();
    for line in stdout.lines().filter(|line| !line.trim().is_empty()) {
        let message: Option<Value> = serde_json::from_str(line).ok();
        match message
            .as_ref()
            .and_then(|message| message["type"].as_str())
        {
            Some("SPEC") => specs.extend(message.map(|mut message| message["spec"].take())),
            Some("TRACE") => problems.extend(message.as_ref().and_then(trace_error)),
            Some(kind) if BESIDE_SPEC.contains(&kind) => {}
            Some(kind) if ELSEWHERE.contains(&kind) => {
                problems.push(format!("a {kind} message has no place in a spec"))
            }
            _ => stray.push(line.chars().take(SHOWN).collect()),
        }
    }
    match specs.as_slice() {
        [] => problems.push("no SPEC message was printed".to_owned()),
        [spec] => problems.extend(schema_problems(&spec["connectionSpecification"])),
        _ => problems.push(format!(
            "{} SPEC messages were printed, expected one",
            specs.len()
        )),
    }
    match (problems.is_empty(), specs.pop()) {
        (true, Some(value)) => Ok(Spec { value, stray }),
        _ => {
            problems.extend(
                stray
                    .first()
                    .map(|line| format!("first line that is no Airbyte message: {line}")),
            );
            Err(problems)
        }
    }
}

/// The text of a TRACE message that reports an error.
fn trace_error(message: &Value) -> Option<String> {
    let error = &message["trace"]["error"];
    let text = error["message"]
        .as_str()
        .or(error["internal_message"].as_str())?;
    Some(format!("the connector reported an error: {text}"))
}

/// What keeps `schema` from being a JSON Schema of type object. A schema without `$schema` is read as draft 7,
/// the draft of the Airbyte protocol.
fn schema_problems(schema: &Value) -> Vec<String> {
    if schema.is_null() {
        return vec!["spec.connectionSpecification is missing".to_owned()];
    }
    if !schema.is_object() {
        return vec!["spec.connectionSpecification is not an object".to_owned()];
    }
    let mut problems = Vec::new();
    if schema["type"] != "object" {
        problems.push(format!(
            "spec.connectionSpecification.type is {}, expected \"object\"",
            schema["type"]
        ));
    }
    if let Some(flaw) = json_schema::flaw(schema) {
        problems.push(format!(
            "spec.connectionSpecification{} is not valid JSON Schema: {}",
            flaw.pointer, flaw.why
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"type":"SPEC","spec":{"connectionSpecification":{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"count":{"type":"integer"}}}}}"#;
    const LOG: &str = r#"{"type":"LOG","log":{"level":"INFO","message":"hello"}}"#;

    #[test]
    fn one_spec_among_logs_passes_and_stray_lines_are_kept() {
        let spec = judge(
            &format!("{LOG}\nwarning: something\n{SPEC}\n\n{LOG}\n"),
            None,
        )
        .unwrap();
        assert_eq!(spec.value["connectionSpecification"]["type"], "object");
        assert_eq!(spec.stray, ["warning: something"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let spec = |schema: &str| {
            format!(r#"{{"type":"SPEC","spec":{{"connectionSpecification":{schema}}}}}"#)
        };
        let twice = format!("{SPEC}\n{SPEC}");
        let record = format!("{SPEC}\n{}", r#"{"type":"RECORD","record":{}}"#);
        let trace =
            r#"{"type":"TRACE","trace":{"type":"ERROR","error":{"message":"boom"}}}"#.to_owned();
        for (stdout, ending, expected) in [
            (String::new(), None, "no SPEC message was printed"),
            (LOG.to_owned(), None, "no SPEC message was printed"),
            (
                "Traceback".to_owned(),
                None,
                "first line that is no Airbyte message: Traceback",
            ),
            (
                SPEC.to_owned(),
                Some("exited with 1"),
                "the container exited with 1",
            ),
            (twice, None, "2 SPEC messages were printed, expected one"),
            (record, None, "a RECORD message has no place in a spec"),
            (trace, None, "the connector reported an error: boom"),
            (
                r#"{"type":"SPEC"}"#.to_owned(),
                None,
                "spec.connectionSpecification is missing",
            ),
            (spec("[]"), None, "is not an object"),
            (spec("{}"), None, "type is null, expected \"object\""),
            (
                spec(r#"{"type":"object","properties":{"a":{"type":"strin"}}}"#),
                None,
                "/properties/a/type is not valid JSON Schema",
            ),
            (
                spec(r#"{"type":"object","required":true}"#),
                None,
                "/required is not valid JSON Schema",
            ),
        ] {
            let problems = judge(&stdout, ending).expect_err(expected);
            assert!(
                problems.iter().any(|problem| problem.contains(expected)),
                "{expected}: {problems:?}"
            );
        }
    }
}
