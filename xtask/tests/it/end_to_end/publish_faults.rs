//! A whole publish to a real registry, with something in between that spoils single requests.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{
    proxy::{self, Verdict, status},
    publish::{Registry, at_version, one, run_at},
};

/// The kinds of request that a publish of a new version makes, and what is to be seen in the request's first line. The
/// two that look alike are told apart by [`Calls`].
const CALLS: [(&str, [&str; 2]); 9] = [
    ("exists", ["HEAD ", "/manifests/1.2.3 "]),
    ("has blob", ["HEAD ", "/blobs/sha256:"]),
    ("begin an upload", ["POST ", "/blobs/uploads/ "]),
    ("upload", ["PUT ", "/blobs/uploads/"]),
    ("put a manifest", ["PUT ", "/manifests/sha256:"]),
    ("tag", ["PUT ", "/manifests/1.2.3 "]),
    ("read back", ["HEAD ", "/manifests/1.2.3 "]),
    ("ask for latest", ["HEAD ", "/manifests/latest "]),
    ("move latest", ["PUT ", "/manifests/latest "]),
];

/// Tells the requests of one publish apart.
#[derive(Default)]
struct Calls {
    tagged: AtomicBool,
}

impl Calls {
    fn kind(&self, request: &str) -> Option<&'static str> {
        let is_it =
            |[method, path]: [&str; 2]| request.starts_with(method) && request.contains(path);
        let (name, _) = CALLS.into_iter().find(|(_, of)| is_it(*of))?;
        let tagged = self.tagged.fetch_or(name == "tag", Ordering::Relaxed);
        Some(match name {
            "exists" if tagged => "read back",
            _ => name,
        })
    }
}

/// How many there are in [`passing`].
const FAULTS: usize = 6;

/// A fault that may pass: busy, broken, cut off at once or when it was done, or in the middle of the answer.
fn passing(number: usize) -> Verdict {
    match number % FAULTS {
        0 => status("429 X\r\nRetry-After: 0"),
        1 => status("500 X"),
        2 => status("502 X"),
        3 => Verdict::Answer(String::new()),
        4 => Verdict::Lose,
        _ => Verdict::Answer("HTTP/1.1 20".to_owned()),
    }
}

/// Of every kind of request the first one fails in a way that may pass, with another fault in each round.
#[test]
fn a_publish_outlives_a_fault_of_every_call_and_says_each() {
    for round in 0..FAULTS {
        let (registry, repo) = (Registry::start(), one());
        let met = Arc::new(Mutex::new(BTreeSet::new()));
        let (spoiled, calls) = (Arc::clone(&met), Calls::default());
        let proxy = proxy::before(&registry.address, move |request| {
            match calls.kind(request) {
                Some(call) if spoiled.lock().unwrap().insert(call) => {
                    let at = CALLS.iter().position(|(name, _)| *name == call);
                    passing(at.unwrap() + round)
                }
                _ => Verdict::Pass,
            }
        });
        let flags = ["source-a", "--push-latest", "--json"];
        let done = run_at(&proxy, &repo, &flags).code(0);
        let row = &done.json()["connectors"][0];
        assert_eq!(row["action"], "published");
        assert_eq!(row["outputs"]["latest-moved"], "true");
        assert_eq!(row["digest"], registry.digest("1.2.3"));
        assert_eq!(row["digest"], registry.digest("latest"));
        let met = met.lock().unwrap();
        assert_eq!(met.len(), CALLS.len(), "{met:?}");
        let said = done.stderr.matches("trying again in").count();
        assert_eq!(said, CALLS.len(), "{done:#?}");
    }
}

/// The tag holds ours by then, though it could not be read back: to the next run it is no other's.
#[test]
fn a_replaced_image_that_could_not_be_read_back_is_known_to_the_next_run() {
    let (registry, repo) = (Registry::start(), one());
    let set = AtomicUsize::new(0);
    let proxy = proxy::before(&registry.address, move |request| {
        if !request.contains("/manifests/v1 ") {
            return Verdict::Pass;
        }
        if request.starts_with("PUT ") {
            set.fetch_add(1, Ordering::Relaxed);
        }
        // The question behind the second order is denied.
        let asks = request.starts_with("HEAD ");
        let order = Ordering::Relaxed;
        match asks && set.compare_exchange(2, 3, order, order).is_ok() {
            true => status("403 X"),
            false => Verdict::Pass,
        }
    });
    let start = ["source-a", "--tag-override=v1"];
    run_at(&proxy, &repo, &start).code(0);
    // Another image under the same tag.
    let repo = at_version(repo, "1.2.4");
    run_at(&proxy, &repo, &[&start[..], &["--force-publish"]].concat())
        .code(1)
        .says("status 403");
    let again = run_at(&proxy, &repo, &[&start[..], &["--json"]].concat()).code(0);
    assert_eq!(again.json()["connectors"][0]["action"], "exists");
}

