//! `connector info`: all that is known of one connector.

use anyhow::Result;

use super::Context;
use crate::{flags::Info, model::problem::Exit};

pub fn run(_context: &Context, _flags: &Info) -> Result<Exit> {
    todo!()
}
