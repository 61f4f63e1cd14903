//! What all scans of one run share: the scanner, its database brought up to date once, lists of what images hold.

use std::{collections::BTreeSet, fs, sync::OnceLock};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::ImageConfiguration;
use serde::Serialize;

use super::{
    catalog::{Catalogs, Subject},
    lock_file,
};
use crate::{
    commands::Context,
    model::{
        connector::{Connector, ConnectorName},
        exposure::{Exposure, Origin, Standing},
        image::{Digest, ImageRef},
        manifest_document::{self, Content},
        platform::Platform,
        problem::{Exit, Problem},
        vulnerability::Scanned,
    },
    plan::{
        published,
        scan::{self, Counts, Half, Known, Verdict},
    },
    report::{
        exit_of,
        scans::{self, Exposed},
    },
    tools::{
        clock::today,
        files,
        grype::{Database, Grype},
        layout::{self, Layout, LayoutImage},
        process::check_interrupted,
        registry::{Attached, Attachment, Reference, Registries, Repository},
        retry::Policy,
        syft,
        work::each,
    },
};

/// Media types of the lists, registered with IANA.
const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
const SPDX: &str = "application/spdx+json";

/// The scans of one run; shared by its threads.
pub struct Scans<'a> {
    context: &'a Context<'a>,
    registries: &'a Registries<'a>,
    catalogs: Catalogs<'a>,
    /// What scans need, or why it can't be had: then every scan has failed. Gathered by the first scan.
    ready: OnceLock<Result<Ready, String>>,
}

struct Ready {
    grype: Grype,
    syft: Utf8PathBuf,
    database: Database,
    /// VEX documents, absolute.
    vex: Vec<Utf8PathBuf>,
    /// Changes with everything that findings depend on besides the image.
    key: Digest,
}

/// What came of a connector's scan, as `--json` shows it.
#[derive(Debug, Serialize)]
pub struct ScanOutcome {
    pub connector: ConnectorName,
    pub verdict: Verdict,
    /// Whether nothing may be pushed because of it.
    pub blocks: bool,
    /// Why the scan failed.
    pub error: Option<String>,
    pub counts: Counts,
    /// The vulnerability database asked.
    pub database: Option<Database>,
    pub images: Vec<ScannedImage>,
    pub exposures: Vec<Exposure>,
    /// All platforms' findings as SARIF; None when the scan failed.
    pub sarif: Option<Utf8PathBuf>,
    /// Relative to the connector's directory.
    #[serde(skip)]
    lock: Option<&'static str>,
}

/// One platform's part of a scan: which manifest it was of, and where the lists of what that holds are.
#[derive(Debug, Serialize)]
pub struct ScannedImage {
    pub platform: Platform,
    /// Digest of the manifest that was scanned.
    pub manifest: Digest,
    /// The list of what it holds, as CycloneDX and, where it was made here, as SPDX.
    pub cyclonedx: Utf8PathBuf,
    pub spdx: Option<Utf8PathBuf>,
}

