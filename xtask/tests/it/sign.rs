//! What `publish --sign` has cosign do, and who may sign.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_yaml::Value;

use crate::{
    end_to_end::publish::{Registry, one},
    monorepo::{Finished, Monorepo, executable},
};

/// Keeps its arguments; signs with a key or an identity unless $FAKE_COSIGN is set, and ends as that says when it verifies.
const COSIGN: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$RECORD"
[ "$1" = verify ] && exit "$FAKE_COSIGN"
[ -n "$COSIGN_PRIVATE_KEY$ACTIONS_ID_TOKEN_REQUEST_TOKEN" ] && [ -z "$FAKE_COSIGN" ] && exit
echo 'Error: signing: getting signer: getting key from Fulcio: retrieving cert: no identity' >&2
exit 1
"#;

/// Publishes source-a to `registry`.
fn publish(registry: &Registry, repo: &Monorepo, variables: &[(&str, &str)]) -> Finished {
    let to = format!("--registry={}/airbyte", registry.address);
    let publish = ["publish", "source-a", "--dry-run=false", "--sign", &to];
    with_cosign(repo, variables, &publish)
}

/// A verb of `connector` with a cosign whose calls are kept, and these variables.
fn with_cosign(repo: &Monorepo, variables: &[(&str, &str)], verb: &[&str]) -> Finished {
    let programs = repo.scratch().join("bin");
    executable(&programs.join("cosign"), COSIGN);
    let mut xtask = repo.xtask();
    for name in [
        "COSIGN_PRIVATE_KEY",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "SIGSTORE_ID_TOKEN",
        "GITHUB_ACTIONS",
    ] {
        xtask.command.env_remove(name);
    }
    let path = xtask.command.get_envs().find(|(name, _)| *name == "PATH");
    let path = path.unwrap().1.unwrap().to_str().unwrap().to_owned();
    let mut xtask = xtask
        .env("PATH", &format!("{}:{path}", programs.display()))
        .env("RECORD", record(repo).to_str().unwrap())
        .env("DOCKER_CONFIG", repo.scratch().to_str().unwrap())
        .env("GITHUB_REPOSITORY", "acme/my.fleet");
    for (name, value) in variables {
        xtask = xtask.env(name, value);
    }
    xtask.run(&[&["connector"], verb].concat())
}

fn record(repo: &Monorepo) -> PathBuf {
    repo.scratch().join("cosign.log")
}

#[test]
fn without_key_or_identity_nothing_is_tagged_and_the_job_is_told_what_it_lacks() {
    let (registry, repo) = (Registry::start(), one());
    let failed = publish(&registry, &repo, &[]).code(1);
    let failed = failed
        .says("cosign sign --yes --allow-insecure-registry")
        .says("retrieving cert: no identity")
        .says("help: keyless signing takes a job with `permissions: id-token: write`; or set COSIGN_PRIVATE_KEY");
    assert!(
        !failed.stderr.contains("check the signature"),
        "{failed:#?}"
    );
    assert_eq!(registry.digest("1.2.3"), "");
}

#[test]
fn a_job_without_key_or_identity_builds_nothing() {
    let (registry, repo) = (Registry::start(), one());
    publish(&registry, &repo, &[("GITHUB_ACTIONS", "true")])
        .code(3)
        .says("--sign: there is no key, and this job may not ask for an identity")
        .says("help: keyless signing takes a job with `permissions: id-token: write`");
    assert!(!record(&repo).exists() && !repo.log().contains("buildx build"));
}

#[test]
fn who_has_an_identity_is_not_told_to_get_one() {
    let (registry, repo) = (Registry::start(), one());
    let has = [
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
        ("FAKE_COSIGN", "down"),
    ];
    let failed = publish(&registry, &repo, &has).code(1);
    assert!(!failed.stderr.contains("id-token"), "{failed:#?}");
}

#[test]
fn what_is_pushed_is_signed_by_digest_and_the_command_that_checks_it_is_printed() {
    let keyless = "--certificate-oidc-issuer https://token.actions.githubusercontent.com \
                   --certificate-identity-regexp '^https://github\\.com/acme/my\\.fleet/'";
    for (variable, signs, checks) in [
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "", keyless),
        (
            "COSIGN_PRIVATE_KEY",
            "--key env://COSIGN_PRIVATE_KEY --tlog-upload=false ",
            "--key cosign.pub --insecure-ignore-tlog=true",
        ),
    ] {
        let (registry, repo) = (Registry::start(), one());
        let signed = publish(&registry, &repo, &[(variable, "secret")]).code(0);
        let image = format!(
            "{}/airbyte/source-a@{}",
            registry.address,
            registry.digest("1.2.3")
        );
        assert_eq!(
            fs::read_to_string(record(&repo)).unwrap(),
            format!("sign --yes {signs}--allow-insecure-registry {image}\n")
        );
        let signed = signed
            .says("  + tag      ")
            .says(", once its digest is signed\n");
        signed.says(&format!(
            "check the signature: cosign verify {checks} --allow-insecure-registry {image}\n"
        ));
    }
}

#[test]
fn a_signature_that_cosign_could_not_judge_is_unknown_and_no_wrong_one() {
    let (registry, repo) = (Registry::start(), one());
    publish(&registry, &repo, &[("COSIGN_PRIVATE_KEY", "secret")]).code(0);
    let image = format!("{}/airbyte/source-a:1.2.3", registry.address);
    let standing = |ends: &str, key: &str| {
        let variables = [("FAKE_COSIGN", ends), ("COSIGN_PUBLIC_KEY", key)];
        let verified = with_cosign(&repo, &variables, &["verify", &image, "--json"]).json();
        let checks = verified["checks"].as_array().unwrap();
        let signature = checks.iter().find(|check| check["what"] == "signature");
        signature.unwrap()["standing"].as_str().unwrap().to_owned()
    };
    assert_eq!(standing("0", ""), "none", "the fake signs nothing");
    assert_eq!(standing("0", "key"), "wrong", "the key expects a signature");
    let signature = registry.digest("1.2.3").replace(':', "-") + ".sig";
    registry.put(&signature, &registry.index("1.2.3"));
    for (ends, expected) in [("0", "ok"), ("12", "wrong"), ("1", "unknown")] {
        assert_eq!(standing(ends, "key"), expected, "{ends}");
    }
}

/// Jobs that run code of a hundred connectors could else sign as this repository.
#[test]
fn only_jobs_that_sign_may_ask_for_an_identity() {
    let workflows = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows");
    let mut signing = 0;
    for file in fs::read_dir(workflows).unwrap() {
        let file = file.unwrap().path();
        let workflow: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        for (name, job) in workflow["jobs"].as_mapping().unwrap() {
            let permissions = [&workflow["permissions"], &job["permissions"]];
            let may = permissions.iter().any(|one| one["id-token"] == "write");
            let signs = job["with"]["sign"] == true;
            assert_eq!(may, signs, "{}: {name:?}", file.display());
            signing += usize::from(signs);
        }
    }
    assert_eq!(signing, 2, "publish and publish-connector can sign");
}
