//! What registries know of the connectors that are checked.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::{
    commands::{Context, online},
    model::{connector::Connector, image::ImageRef},
    plan::{checks::online::Online, published},
};

/// The answers about each connector whose metadata can be read, by directory.
pub fn ask(
    context: &Context,
    directories: &[Utf8PathBuf],
) -> Result<BTreeMap<Utf8PathBuf, Online>> {
    // Metadata that can't be read is a finding already.
    let connectors = context.repo.load_from(directories)?.connectors;
    let say = |line: &str| context.report.note(line);
    let online = online::Online::new(context, &say)?;
    let registry = &context.resolved.config.registry;
    let published = |connector: &Connector| published::reference(connector, registry);
    let images: BTreeSet<ImageRef> = connectors
        .iter()
        .filter_map(|one| published(one).ok())
        .collect();
    let bases: BTreeSet<ImageRef> = connectors.iter().filter_map(base).collect();
    let (tags, digests) = (online.tags(&images), online.digests(&bases));
    let of = |connector: &Connector| {
        let found =
            |image: &ImageRef| Some(digests.get(image)?.clone().map(|digest| digest.is_some()));
        Online {
            base: base(connector).and_then(|image| found(&image)),
            tags: published(connector).and_then(|image| {
                tags.get(&image.name())
                    .cloned()
                    .unwrap_or_else(|| Ok(Vec::new()))
            }),
        }
    };
    Ok(connectors
        .iter()
        .map(|connector| (connector.directory.clone(), of(connector)))
        .collect())
}

/// The base image that must be there; one without a digest is the schema's to say.
fn base(connector: &Connector) -> Option<ImageRef> {
    let image = connector.metadata.base_image.clone()?;
    image.digest.is_some().then_some(image)
}
