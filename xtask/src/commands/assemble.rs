//! Puts images together without a builder: the base's layers, then layers of ours.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::Context;
use crate::{
    model::{connector::Language, ignored_files::IgnoredFiles},
    plan::{
        assembly::{self, Image, NamedLayer, On},
        build::{BuildPlan, CODE},
    },
    tools::{
        base_store::BaseStore,
        docker_images,
        layer::{LayerWriter, Owner},
        layout::{Layout, LayoutWriter},
        registry::{Credentials, Registries},
        tree::{Content, Tree},
    },
};

/// What all assemblies of one run share.
pub struct Assembler<'a> {
    bases: BaseStore<'a>,
}

impl<'a> Assembler<'a> {
    pub fn new(context: &'a Context<'a>) -> Result<Assembler<'a>> {
        let say = |line: &str| context.report.note(line);
        let registries = Registries::new(Credentials::gather()?, say);
        Ok(Assembler {
            bases: BaseStore::new(registries, &context.repo.store().join("bases")),
        })
    }

    /// Makes the plan's image as a layout that lacks the layers of its base.
    pub fn assemble(&self, plan: &BuildPlan) -> Result<Layout> {
        let base = self.bases.get(&plan.base.used, &plan.platforms)?;
        let ignored = docker_images::ignored_files(&plan.dockerfile)?;
        let layout = LayoutWriter::begin(&plan.layout)?;
        let own = own_layer(plan, &ignored, &layout)
            .with_context(|| format!("pack the files of {}", plan.connector))?;
        let settings = plan.settings();
        let mut images: BTreeMap<_, Image> = BTreeMap::new();
        for platform in &plan.platforms {
            let base = &base.platforms[platform];
            let on = On {
                manifest: &base.manifest,
                configuration: &base.configuration,
            };
            let layers = [own.clone()];
            let image = assembly::image(on, &settings, &layers).map_err(anyhow::Error::msg)?;
            layout.put(&image.configuration)?;
            layout.put(&image.manifest)?;
            images.insert(*platform, image);
        }
        let index = assembly::index(&images).map_err(anyhow::Error::msg)?;
        layout.finish(&index)
    }
}

/// The connector's own files, as its Dockerfile copies them.
fn own_layer(
    plan: &BuildPlan,
    ignored: &IgnoredFiles,
    layout: &LayoutWriter,
) -> Result<NamedLayer> {
    let code = CODE.trim_start_matches('/');
    let mut tree = Tree::default();
    tree.add_directory(code, Owner::Airbyte, &plan.directory, ignored)?;
    if plan.language == Language::ManifestOnly {
        // The CDK reads both from the package that runs them.
        for file in ["manifest.yaml", "components.py"] {
            let path = plan.directory.join(file);
            if path.is_file() {
                let path_inside = format!("{code}/source_declarative_manifest/{file}");
                tree.add(&path_inside, Owner::Airbyte, Content::plain(path));
            }
        }
    }
    let mut writer = LayerWriter::new(Vec::new());
    tree.write(&mut writer)?;
    let written = writer.finish()?;
    layout.put_blob(&written.layer.digest, &written.inner)?;
    Ok(NamedLayer {
        layer: written.layer,
        holds: format!("files of {}", plan.connector),
    })
}
