//! The pull request that a GitHub workflow runs for.

use anyhow::{Context, Result};
use serde_json::Value;

/// Where a pull request, or a group in the merge queue, is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the branch, without refs/heads/.
    pub branch: String,
    /// The branch's commit when the workflow was started.
    pub commit: Option<String>,
}

/// The target of the pull request that this process runs for, from GITHUB_BASE_REF and the event's file; None outside
/// of pull requests (GitHub's "Default environment variables": GITHUB_BASE_REF is empty or missing elsewhere).
pub fn target() -> Result<Option<Target>> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of_event = match variable("GITHUB_EVENT_PATH") {
        Some(path) => {
            let text = std::fs::read(&path).with_context(|| format!("read the event in {path}"))?;
            let event = serde_json::from_slice(&text);
            in_event(&event.with_context(|| format!("read the event in {path}"))?)
        }
        None => None,
    };
    Ok(match variable("GITHUB_BASE_REF") {
        Some(branch) => Some(Target {
            branch,
            commit: of_event.and_then(|target| target.commit),
        }),
        None => of_event,
    })
}

/// The target in the payload of a `pull_request` or `merge_group` event.
fn in_event(event: &Value) -> Option<Target> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let base = &event["pull_request"]["base"];
    let (branch, commit) = match text(&base["ref"]) {
        Some(branch) => (branch, text(&base["sha"])),
        None => {
            let group = &event["merge_group"];
            (text(&group["base_ref"])?, text(&group["base_sha"]))
        }
    };
    let branch = branch.trim_start_matches("refs/heads/").to_owned();
    Some(Target { branch, commit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_of_pull_requests_and_merge_queues_have_a_target() {
        let target = |branch: &str, commit: Option<&str>| {
            Some(Target {
                branch: branch.to_owned(),
                commit: commit.map(str::to_owned),
            })
        };
        for (event, expected) in [
            (
                json!({"pull_request": {"base": {"ref": "master", "sha": "12"}}}),
                target("master", Some("12")),
            ),
            (
                json!({"pull_request": {"base": {"ref": "release/1"}}}),
                target("release/1", None),
            ),
            (
                json!({"merge_group": {"base_ref": "refs/heads/main", "base_sha": "34"}}),
                target("main", Some("34")),
            ),
            (json!({"ref": "refs/heads/main", "before": "56"}), None),
            (json!(null), None),
        ] {
            assert_eq!(in_event(&event), expected, "{event}");
        }
    }
}
