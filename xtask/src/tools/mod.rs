//! Effects, one file a program or service. Nothing here knows of plans.

pub mod buildx;
pub mod docker;
pub mod docker_images;
pub mod files;
pub mod git;
pub mod github;
pub mod grype;
pub mod host;
pub mod http;
pub mod index_addresses;
pub mod interpreter;
pub mod layout;
pub mod machine_check;
pub mod manifest_check;
pub mod package_index;
pub mod pip;
pub mod poe;
pub mod process;
pub mod pull_request;
pub mod python_environment;
pub mod registry;
pub mod retry;
pub mod run_record;
pub mod sandbox;
pub mod syft;
#[cfg(test)]
pub mod test_server;
pub mod uv;
pub mod wheel_builder;
pub mod wheel_cache;
pub mod wheel_file;
pub mod wheel_store;
pub mod work;
pub mod workflow_lint;
