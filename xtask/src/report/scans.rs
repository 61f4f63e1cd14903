//! What scans found, for people, programs and GitHub.

use serde_json::{Value, json};

use super::{
    findings::{ANNOTATIONS, data, encoded, invocations, property},
    table,
};
use crate::model::{
    exposure::{Exposure, Origin, Standing},
    platform,
    vulnerability::Severity,
};

/// One connector's exposures, and its directory relative to the repository root.
#[derive(Debug, Clone, Copy)]
pub struct Exposed<'a> {
    pub connector: &'a str,
    pub directory: &'a str,
    /// The file that says what is installed, relative to the directory.
    pub lock: Option<&'a str>,
    pub exposures: &'a [Exposure],
    /// Why the scan failed: nothing is known then.
    pub error: Option<&'a str>,
}

impl Exposed<'_> {
    /// The file to change, relative to the repository root.
    fn file(&self, exposure: &Exposure) -> String {
        let file = match (exposure.origin, self.lock) {
            (Origin::Connector, Some(lock)) => lock,
            _ => "metadata.yaml",
        };
        format!("{}/{file}", self.directory)
    }
}

/// A row for each vulnerable package, the gravest first.
pub fn text(exposures: &[Exposure]) -> String {
    let rows: Vec<Vec<String>> = exposures
        .iter()
        .map(|one| {
            let found = &one.vulnerability;
            vec![
                found.severity.to_string(),
                found.id.clone(),
                format!("{} {}", found.package, found.version),
                fixed_in(one),
                one.origin.as_str().to_owned(),
                platform::join(&one.platforms),
                latest(one).to_owned(),
                standing(&one.standing),
            ]
        })
        .collect();
    table(
        &[
            "SEVERITY",
            "ADVISORY",
            "PACKAGE",
            "FIXED IN",
            "FROM",
            "PLATFORMS",
            "LATEST",
            "COUNTS",
        ],
        &rows,
    )
}

/// What the image at `latest` says to it.
fn latest(exposure: &Exposure) -> &'static str {
    match exposure.new {
        Some(true) => "new",
        Some(false) => "known",
        None => "?",
    }
}

fn fixed_in(exposure: &Exposure) -> String {
    match exposure.vulnerability.fixed_in.as_slice() {
        [] => "none".to_owned(),
        versions => versions.join(", "),
    }
}

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Counts => "yes".to_owned(),
        Standing::BelowCutoff => "below cutoff".to_owned(),
        Standing::NotFixed => "no fix".to_owned(),
        Standing::Ignored { reason, until } => format!("ignored until {until}: {reason}"),
    }
}

