//! Carries out one connector's plan, step by step.

use std::{cell::RefCell, thread};

use anyhow::{Context as _, Result};

use super::{
    facts,
    outputs::{self, Output, Sinks},
};
use crate::{
    commands::{
        Context,
        image::Builder,
        made::{Made, SpecOf},
        package,
        scan::{ScanOutcome, Scans},
    },
    model::{
        connector::Connector,
        image::{Digest, ImageRef},
        manifest_document::Document,
        problem::{Problem, caught},
        release::Signing,
    },
    plan::{
        build::{BuildPlan, SpecCheck},
        publish::{
            Action, Tagging,
            latest::{self, LatestMove},
            may_tag,
            steps::{Does, Planned, PublishPlan, Step, Tests},
        },
        scan::Verdict,
    },
    tools::{
        cosign,
        process::check_interrupted,
        registry::{BlobSources, From, Reference, Registries, Repository, push_layout},
        run_record::{Event, RunRecord, State},
        work::joined,
    },
};

/// How often latest is moved while others move it too, and read back.
const LATEST_TRIES: usize = 4;

/// What all connectors of one run share.
pub struct Run<'a> {
    pub context: &'a Context<'a>,
    pub registries: &'a Registries<'a>,
    /// None when nothing is built.
    pub builder: Option<&'a Builder<'a>>,
    /// None when no image is built.
    pub scans: Option<&'a Scans<'a>>,
    pub record: &'a RunRecord,
    pub sinks: &'a Sinks,
}

/// What has been done for a connector so far.
pub struct Done {
    /// Built, or found.
    pub digest: Option<Digest>,
    pub replaced: Option<Digest>,
    pub tagged: bool,
    pub latest_moved: bool,
    /// What is worth telling in the table.
    pub notes: Vec<String>,
    made: Option<Made>,
    /// The scan that ran beside the spec checks.
    scan: Option<Result<ScanOutcome>>,
    /// What the scan said.
    pub scanned: Option<ScanOutcome>,
}

/// One connector's work.
struct Work<'r> {
    run: &'r Run<'r>,
    plan: &'r PublishPlan,
    connector: &'r Connector,
    package: Option<&'r package::Found>,
    repository: Repository<'r>,
    done: RefCell<Done>,
}

impl Run<'_> {
    /// Executes the steps of a plan in their order, up to the first that fails; what was done comes back either way.
    pub fn execute(
        &self,
        plan: &PublishPlan,
        connector: &Connector,
        package: Option<&package::Found>,
    ) -> (Done, Result<()>) {
        let work = Work {
            run: self,
            plan,
            connector,
            package,
            repository: self.registries.repository(&plan.target.image).for_push(),
            done: RefCell::new(Done {
                digest: plan
                    .found
                    .digest()
                    .filter(|_| plan.action == Action::Keep)
                    .cloned(),
                replaced: None,
                tagged: false,
                latest_moved: false,
                notes: Vec::new(),
                made: None,
                scan: None,
                scanned: None,
            }),
        };
        let result = work.steps();
        let closed = self.sinks.close(&plan.target.connector);
        let result = result
            .and(closed)
            .and_then(|()| self.event(plan, "", State::Finished, ""));
        let mut done = work.done.into_inner();
        // The layout goes now, not when the last connector is done.
        done.made = None;
        (done, result)
    }

    fn event(&self, plan: &PublishPlan, step: &str, state: State, detail: &str) -> Result<()> {
        self.record.event(&Event {
            connector: plan.target.connector.clone(),
            step: step.to_owned(),
            state,
            detail: detail.to_owned(),
        })
    }
}

