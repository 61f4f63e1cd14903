//! What publishing a connector comes to: under which tag, from what the registry holds, in which steps.

pub mod latest;
pub mod request;
pub mod steps;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::model::{
    image::Digest,
    platform::{self, Platform},
    release::{Existing, Mode},
};

/// What the registry holds under a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
pub enum Found {
    /// The registry could not be asked.
    Unknown {
        because: String,
    },
    Absent,
    There {
        digest: Digest,
        /// The configured platforms whose image is really there.
        platforms: Vec<Platform>,
        missing: Vec<Platform>,
    },
}

impl Found {
    /// A version exists when every configured platform is there.
    pub fn exists(&self) -> bool {
        matches!(self, Found::There { missing, .. } if missing.is_empty())
    }

    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Found::There { digest, .. } => Some(digest),
            _ => None,
        }
    }

    /// As a line for the reader.
    pub fn describe(&self) -> String {
        match self {
            Found::Unknown { because } => format!("assumed not to be there: {because}"),
            Found::Absent => "not there".to_owned(),
            Found::There {
                digest, missing, ..
            } if missing.is_empty() => format!("there as {digest}"),
            Found::There {
                digest,
                platforms,
                missing,
            } => format!(
                "partly there as {digest}: {} without {}",
                if platforms.is_empty() {
                    "an index".to_owned()
                } else {
                    platform::join(platforms)
                },
                platform::join(missing)
            ),
        }
    }
}

/// What the package index has of a connector's Python package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
pub enum Package {
    /// The connector is not published as one.
    None,
    Exists {
        name: String,
    },
    Missing {
        name: String,
    },
    /// The index could not be asked, or nobody had to.
    Unknown {
        because: String,
    },
}

/// What is to be done about a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Build and test without pushing.
    Try,
    Publish,
    /// Put the whole of it where only a part arrived.
    Repair,
    /// Overwrite what is there, as force says.
    Replace,
    /// The version exists.
    Keep,
    /// The tag no longer holds what was published under it.
    Refuse,
}

impl Action {
    /// What has to be done, given what is there. `published` is the digest that this repository last published under the
    /// tag, when that is known.
    pub fn decide(
        mode: Mode,
        existing: Existing,
        found: &Found,
        published: Option<&Digest>,
    ) -> Action {
        match (mode, found, existing) {
            (Mode::DryRun, ..) => Action::Try,
            (_, Found::Unknown { .. }, _) => Action::Refuse,
            (_, Found::Absent, _) => Action::Publish,
            (_, _, Existing::Replace) => Action::Replace,
            (_, Found::There { missing, .. }, _) if !missing.is_empty() => Action::Repair,
            (_, Found::There { digest, .. }, _) if published.is_some_and(|ours| ours != digest) => {
                Action::Refuse
            }
            _ => Action::Keep,
        }
    }

    pub fn builds(self) -> bool {
        !matches!(self, Action::Keep | Action::Refuse)
    }

    pub fn pushes(self) -> bool {
        self.builds() && self != Action::Try
    }
}

/// Whether a version's tag may be set to `ours`, now that the registry holds `now` under it.
pub fn may_tag(
    action: Action,
    planned: &Found,
    now: Option<&Digest>,
    ours: &Digest,
) -> Result<Tagging, Digest> {
    match now {
        None => Ok(Tagging::Set),
        Some(now) if now == ours => Ok(Tagging::IsSet),
        Some(now) if action == Action::Replace => Ok(Tagging::Replace(now.clone())),
        Some(now) if action == Action::Repair && planned.digest() == Some(now) => {
            Ok(Tagging::Replace(now.clone()))
        }
        Some(now) => Err(now.clone()),
    }
}

/// What setting a version's tag does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tagging {
    Set,
    /// It stands where it should.
    IsSet,
    /// It stood on this digest.
    Replace(Digest),
}
