//! What `publish --sign` has cosign do, and who may sign.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_yaml::Value;

use crate::{
    end_to_end::publish::{Registry, one},
    monorepo::{Finished, Monorepo},
};

/// Keeps its arguments, and whether it was given the key; fails as cosign does without an identity when it gets none.
const COSIGN: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$RECORD"
[ -n "$COSIGN_PRIVATE_KEY$ACTIONS_ID_TOKEN_REQUEST_TOKEN" ] && [ -z "$FAKE_COSIGN" ] && exit
echo 'Error: signing: getting signer: getting key from Fulcio: retrieving cert: no identity' >&2
exit 1
"#;

/// Publishes source-a to `registry` with a cosign whose calls are kept, and these variables.
fn publish(registry: &Registry, repo: &Monorepo, variables: &[(&str, &str)]) -> Finished {
    let programs = repo.scratch().join("bin");
    fs::create_dir_all(&programs).unwrap();
    let cosign = programs.join("cosign");
    fs::write(&cosign, COSIGN).unwrap();
    fs::set_permissions(&cosign, fs::Permissions::from_mode(0o755)).unwrap();
    let mut xtask = repo.xtask();
    for name in ["COSIGN_PRIVATE_KEY", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"] {
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
    let to = format!("--registry={}/airbyte", registry.address);
    xtask.run(&[
        "connector",
        "publish",
        "source-a",
        "--dry-run=false",
        "--sign",
        &to,
    ])
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
        signed.says(&format!(
            "check the signature: cosign verify {checks} --allow-insecure-registry {image}\n"
        ));
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
