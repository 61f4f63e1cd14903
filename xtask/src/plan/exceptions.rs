//! Findings that configuration bears for a while.

use crate::model::{
    config::Exception,
    date::Date,
    finding::{Finding, Severity},
    yaml::Place,
};

/// Findings to report, and how many are borne.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub findings: Vec<Finding>,
    pub borne: usize,
}

/// Takes out what an exception bears. An exception past its day bears nothing and is an error itself,
/// and so is one without a reason or for a check that there is not.
pub fn bear(
    findings: Vec<Finding>,
    exceptions: &[Exception],
    known: impl Fn(&str) -> bool,
    today: Date,
) -> Judged {
    let flawed = |exception: &Exception| flaw(exception, &known, today);
    let holds: Vec<&Exception> = exceptions
        .iter()
        .filter(|exception| flawed(exception).is_none())
        .collect();
    let borne = |finding: &Finding| {
        holds.iter().any(|exception| {
            exception.check == finding.check && names(exception, &finding.connector)
        })
    };
    let all = findings.len();
    let mut left: Vec<Finding> = findings
        .into_iter()
        .filter(|finding| !borne(finding))
        .collect();
    let borne = all - left.len();
    left.extend(exceptions.iter().filter_map(flawed));
    Judged {
        findings: left,
        borne,
    }
}

fn names(exception: &Exception, connector: &str) -> bool {
    exception.connector == connector
        || glob::Pattern::new(&exception.connector).is_ok_and(|pattern| pattern.matches(connector))
}

fn flaw(exception: &Exception, known: &impl Fn(&str) -> bool, today: Date) -> Option<Finding> {
    let Exception {
        connector,
        check,
        reason,
        until,
    } = exception;
    let what = if *until < today {
        format!("ended on {until}: {reason}")
    } else if reason.trim().is_empty() {
        "has no reason".to_owned()
    } else if !known(check) {
        "is for a check that there is not".to_owned()
    } else {
        return None;
    };
    Some(Finding {
        check: "exception",
        severity: Severity::Error,
        connector: connector.clone(),
        file: "Cargo.toml".into(),
        at: Place::START,
        message: format!("the exception of {connector} from {check} {what}"),
        help: "correct what it bears, or renew it in `checks.exceptions` with a reason".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_holds_up_to_its_day_for_its_check_and_connector() {
        let finding = Finding {
            check: "icon",
            severity: Severity::Error,
            connector: "source-faker".to_owned(),
            file: "icon.svg".into(),
            at: Place::START,
            message: String::new(),
            help: String::new(),
        };
        let today: Date = "2026-06-15".parse().unwrap();
        for (connector, check, reason, until, left, borne) in [
            ("source-faker", "icon", "why", "2026-06-15", 0, 1),
            ("source-*", "icon", "why", "2027-01-01", 0, 1),
            ("source-other", "icon", "why", "2027-01-01", 1, 0),
            ("source-faker", "license", "why", "2027-01-01", 1, 0),
            ("source-faker", "icon", "why", "2026-06-14", 2, 0),
            ("source-faker", "icon", " ", "2027-01-01", 2, 0),
            ("source-faker", "icno", "why", "2027-01-01", 2, 0),
        ] {
            let exception = Exception {
                connector: connector.to_owned(),
                check: check.to_owned(),
                reason: reason.to_owned(),
                until: until.parse().unwrap(),
            };
            let known = |id: &str| matches!(id, "icon" | "license");
            let judged = bear(vec![finding.clone()], &[exception], known, today);
            assert_eq!(
                (judged.findings.len(), judged.borne),
                (left, borne),
                "{connector} {check} {until}"
            );
        }
    }
}
