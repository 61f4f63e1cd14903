//! The environment in which a connector's own tools run: its lock file with the dependency groups, installed from
//! the store by hash, below target/.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Context,
    planner::{self, Ask, BasePython},
    wheels::Wheels,
};
use crate::{
    model::{
        connector::{Connector, Language},
        image::ImageRef,
        lock::Lock,
        platform::Platform,
        problem::Problem,
        pyproject::Pyproject,
        target::Interpreter,
    },
    plan::{
        build::base_image,
        dependencies::{self, Closure},
    },
    tools::{python_environment::PythonEnvironment, uv},
};

/// What all environments of one run share.
pub struct Environments<'a> {
    context: &'a Context<'a>,
    pub uv: Utf8PathBuf,
    wheels: Wheels<'a>,
}

/// What a connector's tools are given.
pub enum Tooling {
    /// An environment, and the variables that make tools use it.
    Ready {
        environment: PythonEnvironment,
        variables: Vec<(String, String)>,
    },
    /// The connector asks for none: why.
    Missing(String),
}

impl<'a> Environments<'a> {
    /// Finds uv and opens the store. Without an engine only locks that hold wheels alone can be installed.
    pub fn open(context: &'a Context) -> Result<Environments<'a>> {
        let images = context.docker_images()?;
        Ok(Environments {
            context,
            uv: uv::for_host(&context.resolved.config.tools.uv, &context.repo.tools())?,
            wheels: Wheels::open(context, context.engine.native(), &images)?,
        })
    }

    /// The environment of a connector, made when its lock changed since the last time. Packages that are asked for and
    /// not locked are an error, as a stale lock is.
    pub fn of(&self, connector: &Connector) -> Result<Tooling> {
        let root = &self.context.repo.root;
        let place = packaged_in(connector);
        let Some((pyproject, lock)) = planner::packaging(root, &place)? else {
            return Ok(Tooling::Missing(format!(
                "there is no {place}/pyproject.toml"
            )));
        };
        let Some(lock) = lock else {
            return Err(Problem::usage(format!("{place} has no lock file"))
                .help(format!(
                    "run `uv lock` or `poetry lock` in {place}, and commit the lock file"
                ))
                .into());
        };
        let environment =
            PythonEnvironment::at(self.context.repo.work(&connector.name).join("environment"));
        self.make(connector, &environment, &pyproject, &lock)
            .with_context(|| format!("make the environment of {}'s tools", connector.name))?;
        let variables =
            environment.variables(&self.uv, &module_path(root, connector, &pyproject))?;
        Ok(Tooling::Ready {
            environment,
            variables,
        })
    }

    fn make(
        &self,
        connector: &Connector,
        environment: &PythonEnvironment,
        pyproject: &Pyproject,
        lock: &Lock,
    ) -> Result<()> {
        let base = base_image(connector, &self.context.resolved.config).ok();
        let base = base.as_ref().map(|base| &base.used);
        let version = self.python(base)?;
        let closure_of = |interpreter: Interpreter| {
            dependencies::development(pyproject, lock, interpreter.on(Platform::host()))
        };
        // The list itself says best what is in an environment.
        let key = |closure: &Closure| format!("{version}\n{}", closure.requirements(|_| None));
        if let Ok(interpreter) = environment.interpreter()
            && environment.is(&key(&closure_of(interpreter)?))
        {
            return Ok(());
        }
        let closure = closure_of(environment.make(&self.uv, &version)?)?;
        let list = self
            .wheels
            .requirements(connector.name.as_str(), base, &closure)?;
        let step = self
            .context
            .report
            .step(format!("{} environment", connector.name));
        environment.install(&self.uv, &list, &key(&closure))?;
        step.done(format_args!("{} packages", closure.packages.len()));
        Ok(())
    }

    /// The Python of the base image, as far as it is known, such as `3.11`.
    fn python(&self, base: Option<&ImageRef>) -> Result<String> {
        let interpreter = match base {
            Some(base) => BasePython::of(self.context, base, Ask::Nobody)?.interpreter,
            None => Interpreter::USUAL,
        };
        Ok(format!(
            "{}.{}",
            interpreter.python.major, interpreter.python.minor
        ))
    }
}

/// Where a connector says what its tools need: beside its tests where the rest of it is no Python package.
pub fn packaged_in(connector: &Connector) -> Utf8PathBuf {
    match connector.language {
        Some(Language::ManifestOnly) => connector.directory.join("unit_tests"),
        _ => connector.directory.clone(),
    }
}

/// The connector's own package is not installed but found, so its files are run where they are.
fn module_path(root: &Utf8Path, connector: &Connector, pyproject: &Pyproject) -> Vec<Utf8PathBuf> {
    if connector.language != Some(Language::Python) {
        return Vec::new();
    }
    let directory = root.join(&connector.directory);
    let below = pyproject
        .package_roots
        .iter()
        .map(|root| directory.join(root));
    let below: Vec<_> = below.filter(|path| path.is_dir()).collect();
    [directory].into_iter().chain(below).collect()
}
