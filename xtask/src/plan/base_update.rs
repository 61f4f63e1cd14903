//! Whether a connector's base image is the newest one.

use semver::Version;
use serde::Serialize;

use crate::model::image::{Digest, ImageRef};

/// How a base image stands to the newest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// No base image is declared.
    None,
    Current,
    Behind {
        newest: ImageRef,
    },
    /// The registry could not be asked, or metadata.yaml not be read.
    Unknown {
        why: String,
    },
}

/// The highest version among tags; pre-releases and what is no version do not count.
pub fn newest<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<Version> {
    let release = |tag: &str| {
        let version = Version::parse(tag).ok()?;
        (version.pre.is_empty() && version.build.is_empty()).then_some(version)
    };
    tags.into_iter().filter_map(release).max()
}

/// The tag to take: the newest version, or the declared tag itself where that is no lower.
pub fn tag(declared: &ImageRef, tags: &[String]) -> Option<String> {
    let now = declared.tag.as_ref().map(ToString::to_string);
    let newest = newest(tags.iter().map(String::as_str));
    match (now.as_deref().map(Version::parse), newest) {
        (Some(Ok(now)), Some(newest)) if now >= newest => Some(now.to_string()),
        (_, Some(newest)) => Some(newest.to_string()),
        // Without any version the tag may have moved.
        (_, None) => now,
    }
}

/// Compares a base image with a tag and what the registry has under it.
pub fn standing(declared: &ImageRef, tag: &str, digest: Digest) -> Result<Standing, String> {
    let newest = ImageRef {
        tag: Some(tag.parse()?),
        digest: Some(digest),
        ..declared.clone()
    };
    Ok(match newest == *declared {
        true => Standing::Current,
        false => Standing::Behind { newest },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_taken_and_never_an_older_one() {
        for (declared, tags, expected) in [
            (
                "a/b:1.2.0",
                &[
                    "1.2.0",
                    "1.10.0",
                    "1.9.0",
                    "2.0.0-rc.1",
                    "latest",
                    "3.0.0+x",
                ][..],
                Some("1.10.0"),
            ),
            ("a/b:2.0.0", &["1.10.0"], Some("2.0.0")),
            ("a/b:2.0.0-rc.1", &["1.10.0"], Some("2.0.0-rc.1")),
            ("a/b:latest", &["latest", "1.0.0"], Some("1.0.0")),
            ("a/b:latest", &["latest"], Some("latest")),
            ("a/b", &[], None),
        ] {
            let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            assert_eq!(
                tag(&declared.parse().unwrap(), &tags).as_deref(),
                expected,
                "{declared}"
            );
        }
    }

    #[test]
    fn another_digest_under_the_same_tag_is_newer() {
        let digest = Digest::of(b"now");
        let image = |digest: &Digest| -> ImageRef {
            format!("r.example/a/b:1.0.0@{digest}").parse().unwrap()
        };
        let now = image(&digest);
        let same = standing(&now, "1.0.0", digest.clone()).unwrap();
        assert_eq!(same, Standing::Current);
        let old = standing(&image(&Digest::of(b"old")), "1.0.0", digest).unwrap();
        assert_eq!(old, Standing::Behind { newest: now });
    }
}
