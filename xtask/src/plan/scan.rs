//! What the vulnerabilities of an image mean: which count, who can mend them, and whether they stop a publish.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

use pep508_rs::PackageName;
use serde::Serialize;

use crate::model::{
    config::{Ignore, OnFinding, Scan},
    date::Date,
    exposure::{Exposure, Origin, Standing},
    image::Digest,
    platform::Platform,
    problem::Problem,
    vulnerability::{Scanned, Severity, Vulnerability},
};

/// What is known of one platform's image.
#[derive(Debug)]
pub struct Half {
    pub platform: Platform,
    pub scanned: Scanned,
    /// Digests of the uncompressed layers of the base image; None when they could not be had.
    pub base_layers: Option<BTreeSet<Digest>>,
    /// What is found in the image now at `latest`; None when that is not known.
    pub latest: Option<BTreeSet<Known>>,
}

/// A vulnerability of a package, whatever the package's version.
pub type Known = (String, String);

/// What a vulnerability of the image at `latest` is remembered by.
pub fn known(scanned: &Scanned) -> BTreeSet<Known> {
    let all = scanned.vulnerabilities.iter();
    all.map(|one| (one.id.clone(), one.package.clone()))
        .collect()
}

/// How many vulnerable packages there are of each severity, those that don't count among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub critical: usize,
    pub high: usize,
    pub medium: usize,
    pub low: usize,
    pub negligible: usize,
    pub unknown: usize,
    /// Those that count: at or above the cutoff, and not excused.
    pub counted: usize,
    pub ignored: usize,
    /// Those that count and that the image at `latest` is without; None when that is not known.
    pub new: Option<usize>,
}

/// Refuses rules that no longer hold, or give no reason.
///
/// # Errors
/// Names every such rule.
pub fn check_rules(scan: &Scan, today: Date) -> Result<(), Problem> {
    let flaws: Vec<String> = scan
        .ignore
        .iter()
        .filter_map(|rule| flaw(rule, today))
        .collect();
    if flaws.is_empty() {
        return Ok(());
    }
    Err(
        Problem::usage(format!("scan.ignore: {}", flaws.join("; "))).help(
            "mend what it bears, or renew the rule in `scan.ignore` with a reason and a later day",
        ),
    )
}

fn flaw(rule: &Ignore, today: Date) -> Option<String> {
    let Ignore {
        vulnerability,
        reason,
        until,
        ..
    } = rule;
    if *until < today {
        Some(format!(
            "the rule for {vulnerability} ended on {until}: {reason}"
        ))
    } else if reason.trim().is_empty() {
        Some(format!("the rule for {vulnerability} has no reason"))
    } else {
        None
    }
}

/// Puts the platforms' findings together: the gravest first, those that count before those that don't.
pub fn judge(connector: &str, halves: &[Half], scan: &Scan) -> Vec<Exposure> {
    let mut found: BTreeMap<(String, String, String, Origin), Exposure> = BTreeMap::new();
    for half in halves {
        for vulnerability in &half.scanned.vulnerabilities {
            let Vulnerability {
                id,
                package,
                version,
                ..
            } = vulnerability;
            let origin = origin(vulnerability, half.base_layers.as_ref());
            let known = (id.clone(), package.clone());
            let new = half.latest.as_ref().map(|latest| !latest.contains(&known));
            let exposure = found
                .entry((id.clone(), package.clone(), version.clone(), origin))
                .or_insert_with(|| Exposure {
                    standing: standing(connector, vulnerability, scan),
                    vulnerability: vulnerability.clone(),
                    platforms: Vec::new(),
                    origin,
                    new,
                    line: None,
                });
            if !exposure.platforms.contains(&half.platform) {
                exposure.platforms.push(half.platform);
            }
            exposure.new = exposure.new.max(new);
        }
    }
    let mut exposures: Vec<Exposure> = found.into_values().collect();
    exposures.sort_by_key(|one| {
        (
            one.standing != Standing::Counts,
            std::cmp::Reverse(one.vulnerability.severity),
        )
    });
    exposures
}

