//! JSON Schemas: what does not fit one, and what keeps a value from being one.

use std::{collections::BTreeSet, error::Error, fmt, sync::LazyLock};

use boon::{Compiler, Draft, ErrorKind, SchemaIndex, Schemas, Type, UrlLoader, ValidationError};
use serde_json::Value;

/// A compiled schema; of draft 7, the draft of the Airbyte protocol, unless it says another.
pub struct JsonSchema {
    schemas: Schemas,
    top: SchemaIndex,
}

/// One thing about a value that its schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// JSON pointer to the value.
    pub pointer: String,
    pub why: Why,
}

/// Why a value does not fit. Its text says what is wrong and not where: that is for the pointer to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    UnknownKeys(BTreeSet<String>),
    Missing(Vec<String>),
    /// A key that may not be called so. The pointer is that of nothing: the validator does not tell.
    KeyName(String),
    Type {
        value: String,
        wanted: Vec<String>,
    },
    Format {
        value: String,
        format: &'static str,
    },
    Other(String),
}

impl Why {
    /// Whether an object was wanted and is not there.
    pub fn is_no_object(&self) -> bool {
        matches!(self, Why::Type { wanted, .. } if wanted.as_slice() == ["object"])
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::UnknownKeys(keys) => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                write!(f, "unknown keys {}", keys.join(", "))
            }
            Why::Missing(keys) => write!(f, "{} missing", keys.join(", ")),
            Why::KeyName(key) => write!(f, "no key may be called `{key}`"),
            Why::Type { value, wanted } => {
                let wanted: Vec<String> = wanted.iter().map(|kind| format!("\"{kind}\"")).collect();
                write!(f, "{value} is not of type {}", wanted.join(" or "))
            }
            Why::Format { value, format } => write!(f, "{value} is not a {format}"),
            Why::Other(said) => f.write_str(said),
        }
    }
}

/// A schema that refers to another document is none that can be judged here: nothing is read from disk or fetched.
struct Nowhere;

impl UrlLoader for Nowhere {
    fn load(&self, url: &str) -> Result<Value, Box<dyn Error>> {
        Err(format!("{url} is not fetched").into())
    }
}

const OWN: &str = "schema:own";
const DRAFT_7: &str = "http://json-schema.org/draft-07/schema";

impl JsonSchema {
    /// None where `schema` is none, or refers to what is not in it.
    pub fn new(schema: &Value) -> Option<JsonSchema> {
        JsonSchema::compile(OWN, Some(schema))
    }

    fn compile(url: &str, schema: Option<&Value>) -> Option<JsonSchema> {
        let mut compiler = Compiler::new();
        compiler.use_loader(Box::new(Nowhere));
        compiler.set_default_draft(Draft::V7);
        if let Some(schema) = schema {
            compiler.add_resource(url, schema.clone()).ok()?;
        }
        let mut schemas = Schemas::new();
        let top = compiler.compile(url, &mut schemas).ok()?;
        Some(JsonSchema { schemas, top })
    }

    /// All that keeps `value` from fitting, in no particular order.
    pub fn misfits(&self, value: &Value) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        if let Err(error) = self.schemas.validate(value, self.top) {
            gather(value, &error, &mut misfits);
        }
        misfits
    }
}

/// What keeps a value from being a JSON Schema, by the draft that it says it is of.
pub fn flaw(schema: &Value) -> Option<Misfit> {
    static USUAL: LazyLock<JsonSchema> = LazyLock::new(|| {
        JsonSchema::compile(DRAFT_7, None).expect("the draft is part of the program")
    });
    let said = schema["$schema"].as_str();
    let known = said.filter(|url| Draft::from_url(url).is_some());
    let draft = known.and_then(|url| JsonSchema::compile(url, None));
    let misfits = draft.as_ref().unwrap_or(&USUAL).misfits(schema);
    misfits.into_iter().next()
}

