//! The connector's pages in the documentation.

use camino::Utf8Path;
use semver::Version;

use super::{Check, Defect, Run, Subject, release};
use crate::{
    model::{
        connector_files::{self, ConnectorFiles},
        finding::Severity,
        yaml::{Document, Entry, Node, Place},
    },
    plan::changelog,
};

/// They read the pages that lie in this repository; a connector that is documented elsewhere has none to read.
pub const CHECKS: &[Check] = &[
    Check {
        id: "documentation-page",
        description: "documentationUrl names a page, and it exists below docs/",
        severity: Severity::Error,
        applies: "all documented on docs.airbyte.com",
        run: Run::Connector(page_exists),
    },
    Check {
        id: "changelog-entry",
        description: "the page's changelog has the version",
        severity: Severity::Error,
        applies: "ab_internal.sl >= 100 (the default)",
        run: Run::Connector(changelog_entry),
    },
    Check {
        id: "migration-guide",
        description: "the migration guide has its title and a heading for each breaking version, newest first",
        severity: Severity::Error,
        applies: "ab_internal.sl >= 100 (the default) with breakingChanges; those with `isBreaking: false` may be left out",
        run: Run::Connector(migration_guide),
    },
    Check {
        id: "page-structure",
        description: "the page has the headings of `checks.page-headings` in order, its prerequisites the required fields",
        severity: Severity::Error,
        applies: "python and low-code sources with ab_internal.sl >= 300, where headings are configured",
        run: Run::Connector(page_structure),
    },
];

const DOCUMENTED: i64 = 100;
const PRESCRIBED: i64 = 300;

fn page<'a>(subject: &Subject<'a>) -> Option<(&'a Utf8Path, &'a str)> {
    let path = connector_files::page_path(subject.text("documentationUrl")?)?;
    let (path, text) = subject.files.pages.get_key_value(&path)?;
    Some((path, text))
}

fn defect(file: &Utf8Path, line: usize, message: String, help: impl Into<String>) -> Defect {
    Defect {
        file: file.to_owned(),
        at: Place { line, column: 1 },
        message,
        help: help.into(),
    }
}

fn page_exists(subject: &Subject) -> Vec<Defect> {
    let url = subject.text("documentationUrl").unwrap_or_default();
    let (message, help) = match connector_files::page_path(url) {
        Some(path) if subject.files.pages.contains_key(&path) => return Vec::new(),
        Some(path) => (
            format!("documentationUrl: there is no page {path}"),
            format!("write {path}, or correct the address"),
        ),
        None if connector_files::is_documentation(url) => (
            format!("documentationUrl: {url} names no page"),
            "write the path of the page below docs/, without .md, behind the host".to_owned(),
        ),
        None => return Vec::new(),
    };
    vec![subject.in_metadata("documentationUrl", message, help)]
}

fn changelog_entry(subject: &Subject) -> Vec<Defect> {
    // What is no version has no entry.
    let (Some((path, text)), Some(_), Some(version)) = (
        page(subject),
        subject.version(),
        subject.text("dockerImageTag"),
    ) else {
        return Vec::new();
    };
    if subject.support_rank() < DOCUMENTED {
        return Vec::new();
    }
    let mut lines = text.lines().zip(1..);
    let heading = lines.find(|(line, _)| line.to_lowercase().contains("# changelog"));
    let Some((_, line)) = heading else {
        let help = "add a heading `## Changelog` with a table of versions";
        return vec![defect(path, 1, "no changelog".to_owned(), help)];
    };
    if changelog::has_version(lines.map(|(line, _)| line), version) {
        return Vec::new();
    }
    let help = format!("add a row for {version} below the heading");
    vec![defect(
        path,
        line,
        format!("the changelog does not have {version}"),
        help,
    )]
}

/// Whether the text has this version as a whole: 1.2.3 is not in 11.2.30, 1.2.3.4 or 1.2.3-rc.1.
pub fn names_version(text: &str, version: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    text.split(|c| !part(c))
        .map(|word| word.trim_end_matches(['.', '-']))
        .any(|word| word == version || word.strip_prefix(['v', 'V']) == Some(version))
}

fn migration_guide(subject: &Subject) -> Vec<Defect> {
    let (optional, needed): (Vec<&Entry>, Vec<&Entry>) = release::breaking_changes(subject)
        .iter()
        .partition(|change| release::is_annotation(change));
    let needed = needed.iter();
    let mut versions: Vec<Version> = needed
        .filter_map(|change| Version::parse(&change.key).ok())
        .collect();
    if versions.is_empty() || subject.support_rank() < DOCUMENTED {
        return Vec::new();
    }
    versions.sort();
    versions.reverse();
    let Some(path) = connector_files::guide_path(&subject.files.name) else {
        return Vec::new();
    };
    let Some(text) = subject.files.pages.get(&path) else {
        return vec![subject.in_metadata(
            "releases.breakingChanges",
            format!("releases.breakingChanges: there is no migration guide {path}"),
            format!("write {path}, with a heading `## Upgrading to VERSION` for each version"),
        )];
    };
    let mut defects = Vec::new();
    // A name that is no text is the schema's to say.
    if let Some(name) = subject.text("name")
        && text.lines().next().map(str::trim_end) != Some(&format!("# {name} Migration Guide"))
    {
        let message = "the title is not that of a migration guide".to_owned();
        let help = format!("begin with `# {name} Migration Guide`");
        defects.push(defect(&path, 1, message, help));
    }
    let optional: Vec<&str> = optional.iter().map(|change| change.key.as_str()).collect();
    defects.extend(upgrade_headings(&path, text, &versions, &optional));
    defects
}

