//! Whether a connector's own package can be built from what is pinned.

use crate::model::{problem::Problem, pyproject::BuildSystem};

/// An error when the connector's `[build-system]` (PEP 518) asks for something that `pinned`, a list of requirements
/// with hashes, does not hold: it would be whatever the package index has on the day.
pub fn check(connector: &str, build: &BuildSystem, pinned: &str) -> Result<(), Problem> {
    let names: Vec<String> = pinned
        .lines()
        .filter_map(|line| Some(normal(line.split_once("==")?.0)))
        .collect();
    let missing: Vec<&str> = build
        .requires
        .iter()
        .map(|text| name(text))
        .filter(|name| !names.contains(&normal(name)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Problem::usage(format!(
        "{connector}: pyproject.toml's build-system needs {}, which is not pinned for builds ({})",
        missing.join(", "),
        build.backend
    ))
    .help("pin it with its hashes in docker-images/build-requirements.txt, or use poetry-core, hatchling, setuptools or uv_build"))
}

/// The name at the start of a requirement (PEP 508).
fn name(requirement: &str) -> &str {
    let end =
        requirement.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'));
    requirement[..end.unwrap_or(requirement.len())].trim()
}

/// The name as indexes compare it (PEP 503).
fn normal(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_pinned_is_named() {
        let pinned =
            "# comment\npoetry-core==2.1.3 \\\n    --hash=sha256:00\nuv-build==0.13.9 \\\n";
        for (requires, missing) in [
            (&["poetry-core>=1.0.0"][..], None),
            (&["uv_build>=0.9,<1"], None),
            (&["Poetry.Core ; python_version > '3'"], None),
            (&["maturin>=1,<2", "poetry-core"], Some("maturin")),
            (&["setuptools", "wheel[extra]"], Some("setuptools, wheel")),
        ] {
            let build = BuildSystem {
                requires: requires.iter().map(ToString::to_string).collect(),
                backend: "b".to_owned(),
            };
            let problem = check("source-a", &build, pinned).err();
            assert_eq!(problem.is_some(), missing.is_some(), "{requires:?}");
            if let (Some(problem), Some(missing)) = (problem, missing) {
                assert!(
                    problem.message.contains(&format!("needs {missing}, which")),
                    "{}",
                    problem.message
                );
            }
        }
    }
}
