//! No `http://`.

use camino::Utf8Path;
use memchr::memmem;

use super::{Check, Defect, Released, Run, Subject};
use crate::model::{finding::Severity, yaml::Place};

pub const CHECKS: &[Check] = &[Check {
    id: "https-only",
    description: "no http:// in text files, but in comments, for localhost and json-schema.org, and on lines with `# ignore-https-check`",
    severity: Severity::Error,
    applies: "all, not released yet; not looked at: tests, build results, icons",
    run: Run::Connector(https_only),
}];

const PLAIN: &str = "http://";
/// Hosts that are named and not called.
const ALLOWED: [&str; 2] = ["json-schema.org", "localhost"];

fn https_only(subject: &Subject) -> Vec<Defect> {
    if subject.released == Released::Yes {
        return Vec::new();
    }
    let finder = memmem::Finder::new(PLAIN);
    subject
        .files
        .texts()
        .filter(|(path, text)| finder.find(text.as_bytes()).is_some() && !exempt(path))
        .flat_map(|(path, text)| in_lines(subject, path, text))
        .collect()
}

/// Files that Airbyte's check does not look at.
fn exempt(path: &Utf8Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.ends_with("Test.java")
        || matches!(name, "expected_records.json" | "expected_records.jsonl")
        || matches!(path.extension(), Some("svg" | "jar" | "pyc" | "gz"))
}

fn in_lines(subject: &Subject, path: &Utf8Path, text: &str) -> Vec<Defect> {
    let help = "use https://, or end the line with `# ignore-https-check`";
    text.lines()
        .zip(1..)
        .filter(|(line, _)| !is_comment(path, line) && !line.contains("# ignore-https-check"))
        .filter_map(|(line, number)| Some((first_plain(line)?, line, number)))
        .map(|(offset, text, line)| {
            let column = text[..offset].chars().count() + 1;
            let at = Place { line, column };
            let host = host(&text[offset + PLAIN.len()..]);
            subject.in_file(
                path.as_str(),
                at,
                format!("http://{host} is not encrypted"),
                help,
            )
        })
        .collect()
}

fn is_comment(path: &Utf8Path, line: &str) -> bool {
    let start = line.trim_start();
    match path.extension() {
        Some("py" | "yml" | "yaml" | "toml") => start.starts_with('#'),
        Some("java" | "kt" | "kts" | "gradle") => start.starts_with("//"),
        Some("md") => start.starts_with("<!--"),
        _ => false,
    }
}

/// Where the first `http://` of another host stands.
fn first_plain(line: &str) -> Option<usize> {
    line.match_indices(PLAIN)
        .map(|(offset, _)| offset)
        .find(|offset| !ALLOWED.contains(&host(&line[offset + PLAIN.len()..])))
}

/// What stands before the port, the path and the closing quote: `localhost.evil.example` is not `localhost`.
fn host(rest: &str) -> &str {
    let end = |c: char| {
        !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '{' | '}' | '$' | '%'))
    };
    rest.split(end).next().unwrap_or_default()
}
