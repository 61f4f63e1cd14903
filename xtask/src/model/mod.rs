//! Values that cannot be wrong. Parsing is the only way in; nothing here reads or writes anything.

pub mod change;
pub mod config;
pub mod connector;
pub mod constraint;
pub mod dependency;
pub mod hash;
pub mod image;
pub mod lock;
pub mod metadata;
pub mod platform;
pub mod problem;
pub mod pyproject;
pub mod revision;
pub mod shard;
pub mod target;
pub mod wheel;
