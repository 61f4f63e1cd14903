//! Puts images together without a builder: the base's layers, then layers of whole wheels, then one of the connector's
//! own files.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};

use super::{
    Context,
    wheels::{Located, Wheels},
    work::{each, joined},
};
use crate::{
    model::{
        base_package::BasePackage,
        connector::Language,
        ignored_files::IgnoredFiles,
        image::Digest,
        layer::Layer,
        platform::Platform,
        published_layers::{Recipe, Wheel},
    },
    plan::{
        assembly::{self, Image, NamedLayer, On, Runs},
        build::{BuildPlan, CODE, ENTRY_POINT, PlannedDependencies, PythonPlan},
    },
    tools::{
        base_store::{Base, BaseStore},
        byte_code::{ByteCode, Compiler, Interpreter},
        docker::Engine,
        docker_images,
        engine_store::Sent,
        layer::{LayerWriter, Mode, Owner},
        layer_store::LayerStore,
        layout::{Layout, LayoutWriter},
        machine_check::Seen,
        published_layers::PublishedLayers,
        registry::{Credentials, Registries},
        tree::{Content, Tree},
        wheel_file,
        wheel_install::{self, Installed, Source},
    },
};

/// Changes when wheels are laid out, compiled or packed in another way.
const FORMAT: &str = "4";

/// What all assemblies of one run share.
pub struct Assembler<'a> {
    context: &'a Context<'a>,
    pub bases: BaseStore<'a>,
    layers: LayerStore,
    published: PublishedLayers<'a>,
}

/// One assembly: what it is of and what it uses.
struct Assembly<'a> {
    plan: &'a BuildPlan,
    layers: &'a LayerStore,
    layout: &'a LayoutWriter,
    ignored: IgnoredFiles,
    published: &'a PublishedLayers<'a>,
    seen: Seen,
    /// There is a layer of packages that was not in the store before.
    is_new: AtomicBool,
}

/// The Python side of an assembly.
#[derive(Clone, Copy)]
struct Python<'a> {
    plan: &'a PythonPlan,
    wheels: &'a Wheels<'a>,
    base: &'a Base,
    engine: &'a Engine,
    compiler: &'a Compiler,
}

impl<'a> Assembler<'a> {
    /// Reads credentials and opens the store; fails where either can't be done. No registry is asked yet.
    pub fn new(context: &'a Context<'a>) -> Result<Assembler<'a>> {
        let say = |line: &str| context.report.note(line);
        let registries = Registries::new(Credentials::gather()?, say);
        let store = context.repo.store();
        Ok(Assembler {
            context,
            bases: BaseStore::new(registries, &store),
            layers: LayerStore::in_store(&store)?,
            published: PublishedLayers::new(say)?,
        })
    }

    /// Makes the plan's image as a layout that lacks the layers of its base, and says what an engine may lack of it.
    /// `busy` hears what is being done.
    pub fn assemble(
        &self,
        plan: &BuildPlan,
        wheels: Option<&Wheels<'_>>,
        busy: impl Fn(&str),
    ) -> Result<(Layout, Sent)> {
        let base = self.bases.get(&plan.base.used, &plan.platforms)?;
        let layout = LayoutWriter::begin(&plan.layout)?;
        let assembly = Assembly {
            plan,
            layers: &self.layers,
            layout: &layout,
            ignored: docker_images::ignored_files(&plan.dockerfile)?,
            published: &self.published,
            seen: Seen::in_target(&self.context.repo.target()),
            is_new: AtomicBool::new(false),
        };
        let (mut layers, own) = if let (Some(python), Some(wheels)) = (&plan.python, wheels) {
            let interpreter = Interpreter {
                engine: &self.context.engine,
                image: &plan.base.used,
                native: wheels.native(),
                python: python.interpreter.python,
                scratch: &plan.layout,
            };
            busy("layers of packages");
            interpreter.serve(|compiler| {
                assembly.python(&Python {
                    plan: python,
                    wheels,
                    base: &base,
                    engine: &self.context.engine,
                    compiler,
                })
            })?
        } else {
            (BTreeMap::new(), assembly.own_layer(&assembly.files()?)?)
        };
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
        let lacking = match assembly.is_new.into_inner() {
            true => Sent::Everything,
            false => Sent::Small,
        };
        Ok((layout.finish(&index)?, lacking))
    }
}

