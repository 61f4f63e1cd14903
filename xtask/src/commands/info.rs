//! `connector info`: all that is known of one connector.

use anyhow::Result;
use serde::Serialize;

use super::{
    Context,
    planner::{Ask, BasePython, Sources},
    wheels::{self, KeptWheel},
};
use crate::{
    flags::Info,
    model::{
        connector::{Connector, DependencySource, Language},
        metadata::{ConnectorType, SupportLevel},
        platform::Platform,
        problem::{Exit, Problem},
        revision::Revision,
        target::Interpreter,
    },
    plan::{
        base_image::{BaseImage, Because},
        build::{PlannedDependencies, base_image},
        published,
    },
    report::table,
    tools::git::Revisions,
};

/// One connector in `--json`.
#[derive(Serialize)]
struct Facts {
    name: String,
    title: String,
    language: Option<Language>,
    #[serde(rename = "type")]
    connector_type: ConnectorType,
    version: String,
    support_level: Option<SupportLevel>,
    license: String,
    definition_id: String,
    documentation_url: String,
    tags: Vec<String>,
    directory: String,
    /// Reference it is published under; null when the version can't be a tag.
    image: Option<String>,
    base_image: Option<BaseImage>,
    /// Null for a connector that is not written in Python.
    dependencies: Option<DependencyFacts>,
    revision: Option<Revision>,
}

/// What a Python connector installs on each configured platform.
#[derive(Serialize)]
struct DependencyFacts {
    file: DependencySource,
    /// Whether the base image's Python is only the usual one: nobody has asked it yet.
    interpreter_assumed: bool,
    #[serde(flatten)]
    plan: Option<PlannedDependencies>,
    /// Wheels from sdists that the store holds already.
    kept: Vec<KeptWheel>,
    /// Why there is no plan.
    error: Option<String>,
}

/// Prints what is known of one connector without asking an engine or a registry. Ends with 2 when the name means
/// several or its metadata can't be used; packages that can't be planned are told beside the rest.
pub fn run(context: &Context, flags: &Info) -> Result<Exit> {
    let config = &context.resolved.config;
    let named = std::slice::from_ref(&flags.name);
    let mut connectors = context
        .repo
        .load(&context.resolved)?
        .select(&context.repo, config, named)?
        .whole()?;
    let (Some(connector), true) = (connectors.pop(), connectors.is_empty()) else {
        return Err(Problem::usage(format!("`{}` names several connectors", flags.name)).into());
    };
    let facts = Facts::gather(context, &connector)?;
    if flags.output.json {
        context.report.json(&facts)?;
    } else {
        for (label, value) in facts.lines() {
            context.report.result(format_args!("{label:<15}{value}"));
        }
        if let Some(table) = facts.dependencies.as_ref().and_then(DependencyFacts::table) {
            context.report.result(format_args!("\n{table}"));
        }
    }
    Ok(Exit::Success)
}

