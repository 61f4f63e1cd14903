//! No `http://`.

use camino::Utf8Path;
use memchr::memmem;

use super::{Check, Defect, Released, Run, Subject};
use crate::model::{finding::Severity, yaml::Place};

/// As Airbyte's own check: the files that it leaves out are left out here.
pub const CHECKS: &[Check] = &[Check {
    id: "https-only",
    description: "no http:// address in text files, but in comments, for localhost and json-schema.org, and on lines with `# ignore-https-check`",
    severity: Severity::Error,
    applies: "all, not released yet; not looked at: tests, build results, icons",
    run: Run::Connector(https_only),
}];

const SCHEME: &[u8] = b"http";
const SEPARATOR: &str = "://";
/// Hosts that are named and not called.
const ALLOWED: [&str; 2] = ["json-schema.org", "localhost"];

fn https_only(subject: &Subject) -> Vec<Defect> {
    if subject.released == Released::Yes {
        return Vec::new();
    }
    subject
        .files
        .texts()
        .filter(|(path, text)| plain(text).next().is_some() && !exempt(path))
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
        .filter(|(line, _)| !is_comment(path, line))
        .filter_map(|(line, number)| {
            let (offset, host) = plain(line).find(|(_, host)| !is_allowed(host))?;
            let ignored = line.to_ascii_lowercase().contains("# ignore-https-check");
            (!ignored).then(|| (line[..offset].chars().count() + 1, host, number))
        })
        .map(|(column, host, line)| {
            let at = Place { line, column };
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

/// Where each `http://` of an address stands, in any case, and the host; `"http://"` alone is no address.
fn plain(text: &str) -> impl Iterator<Item = (usize, &str)> {
    memmem::find_iter(text.as_bytes(), SEPARATOR).filter_map(|separator| {
        let start = separator.checked_sub(SCHEME.len())?;
        let rest = &text[separator + SEPARATOR.len()..];
        let over = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '\\' | '|' | ')');
        let is_plain = text.as_bytes()[start..separator].eq_ignore_ascii_case(SCHEME);
        (is_plain && !rest.is_empty() && !rest.starts_with(over)).then(|| (start, host(rest)))
    })
}

fn is_allowed(host: &str) -> bool {
    ALLOWED
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(host))
}

/// What stands before the port, the path and the closing quote: `localhost.evil.example` is not `localhost`.
fn host(rest: &str) -> &str {
    let end = |c: char| {
        !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '{' | '}' | '$' | '%'))
    };
    rest.split(end).next().unwrap_or_default()
}
