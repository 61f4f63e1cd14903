//! `connector verify`: whether a published image is what its metadata and its commit say, and can be built again.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use oci_spec::image::{ImageConfiguration, ImageManifest};
use serde::Serialize;

use super::{
    Context, doctor,
    image::Builder,
    planner::{Ask, Planner},
    publish,
};
use crate::{
    flags::Verify,
    model::{
        builder::Builder as Method,
        connector::{Connector, ConnectorName},
        image::{Digest, ImageRef, Tag},
        manifest_document::{self, Content, Document},
        platform::Platform,
        problem::{Exit, Problem},
    },
    plan::{
        assembly,
        build::{BuildPlan, spec_check},
        published, spec,
        verify::{self, Check, Half, Standing, What},
    },
    report::exit_of,
    tools::{
        cosign,
        git::Checkout,
        layout::{self, Layout},
        process::check_interrupted,
        registry::{Credentials, Reference, Registries, Repository},
        retry::status_of,
        work::each,
    },
};

/// What came of it, as `--json` shows it.
#[derive(Serialize)]
struct Verified {
    connector: ConnectorName,
    image: ImageRef,
    digest: Digest,
    /// The commit that the image says it was built from.
    commit: Option<String>,
    checks: Vec<Check>,
}

/// The image as the registry has it.
struct Published<'r> {
    repository: &'r Repository<'r>,
    image: ImageRef,
    top: Document,
    halves: BTreeMap<Platform, Half>,
    manifests: Vec<(Digest, ImageManifest)>,
    assembled: bool,
    /// How many statements about them the index lists.
    attestations: usize,
}

