//! Findings for people, programs and GitHub.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::counted;
use crate::model::finding::{Finding, Severity};

/// What a run of the checks came to.
#[derive(Debug)]
pub struct Checked<'a> {
    /// Names of the connectors looked at.
    pub connectors: &'a [String],
    /// Id and description of the checks that ran.
    pub checks: &'a [(&'static str, &'static str)],
    /// By connector, file and place.
    pub findings: &'a [Finding],
    /// Checks that say nothing of a connector.
    pub not_run: &'a [NotRun],
}

/// A check that was asked for and not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotRun {
    pub connector: String,
    pub check: &'static str,
    pub reason: Reason,
    pub why: String,
}

/// Why a check says nothing of a connector; only `Unknown` keeps the run from ending with 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The connector has nothing to run.
    Skipped,
    /// It could not be run, which is neither good nor bad.
    Unknown,
}

impl Checked<'_> {
    /// What could not be run.
    pub fn unknown(&self) -> impl Iterator<Item = &NotRun> {
        let unknown = |one: &&NotRun| one.reason == Reason::Unknown;
        self.not_run.iter().filter(unknown)
    }
}

/// GitHub shows this many annotations of a kind for a step.
pub const ANNOTATIONS: usize = 10;
/// GitHub takes 1 MiB of summary from a step; a little is left for what others write.
const SUMMARY: usize = 1_000_000;

/// One paragraph a finding, grouped by connector, then what could not be run.
pub fn text(checked: &Checked) -> String {
    let mut lines = Vec::new();
    let mut connector = None;
    let mut begin = |lines: &mut Vec<String>, next| {
        if connector.replace(next) != Some(next) {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(String::clone(next));
        }
    };
    for finding in checked.findings {
        begin(&mut lines, &finding.connector);
        let Finding { file, at, .. } = finding;
        let severity = finding.severity.as_str();
        lines.push(format!(
            "  {file}:{}:{}: {severity}[{}] {}",
            at.line,
            at.column,
            finding.check,
            indented(&finding.message)
        ));
        lines.push(format!("    help: {}", finding.help));
    }
    for one in checked.unknown() {
        begin(&mut lines, &one.connector);
        lines.push(format!(
            "  unknown[{}] could not be run: {}",
            one.check,
            indented(&one.why)
        ));
    }
    lines.join("\n")
}

fn indented(message: &str) -> String {
    message.replace('\n', "\n    ")
}

/// What was checked, every finding, and all that was not run, also what was skipped.
pub fn json(checked: &Checked) -> Value {
    json!({ "connectors": checked.connectors, "findings": checked.findings, "not_run": checked.not_run })
}

