//! Effects, one file a program or service. Nothing here knows of plans.

pub mod buildx;
pub mod docker;
pub mod docker_images;
pub mod git;
pub mod grype;
pub mod host;
pub mod interpreter;
pub mod process;
pub mod pull_request;
pub mod registry;
pub mod sandbox;
pub mod uv;