/// Compares a published image with the commit that it names, and prints each check. Ends with 1 when something is wrong
/// or there is no such image, with 3 when nothing is wrong and something could not be found out.
pub fn run(context: &Context, flags: &Verify) -> Result<Exit> {
    let (connector, image) = subject(context, &flags.image)?;
    let say = |line: &str| context.report.note(line);
    let registries = Registries::new(Credentials::gather()?, say);
    let repository = registries.repository(&image);
    let published = Published::read(&repository, image)?;
    let platforms: Vec<Platform> = published.halves.keys().copied().collect();
    let native = doctor::preflight(context, &platforms)?.native();

    let commit = verify::commit(&published.halves);
    let mut checks = vec![
        or_judged(What::Digest, published.whole(context)),
        Check::of(
            What::Platforms,
            verify::platforms(&context.resolved.config.platforms, &published.halves),
            || {
                platforms
                    .iter()
                    .map(Platform::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            },
        ),
    ];
    let again = Again {
        context,
        connector: &connector,
        published: &published,
        platforms: &platforms,
        native,
        tag: "verify".parse().map_err(anyhow::Error::msg)?,
        rebuild: flags.rebuild.then(|| published.method()),
    };
    let (labels, rebuilt) = again.judge_commit(&commit)?;
    checks.push(labels);
    checks.push(again.specs());
    checks.push(or_judged(What::Signature, published.signature()));
    checks.extend(rebuilt);
    check_interrupted()?;
    let verified = Verified {
        connector: connector.name.clone(),
        image: published.image.clone(),
        digest: published.top.digest.clone(),
        commit: commit.ok(),
        checks,
    };
    report(context, flags, &verified)
}

/// The connector and the image that are meant: a connector's name is its image of the version in metadata.yaml.
fn subject(context: &Context, text: &str) -> Result<(Connector, ImageRef)> {
    let config = &context.resolved.config;
    let fleet = context.repo.load(&context.resolved)?;
    let is_image = text.contains([':', '@']);
    if !is_image {
        let connectors = fleet
            .select(&context.repo, config, &[text.to_owned()])?
            .whole()?;
        let [connector] = <[Connector; 1]>::try_from(connectors).map_err(|several| {
            Problem::usage(format!(
                "`{text}` means {} connectors, not one",
                several.len()
            ))
        })?;
        let image = published::reference(&connector, &config.registry).map_err(Problem::usage)?;
        return Ok((connector, image));
    }
    let image: ImageRef = text.parse().map_err(Problem::usage)?;
    let is_of = |connector: &Connector| {
        let below = published::repository(connector, &config.registry);
        let declared = &connector.metadata.docker_repository;
        below.is_ok_and(|below| below.name() == image.name()) || *declared == image.repository
    };
    let connector = fleet.connectors.into_iter().find(is_of).ok_or_else(|| {
        Problem::usage(format!(
            "no connector here is published as {}",
            image.name()
        ))
        .help("`dockerRepository` in metadata.yaml says as what each is")
    })?;
    Ok((connector, image))
}

impl<'r> Published<'r> {
    fn read(repository: &'r Repository<'r>, image: ImageRef) -> Result<Published<'r>> {
        let reference = match (&image.digest, &image.tag) {
            (Some(digest), _) => Reference::Digest(digest.clone()),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => Reference::Tag("latest".parse().map_err(anyhow::Error::msg)?),
        };
        let top = repository.manifest(&reference).map_err(unanswered)?;
        let top = top.ok_or_else(|| {
            let problem = Problem::failure(format!("{image} is not there"));
            match reference {
                Reference::Digest(_) => problem,
                Reference::Tag(_) => problem.help("`connector publish` puts it there"),
            }
        })?;
        let mut published = Published {
            repository,
            image,
            top,
            halves: BTreeMap::new(),
            manifests: Vec::new(),
            assembled: false,
            attestations: 0,
        };
        match published.top.content().map_err(anyhow::Error::msg)? {
            Content::Manifest(manifest) => {
                published.add(None, published.top.digest.clone(), *manifest)?;
            }
            Content::Index(index) => {
                published.attestations = manifest_document::attestations(&index).len();
                for (platform, descriptor) in manifest_document::images(&index) {
                    let digest = layout::digest(descriptor)?;
                    let reference = Reference::Digest(digest.clone());
                    let document = repository.manifest(&reference).map_err(unanswered)?;
                    // One that is gone is told by the platforms.
                    if let Some(document) = document
                        && let Content::Manifest(manifest) =
                            document.content().map_err(anyhow::Error::msg)?
                    {
                        published.add(Some(platform), digest, *manifest)?;
                    }
                }
            }
        }
        Ok(published)
    }

    fn add(
        &mut self,
        platform: Option<Platform>,
        digest: Digest,
        manifest: ImageManifest,
    ) -> Result<()> {
        let bytes = self.repository.blob(&layout::digest(manifest.config())?);
        let bytes = bytes.map_err(unanswered)?;
        let configuration: ImageConfiguration = serde_json::from_slice(&bytes)
            .with_context(|| format!("read the configuration of {digest}"))?;
        self.assembled |= is_assembled(&configuration);
        let half = half(&digest, &configuration)?;
        let platform = match platform {
            Some(platform) => platform,
            None => half.runs_on.parse().map_err(anyhow::Error::msg)?,
        };
        self.halves.insert(platform, half);
        self.manifests.push((digest, manifest));
        Ok(())
    }

    /// The tag's digest is the one asked for and the one that was published from here, and all it names is there.
    fn whole(&self, context: &Context) -> Result<Check> {
        let digest = &self.top.digest;
        let mut differences = Vec::new();
        if let (Some(_), Some(tag)) = (&self.image.digest, &self.image.tag) {
            let there = self.repository.digest(&Reference::Tag(tag.clone()));
            match there.map_err(unanswered)? {
                Some(there) if there == *digest => {}
                Some(there) => differences.push(format!("tag {tag} points to {there}")),
                None => differences.push(format!("there is no tag {tag}")),
            }
        }
        let tagged = self.image.clone().without_digest();
        if let Some(ours) = publish::published(&context.repo, &tagged, Some(digest))
            && ours != *digest
        {
            differences.push(format!("{ours} was published from here, {digest} is there"));
        }
        let mut blobs = 0;
        for (of, manifest) in &self.manifests {
            for descriptor in std::iter::once(manifest.config()).chain(manifest.layers()) {
                let blob = layout::digest(descriptor)?;
                blobs += 1;
                if !self.repository.has_blob(&blob).map_err(unanswered)? {
                    differences.push(format!("blob {blob} of {of} is gone"));
                }
            }
        }
        Ok(Check::of(What::Digest, differences, || {
            format!(
                "{digest}, all {blobs} blobs of {} images are there",
                self.manifests.len()
            )
        }))
    }

    /// How it was made; docker says in the history what each step was.
    fn method(&self) -> Method {
        match self.assembled {
            true => Method::Assemble,
            false => Method::Docker,
        }
    }

    fn by_digest(&self) -> ImageRef {
        self.image.at(&self.top.digest)
    }

    fn signature(&self) -> Result<Check> {
        let tag = cosign::tag(&self.top.digest)
            .parse()
            .map_err(anyhow::Error::msg)?;
        let signed = self.repository.digest(&Reference::Tag(tag));
        if signed.map_err(unanswered)?.is_none() {
            // Who moves a tag to another image just leaves the signature out.
            let (standing, detail) = match cosign::is_expected() {
                true => (
                    Standing::Wrong,
                    "nobody signed it, and COSIGN_PUBLIC_KEY says who should have",
                ),
                false => (Standing::None, "nobody signed it"),
            };
            return Ok(Check::new(What::Signature, standing, detail));
        }
        Ok(match cosign::verify(&self.by_digest().to_string()) {
            Ok(()) => Check::new(What::Signature, Standing::Ok, "right"),
            Err(error) => judged(What::Signature, &error),
        })
    }
}

