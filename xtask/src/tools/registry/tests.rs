//! A scripted registry: each call meets each fault.

use std::{sync::Mutex, time::Duration};

use camino::Utf8PathBuf;

use super::*;
use crate::{
    model::manifest_document::Document,
    report::exit_of,
    tools::test_server::{Answer, Server},
};

const POLICY: Policy = Policy {
    tries: 3,
    total: Duration::from_secs(10),
    first: Duration::from_millis(1),
    longest: Duration::from_millis(1),
};
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BODY: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// Calls a repository on a server that answers so; gives the result as text, what was said of retries, and the requests.
fn call(
    answers: Vec<Answer>,
    credentials: Credentials,
    calls: &[Call],
) -> (Vec<Result<String>>, Vec<String>, Vec<String>) {
    let server = Server::start(answers);
    let said = Mutex::new(Vec::new());
    let say = |line: &str| said.lock().unwrap().push(line.to_owned());
    let registries =
        Registries::new(credentials, say).with_patience(POLICY, Duration::from_millis(400));
    let port = server.url("/").port().unwrap();
    let image: ImageRef = format!("127.0.0.1:{port}/a/b").parse().unwrap();
    let repository = registries.repository(&image);
    let results = calls.iter().map(|call| call(&repository)).collect();
    let requests = server.requests();
    drop(registries);
    (results, said.into_inner().unwrap(), requests)
}

fn tag() -> Reference {
    Reference::Tag("1.0.0".parse().unwrap())
}

fn digest() -> Digest {
    Digest::of(BODY.as_bytes())
}

fn document() -> Document {
    Document::new(INDEX, BODY.into())
}

fn blob() -> Blob {
    Blob {
        digest: digest(),
        size: BODY.len() as u64,
        content: BlobContent::Bytes(BODY.into()),
    }
}

fn ok(body: &str) -> Answer {
    Answer::ok(INDEX, body).header(&format!("Docker-Content-Digest: {}", digest()))
}

type Call = fn(&Repository) -> Result<String>;

