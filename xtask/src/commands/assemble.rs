//! Puts images together without a builder: the base's layers, then layers of whole wheels, then one of the connector's
//! own files.

use std::{collections::BTreeMap, fs, thread};

use anyhow::{Context as _, Result};

use super::{Context, wheels::Wheels, work::each};
use crate::{
    model::{connector::Language, ignored_files::IgnoredFiles, image::Digest, platform::Platform},
    plan::{
        assembly::{self, Image, NamedLayer, On, Runs, Wheel},
        build::{BuildPlan, CODE, ENTRY_POINT, PlannedDependencies, PythonPlan},
    },
    tools::{
        base_store::BaseStore,
        byte_code::{Compiler, Files},
        docker::Engine,
        docker_images,
        layer::{LayerWriter, Mode, Owner},
        layer_store::LayerStore,
        layout::{Layout, LayoutWriter},
        registry::{Credentials, Registries},
        tree::{Content, Tree},
        wheel_file,
        wheel_install::{self, Installed},
        wheel_store::Stored,
    },
};

/// Changes when wheels are laid out, compiled or packed in another way.
const FORMAT: &str = "2";
/// Wheels that are installed and compiled at once, in bytes.
const BATCH: u64 = 4 << 20;

/// What all assemblies of one run share.
pub struct Assembler<'a> {
    context: &'a Context<'a>,
    bases: BaseStore<'a>,
    layers: LayerStore,
}

/// One assembly: what it is of and what it uses.
struct Assembly<'a> {
    plan: &'a BuildPlan,
    layers: &'a LayerStore,
    layout: &'a LayoutWriter,
    ignored: IgnoredFiles,
}

/// The Python side of an assembly.
#[derive(Clone, Copy)]
struct Python<'a> {
    plan: &'a PythonPlan,
    wheels: &'a Wheels<'a>,
    compiler: Compiler<'a>,
}

impl<'a> Assembler<'a> {
    pub fn new(context: &'a Context<'a>) -> Result<Assembler<'a>> {
        let say = |line: &str| context.report.note(line);
        let registries = Registries::new(Credentials::gather()?, say);
        let store = context.repo.store();
        Ok(Assembler {
            context,
            bases: BaseStore::new(registries, &store.join("bases")),
            layers: LayerStore::in_store(&store),
        })
    }

    /// Makes the plan's image as a layout that lacks the layers of its base. `busy` hears what is being done.
    pub fn assemble(
        &self,
        plan: &BuildPlan,
        wheels: Option<&Wheels<'_>>,
        busy: impl Fn(&str),
    ) -> Result<Layout> {
        let base = self.bases.get(&plan.base.used, &plan.platforms)?;
        let layout = LayoutWriter::begin(&plan.layout)?;
        let assembly = Assembly {
            plan,
            layers: &self.layers,
            layout: &layout,
            ignored: docker_images::ignored_files(&plan.dockerfile)?,
        };
        let mut layers: BTreeMap<Platform, Vec<NamedLayer>> = BTreeMap::new();
        let own = if let (Some(python), Some(wheels)) = (&plan.python, wheels) {
            let compiler = Compiler {
                engine: &self.context.engine,
                image: &plan.base.used,
                native: wheels.native(),
                python: python.interpreter.python,
            };
            let python = Python {
                plan: python,
                wheels,
                compiler,
            };
            busy("layers of packages");
            layers = assembly.packages(&python)?;
            busy("its own files");
            assembly.own_layer(Some(&python))
        } else {
            assembly.own_layer(None)
        };
        let own = own.with_context(|| format!("pack the files of {}", plan.connector))?;
        let settings = plan.settings();
        let mut images: BTreeMap<_, Image> = BTreeMap::new();
        for platform in &plan.platforms {
            let base = &base.platforms[platform];
            let on = On {
                manifest: &base.manifest,
                configuration: &base.configuration,
            };
            let mut layers = layers.remove(platform).unwrap_or_default();
            layers.push(own.clone());
            let image = assembly::image(on, &settings, &layers).map_err(anyhow::Error::msg)?;
            layout.put(&image.configuration)?;
            layout.put(&image.manifest)?;
            images.insert(*platform, image);
        }
        let index = assembly::index(&images).map_err(anyhow::Error::msg)?;
        layout.finish(&index)
    }
}

/// Wheels that are one layer together.
struct Group<'w> {
    key: Digest,
    wheels: Vec<&'w Stored>,
    /// Of the wheels together, in bytes.
    size: u64,
    holds: String,
}

