//! cosign: signs images in their registry.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::{
    process::{self, Program},
    registry::is_loopback,
};
use crate::model::problem::Problem;

/// Signing asks a registry and, without a key, an identity provider and a log.
const SIGN: Duration = Duration::from_secs(180);
/// Holds the private key itself, in PEM.
const KEY: &str = "COSIGN_PRIVATE_KEY";

/// Whether what is pushed is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    Off,
    On,
}

/// Whether images can be signed here.
///
/// # Errors
/// When there is no cosign.
pub fn ready() -> Result<Signing, Problem> {
    if process::installed("cosign") {
        return Ok(Signing::On);
    }
    Err(Problem::environment("--sign: cosign is not installed")
        .help("install cosign 2 (https://docs.sigstore.dev), or publish without --sign"))
}

/// Signs `image`, which is named by its digest, with the registry credentials of docker's configuration directory. A
/// signature by key is not entered in the public log.
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
    Program::from(cmd!(shell, "cosign sign {flags...} {image}"))
        .limit(SIGN)
        .output()
        .with_context(|| format!("sign {image}"))?;
    Ok(())
}

/// The command that checks the signature.
pub fn verify_line(image: &str) -> String {
    let insecure: String = insecure(image).map(|flag| format!("{flag} ")).collect();
    let whose = if by_key() {
        "--key cosign.pub --insecure-ignore-tlog=true".to_owned()
    } else {
        let repository =
            std::env::var("GITHUB_REPOSITORY").unwrap_or_else(|_| "OWNER/REPO".to_owned());
        format!(
            "--certificate-oidc-issuer https://token.actions.githubusercontent.com \
             --certificate-identity-regexp '^https://github.com/{repository}/'"
        )
    };
    format!("cosign verify {whose} {insecure}{image}")
}

fn by_key() -> bool {
    std::env::var_os(KEY).is_some_and(|value| !value.is_empty())
}

/// A registry on this host speaks plain HTTP.
fn insecure(image: &str) -> impl Iterator<Item = &'static str> {
    let host = image.split('/').next().unwrap_or_default();
    is_loopback(host)
        .then_some("--allow-insecure-registry")
        .into_iter()
}
