//! What a container is started with.

/// The part of an image's configuration (OCI image specification 1.1) that its processes see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunAs {
    pub user: String,
    pub work_directory: String,
    pub entry_point: Vec<String>,
    /// `NAME=VALUE`.
    pub variables: Vec<String>,
}