/// Wheels that are one layer together.
struct Group<'w> {
    key: Digest,
    wheels: Vec<&'w Located>,
    /// Of the wheels together, in bytes.
    size: u64,
    holds: String,
}

impl<'w> Group<'w> {
    fn new(wheels: Vec<&'w Located>, size: u64, python: &PythonPlan) -> Group<'w> {
        let all = || wheels.iter().map(|located| &located.wheel);
        let names: Vec<&str> = all().map(|wheel| stem(&wheel.name)).collect();
        let hashes = all().map(|wheel| wheel.hash.to_string());
        Group {
            key: key(python, &hashes.collect::<Vec<_>>()),
            holds: names.join(" "),
            wheels,
            size,
        }
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            key: self.key.clone(),
            wheels: self
                .wheels
                .iter()
                .map(|located| located.wheel.clone())
                .collect(),
        }
    }
}

/// Names a layer by all that it is made from.
fn key(python: &PythonPlan, from: &[impl AsRef<str>]) -> Digest {
    let mut recipe = format!("{FORMAT}\n{}\n", python.interpreter.python);
    for part in from {
        recipe.push_str(&format!("{}\n", part.as_ref()));
    }
    Digest::of(recipe.as_bytes())
}

/// `NAME-VERSION` of a wheel's file name.
fn stem(name: &str) -> &str {
    name.match_indices('-')
        .nth(1)
        .map_or(name, |(end, _)| &name[..end])
}