/// The line that mends it, from 1: that of its package in the text of the lock file, or of the base image in metadata.yaml.
pub fn line(exposure: &Exposure, lock: &str, metadata: &str) -> Option<usize> {
    let number = |text: &str, wanted: &dyn Fn(&str) -> bool| {
        let found = text.lines().position(|line| wanted(line.trim()))?;
        Some(found + 1)
    };
    match exposure.origin {
        Origin::Connector => {
            let package = PackageName::from_str(&exposure.vulnerability.package).ok()?;
            number(lock, &|line| {
                let name = line.strip_prefix("name = \"");
                let name = name.and_then(|name| name.strip_suffix('"'));
                name.is_some_and(|name| PackageName::from_str(name).as_ref() == Ok(&package))
            })
        }
        Origin::BaseImage => number(metadata, &|line| line.starts_with("baseImage:")),
        Origin::Unknown => None,
    }
}

/// A package that the connector installs over the base's lies in a layer of its own.
fn origin(vulnerability: &Vulnerability, base: Option<&BTreeSet<Digest>>) -> Origin {
    match base {
        Some(_) if vulnerability.layers.is_empty() => Origin::Unknown,
        Some(base)
            if vulnerability
                .layers
                .iter()
                .all(|layer| base.contains(layer)) =>
        {
            Origin::BaseImage
        }
        Some(_) => Origin::Connector,
        None => Origin::Unknown,
    }
}

fn standing(connector: &str, vulnerability: &Vulnerability, scan: &Scan) -> Standing {
    if let Some(rule) = scan
        .ignore
        .iter()
        .find(|rule| applies(rule, connector, vulnerability))
    {
        return Standing::Ignored {
            reason: rule.reason.clone(),
            until: rule.until,
        };
    }
    if vulnerability.severity < scan.cutoff {
        Standing::BelowCutoff
    } else if scan.only_fixed && vulnerability.fixed_in.is_empty() {
        Standing::NotFixed
    } else {
        Standing::Counts
    }
}

fn applies(rule: &Ignore, connector: &str, vulnerability: &Vulnerability) -> bool {
    let named = |pattern: &String| {
        pattern == connector
            || glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(connector))
    };
    rule.vulnerability == vulnerability.id
        && rule
            .package
            .as_ref()
            .is_none_or(|package| *package == vulnerability.package)
        && rule.connector.as_ref().is_none_or(named)
}

impl Counts {
    /// By severity all that was found, whether it counts or not; `new` is None as soon as it is not known of one.
    pub fn of(exposures: &[Exposure]) -> Counts {
        let mut counts = Counts::default();
        let counted = |one: &&Exposure| one.standing == Standing::Counts;
        for one in exposures {
            *match one.vulnerability.severity {
                Severity::Critical => &mut counts.critical,
                Severity::High => &mut counts.high,
                Severity::Medium => &mut counts.medium,
                Severity::Low => &mut counts.low,
                Severity::Negligible => &mut counts.negligible,
                Severity::Unknown => &mut counts.unknown,
            } += 1;
            counts.ignored += usize::from(matches!(one.standing, Standing::Ignored { .. }));
        }
        counts.counted = exposures.iter().filter(counted).count();
        counts.new = exposures.iter().all(|one| one.new.is_some()).then(|| {
            exposures
                .iter()
                .filter(counted)
                .filter(|one| one.new == Some(true))
                .count()
        });
        counts
    }

    /// `2 high, 1 medium`, or `none`.
    pub fn summary(&self) -> String {
        let named = [
            (self.critical, "critical"),
            (self.high, "high"),
            (self.medium, "medium"),
            (self.low, "low"),
            (self.negligible, "negligible"),
            (self.unknown, "unknown"),
        ];
        let parts: Vec<String> = named
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

/// What a scan says to a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing that counts was found.
    Clean,
    /// Something that counts was found.
    Found,
    /// Nothing is known: the scan did not run to its end.
    ScanFailed,
}

impl Verdict {
    /// Of a scan that ran to its end: what does not count is as good as not found.
    pub fn of(counts: &Counts) -> Verdict {
        if counts.counted == 0 {
            Verdict::Clean
        } else {
            Verdict::Found
        }
    }

    /// Whether nothing may be pushed. A scan that failed is never "no findings".
    pub fn blocks(self, on_finding: OnFinding) -> bool {
        on_finding == OnFinding::Block && self != Verdict::Clean
    }

