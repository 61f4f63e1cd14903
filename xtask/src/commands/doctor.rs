//! `doctor`: is this machine ready, and if not, what exactly is to be done.

use anyhow::Result;
use camino::Utf8Path;
use serde::Serialize;

use super::Context;
use crate::{
    flags::Json,
    model::{
        builder::Builder,
        config::Config,
        date::Date,
        image::ImageRef,
        platform::{self, Platform},
        problem::{Exit, Problem},
    },
    tools::{
        buildx::{self, Inspected},
        clock::today,
        docker::{Engine, EngineInfo},
        docker_images, git,
        grype::{Database, Grype},
        poe::Poe,
        process::check_interrupted,
        registry,
        sandbox::binfmt,
        uv,
    },
};

/// buildx's driver that is the engine itself, so that images stay in its store.
const OWN_DRIVER: &str = "docker";

/// Below this many GB free a build of a connector or two fills the disk.
const LITTLE_DISK: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Problem,
}

/// One line of the doctor's.
#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    status: Status,
    detail: String,
    /// What to do about it.
    fix: Option<String>,
}

impl Line {
    fn ok(name: &'static str, detail: impl Into<String>) -> Line {
        Line {
            name,
            status: Status::Ok,
            detail: detail.into(),
            fix: None,
        }
    }

