//! `cache`: what the store holds, and clearing it.

use std::{
    cmp::Reverse,
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
    tools::{
        base_store, evidence, layer_store,
        registry::Arrived,
        store_lock::StoreLock,
        wheel_cache::WheelCache,
        wheel_store::{Usage, WheelStore},
        work::each,
    },
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

/// Says what the store takes up, prunes it, or pushes the wheels built here. Ends with 2 when there is no repository to
/// push to; a prune beside a build leaves wheels and layers, warns, and ends with 0.
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
    // Whoever prunes waits until all is read.
    let _lock = StoreLock::shared(&context.repo.store())?;
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

/// What each part of the store takes up.
#[derive(Debug, Default, Serialize)]
struct Parts {
    fetched: Usage,
    built: Usage,
    partial: Usage,
    /// Wheels of connectors themselves.
    own: Usage,
    layers: Usage,
    /// Documents of base images.
    bases: Usage,
    /// What the lists of images' contents are made of.
    evidence: Usage,
}

impl Parts {
    fn rows(&self) -> [(&'static str, Usage); 7] {
        [
            ("fetched", self.fetched),
            ("built", self.built),
            ("partial", self.partial),
            ("own", self.own),
            ("layers", self.layers),
            ("bases", self.bases),
            ("evidence", self.evidence),
        ]
    }
}

fn size(context: &Context, store: &WheelStore, flags: &Json) -> Result<Exit> {
    let root = context.repo.store();
    let wheels = store.size()?;
    let own = WheelStore::open_own(&root)?.size()?;
    let parts = Parts {
        fetched: wheels.fetched,
        built: wheels.built,
        partial: wheels.partial,
        own: own.fetched.plus(own.built).plus(own.partial),
        layers: layer_store::size(&root)?,
        bases: base_store::size(&root)?,
        evidence: evidence::size(&root)?,
    };
    if flags.json {
        context.report.json(&parts)?;
        return Ok(Exit::Success);
    }
    let rows = parts.rows().map(|(what, usage)| {
        vec![
            what.to_owned(),
            usage.files.to_string(),
            megabytes(usage.bytes),
        ]
    });
    context
        .report
        .result(table(&["KIND", "FILES", "SIZE"], &rows));
    context.report.note(format_args!("in {root}"));
    Ok(Exit::Success)
}

fn prune(context: &Context, store: &WheelStore, flags: &CachePrune) -> Result<Exit> {
    let root = context.repo.store();
    let own = WheelStore::open_own(&root)?;
    let age = if flags.all {
        Duration::ZERO
    } else {
        Duration::from_secs(flags.days.saturating_mul(24 * 3600))
    };
    let now = SystemTime::now();
    let mut before = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    if let Some(megabytes) = flags.max_size {
        let mut uses = [
            store.uses()?,
            own.uses()?,
            layer_store::uses(&root)?,
            base_store::uses(&root)?,
            evidence::uses(&root)?,
        ]
        .concat();
        before = before.max(keeping(&mut uses, megabytes.saturating_mul(1_000_000)));
    }
    // Held until all of it is removed.
    let alone = StoreLock::alone(&root)?;
    let mut removed = Vec::new();
    if alone.is_some() {
        removed.push(("fetched and built", store.prune(before)?));
        removed.push(("own", own.prune(before)?));
        removed.push(("layers", layer_store::prune(&root, before)?));
    } else {
        let line = "a build is under way and may use any of the wheels and layers: they stay";
        context.report.warning(line);
    }
    removed.push(("bases", base_store::prune(&root, before)?));
    removed.push(("evidence", evidence::prune(&root, before)?));
    let mut freed = Usage::default();
    for (what, usage) in removed {
        freed = freed.plus(usage);
        if usage.files > 0 {
            context.report.note(format_args!(
                "{what}: {} files, {}",
                usage.files,
                megabytes(usage.bytes)
            ));
        }
    }
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

/// The time such that what was used since then takes up at most `limit` bytes, of entries by their last use.
fn keeping(uses: &mut [(SystemTime, u64)], limit: u64) -> SystemTime {
    uses.sort_by_key(|(used, _)| Reverse(*used));
    let mut kept = 0u64;
    for (used, bytes) in uses {
        kept = kept.saturating_add(*bytes);
        if kept > limit {
            return *used + Duration::from_nanos(1);
        }
    }
    SystemTime::UNIX_EPOCH
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_as_long_as_it_fits() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut uses = [(at(10), 4), (at(30), 5), (at(20), 3)];
        for (limit, gone) in [
            (12, vec![]),
            (11, vec![10]),
            (7, vec![10, 20]),
            (0, vec![10, 20, 30]),
        ] {
            let before = keeping(&mut uses, limit);
            let is_gone = |second: &u64| at(*second) < before;
            let found: Vec<u64> = [10, 20, 30].into_iter().filter(is_gone).collect();
            assert_eq!(found, gone, "{limit}");
        }
    }
}
