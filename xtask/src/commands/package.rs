//! A connector's Python package: built as in its image, and published to a package index.

use std::fs;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::{
    Context, doctor,
    image::Builder,
    planner::{Ask, Planner, packaging},
    selection,
};
use crate::{
    flags::PublishPackage,
    model::{
        connector::{Connector, ConnectorName},
        image::Tag,
        problem::{Exit, Problem},
    },
    plan::{build::BuildPlan, package::Package, selection::Pages},
    report::exit_of,
    tools::{
        package_index::PackageIndex, process::check_interrupted, uv, wheel_file::WheelFile,
        work::each,
    },
};

/// uv's own variable: uv reads it from the environment, so the token is on no command line.
const TOKEN: &str = "UV_PUBLISH_TOKEN";

/// Whether what was built is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    Yes,
    /// A dry run.
    No,
}

/// What came of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The index has the version: nothing was built.
    Exists,
    /// A dry run: it was built and not uploaded.
    Built,
    Published,
}

/// A connector's package and whether its index has that version.
#[derive(Debug)]
pub struct Found {
    pub package: Package,
    pub exists: bool,
}

/// The package of a connector, looked up on the index; None when the connector is not published as one.
pub fn find(context: &Context, connector: &Connector) -> Result<Option<Found>> {
    let pyproject = match connector.metadata.package {
        Some(_) => packaging(&context.repo.root, &connector.directory)?,
        None => None,
    };
    let pyproject = pyproject.map(|(pyproject, _)| pyproject);
    let Some(package) = Package::of(connector, pyproject.as_ref())? else {
        return Ok(None);
    };
    let index = match context.resolved.config.packages.simple.as_str() {
        "" => PackageIndex::configured()?,
        address => PackageIndex::at(address)?,
    };
    let files = index
        .files(package.name.as_ref())
        .with_context(|| format!("look for {package}"))?;
    let exists = package.is_among(&files);
    Ok(Some(Found { package, exists }))
}

impl Found {
    /// Fails where this can't be published for want of a token: asked before anything is built.
    pub fn expect_token(&self, upload: Upload) -> Result<(), Problem> {
        let set = || std::env::var_os(TOKEN).is_some_and(|token| !token.is_empty());
        if self.exists || upload == Upload::No || set() {
            return Ok(());
        }
        Err(Problem::usage(format!(
            "{} is not published yet, and {TOKEN} is not set",
            self.package
        ))
        .help(format!("set {TOKEN} to a token of the package index, or `enabled: false` under remoteRegistries.pypi")))
    }

    /// Builds the wheel that the image of `plan` holds and uploads it.
    pub fn publish(
        &self,
        context: &Context,
        builder: &Builder,
        plan: &BuildPlan,
        upload: Upload,
    ) -> Result<Outcome> {
        if self.exists {
            return Ok(Outcome::Exists);
        }
        self.expect_token(upload)?;
        let config = &context.resolved.config;
        let step = context.report.step(format!("{} package", plan.connector));
        let wheel = self
            .build(builder, plan, |line| step.busy(line))
            .with_context(|| format!("build package {}", self.package))?;
        let name = wheel.file_name().unwrap_or_default();
        if upload == Upload::No {
            step.done(format_args!("{name}, not uploaded"));
            return Ok(Outcome::Built);
        }
        step.busy("upload");
        let uv = uv::for_host(&config.tools.uv, &context.repo.tools())?;
        let say = |line: &str| context.report.warning(line);
        uv::publish(&uv, &wheel, &config.packages, &say)
            .with_context(|| format!("publish package {}", self.package))?;
        step.done(format_args!("{name} uploaded"));
        Ok(Outcome::Published)
    }

    fn build(
        &self,
        builder: &Builder,
        plan: &BuildPlan,
        log: impl FnMut(&str) + Send,
    ) -> Result<Utf8PathBuf> {
        let files = builder.own_package(plan, log)?;
        match files.as_slice() {
            [file]
                if file
                    .file_name()
                    .is_some_and(|name| self.package.is_built(name)) =>
            {
                self.under_its_name(file)
            }
            _ => {
                let names: Vec<&str> = files.iter().filter_map(|file| file.file_name()).collect();
                Err(Problem::failure(format!(
                    "expected one wheel of {} {}, its build made {}",
                    self.package.built_as,
                    self.package.version,
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    },
                ))
                .into())
            }
        }
    }

    /// The wheel with the name that it is published by.
    fn under_its_name(&self, built: &Utf8Path) -> Result<Utf8PathBuf> {
        let name = built.file_name().unwrap_or_default();
        if self.package.is_in(name) {
            return Ok(built.to_owned());
        }
        let bytes = fs::read(built).with_context(|| format!("read {built}"))?;
        let renamed = WheelFile::read(name, &bytes)?.renamed(&self.package.name)?;
        let path = built.with_file_name(&renamed.name);
        fs::write(&path, renamed.write()?).with_context(|| format!("write {path}"))?;
        Ok(path)
    }
}

