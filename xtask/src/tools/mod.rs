//! Effects, one file a program or service. Nothing here knows of plans.

pub mod process;
