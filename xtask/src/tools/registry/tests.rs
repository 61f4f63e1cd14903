//! A scripted registry: each call meets each fault.

use std::{sync::Mutex, time::Duration};

use camino::Utf8PathBuf;

use super::*;
use crate::{
    model::manifest_document::Document,
    report::exit_of,
    tools::{
        retry::status_of,
        test_server::{Answer, Server},
    },
};

const POLICY: Policy = Policy {
    tries: 3,
    total: Duration::from_secs(10),
    first: Duration::from_millis(1),
    longest: Duration::from_millis(1),
};
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
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
    let registries = Registries::new(credentials, say).with_patience(POLICY, server.patience);
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

/// An image: its configuration, its manifest, and an index with it for both platforms.
fn image() -> [Document; 3] {
    let config = Document::new(
        "application/vnd.oci.image.config.v1+json",
        r#"{"architecture":"amd64","os":"linux","config":{"Labels":{"io.airbyte.version":"1.2.3"}},
        "rootfs":{"type":"layers","diff_ids":[]},"history":[]}"#
            .into(),
    );
    let descriptor = |of: &Document| {
        let (kind, digest, size) = (&of.media_type, &of.digest, of.bytes.len());
        format!(r#""mediaType":"{kind}","digest":"{digest}","size":{size}"#)
    };
    let kind = MANIFEST;
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{{}}},"layers":[]}}"#,
        descriptor(&config)
    );
    let manifest = Document::new(kind, text.into());
    let listed = ["amd64", "arm64"].map(|architecture| {
        let platform = format!(r#""platform":{{"os":"linux","architecture":"{architecture}"}}"#);
        format!("{{{},{platform}}}", descriptor(&manifest))
    });
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        listed.join(",")
    );
    let index = Document::new(INDEX, text.into());
    [config, manifest, index]
}

fn serve(document: &Document) -> Answer {
    Answer::ok(&document.media_type, document.bytes.clone())
        .header(&format!("Docker-Content-Digest: {}", document.digest))
}

/// What answers HEAD.
fn head(document: &Document) -> Answer {
    serve(&Document {
        bytes: Vec::new(),
        ..document.clone()
    })
}

type Call = fn(&Repository) -> Result<String>;