    fn warning(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Line {
        Line {
            name,
            status: Status::Warning,
            detail: detail.into(),
            fix: Some(fix.into()),
        }
    }

    fn problem(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Line {
        Line {
            name,
            status: Status::Problem,
            detail: detail.into(),
            fix: Some(fix.into()),
        }
    }
}

/// Checks what building for `platforms` with the configured builder needs and stops with all problems at once.
pub fn preflight(context: &Context, platforms: &[Platform]) -> Result<EngineInfo> {
    preflight_with(context, platforms, &context.resolved.config.builder)
}

/// As [`preflight`], with another builder.
pub fn preflight_with(
    context: &Context,
    platforms: &[Platform],
    builder: &Builder,
) -> Result<EngineInfo> {
    let (checks, info) = engine_checks(&context.engine, platforms, builder)?;
    let problems: Vec<String> = checks
        .iter()
        .filter(|check| check.status == Status::Problem)
        .map(|check| {
            format!(
                "{}: {}; {}",
                check.name,
                check.detail,
                check.fix.as_deref().unwrap_or_default()
            )
        })
        .collect();
    match info {
        Some(info) if problems.is_empty() => Ok(info),
        _ => Err(Problem::environment(format!("this machine can't build images\n    {}", problems.join("\n    ")))
            .help("`cargo xtask doctor` checks everything; --sandbox sets up an engine of this repository's own")
            .into()),
    }
}

/// Prints what this machine has of what builds need, each fault with its fix. Ends with 3 when one is a problem, with 0
/// when there are warnings alone.
pub fn run(context: &Context, flags: &Json) -> Result<Exit> {
    let config = &context.resolved.config;
    let (mut checks, engine) = engine_checks(&context.engine, &config.platforms, &config.builder)?;
    checks.push(disk(
        engine.as_ref().map(|engine| engine.root.as_str()),
        &context.repo.root,
    ));
    checks.extend(
        config
            .platforms
            .iter()
            .filter(|platform| **platform != Platform::host())
            .map(binfmt_of),
    );
    checks.push(registry_answers(config));
    checks.extend(programs(config, &context.repo.tools())?);
    checks.push(scanner(context));
    checks.push(network());
    checks.push(dockerfiles(context));
    check_interrupted()?;
    let worst = checks
        .iter()
        .map(|check| check.status)
        .max()
        .unwrap_or(Status::Ok);
    if flags.json {
        context.report.json(&checks)?;
    } else {
        for check in &checks {
            let mark = match check.status {
                Status::Ok => "ok     ",
                Status::Warning => "warning",
                Status::Problem => "problem",
            };
            context
                .report
                .result(format_args!("{mark}  {:<12} {}", check.name, check.detail));
            if let Some(fix) = &check.fix {
                context.report.result(format_args!("{:23}fix: {fix}", ""));
            }
        }
    }
    Ok(if worst == Status::Problem {
        Exit::Environment
    } else {
        Exit::Success
    })
}

fn engine_checks(
    engine: &Engine,
    platforms: &[Platform],
    chosen: &Builder,
) -> Result<(Vec<Line>, Option<EngineInfo>)> {
    let info = engine.info();
    let mut lines = vec![engine_line(engine, info.as_ref())];
    let buildx = buildx::version(engine);
    lines.push(buildx_line(&buildx));
    let mut runnable = None;
    if info.is_ok() && buildx.is_ok_and(|version| version >= buildx::OLDEST) {
        let in_use = buildx::inspect(engine, None);
        lines.extend(builder(engine, chosen, in_use.as_ref().ok()));
        match runs_here(engine, in_use) {
            Ok(platforms) => runnable = Some(platforms),
            Err(line) => lines.push(line),
        }
    }
    check_interrupted()?;
    let Ok(info) = info else {
        return Ok((lines, None));
    };
    lines.push(image_store(&info));
    if let Some(runnable) = runnable {
        lines.push(emulation(&info, &runnable, platforms));
    }
    Ok((lines, Some(info)))
}

fn engine_line(engine: &Engine, info: Result<&EngineInfo, &anyhow::Error>) -> Line {
    match info {
        Ok(info) => Line::ok(
            "engine",
            format!("docker {} at {}", info.version, engine.address()),
        ),
        Err(error) => Line::problem(
            "engine",
            error.to_string(),
            "start docker, or add --sandbox to the command",
        ),
    }
}

fn buildx_line(version: &Result<semver::Version>) -> Line {
    match version {
        Ok(version) if *version < buildx::OLDEST => Line::problem(
            "buildx",
            format!("{version} is too old"),
            format!("install docker buildx {} or newer", buildx::OLDEST),
        ),
        Ok(version) => Line::ok("buildx", version.to_string()),
        Err(error) => Line::problem(
            "buildx",
            error.to_string(),
            "install the docker-buildx package (docker-buildx-plugin from docker's own repository)",
        ),
    }
}

/// The platforms of the engine itself: whoever builds, it is what runs `spec`.
fn runs_here(engine: &Engine, in_use: Result<Inspected>) -> Result<Vec<Platform>, Line> {
    let own = match in_use {
        Ok(in_use) if in_use.driver == OWN_DRIVER => Ok(in_use),
        _ => buildx::inspect(engine, Some("default")),
    };
    own.map(|own| own.platforms).map_err(|error| {
        Line::problem(
            "platforms",
            format!("{error:#}"),
            "`docker buildx inspect default` has to answer; it writes to ~/.docker, or DOCKER_CONFIG",
        )
    })
}

/// What is wrong with the builder that was chosen.
fn builder(engine: &Engine, chosen: &Builder, in_use: Option<&Inspected>) -> Option<Line> {
    match (chosen, in_use) {
        (Builder::Named(name), _) => {
            let error = buildx::inspect(engine, Some(name)).err()?;
            Some(Line::problem(
                "builder",
                format!("{error:#}"),
                "`docker buildx ls` lists those there are",
            ))
        }
        (Builder::Docker | Builder::Auto, Some(in_use)) if in_use.driver != OWN_DRIVER => {
            let Inspected { name, driver, .. } = in_use;
            Some(Line::problem(
                "builder",
                format!("{name}, the one in use, is of the kind {driver}, which keeps no images"),
                format!("`docker buildx use default`, or build with it: --builder {name}"),
            ))
        }
        _ => None,
    }
}

fn image_store(info: &EngineInfo) -> Line {
    if info.containerd_store {
        return Line::ok(
            "image store",
            "containerd's, which holds several platforms under one name",
        );
    }
    Line::problem(
        "image store",
        "the engine keeps images in its classic store, which holds one platform only",
        "put {\"features\": {\"containerd-snapshotter\": true}} into the engine's daemon.json and restart it",
    )
}

fn emulation(info: &EngineInfo, runnable: &[Platform], wanted: &[Platform]) -> Line {
    let native = |platform: &Platform| info.platform == Some(*platform);
    let described: Vec<String> = runnable
        .iter()
        .map(|platform| {
            format!(
                "{platform} ({})",
                if native(platform) {
                    "native"
                } else {
                    "emulated"
                }
            )
        })
        .collect();
    let missing: Vec<Platform> = wanted
        .iter()
        .filter(|platform| !runnable.contains(platform))
        .copied()
        .collect();
    if missing.is_empty() {
        return Line::ok("platforms", described.join(", "));
    }
    Line::problem(
        "platforms",
        format!(
            "{} can't be run here, only {}",
            platform::join(&missing),
            described.join(", ")
        ),
        "register QEMU for it: apt-get install qemu-user-static binfmt-support, or docker run --privileged --rm tonistiigi/binfmt --install all",
    )
}

/// Only this kernel is looked at; an engine elsewhere has its own, which the line `platforms` tells.
fn binfmt_of(platform: &Platform) -> Line {
    if binfmt::runs(*platform) {
        return Line::ok(
            "binfmt",
            format!("this kernel runs programs for {platform} through QEMU"),
        );
    }
    Line::warning(
        "binfmt",
        format!("this kernel has no QEMU registered for {platform}"),
        "add --sandbox, or apt-get install qemu-user-static binfmt-support; an engine with an emulator of its own needs neither",
    )
}

fn disk(engine_root: Option<&str>, repository: &Utf8Path) -> Line {
    // A remote engine's root is no path here.
    let place = engine_root
        .map(Utf8Path::new)
        .filter(|path| path.is_dir())
        .unwrap_or(repository);
    match rustix::fs::statvfs(place.as_std_path()) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize / 1_000_000_000;
            match free {
                ..LITTLE_DISK => Line::warning(
                    "disk",
                    format!("{free} GB free at {place}"),
                    "`docker system df` shows what the engine holds, `docker builder prune` frees its build cache",
                ),
                _ => Line::ok("disk", format!("{free} GB free at {place}")),
            }
        }
        Err(error) => Line::warning(
            "disk",
            format!("free space at {place} is unknown: {error}"),
            "look at it with df",
        ),
    }
}