impl<'a> Scans<'a> {
    /// The first scan finds the scanner and brings its database up to date, once for the whole run. What is missing is
    /// told by each scan, as one that failed.
    ///
    /// # Errors
    /// When a rule of `scan.ignore` no longer holds.
    pub fn open(context: &'a Context<'a>, registries: &'a Registries<'a>) -> Result<Scans<'a>> {
        scan::check_rules(&context.resolved.config.scan, today()?)?;
        Ok(Scans {
            context,
            registries,
            catalogs: Catalogs::new(context, registries),
            ready: OnceLock::new(),
        })
    }

    /// Scans each platform's half of the image in `layout`; nothing of it needs to be in any registry.
    ///
    /// # Errors
    /// Only after Ctrl-C: a scan that fails is an outcome.
    pub fn of_layout(&self, connector: &Connector, layout: &Layout) -> Result<ScanOutcome> {
        let name = &connector.name;
        let step = self.context.report.step(format!("{name} scan"));
        let images: Vec<_> = layout.images.iter().collect();
        let halves = self.ready().and_then(|ready| {
            anyhow::ensure!(!images.is_empty(), "{} holds no image", layout.directory);
            let jobs = self.context.resolved.config.parallelism();
            let latest = self.latest(connector);
            each(&images, jobs, |(platform, image)| {
                self.half(ready, connector, layout, **platform, image, &latest)
            })
            .into_iter()
            .collect::<Result<Vec<Half>>>()
        });
        let halves = match halves {
            Ok(halves) => halves,
            Err(error) if exit_of(&error) == Exit::Interrupted => return Err(error),
            Err(error) => {
                step.failed();
                return Ok(self.failed(connector, with_help(&error)));
            }
        };
        let outcome = self.judged(connector, &halves)?;
        step.done(format_args!(
            "{}, {} of them counted",
            outcome.counts.summary(),
            outcome.counts.counted
        ));
        Ok(outcome)
    }

    fn ready(&self) -> Result<&Ready> {
        let ready = self
            .ready
            .get_or_init(|| Ready::new(self.context).map_err(|error| with_help(&error)));
        // A wait that Ctrl-C ended is no failure of the scanner's.
        check_interrupted()?;
        ready
            .as_ref()
            .map_err(|error| anyhow::Error::msg(error.clone()))
    }

    fn failed(&self, connector: &Connector, error: String) -> ScanOutcome {
        let config = &self.context.resolved.config;
        ScanOutcome {
            connector: connector.name.clone(),
            verdict: Verdict::ScanFailed,
            blocks: Verdict::ScanFailed.blocks(config.scan.on_finding),
            error: Some(error),
            counts: Counts::default(),
            database: self.ready().ok().map(|ready| ready.database.clone()),
            images: Vec::new(),
            exposures: Vec::new(),
            sarif: None,
            lock: lock_file(self.context, connector),
        }
    }

    fn judged(&self, connector: &Connector, halves: &[Half]) -> Result<ScanOutcome> {
        let policy = &self.context.resolved.config.scan;
        let mut exposures = scan::judge(connector.name.as_str(), halves, policy);
        let directory = self.context.repo.root.join(&connector.directory);
        // A file that can't be read has no lines to point at.
        let text = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
        let lock = lock_file(self.context, connector);
        let (pinned, metadata) = (lock.map(text).unwrap_or_default(), text("metadata.yaml"));
        for exposure in &mut exposures {
            exposure.line = scan::line(exposure, &pinned, &metadata);
        }
        let counts = Counts::of(&exposures);
        let verdict = Verdict::of(&counts);
        let images = halves.iter().map(|half| {
            let manifest = half.scanned.manifest.clone();
            let list = self.catalogs.kept(&manifest);
            let spdx = self.catalogs.documents(&manifest).spdx;
            ScannedImage {
                platform: half.platform,
                cyclonedx: list.unwrap_or_else(|| self.catalogs.attached(&manifest)),
                spdx: spdx.is_file().then_some(spdx),
                manifest,
            }
        });
        let mut outcome = ScanOutcome {
            connector: connector.name.clone(),
            verdict,
            blocks: verdict.blocks(policy.on_finding),
            error: None,
            counts,
            database: Some(self.ready()?.database.clone()),
            images: images.collect(),
            exposures,
            sarif: None,
            lock,
        };
        let path = self.context.repo.work(&connector.name).join("scan.sarif");
        let sarif = scans::sarif(&[outcome.exposed(connector)]);
        files::write(&path, &format!("{sarif:#}\n"))?;
        outcome.sarif = Some(path);
        Ok(outcome)
    }

    fn half(
        &self,
        ready: &Ready,
        connector: &Connector,
        layout: &Layout,
        platform: Platform,
        image: &LayoutImage,
        latest: &[(Platform, Digest)],
    ) -> Result<Half> {
        let subject = Subject {
            name: &connector.metadata.docker_repository,
            layout,
            platform,
            image,
        };
        self.catalogs.make(&ready.syft, &subject)?;
        let manifest = &image.document.digest;
        let list = self.catalogs.documents(manifest).cyclonedx;
        let scanned = self.scanned(ready, manifest, &list)?;
        let latest = latest
            .iter()
            .find(|(of, _)| *of == platform)
            .and_then(|(_, manifest)| self.known(ready, connector, manifest));
        Ok(Half {
            platform,
            scanned,
            base_layers: self.base_layers(&image.configuration, platform),
            latest,
        })
    }

    /// Asks again about the image at `latest`, by the lists that are kept of it or attached to it: none of it is pulled.
    /// None when there is no such image.
    ///
    /// # Errors
    /// Only after Ctrl-C: a scan that fails is an outcome.
    pub fn of_published(&self, connector: &Connector) -> Result<Option<ScanOutcome>> {
        let asked = self.ready().and_then(|ready| {
            let images = self.images_at_latest(connector)?;
            images
                .iter()
                .map(|(platform, manifest)| {
                    self.published_half(ready, connector, *platform, manifest)
                })
                .collect::<Result<Vec<Half>>>()
        });
        match asked {
            Ok(halves) if halves.is_empty() => Ok(None),
            Ok(halves) => self.judged(connector, &halves).map(Some),
            Err(error) if exit_of(&error) == Exit::Interrupted => Err(error),
            Err(error) => Ok(Some(self.failed(connector, with_help(&error)))),
        }
    }

    fn published_half(
        &self,
        ready: &Ready,
        connector: &Connector,
        platform: Platform,
        manifest: &Digest,
    ) -> Result<Half> {
        let repository = self.repository(connector)?;
        let Some(list) = self.published_list(connector, manifest)? else {
            let image = repository.full_name();
            return Err(Problem::failure(format!(
                "no list of what {image}@{manifest} holds is attached to it"
            ))
            .help("publish it again: a publish attaches what it scanned")
            .into());
        };
        let scanned = self.scanned(ready, manifest, &list)?;
        let configuration = configuration(&repository, manifest)?;
        Ok(Half {
            platform,
            // It is the image at latest.
            latest: Some(scan::known(&scanned)),
            scanned,
            base_layers: self.base_layers(&configuration, platform),
        })
    }

    /// The list of what a published manifest holds: one that was made here, else the one attached to it, which is fetched
    /// once; None where there is none.
    fn published_list(
        &self,
        connector: &Connector,
        manifest: &Digest,
    ) -> Result<Option<Utf8PathBuf>> {
        if let Some(kept) = self.catalogs.kept(manifest) {
            return Ok(Some(kept));
        }
        let repository = self.repository(connector)?;
        let Some(content) = repository.attached(manifest, CYCLONEDX)? else {
            return Ok(None);
        };
        let text = String::from_utf8(content).context("the list that is attached is no text")?;
        let list = self.catalogs.attached(manifest);
        files::write(&list, &text)?;
        Ok(Some(list))
    }

    /// The repository that a connector is published to.
    fn repository(&self, connector: &Connector) -> Result<Repository<'_>> {
        let registry = &self.context.resolved.config.registry;
        let image = published::reference(connector, registry).map_err(anyhow::Error::msg)?;
        Ok(self.registries.repository(&image))
    }

    /// Attaches the lists of what each half of an image holds to its manifest, which was pushed from `layout`: SPDX and
    /// CycloneDX.
    pub fn attach(
        &self,
        repository: &Repository<'_>,
        layout: &Layout,
        outcome: &ScanOutcome,
    ) -> Result<()> {
        for image in &outcome.images {
            let subject = layout.images.get(&image.platform);
            let subject = subject.map(|half| &half.document);
            let subject = subject
                .filter(|document| document.digest == image.manifest)
                .with_context(|| format!("{} was not pushed", image.manifest))?;
            let read = |media_type, path: &Utf8PathBuf| {
                let content = fs::read(path).with_context(|| format!("read {path}"))?;
                anyhow::Ok(Attachment {
                    media_type,
                    content,
                })
            };
            let spdx = image.spdx.as_ref();
            let spdx = spdx.with_context(|| format!("{} was not listed here", image.manifest))?;
            let lists = [read(SPDX, spdx)?, read(CYCLONEDX, &image.cyclonedx)?];
            let attached = repository
                .attach(subject, &lists)
                .with_context(|| format!("attach what it holds to {}", image.manifest))?;
            if let Attached::Nowhere(tag) = attached {
                self.context.report.warning(format_args!(
                    "what {} holds is not attached to it: the registry keeps no list of referrers, and tag {tag}, which \
                     would stand in for one, is an image",
                    image.manifest
                ));
            }
        }
        Ok(())
    }

    /// What `manifest` is vulnerable to, by a list of what it holds; asked once for each list, database and policy.
    fn scanned(&self, ready: &Ready, manifest: &Digest, list: &Utf8Path) -> Result<Scanned> {
        let results = self.context.repo.target().join("scans");
        let mut asked = fs::read(list).with_context(|| format!("read {list}"))?;
        asked.extend_from_slice(ready.key.hex().as_bytes());
        let key = Digest::of(&asked);
        let path = results.join(format!("{}-{}.json", manifest.hex(), key.hex()));
        if let Some(kept) = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
        {
            return Ok(kept);
        }
        let source = format!("sbom:{list}");
        let scanned = ready.grype.scan(&source, &ready.vex)?;
        anyhow::ensure!(
            scanned.manifest == *manifest,
            "grype looked at {}, not at {manifest}",
            scanned.manifest
        );
        let text = serde_json::to_string(&scanned).context("write what was found as JSON")?;
        files::write(&path, &text)?;
        Ok(scanned)
    }

    /// Digests of the base image's uncompressed layers; None when it can't be asked for them.
    fn base_layers(
        &self,
        configuration: &ImageConfiguration,
        platform: Platform,
    ) -> Option<BTreeSet<Digest>> {
        let asked = layout::base_of(configuration)
            .context("no base image is named")
            .and_then(|base| {
                let digest = base.digest.clone().context("no digest is named")?;
                self.layers_of(&base, digest, platform)
            });
        match asked {
            Ok(layers) => Some(layers),
            Err(error) => {
                self.context.report.warning(format_args!(
                    "what comes from the base image can't be told: {error:#}"
                ));
                None
            }
        }
    }

    fn layers_of(
        &self,
        base: &ImageRef,
        digest: Digest,
        platform: Platform,
    ) -> Result<BTreeSet<Digest>> {
        let repository = self.registries.repository(base);
        let mut asked = Reference::Digest(digest);
        loop {
            let document = repository
                .manifest(&asked)?
                .with_context(|| format!("{base} is not there"))?;
            match document.content().map_err(anyhow::Error::msg)? {
                Content::Index(index) => {
                    let images = manifest_document::images(&index);
                    let (_, descriptor) = images
                        .into_iter()
                        .find(|(of, _)| *of == platform)
                        .with_context(|| format!("{base} is not for {platform}"))?;
                    asked = Reference::Digest(layout::digest(descriptor)?);
                }
                Content::Manifest(_) => {
                    let configuration = configuration(&repository, &document.digest)?;
                    let layers = configuration.rootfs().diff_ids().iter();
                    return layers
                        .map(|text| text.parse().map_err(anyhow::Error::msg))
                        .collect();
                }
            }
        }
    }

    /// The manifests of the image at `latest`; none when it can't be asked for, which is said.
    fn latest(&self, connector: &Connector) -> Vec<(Platform, Digest)> {
        self.images_at_latest(connector).unwrap_or_else(|error| {
            self.context.report.warning(format_args!(
                "{}: not compared with the image at latest: {error:#}",
                connector.name
            ));
            Vec::new()
        })
    }

    /// The manifests of the image at `latest`; none when there is no such image.
    fn images_at_latest(&self, connector: &Connector) -> Result<Vec<(Platform, Digest)>> {
        let latest = Reference::Tag("latest".parse().map_err(anyhow::Error::msg)?);
        let Some(document) = self.repository(connector)?.manifest(&latest)? else {
            return Ok(Vec::new());
        };
        let Content::Index(index) = document.content().map_err(anyhow::Error::msg)? else {
            anyhow::bail!("the image at latest is for one platform only");
        };
        manifest_document::images(&index)
            .into_iter()
            .map(|(platform, descriptor)| Ok((platform, layout::digest(descriptor)?)))
            .collect()
    }

    /// What is found in a published image, when a list of what it holds is kept or attached; it is not pulled for that.
    fn known(
        &self,
        ready: &Ready,
        connector: &Connector,
        manifest: &Digest,
    ) -> Option<BTreeSet<Known>> {
        let scanned = || -> Result<Option<Scanned>> {
            let list = self.published_list(connector, manifest)?;
            let scanned = list.map(|list| self.scanned(ready, manifest, &list));
            scanned.transpose()
        };
        let scanned = scanned().unwrap_or_else(|error| {
            self.context.report.warning(format_args!(
                "{}: not compared with the image at latest: {error:#}",
                connector.name
            ));
            None
        });
        scanned.as_ref().map(scan::known)
    }
}

