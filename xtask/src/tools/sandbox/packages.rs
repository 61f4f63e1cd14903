//! The programs a sandbox consists of, from the distribution's packages.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use xshell::{Shell, cmd};

use super::{
    apt_sources::{self, Release, Source},
    binfmt,
    layout::Layout,
};
use crate::{
    model::{platform::Platform, problem::Problem},
    tools::{
        buildx,
        docker::Engine,
        files,
        process::{self, Program},
    },
};

/// A slow mirror needs minutes for the 150 MB of an engine.
const INSTALL: Duration = Duration::from_secs(1800);
const SOURCES: &str = "/etc/apt";
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Forbids packages to start their services while they are installed (invoke-rc.d's interface).
const POLICY_TEXT: &str =
    "#!/bin/sh\n# Written by `cargo xtask sandbox up` while it installs packages.\nexit 101\n";
/// Services that Debian's packages switch on for the next start of the machine; nobody asked for them.
const SERVICES: [&str; 4] = [
    "docker.service",
    "docker.socket",
    "containerd.service",
    "docker-registry.service",
];
/// Stable releases whose own engine is too old or lacks buildx, and the release that has them.
const NEWER: [(&str, &str); 1] = [("bookworm", "trixie")];
/// Packages that come from the newer release where there is one in the table.
const FROM_NEWER: [&str; 4] = ["docker.io", "docker-cli", "docker-buildx", "containerd"];
/// The first engine whose containerd image store serves multi-platform builds.
const OLDEST_ENGINE: u64 = 24;

/// What else than the engine itself is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// A platform is to be emulated and is not yet.
    pub emulation: bool,
    /// Root file systems are to be made.
    pub roots: bool,
}

/// Names of the packages whose programs are not on this machine.
pub fn missing(wanted: Wanted) -> Result<Vec<&'static str>> {
    let mut packages: Vec<&str> = [
        ("dockerd", "docker.io"),
        ("docker", "docker-cli"),
        ("containerd", "containerd"),
        ("runc", "runc"),
        ("docker-registry", "docker-registry"),
        ("ip", "iproute2"),
        ("setsid", "util-linux"),
    ]
    .into_iter()
    .filter(|(program, _)| !installed(program))
    .map(|(_, package)| package)
    .collect();
    let client = !packages.contains(&"docker-cli");
    if !client || buildx::version(&Engine::default()).is_err() {
        packages.push("docker-buildx");
    }
    let mut emulated = Platform::ALL
        .into_iter()
        .filter(|platform| *platform != Platform::host());
    let described = |platform: Platform| Utf8Path::new(&binfmt::description(platform)).exists();
    if wanted.emulation && !emulated.all(described) {
        packages.push("qemu-user-static");
    }
    if wanted.roots && !process::installed("mmdebstrap") {
        packages.push("mmdebstrap");
    }
    if !has_pip()? {
        packages.push("python3-pip");
    }
    Ok(packages)
}

/// Debian's PATH for other users than root leaves out where the daemons are.
fn installed(program: &str) -> bool {
    let for_root = || {
        ["/usr/local/sbin", "/usr/sbin", "/sbin"]
            .iter()
            .any(|directory| Utf8Path::new(directory).join(program).is_file())
    };
    process::installed(program) || (!geteuid().is_root() && for_root())
}

/// uv comes through pip where it is not installed.
fn has_pip() -> Result<bool> {
    if process::installed("uv") {
        return Ok(true);
    }
    if !process::installed("python3") {
        return Ok(false);
    }
    let shell = Shell::new().context("open a shell")?;
    Ok(Program::from(cmd!(shell, "python3 -m pip --version"))
        .finish()?
        .status
        .success())
}

/// An error when the engine that is installed is too old; replacing it is its owner's decision.
pub fn check_versions() -> Result<()> {
    let shell = Shell::new().context("open a shell")?;
    let printed = Program::from(cmd!(shell, "dockerd --version")).read()?;
    if parse_major(&printed).is_some_and(|major| major < OLDEST_ENGINE) {
        return Err(Problem::environment(format!("`dockerd --version` says `{printed}`, and the sandbox needs {OLDEST_ENGINE} or newer"))
            .help("upgrade the docker packages of this machine; the sandbox leaves an installed engine as it is")
            .into());
    }
    Ok(())
}

/// `Docker version 26.1.5+dfsg1, build 411e817`.
fn parse_major(text: &str) -> Option<u64> {
    text.strip_prefix("Docker version ")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// What apt-get is told to install, and from where besides the machine's own release.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// `docker.io/trixie`, `mmdebstrap`.
    packages: Vec<String>,
    newer: Option<&'static str>,
}

fn plan(missing: &[&str], release: &Release) -> Plan {
    let newer = NEWER
        .iter()
        .find(|(codename, _)| *codename == release.codename)
        .map(|(_, newer)| *newer);
    let newer = newer.filter(|_| missing.iter().any(|package| FROM_NEWER.contains(package)));
    let packages = missing.iter().map(|package| match newer {
        Some(newer) if FROM_NEWER.contains(package) => format!("{package}/{newer}"),
        _ => (*package).to_owned(),
    });
    Plan {
        packages: packages.collect(),
        newer,
    }
}