/// SARIF 2.1.0, as code scanning takes it. What is unknown makes it a run that did not succeed.
pub fn sarif(checked: &Checked) -> Value {
    let rule = |(id, description): &(&str, &str)| json!({ "id": id, "shortDescription": { "text": description } });
    let result = |finding: &Finding| {
        json!({
            "ruleId": finding.check,
            // "open": the evaluation is not complete (SARIF 2.1.0, 3.27.9); then there is no level.
            "kind": if finding.severity == Severity::Unknown { "open" } else { "fail" },
            "level": if finding.severity == Severity::Unknown { "none" } else { finding.severity.as_str() },
            "message": { "text": format!("{}\nhelp: {}", finding.message, finding.help) },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": encoded(finding.file.as_str()), "uriBaseId": "%SRCROOT%" },
                "region": { "startLine": finding.at.line, "startColumn": finding.at.column },
            } }],
        })
    };
    let not_run = checked.unknown().map(|one| {
        let NotRun {
            connector,
            check,
            why,
            ..
        } = one;
        format!("{connector}: {check} could not be run: {why}")
    });
    let findings = checked.findings.iter();
    let unknown = findings.filter(|finding| finding.severity == Severity::Unknown);
    let failed = unknown
        .map(|one| format!("{}: {}: {}", one.connector, one.check, one.message))
        .chain(not_run);
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "invocations": invocations(failed),
            "tool": { "driver": {
                "name": "cargo xtask connector check",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": checked.checks.iter().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": checked.findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// How a run went of which these parts failed.
pub fn invocations(failed: impl Iterator<Item = String>) -> Value {
    let notification = |text| json!({ "level": "error", "message": { "text": text } });
    let failed: Vec<Value> = failed.map(notification).collect();
    json!([{ "executionSuccessful": failed.is_empty(), "toolExecutionNotifications": failed }])
}

/// A path as a URI reference (RFC 3986).
pub fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Workflow commands, errors first, at most [`ANNOTATIONS`] of a kind: GitHub drops the rest in silence.
pub fn annotations(checked: &Checked) -> Vec<String> {
    let of = |severity: Severity| {
        let findings = checked
            .findings
            .iter()
            .filter(move |one| one.severity == severity);
        findings.map(annotation)
    };
    let unknown = of(Severity::Unknown).chain(checked.unknown().map(notice));
    let known = [Severity::Error, Severity::Warning].map(|severity| of(severity).take(ANNOTATIONS));
    known
        .into_iter()
        .flatten()
        .chain(unknown.take(ANNOTATIONS))
        .collect()
}

fn notice(one: &NotRun) -> String {
    let title = property(&format!("{} {}", one.connector, one.check));
    format!(
        "::notice title={title}::{}",
        data(&format!("could not be run: {}", one.why))
    )
}

fn annotation(finding: &Finding) -> String {
    let Finding { file, at, .. } = finding;
    format!(
        "::{} file={},line={},col={},title={}::{}",
        match finding.severity {
            Severity::Unknown => "notice",
            severity => severity.as_str(),
        },
        property(file.as_str()),
        at.line,
        at.column,
        property(&format!("{} {}", finding.connector, finding.check)),
        data(&format!("{}\nhelp: {}", finding.message, finding.help)),
    )
}

/// Escapes a message as GitHub's own toolkit does.
pub fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes a property's value as GitHub's own toolkit does.
pub fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Every finding, and what could not be run, as a table for the step summary, cut at a row where it would be too long.
pub fn markdown(checked: &Checked) -> String {
    let connectors = counted(checked.connectors.len(), "connector");
    let mut text = format!("### {connectors} checked\n\n");
    let findings = checked.findings.iter().map(row);
    let rows: Vec<String> = findings
        .chain(checked.unknown().map(row_of_unknown))
        .collect();
    if rows.is_empty() {
        text.push_str("Nothing to put right.\n");
        return text;
    }
    text.push_str("| Connector | Check | Place | Finding |\n|---|---|---|---|\n");
    for (index, row) in rows.iter().enumerate() {
        if text.len() + row.len() > SUMMARY {
            let left = rows.len() - index;
            text.push_str(&format!("\n{left} more: see the log.\n"));
            break;
        }
        text.push_str(row);
    }
    text
}

fn row(finding: &Finding) -> String {
    format!(
        "| {} | {} `{}` | {}:{} | {} |\n",
        cell(&finding.connector),
        finding.severity.as_str(),
        finding.check,
        cell(finding.file.as_str()),
        finding.at.line,
        cell(&finding.message),
    )
}

fn row_of_unknown(one: &NotRun) -> String {
    format!(
        "| {} | unknown `{}` | | could not be run: {} |\n",
        cell(&one.connector),
        one.check,
        cell(&one.why)
    )
}

fn cell(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
        .replace(['\n', '\r'], " ")
}

/// JUnit XML: a suite a connector, a case a check; warnings are no failures. What was found besides, an exception that
/// does not hold any more, has a case too.
pub fn junit(checked: &Checked) -> String {
    let mut suites: BTreeMap<&str, Suite<'_>> = BTreeMap::new();
    for connector in checked.connectors {
        let checks = checked.checks.iter().map(|(id, _)| *id);
        suites.entry(connector).or_default().checks = checks.collect();
    }
    for finding in checked.findings {
        let suite = suites.entry(&finding.connector).or_default();
        suite.findings.push(finding);
    }
    for one in checked.not_run {
        if let Some(suite) = suites.get_mut(one.connector.as_str()) {
            suite.not_run.push(one);
        }
    }
    let suites: String = suites
        .iter()
        .map(|(connector, suite)| suite.xml(connector))
        .collect();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n{suites}</testsuites>")
}

/// What there is of one connector.
#[derive(Default)]
struct Suite<'a> {
    /// That it was to be held against; none of a connector that was not asked for.
    checks: Vec<&'a str>,
    findings: Vec<&'a Finding>,
    not_run: Vec<&'a NotRun>,
}

impl Suite<'_> {
    fn xml(&self, connector: &str) -> String {
        let mut checks = self.checks.clone();
        for finding in &self.findings {
            if !checks.contains(&finding.check) {
                checks.push(finding.check);
            }
        }
        let mut failed = 0;
        let mut cases = String::new();
        for check in &checks {
            let found = self.findings.iter().filter(|one| one.check == *check);
            let found: Vec<&Finding> = found.copied().collect();
            failed += usize::from(fails(&found));
            let not_run = self.not_run.iter().find(|one| one.check == *check);
            cases += &case(connector, check, &found, not_run.copied());
        }
        format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\">\n{cases}  </testsuite>\n",
            xml(connector),
            checks.len()
        )
    }
}