/// One SARIF 2.1.0 document over all connectors and platforms, as code scanning takes it. What an ignore rule bears is
/// in it, suppressed; what is below the cutoff is a note. A scan that failed makes it a run that did not succeed.
pub fn sarif(all: &[Exposed<'_>]) -> Value {
    let mut rules: Vec<Value> = Vec::new();
    for one in all.iter().flat_map(|exposed| exposed.exposures) {
        if !rules.iter().any(|rule| rule["id"] == *one.vulnerability.id) {
            rules.push(rule(one));
        }
    }
    let results = all.iter().flat_map(|exposed| {
        let exposures = exposed.exposures.iter();
        exposures.map(|one| result(exposed, one))
    });
    let failed = all.iter().filter_map(|exposed| {
        let (connector, error) = (exposed.connector, exposed.error?);
        Some(format!("{connector} was not scanned: {error}"))
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "invocations": invocations(failed),
            "tool": { "driver": {
                "name": "cargo xtask connector scan",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn rule(exposure: &Exposure) -> Value {
    let found = &exposure.vulnerability;
    // What GitHub shows as critical, high, medium or low; advisories without a score get the middle of their band.
    let score = found.score.clone().unwrap_or_else(|| {
        let middle = match found.severity {
            Severity::Critical => "9.5",
            Severity::High => "8.0",
            Severity::Medium => "5.5",
            Severity::Low | Severity::Negligible => "2.0",
            Severity::Unknown => "0.0",
        };
        middle.to_owned()
    });
    json!({
        "id": found.id,
        "shortDescription": { "text": format!("{}: {}", found.id, found.description) },
        "helpUri": found.address,
        "properties": { "security-severity": score, "tags": ["security", found.severity.as_str()] },
    })
}

fn result(exposed: &Exposed<'_>, exposure: &Exposure) -> Value {
    let level = match (&exposure.standing, exposure.vulnerability.severity) {
        (Standing::Counts, Severity::Critical | Severity::High) => "error",
        (Standing::Counts, _) => "warning",
        _ => "note",
    };
    let mut result = json!({
        "ruleId": exposure.vulnerability.id,
        "level": level,
        "message": { "text": message(exposed, exposure) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": encoded(&exposed.file(exposure)), "uriBaseId": "%SRCROOT%" },
            "region": { "startLine": exposure.line.unwrap_or(1) },
        } }],
        "partialFingerprints": { "exposure/v1": format!(
            "{}:{}:{}", exposed.connector, exposure.vulnerability.id, exposure.vulnerability.package
        ) },
        "properties": { "platforms": exposure.platforms, "origin": exposure.origin },
    });
    if let Standing::Ignored { reason, until } = &exposure.standing {
        result["suppressions"] =
            json!([{ "kind": "external", "justification": format!("{reason} (until {until})") }]);
    }
    result
}

fn message(exposed: &Exposed<'_>, exposure: &Exposure) -> String {
    let found = &exposure.vulnerability;
    format!(
        "{}: {} {} ({}, from the {}) on {} has {} ({}), fixed in {}: {}\nhelp: {}",
        exposed.connector,
        found.package,
        found.version,
        found.kind,
        exposure.origin.as_str(),
        platform::join(&exposure.platforms),
        found.id,
        found.severity,
        fixed_in(exposure),
        found.description,
        exposure.origin.remedy()
    )
}

/// Workflow commands for what counts, the gravest first, at most [`ANNOTATIONS`]: GitHub drops the rest in silence.
/// `kind` is `error` or `warning`.
pub fn annotations(all: &[Exposed<'_>], kind: &str) -> Vec<String> {
    let counting = all.iter().flat_map(|exposed| {
        let exposures = exposed.exposures.iter();
        let counts = exposures.filter(|one| one.standing == Standing::Counts);
        counts.map(move |one| (exposed, one))
    });
    let mut counting: Vec<_> = counting.collect();
    counting.sort_by_key(|(_, one)| std::cmp::Reverse(one.vulnerability.severity));
    let line = |(exposed, one): &(&Exposed<'_>, &Exposure)| {
        format!(
            "::{kind} file={},line={},title={}::{}",
            property(&exposed.file(one)),
            one.line.unwrap_or(1),
            property(&format!("{} {}", exposed.connector, one.vulnerability.id)),
            data(&message(exposed, one))
        )
    };
    counting.iter().take(ANNOTATIONS).map(line).collect()
}

/// A workflow command for a scan that did not run.
pub fn failure(connector: &str, error: &str, kind: &str) -> String {
    let title = property(&format!("{connector} scan-failed"));
    let message = format!("the vulnerability scan did not run: {error}");
    format!("::{kind} title={title}::{}", data(&message))
}

/// The same for the step summary.
pub fn failure_markdown(connector: &str, error: &str) -> String {
    format!(
        "### {connector}: scan-failed\n\nThe vulnerability scan did not run:\n\n````\n{error}\n````\n\n"
    )
}

/// A table for the step summary, and what it comes to.
pub fn markdown(exposed: &Exposed<'_>, conclusion: &[String]) -> String {
    let mut text = format!("### {}: vulnerabilities\n\n", exposed.connector);
    if !exposed.exposures.is_empty() {
        text.push_str("| Severity | Advisory | Package | Fixed in | From | Platforms | Latest | Counts |\n|---|---|---|---|---|---|---|---|\n");
    }
    for one in exposed.exposures {
        let found = &one.vulnerability;
        text.push_str(&format!(
            "| {} | [{}]({}) | {} {} | {} | {} | {} | {} | {} |\n",
            found.severity,
            found.id,
            found.address,
            found.package,
            found.version,
            fixed_in(one),
            one.origin.as_str(),
            platform::join(&one.platforms),
            latest(one),
            standing(&one.standing).replace('|', "\\|")
        ));
    }
    let items = conclusion.iter().map(|line| format!("- {line}\n"));
    text + "\n" + &items.collect::<String>() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{platform::Platform, vulnerability::Vulnerability};

    fn exposure(origin: Origin, standing: Standing) -> Exposure {
        Exposure {
            vulnerability: Vulnerability {
                id: "GHSA-x".to_owned(),
                severity: Severity::High,
                package: "setuptools".to_owned(),
                version: "69.5.1".to_owned(),
                kind: "python".to_owned(),
                fixed_in: vec!["70.0".to_owned()],
                layers: Vec::new(),
                description: "bad, 100%".to_owned(),
                address: "https://github.com/advisories/GHSA-x".to_owned(),
                score: Some("8.8".to_owned()),
            },
            platforms: Platform::ALL.to_vec(),
            origin,
            standing,
            new: Some(true),
            line: Some(7),
        }
    }

    fn exposed(exposures: &[Exposure]) -> Exposed<'_> {
        Exposed {
            connector: "source-a",
            directory: "c/source-a",
            lock: Some("poetry.lock"),
            exposures,
            error: None,
        }
    }

    #[test]
    fn sarif_of_a_scan_that_failed_is_no_run_without_findings() {
        let run = |error| {
            sarif(&[Exposed {
                error,
                ..exposed(&[])
            }])["runs"][0]
                .clone()
        };
        let failed = run(Some("no scanner"));
        assert_eq!(failed["invocations"][0]["executionSuccessful"], false);
        let said = &failed["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"];
        assert_eq!(said, "source-a was not scanned: no scanner");
        assert_eq!(run(None)["invocations"][0]["executionSuccessful"], true);
    }

    #[test]
    fn the_table_says_fix_origin_and_standing() {
        let ignored = Standing::Ignored {
            reason: "why".to_owned(),
            until: "2027-01-01".parse().unwrap(),
        };
        let all = [
            exposure(Origin::Connector, Standing::Counts),
            exposure(Origin::BaseImage, ignored),
        ];
        let lines: Vec<String> = text(&all)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines[1],
            "high GHSA-x setuptools 69.5.1 70.0 connector linux/amd64,linux/arm64 new yes"
        );
        assert!(
            lines[2]
                .ends_with("base image linux/amd64,linux/arm64 new ignored until 2027-01-01: why")
        );
    }

    #[test]
    fn sarif_points_at_the_file_that_mends_and_keeps_what_is_ignored() {
        let ignored = Standing::Ignored {
            reason: "why".to_owned(),
            until: "2027-01-01".parse().unwrap(),
        };
        let all = [
            exposure(Origin::Connector, Standing::Counts),
            exposure(Origin::BaseImage, ignored),
        ];
        let value = sarif(&[exposed(&all)]);
        let run = &value["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(
            run["tool"]["driver"]["rules"][0]["properties"]["security-severity"],
            "8.8"
        );
        let uri = |index: usize| {
            &run["results"][index]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        };
        assert_eq!(
            (uri(0), uri(1)),
            (
                &json!("c/source-a/poetry.lock"),
                &json!("c/source-a/metadata.yaml")
            )
        );
        let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
        assert_eq!(region["startLine"], 7);
        assert_eq!(
            (&run["results"][0]["level"], &run["results"][1]["level"]),
            (&json!("error"), &json!("note"))
        );
        assert!(run["results"][0]["suppressions"].is_null());
        assert_eq!(run["results"][1]["suppressions"][0]["kind"], "external");
    }

    #[test]
    fn only_what_counts_is_annotated() {
        let all = [
            exposure(Origin::Connector, Standing::Counts),
            exposure(Origin::Connector, Standing::BelowCutoff),
        ];
        let lines = annotations(&[exposed(&all)], "warning");
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].starts_with(
                "::warning file=c/source-a/poetry.lock,line=7,title=source-a GHSA-x::"
            ),
            "{}",
            lines[0]
        );
        assert!(lines[0].contains("bad, 100%25") && !lines[0].contains('\n'));
    }
}
