//! `cache`: what the wheel store holds, and clearing it.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::Context;
use crate::{
    flags::{Cache, CachePrune, Json},
    model::problem::Exit,
    report::table,
    tools::wheel_store::WheelStore,
};

pub fn run(context: &Context, flags: &Cache) -> Result<Exit> {
    let store = WheelStore::open(&context.repo.store())?;
    match flags {
        Cache::Size(flags) => size(context, &store, flags),
        Cache::Prune(flags) => prune(context, &store, flags),
    }
}

fn size(context: &Context, store: &WheelStore, flags: &Json) -> Result<Exit> {
    let size = store.size()?;
    if flags.json {
        context.report.json(&size)?;
        return Ok(Exit::Success);
    }
    let rows = [
        ("fetched", size.fetched),
        ("built", size.built),
        ("partial", size.partial),
    ];
    let rows = rows.map(|(what, usage)| {
        vec![
            what.to_owned(),
            usage.files.to_string(),
            megabytes(usage.bytes),
        ]
    });
    context
        .report
        .result(table(&["KIND", "FILES", "SIZE"], &rows));
    context
        .report
        .note(format_args!("in {}", context.repo.store()));
    Ok(Exit::Success)
}

fn prune(context: &Context, store: &WheelStore, flags: &CachePrune) -> Result<Exit> {
    let age = if flags.all {
        Duration::ZERO
    } else {
        Duration::from_secs(flags.days.saturating_mul(24 * 3600))
    };
    let now = SystemTime::now();
    let freed = store.prune(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))?;
    if flags.output.json {
        context.report.json(&freed)?;
    } else {
        context.report.result(format_args!(
            "removed {} files, {}",
            freed.files,
            megabytes(freed.bytes)
        ));
    }
    Ok(Exit::Success)
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
