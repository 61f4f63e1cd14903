//! What is measured on: a clone of the repository, with the engine, and a part of the registry of its own.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt::Display,
    fs,
    os::unix::fs::symlink,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Shell, cmd};

use crate::{
    commands::Context,
    model::{
        bench::Case, config::Origin, connector::Connector, image::ImageRef, platform,
        problem::Problem,
    },
    plan::bench::old_flow,
    repo::Repo,
    tools::{
        docker::Engine,
        files::{remove_directory, write, write_program},
        git,
        grype::{self, Grype},
        host, pip,
        process::Program,
    },
};

/// What all cases of a run work in: made once ([`make`](Self::make)), cleared at the end ([`clear`](Self::clear)).
pub struct Bed<'a> {
    pub context: &'a Context<'a>,
    /// A clone of the repository as it is committed, with connectors made for the bench.
    pub repo: Repo,
    /// This program.
    xtask: Utf8PathBuf,
    /// Registry and namespace; what one run pushes goes below a part of it that no other run used.
    registry: String,
    parts: Cell<u32>,
    /// Where the bench keeps what it makes.
    pub directory: Utf8PathBuf,
}

impl<'a> Bed<'a> {
    /// Clones the repository. The cases that push need a registry that is meant for it.
    pub fn make(context: &'a Context<'a>, cases: &[Case]) -> Result<Bed<'a>> {
        if cases.iter().any(|case| case.needs_engine()) {
            check_registry(context)?;
        }
        let directory = context.repo.target().join("bench");
        let clone = directory.join("repository");
        remove_directory(&clone)?;
        git::clone(&context.repo.root, &clone)?;
        // Programs are fetched once; a machine has them.
        let (tools, repo) = (context.repo.tools(), Repo::at(&clone));
        for directory in [&tools, &repo.target()] {
            fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
        }
        let link = repo.tools();
        symlink(&tools, &link).with_context(|| format!("make {link}"))?;
        write(&directory.join("Dockerfile"), old_flow::DOCKERFILE)?;
        let xtask = std::env::current_exe().context("find this program")?;
        let registry = &context.resolved.config.registry;
        let begun = UNIX_EPOCH.elapsed().context("read the clock")?.as_nanos();
        Ok(Bed {
            context,
            repo,
            xtask: Utf8PathBuf::try_from(xtask).context("this program's path is not UTF-8")?,
            registry: format!("{registry}/bench-{begun}"),
            parts: Cell::new(0),
            directory,
        })
    }

    /// The engine that both sides build with.
    pub fn engine(&self) -> &Engine {
        &self.context.engine
    }

    /// Where the old flow's Dockerfile is.
    pub fn dockerfile(&self) -> Utf8PathBuf {
        self.directory.join("Dockerfile")
    }

    /// Directory of a pip for the old flow's containers, whose base image has none here.
    pub fn pip(&self) -> Result<Utf8PathBuf> {
        pip::for_containers(&self.directory.join("pip"))
    }

    /// A part of the registry that nothing was pushed to yet.
    pub fn empty_registry(&self) -> String {
        self.parts.set(self.parts.get() + 1);
        format!("{}-{}", self.registry, self.parts.get())
    }

    /// This program at work in the clone, publishing to `registry`.
    pub fn xtask(&self, registry: &str, arguments: &[&str]) -> Result<Program> {
        // What the old flow reads too, also where it was given by --config.
        let config = &self.context.resolved.config;
        let mut program = self
            .xtask_in(&self.repo.root, arguments)?
            .env("XTASK_STAND_INS", listed(&config.stand_ins))
            .env("XTASK_MIRRORS", listed(&config.mirrors))
            .env("XTASK_PLATFORMS", platform::join(&config.platforms))
            .env("XTASK_REGISTRY", registry)
            // The store is the clone's own, whatever store this repository shares.
            .env("XTASK_CACHE", "");
        if let Some(host) = &self.engine().host {
            program = program.env("DOCKER_HOST", host);
        }
        Ok(program)
    }

    /// This program publishing these connectors.
    pub fn publish(&self, registry: &str, connectors: &[&str]) -> Result<Program> {
        let flags = ["--dry-run=false", "--push-latest=true", "--json"];
        self.xtask(
            registry,
            &[&["connector", "publish"], connectors, &flags].concat(),
        )
    }

    /// This program publishing all of these connectors once more, built on these images instead of their base images.
    pub fn publish_again(
        &self,
        registry: &str,
        connectors: &[&str],
        stand_ins: &BTreeMap<String, ImageRef>,
    ) -> Result<Program> {
        let publish = self.publish(registry, &[connectors, &["--force-publish"]].concat())?;
        Ok(publish.env("XTASK_STAND_INS", listed(stand_ins)))
    }

    /// The images that stand in for base images here, each with one more layer, as newer ones in `registry`.
    pub fn newer_bases(&self, registry: &str) -> Result<BTreeMap<String, ImageRef>> {
        let context = tempfile::tempdir().context("make a directory for a newer base")?;
        let context = Utf8Path::from_path(context.path()).context("a path is not UTF-8")?;
        let platforms = platform::join(&self.context.resolved.config.platforms);
        let mut newer = BTreeMap::new();
        for (name, base) in &self.context.resolved.config.stand_ins {
            let text = format!("FROM {base}\nCOPY Dockerfile /newer\n# {registry}\n");
            write(&context.join("Dockerfile"), &text)?;
            let image = format!("{registry}/{}:newer", base.repository);
            let build = [
                "buildx",
                "build",
                "--provenance=false",
                &format!("--platform={platforms}"),
                &format!("--output=type=image,name={image},push=true"),
                context.as_str(),
            ];
            self.engine().docker(&build)?.output()?;
            newer.insert(name.clone(), image.parse().map_err(anyhow::Error::msg)?);
        }
        Ok(newer)
    }

    /// This program at work in another repository, without an engine.
    pub fn xtask_in(&self, root: &Utf8Path, arguments: &[&str]) -> Result<Program> {
        let shell = Shell::new().context("open a shell")?;
        let xtask = &self.xtask;
        Ok(Program::from(cmd!(
            shell,
            "{xtask} -C {root} {arguments...}"
        )))
    }

    /// The connector as the clone has it now.
    pub fn connector(&self, name: &str) -> Result<Connector> {
        let fleet = self.repo.load(&self.context.resolved)?;
        let config = &self.context.resolved.config;
        let chosen = fleet
            .select(&self.repo, config, &[name.to_owned()])?
            .whole()?;
        chosen
            .into_iter()
            .next()
            .with_context(|| format!("find {name}"))
    }

    /// Removes images from the engine; those that are not there are as good as removed.
    pub fn remove_images(&self, images: &[ImageRef]) -> Result<()> {
        for image in images {
            let image = image.to_string();
            self.engine()
                .docker(&["image", "rm", "--force", &image])?
                .finish()?;
        }
        Ok(())
    }

    /// How the scanner is called on an image in a registry; None where there is none, or no database for it.
    pub fn scanner(&self) -> Result<Option<Vec<String>>> {
        let config = &self.context.resolved.config;
        let tools = self.context.repo.tools();
        let sources = grype::Sources {
            tools: &config.tools,
            image: config.tools.scanner_image()?,
            engine: self.engine(),
            cache: &tools,
        };
        let grype = Grype::find(&sources)?;
        if grype.database().is_err() {
            return Ok(None);
        }
        Ok(match grype.from {
            grype::From::Path => Some(vec!["grype".to_owned()]),
            grype::From::Built(path) => Some(vec![path.into_string()]),
            // Its report would have to leave the container, which the old flow does not do.
            grype::From::Image(..) => None,
        })
    }

    /// Empties what the engine's builder and this program keep. Fetched programs stay: a machine has them.
    pub fn empty_stores(&self) -> Result<()> {
        self.engine()
            .docker(&["builder", "prune", "--all", "--force"])?
            .output()?;
        let target = self.repo.target();
        let entries = match target.read_dir_utf8() {
            Ok(entries) => entries,
            Err(_) => return Ok(()),
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("read {target}"))?;
            if entry.path() != self.repo.tools() {
                remove_directory(entry.path())?;
            }
        }
        Ok(())
    }

    /// What the engine's builds need of this network.
    pub fn network_flags(&self) -> Vec<String> {
        let mut flags = vec!["--network=host".to_owned()];
        flags.extend(host::ca_bundle().map(|bundle| format!("--secret=id=ca,src={bundle}")));
        flags.extend(
            host::proxy_variables()
                .iter()
                .map(|proxy| format!("--build-arg={proxy}")),
        );
        flags
    }

    /// A PATH that begins with a `docker` that gives these flags to every build, for a program that takes none.
    pub fn docker_with_flags(&self) -> Result<String> {
        let quote = |text: &String| format!("'{}'", text.replace('\'', "'\\''"));
        let pip = format!("--build-context=pip={}", self.pip()?);
        let flags: Vec<String> = self
            .network_flags()
            .iter()
            .chain([&pip])
            .map(quote)
            .collect();
        let path = std::env::var("PATH").context("read PATH")?;
        let script = format!(
            "#!/bin/sh\n# The docker that is next on PATH, with what this network needs.\nPATH={}\n\
             if [ \"$1 $2\" = 'buildx build' ]; then shift 2; set -- buildx build {} \"$@\"; fi\n\
             exec docker \"$@\"\n",
            quote(&path),
            flags.join(" ")
        );
        let directory = self.directory.join("bin");
        write_program(&directory.join("docker"), &script)?;
        Ok(format!("{directory}:{path}"))
    }

    /// A new version of a connector, one line of its code changed with it.
    pub fn release(&self, name: &str) -> Result<()> {
        let connector = self.connector(name)?;
        let directory = self.repo.root.join(&connector.directory);
        let version = connector.metadata.version.to_string();
        let mut next = connector.metadata.version;
        next.patch += 1;
        for file in ["metadata.yaml", "pyproject.toml"] {
            let path = directory.join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            write(&path, &text.replacen(&version, &next.to_string(), 1))?;
        }
        let module = directory.join(connector.name.snake()).join("__init__.py");
        // A line that no earlier bench left in the builder's cache.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        write(&module, &format!("RELEASE = \"{next} at {now}\"\n"))?;
        git::commit_all(&self.repo.root, "Release")
    }

    /// Removes what was pushed to the sandbox's registry; another registry keeps it.
    pub fn clear(&self) -> Result<()> {
        let (_, path) = self
            .registry
            .split_once('/')
            .context("a registry has a namespace")?;
        let parts: Vec<String> = (1..=self.parts.get())
            .map(|part| format!("{path}-{part}"))
            .collect();
        self.context.sandbox().forget(&parts)
    }
}

/// A table as its variable takes it.
fn listed(table: &BTreeMap<String, impl Display>) -> String {
    let pairs = table.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}

/// The bench pushes; a registry that is only the default is not meant for that.
fn check_registry(context: &Context) -> Result<()> {
    match context.resolved.origin("registry") {
        Origin::Environment(_) | Origin::Flag | Origin::Sandbox => Ok(()),
        _ => Err(Problem::usage("the bench pushes images and prunes the engine's builder cache")
            .help("run it with --sandbox, or name an engine (DOCKER_HOST) and a registry (--config registry=HOST/NAMESPACE) that are meant for it")
            .into()),
    }
}
