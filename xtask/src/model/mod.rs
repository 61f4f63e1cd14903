//! Values that cannot be wrong. Parsing is the only way in; nothing here reads or writes anything.

pub mod attestation;
pub mod base_package;
pub mod bench;
pub mod build_system;
pub mod builder;
pub mod change;
pub mod config;
pub mod connector;
pub mod connector_files;
pub mod constraint;
pub mod date;
pub mod definition;
pub mod dependency;
pub mod evidence;
pub mod exposure;
pub mod finding;
#[cfg(test)]
mod generated_tests;
pub mod hash;
pub mod ignored_files;
pub mod image;
pub mod index_page;
pub mod json_schema;
pub mod layer;
pub mod lock;
pub mod locked_file;
pub mod machine_code;
pub mod manifest;
pub mod manifest_document;
pub mod metadata;
pub mod platform;
pub mod problem;
pub mod published_layers;
pub mod pyproject;
#[cfg(test)]
pub mod random;
pub mod release;
pub mod revision;
pub mod run_as;
pub mod shard;
pub mod spec_runs;
pub mod step;
pub mod target;
mod text;
pub mod vulnerability;
pub mod wheel;
pub mod yaml;
