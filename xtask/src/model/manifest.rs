//! manifest.yaml of a manifest-only connector, as far as its image depends on it.

use serde::Deserialize;

/// What every declarative source has (the CDK's `declarative_component_schema.yaml`); the CDK judges the rest.
#[derive(Debug, Deserialize)]
struct DeclarativeSource {
    #[serde(rename = "type")]
    kind: String,
    /// Version of the CDK that the manifest was written for.
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "check")]
    _check: serde_yaml::Mapping,
}

/// An error, with line and column where they are known, when the text is no declarative source: the image would be
/// built and its `spec` fail.
pub fn check(text: &str) -> Result<(), String> {
    let source: DeclarativeSource =
        serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    match source.kind.as_str() {
        "DeclarativeSource" => Ok(()),
        kind => Err(format!("type is {kind}, expected DeclarativeSource")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_declarative_source_passes() {
        let good = "version: 6.1.0\ntype: DeclarativeSource\ncheck:\n  type: CheckStream\n";
        assert_eq!(check(good), Ok(()));
        for (text, expected) in [
            ("", "missing field `type`"),
            ("a: [b\nc: d\n", "line 2 column 2"),
            ("version: 6.1.0\ntype: Spec\ncheck: {}\n", "type is Spec"),
            (
                "type: DeclarativeSource\nversion: 6.1.0\n",
                "missing field `check`",
            ),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