impl<'w> Group<'w> {
    fn new(wheels: Vec<&'w Stored>, size: u64, python: &PythonPlan) -> Group<'w> {
        let names: Vec<&str> = wheels.iter().map(|wheel| stem(wheel.name())).collect();
        let mut recipe = format!("{FORMAT}\n{}\n", python.interpreter.python);
        for wheel in &wheels {
            recipe.push_str(&format!("{}\n", wheel.hash));
        }
        Group {
            key: Digest::of(recipe.as_bytes()),
            holds: names.join(" "),
            wheels,
            size,
        }
    }
}

/// `NAME-VERSION` of a wheel's file name.
fn stem(name: &str) -> &str {
    name.match_indices('-')
        .nth(1)
        .map_or(name, |(end, _)| &name[..end])
}

impl Assembly<'_> {
    /// The layers of the locked packages; those that the store lacks are made, all of them before the first is used.
    fn packages(&self, python: &Python<'_>) -> Result<BTreeMap<Platform, Vec<NamedLayer>>> {
        let PlannedDependencies::Locked(summary) = &python.plan.dependencies else {
            anyhow::bail!("{} has no lock", self.plan.connector);
        };
        let installed = thread::scope(|scope| {
            if python.wheels.lacks(summary)? {
                // An engine that never saw this closure may lack the base too; what can't be pulled is told by the
                // step that needs it.
                scope.spawn(|| self.pull_base(python.compiler.engine));
            }
            python.wheels.installed(self.plan, summary)
        })?;
        let mut groups: BTreeMap<Platform, Vec<Group<'_>>> = BTreeMap::new();
        for (platform, wheels) in &installed {
            groups.insert(*platform, grouped(wheels, python.plan)?);
        }
        let mut missing: BTreeMap<&Digest, &Group<'_>> = BTreeMap::new();
        for group in groups.values().flatten() {
            if self.layers.get(&group.key).is_none() {
                missing.insert(&group.key, group);
            }
        }
        let missing = missing.into_values().collect();
        let jobs = thread::available_parallelism()?;
        let batches = batches(missing);
        let made = each(&batches, jobs, |batch| self.make(batch, python));
        made.into_iter().collect::<Result<Vec<()>>>()?;
        let named = |group: &Group<'_>| {
            let layer = self.layers.get(&group.key);
            let layer = layer.with_context(|| format!("layer of {} is gone", group.holds))?;
            self.layout
                .link(&layer.digest, &self.layers.blob(&layer.digest))?;
            Ok(NamedLayer {
                layer,
                holds: group.holds.clone(),
            })
        };
        let layers = groups.iter().map(|(platform, groups)| {
            let layers: Result<Vec<NamedLayer>> = groups.iter().map(named).collect();
            Ok((*platform, layers?))
        });
        layers.collect()
    }

    fn pull_base(&self, engine: &Engine) {
        for platform in &self.plan.platforms {
            let _ = engine.pull(&self.plan.base.used, *platform);
        }
    }

    /// Installs the wheels of some groups, has one container compile them all, and packs each group.
    fn make(&self, groups: &[&Group<'_>], python: &Python<'_>) -> Result<()> {
        let mut trees = Vec::new();
        let mut sources = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let mut tree = Tree::default();
            for wheel in &group.wheels {
                let bytes =
                    fs::read(&wheel.path).with_context(|| format!("read {}", wheel.path))?;
                let installed =
                    wheel_install::install(wheel.name(), &bytes, python.compiler.python)?;
                sources.push((number, code_of(&installed)));
                add_installed(&mut tree, installed);
            }
            trees.push(tree);
        }
        let code: Vec<&Files> = sources.iter().map(|(_, files)| files).collect();
        let compiled = python.compiler.compile(&code)?;
        for ((number, _), files) in sources.iter().zip(compiled) {
            add_plain(&mut trees[*number], Owner::Root, files);
        }
        for (group, tree) in groups.iter().zip(trees) {
            self.layers.make(&group.key, |writer| tree.write(writer))?;
        }
        Ok(())
    }

    /// The connector's own files and package, as its Dockerfile has them.
    fn own_layer(&self, python: Option<&Python<'_>>) -> Result<NamedLayer> {
        let mut tree = Tree::default();
        let code = CODE.trim_start_matches('/');
        tree.add_directory(code, Owner::Airbyte, &self.plan.directory, &self.ignored)?;
        if self.plan.language == Language::ManifestOnly {
            // The CDK reads both from the package that runs them.
            for file in ["manifest.yaml", "components.py"] {
                let path = self.plan.directory.join(file);
                if path.is_file() {
                    let path_inside = format!("{code}/source_declarative_manifest/{file}");
                    tree.add(&path_inside, Owner::Airbyte, Content::plain(path));
                }
            }
        }
        if let Some(python) = python {
            self.add_package(&mut tree, python)?;
        }
        let mut writer = LayerWriter::new(Vec::new());
        tree.write(&mut writer)?;
        let written = writer.finish()?;
        self.layout
            .put_blob(&written.layer.digest, &written.inner)?;
        Ok(NamedLayer {
            layer: written.layer,
            holds: format!("files of {}", self.plan.connector),
        })
    }

    /// Adds the connector's own package, the byte-code of all its files and the script that starts it.
    fn add_package(&self, tree: &mut Tree, python: &Python<'_>) -> Result<()> {
        let code = CODE.trim_start_matches('/');
        let files = tree.contents()?;
        let top = self.plan.connector.snake();
        let source: Vec<(String, Vec<u8>)> = files
            .iter()
            .map(|(path, bytes)| (path.replacen(code, &top, 1), bytes.clone()))
            .collect();
        let wheel = python
            .wheels
            .own(self.plan, python.plan, &wheel_file::pack(&source)?)?;
        let bytes = fs::read(&wheel.path).with_context(|| format!("read {}", wheel.path))?;
        let installed = wheel_install::install(wheel.name(), &bytes, python.compiler.python)?;
        let compiled = python.compiler.compile(&[&code_of(&installed), &files])?;
        add_installed(tree, installed);
        for (owner, files) in [Owner::Root, Owner::Airbyte].into_iter().zip(compiled) {
            add_plain(tree, owner, files);
        }
        let command = python.plan.entry_point.command(CODE);
        let script = Content::Bytes {
            bytes: format!("#!/bin/sh\nexec {command} \"$@\"\n").into_bytes(),
            mode: Mode::Executable,
        };
        tree.add(ENTRY_POINT.trim_start_matches('/'), Owner::Root, script);
        Ok(())
    }
}