/// What the machine lacks is no answer; everything else is a no.
fn judged(what: What, error: &anyhow::Error) -> Check {
    let standing = match exit_of(error) {
        Exit::Environment | Exit::Interrupted => Standing::Unknown,
        _ => Standing::Wrong,
    };
    Check {
        what,
        standing,
        details: said(error),
    }
}

/// A check, or what kept it from being made.
fn or_judged(what: What, check: Result<Check>) -> Check {
    check.unwrap_or_else(|error| judged(what, &error))
}

/// What several errors come to: one no is a no, whatever else could not be found out.
fn all_judged(what: What, errors: &[&anyhow::Error]) -> Check {
    let checks: Vec<Check> = errors.iter().map(|error| judged(what, error)).collect();
    let is_wrong = |check: &Check| check.standing == Standing::Wrong;
    Check {
        what,
        standing: match checks.iter().any(is_wrong) {
            true => Standing::Wrong,
            false => Standing::Unknown,
        },
        details: checks.into_iter().flat_map(|check| check.details).collect(),
    }
}

/// What a registry did not tell is not wrong; that something is gone, it told.
fn unanswered(error: anyhow::Error) -> Problem {
    let problem = Problem::again(&error);
    match status_of(&error) {
        Some(404) => problem,
        _ => Problem {
            exit: Exit::Environment,
            ..problem
        },
    }
}

fn half(manifest: &Digest, configuration: &ImageConfiguration) -> Result<Half> {
    let labels = configuration
        .config()
        .as_ref()
        .and_then(|config| config.labels().clone());
    let history = configuration.history().iter().flatten();
    let holds = history.filter(|entry| entry.empty_layer() != Some(true));
    let mut holds = holds.map(|entry| entry.created_by().clone().unwrap_or_default());
    let mut layers = Vec::new();
    for diff_id in configuration.rootfs().diff_ids() {
        let digest = diff_id.parse().map_err(anyhow::Error::msg)?;
        layers.push((digest, holds.next().unwrap_or_default()));
    }
    Ok(Half {
        manifest: manifest.clone(),
        runs_on: format!("{}/{}", configuration.os(), configuration.architecture()),
        labels: labels.into_iter().flatten().collect(),
        layers,
    })
}

/// Whether xtask put an image together, and no builder.
fn is_assembled(configuration: &ImageConfiguration) -> bool {
    let mut history = configuration.history().iter().flatten();
    history.any(|entry| entry.comment().as_deref() == Some(assembly::COMMENT))
}

/// What is asked of this machine about a published image.
struct Again<'a> {
    context: &'a Context<'a>,
    connector: &'a Connector,
    published: &'a Published<'a>,
    platforms: &'a [Platform],
    native: Platform,
    tag: Tag,
    /// How it is built again, if it is.
    rebuild: Option<Method>,
}