fn fails(found: &[&Finding]) -> bool {
    found
        .iter()
        .any(|finding| finding.severity == Severity::Error)
}

fn case(connector: &str, id: &str, found: &[&Finding], not_run: Option<&NotRun>) -> String {
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\"",
        xml(connector),
        xml(id)
    );
    let line = |finding: &&Finding| {
        let Finding {
            file,
            at,
            message,
            help,
            ..
        } = finding;
        xml(&format!(
            "{file}:{}:{}: {message}\nhelp: {help}\n",
            at.line, at.column
        ))
    };
    let lines: String = found.iter().map(line).collect();
    let skipped = |why: &str| {
        format!(
            "{head}>\n      <skipped message=\"{}\"/>\n    </testcase>\n",
            xml(why)
        )
    };
    match (found, fails(found)) {
        ([], _) => match not_run {
            None => format!("{head}/>\n"),
            Some(one) if one.reason == Reason::Unknown => skipped(&format!("unknown: {}", one.why)),
            Some(one) => skipped(&one.why),
        },
        ([first, ..], false) if first.severity == Severity::Unknown => {
            skipped(&format!("unknown: {}", first.message))
        }
        (_, false) => format!("{head}>\n      <system-out>{lines}</system-out>\n    </testcase>\n"),
        ([first, ..], true) => format!(
            "{head}>\n      <failure message=\"{}\">{lines}</failure>\n    </testcase>\n",
            xml(&first.message)
        ),
    }
}

