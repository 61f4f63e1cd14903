//! What registries know of the connectors that are checked.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::{
    commands::{Context, online},
    model::{connector::Connector, image::ImageRef},
    plan::{
        checks::online::{Base, Online},
        published,
    },
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
    let bases = connectors.iter().filter_map(base);
    let bases: BTreeSet<ImageRef> = bases
        .flat_map(|base| [base.clone().without_digest(), base])
        .collect();
    let (tags, digests) = (online.tags(&images), online.digests(&bases));
    let of = |connector: &Connector| {
        let found = |declared: ImageRef| {
            let digest = |image: &ImageRef| digests[image].clone();
            Ok(Base {
                there: digest(&declared)?.is_some(),
                tagged: digest(&declared.clone().without_digest())?,
                declared,
            })
        };
        Online {
            base: base(connector).map(found),
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

/// The base image that must be there; one without a tag or digest is `base-image`'s to say.
fn base(connector: &Connector) -> Option<ImageRef> {
    let image = connector.metadata.base_image.clone()?;
    (image.tag.is_some() && image.digest.is_some()).then_some(image)
}