    /// Stands behind the connector's name in a scan's lines, the same word as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::Found => "found",
            Verdict::ScanFailed => "scan-failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> Digest {
        format!("sha256:{}", digit.to_string().repeat(64))
            .parse()
            .unwrap()
    }

    fn vulnerability(
        id: &str,
        severity: Severity,
        fixed_in: &[&str],
        layer: char,
    ) -> Vulnerability {
        Vulnerability {
            id: id.to_owned(),
            severity,
            package: format!("package-of-{id}"),
            version: "1.0".to_owned(),
            kind: "python".to_owned(),
            fixed_in: fixed_in
                .iter()
                .map(|version| (*version).to_owned())
                .collect(),
            layers: vec![digest(layer)],
            description: String::new(),
            address: String::new(),
            score: None,
        }
    }

    fn half(platform: Platform, vulnerabilities: Vec<Vulnerability>) -> Half {
        Half {
            platform,
            scanned: Scanned {
                manifest: digest('0'),
                vulnerabilities,
                answered_by_vex: 0,
            },
            base_layers: Some([digest('b')].into()),
            latest: None,
        }
    }

    fn ignore(vulnerability: &str, connector: Option<&str>, package: Option<&str>) -> Ignore {
        Ignore {
            vulnerability: vulnerability.to_owned(),
            package: package.map(str::to_owned),
            connector: connector.map(str::to_owned),
            reason: "not reachable".to_owned(),
            until: "2026-12-31".parse().unwrap(),
        }
    }

    #[test]
    fn a_line_is_that_of_the_package_or_of_the_base_image() {
        let lock = "[[package]]\nname = \"a-b\"\n\n[[package]]\nname = \"a\"\n";
        let metadata = "data:\n  connectorBuildOptions:\n    baseImage: x\n";
        for (package, origin, expected) in [
            ("A_b", Origin::Connector, Some(2)),
            ("a", Origin::Connector, Some(5)),
            ("b", Origin::Connector, None),
            ("no name of Python's", Origin::Connector, None),
            ("libstdc++6", Origin::BaseImage, Some(3)),
            ("a", Origin::Unknown, None),
        ] {
            let found = Vulnerability {
                package: package.to_owned(),
                ..vulnerability("A", Severity::High, &[], 'a')
            };
            let halves = [half(Platform::LinuxAmd64, vec![found])];
            let mut exposure = judge("source-a", &halves, &Scan::default()).remove(0);
            exposure.origin = origin;
            assert_eq!(line(&exposure, lock, metadata), expected, "{package}");
        }
    }

    #[test]
    fn cutoff_fixes_and_rules_decide_what_counts() {
        let fixed = vulnerability("A", Severity::High, &["2.0"], 'a');
        let open = vulnerability("A", Severity::Critical, &[], 'a');
        let unknown = vulnerability("A", Severity::Unknown, &["2.0"], 'a');
        let rules = |ignore: Vec<Ignore>, only_fixed| Scan {
            ignore,
            only_fixed,
            ..Scan::default()
        };
        let ignored = Standing::Ignored {
            reason: "not reachable".to_owned(),
            until: "2026-12-31".parse().unwrap(),
        };
        for (found, scan, expected) in [
            (&fixed, rules(vec![], false), Standing::Counts),
            (&fixed, rules(vec![], true), Standing::Counts),
            (&open, rules(vec![], false), Standing::Counts),
            (&open, rules(vec![], true), Standing::NotFixed),
            (&unknown, rules(vec![], false), Standing::BelowCutoff),
            (
                &fixed,
                Scan {
                    cutoff: Severity::Critical,
                    ..Scan::default()
                },
                Standing::BelowCutoff,
            ),
            (
                &fixed,
                rules(vec![ignore("A", None, None)], false),
                ignored.clone(),
            ),
            (
                &fixed,
                rules(vec![ignore("A", Some("source-*"), None)], false),
                ignored.clone(),
            ),
            (
                &fixed,
                rules(vec![ignore("A", None, Some("package-of-A"))], false),
                ignored.clone(),
            ),
            (
                &fixed,
                rules(vec![ignore("A", None, Some("other"))], false),
                Standing::Counts,
            ),
            (
                &fixed,
                rules(vec![ignore("A", Some("destination-*"), None)], false),
                Standing::Counts,
            ),
            (
                &fixed,
                rules(vec![ignore("B", None, None)], false),
                Standing::Counts,
            ),
        ] {
            let halves = [half(Platform::LinuxAmd64, vec![found.clone()])];
            let judged = judge("source-faker", &halves, &scan);
            assert_eq!(judged[0].standing, expected, "{found:?} {scan:?}");
        }
    }

