//! `connector list` and `connector info`, and how connectors are named.

use crate::monorepo::{CONNECTORS, Monorepo, metadata};

fn three() -> Monorepo {
    Monorepo::new()
        .manifest_only("source-pokeapi")
        .connector("destination-jsonl", &["pyproject.toml", "poetry.lock"])
        .connector("source-old", &["build.gradle"])
        .file(&format!("{CONNECTORS}/tutorials/README.md"), "no connector")
}

fn names(finished: &crate::monorepo::Finished) -> Vec<String> {
    let document = finished.json();
    let connectors = document["connectors"].as_array().unwrap();
    connectors
        .iter()
        .map(|c| {
            format!(
                "{} {}",
                c["name"].as_str().unwrap(),
                c["language"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn every_connector_is_listed_with_its_language() {
    let repo = three();
    let finished = repo.xtask().run(&["connector", "list", "--json"]).code(0);
    assert_eq!(
        names(&finished),
        [
            "destination-jsonl python",
            "source-old java",
            "source-pokeapi manifest-only"
        ]
    );
    let table = repo.xtask().run(&["connector", "list"]).code(0).stdout;
    assert_eq!(table.lines().count(), 4);
    assert!(table.lines().nth(3).unwrap().starts_with(
        "source-pokeapi     manifest-only  source       1.2.3    airbyte/source-pokeapi"
    ));
}

#[test]
fn a_glob_without_connectors_is_a_mistake() {
    let repo = three().file("docs/x/README.md", "");
    repo.commit(".");
    for arguments in [
        &["list"][..],
        &["list", "--all-changed", "--base=HEAD"],
        &["check", "--all-changed", "--base=HEAD"],
        &["check"],
    ] {
        for glob in ["docs/*", "nowhere/*"] {
            let xtask = repo.xtask().env("XTASK_CONNECTORS", glob);
            let arguments = [&["connector"], arguments].concat();
            xtask.run(&arguments).code(2).says(&format!(
                "`connectors` is `{glob}` (XTASK_CONNECTORS), which matches no directory with a metadata.yaml"
            ));
        }
    }
}

#[test]
fn filters_and_selectors_narrow_the_list() {
    let repo = three();
    for (arguments, expected) in [
        (
            &["--language", "python"][..],
            &["destination-jsonl python"][..],
        ),
        (
            &["--language=java", "--language=manifest-only"],
            &["source-old java", "source-pokeapi manifest-only"],
        ),
        (&["--type", "destination"], &["destination-jsonl python"]),
        (&["--support-level", "certified"], &[]),
        (
            &["source-*"],
            &["source-old java", "source-pokeapi manifest-only"],
        ),
        (
            &[
                "source-pokeapi",
                "airbyte-integrations/connectors/source-old/",
            ],
            &["source-old java", "source-pokeapi manifest-only"],
        ),
    ] {
        let all: Vec<&str> = ["connector", "list", "--json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        assert_eq!(
            names(&repo.xtask().run(&all).code(0)),
            expected,
            "{arguments:?}"
        );
    }
}

#[test]
fn a_dot_means_the_connector_around_the_current_directory() {
    let repo = three().file(&format!("{CONNECTORS}/source-old/src/main/java/X.java"), "");
    for inside in ["source-old", "source-old/src/main"] {
        let xtask = repo
            .xtask()
            .current_dir(repo.root().join(CONNECTORS).join(inside));
        assert!(
            xtask
                .run(&["connector", "info", "."])
                .code(0)
                .stdout
                .starts_with("name           source-old\n")
        );
    }
    repo.xtask()
        .run(&["connector", "info", "."])
        .code(2)
        .says("`.` does not lie in a connector's directory");
}

#[test]
fn an_unreadable_connector_is_listed_with_every_reason_and_the_rest_still_are() {
    let repo = three()
        .file(
            &format!("{CONNECTORS}/source-bad/metadata.yaml"),
            "data:\n  name: [a\n  b: c\n",
        )
        .file(
            &format!("{CONNECTORS}/source-empty/metadata.yaml"),
            "data:\n  name: X\n",
        );
    let finished = repo.xtask().run(&["connector", "list"]).code(0);
    assert_eq!(finished.stdout.lines().count(), 4);
    let finished = finished
        .says("warning: broken: airbyte-integrations/connectors/source-bad/metadata.yaml:3:")
        .says("source-empty/metadata.yaml:2:3: data.dockerRepository: missing");
    assert!(
        finished.stderr.contains("\n      b: c\n"),
        "the line itself is shown: {}",
        finished.stderr
    );
    repo.xtask().run(&["connector", "list", "--strict"]).code(1);
    let broken = repo
        .xtask()
        .run(&["connector", "list", "--json"])
        .code(0)
        .json();
    assert_eq!(
        broken["broken"][1]["reasons"].as_array().unwrap().len(),
        6,
        "{broken:#}"
    );
    repo.xtask()
        .run(&["connector", "info", "source-bad"])
        .code(2)
        .says("metadata can't be used");
}

#[test]
fn a_name_that_means_nothing_gets_the_nearest_ones() {
    let repo = three();
    for (name, expected) in [
        (
            "source-pokapi",
            "unknown connector `source-pokapi`; did you mean source-pokeapi?",
        ),
        (
            "jsonl",
            "unknown connector `jsonl`; did you mean destination-jsonl?",
        ),
        ("nothing-like-it", "unknown connector `nothing-like-it`\n"),
        ("source-x*", "no connector matches `source-x*`"),
        (
            "tutorials",
            "`tutorials` is not a connector: airbyte-integrations/connectors/tutorials has no metadata.yaml",
        ),
        (
            "../elsewhere",
            "`../elsewhere` does not lie in a connector's directory",
        ),
    ] {
        repo.xtask()
            .run(&["connector", "info", name])
            .code(2)
            .says(expected);
    }
}

#[test]
fn the_repository_is_found_from_below_or_named() {
    let repo = three();
    let root = repo.root();
    let below = repo
        .xtask()
        .current_dir(root.join(CONNECTORS))
        .run(&["connector", "list", "--json"])
        .code(0);
    let named = repo
        .xtask()
        .current_dir("/")
        .run(&["-C", root.to_str().unwrap(), "connector", "list", "--json"])
        .code(0);
    assert_eq!(below.stdout, named.stdout);
    repo.xtask()
        .current_dir("/")
        .run(&["connector", "list"])
        .code(2)
        .says("no repository of connectors at or above /");
    repo.xtask()
        .run(&["-C", "missing", "connector", "list"])
        .code(2)
        .says("-C missing: No such file or directory");
}

#[test]
fn info_knows_the_image_and_where_its_base_comes_from() {
    let repo = three();
    let info = |key: &str, value: &str| {
        repo.xtask()
            .env(key, value)
            .run(&["connector", "info", "destination-jsonl", "--json"])
            .code(0)
            .json()
    };
    let facts = info("XTASK_MIRRORS", "docker.io/airbyte=mirror.example/ab");
    assert_eq!(facts["image"], "docker.io/airbyte/destination-jsonl:1.2.3");
    assert_eq!(facts["dependencies"]["file"], "poetry.lock");
    let used = facts["base_image"]["used"].as_str().unwrap();
    assert!(
        used.starts_with("mirror.example/ab/base:1.0.0@sha256:c44839"),
        "{used}"
    );
    let facts = info("XTASK_REGISTRY", "ghcr.io/me");
    assert_eq!(facts["image"], "ghcr.io/me/destination-jsonl:1.2.3");
    assert_eq!(facts["base_image"]["because"], "declared");
}

#[test]
fn the_repository_and_not_the_folder_names_the_image() {
    let text =
        metadata("source-folder").replace("airbyte/source-folder", "airbyte/source-declared");
    let repo = Monorepo::new().file(&format!("{CONNECTORS}/source-folder/metadata.yaml"), &text);
    let facts = repo
        .xtask()
        .run(&["connector", "info", "source-folder", "--json"])
        .code(0)
        .json();
    assert_eq!(facts["image"], "docker.io/airbyte/source-declared:1.2.3");
}
