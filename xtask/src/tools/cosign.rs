//! cosign: signs images in their registry.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::{
    github,
    process::{self, Program},
    registry::is_loopback,
};
use crate::model::{
    image::Digest,
    problem::{Exit, Problem},
};

/// Signing asks a registry and, without a key, an identity provider and a log.
const SIGN: Duration = Duration::from_secs(180);
/// Holds the private key itself, in PEM.
const KEY: &str = "COSIGN_PRIVATE_KEY";
/// Holds the public key itself, in PEM.
const PUBLIC_KEY: &str = "COSIGN_PUBLIC_KEY";
/// What a job of Actions has when it may ask for an identity.
const IDENTITY: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// An identity from elsewhere.
const TOKEN: &str = "SIGSTORE_ID_TOKEN";

/// With these cosign says that a signature is missing or wrong (its cmd/cosign/errors/exit_codes.go); with 1 that it could
/// not find out.
const NOT_SIGNED: std::ops::RangeInclusive<i32> = 10..=13;
const IDENTITY_HELP: &str = "keyless signing takes a job with `permissions: id-token: write`; or set COSIGN_PRIVATE_KEY to a key in PEM";

/// Makes sure that images can be signed here.
///
/// # Errors
/// When there is no cosign, and in a job of Actions that gives it neither key nor identity: cosign would wait for somebody
/// to log in.
pub fn ready() -> Result<(), Problem> {
    if !process::installed("cosign") {
        return Err(Problem::environment("--sign: cosign is not installed")
            .help("install cosign 2 (https://docs.sigstore.dev), or publish without --sign"));
    }
    if github::is_runner() && lacks_identity() {
        return Err(Problem::environment(
            "--sign: there is no key, and this job may not ask for an identity",
        )
        .help(IDENTITY_HELP));
    }
    Ok(())
}

/// Signs `image`, which is named by its digest, with the registry credentials of docker's configuration directory. A
/// signature by key is not entered in the public log.
///
/// # Errors
/// With cosign's own words; where it had neither key nor identity, with how it gets one.
pub fn sign(image: &str, configuration: Option<&Path>) -> Result<()> {
    let shell = Shell::new().context("open a shell")?;
    let mut flags = vec!["--yes"];
    if by_key() {
        flags.extend(["--key", "env://COSIGN_PRIVATE_KEY", "--tlog-upload=false"]);
    }
    flags.extend(insecure(image));
    if let Some(directory) = configuration {
        shell.set_var("DOCKER_CONFIG", directory);
    }
    let signed = Program::from(cmd!(shell, "cosign sign {flags...} {image}"))
        .limit(SIGN)
        .output()
        .with_context(|| format!("sign {image}"));
    match signed {
        Err(error) if lacks_identity() => Err(Problem::again(&error).help(IDENTITY_HELP).into()),
        signed => signed.map(drop),
    }
}

/// Whether the environment says whose signature an image should have.
pub fn is_expected() -> bool {
    is_set(PUBLIC_KEY)
}

/// The tag that cosign keeps the signatures of an image under: its digest, with `-` for `:` (cosign's SPEC.md,
/// "Tag-based discovery").
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// Checks the signature of `image`, which is named by its digest: by the key in COSIGN_PUBLIC_KEY, which is no entry of
/// the public log, else by the identity of this repository's workflows.
///
/// # Errors
/// With cosign's own words when no signature is right. When there is no cosign or it could not find out, that is the
/// environment's.
pub fn verify(image: &str) -> Result<()> {
    if !process::installed("cosign") {
        return Err(Problem::environment("cosign is not installed")
            .help("install cosign 2 (https://docs.sigstore.dev): there is a signature to check")
            .into());
    }
    let mut flags = if is_set(PUBLIC_KEY) {
        let by_key = [
            "--key",
            "env://COSIGN_PUBLIC_KEY",
            "--insecure-ignore-tlog=true",
        ];
        by_key.map(str::to_owned).to_vec()
    } else {
        let repository = std::env::var("GITHUB_REPOSITORY").map_err(|_| {
            Problem::environment("whose signature it should be is not known")
                .help("set COSIGN_PUBLIC_KEY to the key in PEM, or GITHUB_REPOSITORY to the repository that signs keyless")
        })?;
        let [issuer, identity] = keyless(&repository);
        vec![
            format!("--certificate-oidc-issuer={issuer}"),
            format!("--certificate-identity-regexp={identity}"),
        ]
    };
    flags.extend(insecure(image).map(str::to_owned));
    let shell = Shell::new().context("open a shell")?;
    let verified = Program::from(cmd!(shell, "cosign verify {flags...} {image}"))
        .limit(SIGN)
        .finish()?;
    let error = match verified.status.code() {
        Some(0) => return Ok(()),
        Some(code) if NOT_SIGNED.contains(&code) => verified.error(),
        _ => Problem {
            exit: Exit::Environment,
            ..verified.error()
        },
    };
    Err(error.into())
}

/// Who issues the certificate of a keyless signature, and whom it is for as a regular expression. A dot is all that a
/// repository's name can hold of those.
fn keyless(repository: &str) -> [String; 2] {
    [
        "https://token.actions.githubusercontent.com".to_owned(),
        format!(r"^https://github\.com/{}/", repository.replace('.', r"\.")),
    ]
}

/// The command that checks the signature.
pub fn verify_line(image: &str) -> String {
    let insecure: String = insecure(image).map(|flag| format!("{flag} ")).collect();
    let whose = if by_key() {
        "--key cosign.pub --insecure-ignore-tlog=true".to_owned()
    } else {
        let repository =
            std::env::var("GITHUB_REPOSITORY").unwrap_or_else(|_| "OWNER/REPO".to_owned());
        let [issuer, identity] = keyless(&repository);
        format!("--certificate-oidc-issuer {issuer} --certificate-identity-regexp '{identity}'")
    };
    format!("cosign verify {whose} {insecure}{image}")
}

fn by_key() -> bool {
    is_set(KEY)
}

fn lacks_identity() -> bool {
    ![KEY, IDENTITY, TOKEN].into_iter().any(is_set)
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// A registry on this host speaks plain HTTP.
fn insecure(image: &str) -> impl Iterator<Item = &'static str> {
    let host = image.split('/').next().unwrap_or_default();
    is_loopback(host)
        .then_some("--allow-insecure-registry")
        .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_the_repository_stands_for_no_other_name() {
        let [_, identity] = keyless("acme/my.fleet");
        assert_eq!(identity, r"^https://github\.com/acme/my\.fleet/");
    }
}