fn gather(value: &Value, error: &ValidationError<'_, '_>, misfits: &mut Vec<Misfit>) {
    let pointer = error.instance_location.to_string();
    let shown = || {
        value
            .pointer(&pointer)
            .map(Value::to_string)
            .unwrap_or_default()
    };
    let why = match &error.kind {
        ErrorKind::AdditionalProperties { got } => {
            Why::UnknownKeys(got.iter().map(ToString::to_string).collect())
        }
        ErrorKind::Required { want } => {
            Why::Missing(want.iter().map(ToString::to_string).collect())
        }
        ErrorKind::PropertyName { prop } => Why::KeyName(prop.clone()),
        ErrorKind::Type { want, .. } => Why::Type {
            value: shown(),
            wanted: want.iter().map(|kind: Type| kind.to_string()).collect(),
        },
        ErrorKind::Format { want, .. } => Why::Format {
            value: shown(),
            format: want,
        },
        ErrorKind::Enum { want } => {
            let wanted: Vec<String> = want.iter().map(Value::to_string).collect();
            Why::Other(format!("{} is not one of {}", shown(), wanted.join(", ")))
        }
        // Of alternatives it is not known which one was meant.
        kind @ (ErrorKind::AnyOf | ErrorKind::OneOf(_) | ErrorKind::Not) => {
            Why::Other(format!("{} fits none that is allowed ({kind})", shown()))
        }
        _ if !error.causes.is_empty() => {
            for cause in &error.causes {
                gather(value, cause, misfits);
            }
            return;
        }
        kind => Why::Other(kind.to_string()),
    };
    misfits.push(Misfit { pointer, why });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_misfit_has_its_place_and_reason() {
        let schema = json!({
            "type": "object", "required": ["id", "name"], "additionalProperties": false,
            "properties": {
                "id": {"type": ["integer", "null"]}, "name": {"$ref": "#/definitions/name"}, "on": {"format": "date"},
                "kinds": {"type": "array", "items": {"enum": ["a", "b"]}}, "by": {"propertyNames": {"pattern": "^x"}},
                "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "definitions": {"name": {"type": "string", "minLength": 2}},
        });
        let schema = JsonSchema::new(&schema).unwrap();
        for (value, expected) in [
            (
                json!({"id": null, "name": "ok", "on": "2026-01-31"}),
                vec![],
            ),
            (json!([]), vec![" [] is not of type \"object\""]),
            (json!({"id": 1}), vec![" name missing"]),
            (
                json!({"id": "1", "name": "x", "on": "2026-02-30", "kinds": ["a", "c"], "more": 1}),
                vec![
                    " unknown keys more",
                    "/id \"1\" is not of type \"null\" or \"integer\"",
                    "/kinds/1 \"c\" is not one of \"a\", \"b\"",
                    "/name length must be >=2, but got 1",
                    "/on \"2026-02-30\" is not a date",
                ],
            ),
            (
                json!({"id": 1, "name": "ok", "by": {"y": 1}, "either": 1}),
                vec![
                    " no key may be called `y`",
                    "/either 1 fits none that is allowed (anyOf failed)",
                ],
            ),
        ] {
            let misfits = schema.misfits(&value);
            let mut said: Vec<String> = misfits
                .iter()
                .map(|misfit| format!("{} {}", misfit.pointer, misfit.why))
                .collect();
            said.sort();
            assert_eq!(said, expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_schema_is_told_by_its_own_draft() {
        let flaw_of = |schema: Value| flaw(&schema).map(|flaw| flaw.pointer);
        assert_eq!(flaw_of(json!({"type": "object"})), None);
        assert_eq!(
            flaw_of(json!({"properties": {"a": {"type": "strin"}}})).as_deref(),
            Some("/properties/a/type")
        );
        assert_eq!(
            flaw_of(json!({"required": true})).as_deref(),
            Some("/required")
        );
        // Draft 4 has it, later drafts do not.
        let old = |draft: &str| {
            flaw_of(json!({"$schema": draft, "exclusiveMinimum": true, "minimum": 1}))
        };
        assert_eq!(old("http://json-schema.org/draft-04/schema#"), None);
        for draft in [
            "https://json-schema.org/draft-07/schema#",
            "http://unknown.invalid/",
        ] {
            assert_eq!(old(draft).as_deref(), Some("/exclusiveMinimum"), "{draft}");
        }
        // Neither what a reference leads to nor where it leads matters to that.
        assert_eq!(
            flaw_of(json!({"$ref": "http://unknown.invalid/x.json"})),
            None
        );
        for elsewhere in [
            "http://unknown.invalid/x.json",
            "file:///etc/hostname",
            "#/definitions/none",
        ] {
            assert!(
                JsonSchema::new(&json!({"$ref": elsewhere})).is_none(),
                "{elsewhere}"
            );
        }
    }
}
