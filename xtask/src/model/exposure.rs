//! A vulnerability as it concerns a connector: who can mend it, and whether it counts.

use serde::Serialize;

use super::{date::Date, platform::Platform, vulnerability::Vulnerability};

/// Where a vulnerable package comes from, which decides who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// What the connector itself brings: its lock file.
    Connector,
    BaseImage,
    /// The base image's layers are not known.
    Unknown,
}

impl Origin {
    /// In words, for what people read; in JSON it is `base-image`.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Connector => "connector",
            Origin::BaseImage => "base image",
            Origin::Unknown => "unknown",
        }
    }

    /// What mends it.
    pub fn remedy(self) -> &'static str {
        match self {
            Origin::Connector => "lock a newer version (`poetry lock` or `uv lock`)",
            Origin::BaseImage => {
                "move connectorBuildOptions.baseImage in metadata.yaml to a newer base image"
            }
            Origin::Unknown => "lock a newer version, or move to a newer base image",
        }
    }
}

/// Whether a vulnerability counts, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    Counts,
    BelowCutoff,
    /// No newer version is without it, and only those count that one is.
    NotFixed,
    Ignored {
        reason: String,
        until: Date,
    },
}

/// One vulnerable package of an image, on the platforms it was found on.
#[derive(Debug, Clone, Serialize)]
pub struct Exposure {
    #[serde(flatten)]
    pub vulnerability: Vulnerability,
    pub platforms: Vec<Platform>,
    pub origin: Origin,
    #[serde(flatten)]
    pub standing: Standing,
    /// Whether the image at `latest` is without it; None when that is not known.
    pub new: Option<bool>,
    /// Where it is mended: the line, from 1, of the lock file that pins it or of metadata.yaml that names the base image.
    pub line: Option<usize>,
}
