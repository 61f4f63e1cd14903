//! Host names, asked of the system once for all requests that go there at a time.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

use super::work::lock;

/// How long an answer is used. Names of large services are given out for about as long.
const KEPT: Duration = Duration::from_secs(60);

/// Asks once for many: ureq's own resolver looks the name up for every request, also where a connection is open, and
/// name servers drop the questions of a burst, each of which then costs libc's 5 seconds.
#[derive(Debug)]
pub struct Remembering<R> {
    inner: R,
    hosts: Mutex<HashMap<String, Arc<Mutex<Host>>>>,
}

/// What the last lookup of a host came to. Its lock is held while it is looked up.
#[derive(Debug, Default)]
struct Host {
    found: Option<(Instant, Vec<SocketAddr>)>,
    failed: Option<Instant>,
}

impl Remembering<DefaultResolver> {
    /// Over ureq's own resolver, which asks libc; nothing is remembered yet.
    pub fn system() -> Remembering<DefaultResolver> {
        Remembering::over(DefaultResolver::default())
    }
}

impl<R> Remembering<R> {
    fn over(inner: R) -> Remembering<R> {
        Remembering {
            inner,
            hosts: Mutex::default(),
        }
    }
}

impl<R: Resolver> Resolver for Remembering<R> {
    /// # Errors
    /// The lookup's own; `HostNotFound` for those who waited for a lookup that failed.
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return self.inner.resolve(uri, config, timeout);
        };
        let key = DefaultResolver::host_and_port(scheme, authority).unwrap_or_default();
        let came = Instant::now();
        let host = {
            let mut hosts = lock(&self.hosts);
            Arc::clone(hosts.entry(key).or_default())
        };
        let mut host = lock(&host);
        if let Some((when, found)) = &host.found
            && when.elapsed() < KEPT
        {
            let mut addresses = self.empty();
            for address in found {
                addresses.push(*address);
            }
            return Ok(addresses);
        }
        if host.failed.is_some_and(|failed| failed > came) {
            return Err(Error::HostNotFound);
        }
        let resolved = self.inner.resolve(uri, config, timeout);
        match &resolved {
            Ok(addresses) => host.found = Some((Instant::now(), addresses.to_vec())),
            Err(_) => host.failed = Some(Instant::now()),
        }
        resolved
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc::{self, Receiver},
        },
        thread,
    };

    use ureq::{Timeout, unversioned::transport::time};

    use super::*;

    /// Knows `there.example` alone, and answers once the other end is dropped.
    #[derive(Debug)]
    struct Slow {
        lookups: AtomicUsize,
        held: Mutex<Receiver<()>>,
    }

    impl Resolver for Slow {
        fn resolve(
            &self,
            uri: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, Error> {
            self.lookups.fetch_add(1, Ordering::SeqCst);
            let _ = self.held.lock().unwrap().recv();
            match uri.host() {
                Some("there.example") => {
                    let mut addresses = self.empty();
                    addresses.push(([127, 0, 0, 1], 80).into());
                    Ok(addresses)
                }
                _ => Err(Error::HostNotFound),
            }
        }
    }

    /// How many of `count` requests at a time got an address, and how many lookups that took.
    fn at_once(address: &str, count: usize) -> (usize, usize) {
        let (holds, held) = mpsc::channel();
        let resolver = Remembering::over(Slow {
            lookups: AtomicUsize::new(0),
            held: Mutex::new(held),
        });
        let lookups = || resolver.inner.lookups.load(Ordering::SeqCst);
        let uri: Uri = address.parse().unwrap();
        let config = Config::default();
        let ask = || {
            let timeout = NextTimeout {
                after: time::Duration::NotHappening,
                reason: Timeout::Global,
                ..NextTimeout::default()
            };
            resolver.resolve(&uri, &config, timeout).is_ok()
        };
        let answered = thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
            // Each that wants the host holds it, as does the table.
            let wanted = || {
                let hosts = resolver.hosts.lock().unwrap();
                hosts.values().map(Arc::strong_count).sum::<usize>()
            };
            while wanted() <= count && lookups() <= 1 {
                thread::yield_now();
            }
            drop(holds);
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .filter(|ok| *ok)
                .count()
        });
        (answered, lookups())
    }

    #[test]
    fn a_burst_of_requests_is_one_lookup_whatever_comes_of_it() {
        assert_eq!(at_once("https://there.example/a", 16), (16, 1));
        assert_eq!(at_once("https://nowhere.example/a", 16), (0, 1));
    }
}
