//! What a new version writes where.

use pep440_rs::Version as PythonVersion;
use semver::{BuildMetadata, Prerelease, Version};
use serde::Deserialize;
use serde_json::json;
use toml::Spanned;

use super::checks::{ROLLOUT, ROLLOUT_MODE, is_candidate};
use crate::model::{
    problem::Problem,
    step::Step,
    yaml::{Document, Node, edit},
};

/// The version after `now`.
pub fn next(now: &Version, step: Step) -> Result<Version, Problem> {
    let mut next = Version {
        pre: Prerelease::EMPTY,
        build: BuildMetadata::EMPTY,
        ..now.clone()
    };
    match step {
        Step::Patch | Step::Minor | Step::Major if !now.pre.is_empty() => {
            return Err(Problem::usage(format!("{now} is a pre-release"))
                .help("`release` makes it the release, `rc` counts the candidate on"));
        }
        Step::Patch => next.patch += 1,
        Step::Minor => (next.minor, next.patch) = (now.minor + 1, 0),
        Step::Major => (next.major, next.minor, next.patch) = (now.major + 1, 0, 0),
        Step::Release if now.pre.is_empty() => {
            return Err(Problem::usage(format!("{now} is a release already"))
                .help("choose patch, minor, major or rc"));
        }
        Step::Release => {}
        Step::Rc => {
            let number = now
                .pre
                .strip_prefix("rc.")
                .and_then(|n| n.parse::<u64>().ok());
            if now.pre.is_empty() {
                next.patch += 1;
            }
            let pre = format!("rc.{}", number.map_or(1, |number| number + 1));
            next.pre = Prerelease::new(&pre).map_err(|error| Problem::usage(error.to_string()))?;
        }
    }
    if next.cmp_precedence(now).is_le() {
        return Err(
            Problem::usage(format!("{next} is not above {now}")).help("write the version by hand")
        );
    }
    Ok(next)
}

/// metadata.yaml with another version, and what [`ROLLOUT`] is set to beside it. A first release candidate is rolled
/// out progressively. A release is not, unless the connector states how its releases are: then only the one that
/// candidates lead to is not, and on autopilot that one is too (Airbyte's `bump_version.py`).
pub fn metadata(text: &str, version: &Version) -> Result<(String, Option<bool>), Problem> {
    let set = |text: &str, path: &str, value| {
        edit::set(text, &format!("data.{path}"), &value)
            .map_err(|flaw| Problem::usage(flaw.in_file("metadata.yaml")).help("write it by hand"))
    };
    let document =
        Document::read(text).map_err(|flaw| Problem::usage(flaw.in_file("metadata.yaml")))?;
    let field = |path: &str| document.root.at_path(&format!("data.{path}"));
    let rollout = field(ROLLOUT).and_then(Node::boolean);
    let mode = field(ROLLOUT_MODE).and_then(Node::text);
    let now = field("dockerImageTag").and_then(Node::text);
    let now = now.and_then(|now| Version::parse(now).ok());
    let was_candidate = now.as_ref().is_some_and(is_candidate);
    let was_release = now.is_some_and(|now| now.pre.is_empty());
    let ends_rollout = mode.is_none() || (!was_release && mode != Some("autopilot"));
    let rollout = match (is_candidate(version), rollout) {
        (true, None) => Some(true),
        (true, Some(false)) if !was_candidate => Some(true),
        (false, Some(true)) if ends_rollout => Some(false),
        _ => None,
    };
    let text = set(text, "dockerImageTag", json!(version.to_string()))?;
    let text = match rollout {
        Some(value) => set(&text, ROLLOUT, json!(value))?,
        None => text,
    };
    Ok((text, rollout))
}

/// The base image of a metadata.yaml exchanged for another.
pub fn base_image(text: &str, image: &str) -> Result<String, Problem> {
    edit::set(text, "data.connectorBuildOptions.baseImage", &json!(image))
        .map_err(|flaw| Problem::usage(flaw.in_file("metadata.yaml")).help("write it by hand"))
}

/// pyproject.toml with another version wherever it has one.
pub fn pyproject(text: &str, version: &Version) -> Result<String, Problem> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        project: Project,
        tool: Tool,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tool {
        poetry: Project,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Project {
        version: Option<Spanned<String>>,
    }
    let file: File = toml::from_str(text)
        .map_err(|error| Problem::usage(format!("pyproject.toml: {}", error.message())))?;
    let places = [file.project.version, file.tool.poetry.version];
    Ok(exchange(text, places, &version.to_string()))
}

/// uv.lock with another version of the connector itself, written as Python does: 1.2.3rc1 for 1.2.3-rc.1.
pub fn uv_lock(text: &str, version: &Version) -> Result<String, Problem> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        package: Vec<Package>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Package {
        version: Option<Spanned<String>>,
        source: Option<toml::Table>,
    }
    let file: File = toml::from_str(text)
        .map_err(|error| Problem::usage(format!("uv.lock: {}", error.message())))?;
    let version: PythonVersion = version
        .to_string()
        .parse()
        .map_err(|error| Problem::usage(format!("{version} is no version of Python's: {error}")))?;
    let is_own = |package: &Package| {
        let source = package.source.as_ref();
        ["editable", "virtual"]
            .iter()
            .any(|kind| source.and_then(|source| source.get(*kind)?.as_str()) == Some("."))
    };
    let own = file.package.into_iter().filter(is_own);
    Ok(exchange(
        text,
        own.map(|package| package.version),
        &version.to_string(),
    ))
}

