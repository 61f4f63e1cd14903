//! Version constraints as Poetry and PEP 440 write them.

use std::fmt;

use pep440_rs::{Version, VersionSpecifiers};

/// Which versions will do: alternatives joined by `||`, each a set of PEP 440 specifiers that must all hold.
///
/// Poetry writes `^3.9,<3.12`, `~1.2`, `1.2.*`, `*`, a bare `1.2.3` for exactly that version and
/// `>=1,<2 || >2`; all other forms are those of PEP 440. Source: "Version constraints" in Poetry's
/// documentation of dependency specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    alternatives: Vec<VersionSpecifiers>,
    /// As it was written.
    text: String,
}

impl Constraint {
    /// Every version.
    pub fn any() -> Constraint {
        Constraint {
            alternatives: vec![VersionSpecifiers::empty()],
            text: "*".to_owned(),
        }
    }

    /// Reads Poetry's notation, of which PEP 440's is a part except that a bare version means exactly that one.
    pub fn parse(text: &str) -> Result<Constraint, String> {
        let alternatives = text
            .split('|')
            .filter(|alternative| !alternative.is_empty() || !text.contains("||"))
            .map(specifiers)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("`{text}` is no version constraint: {error}"))?;
        Ok(Constraint {
            alternatives,
            text: text.to_owned(),
        })
    }

    /// Whether one of the alternatives allows the version, compared as PEP 440 says.
    pub fn contains(&self, version: &Version) -> bool {
        self.alternatives
            .iter()
            .any(|specifiers| specifiers.contains(version))
    }

    /// The same as PEP 508 takes it behind a name; None where only `||` says it.
    pub fn to_pep440(&self) -> Option<String> {
        match self.alternatives.as_slice() {
            [specifiers] => Some(specifiers.to_string()),
            _ => None,
        }
    }
}

impl From<VersionSpecifiers> for Constraint {
    fn from(specifiers: VersionSpecifiers) -> Constraint {
        Constraint {
            text: specifiers.to_string(),
            alternatives: vec![specifiers],
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One alternative: specifiers separated by commas or blanks.
fn specifiers(text: &str) -> Result<VersionSpecifiers, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let mut operator = String::new();
        for word in part.split_whitespace() {
            operator.push_str(word);
            if word.ends_with(['<', '>', '=', '~', '^', '!']) {
                continue;
            }
            all.extend(specifier(&std::mem::take(&mut operator))?);
        }
        if !operator.is_empty() {
            return Err(format!("`{operator}` without a version"));
        }
    }
    all.join(",")
        .parse()
        .map_err(|error: pep440_rs::VersionSpecifiersParseError| first_line(&error))
}

/// One specifier in PEP 440's notation, or the pair that says the same; none for `*`.
fn specifier(text: &str) -> Result<Vec<String>, String> {
    if matches!(text, "*" | "==*" | ">=*") {
        return Ok(Vec::new());
    }
    if let Some(version) = text.strip_prefix('^') {
        return range(version, caret_index);
    }
    if let Some(version) = text.strip_prefix('~').filter(|rest| !rest.starts_with('=')) {
        return range(version, |release| usize::from(release.len() > 1));
    }
    if text.starts_with(['<', '>']) {
        // Poetry and uv pass over a wildcard where it means nothing.
        return Ok(vec![text.trim_end_matches(".*").to_owned()]);
    }
    if text.starts_with(['!', '~']) || text.starts_with("==") {
        return Ok(vec![text.to_owned()]);
    }
    Ok(vec![format!("=={}", text.trim_start_matches('='))])
}

/// `>=version,<next`, where next is the release with the component that `bumped` names made one larger.
fn range(version: &str, bumped: impl Fn(&[u64]) -> usize) -> Result<Vec<String>, String> {
    let lowest: Version = version
        .trim()
        .parse()
        .map_err(|error: pep440_rs::VersionParseError| first_line(&error))?;
    let release = lowest.release();
    let index = bumped(release);
    let mut next = release[..=index.min(release.len() - 1)].to_vec();
    if let Some(last) = next.last_mut() {
        *last = last.saturating_add(1);
    }
    let next = Version::new(next).with_epoch(lowest.epoch());
    Ok(vec![format!(">={lowest}"), format!("<{next}")])
}

/// The left-most component that is not zero may not change; where all are zero, the last that is written.
fn caret_index(release: &[u64]) -> usize {
    release
        .iter()
        .take(3)
        .position(|component| *component != 0)
        .unwrap_or(release.len().min(3) - 1)
}

/// pep440_rs draws a picture below its message; the message is enough.
fn first_line(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_hold_as_poetry_reads_them() {
        for (text, inside, outside) in [
            ("^3.9,<3.12", "3.11.2", "3.12.0"),
            ("^3.9", "3.13", "4.0"),
            ("^0.2.3", "0.2.9", "0.3.0"),
            ("^0.0.3", "0.0.3", "0.0.4"),
            ("^0", "0.99", "1.0"),
            ("^0.0", "0.0.7", "0.1"),
            ("^0.0.0", "0.0.0", "0.0.1"),
            ("~1.2.3", "1.2.9", "1.3.0"),
            ("~1.2", "1.2.9", "1.3.0"),
            ("~1", "1.9", "2.0"),
            ("~=1.4.2", "1.4.9", "1.5.0"),
            ("1.2.3", "1.2.3", "1.2.4"),
            ("=1.2.3", "1.2.3", "1.2.4"),
            ("3.11.*", "3.11.4", "3.12.0"),
            ("!=4.0.*", "4.1", "4.0.2"),
            (">=3.6.*", "3.6.0", "3.5.9"),
            (">=2.7, <3.*", "2.7.18", "3.0"),
            (">=4.1.0,<4.6.3 || >4.6.3", "4.7", "4.6.3"),
            ("< 2", "1.9", "2.0"),
            (">=3.9 <3.12", "3.10", "3.12"),
            (">= 3.9 , < 3.12", "3.10", "3.12"),
            (">=1.33.2,<2.0dev", "1.99", "2.0"),
            ("1!2.0", "1!2.0", "2.0"),
            ("^1!2.0", "1!2.5", "1!3.0"),
            ("*", "0.1", ""),
            ("", "0.1", ""),
        ] {
            let constraint = Constraint::parse(text).unwrap();
            assert!(
                constraint.contains(&inside.parse().unwrap()),
                "{text} {inside}"
            );
            if !outside.is_empty() {
                assert!(
                    !constraint.contains(&outside.parse().unwrap()),
                    "{text} {outside}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_constraint_is_said() {
        for text in [">=", "^", "latest", "1.2.3.x", ">=1,<"] {
            let error = Constraint::parse(text).unwrap_err();
            assert!(
                error.starts_with(&format!("`{text}` is no version constraint: ")),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_range_can_be_said_to_a_resolver_and_alternatives_can_not() {
        let pep440 = |text| Constraint::parse(text).unwrap().to_pep440();
        assert_eq!(pep440("^3.9,<3.12").as_deref(), Some(">=3.9, <3.12, <4"));
        assert_eq!(pep440("*").as_deref(), Some(""));
        assert_eq!(pep440("<1 || >2"), None);
    }
}