impl Assembly<'_> {
    /// The layers of the locked packages on each platform, and that of the connector itself.
    fn python(
        &self,
        python: &Python<'_>,
    ) -> Result<(BTreeMap<Platform, Vec<NamedLayer>>, NamedLayer)> {
        thread::scope(|scope| {
            scope.spawn(|| self.pull_base(python));
            let library = scope.spawn(|| self.standard_library(python));
            let removals = scope.spawn(|| self.removals(python));
            let own = scope.spawn(|| self.own_layer(&self.package(python)?));
            let packages = self.packages(python);
            let (library, removals, own) = (joined(library), joined(removals), joined(own));
            let (mut layers, library, mut removals) = (packages?, library?, removals?);
            for (platform, layers) in &mut layers {
                let first = removals.remove(platform).into_iter();
                layers.splice(..0, first.chain(library.clone()));
            }
            Ok((layers, own?))
        })
    }

    /// An engine that never saw this closure may lack the base too. What can't be pulled is told by the step that needs it.
    fn pull_base(&self, python: &Python<'_>) {
        if let PlannedDependencies::Locked(summary) = &python.plan.dependencies
            && python.wheels.lacks(summary).unwrap_or(false)
        {
            for platform in &self.plan.platforms {
                let _ = python.engine.pull_once(&self.plan.base.used, *platform);
            }
        }
    }

    /// The layer of the standard library's byte-code, empty where the base image comes with it; None for a base that has
    /// nothing for the native platform. Whoever runs a connector can't keep what Python compiles, so each start would
    /// compile it again.
    fn standard_library(&self, python: &Python<'_>) -> Result<Option<NamedLayer>> {
        let Some(native) = python.base.platforms.get(&python.wheels.native()) else {
            return Ok(None);
        };
        let image = native.manifest.config().digest().to_string();
        let key = key(python.plan, &["standard library", &image]);
        let make = || {
            let mut tree = Tree::default();
            add_byte_code(&mut tree, Owner::Root, python.compiler.standard_library()?);
            Ok(tree)
        };
        self.layer_of_base(key, "byte-code of the standard library", make)
            .map(Some)
    }

    /// The layers that remove packages of the base image, on each platform where some make way for others.
    fn removals(&self, python: &Python<'_>) -> Result<BTreeMap<Platform, NamedLayer>> {
        let removal = |(platform, replaced): (&Platform, &Vec<BasePackage>)| {
            let paths = python.plan.removed(*platform);
            let names: Vec<String> = replaced.iter().map(BasePackage::to_string).collect();
            let make = || {
                let mut tree = Tree::default();
                paths.iter().for_each(|path| tree.remove(path));
                Ok(tree)
            };
            let holds = format!("removal of {}", names.join(", "));
            let layer = self.layer_of_base(key(python.plan, &paths), &holds, make)?;
            Ok((*platform, layer))
        };
        python.plan.replaces.iter().map(removal).collect()
    }

    /// A layer that depends on the base image and on no wheel.
    fn layer_of_base(
        &self,
        key: Digest,
        holds: &str,
        make: impl FnOnce() -> Result<Tree>,
    ) -> Result<NamedLayer> {
        let layer = match self.layers.get(&key).or_else(|| self.take(&key)) {
            Some(layer) => layer,
            None => self.pack(&key, &make()?)?,
        };
        let recipe = Recipe {
            key,
            wheels: Vec::new(),
        };
        self.named(layer, holds, recipe)
    }

    /// The layers of the locked packages; those that the store lacks are made, all of them before the first is used.
    fn packages(&self, python: &Python<'_>) -> Result<BTreeMap<Platform, Vec<NamedLayer>>> {
        let PlannedDependencies::Locked(summary) = &python.plan.dependencies else {
            anyhow::bail!("{} has no lock", self.plan.connector);
        };
        let jobs = NonZeroUsize::MIN.saturating_add(thread::available_parallelism()?.get());
        let mut needed = BTreeSet::new();
        let located = loop {
            let located = python.wheels.located(self.plan, summary, |id| {
                let from = self.plan.layers_from.as_ref()?;
                let wheel = self.published.wheel(from, id);
                wheel.filter(|_| !needed.contains(id))
            })?;
            let groups = grouped(&located, python.plan);
            let missing = self.missing(&groups);
            let missing: Vec<&Group<'_>> = missing.into_iter().flatten().collect();
            let taken = each(&missing, jobs, |group| self.take(&group.key));
            let lacking = missing
                .iter()
                .zip(taken)
                .filter(|(_, taken)| taken.is_none());
            let wheels = lacking.flat_map(|(group, _)| &group.wheels);
            // A layer that has to be made needs its wheels here. They may have other sizes than was said.
            let before = needed.len();
            needed.extend(
                wheels
                    .filter(|located| located.path.is_none())
                    .map(|located| located.wheel.id().to_owned()),
            );
            if needed.len() == before {
                break located;
            }
        };
        let groups = grouped(&located, python.plan);
        let made = each(&self.missing(&groups), jobs, |alike| {
            self.make(alike, python)
        });
        made.into_iter().collect::<Result<Vec<()>>>()?;
        let named = |group: &Group<'_>| {
            let layer = self.layers.get(&group.key);
            let layer = layer.with_context(|| format!("layer of {} is gone", group.holds))?;
            self.named(layer, &group.holds, group.recipe())
        };
        let layers = groups.iter().map(|(platform, groups)| {
            let layers: Result<Vec<NamedLayer>> = groups.iter().map(named).collect();
            Ok((*platform, layers?))
        });
        layers.collect()
    }

    /// The groups that the store lacks, the largest first; those of the same packages stand together.
    fn missing<'g>(
        &self,
        groups: &'g BTreeMap<Platform, Vec<Group<'_>>>,
    ) -> Vec<Vec<&'g Group<'g>>> {
        let mut alike: BTreeMap<&str, Vec<&Group<'_>>> = BTreeMap::new();
        for group in groups.values().flatten() {
            let same = alike.entry(&group.holds).or_default();
            if self.layers.get(&group.key).is_none()
                && same.iter().all(|other| other.key != group.key)
            {
                same.push(group);
            }
        }
        let mut missing: Vec<Vec<&Group<'_>>> = alike.into_values().collect();
        missing.retain(|alike| !alike.is_empty());
        missing.sort_by_key(|alike| std::cmp::Reverse(alike[0].size));
        missing
    }

    /// A layer that this machine lacks, from the repository that the plan names.
    fn take(&self, key: &Digest) -> Option<Layer> {
        let from = self.plan.layers_from.as_ref()?;
        let taken = self.published.take(from, key, self.layers);
        self.is_new.fetch_or(taken.is_some(), Ordering::Relaxed);
        taken
    }

    fn named(&self, layer: Layer, holds: &str, recipe: Recipe) -> Result<NamedLayer> {
        self.layout
            .link(&layer.digest, &self.layers.blob(&layer.digest))?;
        Ok(NamedLayer {
            layer,
            holds: holds.to_owned(),
            recipe: Some(recipe),
        })
    }

    /// Installs, compiles and packs the wheels of each group, one after the other, with few of their files in memory at
    /// a time. What is the same on several platforms is compiled once.
    fn make(&self, alike: &[&Group<'_>], python: &Python<'_>) -> Result<()> {
        let mut known: BTreeMap<Digest, ByteCode> = BTreeMap::new();
        let mut groups = alike.iter().peekable();
        while let Some(group) = groups.next() {
            let mut tree = Tree::default();
            let mut compiled = BTreeMap::new();
            for wheel in &group.wheels {
                let path = python.wheels.whole(wheel)?;
                let installed = wheel_install::install(&path, python.plan.interpreter.python)?;
                let code = code_of(&installed);
                let digest = (alike.len() > 1).then(|| digest_of(&code)).transpose()?;
                let byte_code = match digest.as_ref().and_then(|digest| known.remove(digest)) {
                    Some(byte_code) => byte_code,
                    None => python.compiler.compile(read(&code))?,
                };
                if let (Some(digest), Some(_)) = (digest, groups.peek()) {
                    compiled.insert(digest, byte_code.clone());
                }
                add_installed(&mut tree, installed);
                add_byte_code(&mut tree, Owner::Root, byte_code);
            }
            known = compiled;
            self.pack(&group.key, &tree)?;
        }
        Ok(())
    }

    fn pack(&self, key: &Digest, tree: &Tree) -> Result<Layer> {
        let packed = self.layers.make(key, |writer| tree.write(writer))?;
        let diff_id = &packed.layer.diff_id;
        self.seen
            .packed(&self.plan.platforms, diff_id, &packed.code)?;
        self.is_new.store(true, Ordering::Relaxed);
        Ok(packed.layer)
    }

    fn own_layer(&self, tree: &Tree) -> Result<NamedLayer> {
        let mut writer = LayerWriter::new(Vec::new());
        let packed = tree.write(&mut writer).and_then(|()| writer.finish());
        let written =
            packed.with_context(|| format!("pack the files of {}", self.plan.connector))?;
        self.layout
            .put_blob(&written.layer.digest, &written.inner)?;
        Ok(NamedLayer {
            layer: written.layer,
            holds: format!("files of {}", self.plan.connector),
            recipe: None,
        })
    }

    /// The connector's own files, as its Dockerfile has them.
    fn files(&self) -> Result<Tree> {
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
        Ok(tree)
    }

    /// The connector's own files and package, the byte-code of both and the script that starts it.
    fn package(&self, python: &Python<'_>) -> Result<Tree> {
        let mut tree = self.files()?;
        let code = CODE.trim_start_matches('/');
        let files = tree.contents()?;
        let top = self.plan.connector.snake();
        let source: Vec<(String, Vec<u8>)> = files
            .iter()
            .map(|(path, bytes)| (path.replacen(code, &top, 1), bytes.clone()))
            .collect();
        let source = wheel_file::pack(&source)?;
        let mut code = files;
        code.retain(|path, _| path.ends_with(".py"));
        let (wheel, compiled) = thread::scope(|scope| {
            // Starts the compiler's container beside that of the package.
            let compiled = scope.spawn(|| python.compiler.compile(code.into_iter().map(Ok)));
            let wheel = python.wheels.own(self.plan, python.plan, &source);
            (wheel, joined(compiled))
        });
        let installed = wheel_install::install(&wheel?.path, python.plan.interpreter.python)?;
        let of_package = python.compiler.compile(read(&code_of(&installed)))?;
        add_installed(&mut tree, installed);
        add_byte_code(&mut tree, Owner::Root, of_package);
        add_byte_code(&mut tree, Owner::Airbyte, compiled?);
        let command = python.plan.entry_point.command(CODE);
        let script = Content::Bytes {
            bytes: format!("#!/bin/sh\nexec {command} \"$@\"\n").into_bytes(),
            mode: Mode::Executable,
        };
        tree.add(ENTRY_POINT.trim_start_matches('/'), Owner::Root, script);
        Ok(tree)
    }
}