/// The error for someone who has to install them by hand.
pub fn by_hand(missing: &[&str], why: &str) -> Problem {
    let release = release();
    let problem = Problem::environment(format!(
        "the sandbox needs programs that are not installed, and {why}"
    ));
    if !release.has_apt() {
        return problem.help(format!(
            "install dockerd and containerd (docker {OLDEST_ENGINE} or newer) with the buildx plugin, CNCF's distribution registry as \
             `docker-registry`, iproute2, and qemu-user-static with its binfmt.d files; on Debian and Ubuntu those are the packages {}",
            missing.join(" ")
        ));
    }
    let plan = plan(missing, &release);
    let newer = plan.newer.map_or(String::new(), |newer| {
        format!(" with the release {newer} added to the package sources and pinned at priority 100")
    });
    problem.help(format!(
        "run this as root, or have root run `apt-get install {}`{newer}",
        plan.packages.join(" ")
    ))
}

/// Installs packages without starting a service, and without changing the machine's own package sources.
pub fn install(layout: &Layout, missing: &[&str], mut busy: impl FnMut(&str) + Send) -> Result<()> {
    let release = release();
    if !release.has_apt() || !process::installed("apt-get") {
        return Err(by_hand(
            missing,
            "only on Debian and Ubuntu they can be installed here",
        )
        .into());
    }
    let plan = plan(missing, &release);
    let own = apt_sources::distribution(&system_sources()?, &release.codename);
    if own.is_empty() {
        return Err(by_hand(
            missing,
            &format!("{SOURCES} names no source of {} packages", release.codename),
        )
        .into());
    }
    // Held by one sandbox of this machine at a time: the policy file is the machine's.
    let lock = fs::File::create("/run/xtask-sandbox-packages.lock")
        .context("lock the installation of packages")?;
    flock(&lock, FlockOperation::LockExclusive).context("lock the installation of packages")?;
    let options = options(layout, &own, &release, plan.newer)?;
    apt(&options, &["update"], &mut busy)?;
    let policy = Policy::forbid()?;
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(plan.packages.iter().map(String::as_str));
    let installed = apt(&options, &args, &mut busy);
    drop(policy);
    installed?;
    leave_services_off(missing)
}

/// apt's options for package sources, lists and pins of the sandbox's own.
fn options(
    layout: &Layout,
    own: &[Source],
    release: &Release,
    newer: Option<&str>,
) -> Result<Vec<String>> {
    let apt = layout.file("apt");
    let [sources, lists, archives] = ["sources", "lists", "archives"].map(|name| apt.join(name));
    for directory in [&sources, &lists.join("partial"), &archives.join("partial")] {
        fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    }
    let mut all = own.to_vec();
    if let Some(newer) = newer {
        all.extend(apt_sources::of_release(own, &release.codename, newer));
    }
    files::write(
        &sources.join("distribution.sources"),
        &apt_sources::stanzas(&all),
    )?;
    let preferences = apt.join("preferences");
    files::write(&preferences, &newer.map_or(String::new(), pin))?;
    Ok([
        ("Dir::Etc::SourceList", "/dev/null".to_owned()),
        ("Dir::Etc::SourceParts", sources.to_string()),
        ("Dir::Etc::Preferences", preferences.to_string()),
        ("Dir::State::Lists", lists.to_string()),
        ("Dir::Cache::Archives", archives.to_string()),
        ("Dir::Cache::PkgCache", String::new()),
        ("Dir::Cache::SrcPkgCache", String::new()),
        // Another program may be installing something.
        ("DPkg::Lock::Timeout", "300".to_owned()),
        ("Acquire::Retries", "3".to_owned()),
    ]
    .map(|(name, value)| format!("--option={name}={value}"))
    .into())
}

/// Nothing is taken from the newer release but what is asked for by name, and what only it has.
fn pin(release: &str) -> String {
    ["", "-updates", "-security"]
        .map(|suffix| format!("Package: *\nPin: release n={release}{suffix}\nPin-Priority: 100\n"))
        .join("\n")
}

fn apt(options: &[String], args: &[&str], busy: &mut (impl FnMut(&str) + Send)) -> Result<()> {
    let shell = Shell::new().context("open a shell")?;
    let program = Program::from(cmd!(shell, "apt-get --quiet=2 {options...} {args...}"))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("NEEDRESTART_SUSPEND", "1")
        .limit(INSTALL);
    program.finish_watching(busy)?.success()?;
    Ok(())
}

