//! Values that cannot be wrong. Parsing is the only way in; nothing here reads or writes anything.

pub mod config;
pub mod connector;
#[allow(dead_code, reason = "until `connector info` and `build` read locks")]
pub mod constraint;
#[allow(dead_code, reason = "until `connector info` and `build` read locks")]
pub mod dependency;
#[allow(dead_code, reason = "until `connector info` and `build` read locks")]
pub mod hash;
pub mod image;
#[allow(dead_code, reason = "until `connector info` and `build` read locks")]
pub mod lock;
pub mod metadata;
pub mod platform;
pub mod problem;
#[allow(dead_code, reason = "until `connector info` and `build` read locks")]
pub mod pyproject;
pub mod revision;
#[allow(dead_code, reason = "until `connector info` and `build` read locks")]
pub mod target;
#[allow(dead_code, reason = "until `connector info` and `build` read locks")]
pub mod wheel;
