//! Has manifests judged by the CDK inside a base image, in a container without a network.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::docker::Engine;
use crate::model::{image::ImageRef, platform::Platform, problem::Problem};

const SCRIPT: &str = include_str!("manifest_check.py");
/// Importing the CDK takes seconds, a manifest a tenth of one; the image may have to be pulled first.
const LIMIT: Duration = Duration::from_secs(900);

/// The two files of a connector that a CDK judges.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    pub manifest: String,
    pub components: Option<String>,
}

/// What a CDK has against manifests, by the name of the connector.
#[derive(Debug, Deserialize)]
pub struct Answer<Fault> {
    /// Version of the CDK that judged.
    pub cdk: String,
    pub found: BTreeMap<String, Vec<Fault>>,
}

/// Asks the CDK of `base` about many manifests at once: importing it takes longer than judging one.
pub fn ask<Fault: DeserializeOwned>(
    engine: &Engine,
    base: &ImageRef,
    native: Platform,
    manifests: &BTreeMap<&str, Manifest>,
) -> Result<Answer<Fault>> {
    let input = serde_json::to_vec(manifests).context("write the manifests as JSON")?;
    let finished =
        engine.run_untrusted(base, native, &["python", "-c", SCRIPT], LIMIT, |program| {
            program.input(input)
        })?;
    if !finished.status.success() || finished.timed_out.is_some() {
        // The command line holds the whole script and says nothing.
        let message = format!(
            "ask the CDK of {base} about manifests: the container {}\n{}",
            finished.ending(),
            super::process::indent(&finished.tail())
        );
        return Err(Problem::failure(message)
            .help("check connectorBuildOptions.baseImage in metadata.yaml, the engine and the network")
            .into());
    }
    serde_json::from_slice(&finished.stdout)
        .with_context(|| format!("read what the CDK of {base} says of manifests"))
}