/// The configuration of a published image.
pub fn configuration(repository: &Repository<'_>, manifest: &Digest) -> Result<ImageConfiguration> {
    let document = repository
        .manifest(&Reference::Digest(manifest.clone()))?
        .with_context(|| format!("{manifest} is not there"))?;
    let Content::Manifest(manifest) = document.content().map_err(anyhow::Error::msg)? else {
        anyhow::bail!("{} is an index, not an image", document.digest);
    };
    let bytes = repository.blob(&layout::digest(manifest.config())?)?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("read the configuration of {}", document.digest))
}

impl Ready {
    fn new(context: &Context) -> Result<Ready> {
        let config = &context.resolved.config;
        let tools = context.repo.tools();
        let sources = context.scanner(&tools)?;
        let step = context.report.step("scanner");
        let grype = Grype::find(&sources)?;
        let syft = syft::fetch(&config.tools.syft, &tools)?;
        step.done(format_args!("{grype}, syft {}", config.tools.syft));
        let database = database(context, &grype)?;
        let vex: Vec<Utf8PathBuf> = config
            .scan
            .vex
            .iter()
            .map(|path| context.repo.root.join(path))
            .collect();
        let mut policy = serde_json::to_vec(&(&database, &grype.version, &config.scan))
            .context("write the policy as JSON")?;
        for path in &vex {
            policy.extend(fs::read(path).with_context(|| format!("read the VEX document {path}"))?);
        }
        Ok(Ready {
            grype,
            syft,
            database,
            vex,
            key: Digest::of(&policy),
        })
    }
}

