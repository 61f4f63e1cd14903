//! What an engine of the repository's own consists of, one file a part: containerd and dockerd, a registry,
//! emulation, base images. Everything lies under target/sandbox.

mod apt_sources;
pub mod base_images;
pub mod binfmt;
mod daemon;
pub mod engine;
pub mod layout;
pub mod mounts;
pub mod network;
pub mod packages;
pub mod registry;