    #[test]
    fn a_rule_past_its_day_or_without_a_reason_is_an_error() {
        let mut rule = ignore("A", None, None);
        for (today, reason, expected) in [
            ("2026-12-31", "why", None),
            (
                "2027-01-01",
                "why",
                Some("the rule for A ended on 2026-12-31: why"),
            ),
            ("2026-12-31", " ", Some("the rule for A has no reason")),
        ] {
            rule.reason = reason.to_owned();
            let scan = Scan {
                ignore: vec![rule.clone()],
                ..Scan::default()
            };
            let checked = check_rules(&scan, today.parse().unwrap());
            match expected {
                None => assert!(checked.is_ok()),
                Some(text) => assert!(checked.unwrap_err().message.contains(text), "{today}"),
            }
        }
    }

    #[test]
    fn platforms_are_put_together_and_layers_tell_who_mends() {
        let own = vulnerability("A", Severity::High, &["2.0"], 'a');
        let of_base = vulnerability("B", Severity::Critical, &[], 'b');
        let small = vulnerability("C", Severity::Low, &[], 'a');
        let mut arm = half(Platform::LinuxArm64, vec![own.clone()]);
        arm.base_layers = Some([digest('c')].into());
        let halves = [
            half(Platform::LinuxAmd64, vec![small, own.clone(), of_base]),
            arm,
        ];
        let judged = judge("source-faker", &halves, &Scan::default());
        let seen: Vec<_> = judged
            .iter()
            .map(|one| {
                (
                    one.vulnerability.id.as_str(),
                    one.origin,
                    one.platforms.len(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("B", Origin::BaseImage, 1),
                ("A", Origin::Connector, 2),
                ("C", Origin::Connector, 1)
            ]
        );
        let counts = Counts::of(&judged);
        assert_eq!(
            (counts.counted, counts.critical, counts.high, counts.low),
            (2, 1, 1, 1)
        );
        assert_eq!(counts.summary(), "1 critical, 1 high, 1 low");
        let mut unknown = half(Platform::LinuxAmd64, vec![own]);
        unknown.base_layers = None;
        assert_eq!(
            judge("x", &[unknown], &Scan::default())[0].origin,
            Origin::Unknown
        );
    }

    #[test]
    fn what_latest_is_without_is_new() {
        let old = vulnerability("A", Severity::High, &[], 'a');
        let new = vulnerability("B", Severity::High, &[], 'a');
        let mut one = half(Platform::LinuxAmd64, vec![old.clone(), new]);
        let judged = judge("x", std::slice::from_ref(&one), &Scan::default());
        assert_eq!(Counts::of(&judged).new, None);
        one.latest = Some(known(&Scanned {
            manifest: digest('1'),
            // The same vulnerability of another version of the package is nothing new.
            vulnerabilities: vec![Vulnerability {
                version: "0.9".to_owned(),
                ..old
            }],
            answered_by_vex: 0,
        }));
        let judged = judge("x", &[one], &Scan::default());
        assert_eq!(
            judged.iter().map(|one| one.new).collect::<Vec<_>>(),
            [Some(false), Some(true)]
        );
        assert_eq!(Counts::of(&judged).new, Some(1));
    }

    #[test]
    fn a_failed_scan_blocks_as_a_finding_does() {
        for (verdict, on_finding, blocks) in [
            (Verdict::Clean, OnFinding::Block, false),
            (Verdict::Found, OnFinding::Block, true),
            (Verdict::ScanFailed, OnFinding::Block, true),
            (Verdict::Found, OnFinding::Warn, false),
            (Verdict::ScanFailed, OnFinding::Warn, false),
        ] {
            assert_eq!(
                verdict.blocks(on_finding),
                blocks,
                "{verdict:?} {on_finding:?}"
            );
        }
    }
}
