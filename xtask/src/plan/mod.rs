//! Pure decisions from values to values: no I/O, no clock, no environment. Imports only `model`.

pub mod base_image;
pub mod build;
#[allow(
    dead_code,
    unused_imports,
    reason = "until `connector info` and `build` read locks"
)]
pub mod dependencies;
#[allow(
    dead_code,
    unused_imports,
    reason = "until `connector info` and `build` read locks"
)]
pub mod entry_point;
pub mod published;
pub mod spec;
