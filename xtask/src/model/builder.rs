//! What makes an image out of a build plan.

use std::{fmt, str::FromStr};

use super::text::as_text;

/// Who is asked to make images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Builder {
    /// Assembled where no command has to run in the image, else docker's own builder.
    Auto,
    /// xtask itself: the base's layers, layers of whole wheels, one layer of the connector's own.
    Assemble,
    /// docker buildx and its builder of the moment.
    Docker,
    /// docker buildx and the builder of this name.
    Named(String),
}

impl FromStr for Builder {
    type Err = String;

    fn from_str(text: &str) -> Result<Builder, String> {
        // As buildx names builders; nothing that it could take for a flag.
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match text {
            "auto" => Ok(Builder::Auto),
            "assemble" => Ok(Builder::Assemble),
            "docker" => Ok(Builder::Docker),
            name if name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(valid) =>
            {
                Ok(Builder::Named(name.to_owned()))
            }
            _ => Err(format!(
                "`{text}` is no builder (auto, assemble, docker, or the name of one of buildx's)"
            )),
        }
    }
}

impl fmt::Display for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Builder::Auto => "auto",
            Builder::Assemble => "assemble",
            Builder::Docker => "docker",
            Builder::Named(name) => name,
        })
    }
}

as_text!(Builder);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_is_a_word_or_a_name() {
        for (text, expected) in [
            ("auto", Some(Builder::Auto)),
            ("assemble", Some(Builder::Assemble)),
            ("docker", Some(Builder::Docker)),
            ("cloud-1.eu", Some(Builder::Named("cloud-1.eu".into()))),
            ("", None),
            ("--push", None),
            ("a b", None),
        ] {
            let parsed = text.parse::<Builder>().ok();
            assert_eq!(parsed, expected, "{text}");
            assert!(parsed.is_none_or(|builder| builder.to_string() == text));
        }
    }
}