/// The database, after one update. Where that fails, an older one will do as long as grype takes it.
fn database(context: &Context, grype: &Grype) -> Result<Database> {
    let off = std::env::var("GRYPE_DB_AUTO_UPDATE").is_ok_and(|value| value == "false");
    let step = context.report.step("vulnerability database");
    let updated = if off {
        Ok(())
    } else {
        let say = |line: &str| context.report.note(line);
        grype.update(&Policy::NETWORK, &say)
    };
    check_interrupted()?;
    let database = match grype.database() {
        Ok(database) => database,
        Err(error) => {
            step.failed();
            return Err(match updated {
                Err(update) => error.context(format!("{update:#}")),
                Ok(()) => error,
            });
        }
    };
    if let Err(error) = updated {
        context.report.warning(format_args!(
            "{error:#}; scans ask the database built on {}",
            database.built
        ));
    }
    step.done(format_args!("built {}", database.built));
    Ok(database)
}

fn with_help(error: &anyhow::Error) -> String {
    Problem::help_of(error).map_or_else(
        || format!("{error:#}"),
        |help| format!("{error:#}\nhelp: {help}"),
    )
}

impl ScanOutcome {
    /// What reports show of it.
    pub fn exposed<'o>(&'o self, connector: &'o Connector) -> Exposed<'o> {
        Exposed {
            connector: connector.name.as_str(),
            directory: connector.directory.as_str(),
            lock: self.lock,
            exposures: &self.exposures,
            error: self.error.as_deref(),
        }
    }