/// Every call with the answers that make it succeed, and its result.
fn calls() -> Vec<(&'static str, Call, Vec<Answer>, String)> {
    let show = |value: &dyn std::fmt::Debug| format!("{value:?}");
    let missing = Answer::status(404);
    let begun = Answer::status(202).header("Location: /v2/a/b/blobs/uploads/1?state=x");
    let stored = Answer::status(201).header(&format!("Docker-Content-Digest: {}", digest()));
    let [config, manifest, index] = image();
    vec![
        (
            "digest",
            |r| Ok(format!("{:?}", r.digest(&tag())?)),
            vec![ok("")],
            show(&Some(digest())),
        ),
        (
            "digest, by a token",
            |r| Ok(format!("{:?}", r.digest(&tag())?)),
            vec![asks(), token(), ok("")],
            show(&Some(digest())),
        ),
        (
            "what a tag is",
            |r| {
                let tagged = r.tagged(&"1.0.0".parse().unwrap())?;
                Ok(format!("{:?}", tagged.map(|tagged| tagged.platforms.len())))
            },
            vec![
                head(&index),
                serve(&index),
                head(&manifest),
                head(&manifest),
            ],
            show(&Some(2)),
        ),
        (
            "version, as latest is asked",
            |r| Ok(format!("{:?}", r.version(&image()[2].digest)?)),
            vec![serve(&index), serve(&manifest), serve(&config)],
            show(&Some("1.2.3")),
        ),
        (
            "tags",
            |r| Ok(format!("{:?}", r.tags()?)),
            vec![
                Answer::ok(INDEX, r#"{"tags": ["b"]}"#)
                    .header("Link: </v2/a/b/tags/list?n=1000&last=b>; rel=\"next\""),
                Answer::ok(INDEX, r#"{"tags": ["a"]}"#),
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
            "put by tag",
            |r| Ok(format!("{:?}", r.put_manifest(&tag(), &document())?.digest)),
            vec![stored.clone()],
            show(&digest()),
        ),
        (
            "put by digest",
            |r| {
                let put = r.put_manifest(&Reference::Digest(digest()), &document())?;
                Ok(format!("{:?}", put.digest))
            },
            vec![stored.clone()],
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
            vec![missing.clone(), begun.clone(), stored.clone()],
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
            vec![begun, missing.clone(), stored],
            show(&Arrived::Uploaded),
        ),
        (
            "attach two, listed by nobody",
            |r| {
                let attachment = |media_type| Attachment {
                    media_type,
                    content: BODY.into(),
                };
                let attached = r.attach(&document(), &["a/a", "a/b"].map(attachment))?;
                Ok(format!("{attached:?}"))
            },
            vec![
                // Referrers, the tag that stands in for them, the empty configuration.
                missing.clone(),
                missing.clone(),
                ok(""),
                // Each content and its manifest.
                ok(""),
                Answer::status(201),
                ok(""),
                Answer::status(201),
                missing.clone(),
                Answer::status(201),
            ],
            show(&Attached::Listed),
        ),
        (
            "attach what is listed",
            |r| {
                let attachment = Attachment {
                    media_type: "a/a",
                    content: Vec::new(),
                };
                Ok(format!("{:?}", r.attach(&document(), &[attachment])?))
            },
            vec![Answer::ok(
                INDEX,
                BODY.replace(
                    "[]",
                    &format!(
                        r#"[{{"mediaType":"{MANIFEST}","digest":"{}","size":1,"artifactType":"a/a"}}]"#,
                        digest()
                    ),
                ),
            )],
            show(&Attached::Listed),
        ),
        (
            "referrers",
            |r| Ok(format!("{}", r.referrers(&digest())?.is_some())),
            vec![Answer::ok(INDEX, BODY)],
            "true".to_owned(),
        ),
    ]
}

/// What may come instead of a good answer, and passes.
fn faults(good: &Answer) -> Vec<Answer> {
    let mut faults = vec![
        Answer::status(429).header("Retry-After: 0"),
        Answer::status(500),
        Answer::status(502),
        Answer::hang_up(),
        Answer::silence(),
    ];
    if !good.body.is_empty() {
        faults.push(good.clone().cut(good.body.len() / 2));
    }
    let is_digest = |line: &&String| line.starts_with("Docker-Content-Digest");
    if let Some(promise) = good.headers.iter().find(is_digest) {
        let other = format!("Docker-Content-Digest: {}", Digest::of(b"other"));
        match good.status {
            201 => faults.push(Answer::status(201).header(&other)),
            _ if good.body.is_empty() => {}
            _ => faults.push(Answer::ok(INDEX, "{}").header(promise)),
        }
    }
    faults
}

/// Each answer of each call gives way to each fault: once, which is outlived and said once, and as often as the policy
/// tries.
#[test]
fn every_call_meets_every_fault_and_ends_as_the_policy_says() {
    let meet = |name: &str, call_it: Call, good: &[Answer], at: usize, expected: &str| {
        // A fault of an upload's second half begins it anew, if its content did not arrive.
        let anew = match (name, at) {
            ("push", 2) => &[good[0].clone(), good[1].clone()][..],
            ("upload for a mount", 2) => &[good[1].clone(), good[0].clone()],
            _ => &[],
        };
        for fault in faults(&good[at]) {
            let met = [&good[..at], std::slice::from_ref(&fault)].concat();
            let answers = [&met, anew, &good[at..]].concat();
            let asked = answers.len();
            let (mut results, said, requests) = call(answers, Credentials::default(), &[call_it]);
            let result = results
                .remove(0)
                .unwrap_or_else(|error| panic!("{name}, {at}, {fault:?}: {error:#}"));
            assert_eq!(result, expected, "{name}, {at}, {fault:?}");
            assert_eq!(said.len(), 1, "{name}, {at}, {fault:?}: {said:?}");
            assert!(said[0].contains("trying again in"), "{said:?}");
            assert_eq!(requests.len(), asked, "{name}, {at}, {fault:?}");

            let again = [anew, std::slice::from_ref(&fault)].concat();
            let answers = [met, again.clone(), again].concat();
            let asked = answers.len();
            let (mut results, said, requests) = call(answers, Credentials::default(), &[call_it]);
            let error = format!("{:#}", results.remove(0).unwrap_err());
            assert!(
                error.contains("tried 3 times"),
                "{name}, {at}, {fault:?}: {error}"
            );
            assert_eq!(said.len(), 2, "{name}, {at}, {fault:?}: {said:?}");
            assert_eq!(requests.len(), asked, "{name}, {at}, {fault:?}");
        }
    };
    // Most of it is waiting for who is silent.
    std::thread::scope(|scope| {
        for (name, call_it, good, expected) in calls() {
            for at in 0..good.len() {
                let (good, expected) = (good.clone(), expected.clone());
                scope.spawn(move || meet(name, call_it, &good, at, &expected));
            }
        }
    });
}

#[test]
fn what_is_denied_or_missing_is_asked_once() {
    let denied = |status| {
        let body = r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#;
        let mut answer = Answer::ok("application/json", body);
        answer.status = status;
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
        assert_eq!(status_of(&error), Some(status));
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

/// What a registry answers to those without a token.
fn asks() -> Answer {
    Answer::status(401).header(
        r#"WWW-Authenticate: Bearer realm="http://127.0.0.1:PORT/token",service="registry""#,
    )
}

fn token() -> Answer {
    Answer::ok("application/json", r#"{"token":"x"}"#)
}

fn push(repository: &Repository) -> Result<String> {
    Ok(format!("{:?}", repository.push_blob(&blob(), None)?))
}

/// The first lines of requests, without the protocol.
fn starts(requests: &[String]) -> Vec<&str> {
    let lines = requests.iter().map(|request| request.lines().next());
    lines
        .map(|line| line.unwrap().trim_end_matches(" HTTP/1.1"))
        .collect()
}

#[test]
fn a_token_has_either_name_or_both() {
    for (answer, expected) in [
        (r#"{"token":"x","access_token":"x"}"#, Some("Bearer x")),
        (r#"{"token":"x","access_token":""}"#, Some("Bearer x")),
        (r#"{"token":"","access_token":"y"}"#, Some("Bearer y")),
        (r#"{"token":null,"access_token":"y"}"#, Some("Bearer y")),
        (r#"{"access_token":"y","expires_in":60}"#, Some("Bearer y")),
        (r#"{"token":""}"#, None),
        ("{}", None),
    ] {
        let answers = vec![asks(), Answer::ok("application/json", answer), ok("")];
        let (mut results, said, requests) = call(
            answers,
            Credentials::default(),
            &[|r| Ok(format!("{:?}", r.digest(&tag())?))],
        );
        assert!(said.is_empty(), "{answer}: {said:?}");
        match (results.remove(0), expected) {
            (Ok(_), Some(expected)) => assert!(requests[2].contains(expected), "{answer}"),
            (Err(error), None) => {
                let error = format!("{error:#}");
                assert!(
                    error.ends_with("get a token: the answer has no token"),
                    "{error}"
                );
            }
            (result, _) => panic!("{answer}: {result:?}"),
        }
    }
}

#[test]
fn who_is_about_to_push_asks_for_leave_to_push() {
    let read = "repository%3Aa%2Fb%3Apull";
    let write = "repository%3Aa%2Fb%3Apull%2Cpush";
    let (begun, stored) = (
        Answer::status(202).header("Location: /upload"),
        Answer::status(201),
    );
    let missing = Answer::status(404);
    let table: [(Call, Vec<Answer>, &str, &str); 4] = [
        (
            |r| Ok(format!("{:?}", r.digest(&tag())?)),
            vec![missing.clone()],
            read,
            "None",
        ),
        (
            |r| {
                let image = r.full_name().parse().map_err(anyhow::Error::msg)?;
                let repository = r.registries.repository(&image).for_push();
                Ok(format!(
                    "{:?}",
                    repository.tagged(&"1.0.0".parse().unwrap())?
                ))
            },
            vec![missing.clone()],
            write,
            "None",
        ),
        (
            push,
            vec![missing.clone(), begun, stored],
            write,
            "Uploaded",
        ),
        (
            |r| Ok(format!("{:?}", r.mount_blob(&digest(), None)?)),
            vec![missing],
            write,
            "None",
        ),
    ];
    for (call_it, answers, scope, expected) in table {
        let answers = [vec![asks(), token()], answers].concat();
        let (mut results, _, requests) = call(answers, Credentials::default(), &[call_it]);
        assert_eq!(results.remove(0).unwrap(), expected, "{requests:?}");
        let asked = format!("GET /token?service=registry&scope={scope}");
        assert_eq!(starts(&requests)[1], asked);
    }
    // Whoever only reads does not take a denial for an absence.
    let (mut results, _, _) = call(
        vec![asks(), Answer::status(401)],
        Credentials::default(),
        &[|r| Ok(format!("{:?}", r.digest(&tag())?))],
    );
    let error = results.remove(0).unwrap_err();
    assert_eq!(status_of(&error), Some(401), "{error:#}");
}

#[test]
fn what_a_registry_does_not_mount_is_uploaded() {
    let (begun, stored) = (
        Answer::status(202).header("Location: /upload"),
        Answer::status(201),
    );
    let upload = [Answer::status(404), begun, stored];
    let by_push: Call = |r| Ok(format!("{:?}", r.push_blob(&blob(), Some("a/base"))?));
    let by_mount: Call = |r| Ok(format!("{:?}", r.mount_blob(&digest(), Some("a/base"))?));
    for status in [401, 403, 404, 405] {
        let refused = Answer::status(status);
        let answers = [std::slice::from_ref(&refused), &upload].concat();
        let (mut results, _, _) = call(answers, Credentials::default(), &[by_push]);
        assert_eq!(results.remove(0).unwrap(), "Uploaded", "{status}");
        let answers = vec![refused.clone(), Answer::status(404)];
        let (mut results, _, _) = call(answers, Credentials::default(), &[by_mount]);
        assert_eq!(results.remove(0).unwrap(), "None", "{status}");
        // The token server denies both repositories in one token, not the one.
        let answers = [&[asks(), refused, token()], &upload[..]].concat();
        let asked = answers.len();
        let (mut results, said, requests) = call(answers, Credentials::default(), &[by_push]);
        assert_eq!(results.remove(0).unwrap(), "Uploaded", "{status}");
        assert!(said.is_empty() && requests.len() == asked, "{requests:?}");
    }
}

#[test]
fn an_upload_is_not_repeated_blindly() {
    let missing = Answer::status(404);
    let begun = Answer::status(202).header("Location: /upload");
    let start = [missing.clone(), begun.clone()];
    // The content arrived, and the answer did not.
    let answers = [&start[..], &[Answer::hang_up(), ok("")]].concat();
    let (mut results, said, requests) = call(answers, Credentials::default(), &[push]);
    assert_eq!(results.remove(0).unwrap(), "Uploaded");
    assert_eq!(said.len(), 1, "{said:?}");
    let blob = format!("HEAD /v2/a/b/blobs/{}", digest());
    let put = format!("PUT /upload?digest=sha256%3A{}", digest().hex());
    let post = "POST /v2/a/b/blobs/uploads/";
    assert_eq!(starts(&requests), [&blob, post, &put, &blob]);
    // The session is gone before the content came.
    let answers = [
        &start[..],
        std::slice::from_ref(&missing),
        &start,
        &[Answer::status(201)],
    ]
    .concat();
    let (mut results, said, requests) = call(answers, Credentials::default(), &[push]);
    assert_eq!(results.remove(0).unwrap(), "Uploaded");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(starts(&requests), [&blob, post, &put, &blob, post, &put]);
    // No session is given out at all.
    let answers = vec![missing.clone(), missing];
    let (mut results, said, requests) = call(answers, Credentials::default(), &[push]);
    assert_eq!(status_of(&results.remove(0).unwrap_err()), Some(404));
    assert!(said.is_empty() && requests.len() == 2, "{said:?}");
}

/// The tag may stand where it should, though the order that set it was never answered and the next one is refused.
#[test]
fn a_tag_that_can_not_be_moved_may_be_set_already() {
    let put_tag: Call = |r| Ok(format!("{:?}", r.put_manifest(&tag(), &document())?.digest));
    let other =
        Answer::status(200).header(&format!("Docker-Content-Digest: {}", Digest::of(b"other")));
    let [put, head] = ["PUT", "HEAD"].map(|method| format!("{method} /v2/a/b/manifests/1.0.0"));
    for refusal in [400, 409, 412] {
        for (there, is_set) in [
            (ok(""), true),
            (other.clone(), false),
            (Answer::status(404), false),
        ] {
            let answers = vec![Answer::hang_up(), Answer::status(refusal), there];
            let (mut results, _, requests) = call(answers, Credentials::default(), &[put_tag]);
            match results.remove(0) {
                Ok(put) => assert!(is_set && put == format!("{:?}", digest())),
                Err(error) => assert!(!is_set && status_of(&error) == Some(refusal), "{error:#}"),
            }
            assert_eq!(starts(&requests), [&put, &put, &head]);
        }
        // A first order is refused for what it is.
        let answers = vec![Answer::status(refusal), ok("")];
        let (mut results, _, requests) = call(answers, Credentials::default(), &[put_tag]);
        assert_eq!(status_of(&results.remove(0).unwrap_err()), Some(refusal));
        assert_eq!(starts(&requests), [&put]);
    }
}

#[test]
fn a_registry_may_keep_no_lists_of_what_is_attached() {
    let lists: Call = |r| {
        let listed = r.referrers(&digest())?;
        Ok(format!("{:?}", listed.map(|listed| listed.len())))
    };
    let [_, manifest, index] = image();
    let page = serve(&index);
    let next = format!(
        "Link: </v2/a/b/referrers/{}?next=1>; rel=\"next\"",
        digest()
    );
    for (answers, expected) in [
        (vec![Answer::status(400)], "None"),
        (vec![Answer::status(404)], "None"),
        (vec![Answer::status(405)], "None"),
        (vec![Answer::status(406)], "None"),
        (vec![Answer::ok("text/html", "<html>")], "None"),
        (
            vec![Answer::ok(&format!("{INDEX}; charset=utf-8"), BODY)],
            "Some(0)",
        ),
        (vec![page.clone().header(&next), page], "Some(4)"),
    ] {
        let asked = answers.len();
        let (mut results, _, requests) = call(answers, Credentials::default(), &[lists]);
        assert_eq!(results.remove(0).unwrap(), expected);
        assert_eq!(requests.len(), asked);
    }
    let (mut results, _, requests) = call(
        vec![Answer::status(405), serve(&manifest)],
        Credentials::default(),
        &[|r| {
            let attachment = Attachment {
                media_type: "a/a",
                content: Vec::new(),
            };
            Ok(format!("{:?}", r.attach(&document(), &[attachment])?))
        }],
    );
    let tag = Reference::Tag(format!("sha256-{}", digest().hex()).parse().unwrap());
    let expected = format!("{:?}", Attached::Nowhere(tag));
    assert_eq!(results.remove(0).unwrap(), expected);
    assert_eq!(requests.len(), 2);
}

#[test]
fn a_list_is_whole_or_an_error() {
    let page = |next: &str| {
        let next = format!("Link: <{next}>; rel=next");
        Answer::ok(INDEX, r#"{"tags": ["b"]}"#).header(&next)
    };
    let last = Answer::ok(INDEX, r#"{"tags": ["a"]}"#);
    for (next, answer, expected) in [
        // As behind a proxy that ends TLS, the other way round.
        (
            "https://127.0.0.1:PORT/v2/a/b/tags/list?last=b",
            &last,
            Ok(r#"Some(["b", "a"])"#),
        ),
        (
            "http://localhost:PORT/v2/a/b/tags/list?last=b",
            &last,
            Err("the next page is on another host: http://localhost:"),
        ),
        (
            "/v2/a/b/tags/list?last=b",
            &Answer::status(404),
            Err("/v2/a/b/tags/list?last=b: this next page is not there"),
        ),
    ] {
        let answers = vec![page(next), answer.clone()];
        let tags: Call = |r| Ok(format!("{:?}", r.tags()?));
        let (mut results, _, _) = call(answers, Credentials::default(), &[tags]);
        match (results.remove(0), expected) {
            (Ok(tags), Ok(expected)) => assert_eq!(tags, expected),
            (Err(error), Err(expected)) => {
                let error = format!("{error:#}");
                assert!(error.contains(expected), "{error}");
            }
            (result, _) => panic!("{next}: {result:?}"),
        }
    }
}