fn registry_answers(config: &Config) -> Line {
    let host = match format!("{}/any", config.registry).parse::<ImageRef>() {
        Ok(image) => image.registry,
        Err(error) => return Line::problem("registry", error, "set `registry` to HOST/NAMESPACE"),
    };
    match registry::ping(&host) {
        Ok(()) => Line::ok("registry", format!("{host} answers")),
        Err(error) => Line::warning(
            "registry",
            format!("{host} can't be reached: {error:#}"),
            "publishing and base images need it (or a mirror, see `mirrors` in `cargo xtask config`); --sandbox does without",
        ),
    }
}

fn programs(config: &Config, tools: &Utf8Path) -> Result<Vec<Line>> {
    let uv = match uv::on_path()? {
        Some(uv) if uv >= config.tools.uv => Line::ok("uv", format!("{uv} on PATH")),
        Some(uv) => Line::ok(
            "uv",
            format!(
                "{} on PATH is older than {}, which is fetched instead",
                uv, config.tools.uv
            ),
        ),
        None => Line::ok(
            "uv",
            format!("{} is fetched when it is needed", config.tools.uv),
        ),
    };
    let git = match git::version() {
        Ok(version) => Line::ok("git", version),
        Err(error) => Line::problem("git", format!("{error:#}"), "install git"),
    };
    let poe = match uv::for_host(&config.tools.uv, tools).and_then(|uv| {
        let poe = Poe {
            uv: &uv,
            pinned: &config.tools.poe,
        };
        poe.version()
    }) {
        Ok(version) => Line::ok("poe", format!("{version} runs through uv")),
        Err(error) => Line::warning(
            "poe",
            format!("{error:#}"),
            "uv takes poethepoet from the package index: see `pip config list`",
        ),
    };
    Ok(vec![git, uv, poe])
}

/// Which scanner there is, or would be made, and how old what it asks is.
fn scanner(context: &Context) -> Line {
    let tools = context.repo.tools();
    let pinned = &context.resolved.config.tools.grype;
    let fix = format!("install grype {pinned} to scan images");
    let ready = context
        .scanner(&tools)
        .and_then(|sources| Ok((Grype::ready(&sources)?, sources.image)));
    match ready {
        Ok((Some(grype), _)) => match grype.database() {
            Ok(database) => Line::ok("scanner", format!("{grype}; {}", age(&database))),
            Err(error) => Line::warning(
                "scanner",
                format!("{grype}; {error:#}"),
                "the first scan fetches it: `grype db update`",
            ),
        },
        Ok((None, Some(image))) => Line::ok(
            "scanner",
            format!("runs as {image}, pulled when it is needed"),
        ),
        Ok((None, None)) => Line::ok(
            "scanner",
            format!("grype {pinned} is built by Go when it is needed, which takes some minutes"),
        ),
        Err(error) => Line::warning("scanner", format!("{error:#}"), fix),
    }
}

/// `its database was built on 2026-11-22, 1 day ago`.
fn age(database: &Database) -> String {
    let day = database.built.split('T').next().unwrap_or_default();
    let days = day
        .parse::<Date>()
        .ok()
        .zip(today().ok())
        .map(|(built, today)| today.days_since(built));
    match days {
        Some(days) => format!("its database was built on {day}, {days} days ago"),
        None => format!("its database was built on {}", database.built),
    }
}

fn network() -> Line {
    let set = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    // A proxy's address may hold a password.
    let proxy = set(&["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"])
        .map_or("no proxy", |_| "a proxy is set");
    match crate::tools::host::ca_bundle() {
        Some(bundle) => Line::ok(
            "network",
            format!("{proxy}; CA bundle {bundle} is handed to builds"),
        ),
        None => Line::ok(
            "network",
            format!("{proxy}; no CA bundle of this host's, builds trust the base image's"),
        ),
    }
}

/// Whose Dockerfiles are built by: those of a repository may be of another make.
fn dockerfiles(context: &Context) -> Line {
    let configured = context
        .repo
        .root
        .join(&context.resolved.config.docker_images);
    let name = &context.resolved.config.docker_images;
    let passed_over = docker_images::passed_over(&configured);
    let detail = match passed_over {
        None => format!("{name} of this repository"),
        Some(files) if files.is_empty() => "this program's own".to_owned(),
        Some(files) => format!(
            "this program's own; of another make in {name}, and not used: {}",
            files.join(", ")
        ),
    };
    Line::ok("dockerfiles", detail)
}
