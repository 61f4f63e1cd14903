//! `connector check` as a program: formats, exit codes, exceptions, and the facts of a real fleet.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink};

use serde_json::Value;

use crate::{
    fleet::fleet,
    monorepo::{CONNECTORS, Finished, Monorepo, git, metadata},
};

const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1 1\"/>";
const JUNE_2026: &str = "1781524800";

/// A repository with one connector that passes every check.
fn good() -> Monorepo {
    let metadata =
        metadata("source-good").replace("airbyte/base:", "airbyte/source-declarative-manifest:");
    let connector = format!("{CONNECTORS}/source-good");
    Monorepo::new()
        .manifest_only("source-good")
        .file(&format!("{connector}/metadata.yaml"), &metadata)
        .file(&format!("{connector}/icon.svg"), ICON)
        .file(
            "docs/integrations/sources/x.md",
            "# X\n## Changelog\n1.2.3\n",
        )
}

fn check(repo: &Monorepo, arguments: &[&str]) -> Finished {
    let all: Vec<&str> = ["connector", "check"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    repo.xtask()
        .env("SOURCE_DATE_EPOCH", JUNE_2026)
        .env("GITHUB_STEP_SUMMARY", "")
        .run(&all)
}

fn ids(document: &Value) -> Vec<&str> {
    let findings = document["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["check"].as_str().unwrap())
        .collect()
}

#[test]
fn a_good_connector_is_green_and_a_bad_one_says_where() {
    let repo = good();
    let finished = check(&repo, &[])
        .code(0)
        .says("1 connector checked: 0 errors, 0 warnings");
    assert_eq!(finished.stdout, "");
    let repo = repo.file(
        &format!("{CONNECTORS}/source-bad/metadata.yaml"),
        "data:\n  name: [a\n  b: c\n",
    );
    let finished = check(&repo, &[]).code(1);
    assert!(
        finished.stdout.starts_with("source-bad\n  airbyte-integrations/connectors/source-bad/icon.svg:1:1: error[icon] icon.svg is missing\n    help: "),
        "{}", finished.stdout
    );
    assert!(
        finished
            .stdout
            .contains("source-bad/metadata.yaml:3:4: error[metadata-syntax] can't be read as YAML"),
        "{}",
        finished.stdout
    );
    check(&repo, &["source-good"])
        .code(0)
        .says("1 connector checked");
    check(&repo, &["source-b*", "--only", "license"]).code(0);
    check(&repo, &["source-bad", "--skip", "icon,metadata-syntax"]).code(0);
}

/// Whatever lies where metadata.yaml should, every connector is checked and every command goes on.
#[test]
fn what_can_not_be_read_is_a_finding_of_its_own_connector() {
    let repo = good().file(
        &format!("{CONNECTORS}/source-twice/metadata.yaml"),
        "a: 1\na: 2\n",
    );
    let metadata = |name: &str| {
        let directory = repo.root().join(CONNECTORS).join(name);
        fs::create_dir_all(&directory).unwrap();
        directory.join("metadata.yaml")
    };
    symlink("/dev/zero", metadata("source-device")).unwrap();
    fs::create_dir(metadata("source-directory")).unwrap();
    symlink("nowhere", metadata("source-dangling")).unwrap();
    fs::write(metadata("source-latin"), b"data:\n  name: caf\xe9\n").unwrap();
    fs::write(metadata("source-long"), "#".repeat(9 << 20)).unwrap();
    fs::write(metadata("source-scalar"), "words\n").unwrap();
    let document = check(&repo, &["--skip", "icon", "--output-format", "json"])
        .code(1)
        .json();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = document["findings"].as_array().unwrap().iter();
    let found: Vec<String> = findings
        .map(|one| {
            format!(
                "{} {} {}",
                text(one, "connector"),
                text(one, "check"),
                text(one, "message")
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            "source-dangling metadata-syntax can't be read as YAML: No such file or directory (os error 2)",
            "source-device metadata-syntax can't be read as YAML: it is no file",
            "source-directory metadata-syntax can't be read as YAML: it is no file",
            "source-latin metadata-syntax can't be read as YAML: it is no UTF-8 text from here on",
            "source-long metadata-syntax can't be read as YAML: it is longer than 8 MiB",
            "source-scalar metadata-schema the document: \"words\" is not of type \"object\"",
            "source-twice metadata-schema metadataSpecVersion: missing",
            "source-twice metadata-schema data: missing",
            "source-twice metadata-schema a: unknown key",
            "source-twice metadata-duplicate-key `a` stands twice, first in line 1",
        ]
    );
    let listed = repo
        .xtask()
        .run(&["connector", "list", "--json"])
        .code(0)
        .json();
    assert_eq!(listed["broken"].as_array().unwrap().len(), 7, "{listed}");
}

#[test]
fn a_package_that_can_not_be_read_is_a_finding() {
    let repo = Monorepo::new().python("source-latin").python("source-link");
    let package = |name: &str| {
        repo.root()
            .join(CONNECTORS)
            .join(name)
            .join("pyproject.toml")
    };
    fs::write(package("source-latin"), b"# caf\xe9\n").unwrap();
    fs::remove_file(package("source-link")).unwrap();
    symlink("../source-latin/pyproject.toml", package("source-link")).unwrap();
    let only = ["--only", "lock-file", "--output-format", "json"];
    let findings = check(&repo, &only).code(1).json()["findings"].clone();
    let messages: Vec<&str> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["message"].as_str().unwrap())
        .filter(|message| !message.contains("neither"))
        .collect();
    assert_eq!(
        messages,
        [
            "it is no UTF-8 text from here on",
            "it is no regular file, and links are not followed",
        ]
    );
}

#[test]
fn warnings_do_not_fail_and_every_format_holds_the_finding() {
    let repo = good().file(
        &format!("{CONNECTORS}/source-good/icon.svg"),
        "<svg viewBox='0 0 2 1'/>",
    );
    let document = check(&repo, &["--output-format", "json"]).code(0).json();
    assert_eq!(ids(&document), ["icon-square"]);
    assert_eq!(document["findings"][0]["line"], 1);
    let sarif = check(&repo, &["--output-format", "sarif"]).code(0).json();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "icon-square");
    let junit = check(&repo, &["--output-format", "junit"]).code(0).stdout;
    assert!(junit.starts_with("<?xml") && junit.contains("failures=\"0\""));
    let summary = repo.scratch().join("summary.md");
    let arguments = ["connector", "check", "--output-format", "github"];
    let finished = repo
        .xtask()
        .env("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())
        .run(&arguments)
        .code(0);
    assert!(finished.stdout.starts_with("::warning file=airbyte-integrations/connectors/source-good/icon.svg,line=1,col=1,title=source-good icon-square::"), "{}", finished.stdout);
    finished.says(
        "\n|   airbyte-integrations/connectors/source-good/icon.svg:1:1: warning[icon-square] ",
    );
    assert!(
        fs::read_to_string(summary)
            .unwrap()
            .contains("| source-good | warning `icon-square` |")
    );
}

#[test]
fn shards_deal_out_all_connectors() {
    let names = ["source-a", "source-b", "source-c", "source-d", "source-e"];
    let repo = names
        .iter()
        .fold(Monorepo::new(), |repo, name| repo.manifest_only(name));
    let of = |shard: &str| {
        let arguments = [
            "--shard",
            shard,
            "--only",
            "license",
            "--output-format",
            "json",
        ];
        let document = check(&repo, &arguments).code(0).json();
        let connectors = document["connectors"].as_array().unwrap().clone();
        connectors
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (first, second) = (of("1/2"), of("2/2"));
    assert!(
        !first.is_empty() && !second.is_empty(),
        "{first:?} {second:?}"
    );
    let mut all = [first, second].concat();
    all.sort();
    assert_eq!(all, names);
}

#[test]
fn checks_are_listed_and_an_unknown_one_gets_the_nearest() {
    let repo = good();
    let list = check(&repo, &["--list"]).code(0).stdout;
    assert!(
        list.lines().count() > 30 && list.contains("\nmetadata-schema "),
        "{list}"
    );
    assert_eq!(
        check(&repo, &["--list", "--only", "icon"])
            .code(0)
            .stdout
            .lines()
            .count(),
        2
    );
    check(&repo, &["--only", "icon", "--skip", "icon"])
        .code(2)
        .says("--only and --skip leave no check to run");
    check(&repo, &["--only", "icons"])
        .code(2)
        .says("unknown check `icons`")
        .says("did you mean icon");
}

#[test]
fn an_exception_holds_until_its_day() {
    let settings = |until: &str| {
        format!(
            "[workspace.metadata.connector.checks]\nexceptions = [{{connector = 'source-*', check = 'icon', reason = 'drawn soon', until = '{until}'}}]\n"
        )
    };
    let bad = || good().file(&format!("{CONNECTORS}/source-good/icon.svg"), "");
    let repo = bad().file("Cargo.toml", &settings("2026-12-31"));
    check(&repo, &[]).code(0).says("1 borne by exceptions");
    let repo = bad().file("Cargo.toml", &settings("2026-01-31"));
    let document = check(&repo, &["--output-format", "json"]).code(1).json();
    assert_eq!(ids(&document), ["icon", "exception"]);
}

#[test]
fn two_connectors_with_one_definition_are_found_even_when_one_is_named() {
    let other = metadata("source-other");
    let repo = good().file(&format!("{CONNECTORS}/source-other/metadata.yaml"), &other);
    let document = check(&repo, &["source-good", "--output-format", "json"])
        .code(1)
        .json();
    assert_eq!(ids(&document), ["definition-id-unique"]);
}

/// In a real repository, below the top of the work tree, with the merge base not the base's tip.
#[test]
fn what_changed_is_compared_with_the_merge_base() {
    let connector = format!("{CONNECTORS}/source-good");
    let repo = good();
    let root = repo.root();
    let top = root.parent().unwrap().to_owned();
    let text = repo.read(&format!("{connector}/metadata.yaml"));
    git(&top, &["init", "--quiet"]);
    git(&top, &["add", "repo"]);
    git(&top, &["commit", "--quiet", "-m", "1"]);
    git(&top, &["branch", "base"]);
    let check = |repo: &Monorepo| {
        let flags = ["--all-changed", "--base", "base", "--output-format", "json"];
        check(repo, &flags)
    };
    let repo = repo.file(&format!("{connector}/unit_tests/test_x.py"), "");
    assert_eq!(ids(&check(&repo).code(0).json()), [""; 0]);
    let repo = repo.file(&format!("{connector}/components.py"), "");
    let document = check(&repo).code(1).json();
    assert_eq!(ids(&document), ["version-increment"]);
    let message = document["findings"][0]["message"].as_str().unwrap();
    assert!(message.contains("components.py changed"), "{message}");
    let other = text
        .replace("dfd88b22", "00000000")
        .replace("airbyte/source-good", "airbyte/source-other");
    let repo = repo.file(&format!("{connector}/metadata.yaml"), &other);
    assert_eq!(
        ids(&check(&repo).code(1).json()),
        [
            "definition-id-kept",
            "version-increment",
            "docker-repository-kept"
        ]
    );
    let page = "# X\n## Changelog\n1.2.4\n1.2.3\n";
    let repo = repo
        .file(
            &format!("{connector}/metadata.yaml"),
            &text.replace("1.2.3", "1.2.4"),
        )
        .file("docs/integrations/sources/x.md", page);
    assert_eq!(ids(&check(&repo).code(0).json()), [""; 0]);
    let listed = repo.scratch().join("files");
    fs::write(&listed, format!("{connector}/components.py\n")).unwrap();
    let flags = ["--files-from", listed.to_str().unwrap()];
    self::check(&repo, &flags)
        .code(0)
        .says("1 connector checked");
}

#[test]
fn the_schema_printed_is_the_one_in_the_repository() {
    let printed = good().xtask().run(&["connector", "schema"]).code(0).stdout;
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/metadata.schema.json");
    assert_eq!(printed, fs::read_to_string(committed).unwrap());
}

#[test]
fn the_connectors_of_this_repository_pass() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let repo = good();
    repo.xtask()
        .env("SOURCE_DATE_EPOCH", JUNE_2026)
        .run(&["-C", root, "connector", "check"])
        .code(0);
}

/// Checks that the recorded contents are enough for: of the other files of these connectors only names are known.
#[test]
fn a_real_fleet_has_the_findings_that_are_known() {
    let Some(fleet) = fleet() else { return };
    let repo = Monorepo::new();
    let connectors = repo.root().join(CONNECTORS);
    fs::remove_dir(&connectors).unwrap();
    symlink(fleet.join("connectors"), &connectors).unwrap();
    let skipped = "documentation-page,migration-guide,icon,language-tag,cdk-tag";
    let document = check(&repo, &["--output-format", "json", "--skip", skipped]).json();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in ids(&document) {
        *counts.entry(id).or_default() += 1;
    }
    assert_eq!(
        counts,
        BTreeMap::from([("breaking-change-deadline", 2), ("icon-square", 2)]),
        "{document:#}"
    );
}

#[test]
fn fix_mends_the_packages_version_and_begins_a_changelog_entry() {
    let ruled =
        metadata("source-py").replace("  license:", "  ab_internal:\n    sl: 200\n  license:");
    let page = "docs/integrations/sources/x.md";
    let package = format!("{CONNECTORS}/source-py/pyproject.toml");
    let repo = Monorepo::new()
        .python("source-py")
        .file(&format!("{CONNECTORS}/source-py/metadata.yaml"), &ruled)
        .file(page, "# X\n\n## Changelog\n\n| Version | Date | Pull Request | Subject |\n|:---|:---|:---|:---|\n| 1.0.0 | 2024-01-01 | | First |\n");
    let wrong = repo.read(&package).replace("1.2.3", "9.9.9");
    let repo = repo.file(&package, &wrong);
    let only = ["--only", "version-equal,changelog-entry"];
    let before = check(&repo, &[&only[..], &["--output-format", "json"]].concat())
        .code(1)
        .json();
    assert_eq!(ids(&before), ["version-equal", "changelog-entry"]);
    check(&repo, &[&only[..], &["--fix"]].concat())
        .code(0)
        .says(&format!("mended {package}"))
        .says(&format!("mended {page}"));
    assert_eq!(repo.read(&package), wrong.replace("9.9.9", "1.2.3"));
    let row = "| 1.2.3 | 2026-06-15 |";
    let changelog = repo.read(page);
    assert!(
        changelog.contains(row) && changelog.contains("TODO: say what changed"),
        "{changelog}"
    );
    // What is right is left as it is.
    check(&repo, &[&only[..], &["--fix"]].concat()).code(0);
    assert_eq!(repo.read(page), changelog);
}

#[test]
fn what_can_not_be_mended_keeps_nothing_else_from_it() {
    let only = ["--only", "version-equal,changelog-entry"];
    let row = "| Version | Date | Pull Request | Subject |\n|:---|:---|:---|:---|\n| 1.0.0 | 2024-01-01 | | First |\n";
    let page = |name: &str| format!("docs/integrations/sources/{name}.md");
    let repo = ["source-a", "source-b"]
        .into_iter()
        .fold(Monorepo::new(), |repo, name| {
            let metadata = metadata(name)
                .replace("  license:", "  ab_internal:\n    sl: 200\n  license:")
                .replace("sources/x", &format!("sources/{name}"));
            repo.python(name)
                .file(&format!("{CONNECTORS}/{name}/metadata.yaml"), &metadata)
        })
        .file(&page("source-a"), "# A\n")
        .file(&page("source-b"), &format!("# B\n\n## Changelog\n\n{row}"));
    let package = format!("{CONNECTORS}/source-a/pyproject.toml");
    let wrong = repo.read(&package).replace("1.2.3", "9.9.9");
    // A version that can't be written into the lock is written nowhere.
    let locked = format!("{CONNECTORS}/source-b/uv.lock");
    let of_b = format!("{CONNECTORS}/source-b/pyproject.toml");
    let repo = repo
        .file(&package, &wrong)
        .file(&of_b, &wrong)
        .file(&locked, "no TOML");
    let flags = [&only[..], &["--fix", "--output-format", "json"]].concat();
    let finished = check(&repo, &flags)
        .code(1)
        .says(&format!("mended {package}"))
        .says("warning: not mended: source-a: docs/integrations/sources/source-a.md: ")
        .says("warning: not mended: source-b: uv.lock: ")
        .says(&format!("mended {}", page("source-b")));
    assert!(
        !finished.stderr.contains("--changelog"),
        "{}",
        finished.stderr
    );
    assert_eq!(repo.read(&of_b), wrong);
    assert_eq!(ids(&finished.json()), ["changelog-entry", "version-equal"]);
}
