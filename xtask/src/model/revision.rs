//! What the history says of a connector's directory.

use serde::Serialize;

/// The commit an image is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revision {
    /// Full commit id of HEAD.
    pub commit: String,
    /// Whether the connector's directory differs from that commit.
    pub dirty: bool,
    /// When the newest commit that touched the directory was made.
    pub changed: Option<Changed>,
    /// Address of the remote `origin` over https, without credentials.
    pub source: Option<String>,
}

/// One moment, written twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Seconds since 1970, as SOURCE_DATE_EPOCH wants it.
    pub epoch: u64,
    /// RFC 3339 in UTC, as `org.opencontainers.image.created` wants it.
    pub date: String,
    /// The clone's history ends at that commit, so an older one may be meant.
    pub cut_off: bool,
}
