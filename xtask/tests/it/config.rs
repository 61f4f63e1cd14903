//! `config` and the errors of configuration.

use crate::monorepo::Monorepo;

fn with(section: &str) -> Monorepo {
    Monorepo::new().file(
        "Cargo.toml",
        &format!("[workspace.metadata.connector]\n{section}"),
    )
}

#[test]
fn each_value_comes_with_where_it_is_from() {
    let finished = with("jobs = 2\nspec-timeout = 7\n")
        .xtask()
        .env("XTASK_JOBS", "3")
        .run(&["config", "--config", "registry=ghcr.io/me"])
        .code(0);
    let line = |key: &str| {
        let line = finished
            .stdout
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap();
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("SETTING "), "FROM VALUE");
    assert_eq!(line("jobs "), "XTASK_JOBS 3");
    assert_eq!(line("registry "), "flag \"ghcr.io/me\"");
    assert_eq!(line("spec-timeout "), "Cargo.toml 7");
    assert_eq!(line("scan.cutoff "), "default \"high\"");
}

#[test]
fn a_mistake_names_the_key_the_line_and_the_known_keys() {
    let finished = with("regsitry = 'x'\n").xtask().run(&["config"]).code(2);
    finished
        .says("Cargo.toml")
        .says("line 2, column 1")
        .says("unknown field `regsitry`, expected one of `registry`");
    with("")
        .xtask()
        .env("XTASK_PLATFORMS", "linux/s390x")
        .run(&["config"])
        .code(2)
        .says("XTASK_PLATFORMS");
    with("")
        .xtask()
        .run(&["config", "--config", "job=1"])
        .code(2)
        .says("unknown key `job`")
        .says("known keys: registry");
}

#[test]
fn no_platform_is_a_mistake_and_an_empty_variable_is_none() {
    let repo = with("").manifest_only("source-a");
    let build = ["connector", "build", "source-a", "--platform=all"];
    repo.xtask()
        .run(&[&build[..], &["--config", "platforms="]].concat())
        .code(2)
        .says("--config platforms=: platforms: at least one platform is needed");
    assert!(!repo.log().contains("buildx build"), "{}", repo.log());
    repo.xtask().env("XTASK_PLATFORMS", "").run(&build).code(0);
    assert!(
        repo.log().contains("--platform=linux/amd64,linux/arm64"),
        "{}",
        repo.log()
    );
}
