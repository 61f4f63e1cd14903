//! Which image a connector is really built on.

use serde::Serialize;

use crate::model::{config::Config, image::ImageRef};

/// The base image that metadata.yaml declares and the one that is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseImage {
    pub declared: ImageRef,
    pub used: ImageRef,
    pub because: Because,
}

/// Why the image that is used is the declared one or another, as plans and `connector info` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    Declared,
    /// The same image, read from the mirror that configuration names.
    Mirror,
    /// Another image that takes its place: what is built on it is for trying out.
    StandIn,
}

impl BaseImage {
    /// Applies stand-ins (by repository name), then mirrors (the longest prefix of whole path components).
    pub fn resolve(declared: &ImageRef, config: &Config) -> Result<BaseImage, String> {
        let name = declared.name();
        if let Some(stand_in) = config.stand_ins.get(&name) {
            return Ok(BaseImage {
                declared: declared.clone(),
                used: stand_in.clone(),
                because: Because::StandIn,
            });
        }
        let rest = |prefix: &str| {
            name.strip_prefix(prefix)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mirror = config
            .mirrors
            .iter()
            .filter_map(|(prefix, mirror)| Some((prefix, mirror, rest(prefix)?)))
            .max_by_key(|(prefix, ..)| prefix.len());
        let Some((_, mirror, rest)) = mirror else {
            return Ok(BaseImage {
                declared: declared.clone(),
                used: declared.clone(),
                because: Because::Declared,
            });
        };
        let image: ImageRef = format!("{mirror}{rest}")
            .parse()
            .map_err(|error| format!("mirror of {name}: {error}"))?;
        let used = ImageRef {
            tag: declared.tag.clone(),
            digest: declared.digest.clone(),
            ..image
        };
        Ok(BaseImage {
            declared: declared.clone(),
            used,
            because: Because::Mirror,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "@sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916";

    #[test]
    fn mirrors_keep_tag_and_digest_and_stand_ins_do_not() {
        let mut config = Config::default();
        for (prefix, mirror) in [
            ("docker.io", "hub.example"),
            ("docker.io/airbyte", "mirror.example/ab"),
            ("docker.io/air", "no.example"),
        ] {
            config.mirrors.insert(prefix.to_owned(), mirror.to_owned());
        }
        config.stand_ins.insert(
            "docker.io/airbyte/stood".to_owned(),
            "127.0.0.1:5000/airbyte/x:sandbox".parse().unwrap(),
        );
        for (declared, used, because) in [
            (
                "docker.io/airbyte/base:4.0.0",
                "mirror.example/ab/base:4.0.0",
                Because::Mirror,
            ),
            (
                "python:3.11",
                "hub.example/library/python:3.11",
                Because::Mirror,
            ),
            ("ghcr.io/a/b:1", "ghcr.io/a/b:1", Because::Declared),
            (
                "airbyte/stood:9",
                "127.0.0.1:5000/airbyte/x:sandbox",
                Because::StandIn,
            ),
        ] {
            let declared: ImageRef = format!("{declared}{DIGEST}").parse().unwrap();
            let base = BaseImage::resolve(&declared, &config).unwrap();
            let expected = if because == Because::StandIn {
                used.to_owned()
            } else {
                format!("{used}{DIGEST}")
            };
            assert_eq!((base.used.to_string(), base.because), (expected, because));
        }
    }
}
