//! `connector build`: one buildx call for all platforms, then `spec` on each of them.

use std::{fs, io::Write, os::unix::fs::PermissionsExt};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::{Context, doctor, work::each};
use crate::{
    flags::Build,
    model::{
        connector::{Connector, ConnectorName, Language},
        image::{Digest, ImageRef},
        platform::Platform,
        problem::{Exit, Problem},
    },
    plan::{
        build::{BuildPlan, Inputs, SpecCheck, base_image, buildable},
        spec,
    },
    report::exit_of,
    tools::{buildx, docker_images, git, host, process::check_interrupted, uv},
};

/// What a build made, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Built {
    connector: ConnectorName,
    image: ImageRef,
    /// Digest of the image index (of the manifest, when one platform was built).
    digest: Digest,
    specs: Vec<CheckedSpec>,
}

#[derive(Debug, Serialize)]
struct CheckedSpec {
    platform: Platform,
    emulated: bool,
    /// The value of `spec` in the SPEC message, as a JSON file.
    path: Utf8PathBuf,
}

/// One connector of `--json`: what was made, or why it was not.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Built(&'a Built),
    Failed {
        connector: &'a ConnectorName,
        error: String,
    },
}

pub fn run(context: &Context, flags: &Build) -> Result<Exit> {
    let connectors = chosen(context, &flags.names)?;
    let platforms = flags.platform.resolve(&context.resolved.config.platforms);
    let native = if flags.dry_run {
        // Planning needs no engine; without one this host's own platform counts as native.
        context
            .engine
            .info()
            .ok()
            .and_then(|info| info.platform)
            .or(Some(Platform::host()))
    } else {
        doctor::preflight(context, &platforms)?.platform
    };
    if !flags.dry_run
        && connectors
            .iter()
            .any(|connector| connector.language == Some(Language::Python))
    {
        let step = context.report.step("uv for builds");
        let version = &context.resolved.config.tools.uv;
        uv::for_containers(
            version,
            native.unwrap_or_else(Platform::host),
            &context.repo.tools(),
        )?;
        step.done(version);
    }
    let planner = Planner::new(context, flags, platforms, native)?;
    let plans = connectors
        .iter()
        .map(|connector| planner.plan(connector))
        .collect::<Result<Vec<_>>>()?;
    if flags.dry_run {
        return show(context, flags, &plans);
    }
    let built = each(&plans, context.resolved.config.parallelism(), |plan| {
        execute(context, plan)
    });
    // Said once, not once for each connector that was under way.
    check_interrupted()?;
    report(context, flags, &plans, &built)
}

/// The connectors that were named, when every one of them can be built; else all that is in the way.
fn chosen(context: &Context, names: &[String]) -> Result<Vec<Connector>> {
    let config = &context.resolved.config;
    let connectors = context
        .repo
        .load(config)?
        .select_whole(&context.repo, config, names)?;
    let problems: Vec<Problem> = connectors
        .iter()
        .flat_map(|c| [buildable(c).err(), base_image(c, config).err()])
        .flatten()
        .collect();
    match problems.as_slice() {
        [] => Ok(connectors),
        [one] => Err(one.clone().into()),
        [first, ..] => {
            let all: Vec<String> = problems
                .iter()
                .map(|problem| format!("    {problem}"))
                .collect();
            let problem = Problem::usage(format!(
                "not every connector named can be built\n{}",
                all.join("\n")
            ));
            Err(Problem {
                help: first.help.clone(),
                ..problem
            }
            .into())
        }
    }
}

/// Gathers what all plans of one run share.
struct Planner<'a> {
    context: &'a Context<'a>,
    flags: &'a Build,
    platforms: Vec<Platform>,
    native: Option<Platform>,
    docker_images: Utf8PathBuf,
}

impl<'a> Planner<'a> {
    fn new(
        context: &'a Context,
        flags: &'a Build,
        platforms: Vec<Platform>,
        native: Option<Platform>,
    ) -> Result<Self> {
        let configured = context
            .repo
            .root
            .join(&context.resolved.config.docker_images);
        let docker_images =
            docker_images::directory(&configured, &context.repo.target().join("docker-images"))?;
        Ok(Planner {
            context,
            flags,
            platforms,
            native,
            docker_images,
        })
    }

