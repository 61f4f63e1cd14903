//! One file a verb: load, plan, execute, report.

mod assemble;
mod bench;
mod build;
mod bump;
mod cache;
mod check;
mod ci;
mod config;
mod doctor;
mod edits;
mod environment;
mod image;
mod info;
mod list;
mod made;
mod manifests;
mod online;
mod package;
mod planner;
mod publish;
mod sandbox;
mod scan;
mod selection;
mod specs;
mod test;
mod tool_checks;
mod up_to_date;
mod verify;
mod wheels;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use toml::Value;

use self::sandbox::{Sandbox, Up};
use crate::{
    flags::{self, Command, Connector, Xtask},
    model::{
        config::{Origin, Resolved},
        problem::Exit,
    },
    repo::Repo,
    report::Report,
    tools::{docker::Engine, docker_images, grype, work},
};

/// What every command works with.
pub struct Context<'a> {
    pub repo: Repo,
    pub resolved: Resolved,
    /// The engine to build and run with; `--sandbox` sets it to the repository's own.
    pub engine: Engine,
    pub report: &'a Report,
}

/// From the command line to the function that does it.
pub fn run(flags: Xtask, report: &Report) -> Result<Exit> {
    let repo = Repo::find(flags.global.directory.as_deref())?;
    let resolved = repo.configuration(&flags.global.settings)?;
    let mut context = Context {
        repo,
        resolved,
        engine: Engine::default(),
        report,
    };
    if flags.global.sandbox && needs_engine(&flags.command) {
        context.enter_sandbox()?;
    }
    match flags.command {
        Command::Connector(Connector::Build(flags)) => build::run(&context, &flags),
        Command::Connector(Connector::PublishPackage(flags)) => package::run(&context, &flags),
        Command::Connector(Connector::Scan(flags)) => scan::run(&context, &flags),
        Command::Connector(Connector::Publish(publish)) => {
            publish::run(&mut context, &flags.global, &publish)
        }
        Command::Connector(Connector::Rescan(flags)) => scan::rescan(&context, &flags),
        Command::Connector(Connector::Verify(flags)) => verify::run(&context, &flags),
        Command::Connector(Connector::Check(flags)) => check::run(&context, &flags),
        Command::Connector(Connector::Bump(flags)) => bump::run(&context, &flags),
        Command::Connector(Connector::Test(flags)) => test::run(&context, &flags),
        Command::Connector(Connector::Schema) => check::schema(&context),
        Command::Connector(Connector::UpToDate(flags)) => up_to_date::run(&context, &flags),
        Command::Connector(Connector::List(flags)) => list::run(&context, &flags),
        Command::Connector(Connector::Info(flags)) => info::run(&context, &flags),
        Command::Doctor(flags) => doctor::run(&context, &flags),
        Command::Sandbox(flags::Sandbox::Up(flags)) => sandbox::up(&context, &flags),
        Command::Sandbox(flags::Sandbox::Status(flags)) => sandbox::status(&context, &flags),
        Command::Sandbox(flags::Sandbox::Down(flags)) => sandbox::down(&context, &flags),
        Command::Config(flags) => config::run(&context, &flags),
        Command::Bench(flags) => bench::run(&context, &flags),
        Command::Cache(flags) => cache::run(&context, &flags),
        Command::Ci => ci::run(&context),
    }
}

/// Whether `--sandbox` has anything to bring up for it.
fn needs_engine(command: &Command) -> bool {
    matches!(
        command,
        Command::Connector(
            Connector::Build(_)
                | Connector::Scan(_)
                | Connector::Rescan(_)
                | Connector::Verify(_)
                | Connector::PublishPackage(_)
                | Connector::Info(_)
                | Connector::Test(_)
        ) | Command::Doctor(_)
            | Command::Config(_)
            | Command::Bench(_)
    ) || matches!(command, Command::Connector(Connector::Check(flags)) if flags.runs_tools() || flags.online)
}

impl Context<'_> {
    /// The Dockerfiles that images are built from: the repository's, or those that come with this program.
    pub fn docker_images(&self) -> Result<Utf8PathBuf> {
        let configured = self.repo.root.join(&self.resolved.config.docker_images);
        docker_images::directory(&configured, &self.repo.target().join("docker-images"))
    }

    /// What the vulnerability scanner may be made of; `tools` keeps it.
    pub fn scanner<'a>(&'a self, tools: &'a Utf8Path) -> Result<grype::Sources<'a>> {
        let config = &self.resolved.config.tools;
        Ok(grype::Sources {
            tools: config,
            image: config.scanner_image()?,
            engine: &self.engine,
            cache: tools,
        })
    }

    /// The repository's own engine, up or not.
    pub fn sandbox(&self) -> Sandbox<'_> {
        Sandbox::new(&self.repo, &self.resolved.config)
    }

    /// Brings the sandbox up and works with it from here on.
    fn enter_sandbox(&mut self) -> Result<()> {
        let up = self.sandbox().up(self.report)?;
        self.enter(&up)
    }

    /// Makes the sandbox the engine to work with, its registry the one to publish to, and its images the stand-ins.
    fn enter(&mut self, up: &Up) -> Result<()> {
        self.engine = Engine::at(up.docker_host.clone());
        // What configuration stands in goes first.
        let mut stand_ins = up.stand_ins.clone();
        stand_ins.extend(self.resolved.config.stand_ins.clone());
        let stand_ins = Value::try_from(stand_ins).context("list the sandbox's base images")?;
        // The namespace stays: only the host changes.
        let namespace = self
            .resolved
            .config
            .registry
            .split_once('/')
            .map_or("", |(_, namespace)| namespace);
        let registry = Value::String(format!("{}/{namespace}", up.registry));
        for (key, value) in [("stand-ins", stand_ins), ("registry", registry)] {
            self.resolved
                .set(key, value, Origin::Sandbox, "--sandbox")?;
        }
        Ok(())
    }
}
