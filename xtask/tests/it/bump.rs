//! `connector bump` on files as people write them, and on those of a real fleet.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::{
    fleet::fleet,
    monorepo::{CONNECTORS, Finished, Monorepo, metadata},
};

const PAGE: &str = "# X\n\n## Changelog\n\n| Version | Date | Pull Request | Subject |\n|:---|:---|:---|:---|\n| 1.2.3 | 2026-01-01 | [1](x) | Old |\n";
const PAGE_PATH: &str = "docs/integrations/sources/x.md";

fn bump(repo: &Monorepo, arguments: &[&str]) -> Finished {
    let all: Vec<&str> = ["connector", "bump"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let source = "https://example.com/o/r";
    repo.xtask()
        .env("SOURCE_DATE_EPOCH", "1781524800")
        .env("XTASK_SOURCE", source)
        .run(&all)
}

/// Every file below a directory, with its text.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if let Ok(text) = fs::read_to_string(&path) {
            all.insert(path.to_str().unwrap().to_owned(), text);
        }
    }
    all
}

/// Lines that only one of the two texts has, `-` and `+` in front, with their line ends.
fn difference(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (
        before.split_inclusive('\n').collect(),
        after.split_inclusive('\n').collect(),
    );
    let mut lines = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j < new.len() && (i == old.len() || new[j + 1..].contains(&old[i])) {
            lines.push(format!("+{}", new[j]));
            j += 1;
        } else {
            lines.push(format!("-{}", old[i]));
            i += 1;
        }
    }
    lines
}

#[test]
fn every_file_that_has_the_version_gets_the_next_one() {
    let directory = format!("{CONNECTORS}/source-x");
    let lock = "version = 1\n\n[[package]]\nname = \"source-x\"\nversion = \"1.2.3\"\nsource = { virtual = \".\" }\n";
    let repo = Monorepo::new()
        .python("source-x")
        .file(
            &format!("{directory}/pyproject.toml"),
            "[project]\nname = 'source-x'\nversion = '1.2.3' # here\n[[tool.poetry.source]]\nname = 'index'\nurl = 'https://example.com/simple'\n",
        )
        .file(&format!("{directory}/uv.lock"), lock)
        .file(PAGE_PATH, PAGE);
    let before = files(&repo.root());
    let arguments = [
        "source-x",
        "rc",
        "--changelog",
        "Faster",
        "--pull-request",
        "42",
    ];
    let planned = bump(&repo, &[&arguments[..], &["--dry-run", "--json"]].concat()).code(0);
    assert_eq!(files(&repo.root()), before);
    let printed = bump(&repo, &arguments).code(0).stdout;
    assert!(
        printed.starts_with(
            "source-x: 1.2.3 -> 1.2.4-rc.1\n  releases.rolloutConfiguration.enableProgressiveRollout: true\n"
        ),
        "{printed}"
    );
    let after = files(&repo.root());
    let changed: BTreeMap<_, _> = after
        .iter()
        .filter(|(path, text)| before.get(*path) != Some(*text))
        .map(|(path, text)| {
            let relative = path.strip_prefix(repo.root().to_str().unwrap()).unwrap();
            (relative[1..].to_owned(), difference(&before[path], text))
        })
        .collect();
    let lines = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    let expected = BTreeMap::from([
        (
            format!("{directory}/metadata.yaml"),
            lines(&[
                "-  dockerImageTag: 1.2.3\n",
                "+  dockerImageTag: 1.2.4-rc.1\n",
                "+  releases:\n",
                "+    rolloutConfiguration:\n",
                "+      enableProgressiveRollout: true\n",
            ]),
        ),
        (
            format!("{directory}/pyproject.toml"),
            lines(&[
                "-version = '1.2.3' # here\n",
                "+version = '1.2.4-rc.1' # here\n",
            ]),
        ),
        (
            format!("{directory}/uv.lock"),
            lines(&["-version = \"1.2.3\"\n", "+version = \"1.2.4rc1\"\n"]),
        ),
        (
            PAGE_PATH.to_owned(),
            lines(&[
                "+| 1.2.4-rc.1 | 2026-06-15 | [42](https://example.com/o/r/pull/42) | Faster |\n",
            ]),
        ),
    ]);
    let sorted: BTreeMap<_, _> = changed
        .into_iter()
        .map(|(path, mut lines)| {
            lines.sort_by_key(|line| line.starts_with('+'));
            (path, lines)
        })
        .collect();
    assert_eq!(sorted, expected);
    let planned = planned.json();
    let listed: Vec<&str> = planned[0]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap())
        .collect();
    assert_eq!(planned[0]["enable_progressive_rollout"], true);
    assert_eq!(listed.len(), expected.len());
    assert!(
        listed.iter().all(|file| expected.contains_key(*file)),
        "{planned}"
    );
    // It goes up again each time, and a version that is in the changelog stays there once.
    bump(&repo, &["source-x", "rc"]).code(0);
    bump(&repo, &["source-x", "release", "--changelog", "Out"]).code(0);
    let page = repo.read(PAGE_PATH);
    assert!(page.contains("| 1.2.4 | 2026-06-15 | [*PR_NUMBER_PLACEHOLDER*](https://example.com/o/r/pull/*PR_NUMBER_PLACEHOLDER*) | Out |"), "{page}");
    let text = repo.read(&format!("{directory}/metadata.yaml"));
    assert!(
        text.contains("dockerImageTag: 1.2.4\n")
            && text.contains("enableProgressiveRollout: false\n"),
        "{text}"
    );
    let patch = bump(&repo, &["source-x", "patch"]).code(0).stdout;
    assert!(!patch.contains("enableProgressiveRollout"), "{patch}");
}