/// Every call with the answers that make it succeed, the last of which is the one that faults replace.
fn calls() -> Vec<(&'static str, Call, Vec<Answer>, String)> {
    let show = |value: &dyn std::fmt::Debug| format!("{value:?}");
    let missing = Answer::status(404);
    let begun = Answer::status(202).header("Location: /v2/a/b/blobs/uploads/1?state=x");
    vec![
        (
            "digest",
            |r| Ok(format!("{:?}", r.digest(&tag())?)),
            vec![ok("")],
            show(&Some(digest())),
        ),
        (
            "tags",
            |r| Ok(format!("{:?}", r.tags()?)),
            vec![
                ok(r#"{"tags": ["b"]}"#)
                    .header("Link: </v2/a/b/tags/list?n=1000&last=b>; rel=\"next\""),
                ok(r#"{"tags": ["a"]}"#),
            ],
            show(&Some(["b", "a"])),
        ),
        (
            "manifest",
            |r| Ok(format!("{:?}", r.manifest(&tag())?)),
            vec![ok(BODY)],
            show(&Some(document())),
        ),
        (
            "put",
            |r| Ok(format!("{:?}", r.put_manifest(&tag(), &document())?.digest)),
            vec![Answer::status(201).header(&format!("Docker-Content-Digest: {}", digest()))],
            show(&digest()),
        ),
        (
            "has blob",
            |r| Ok(format!("{:?}", r.has_blob(&digest())?)),
            vec![ok("")],
            show(&true),
        ),
        (
            "blob",
            |r| Ok(String::from_utf8(r.blob(&digest())?)?),
            vec![ok(BODY)],
            BODY.to_owned(),
        ),
        (
            "download",
            |r| {
                let directory = tempfile::tempdir()?;
                let into = Utf8PathBuf::try_from(directory.path().join("d/blob"))?;
                r.download(&digest(), &into)?;
                Ok(std::fs::read_to_string(into)?)
            },
            vec![ok(BODY)],
            BODY.to_owned(),
        ),
        (
            "push",
            |r| Ok(format!("{:?}", r.push_blob(&blob(), None)?)),
            vec![missing.clone(), begun.clone(), Answer::status(201)],
            show(&Arrived::Uploaded),
        ),
        (
            "mount",
            |r| Ok(format!("{:?}", r.push_blob(&blob(), Some("a/base"))?)),
            vec![Answer::status(201)],
            show(&Arrived::Mounted),
        ),
        (
            "there without a mount",
            |r| Ok(format!("{:?}", r.push_blob(&blob(), Some("a/base"))?)),
            vec![begun.clone(), ok("")],
            show(&Arrived::Existed),
        ),
        (
            "upload for a mount",
            |r| Ok(format!("{:?}", r.push_blob(&blob(), Some("a/base"))?)),
            vec![begun.clone(), missing.clone(), Answer::status(201)],
            show(&Arrived::Uploaded),
        ),
        (
            "referrers",
            |r| Ok(format!("{}", r.referrers(&digest())?.is_some())),
            vec![ok(BODY)],
            "true".to_owned(),
        ),
    ]
}

#[test]
fn every_call_outlives_faults_that_pass_and_says_each_retry_once() {
    let faults = [
        Answer::status(429).header("Retry-After: 0"),
        Answer::status(500),
        Answer::status(502),
        Answer::hang_up(),
        Answer::silence(),
    ];
    for (name, call_it, good, expected) in calls() {
        for fault in &faults {
            let (before, last) = good.split_at(good.len() - 1);
            // A fault of an upload's second half begins it anew.
            let again = match name {
                "push" => good[1..].to_vec(),
                "upload for a mount" => [&good[..1], last].concat(),
                _ => last.to_vec(),
            };
            let answers = [before, std::slice::from_ref(fault), &again].concat();
            let (mut results, said, _) = call(answers, Credentials::default(), &[call_it]);
            let result = results
                .remove(0)
                .unwrap_or_else(|error| panic!("{name}, {fault:?}: {error:#}"));
            assert_eq!(result, expected, "{name}, {fault:?}");
            assert_eq!(said.len(), 1, "{name}, {fault:?}: {said:?}");
            assert!(said[0].contains("trying again in"), "{said:?}");
        }
    }
}

#[test]
fn a_body_that_is_cut_or_has_another_digest_is_asked_for_again_and_never_taken() {
    for (name, call_it, good, expected) in calls() {
        if !matches!(name, "manifest" | "blob" | "download") {
            continue;
        }
        let faults = [ok(BODY).cut(10), ok("{}")];
        for fault in faults {
            let answers = [vec![fault.clone()], good.clone()].concat();
            let (mut results, _, _) = call(answers, Credentials::default(), &[call_it]);
            assert_eq!(results.remove(0).unwrap(), expected, "{name}, {fault:?}");
            let (mut results, said, _) = call(vec![fault; 3], Credentials::default(), &[call_it]);
            let error = format!("{:#}", results.remove(0).unwrap_err());
            assert!(error.contains("tried 3 times"), "{name}: {error}");
            assert_eq!(said.len(), 2);
        }
    }
}

#[test]
fn a_registry_that_names_another_digest_for_what_it_was_given_is_not_believed() {
    let other = format!("Docker-Content-Digest: {}", Digest::of(b"other"));
    let answers = vec![Answer::status(201).header(&other); 3];
    let (mut results, _, _) = call(
        answers,
        Credentials::default(),
        &[|r| Ok(format!("{:?}", r.put_manifest(&tag(), &document())?))],
    );
    let error = format!("{:#}", results.remove(0).unwrap_err());
    assert!(error.contains("the content has digest"), "{error}");
}

#[test]
fn what_is_denied_or_missing_is_asked_once() {
    let denied = |status| {
        let mut answer = Answer::ok(
            "application/json",
            r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#,
        );
        answer.set_status(status);
        answer
    };
    for status in [401, 403] {
        let (mut results, said, requests) = call(
            vec![denied(status)],
            Credentials::default(),
            &[|r| Ok(format!("{:?}", r.put_manifest(&tag(), &document())?))],
        );
        let error = results.remove(0).unwrap_err();
        assert!(
            format!("{error:#}").contains(&format!(
                "DENIED: no[31m way: answered with status {status}"
            )),
            "{error:#}"
        );
        assert_eq!(exit_of(&error), crate::model::problem::Exit::Failure);
        let problem = error
            .downcast_ref::<crate::model::problem::Problem>()
            .unwrap();
        assert!(
            problem
                .help
                .as_ref()
                .unwrap()
                .contains("docker login 127.0.0.1:"),
            "{problem:?}"
        );
        assert!(said.is_empty());
        assert_eq!(requests.len(), 1);
    }
    let (results, said, requests) = call(
        vec![Answer::status(404); 5],
        Credentials::default(),
        &[
            |r| Ok(format!("{:?}", r.digest(&tag())?)),
            |r| Ok(format!("{:?}", r.manifest(&tag())?)),
            |r| Ok(format!("{:?}", r.has_blob(&digest())?)),
            |r| Ok(format!("{:?}", r.referrers(&digest())?)),
            |r| Ok(format!("{:?}", r.blob(&digest())?)),
        ],
    );
    let texts: Vec<String> = results
        .into_iter()
        .map(|result| {
            result.unwrap_or_else(|error| {
                format!("{error:#}").rsplit(": ").next().unwrap().to_owned()
            })
        })
        .collect();
    assert_eq!(
        texts,
        ["None", "None", "false", "None", "answered with status 404"]
    );
    assert!(said.is_empty());
    assert_eq!(requests.len(), 5);
}

#[test]
fn tokens_are_had_with_our_credentials_kept_and_renewed() {
    let asks = Answer::status(401)
        .header(r#"WWW-Authenticate: Bearer realm="http://127.0.0.1:PORT/token?x=1",service="registry",scope="ignored""#);
    let token = |text: &str| Answer::ok("application/json", format!(r#"{{"token":"{text}"}}"#));
    let read: Call = |r| Ok(format!("{:?}", r.digest(&tag())?));
    let answers = vec![
        asks.clone(),
        token("first"),
        ok(""),
        // The same scope needs no new token...
        ok(""),
        // ...until it runs out.
        asks,
        token("second"),
        ok(""),
    ];
    let credentials = Credentials::hub("me", "secret");
    let (results, said, requests) = call(answers, credentials, &[read, read, read]);
    for result in results {
        assert_eq!(result.unwrap(), format!("{:?}", Some(digest())));
    }
    assert!(said.is_empty());
    let starts: Vec<&str> = requests
        .iter()
        .map(|request| request.lines().next().unwrap())
        .collect();
    let asked_token = "GET /token?x=1&service=registry&scope=repository%3Aa%2Fb%3Apull HTTP/1.1";
    let asked = "HEAD /v2/a/b/manifests/1.0.0 HTTP/1.1";
    assert_eq!(
        starts,
        [asked, asked_token, asked, asked, asked, asked_token, asked]
    );
    assert!(
        requests[1].contains("authorization: Basic bWU6c2VjcmV0"),
        "{}",
        requests[1]
    );
    assert!(requests[3].contains("authorization: Bearer first"));
    assert!(requests[6].contains("authorization: Bearer second"));
}

#[test]
fn uploads_show_no_secret_to_another_host() {
    let answers = vec![
        Answer::status(401).header("WWW-Authenticate: Basic realm=x"),
        Answer::status(404),
        Answer::status(202).header("Location: http://localhost:PORT/elsewhere"),
        Answer::status(201),
    ];
    let (mut results, _, requests) = call(
        answers,
        Credentials::hub("me", "secret"),
        &[|r| Ok(format!("{:?}", r.push_blob(&blob(), None)?))],
    );
    assert_eq!(results.remove(0).unwrap(), "Uploaded");
    assert!(requests[2].starts_with("POST") && requests[2].contains("authorization: Basic"));
    assert!(
        requests[3].starts_with("PUT /elsewhere?digest=sha256")
            && !requests[3].contains("authorization"),
        "{}",
        requests[3]
    );
}

#[test]
fn wrong_credentials_are_said_without_being_shown() {
    let asks = Answer::status(401).header("WWW-Authenticate: Basic realm=x");
    let (mut results, _, _) = call(
        vec![asks.clone(), asks],
        Credentials::hub("me", "secret"),
        &[|r| Ok(format!("{:?}", r.digest(&tag())?))],
    );
    let error = results.remove(0).unwrap_err();
    let help = error
        .downcast_ref::<crate::model::problem::Problem>()
        .unwrap()
        .help
        .clone()
        .unwrap();
    assert!(help.contains("are wrong, or have no right"), "{help}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}
