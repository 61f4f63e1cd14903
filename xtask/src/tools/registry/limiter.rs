//! How many requests a host gets at a time, and when it wants none.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::tools::{process::check_interrupted, work};

/// How often a waiting thread looks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// Shared by all threads of a run.
#[derive(Debug)]
pub struct Limiter {
    /// Most requests to one host at a time.
    most: usize,
    hosts: Mutex<HashMap<String, Host>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Host {
    running: usize,
    /// The host asked to be left alone until then; that goes for every thread.
    quiet_until: Option<Instant>,
}

/// Leave to talk to a host; given back when dropped.
#[derive(Debug)]
pub struct Slot<'a> {
    limiter: &'a Limiter,
    host: String,
}

impl Limiter {
    /// For up to `most` requests to each host at a time.
    pub fn new(most: usize) -> Limiter {
        Limiter {
            most,
            hosts: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits for leave to talk to `host`; an error when Ctrl-C was pressed meanwhile, or when the host wants to be left
    /// alone for longer than `patience`: each request of a run would wait for that.
    pub fn enter(&self, host: &str, patience: Duration) -> Result<Slot<'_>> {
        let mut hosts = self.lock();
        loop {
            check_interrupted()?;
            if let Some(slot) = self.slot(&mut hosts, host, patience)? {
                return Ok(slot);
            }
            hosts = self
                .changed
                .wait_timeout(hosts, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Leave to talk to `host` now; None where it has to be waited for.
    fn slot(
        &self,
        hosts: &mut HashMap<String, Host>,
        host: &str,
        patience: Duration,
    ) -> Result<Option<Slot<'_>>> {
        let state = hosts.entry(host.to_owned()).or_default();
        let until = state.quiet_until.unwrap_or_else(Instant::now);
        let quiet = until.saturating_duration_since(Instant::now());
        if quiet > patience {
            bail!(
                "{host} asks to be left alone for {} s more",
                quiet.as_secs()
            );
        }
        if !quiet.is_zero() || state.running == self.most {
            return Ok(None);
        }
        state.running += 1;
        Ok(Some(Slot {
            limiter: self,
            host: host.to_owned(),
        }))
    }

    /// Nobody talks to `host` for this long.
    pub fn quiet(&self, host: &str, time: Duration) {
        let until = Instant::now() + time;
        let mut hosts = self.lock();
        let state = hosts.entry(host.to_owned()).or_default();
        state.quiet_until = state.quiet_until.max(Some(until));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        work::lock(&self.hosts)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(host) = self.limiter.lock().get_mut(&self.host) {
            host.running -= 1;
        }
        self.limiter.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn no_more_than_so_many_talk_to_one_host() {
        let limiter = Limiter::new(2);
        let first = limiter.enter("a", PATIENCE).unwrap();
        let _second = limiter.enter("a", PATIENCE).unwrap();
        let third = limiter.slot(&mut limiter.lock(), "a", PATIENCE).unwrap();
        assert!(third.is_none());
        let _other = limiter.enter("b", PATIENCE).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| limiter.enter("a", PATIENCE).unwrap());
            drop(first);
            assert_eq!(waits.join().unwrap().host, "a");
        });
    }

    #[test]
    fn a_host_that_wants_none_gets_none_from_anyone() {
        let limiter = Limiter::new(2);
        let start = Instant::now();
        limiter.quiet("a", Duration::from_millis(120));
        limiter.quiet("a", Duration::from_millis(1));
        let _other = limiter.enter("b", PATIENCE).unwrap();
        let _slot = limiter.enter("a", PATIENCE).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(120));
        limiter.quiet("a", 2 * PATIENCE);
        let error = limiter.enter("a", PATIENCE).unwrap_err().to_string();
        assert!(
            error.starts_with("a asks to be left alone for 1"),
            "{error}"
        );
    }
}
