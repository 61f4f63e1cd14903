//! `cache`: what the wheel store holds, and clearing it.

use std::{
    num::NonZeroUsize,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Context;
use crate::{
    flags::{Cache, CachePrune, Json},
    model::problem::{Exit, Problem},
    report::table,
    tools::{registry::Arrived, wheel_cache::WheelCache, wheel_store::WheelStore, work::each},
};

/// Wheels that move at a time.
const UPLOADS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// What a push did.
#[derive(Debug, Default, Serialize)]
struct Copied {
    pushed: usize,
    /// Wheels that were there already.
    existed: usize,
}

pub fn run(context: &Context, flags: &Cache) -> Result<Exit> {
    let store = WheelStore::open(&context.repo.store())?;
    match flags {
        Cache::Size(flags) => size(context, &store, flags),
        Cache::Prune(flags) => prune(context, &store, flags),
        Cache::Push(flags) => push(context, &store, flags),
    }
}

fn push(context: &Context, store: &WheelStore, flags: &Json) -> Result<Exit> {
    let image = context.resolved.config.wheel_cache()?.ok_or_else(|| {
        Problem::usage("no repository to push wheels to is configured")
            .help("set `wheel-cache` to a repository such as ghcr.io/org/wheels")
    })?;
    let report = context.report;
    let cache = WheelCache::open(image.clone(), |line: &str| report.note(line))?;
    let step = context.report.step(format!("wheels to {image}"));
    let arrived = each(&store.all_built()?, UPLOADS, |(key, path)| {
        step.busy(key);
        cache
            .push(key, path)
            .with_context(|| format!("push {key} to {image}"))
    });
    let mut copied = Copied::default();
    for arrived in arrived {
        match arrived? {
            Arrived::Existed => copied.existed += 1,
            Arrived::Uploaded | Arrived::Mounted => copied.pushed += 1,
        }
    }
    step.done(format_args!("{} new", copied.pushed));
    if flags.json {
        context.report.json(&copied)?;
    } else {
        context.report.result(format_args!(
            "pushed {} wheels to {image}, {} were there",
            copied.pushed, copied.existed
        ));
    }
    Ok(Exit::Success)
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