/// Escapes for XML 1.0, which has no way to write control characters.
fn xml(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\n' => "&#10;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::yaml::Place;

    fn finding(severity: Severity, message: &str) -> Finding {
        Finding {
            check: "icon",
            severity,
            connector: "source-a".to_owned(),
            file: "dir, x:y/a b.svg".into(),
            at: Place { line: 3, column: 7 },
            message: message.to_owned(),
            help: "do <it>".to_owned(),
        }
    }

    fn with<T>(findings: &[Finding], render: impl Fn(&Checked) -> T) -> T {
        render(&Checked {
            connectors: &["source-a".to_owned()],
            checks: &[("icon", "has an icon"), ("license", "has a license")],
            findings,
            not_run: &[NotRun {
                connector: "source-a".to_owned(),
                check: "license",
                reason: Reason::Skipped,
                why: "nothing to run".to_owned(),
            }],
        })
    }

    #[test]
    fn what_could_not_be_run_is_unknown_in_every_format() {
        let not_run: Vec<NotRun> = (0..12)
            .map(|number| NotRun {
                connector: format!("source-{number}"),
                check: "lint",
                reason: Reason::Unknown,
                why: "no <engine>\n50%".to_owned(),
            })
            .collect();
        let checked = Checked {
            connectors: &["source-0".to_owned()],
            checks: &[("lint", "is clean")],
            findings: &[],
            not_run: &not_run,
        };
        let invocation = &sarif(&checked)["runs"][0]["invocations"][0];
        assert_eq!(invocation["executionSuccessful"], false);
        assert_eq!(
            invocation["toolExecutionNotifications"][11]["message"]["text"],
            "source-11: lint could not be run: no <engine>\n50%"
        );
        let lines = annotations(&checked);
        assert_eq!(lines.len(), ANNOTATIONS);
        assert_eq!(
            lines[0],
            "::notice title=source-0 lint::could not be run: no <engine>%0A50%25"
        );
        let summary = markdown(&checked);
        let row = "| source-11 | unknown `lint` | | could not be run: no &lt;engine> 50% |\n";
        assert!(summary.ends_with(row), "{summary}");
        assert!(!summary.contains("Nothing to put right"), "{summary}");
        assert_eq!(json(&checked)["not_run"][0]["reason"], "unknown");
        let junit = junit(&checked);
        let skipped = "<skipped message=\"unknown: no &lt;engine&gt;&#10;50%\"/>";
        assert!(junit.contains(skipped), "{junit}");
    }

    #[test]
    fn annotations_are_escaped_and_ten_of_a_kind() {
        let mut findings = vec![finding(Severity::Error, "100%\r\n::error::x, y"); 12];
        findings.extend(vec![finding(Severity::Warning, "w"); 11]);
        let lines = with(&findings, annotations);
        assert_eq!(lines.len(), 20);
        assert_eq!(
            lines[0],
            "::error file=dir%2C x%3Ay/a b.svg,line=3,col=7,title=source-a icon::100%25%0D%0A::error::x, y%0Ahelp: do <it>"
        );
        assert!(lines[10].starts_with("::warning "));
    }

    #[test]
    fn the_summary_holds_the_rest_within_its_limit() {
        let findings =
            vec![finding(Severity::Error, &format!("a|b\n<c>{}", "x".repeat(500))); 4000];
        let text = with(&findings, markdown);
        assert!(
            text.len() < 1 << 20
                && text.contains("a\\|b &lt;c>")
                && text.ends_with(" more: see the log.\n")
        );
        assert!(with(&[], markdown).contains("Nothing to put right"));
    }

    #[test]
    fn junit_is_xml_with_a_failure_for_errors_only() {
        let text = with(&[finding(Severity::Error, "a < \"b\"\u{1}")], junit);
        let xml = roxmltree::Document::parse(&text).unwrap();
        let failure = xml
            .descendants()
            .find(|node| node.has_tag_name("failure"))
            .unwrap();
        assert_eq!(failure.attribute("message"), Some("a < \"b\""));
        assert_eq!(
            xml.descendants()
                .filter(|node| node.has_tag_name("testcase"))
                .count(),
            2
        );
        assert!(
            text.contains("<skipped message=\"nothing to run\"/>"),
            "{text}"
        );
        let text = with(&[finding(Severity::Warning, "w")], junit);
        assert!(text.contains("failures=\"0\"") && text.contains("system-out"));
        let exception = Finding {
            check: "exception",
            connector: "source-*".to_owned(),
            ..finding(Severity::Error, "ended")
        };
        let text = with(&[exception], junit);
        let suite = "<testsuite name=\"source-*\" tests=\"1\" failures=\"1\">";
        assert!(text.contains(suite), "{text}");
    }

    #[test]
    fn sarif_names_rule_place_and_file() {
        let value = with(&[finding(Severity::Warning, "m")], sarif);
        let run = &value["runs"][0];
        assert_eq!(run["invocations"][0]["executionSuccessful"], true);
        assert_eq!(run["tool"]["driver"]["rules"][1]["id"], "license");
        assert_eq!(run["results"][0]["level"], "warning");
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "dir%2C%20x%3Ay/a%20b.svg");
        assert_eq!(place["region"]["startColumn"], 7);
    }

    #[test]
    fn text_groups_by_connector() {
        let text = with(
            &[
                finding(Severity::Error, "m"),
                finding(Severity::Warning, "n"),
            ],
            text,
        );
        assert_eq!(
            text,
            "source-a\n  dir, x:y/a b.svg:3:7: error[icon] m\n    help: do <it>\n  dir, x:y/a b.svg:3:7: warning[icon] n\n    help: do <it>"
        );
    }
}