/// The text with each of the values exchanged, between the quotes it has.
fn exchange(
    text: &str,
    values: impl IntoIterator<Item = Option<Spanned<String>>>,
    new: &str,
) -> String {
    let mut spans: Vec<_> = values
        .into_iter()
        .flatten()
        .map(|value| value.span())
        .collect();
    spans.sort_by_key(|span| span.start);
    let mut edited = text.to_owned();
    for span in spans.into_iter().rev() {
        let quote = if text[span.clone()].starts_with('\'') {
            '\''
        } else {
            '"'
        };
        edited.replace_range(span, &format!("{quote}{new}{quote}"));
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_up() {
        use Step::*;
        for (now, step, expected) in [
            ("1.2.3", Patch, "1.2.4"),
            ("1.2.3+b", Patch, "1.2.4"),
            ("1.2.3", Minor, "1.3.0"),
            ("1.2.3", Major, "2.0.0"),
            ("1.2.3", Rc, "1.2.4-rc.1"),
            ("1.2.4-rc.9", Rc, "1.2.4-rc.10"),
            ("1.2.4-rc", Rc, "1.2.4-rc.1"),
            ("1.2.4-beta.3", Rc, "1.2.4-rc.1"),
            ("1.2.4-rc.9", Release, "1.2.4"),
            ("1.2.3", Release, "1.2.3 is a release already"),
            ("1.2.4-rc.9", Patch, "1.2.4-rc.9 is a pre-release"),
            ("1.2.4-rc9", Rc, "1.2.4-rc.1 is not above 1.2.4-rc9"),
        ] {
            let got = next(&Version::parse(now).unwrap(), step);
            let got = got.map_or_else(|problem| problem.message, |version| version.to_string());
            assert_eq!(got, expected, "{now} {step:?}");
        }
    }

    #[test]
    fn rollout_goes_with_the_version() {
        let text = |version: &str, rollout: &str| {
            format!("data:\n  dockerImageTag: {version}\n{rollout}  tags: []\n")
        };
        let rollout = |value: &str| {
            format!(
                "  releases:\n    rolloutConfiguration:\n      enableProgressiveRollout: {value} # c\n"
            )
        };
        let lines =
            "  releases:\n    rolloutConfiguration:\n      enableProgressiveRollout: true\n";
        let (yes, no) = (rollout("true"), rollout("false"));
        let stated = |mode: &str, value: &str| {
            format!("{}      defaultRolloutMode: {mode}\n", rollout(value))
        };
        let [pilot_yes, pilot_no] = ["true", "false"].map(|value| stated("autopilot", value));
        let [manual_yes, manual_no] = ["true", "false"].map(|value| stated("manual", value));
        for (from, before, to, after, said) in [
            ("1.2.3", "", "1.2.4", "", None),
            ("1.2.3", "", "1.2.4-rc.1", lines, Some(true)),
            ("1.2.3", &*no, "1.2.4-rc.1", &*yes, Some(true)),
            ("1.2.4-rc.1", &*no, "1.2.4-rc.2", &*no, None),
            ("1.2.4-rc.1", &*yes, "1.2.4", &*no, Some(false)),
            ("1.2.4-beta.1", &*yes, "1.2.4", &*no, Some(false)),
            ("1.2.3", &*no, "1.2.4", &*no, None),
            ("1.2.3", &*yes, "1.2.4", &*no, Some(false)),
            ("1.2.3", &*manual_yes, "1.2.4", &*manual_yes, None),
            (
                "1.2.4-rc.1",
                &*manual_yes,
                "1.2.4",
                &*manual_no,
                Some(false),
            ),
            ("1.2.3", &*pilot_yes, "2.0.0", &*pilot_yes, None),
            ("1.2.4-rc.1", &*pilot_yes, "1.2.4", &*pilot_yes, None),
            ("1.2.3", &*pilot_no, "1.2.4-rc.1", &*pilot_yes, Some(true)),
        ] {
            let edited = metadata(&text(from, before), &Version::parse(to).unwrap()).unwrap();
            assert_eq!(edited, (text(to, after), said), "{from} {before} {to}");
        }
    }

    #[test]
    fn packages_get_the_version_between_their_quotes() {
        let version = Version::parse("1.2.4-rc.1").unwrap();
        let text = "[project] # a\r\nversion = '1.2.3' # b\r\nname='version'\r\n[tool.poetry]\r\nversion=\"1.2.3\"\r\n[x]\r\nversion = '1.2.3'";
        assert_eq!(
            pyproject(text, &version).unwrap(),
            "[project] # a\r\nversion = '1.2.4-rc.1' # b\r\nname='version'\r\n[tool.poetry]\r\nversion=\"1.2.4-rc.1\"\r\n[x]\r\nversion = '1.2.3'"
        );
        // Poetry's sources are package indexes, in a list.
        let text = "[tool.poetry]\nversion = \"1.2.3\"\n[[tool.poetry.source]]\nname = \"index\"\nurl = \"https://example.com/simple\"\n";
        let expected = text.replace("1.2.3", "1.2.4-rc.1");
        assert_eq!(pyproject(text, &version).unwrap(), expected);
        let lock = "version = 1\n[[package]]\nname = 'a'\nversion = \"1.2.3\"\nsource = { registry = \"x\" }\n[[package]]\nname = 's'\nversion = \"1.2.3\"\nsource = { editable = \".\" }\n";
        let expected = lock.replace("'s'\nversion = \"1.2.3\"", "'s'\nversion = \"1.2.4rc1\"");
        assert_eq!(uv_lock(lock, &version).unwrap(), expected);
        assert!(pyproject("version = [", &version).is_err());
    }
}