impl Facts {
    fn gather(context: &Context, connector: &Connector) -> Result<Facts> {
        let config = &context.resolved.config;
        let metadata = &connector.metadata;
        let base_image = metadata
            .base_image
            .as_ref()
            .map(|declared| BaseImage::resolve(declared, config));
        let python = connector.language == Some(Language::Python);
        Ok(Facts {
            name: connector.name.to_string(),
            title: metadata.title.clone(),
            language: connector.language,
            connector_type: metadata.connector_type,
            version: metadata.version.to_string(),
            support_level: metadata.support_level,
            license: metadata.license.clone(),
            definition_id: metadata.definition_id.clone(),
            documentation_url: metadata.documentation_url.clone(),
            tags: metadata.tags.clone(),
            directory: connector.directory.to_string(),
            image: published::reference(connector, &config.registry)
                .ok()
                .map(|image| image.to_string()),
            base_image: base_image.transpose().map_err(Problem::usage)?,
            dependencies: python.then(|| DependencyFacts::gather(context, connector)),
            revision: Revisions::read(&context.repo.root, &connector.directory)?
                .of(&connector.directory)?,
        })
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("name", self.name.clone()),
            ("title", self.title.clone()),
            (
                "language",
                self.language
                    .map_or_else(|| "unknown".to_owned(), |language| language.to_string()),
            ),
            ("type", self.connector_type.to_string()),
            ("version", self.version.clone()),
            (
                "support level",
                self.support_level
                    .map_or_else(|| "none".to_owned(), |level| level.to_string()),
            ),
            ("license", self.license.clone()),
            ("definition id", self.definition_id.clone()),
            ("documentation", self.documentation_url.clone()),
            ("tags", self.tags.join(", ")),
            ("directory", self.directory.clone()),
            (
                "image",
                self.image
                    .clone()
                    .unwrap_or_else(|| "none: the version can't be an image tag".to_owned()),
            ),
        ];
        if let Some(base) = &self.base_image {
            lines.push(("base image", base.declared.to_string()));
            match base.because {
                Because::Declared => {}
                Because::Mirror => lines.push(("  read from", base.used.to_string())),
                Because::StandIn => lines.push(("  replaced by", base.used.to_string())),
            }
        }
        lines.extend(self.dependencies.iter().flat_map(DependencyFacts::lines));
        if let Some(revision) = &self.revision {
            let state = if revision.dirty {
                " and uncommitted changes"
            } else {
                ""
            };
            lines.push(("commit", format!("{}{state}", revision.commit)));
            lines.extend(
                revision
                    .changed
                    .iter()
                    .map(|changed| ("last changed", changed.date.clone())),
            );
        }
        lines
    }
}

impl DependencyFacts {
    fn gather(context: &Context, connector: &Connector) -> DependencyFacts {
        let file = context.repo.dependency_source(connector);
        match DependencyFacts::plan(context, connector) {
            Ok(facts) => facts,
            Err(error) => DependencyFacts {
                file,
                interpreter_assumed: true,
                plan: None,
                kept: Vec::new(),
                error: Some(format!("{error:#}")),
            },
        }
    }

    fn plan(context: &Context, connector: &Connector) -> Result<DependencyFacts> {
        let config = &context.resolved.config;
        let sources = Sources::read(&context.repo.root, connector)?;
        let base = base_image(connector, config).ok().map(|base| base.used);
        let known = base
            .as_ref()
            .map(|image| BasePython::of(context, image, Ask::Nobody))
            .transpose()?;
        let (interpreter, assumed) = known.map_or((Interpreter::USUAL, true), |base| {
            (base.interpreter, base.assumed)
        });
        let dependencies = sources.dependencies(interpreter, &config.platforms)?;
        let plan = PlannedDependencies::new(dependencies, Platform::host(), config);
        let kept = match (&plan, &base) {
            (PlannedDependencies::Locked(summary), Some(base)) => {
                wheels::kept(context, summary, base)?
            }
            _ => Vec::new(),
        };
        Ok(DependencyFacts {
            file: context.repo.dependency_source(connector),
            interpreter_assumed: assumed,
            plan: Some(plan),
            kept,
            error: None,
        })
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let details = match (&self.plan, &self.error) {
            (Some(PlannedDependencies::Locked(summary)), _) => summary.lines(),
            (Some(PlannedDependencies::Resolved { requirements }), _) => {
                vec![
                    "resolved at each build, which can't be repeated".to_owned(),
                    requirements.join(", "),
                ]
            }
            (None, error) => error.iter().cloned().collect(),
        };
        let labels = std::iter::once("dependencies").chain(std::iter::repeat(""));
        let kept = self.kept.iter().map(|kept| {
            let KeptWheel {
                package,
                platform,
                wheel,
            } = kept;
            format!("{package} for {platform}: {wheel} is in the store")
        });
        let lines = std::iter::once(self.file.to_string())
            .chain(details)
            .chain(kept);
        labels.zip(lines).collect()
    }

    /// Every package with the way it gets into the image and why.
    fn table(&self) -> Option<String> {
        let Some(PlannedDependencies::Locked(summary)) = &self.plan else {
            return None;
        };
        let rows: Vec<Vec<String>> = summary.rows().iter().map(|row| row.to_vec()).collect();
        Some(table(&["PACKAGE", "VERSION", "HOW", "WHY"], &rows))
    }
}
