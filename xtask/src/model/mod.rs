//! Values that cannot be wrong. Parsing is the only way in; nothing here reads or writes anything.

pub mod config;
pub mod connector;
pub mod image;
pub mod metadata;
pub mod platform;
pub mod problem;
pub mod revision;