/// Which wheels of each platform go into one layer.
fn grouped<'w>(
    located: &'w BTreeMap<Platform, Vec<Located>>,
    python: &PythonPlan,
) -> BTreeMap<Platform, Vec<Group<'w>>> {
    let groups = |wheels: &'w [Located]| {
        let fact = |located: &'w Located| {
            let Wheel { name, size, .. } = &located.wheel;
            assembly::Wheel {
                name: name.split('-').next().unwrap_or_default(),
                size: *size,
                runs: match name.ends_with("-none-any.whl") {
                    true => Runs::Everywhere,
                    false => Runs::OnePlatform,
                },
            }
        };
        let facts: Vec<_> = wheels.iter().map(fact).collect();
        let group = |group: Vec<usize>| {
            let size = group.iter().map(|index| facts[*index].size).sum();
            let wheels = group.into_iter().map(|index| &wheels[index]).collect();
            Group::new(wheels, size, python)
        };
        let groups = assembly::group(&facts).into_iter();
        groups.map(group).collect()
    };
    let platforms = located.iter();
    platforms
        .map(|(platform, wheels)| (*platform, groups(wheels)))
        .collect()
}

/// The Python files of what was installed, for the compiler. Tests have no byte-code: no connector imports them, and
/// they are a third of all code.
fn code_of(installed: &Installed) -> Vec<(&String, &Source)> {
    let is_code = |path: &str| {
        let mut directories = path.split('/').rev().skip(1);
        path.ends_with(".py")
            && path.contains("/site-packages/")
            && !directories.any(|directory| matches!(directory, "test" | "tests"))
    };
    let code = installed.iter().filter(|(path, _)| is_code(path));
    code.map(|(path, (_, source))| (path, source)).collect()
}

/// The files, each read when it is its turn.
fn read(code: &[(&String, &Source)]) -> impl ExactSizeIterator<Item = Result<(String, Vec<u8>)>> {
    let file = |(path, source): &(&String, &Source)| Ok(((*path).clone(), source.read()?));
    code.iter().map(file)
}

fn digest_of(code: &[(&String, &Source)]) -> Result<Digest> {
    let line = |file: Result<(String, Vec<u8>)>| {
        file.map(|(path, bytes)| format!("{path} {}\n", Digest::of(&bytes)))
    };
    let lines = read(code).map(line).collect::<Result<String>>()?;
    Ok(Digest::of(lines.as_bytes()))
}

fn add_installed(tree: &mut Tree, installed: Installed) {
    for (path, (mode, source)) in installed {
        let content = match source {
            Source::Bytes(bytes) => Content::Bytes { bytes, mode },
            Source::Packed(file) => Content::Packed { file, mode },
        };
        tree.add(&path, Owner::Root, content);
    }
}

fn add_byte_code(tree: &mut Tree, owner: Owner, byte_code: ByteCode) {
    for (path, part) in byte_code {
        let mode = Mode::Plain;
        tree.add(&path, owner, Content::Spooled { part, mode });
    }
}