    fn plan(&self, connector: &Connector) -> Result<BuildPlan> {
        let config = &self.context.resolved.config;
        let repo = &self.context.repo;
        let revision = git::revision(&repo.root, &connector.directory)?;
        let mut contexts = Vec::new();
        let mut secrets = Vec::new();
        let mut files = Vec::new();
        if connector.language == Some(Language::Python) {
            let native = self.native.unwrap_or_else(Platform::host);
            let uv = uv::containers_directory(&config.tools.uv, native, &repo.tools());
            contexts.push(("uv".to_owned(), uv.to_string()));
            let requirements = repo.work(&connector.name).join("requirements");
            files.extend(self.requirements(connector, &requirements)?);
            contexts.push(("requirements".to_owned(), requirements.to_string()));
            secrets.extend(host::ca_bundle().map(|bundle| ("ca".to_owned(), bundle)));
        }
        let plan = BuildPlan::new(
            connector,
            Inputs {
                config,
                platforms: &self.platforms,
                tag: &self.flags.tag,
                native: self.native,
                revision: revision.as_ref(),
                root: &repo.root,
                docker_images: &self.docker_images,
                contexts,
                secrets,
                files,
                proxies: host::proxy_variables()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                entry_point: Some("python /airbyte/integration_code/main.py".to_owned()),
            },
        )?;
        Ok(plan)
    }
}

impl Planner<'_> {
    /// INTERIM, replaced by plan::dependencies.
    fn requirements(
        &self,
        connector: &Connector,
        directory: &Utf8Path,
    ) -> Result<Vec<(Utf8PathBuf, String)>> {
        let lock = self
            .context
            .repo
            .root
            .join(&connector.directory)
            .join("poetry.lock");
        let lock: toml::Table =
            toml::from_str(&fs::read_to_string(&lock).with_context(|| format!("read {lock}"))?)?;
        let mut text = String::new();
        for package in lock["package"].as_array().into_iter().flatten() {
            if !package["groups"]
                .as_array()
                .is_some_and(|groups| groups.iter().any(|group| group.as_str() == Some("main")))
            {
                continue;
            }
            text += &format!(
                "{}=={}",
                package["name"].as_str().unwrap(),
                package["version"].as_str().unwrap()
            );
            if let Some(marker) = package.get("markers") {
                text += &format!(
                    " ; {}",
                    marker
                        .as_str()
                        .or_else(|| marker.get("main")?.as_str())
                        .unwrap()
                );
            }
            for file in package["files"].as_array().into_iter().flatten() {
                text += &format!(" --hash={}", file["hash"].as_str().unwrap());
            }
            text += "\n";
        }
        let mut files = vec![(
            directory.join("build.txt"),
            fs::read_to_string(self.docker_images.join("build-requirements.txt"))?,
        )];
        files.extend(Platform::ALL.map(|platform| {
            (
                directory.join(format!("requirements-{}.txt", platform.architecture())),
                text.clone(),
            )
        }));
        Ok(files)
    }
}

/// Prints what would be done.
fn show(context: &Context, flags: &Build, plans: &[BuildPlan]) -> Result<Exit> {
    if flags.output.json {
        context.report.json(&plans)?;
    } else {
        for line in plans.iter().flat_map(BuildPlan::lines) {
            context.report.result(line);
        }
    }
    Ok(Exit::Success)
}

/// Builds and tests one connector.
fn execute(context: &Context, plan: &BuildPlan) -> Result<Built> {
    for (path, text) in &plan.files {
        write(path, text)?;
    }
    let step = context.report.step(format!("{} build", plan.connector));
    let digest = match buildx::build(&context.engine, &plan.buildx_arguments(), |line| {
        step.busy(line)
    }) {
        Ok(digest) => digest,
        Err(error) => {
            step.failed();
            return Err(error.context(format!("build image for {}", plan.connector)));
        }
    };
    step.done(format_args!("{} {digest}", plan.image));
    let specs = plan
        .specs
        .iter()
        .map(|check| check_spec(context, plan, check))
        .collect::<Result<_>>()?;
    Ok(Built {
        connector: plan.connector.clone(),
        image: plan.image.clone(),
        digest,
        specs,
    })
}

