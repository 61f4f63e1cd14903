//! What day it is.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::model::{date::Date, problem::Problem};

/// The day in UTC. `SOURCE_DATE_EPOCH` overrides the clock, as in every reproducible build.
pub fn today() -> Result<Date> {
    let now = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse().map_err(|_| {
            Problem::usage(format!(
                "SOURCE_DATE_EPOCH: `{text}` is not a number of seconds"
            ))
        })?,
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("read the clock")?
            .as_secs(),
    };
    Ok(Date::from_unix(now))
}
