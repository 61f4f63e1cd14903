//! `connector up-to-date`: the newest base image, in the place where the old one stands.

use std::collections::BTreeSet;

use anyhow::Result;
use semver::Version;
use serde::Serialize;

use super::{
    Context,
    bump::{self, Row},
    edits::Edits,
    online::{Answer, Online},
};
use crate::{
    flags::{StandingFormat, UpToDate},
    model::{
        connector::{BrokenConnector, Connector},
        image::ImageRef,
        problem::{Exit, Problem},
        step::Step,
    },
    plan::{
        base_update::{self, Standing},
        bump as versions,
    },
    report::{counted, table},
};

#[derive(Serialize)]
struct Line<'a> {
    connector: &'a str,
    base_image: Option<&'a ImageRef>,
    #[serde(flatten)]
    standing: Standing,
    /// The connector's next version, with --bump.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    /// The one that it has.
    #[serde(skip)]
    current: Option<&'a Version>,
}

/// Moves connectors to their newest base image; with `--check` it only says which are behind. Ends with 3 when that is
/// not known of one, else with 1 when `--check` found one behind.
pub fn run(context: &Context, flags: &UpToDate) -> Result<Exit> {
    let config = &context.resolved.config;
    let fleet = context.repo.load(&context.resolved)?;
    let fleet = fleet.select(&context.repo, config, &flags.names)?;
    let standings = ask(context, &fleet.connectors)?;
    let mut edits = Edits::new(&context.repo.root);
    let mut lines = Vec::new();
    for (connector, standing) in fleet.connectors.iter().zip(standings) {
        let version = match &standing {
            Standing::Behind { newest } => update(context, flags, &mut edits, connector, newest)?,
            _ => None,
        };
        lines.push(Line {
            connector: connector.name.as_str(),
            base_image: connector.metadata.base_image.as_ref(),
            standing,
            version,
            current: Some(&connector.metadata.version),
        });
    }
    if !flags.check {
        edits.write()?;
    }
    lines.extend(fleet.broken.iter().map(Line::broken));
    lines.sort_by_key(|line| line.connector);
    match flags.output_format {
        StandingFormat::Json => context.report.json(&lines)?,
        format => {
            let rows = lines.iter().map(Line::cells);
            context.report.result(match format {
                StandingFormat::Markdown => markdown(rows),
                _ => table(&HEADER, &rows.collect::<Vec<_>>()),
            });
        }
    }
    Ok(exit(context, flags, &lines))
}

const HEADER: [&str; 4] = ["CONNECTOR", "STATE", "BASE IMAGE", "NEWEST"];

fn exit(context: &Context, flags: &UpToDate, lines: &[Line]) -> Exit {
    let count = |is: fn(&Standing) -> bool| lines.iter().filter(|one| is(&one.standing)).count();
    let behind = count(|one| matches!(one, Standing::Behind { .. }));
    let unknown = count(|one| matches!(one, Standing::Unknown { .. }));
    let became = if flags.check { "behind" } else { "moved" };
    context.report.note(format_args!(
        "{}: {behind} {became}, {unknown} unknown",
        counted(lines.len(), "connector")
    ));
    match (unknown, behind) {
        (1.., _) => Exit::Environment,
        (_, 1..) if flags.check => Exit::Failure,
        _ => Exit::Success,
    }
}

/// Puts the newest base image, and with --bump the next version, into the edits; gives that version.
fn update(
    context: &Context,
    flags: &UpToDate,
    edits: &mut Edits,
    connector: &Connector,
    newest: &ImageRef,
) -> Result<Option<Version>> {
    let in_connector = |problem: Problem| Problem {
        message: format!("{}: {}", connector.name, problem.message),
        ..problem
    };
    let metadata = connector.directory.join("metadata.yaml");
    edits.edit(&metadata, |text| {
        versions::base_image(text, &newest.to_string()).map_err(in_connector)
    })?;
    if !flags.bump {
        return Ok(None);
    }
    let now = &connector.metadata.version;
    let step = if now.pre.is_empty() {
        Step::Patch
    } else {
        Step::Rc
    };
    let to = versions::next(now, step).map_err(in_connector)?;
    let row = flags.changelog.as_deref();
    let row = row
        .map(|text| Row::new(context, text, flags.pull_request))
        .transpose()?;
    let bumped = bump::write(edits, connector, to, row.as_ref())?;
    bumped.note_row(context);
    Ok(Some(bumped.to))
}

/// How each connector's base image stands; every repository and every tag is asked for once.
fn ask(context: &Context, connectors: &[Connector]) -> Result<Vec<Standing>> {
    let say = |line: &str| context.report.note(line);
    let online = Online::new(context, &say)?;
    let declared = |connector: &Connector| connector.metadata.base_image.clone();
    let images: BTreeSet<ImageRef> = connectors.iter().filter_map(declared).collect();
    let tags = online.tags(&images);
    let newest = |image: &ImageRef| -> Answer<ImageRef> {
        let tags = tags
            .get(&image.name())
            .cloned()
            .unwrap_or_else(|| Ok(Vec::new()))?;
        let none = || format!("{} has no tag that is a version", image.name());
        let tag = base_update::tag(image, &tags).ok_or_else(none)?;
        let tag = tag.parse()?;
        Ok(ImageRef {
            tag: Some(tag),
            digest: None,
            ..image.clone()
        })
    };
    let candidates = images
        .iter()
        .filter_map(|image| newest(image).ok())
        .collect();
    let digests = online.digests(&candidates);
    let standing = |image: ImageRef| -> Answer<Standing> {
        let newest = newest(&image)?;
        let digest = digests.get(&newest).cloned().unwrap_or(Ok(None))?;
        let digest = digest.ok_or_else(|| format!("{newest} is not on its registry"))?;
        let tag = newest.tag.map(|tag| tag.to_string()).unwrap_or_default();
        base_update::standing(&image, &tag, digest)
    };
    Ok(connectors
        .iter()
        .map(|connector| match declared(connector) {
            None => Standing::None,
            Some(image) => standing(image).unwrap_or_else(|why| Standing::Unknown { why }),
        })
        .collect())
}

impl Line<'_> {
    fn broken(connector: &BrokenConnector) -> Line<'_> {
        // Below its first line a reason shows the place.
        let reasons = connector
            .reasons
            .iter()
            .filter_map(|one| one.lines().next());
        Line {
            connector: &connector.name,
            base_image: None,
            standing: Standing::Unknown {
                why: reasons.collect::<Vec<_>>().join("; "),
            },
            version: None,
            current: None,
        }
    }

    fn cells(&self) -> Vec<String> {
        let (state, newest) = match &self.standing {
            Standing::None => ("none", String::new()),
            Standing::Current => ("current", String::new()),
            Standing::Behind { newest } => ("behind", newest.to_string()),
            Standing::Unknown { why } => ("unknown", why.clone()),
        };
        let name = match (self.current, &self.version) {
            (Some(current), Some(version)) => format!("{} {current} -> {version}", self.connector),
            _ => self.connector.to_owned(),
        };
        let declared = self.base_image.map(ToString::to_string).unwrap_or_default();
        vec![name, state.to_owned(), declared, newest]
    }
}

fn markdown(rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| cell.replace('|', "\\|").replace('\n', " "))
            .collect();
        format!("| {} |", cells.join(" | "))
    };
    let header = line(HEADER.map(str::to_owned).to_vec());
    let rule = format!("|{}", "---|".repeat(HEADER.len()));
    [header, rule]
        .into_iter()
        .chain(rows.map(line))
        .collect::<Vec<_>>()
        .join("\n")
}