/// Runs `spec` on one platform, judges it and keeps it.
fn check_spec(context: &Context, plan: &BuildPlan, check: &SpecCheck) -> Result<CheckedSpec> {
    let step = context
        .report
        .step(format!("{} spec {}", plan.connector, check.platform));
    let finished = context
        .engine
        .run_spec(&plan.image, check.platform, check.limit)?;
    let ending =
        (!finished.status.success() || finished.timed_out.is_some()).then(|| finished.ending());
    let spec = match spec::judge(&finished.text(), ending.as_deref()) {
        Ok(spec) => spec,
        Err(problems) => {
            step.failed();
            let mut message = format!("spec of {} on {} is wrong", plan.connector, check.platform);
            for line in problems
                .iter()
                .map(String::as_str)
                .chain(finished.tail().lines())
            {
                message.push_str(&format!("\n    {line}"));
            }
            return Err(Problem::failure(message).into());
        }
    };
    for line in &spec.stray {
        context.report.warning(format_args!(
            "{}: printed a line that is no Airbyte message: {line}",
            plan.connector
        ));
    }
    let path = context
        .repo
        .work(&plan.connector)
        .join(format!("spec-{}.json", check.platform.architecture()));
    let text = serde_json::to_string_pretty(&spec.value).context("write the spec as JSON")?;
    write(&path, &(text + "\n"))?;
    step.done(if check.emulated { "ok, emulated" } else { "ok" });
    Ok(CheckedSpec {
        platform: check.platform,
        emulated: check.emulated,
        path,
    })
}

/// Prints what came of each connector, in the order they were named.
fn report(
    context: &Context,
    flags: &Build,
    plans: &[BuildPlan],
    built: &[Result<Built>],
) -> Result<Exit> {
    let mut failed = Vec::new();
    for (plan, result) in plans.iter().zip(built) {
        if let Err(error) = result {
            failed.push((plan, error));
        }
    }
    if flags.output.json {
        let outcomes = plans.iter().zip(built).map(|(plan, result)| match result {
            Ok(built) => Outcome::Built(built),
            Err(error) => Outcome::Failed {
                connector: &plan.connector,
                error: format!("{error:#}"),
            },
        });
        context.report.json(&outcomes.collect::<Vec<_>>())?;
    }
    for (_, error) in &failed {
        context.report.error(error);
    }
    for built in built.iter().flatten() {
        if !flags.output.json {
            context.report.result(&built.image);
        }
        context
            .report
            .note(format_args!("run it: {}", run_line(context, built)));
    }
    if plans.len() > 1 && !failed.is_empty() {
        let names: Vec<String> = failed
            .iter()
            .map(|(plan, _)| plan.connector.to_string())
            .collect();
        context.report.note(format_args!(
            "{} of {} failed: {}",
            failed.len(),
            plans.len(),
            names.join(", ")
        ));
    }
    let exits = failed.iter().map(|(_, error)| exit_of(error));
    Ok(exits.max().unwrap_or(Exit::Success))
}

/// The command that starts what was built, ready to be pasted.
fn run_line(context: &Context, built: &Built) -> String {
    let host = context
        .engine
        .host
        .iter()
        .map(|host| format!("DOCKER_HOST={host} "))
        .collect::<String>();
    format!("{host}docker run --rm {} spec", built.image)
}

/// Writes a file whole, or not at all, making its directory.
fn write(path: &Utf8Path, text: &str) -> Result<()> {
    let directory = path.parent().context("a file has a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    let mut file = tempfile::NamedTempFile::new_in(directory)
        .with_context(|| format!("write into {directory}"))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {path}"))?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .with_context(|| format!("write {path}"))?;
    file.persist(path)
        .with_context(|| format!("write {path}"))?;
    Ok(())
}
