//! Has the manifests of connectors judged by the CDKs of their base images, one container for each base image.

use std::{collections::BTreeMap, fs, io::ErrorKind};

use anyhow::{Context as _, Result};

use super::Context;
use crate::{
    model::{
        connector::{Connector, Language},
        image::ImageRef,
        problem::Problem,
    },
    plan::{build::base_image, checks::tools::ManifestFault},
    tools::manifest_check::{self, Manifest},
};

/// What a manifest-only connector is made of, from its directory.
pub const MANIFEST: &str = "manifest.yaml";
/// Python code that a manifest may name classes of; it need not be there.
pub const COMPONENTS: &str = "components.py";

/// What a CDK says of one connector.
pub struct Judged {
    /// Version of the CDK.
    pub cdk: String,
    pub files: Manifest,
    pub faults: Vec<ManifestFault>,
}

/// Connectors with one base image, and the files that its CDK judges.
type OnBase<'a> = (ImageRef, BTreeMap<&'a str, Manifest>);

/// What the CDKs say, by the names of those connectors that are manifest-only.
pub fn judge<'a>(
    context: &Context,
    connectors: &'a [Connector],
) -> BTreeMap<&'a str, Result<Judged>> {
    let mut judged = BTreeMap::new();
    let mut bases: BTreeMap<String, OnBase> = BTreeMap::new();
    let manifest_only = connectors
        .iter()
        .filter(|connector| connector.language == Some(Language::ManifestOnly));
    for connector in manifest_only {
        let name = connector.name.as_str();
        match gather(context, connector) {
            Ok((base, files)) => {
                let on_base = bases.entry(base.to_string());
                let (_, all) = on_base.or_insert_with(|| (base, BTreeMap::new()));
                all.insert(name, files);
            }
            Err(error) => _ = judged.insert(name, Err(error)),
        }
    }
    for (base, manifests) in bases.into_values() {
        judged.extend(judge_on(context, &base, manifests));
    }
    judged
}

fn judge_on<'a>(
    context: &Context,
    base: &ImageRef,
    manifests: BTreeMap<&'a str, Manifest>,
) -> Vec<(&'a str, Result<Judged>)> {
    let step = context.report.step(format!("manifests on {base}"));
    let answer = context.engine.info().and_then(|info| {
        let native = info.native();
        manifest_check::ask(&context.engine, base, native, &manifests)
    });
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            step.failed();
            let error = error.context(format!("have manifests judged on {base}"));
            let names = manifests.into_keys();
            return names
                .map(|name| (name, Err(Problem::again(&error).into())))
                .collect();
        }
    };
    step.done(format_args!(
        "{} judged by CDK {}",
        manifests.len(),
        answer.cdk
    ));
    let of = |(name, files): (&'a str, Manifest)| {
        let faults = answer.found.remove(name);
        let judged = faults.map(|faults| Judged {
            cdk: answer.cdk.clone(),
            files,
            faults,
        });
        (
            name,
            judged.with_context(|| format!("the CDK of {base} says nothing of {name}")),
        )
    };
    manifests.into_iter().map(of).collect()
}

fn gather(context: &Context, connector: &Connector) -> Result<(ImageRef, Manifest)> {
    let base = base_image(connector, &context.resolved.config)?;
    let directory = context.repo.root.join(&connector.directory);
    let read = |file: &str| {
        let path = directory.join(file);
        fs::read_to_string(&path).map_err(|error| (path, error))
    };
    let manifest = read(MANIFEST)
        .map_err(|(path, error)| anyhow::Error::new(error).context(format!("read {path}")))?;
    let components = match read(COMPONENTS) {
        Ok(text) => Some(text),
        Err((_, error)) if error.kind() == ErrorKind::NotFound => None,
        Err((path, error)) => return Err(error).with_context(|| format!("read {path}")),
    };
    let files = Manifest {
        manifest,
        components,
    };
    Ok((base.used, files))
}