/// What is denied is not asked again: the publish ends there with the request and the registry's words, and what follows
/// is not begun.
#[test]
fn a_publish_ends_at_the_call_that_is_denied() {
    const DENIED: &str = r#"{"errors":[{"code":"DENIED","message":"not today"}]}"#;
    for (denied, [method, path]) in CALLS {
        let (registry, repo) = (Registry::start(), one());
        let calls = Calls::default();
        let proxy = proxy::before(&registry.address, move |request| {
            if calls.kind(request) == Some(denied) {
                let length = DENIED.len();
                return Verdict::Answer(format!(
                    "HTTP/1.1 403 X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{DENIED}"
                ));
            }
            Verdict::Pass
        });
        let failed = run_at(&proxy, &repo, &["source-a", "--push-latest"]).code(1);
        assert!(
            !failed.stderr.contains("trying again"),
            "{denied}: {failed:#?}"
        );
        let what = match denied {
            "begin an upload" | "upload" => "push blob sha256:".to_owned(),
            _ => format!(
                "{method}http://{proxy}/v2/airbyte/source-a{}",
                path.trim_end()
            ),
        };
        let mut failed = failed
            .says(&what)
            .says("help: no credentials are known for 127.0.0.1");
        // Nobody answers HEAD with a body.
        if method != "HEAD " {
            failed = failed.says("DENIED: not today");
        }
        failed.says("status 403");
        let tagged = matches!(denied, "read back" | "ask for latest" | "move latest");
        assert_eq!(!registry.digest("1.2.3").is_empty(), tagged, "{denied}");
        assert_eq!(registry.digest("latest"), "", "{denied}");
    }
}

/// The registry says that it has what it was given, and has not.
#[test]
fn a_registry_that_serves_another_image_is_found_out() {
    let (registry, repo) = (Registry::start(), one());
    let calls = Calls::default();
    let proxy = proxy::before(&registry.address, move |request| {
        match calls.kind(request) {
            Some("read back") => {
                let other = "0".repeat(64);
                status(&format!("200 X\r\nDocker-Content-Digest: sha256:{other}"))
            }
            _ => Verdict::Pass,
        }
    });
    let failed = run_at(&proxy, &repo, &["source-a", "--push-latest"]).code(1);
    let pushed = registry.digest("1.2.3");
    failed.says(&format!(
        "was pushed as {pushed}, and the registry has sha256:"
    ));
    assert_eq!(registry.digest("latest"), "");
}

/// Another publish sets latest between our question and our answer to it: the newer version has it in the end.
#[test]
fn of_two_publishes_that_move_latest_at_once_the_newer_version_has_it() {
    for (other, ours_is_newer) in [("1.2.2", true), ("1.3.0", false)] {
        let (registry, repo) = (Arc::new(Registry::start()), one());
        registry.publish(&at_version(one(), other), &[], 0);
        let (theirs, questions) = (registry.index(other), AtomicUsize::new(0));
        let calls = Calls::default();
        // The proxy outlives this test, and the registry shall not.
        let behind = Arc::downgrade(&registry);
        let proxy = proxy::before(&registry.address, move |request| {
            // The question after ours was set.
            if calls.kind(request) == Some("ask for latest")
                && questions.fetch_add(1, Ordering::Relaxed) == 1
            {
                behind.upgrade().unwrap().put("latest", &theirs);
            }
            Verdict::Pass
        });
        let done = run_at(&proxy, &repo, &["source-a", "--push-latest", "--json"]).code(0);
        let row: Value = done.json()["connectors"][0].clone();
        assert_eq!(row["action"], "published");
        assert_eq!(
            row["outputs"]["latest-moved"],
            json!(ours_is_newer.to_string())
        );
        let newest = if ours_is_newer { "1.2.3" } else { other };
        assert_eq!(
            registry.digest("latest"),
            registry.digest(newest),
            "{other}"
        );
    }
}