impl Again<'_> {
    /// Compares the labels with those that the commit gives, and the digest with what it builds.
    fn judge_commit(&self, commit: &Result<String, Vec<String>>) -> Result<(Check, Option<Check>)> {
        let commit = match commit {
            Ok(commit) => commit,
            Err(differences) => return Ok(self.both(Standing::Wrong, differences)),
        };
        let target = self.context.repo.target();
        fs::create_dir_all(&target).with_context(|| format!("make {target}"))?;
        let place = tempfile::Builder::new()
            .prefix("verify-")
            .tempdir_in(&target);
        let place = place.with_context(|| format!("make a directory in {target}"))?;
        let place = Utf8Path::from_path(place.path()).context("a path is not UTF-8")?;
        let checkout = match self.checkout(commit, place) {
            Ok(checkout) => checkout,
            Err(error) if exit_of(&error) == Exit::Environment => {
                return Ok(self.both(Standing::Unknown, &said(&error)));
            }
            Err(error) => return Err(error),
        };
        let past = Context {
            repo: self.context.repo.checked_out(&checkout.root),
            resolved: self.context.resolved.clone(),
            engine: self.context.engine.clone(),
            report: self.context.report,
        };
        let (planner, plan) = match self.plan(&past, commit) {
            Ok(planned) => planned,
            Err(error) => {
                let judged = judged(What::Labels, &error);
                return Ok(self.both(judged.standing, &judged.details));
            }
        };
        let differences = verify::labels(&plan.labels, &self.published.halves);
        let labels = Check::of(What::Labels, differences, || {
            format!("all {} are those of commit {commit}", plan.labels.len())
        });
        let rebuilt = self.rebuild.as_ref().map(|_| {
            let built = Builder::new(&past, &planner, self.native, [&plan])
                .and_then(|builder| builder.build(&plan, |_| ()));
            match built {
                Ok(made) => self.compare(&made.layout),
                Err(error) => Ok(judged(What::Rebuild, &error)),
            }
        });
        Ok((labels, rebuilt.transpose()?))
    }

    /// What comes of both questions when neither could be put.
    fn both(&self, standing: Standing, details: &[String]) -> (Check, Option<Check>) {
        let check = |what| Check {
            what,
            standing,
            details: details.to_vec(),
        };
        let rebuilt = self.rebuild.as_ref().map(|_| check(What::Rebuild));
        (check(What::Labels), rebuilt)
    }

    fn checkout(&self, commit: &str, place: &Utf8Path) -> Result<Checkout> {
        let Context { repo, resolved, .. } = self.context;
        let paths = [
            self.connector.directory.as_path(),
            Utf8Path::new(&resolved.config.docker_images),
        ];
        Checkout::new(&repo.root, commit, &paths, &place.join("tree"))
    }

    /// The plan of `past`, which stands at the commit.
    fn plan<'p>(&'p self, past: &'p Context<'p>, commit: &str) -> Result<(Planner<'p>, BuildPlan)> {
        let ask = match self.rebuild {
            Some(_) => Ask::Engine,
            None => Ask::Nobody,
        };
        let planner = Planner::new(past, self.platforms.to_vec(), &self.tag, self.native, ask)?
            .with_builder(self.rebuild.as_ref());
        let directory = &self.connector.directory;
        let connectors = past
            .repo
            .load_from(std::slice::from_ref(directory))?
            .whole()?;
        let connector = connectors.first().ok_or_else(|| {
            Problem::failure(format!("commit {commit} has no connector in {directory}"))
        })?;
        let plan = planner.plan(connector)?;
        Ok((planner, plan))
    }

    fn compare(&self, made: &Layout) -> Result<Check> {
        let mut halves = BTreeMap::new();
        for (platform, image) in &made.images {
            halves.insert(
                *platform,
                half(&image.document.digest, &image.configuration)?,
            );
        }
        let attestations = self.published.attestations;
        let there = verify::Image {
            digest: &self.published.top.digest,
            halves: &self.published.halves,
        };
        let here = verify::Image {
            digest: made.digest(),
            halves: &halves,
        };
        let differences = verify::rebuilt(there, here, attestations);
        Ok(Check::of(
            What::Rebuild,
            differences,
            || match attestations {
                0 => format!("{} was built again", made.digest()),
                _ => "its images were built again; the index lists statements about them too"
                    .to_owned(),
            },
        ))
    }

    /// Runs `spec` of the image by its digest on every platform that it has.
    fn specs(&self) -> Check {
        let image = self.published.by_digest();
        let jobs = self.context.resolved.config.parallelism();
        let ran = each(self.platforms, jobs, |platform| {
            self.spec(&image, *platform)
        });
        let failed: Vec<&anyhow::Error> = ran.iter().filter_map(|ran| ran.as_ref().err()).collect();
        match failed.as_slice() {
            [] => Check::of(What::Spec, Vec::new(), || {
                format!("right on {} platforms", self.platforms.len())
            }),
            errors => all_judged(What::Spec, errors),
        }
    }

    fn spec(&self, image: &ImageRef, platform: Platform) -> Result<()> {
        let Context {
            engine,
            report,
            resolved,
            ..
        } = self.context;
        let step = report.step(format!("{} spec {platform}", self.connector.name));
        engine
            .pull(image, platform, &|line| step.busy(line))
            .map_err(unanswered)?;
        let check = spec_check(platform, Some(self.native), &resolved.config);
        let finished = engine.run_spec(image, platform, check.limit)?;
        let ended_badly = !finished.status.success() || finished.timed_out.is_some();
        let ending = ended_badly.then(|| finished.ending());
        if let Err(problems) = spec::judge(&finished.text(), ending.as_deref()) {
            step.failed();
            anyhow::bail!("{platform}: {}", problems.join("; "));
        }
        step.done(if check.emulated { "ok, emulated" } else { "ok" });
        Ok(())
    }
}

