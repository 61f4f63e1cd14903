//! The one retry loop: what is tried again, when, and for how long.

use std::{
    hash::{BuildHasher, RandomState},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Error, Result};

use super::process::check_interrupted;

/// How often and how long something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Attempts in all, the first one included.
    pub tries: u32,
    /// All waits together; what the attempts take does not count, so that a long transfer is tried again too.
    pub total: Duration,
    /// Longest wait before the second attempt; it doubles with each one after that.
    pub first: Duration,
    /// Longest wait of our own choice; a server's Retry-After may ask for more.
    pub longest: Duration,
}

impl Policy {
    /// For requests that answer in seconds.
    pub const NETWORK: Policy = Policy {
        tries: 6,
        total: Duration::from_secs(300),
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
    };
}

/// A failed attempt.
#[derive(Debug)]
pub struct Failed {
    pub error: Error,
    pub next: Next,
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Trying again would fail again.
    GiveUp,
    /// Another attempt may succeed, not before this much time has passed.
    Again(Duration),
}

impl Failed {
    /// An error that the next attempt would meet again.
    pub fn for_good(error: impl Into<Error>) -> Failed {
        Failed {
            error: error.into(),
            next: Next::GiveUp,
        }
    }

    /// An error that may pass, such as a broken connection; the policy alone says how long to wait.
    pub fn for_now(error: impl Into<Error>) -> Failed {
        Failed {
            error: error.into(),
            next: Next::Again(Duration::ZERO),
        }
    }
}

/// Time and chance, so that tests need neither.
pub trait Waiting {
    /// Returns after this long, or with an error when Ctrl-C was pressed.
    fn wait(&self, time: Duration) -> Result<()>;
    /// At least 0 and below 1.
    fn random(&self) -> f64;
    /// Told of each failure that is tried again, before the wait.
    fn again(&self, _error: &Error, _wait: Duration) {}
}

/// The real clock.
#[derive(Debug)]
pub struct Clock;

impl Waiting for Clock {
    fn wait(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            check_interrupted()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// The standard library seeds each hasher from the operating system; spreading waits needs no more than that.
    fn random(&self) -> f64 {
        (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A clock that says of `what` that it is tried again, and why.
pub struct SayingClock<'a> {
    pub what: &'a str,
    pub say: &'a (dyn Fn(&str) + Sync),
}

impl<'a> SayingClock<'a> {
    /// `say` hears one line, which begins with `what`, before each attempt but the first.
    pub fn new(what: &'a str, say: &'a (dyn Fn(&str) + Sync)) -> SayingClock<'a> {
        SayingClock { what, say }
    }
}

impl Waiting for SayingClock<'_> {
    fn wait(&self, time: Duration) -> Result<()> {
        Clock.wait(time)
    }

    fn random(&self) -> f64 {
        Clock.random()
    }

    fn again(&self, error: &Error, wait: Duration) {
        let text = format!("{error:#}");
        // What a program printed last is why it failed.
        let reason = text.lines().last().unwrap_or_default().trim();
        (self.say)(&format!(
            "{}: {reason}; trying again in {:.1} s",
            self.what,
            wait.as_secs_f64()
        ));
    }
}

/// Calls `attempt` until it succeeds, fails for good, or the policy is used up. Waits grow exponentially with full
/// jitter (a random share of the longest wait), and are never shorter than what a server asked for.
pub fn retry<T>(
    policy: &Policy,
    waiting: &impl Waiting,
    mut attempt: impl FnMut() -> Result<T, Failed>,
) -> Result<T> {
    let mut waited = Duration::ZERO;
    for number in 1.. {
        check_interrupted()?;
        let Failed { error, next } = match attempt() {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        let Next::Again(asked) = next else {
            return Err(error);
        };
        let tried = if number == 1 {
            "tried once".to_owned()
        } else {
            format!("tried {number} times")
        };
        if number >= policy.tries {
            return Err(error.context(tried));
        }
        let wait = asked + backoff(policy, number).mul_f64(waiting.random());
        if waited + wait > policy.total {
            return Err(error.context(format!(
                "{tried}; the next attempt would come {} s later, more than the {} s of waiting allowed",
                wait.as_secs(),
                policy.total.as_secs()
            )));
        }
        waiting.again(&error, wait);
        waiting.wait(wait)?;
        waited += wait;
    }
    unreachable!("the loop ends by returning")
}

/// The longest wait after attempt `number`.
fn backoff(policy: &Policy, number: u32) -> Duration {
    let factor = 2_u32.checked_pow(number - 1).unwrap_or(u32::MAX);
    policy.first.saturating_mul(factor).min(policy.longest)
}

/// Statuses that say "not now": RFC 9110 and 6585, and 5xx, which are the server's fault.
pub fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// A program that talks to a registry failed: what it printed tells whether another try may help.
pub fn failed_program(error: Error) -> Failed {
    if says_transient(&format!("{error:#}")) {
        Failed::for_now(error)
    } else {
        Failed::for_good(error)
    }
}

/// Whether docker's last words (or containerd's, or Go's HTTP client's) mean a status that passes or a fault of the
/// connection.
fn says_transient(message: &str) -> bool {
    const FAULTS: [&str; 12] = [
        "toomanyrequests",
        "429 too many requests",
        "tls handshake timeout",
        "i/o timeout",
        "deadline exceeded",
        "request canceled while waiting",
        "connection reset",
        "connection refused",
        "broken pipe",
        "server misbehaving",
        "temporary failure in name resolution",
        "unexpected eof",
    ];
    let last = message.lines().last().unwrap_or_default();
    let last = last.trim().to_lowercase();
    // `…: 502 Bad Gateway` at the end, behind an address or not.
    let named = last.contains("status").then(|| last.rsplit(": ").next());
    let status = named
        .flatten()
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    let status = status.is_some_and(is_transient);
    status || last.ends_with(": eof") || FAULTS.iter().any(|fault| last.contains(fault))
}

/// More than any policy waits, and little enough to be added to any moment.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a response asks to be left alone, a day at most: Retry-After in seconds or as a date (RFC 9110, 10.2.3),
/// or Docker Hub's X-Retry-After as a Unix time.
pub fn asked_wait(
    retry_after: Option<&str>,
    x_retry_after: Option<&str>,
    now: SystemTime,
) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = |moment: u64| Duration::from_secs(moment).saturating_sub(now);
    let header = retry_after.map(str::trim).and_then(|text| {
        let seconds = text.parse().ok().map(Duration::from_secs);
        seconds.or_else(|| http_date(text).map(until))
    });
    let hub = x_retry_after
        .and_then(|text| text.trim().parse().ok())
        .map(until);
    header.or(hub).unwrap_or_default().min(LONGEST_ASKED)
}

/// Seconds since 1970 of `Wed, 21 Oct 2015 07:28:00 GMT`, the only form that servers may send.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let day: u64 = words
        .next()?
        .parse()
        .ok()
        .filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words
        .next()?
        .parse()
        .ok()
        .filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    // Days since 0000-03-01, years starting in March so that the leap day comes last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    (words.next()? == "GMT" && hour < 24 && minute < 60 && second < 61)
        .then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// A ureq error as an attempt that failed: faults on the way may pass, a wrong address or certificate will not.
pub fn network_fault(error: ureq::Error) -> Failed {
    match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BodyStalled
        | ureq::Error::Protocol(_) => Failed::for_now(error),
        _ => Failed::for_good(error),
    }
}