fn upgrade_headings(
    path: &Utf8Path,
    text: &str,
    versions: &[Version],
    optional: &[&str],
) -> Option<Defect> {
    let heading = |line: &str| {
        line.strip_prefix("## Upgrading to ")
            .map(|rest| rest.trim().to_owned())
    };
    let found: Vec<(String, usize)> = text
        .lines()
        .zip(1..)
        .filter_map(|(line, number)| Some((heading(line)?, number)))
        .filter(|(version, _)| !optional.contains(&version.as_str()))
        .collect();
    let expected: Vec<String> = versions.iter().map(Version::to_string).collect();
    if found.iter().map(|(version, _)| version).eq(&expected) {
        return None;
    }
    let first = found
        .iter()
        .zip(&expected)
        .find(|((found, _), expected)| found != *expected)
        .map_or(1, |((_, line), _)| *line);
    let named: Vec<&str> = found.iter().map(|(version, _)| version.as_str()).collect();
    Some(defect(
        path,
        first,
        format!(
            "headings for {}, expected {}",
            list(&named),
            expected.join(", ")
        ),
        "one heading `## Upgrading to VERSION` for each breaking version, newest first",
    ))
}

fn list(items: &[&str]) -> String {
    match items {
        [] => "no version".to_owned(),
        items => items.join(", "),
    }
}

fn page_structure(subject: &Subject) -> Vec<Defect> {
    let headings = &subject.settings.page_headings;
    let prescribed = subject.is_python()
        && subject.is_source()
        && subject.support_rank() >= PRESCRIBED
        && !headings.is_empty();
    let Some((path, text)) = page(subject).filter(|_| prescribed) else {
        return Vec::new();
    };
    let mut rest = text.lines().zip(1..);
    let mut at = 1;
    let title = subject.text("name").unwrap_or_default();
    for heading in headings {
        let heading = heading.replace("CONNECTOR", title);
        match rest.find(|(line, _)| line.trim().eq_ignore_ascii_case(&heading)) {
            Some((_, line)) => at = line,
            None => {
                let message = format!("no heading `{heading}` after this line");
                return vec![defect(
                    path,
                    at,
                    message,
                    format!("add `{heading}`, in the order of checks.page-headings"),
                )];
            }
        }
    }
    let prescribed = headings.iter().any(|heading| is_prerequisites(heading));
    match prescribed {
        true => prerequisites(subject, path, text),
        false => Vec::new(),
    }
}

fn is_prerequisites(line: &str) -> bool {
    line.starts_with('#') && line.to_ascii_lowercase().contains("prerequisites")
}

/// The section of prerequisites names every field that the spec requires.
fn prerequisites(subject: &Subject, path: &Utf8Path, text: &str) -> Vec<Defect> {
    let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let mut lines = text.lines().zip(1..);
    let Some((heading, at)) = lines.find(|(line, _)| is_prerequisites(line.trim())) else {
        return Vec::new();
    };
    let depth = level(heading.trim());
    let section: String = lines
        .take_while(|(line, _)| !(1..=depth).contains(&level(line.trim())))
        .flat_map(|(line, _)| [line, "\n"])
        .collect();
    let section = section.to_lowercase();
    let missing = required_fields(subject.files)
        .into_iter()
        .filter(|field| !section.contains(&field.to_lowercase()));
    let missing = missing.map(|field| {
        let message = format!("the prerequisites do not name the required field `{field}`");
        defect(
            path,
            at,
            message,
            format!("say below this heading where to get `{field}`"),
        )
    });
    missing.collect()
}

/// Titles (else keys) of the fields that the connector's spec requires, as far as a file of it has the spec.
fn required_fields(files: &ConnectorFiles) -> Vec<String> {
    let package = files.snake();
    let of_json = |path: &str| Some(Document::read(files.text(path)?).ok()?.root);
    let specs = ["spec.json", "spec.yaml", "spec.yml"].into_iter();
    let spec = specs
        .filter_map(|file| {
            let spec = of_json(&format!("{package}/{file}"))?;
            spec.get("connectionSpecification").cloned()
        })
        .chain(
            of_json(&format!("{package}/manifest.yaml"))
                .and_then(|manifest| manifest.at_path("spec.connection_specification").cloned()),
        )
        .next();
    let Some(spec) = spec else {
        return Vec::new();
    };
    let required = spec.get("required").map_or(&[][..], Node::items);
    let title = |key: &Node| {
        let key = key.text()?;
        let property = spec.get("properties").and_then(|all| all.get(key));
        let title = property.and_then(|property| property.get("title")?.text());
        Some(title.unwrap_or(key).to_owned())
    };
    required.iter().filter_map(title).collect()
}