/// An error as a check's details: its words and the next step.
fn said(error: &anyhow::Error) -> Vec<String> {
    let help = Problem::help_of(error).map(|help| format!("help: {help}"));
    std::iter::once(format!("{error:#}")).chain(help).collect()
}

fn report(context: &Context, flags: &Verify, verified: &Verified) -> Result<Exit> {
    if flags.output.json {
        context.report.json(verified)?;
    } else {
        context
            .report
            .result(format_args!("{} ({})", verified.image, verified.connector));
        for check in &verified.checks {
            for (number, detail) in check.details.iter().enumerate() {
                let (standing, what) = match number {
                    0 => (check.standing.as_str(), check.what.as_str()),
                    _ => ("", ""),
                };
                context
                    .report
                    .result(format_args!("  {standing:<8}{what:<11}{detail}"));
            }
        }
    }
    let named = |standing| {
        let checks = verified.checks.iter();
        let named = checks.filter(|check| check.standing == standing);
        named.map(|check| check.what.as_str()).collect::<Vec<_>>()
    };
    let (wrong, unknown) = (named(Standing::Wrong), named(Standing::Unknown));
    for (standing, checks) in [("wrong", &wrong), ("unknown", &unknown)] {
        if !checks.is_empty() {
            let (image, checks) = (&verified.image, checks.join(", "));
            context
                .report
                .warning(format_args!("{image}: {standing}: {checks}"));
        }
    }
    Ok(match (wrong.is_empty(), unknown.is_empty()) {
        (true, true) => Exit::Success,
        (true, false) => Exit::Environment,
        _ => Exit::Failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::test_server::{Answer, Server};

    #[test]
    fn what_a_registry_does_not_tell_is_no_fault_of_the_image() {
        const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
        let hex = "a".repeat(64);
        let descriptor = format!(r#"{{"mediaType":"x/y","digest":"sha256:{hex}","size":2}}"#);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{descriptor},"layers":[]}}"#
        );
        for (answers, exit) in [
            (vec![Answer::status(403)], Exit::Environment),
            (vec![Answer::status(404)], Exit::Failure),
            (
                vec![Answer::ok(IMAGE, manifest.clone()), Answer::status(403)],
                Exit::Environment,
            ),
            (
                vec![Answer::ok(IMAGE, manifest), Answer::status(404)],
                Exit::Failure,
            ),
        ] {
            let server = Server::start(answers);
            let image = format!("127.0.0.1:{}/a/b:1", server.url("/").port().unwrap());
            let image: ImageRef = image.parse().unwrap();
            let registries = Registries::new(Credentials::default(), |_| {});
            let repository = registries.repository(&image);
            let error = Published::read(&repository, image).err().unwrap();
            assert_eq!(exit_of(&error), exit, "{error:#}");
        }
    }

    #[test]
    fn what_could_not_be_looked_at_says_what_to_do() {
        let help = "git fetch origin 1234";
        let lacks = |problem: Problem| anyhow::Error::from(problem.help(help));
        for (error, standing) in [
            (lacks(Problem::environment("no commit")), Standing::Unknown),
            (lacks(Problem::failure("no commit")), Standing::Wrong),
        ] {
            let check = judged(What::Labels, &error);
            assert_eq!(check.standing, standing);
            assert_eq!(check.details, ["no commit", "help: git fetch origin 1234"]);
        }
    }

    #[test]
    fn one_no_is_a_no_whatever_else_could_not_be_found_out() {
        let busy = anyhow::anyhow!("toomanyrequests").context("docker pull");
        let unknown = anyhow::Error::from(unanswered(busy));
        let wrong = anyhow::anyhow!("linux/arm64: no spec");
        for (errors, standing, details) in [
            (
                vec![&unknown],
                Standing::Unknown,
                "docker pull: toomanyrequests",
            ),
            (vec![&wrong], Standing::Wrong, "linux/arm64: no spec"),
            (
                vec![&unknown, &wrong],
                Standing::Wrong,
                "docker pull: toomanyrequests, linux/arm64: no spec",
            ),
        ] {
            let check = all_judged(What::Spec, &errors);
            assert_eq!(check.standing, standing, "{details}");
            assert_eq!(check.details.join(", "), details);
        }
    }
}
