//! Pure decisions from values to values: no I/O, no clock, no environment. Imports only `model`.

pub mod assembly;
pub mod backend;
pub mod base_image;
pub mod base_update;
pub mod bench;
pub mod build;
pub mod bump;
pub mod changelog;
pub mod checks;
pub mod dependencies;
pub mod entry_point;
pub mod exceptions;
pub mod messages;
pub mod package;
pub mod path_dependencies;
pub mod prerequisites;
pub mod publish;
pub mod published;
pub mod scan;
pub mod selection;
pub mod spec;
pub mod spec_batch;
pub mod verify;
