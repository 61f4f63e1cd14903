//! Where the tag latest goes: forward only.

use std::cmp::Ordering;

use semver::Version;

use crate::model::{
    image::Digest,
    release::{Existing, Latest, ReleaseType},
};

/// What the tag latest points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatestNow {
    Absent,
    There {
        digest: Digest,
        /// What the image says it is; None when it says nothing.
        version: Option<Version>,
    },
}

/// What happens to the tag latest, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatestMove {
    Move(String),
    Stay(String),
    /// It points to the right image.
    IsThere,
}

/// Why a release never becomes latest, whatever the registry holds; None when it may.
pub fn never(
    version: &Version,
    latest: Latest,
    release: ReleaseType,
    overridden: bool,
) -> Option<String> {
    if latest == Latest::Leave {
        Some("it was not asked for (--push-latest)".to_owned())
    } else if overridden {
        Some("an image under a tag of its own (--tag-override) is never latest".to_owned())
    } else if release == ReleaseType::PreRelease {
        Some("a pre-release is never latest".to_owned())
    } else if !version.pre.is_empty() {
        Some(format!("{version} is a pre-release, which is never latest"))
    } else {
        None
    }
}

/// Whether latest moves to `ours`, the digest of `version`.
pub fn decide(version: &Version, ours: &Digest, now: &LatestNow, existing: Existing) -> LatestMove {
    let (digest, theirs) = match now {
        LatestNow::Absent => return LatestMove::Move("there is no latest yet".to_owned()),
        LatestNow::There { digest, version } => (digest, version),
    };
    if digest == ours {
        return LatestMove::IsThere;
    }
    let forced = existing == Existing::Replace;
    match theirs {
        None if forced => LatestMove::Move(format!("forced; {digest} says no version")),
        None => LatestMove::Stay(format!(
            "it is {digest}, which says no version, so nothing tells whether {version} is newer; --force-publish moves it"
        )),
        Some(theirs) => match theirs.cmp_precedence(version) {
            Ordering::Less => LatestMove::Move(format!("forward from {theirs}")),
            Ordering::Equal => {
                LatestMove::Move(format!("to this image of {version}, from {digest}"))
            }
            Ordering::Greater if forced => LatestMove::Move(format!("forced, back from {theirs}")),
            Ordering::Greater => LatestMove::Stay(format!(
                "it is {theirs}, which is newer; --force-publish moves it"
            )),
        },
    }
}