impl Work<'_> {
    fn steps(&self) -> Result<()> {
        let exists = self.plan.found.exists().to_string();
        self.set(&[(Output::ImageExists, exists)])?;
        for planned in &self.plan.steps {
            check_interrupted()?;
            let name = planned.step.as_str();
            if planned.does == Does::Skip {
                self.run
                    .event(self.plan, name, State::Skipped, &planned.because)?;
                continue;
            }
            self.run
                .event(self.plan, name, State::Started, &planned.because)?;
            match caught(|| self.step(planned)).unwrap_or_else(|fault| Err(fault.into())) {
                Ok(()) => self.run.event(self.plan, name, State::Done, "")?,
                Err(error) => {
                    let text = format!("{error:#}");
                    // The error itself matters more than a record that can't be written.
                    let _ = self.log(planned.step, &text);
                    let _ = self.run.event(self.plan, name, State::Failed, &text);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn step(&self, planned: &Planned) -> Result<()> {
        match planned.step {
            Step::Exists => self.exists(),
            Step::Build => self.build(),
            Step::Spec => self.specs(),
            Step::Scan => self.scan(),
            Step::Push => self.push(),
            Step::Tag => self.tag(),
            Step::Verify => self.verify(),
            Step::Latest => self.latest(),
            Step::Pypi => self.pypi(),
            Step::Outputs => Ok(()),
        }
    }

    fn exists(&self) -> Result<()> {
        let image = &self.plan.target.image;
        match self.plan.action {
            Action::Refuse => {
                let because = self
                    .plan
                    .steps
                    .iter()
                    .find(|planned| planned.step == Step::Build);
                let because = because
                    .map(|planned| planned.because.as_str())
                    .unwrap_or_default();
                let problem = Problem::failure(format!("{image} is not touched: {because}"));
                Err(problem.help("find out who overwrote it; --force-publish replaces it by this repository's").into())
            }
            Action::Keep => {
                let mut news = vec![outputs::platforms(&self.plan.platforms)];
                news.extend(
                    self.plan
                        .found
                        .digest()
                        .map(|digest| (Output::Digest, digest.to_string())),
                );
                self.set(&news)
            }
            _ => Ok(()),
        }
    }

    fn build(&self) -> Result<()> {
        let (builder, plan) = self.builder()?;
        let made = builder.build(plan, |line| {
            // A log that can't be written fails at the step's end.
            let _ = self
                .run
                .record
                .log(&self.plan.target.connector, "build", line);
        })?;
        let digest = made.layout.digest().clone();
        let platforms: Vec<_> = made.layout.images.keys().copied().collect();
        anyhow::ensure!(
            self.plan
                .platforms
                .iter()
                .all(|wanted| platforms.contains(wanted)),
            "the image that was built lacks a platform of {}",
            crate::model::platform::join(&self.plan.platforms)
        );
        self.set(&[
            (Output::BuildExecuted, "true".to_owned()),
            (Output::Digest, digest.to_string()),
            outputs::platforms(&platforms),
        ])?;
        let mut done = self.done.borrow_mut();
        done.digest = Some(digest);
        done.made = Some(made);
        Ok(())
    }

    /// Checks the spec, and has a scan that comes later run meanwhile: the one waits for an emulated container, the other
    /// for a program.
    fn specs(&self) -> Result<()> {
        let (builder, plan) = self.builder()?;
        let (record, connector) = (self.run.record, &self.plan.target.connector);
        let log = |check: &SpecCheck, text: &str| {
            let name = format!("spec-{}", check.platform.architecture());
            let _ = record.log(connector, &name, text);
        };
        let done = self.done.borrow();
        let made = done.made.as_ref().context("check what was built")?;
        let pulled = self.plan.target.image.at(made.layout.digest());
        let tested = match self.plan.tests {
            Tests::WhatIsBuilt => SpecOf::Built(made),
            Tests::WhatIsPulled => SpecOf::Pulled(&pulled),
        };
        let to_come = self.plan.does(Step::Scan) && done.scanned.is_none();
        let scans = self.run.scans.filter(|_| to_come);
        let of = self.connector;
        let (specs, scan) = thread::scope(|scope| {
            let scan = scans.map(|scans| scope.spawn(move || scans.of_layout(of, &made.layout)));
            let specs = builder.check_specs(plan, tested, log);
            let scan = scan.map(joined);
            (specs, scan)
        });
        drop(done);
        self.done.borrow_mut().scan = scan;
        specs.map(drop)
    }

    fn scan(&self) -> Result<()> {
        let scan = self.done.borrow_mut().scan.take();
        let outcome = match scan {
            Some(outcome) => outcome?,
            None => {
                let done = self.done.borrow();
                let made = done.made.as_ref().context("scan what was built")?;
                let scans = self.run.scans.context("what is built is scanned")?;
                scans.of_layout(self.connector, &made.layout)?
            }
        };
        self.log(Step::Scan, &outcome.lines().join("\n"))?;
        outcome.warn(self.run.context);
        if let (Verdict::Found, Some(sarif)) = (outcome.verdict, &outcome.sarif) {
            let connector = &self.plan.target.connector;
            let table = self.run.record.log_of(connector, Step::Scan.as_str());
            let report = self.run.context.report;
            report.note(format_args!(
                "they are listed in {table}, for code scanning in {sarif}"
            ));
        }
        let summary = match outcome.verdict {
            Verdict::ScanFailed => outcome.verdict.as_str().to_owned(),
            _ => outcome.counts.summary(),
        };
        let sarif = outcome.sarif.as_ref().map(ToString::to_string);
        self.set(&[
            (Output::ScanSummary, summary.clone()),
            (Output::ScanSarif, sarif.unwrap_or_default()),
        ])?;
        let blocks = outcome.blocks;
        self.done.borrow_mut().scanned = Some(outcome);
        if blocks {
            let problem = Problem::failure(format!(
                "the scan of {} says {summary}, and `scan.on-finding` is block",
                self.connector.name
            ));
            let help = "`cargo xtask connector scan` shows all of it; `scan.ignore` holds what is borne for a while";
            return Err(problem.help(help).into());
        }
        Ok(())
    }

    fn push(&self) -> Result<()> {
        let step = self
            .run
            .context
            .report
            .step(format!("{} push", self.plan.target.connector));
        let done = self.done.borrow();
        let made = done.made.as_ref().context("push what was built")?;
        let sources = BlobSources {
            directory: self.run.context.repo.target().join("pushed-blobs"),
        };
        let from = From {
            base: Some(&self.plan.target.base.used),
            sources: &sources,
        };
        let pushed = push_layout(&self.repository, &made.layout, from)?;
        let line = pushed.to_string();
        if let (Some(scans), Some(scanned)) = (self.run.scans, &done.scanned) {
            scans.attach(&self.repository, &made.layout, scanned)?;
        }
        drop(done);
        self.log(Step::Push, &line)?;
        step.done(line);
        Ok(())
    }

    /// Signs the index by its digest, so that no tag ever points to what is not signed.
    fn sign(&self) -> Result<()> {
        if self.plan.signing == Signing::Off {
            return Ok(());
        }
        let (digest, _) = self.built()?;
        let image = self.plan.target.image.at(&digest).to_string();
        cosign::sign(&image, self.run.context.engine.configuration())?;
        let line = format!("check the signature: {}", cosign::verify_line(&image));
        self.run.context.report.note(&line);
        self.note(line)
    }

    fn tag(&self) -> Result<()> {
        self.sign()?;
        let image = &self.plan.target.image;
        let (ours, document) = self.built()?;
        let reference = tag_of(image)?;
        let now = self.repository.digest(&reference)?;
        let tagging = may_tag(self.plan.action, &self.plan.found, now.as_ref(), &ours);
        let tagging = tagging.map_err(|now| {
            let problem = Problem::failure(format!(
                "{image} is at {now} by now, not at {ours} which was built: it is not overwritten"
            ));
            problem.help("another publish may have come between; --force-publish replaces it")
        })?;
        let before = self.plan.published.as_ref();
        facts::remember(&self.run.context.repo, image, before, &ours, || {
            match tagging {
                Tagging::IsSet => self.note(format!("{image} points to it already"))?,
                Tagging::Set => {
                    self.repository.put_manifest(&reference, &document)?;
                }
                Tagging::Replace(old) => {
                    self.note(format!("replaces {old} by {ours}"))?;
                    self.repository.put_manifest(&reference, &document)?;
                    self.done.borrow_mut().replaced = Some(old);
                }
            }
            self.done.borrow_mut().tagged = true;
            self.set(&[
                (Output::PushExecuted, "true".to_owned()),
                (Output::DockerTags, image.to_string()),
            ])
        })
    }

    fn verify(&self) -> Result<()> {
        let image = &self.plan.target.image;
        let (ours, _) = self.built()?;
        read_back(&self.repository, image, &ours)?;
        self.run
            .context
            .report
            .note(format_args!("{image} is {ours}"));
        Ok(())
    }

    /// Moves latest, or says why it stays. Where another publish set it meanwhile, what that left is judged anew: the
    /// newer of the two versions has it in the end.
    fn latest(&self) -> Result<()> {
        let plan = self.plan;
        let digest = self.done.borrow().digest.clone();
        let ours = digest.context("latest points to a digest")?;
        let latest = plan.tagged("latest");
        let reference = tag_of(&latest)?;
        let mut moved = None;
        for _ in 0..LATEST_TRIES {
            let now = facts::latest(self.run.registries, &plan.target.image, &ours)?;
            match latest::decide(&plan.target.version, &ours, &now, plan.existing) {
                LatestMove::Move(because) => {
                    self.repository
                        .put_manifest(&reference, &self.document(&ours)?)?;
                    moved = Some(because);
                }
                LatestMove::IsThere => {
                    let Some(because) = moved else {
                        return self.note("latest is this image already".to_owned());
                    };
                    self.done.borrow_mut().latest_moved = true;
                    self.note(format!("latest moved: {because}"))?;
                    let tags = match self.done.borrow().tagged {
                        true => format!("{},{latest}", plan.target.image),
                        false => latest.to_string(),
                    };
                    return self.set(&[
                        (Output::LatestMoved, "true".to_owned()),
                        (Output::DockerTags, tags),
                    ]);
                }
                LatestMove::Stay(because) => {
                    let line = format!("latest stays: {because}");
                    self.run
                        .context
                        .report
                        .warning(format_args!("{}: {line}", plan.target.connector));
                    return self.note(line);
                }
            }
        }
        anyhow::bail!("{latest} was moved to {ours} {LATEST_TRIES} times, and points elsewhere")
    }

    fn pypi(&self) -> Result<()> {
        let package = self.package.context("a package was looked for")?;
        let (builder, plan) = self.builder()?;
        let upload = match self.plan.action {
            Action::Try => package::Upload::No,
            _ => package::Upload::Yes,
        };
        let outcome = package.publish(self.run.context, builder, plan, upload)?;
        let line = format!("{} {outcome}", package.package);
        self.log(Step::Pypi, &line)?;
        self.done.borrow_mut().notes.push(line);
        Ok(())
    }

    /// The index that `ours` names: from the build, or from the registry.
    fn document(&self, ours: &Digest) -> Result<Document> {
        if let Some(made) = &self.done.borrow().made {
            return Ok(made.layout.top.clone());
        }
        let document = self.repository.manifest(&Reference::Digest(ours.clone()))?;
        document.with_context(|| format!("{} has no {ours} any more", self.repository.full_name()))
    }

    fn builder(&self) -> Result<(&Builder<'_>, &BuildPlan)> {
        let builder = self
            .run
            .builder
            .context("a plan that builds has a builder")?;
        let plan = self
            .plan
            .build
            .as_ref()
            .context("a plan that builds says how")?;
        Ok((builder, plan))
    }

    /// Digest and index of what was built.
    fn built(&self) -> Result<(Digest, Document)> {
        let done = self.done.borrow();
        let made = done
            .made
            .as_ref()
            .context("only what was built gets a tag")?;
        Ok((made.layout.digest().clone(), made.layout.top.clone()))
    }

    fn note(&self, line: String) -> Result<()> {
        self.log(Step::Tag, &line)?;
        self.done.borrow_mut().notes.push(line);
        Ok(())
    }

    fn log(&self, step: Step, text: &str) -> Result<()> {
        self.run
            .record
            .log(&self.plan.target.connector, step.as_str(), text)
    }

    fn set(&self, news: &[(Output, String)]) -> Result<()> {
        self.run.sinks.set(&self.plan.target.connector, news)
    }
}

fn tag_of(image: &ImageRef) -> Result<Reference> {
    let tag = image.tag.clone().context("an image has a tag")?;
    Ok(Reference::Tag(tag))
}

/// Whether a tag points to `ours`; asked by HEAD, for Docker Hub counts a GET as a pull.
fn read_back(repository: &Repository<'_>, image: &ImageRef, ours: &Digest) -> Result<()> {
    let has = match repository.digest(&tag_of(image)?)? {
        Some(digest) if digest == *ours => return Ok(()),
        Some(digest) => digest.to_string(),
        None => "no such tag".to_owned(),
    };
    anyhow::bail!("{image} was pushed as {ours}, and the registry has {has}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use camino::Utf8Path;

    use super::*;
    use crate::{
        model::{
            connector::Language,
            metadata::Metadata,
            platform::Platform,
            release::{Existing, Latest, Mode, ReleaseType},
        },
        plan::publish::{
            Found, Package,
            request::{Asked, targets},
            steps::Inputs,
        },
        repo::Repo,
        report::Report,
        tools::{
            docker::Engine,
            registry::Credentials,
            retry::Policy,
            test_server::{Answer, Server},
        },
    };

    fn connector() -> Connector {
        let text = format!(
            "data: {{name: N, connectorType: source, definitionId: d, dockerRepository: airbyte/source-a, dockerImageTag: 1.2.3, \
             license: MIT, documentationUrl: u, connectorBuildOptions: {{baseImage: 'docker.io/airbyte/base:1@{}'}}}}",
            Digest::of(b"base")
        );
        Connector {
            name: "source-a".parse().unwrap(),
            directory: "source-a".into(),
            language: Some(Language::ManifestOnly),
            metadata: Metadata::parse(&text).unwrap(),
        }
    }

    /// The plan for an image that is there and may become latest.
    fn plan(connector: &Connector, registry: String) -> PublishPlan {
        let asked = Asked {
            tag_override: "",
            mode: Mode::Real,
            existing: Existing::Keep,
            release: ReleaseType::Main,
            commit: None,
        };
        let config = crate::model::config::Config {
            registry,
            ..Default::default()
        };
        let mut made = targets(&asked, std::slice::from_ref(connector), &config).unwrap();
        PublishPlan::new(Inputs {
            target: made.remove(0),
            found: Found::There {
                digest: Digest::of(b"there"),
                platforms: Platform::ALL.to_vec(),
                missing: Vec::new(),
            },
            published: None,
            platforms: &Platform::ALL,
            mode: Mode::Real,
            existing: Existing::Keep,
            signing: Signing::Off,
            latest: Latest::Follow,
            release: ReleaseType::Main,
            overridden: false,
            package: Package::None,
            build: None,
        })
    }

    #[test]
    fn a_panic_fails_its_own_connector_and_says_what_was_done() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let repo = Repo::at(root);
        let context = Context {
            resolved: repo.configuration(&[]).unwrap(),
            repo,
            engine: Engine::default(),
            report: &Report::new(),
        };
        let server = Server::start(vec![Answer::status(503)]);
        let port = server.url("/").port().unwrap();
        let say = |line: &str| panic!("too much was said: {line}");
        let registries = Registries::new(Credentials::default(), say);
        let record = RunRecord::start(&root.join("runs"), Mode::Real, &[], "[]").unwrap();
        let (connector, other) = (connector(), "source-b".parse().unwrap());
        let sinks = Sinks::new([connector.name.clone(), other].into_iter(), None);
        let run = Run {
            context: &context,
            registries: &registries.with_patience(Policy::NETWORK, Duration::from_secs(5)),
            builder: None,
            scans: None,
            record: &record,
            sinks: &sinks,
        };
        let plan = plan(&connector, format!("127.0.0.1:{port}/airbyte"));
        let (done, result) = run.execute(&plan, &connector, None);
        let error = result.unwrap_err().to_string();
        let start = "a fault of xtask's own: too much was said: ";
        assert!(error.starts_with(start), "{error}");
        assert_eq!(done.digest, Some(Digest::of(b"there")));
        let outputs = serde_json::to_value(sinks.of(&connector.name)).unwrap();
        assert_eq!(outputs["latest-moved"], "false");
        let log = record.log_of(&connector.name, "latest");
        assert!(std::fs::read_to_string(log).unwrap().starts_with(start));
    }

    #[test]
    fn a_tag_is_read_back_without_a_pull() {
        let [ours, other] = [&b"ours"[..], b"other"].map(Digest::of);
        let has = |digest| Answer::status(200).header(&format!("Docker-Content-Digest: {digest}"));
        for (answer, expected) in [
            (has(&ours), None),
            (has(&other), Some(other.to_string())),
            (Answer::status(404), Some("no such tag".to_owned())),
        ] {
            let server = Server::start(vec![answer]);
            let port = server.url("/").port().unwrap();
            let image: ImageRef = format!("127.0.0.1:{port}/a/b:1").parse().unwrap();
            let registries = Registries::new(Credentials::default(), |_| {});
            let error = read_back(&registries.repository(&image), &image, &ours).err();
            let words = |has| format!("{image} was pushed as {ours}, and the registry has {has}");
            assert_eq!(error.map(|error| error.to_string()), expected.map(words));
            let asked = server.requests();
            assert!(asked[0].starts_with("HEAD /v2/a/b/manifests/1 ") && asked.len() == 1);
        }
    }
}
