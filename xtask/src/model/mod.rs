//! Values that cannot be wrong. Parsing is the only way in; nothing here reads or writes anything.

pub mod build_system;
pub mod change;
pub mod config;
pub mod connector;
pub mod connector_files;
pub mod constraint;
pub mod date;
pub mod definition;
pub mod dependency;
pub mod finding;
pub mod hash;
pub mod image;
pub mod index_page;
pub mod lock;
pub mod locked_file;
pub mod machine_code;
pub mod manifest;
pub mod metadata;
pub mod platform;
pub mod problem;
pub mod pyproject;
pub mod revision;
pub mod shard;
pub mod target;
pub mod wheel;
pub mod yaml;