/// One connector of `--json`.
#[derive(Serialize)]
struct Row<'a> {
    connector: &'a ConnectorName,
    /// None where it could not be looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a Package>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `connector publish-package`: the packages alone, whatever became of the images.
pub fn run(context: &Context, flags: &PublishPackage) -> Result<Exit> {
    let upload = if flags.dry_run {
        Upload::No
    } else {
        Upload::Yes
    };
    let connectors = selection::chosen(context, &flags.selection, Pages::Ignore)?.whole()?;
    let found = each(&connectors, context.resolved.config.parallelism(), |one| {
        find(context, one)
    });
    let mut wanted = Vec::new();
    for (connector, found) in connectors.iter().zip(found) {
        match found.transpose() {
            Some(found) => wanted.push((connector, found)),
            None => context.report.note(format_args!(
                "{} is not published as a package: remoteRegistries.pypi is not enabled",
                connector.name
            )),
        }
    }
    let known = wanted.iter();
    let known = known.filter_map(|(connector, found)| Some((*connector, found.as_ref().ok()?)));
    let known: Vec<(&Connector, &Found)> = known.collect();
    for (_, found) in &known {
        found.expect_token(upload)?;
    }
    let mut results = publish_all(context, &known, upload)?.into_iter();
    let done = wanted.into_iter().filter_map(|(connector, found)| {
        let (package, result) = match found {
            Ok(found) => (Some(found.package), results.next()?),
            Err(error) => (None, Err(error)),
        };
        Some((&connector.name, package, result))
    });
    report(context, flags, &done.collect::<Vec<_>>())
}

/// Publishes what is missing; an engine is needed only where something is.
fn publish_all(
    context: &Context,
    wanted: &[(&Connector, &Found)],
    upload: Upload,
) -> Result<Vec<Result<Outcome>>> {
    if wanted.iter().all(|(_, found)| found.exists) {
        return Ok(wanted.iter().map(|_| Ok(Outcome::Exists)).collect());
    }
    let config = &context.resolved.config;
    // The image's own platforms, so that its build and this one share their steps.
    let platforms = config.platforms.clone();
    let native = doctor::preflight(context, &platforms)?.native();
    let tag: Tag = "dev".parse().map_err(Problem::usage)?;
    let planner = Planner::new(context, platforms, &tag, native, Ask::Engine)?;
    let plans = planner.plans(wanted.iter().map(|(connector, _)| *connector))?;
    let builder = Builder::new(context, &planner, native, &plans)?;
    let work: Vec<_> = wanted.iter().zip(&plans).collect();
    let results = each(&work, config.parallelism(), |((_, found), plan)| {
        let _lock = builder.lock(plan)?;
        found.publish(context, &builder, plan, upload)
    });
    check_interrupted()?;
    Ok(results)
}

fn report(
    context: &Context,
    flags: &PublishPackage,
    done: &[(&ConnectorName, Option<Package>, Result<Outcome>)],
) -> Result<Exit> {
    let rows = done.iter().map(|(connector, package, result)| Row {
        connector,
        package: package.as_ref(),
        outcome: result.as_ref().ok().copied(),
        error: result.as_ref().err().map(|error| format!("{error:#}")),
    });
    if flags.output.json {
        context.report.json(&rows.collect::<Vec<_>>())?;
    } else {
        for row in rows {
            if let (Some(package), Some(outcome)) = (row.package, row.outcome) {
                context.report.result(format_args!("{package} {outcome}"));
            }
        }
    }
    let failed = done
        .iter()
        .filter_map(|(_, _, result)| result.as_ref().err());
    let exits = failed.map(|error| {
        context.report.error(error);
        exit_of(error)
    });
    Ok(exits.max().unwrap_or(Exit::Success))
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Outcome::Exists => "is on the index",
            Outcome::Built => "was built, and not uploaded",
            Outcome::Published => "was published",
        })
    }
}