/// The file that forbids services to start, taken away when dropped; a machine's own policy is left alone.
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid() -> Result<Policy> {
        let ours = match fs::read_to_string(POLICY) {
            Ok(text) => text == POLICY_TEXT,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(error).context(format!("read {POLICY}")),
        };
        if ours {
            files::write_program(Utf8Path::new(POLICY), POLICY_TEXT)?;
        }
        Ok(Policy { ours })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            // What an interrupted run leaves, the next one takes away.
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Takes away the policy file of a run that was killed while it installed packages.
pub fn clear_leftover_policy() -> Result<()> {
    if fs::read_to_string(POLICY).is_ok_and(|text| text == POLICY_TEXT) {
        let lock = fs::File::create("/run/xtask-sandbox-packages.lock")
            .context("lock the installation of packages")?;
        // Held: another sandbox installs right now, and the file is its.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_file(POLICY).with_context(|| format!("remove {POLICY}"))?;
        }
    }
    Ok(())
}

/// Switches off, for the next start of the machine, the services of packages that were installed just now.
fn leave_services_off(installed: &[&str]) -> Result<()> {
    let ours = |service: &&&str| {
        let package = match **service {
            "containerd.service" => "containerd",
            "docker-registry.service" => "docker-registry",
            _ => "docker.io",
        };
        installed.contains(&package)
    };
    let services: Vec<&str> = SERVICES.iter().filter(ours).copied().collect();
    if services.is_empty() || !process::installed("systemctl") {
        return Ok(());
    }
    let shell = Shell::new().context("open a shell")?;
    Program::from(cmd!(shell, "systemctl disable --quiet {services...}")).output()?;
    Ok(())
}

/// What the root file systems are made of: Debian's `codename`, from wherever this machine gets Debian's packages.
pub fn sources_for_roots(codename: &str) -> Result<String> {
    let release = release();
    let system = system_sources()?;
    let mut own = apt_sources::distribution(&system, codename);
    if own.is_empty()
        && release
            .family
            .first()
            .is_some_and(|family| family == "debian")
    {
        let debian = apt_sources::distribution(&system, &release.codename);
        own = apt_sources::of_release(&debian, &release.codename, codename);
    }
    if own.is_empty() {
        return Err(Problem::environment(format!(
            "base images are made of Debian {codename} where docker.io can't be reached, and {SOURCES} names no source of Debian"
        ))
        .help(format!("add Debian's {codename} to {SOURCES}/sources.list.d, pinned low (keyring: package debian-archive-keyring), or `mirrors` to the configuration"))
        .into());
    }
    Ok(apt_sources::stanzas(&apt_sources::for_roots(&own)))
}

fn release() -> Release {
    Release::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn system_sources() -> Result<Vec<Source>> {
    let mut files = vec![Utf8PathBuf::from(SOURCES).join("sources.list")];
    let parts = Utf8PathBuf::from(SOURCES).join("sources.list.d");
    if let Ok(entries) = parts.read_dir_utf8() {
        files.extend(entries.flatten().map(|entry| entry.into_path()));
    }
    files[1..].sort();
    let mut sources = Vec::new();
    for path in files.iter().filter(|path| path.is_file()) {
        let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        match path.extension() {
            Some("sources") => sources.extend(apt_sources::parse_stanzas(&text)),
            Some("list") => sources.extend(apt_sources::parse_lines(&text)),
            _ => {}
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(id: &str, codename: &str) -> Release {
        Release::parse(&format!("ID={id}\nVERSION_CODENAME={codename}\n"))
    }

    #[test]
    fn only_the_engine_comes_from_the_newer_release_and_only_where_it_must() {
        for (missing, release, packages, newer) in [
            (
                &["docker.io", "docker-registry", "docker-buildx"][..],
                on("debian", "bookworm"),
                &[
                    "docker.io/trixie",
                    "docker-registry",
                    "docker-buildx/trixie",
                ][..],
                Some("trixie"),
            ),
            (
                &["docker-registry", "mmdebstrap"],
                on("debian", "bookworm"),
                &["docker-registry", "mmdebstrap"],
                None,
            ),
            (
                &["docker.io", "docker-buildx"],
                on("debian", "trixie"),
                &["docker.io", "docker-buildx"],
                None,
            ),
            (
                &["docker.io", "docker-buildx"],
                on("ubuntu", "noble"),
                &["docker.io", "docker-buildx"],
                None,
            ),
        ] {
            let expected = Plan {
                packages: packages
                    .iter()
                    .map(|package| (*package).to_owned())
                    .collect(),
                newer,
            };
            assert_eq!(plan(missing, &release), expected);
        }
    }

    #[test]
    fn reads_the_engines_version() {
        for (text, expected) in [
            ("Docker version 26.1.5+dfsg1, build 411e817", Some(26)),
            ("Docker version 20.10.24+dfsg1, build 297e128", Some(20)),
            ("Docker version dev", None),
            ("", None),
        ] {
            assert_eq!(parse_major(text), expected, "{text}");
        }
    }

    #[test]
    fn everything_of_the_newer_release_is_pinned_low() {
        let text = pin("trixie");
        assert_eq!(text.matches("Pin-Priority: 100").count(), 3);
        assert!(text.contains("n=trixie-security\n"));
    }
}