/// A base image's version in another row is none of the connector's.
#[test]
fn the_changelog_gets_a_row_unless_the_version_has_one() {
    let page = PAGE.replace("| Old |", "| Upgrade base image to v1.2.4 |");
    let repo = Monorepo::new()
        .manifest_only("source-x")
        .file(PAGE_PATH, &page);
    let arguments = ["source-x", "patch", "--changelog", "New"];
    let first = bump(&repo, &arguments).code(0);
    assert!(!first.stderr.contains("already"), "{first:?}");
    let once = repo.read(PAGE_PATH);
    assert!(once.contains("| 1.2.4 | 2026-06-15 |"), "{once}");
    // At 1.2.3 again, as when the row was written by hand.
    let repo = repo.manifest_only("source-x");
    let second = bump(&repo, &arguments)
        .code(0)
        .says("source-x: the changelog has 1.2.4 already");
    assert!(!second.stdout.contains(PAGE_PATH), "{second:?}");
    assert_eq!(repo.read(PAGE_PATH), once);
}

#[test]
fn nothing_is_written_when_anything_can_not_be() {
    let odd = metadata("source-odd").replace("Tag: 1.2.3", "Tag: >-\n    1.2.3");
    let candidate = metadata("source-rc").replace("Tag: 1.2.3", "Tag: 1.2.3-rc.1");
    let repo = Monorepo::new()
        .manifest_only("source-a")
        .manifest_only("source-odd")
        .file(&format!("{CONNECTORS}/source-odd/metadata.yaml"), &odd)
        .file(&format!("{CONNECTORS}/source-rc/metadata.yaml"), &candidate);
    let before = files(&repo.root());
    for (arguments, says) in [
        (
            &["source-[ao]*", "patch"][..],
            "source-odd: metadata.yaml:8:5: data.dockerImageTag: not written in a way that can be edited here",
        ),
        (
            &["source-a", "patch", "--changelog", "x"],
            "there is no page docs/integrations/sources/x.md",
        ),
        (&["source-a", "release"], "1.2.3 is a release already"),
        (
            &["source-a", "source-rc", "minor"],
            "source-rc: 1.2.3-rc.1 is a pre-release",
        ),
        (&["source-nobody", "patch"], "unknown connector"),
        (&["patch"], "required"),
    ] {
        bump(&repo, arguments).code(2).says(says);
        assert_eq!(files(&repo.root()), before, "{arguments:?}");
    }
}

/// On a real fleet: nothing but the version (and for candidates the rollout) differs, and all can be read again.
#[test]
fn a_real_fleet_changes_in_the_lines_meant() {
    let Some(fleet) = fleet() else { return };
    let mut repo = Monorepo::new();
    for entry in fs::read_dir(fleet.join("connectors")).unwrap() {
        let directory = entry.unwrap().path();
        let name = directory.file_name().unwrap().to_str().unwrap();
        for file in ["metadata.yaml", "pyproject.toml", "manifest.yaml"] {
            if let Ok(text) = fs::read_to_string(directory.join(file)) {
                repo = repo.file(&format!("{CONNECTORS}/{name}/{file}"), &text);
            }
        }
    }
    let versions = |repo: &Monorepo| -> BTreeMap<String, String> {
        let list = repo
            .xtask()
            .run(&["connector", "list", "--json", "--strict"])
            .code(0)
            .json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = list["connectors"].as_array().unwrap();
        all.iter()
            .map(|one| (text(&one["name"]), text(&one["version"])))
            .collect()
    };
    let before = (versions(&repo), files(&repo.root()));
    bump(&repo, &["*", "rc"]).code(0);
    let candidates = (versions(&repo), files(&repo.root()));
    for (name, version) in &before.0 {
        let now = &candidates.0[name];
        assert!(
            version != now && now.contains("-rc."),
            "{name}: {version} -> {now}"
        );
        for (path, text) in before
            .1
            .iter()
            .filter(|(path, _)| path.contains(&format!("/{name}/")))
        {
            let lines = difference(text, &candidates.1[path]);
            let is_meant = |line: &String| {
                let text = line[1..].trim();
                text.contains(if line.starts_with('-') {
                    version.as_str()
                } else {
                    now.as_str()
                }) || text.starts_with("enableProgressiveRollout: ")
                    || matches!(text, "releases:" | "rolloutConfiguration:")
            };
            assert!(lines.iter().all(is_meant), "{path}: {lines:?}");
            let count = if path.ends_with("manifest.yaml") {
                0..=0
            } else {
                2..=5
            };
            assert!(count.contains(&lines.len()), "{path}: {lines:?}");
        }
    }
    bump(&repo, &["*", "release"]).code(0);
    let released = files(&repo.root());
    for (name, version) in versions(&repo) {
        assert_eq!(
            format!("{version}-rc"),
            candidates.0[&name].split("-rc.").next().unwrap().to_owned() + "-rc"
        );
    }
    bump(&repo, &["*", "minor"]).code(0);
    let minor = files(&repo.root());
    for (path, text) in &released {
        let lines = difference(text, &minor[path]);
        let expected = if path.ends_with("manifest.yaml") {
            0
        } else {
            2
        };
        assert_eq!(lines.len(), expected, "{path}: {lines:?}");
    }
}