/// The answer when its status is a success; else a failure with the status, for now or for good.
pub fn expect_success(
    response: ureq::http::Response<ureq::Body>,
) -> Result<ureq::http::Response<ureq::Body>, Failed> {
    if response.status().is_success() {
        return Ok(response);
    }
    Err(unexpected_status(&response))
}

/// The failure that an answer with this status is: for now, with the wait it asks for, or for good.
pub fn unexpected_status(response: &ureq::http::Response<ureq::Body>) -> Failed {
    let status = response.status().as_u16();
    let error = StatusError(status);
    if !is_transient(status) {
        return Failed::for_good(error);
    }
    let header = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let wait = asked_wait(
        header("retry-after"),
        header("x-retry-after"),
        SystemTime::now(),
    );
    Failed {
        error: error.into(),
        next: Next::Again(wait),
    }
}

/// An answer that is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusError(pub u16);

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "answered with status {}", self.0)
    }
}

impl std::error::Error for StatusError {}

/// The status that an error of this module carries, if it does.
pub fn status_of(error: &Error) -> Option<u16> {
    error.downcast_ref::<StatusError>().map(|error| error.0)
}

/// Adds what was being done to a failure.
pub fn while_doing<T>(result: Result<T, Failed>, what: &str) -> Result<T, Failed> {
    result.map_err(|failed| Failed {
        error: Err::<(), _>(failed.error)
            .context(what.to_owned())
            .unwrap_err(),
        next: failed.next,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A clock that moves only by waiting.
    #[derive(Debug, Default)]
    pub struct FakeClock {
        pub waits: RefCell<Vec<Duration>>,
    }

    impl Waiting for FakeClock {
        fn wait(&self, time: Duration) -> Result<()> {
            self.waits.borrow_mut().push(time);
            Ok(())
        }

        fn random(&self) -> f64 {
            0.5
        }
    }

    const POLICY: Policy = Policy {
        tries: 5,
        total: Duration::from_secs(60),
        first: Duration::from_secs(2),
        longest: Duration::from_secs(10),
    };

    fn again(seconds: u64) -> Failed {
        Failed {
            error: anyhow::anyhow!("busy"),
            next: Next::Again(Duration::from_secs(seconds)),
        }
    }

    #[test]
    fn what_docker_said_tells_whether_it_passes() {
        for (message, expected) in [
            (
                "x exited with 1\n    toomanyrequests: You have reached your pull rate limit.",
                true,
            ),
            (
                "Error response from daemon: unexpected status from HEAD request to https://r/v2/a/manifests/1: 502 Bad Gateway",
                true,
            ),
            (
                "failed to copy: httpReadSeeker: failed open: unexpected status code https://r/v2/a: 503 Service Unavailable",
                true,
            ),
            (
                "Error response from daemon: received unexpected HTTP status: 500 Internal Server Error",
                true,
            ),
            (
                "Error response from daemon: Get \"https://r/v2/\": net/http: TLS handshake timeout",
                true,
            ),
            (
                "Error response from daemon: Get \"http://r/v2/\": dial tcp 127.0.0.1:9: connect: connection refused",
                true,
            ),
            (
                "Error response from daemon: Get \"http://r/v2/\": EOF",
                true,
            ),
            (
                "Error response from daemon: manifest for r/a:1 not found: manifest unknown",
                false,
            ),
            (
                "Error response from daemon: pull access denied for a, repository does not exist",
                false,
            ),
            (
                "unexpected status from HEAD request to https://r/v2/a/manifests/1: 403 Forbidden",
                false,
            ),
            (
                "Error response from daemon: Get \"https://r/v2/\": unauthorized: incorrect username or password",
                false,
            ),
        ] {
            assert_eq!(says_transient(message), expected, "{message}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_with_jitter_and_what_was_asked() {
        let broken = || Failed::for_good(anyhow::anyhow!("broken"));
        type Attempts = Vec<Result<&'static str, Failed>>;
        let table: [(Attempts, &str, &[u64]); 6] = [
            (vec![Ok("done")], "done", &[]),
            (vec![Err(again(0)), Ok("done")], "done", &[1000]),
            (vec![Err(broken())], "broken", &[]),
            (vec![Err(again(7)), Err(broken())], "broken", &[8000]),
            (
                vec![
                    Err(again(0)),
                    Err(again(0)),
                    Err(again(0)),
                    Err(again(0)),
                    Err(again(0)),
                ],
                "tried 5 times: busy",
                &[1000, 2000, 4000, 5000],
            ),
            (
                vec![Err(again(50)), Err(again(50))],
                "tried 2 times; the next attempt would come 52 s later, more than the 60 s of waiting allowed: busy",
                &[51_000],
            ),
        ];
        for (attempts, expected, waits) in table {
            let clock = FakeClock::default();
            let mut attempts = attempts.into_iter();
            let result = retry(&POLICY, &clock, || attempts.next().unwrap());
            let text = result.map_or_else(|error| format!("{error:#}"), str::to_owned);
            assert_eq!(text, expected);
            let waited: Vec<u64> = clock
                .waits
                .borrow()
                .iter()
                .map(|wait| wait.as_millis() as u64)
                .collect();
            assert_eq!(waited, waits, "{expected}");
        }
    }

    #[test]
    fn servers_say_how_long_to_wait_in_three_ways() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_420);
        for (retry_after, hub, expected) in [
            (None, None, 0),
            (Some("7"), None, 7),
            (Some("Wed, 21 Oct 2015 07:28:00 GMT"), None, 60),
            (Some("Wed, 21 Oct 2015 07:00:00 GMT"), None, 0),
            (Some("Wed, 21 Foo 2015 07:28:00 GMT"), None, 0),
            (None, Some("1445412450"), 30),
            (Some("soon"), Some("1445412450"), 30),
            (Some("18446744073709551615"), None, 86_400),
            (Some("Fri, 31 Dec 9999 23:59:59 GMT"), None, 86_400),
            (None, Some("18446744073709551615"), 86_400),
        ] {
            let wait = asked_wait(retry_after, hub, now);
            assert_eq!(wait.as_secs(), expected, "{retry_after:?} {hub:?}");
        }
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            http_date("Thu, 29 Feb 2024 12:00:00 GMT"),
            Some(1_709_208_000)
        );
    }

    #[test]
    fn only_faults_that_may_pass_are_tried_again() {
        for (status, expected) in [
            (408, true),
            (425, true),
            (429, true),
            (500, true),
            (503, true),
            (401, false),
            (403, false),
            (404, false),
            (200, false),
        ] {
            assert_eq!(is_transient(status), expected, "{status}");
        }
        assert_eq!(
            network_fault(ureq::Error::HostNotFound).next,
            Next::Again(Duration::ZERO)
        );
        assert_eq!(
            network_fault(ureq::Error::BadUri("x".into())).next,
            Next::GiveUp
        );
    }

    #[test]
    fn chance_stays_below_one() {
        assert!((0..100).all(|_| (0.0..1.0).contains(&Clock.random())));
    }
}
