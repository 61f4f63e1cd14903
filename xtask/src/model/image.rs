//! Image references and digests, as the OCI distribution specification and docker write them.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use super::text::as_text;

/// A content digest: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::finish(Sha256::new_with_prefix(bytes))
    }

    /// The digest of what was hashed.
    pub fn finish(hasher: Sha256) -> Digest {
        Digest(format!("sha256:{:x}", hasher.finalize()))
    }

    /// The digits alone, as a file name.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Digest, String> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Digest(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not a digest (expected sha256: and 64 hexadecimal digits)"
            ))
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image tag: at most 128 characters of `[A-Za-z0-9_.-]`, the first no `.` or `-`
/// (OCI distribution specification, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Tag, String> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if (1..=128).contains(&text.len())
            && text.bytes().all(valid)
            && !text.starts_with(['.', '-'])
        {
            Ok(Tag(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not a valid image tag (at most 128 of A-Z a-z 0-9 _ . -, not starting with . or -)"
            ))
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[registry/]repository[:tag][@digest]`. A name without a registry is docker.io's, as docker reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    /// Host, with its port when there is one.
    pub registry: String,
    /// Path below the registry, such as `airbyte/source-faker`.
    pub repository: String,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

impl ImageRef {
    /// The reference without its digest.
    pub fn without_digest(self) -> ImageRef {
        ImageRef {
            digest: None,
            ..self
        }
    }

    /// What `digest` names in the same repository, whatever a tag points to.
    pub fn at(&self, digest: &Digest) -> ImageRef {
        ImageRef {
            tag: None,
            digest: Some(digest.clone()),
            ..self.clone()
        }
    }

    /// Registry and repository without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for ImageRef {
    type Err = String;

    fn from_str(text: &str) -> Result<ImageRef, String> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it belongs to a registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse()?)),
            _ => (rest, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, path.to_owned())
            }
            Some(_) => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        let component = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
                })
        };
        let host = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'))
        };
        if !host(registry) || !repository.split('/').all(component) {
            return Err(format!(
                "`{text}` is not an image reference (expected [registry/]repository[:tag][@sha256:digest])"
            ));
        }
        Ok(ImageRef {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

as_text!(Digest, Tag, ImageRef);

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916";

    #[test]
    fn reads_references_as_docker_does() {
        let with_digest = format!("docker.io/airbyte/python-connector-base:4.0.0@{DIGEST}");
        for (text, normal) in [
            ("python", "docker.io/library/python"),
            (
                "airbyte/source-faker:dev",
                "docker.io/airbyte/source-faker:dev",
            ),
            ("localhost/a:1", "localhost/a:1"),
            (
                "127.0.0.1:5000/airbyte/source-faker:6.2.21-rc.1",
                "127.0.0.1:5000/airbyte/source-faker:6.2.21-rc.1",
            ),
            (with_digest.as_str(), with_digest.as_str()),
        ] {
            assert_eq!(
                text.parse::<ImageRef>().map(|image| image.to_string()),
                Ok(normal.to_owned())
            );
        }
    }

    #[test]
    fn refuses_what_a_registry_would() {
        for text in [
            "",
            "UPPER/case",
            "a b",
            "a:",
            "a:-x",
            "a@sha256:12",
            "a//b",
            "-a/b",
            "a/b;rm",
            "a:t@md5:00",
            "null/",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
    }
}