/// Splits groups into runs that are made at once: a container costs more to start than most groups to compile, and
/// what one run installs is held in memory.
fn batches<'g, 'w>(groups: Vec<&'g Group<'w>>) -> Vec<Vec<&'g Group<'w>>> {
    let mut batches = Vec::new();
    let mut size = u64::MAX;
    for group in groups {
        if size.saturating_add(group.size) > BATCH {
            batches.push(Vec::new());
            size = 0;
        }
        size += group.size;
        if let Some(batch) = batches.last_mut() {
            batch.push(group);
        }
    }
    batches
}

/// Which wheels of one platform go into one layer.
fn grouped<'w>(wheels: &'w [Stored], python: &PythonPlan) -> Result<Vec<Group<'w>>> {
    let mut facts = Vec::new();
    for wheel in wheels {
        let metadata = wheel.path.metadata();
        let metadata = metadata.with_context(|| format!("read {}", wheel.path))?;
        let name = wheel.name().split('-').next().unwrap_or_default();
        facts.push(Wheel {
            name,
            size: metadata.len(),
            runs: if wheel.name().ends_with("-none-any.whl") {
                Runs::Everywhere
            } else {
                Runs::OnePlatform
            },
        });
    }
    let groups = assembly::group(&facts);
    let group = |group: Vec<usize>| {
        let size = group.iter().map(|index| facts[*index].size).sum();
        let wheels = group.into_iter().map(|index| &wheels[index]).collect();
        Group::new(wheels, size, python)
    };
    Ok(groups.into_iter().map(group).collect())
}

/// The Python files of what was installed, for the compiler.
fn code_of(installed: &Installed) -> Files {
    let files = installed.iter();
    let code = files.filter(|(path, _)| path.ends_with(".py") && path.contains("/site-packages/"));
    code.map(|(path, (_, bytes))| (path.clone(), bytes.clone()))
        .collect()
}

fn add_installed(tree: &mut Tree, installed: Installed) {
    for (path, (mode, bytes)) in installed {
        tree.add(&path, Owner::Root, Content::Bytes { bytes, mode });
    }
}

fn add_plain(tree: &mut Tree, owner: Owner, files: Files) {
    for (path, bytes) in files {
        let mode = Mode::Plain;
        tree.add(&path, owner, Content::Bytes { bytes, mode });
    }
}