    /// The table and what it comes to.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {}", self.connector, self.verdict.as_str())];
        if self.verdict == Verdict::ScanFailed {
            return lines;
        }
        if !self.exposures.is_empty() {
            lines.push(scans::text(&self.exposures));
        }
        lines.extend(self.conclusion());
        lines
    }

    /// What mends it, and what it comes to.
    pub fn conclusion(&self) -> Vec<String> {
        let origins = [Origin::Connector, Origin::BaseImage].into_iter();
        let mut lines: Vec<String> = origins.filter_map(|origin| self.remedy(origin)).collect();
        let new = match self.counts.new {
            Some(new) => format!("{new} of them new since latest"),
            None => "not compared with latest, of which no list is kept".to_owned(),
        };
        lines.push(format!(
            "vulnerabilities: {}; {} counted, {} ignored; {new}",
            self.counts.summary(),
            self.counts.counted,
            self.counts.ignored
        ));
        lines
    }

    /// What mends that part of what counts which comes from `origin`; None when that is nothing.
    fn remedy(&self, origin: Origin) -> Option<String> {
        let counts = |one: &&Exposure| one.origin == origin && one.standing == Standing::Counts;
        let count = self.exposures.iter().filter(counts).count();
        (count > 0).then(|| format!("{count} from the {}: {}", origin.as_str(), origin.remedy()))
    }

    /// Says on standard error what must not be overlooked.
    pub fn warn(&self, context: &Context) {
        let connector = &self.connector;
        match (self.verdict, &self.error) {
            (Verdict::ScanFailed, error) => context.report.warning(format_args!(
                "{connector}: scan-failed: {}",
                error.as_deref().unwrap_or("for an unknown reason")
            )),
            (Verdict::Found, _) => context.report.warning(format_args!(
                "{connector}: {} vulnerable packages at or above the cutoff{}",
                self.counts.counted,
                match self.blocks {
                    true => ", and `scan.on-finding` is block",
                    false => "",
                }
            )),
            (Verdict::Clean, _) => {}
        }
    }
}
