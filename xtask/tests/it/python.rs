//! `connector build` of Python connectors against a fake docker: what is installed and what starts.

use crate::monorepo::{CONNECTORS, Monorepo};

const BUILD: [&str; 5] = ["connector", "build", "source-py", "--platform", "all"];

fn one() -> Monorepo {
    Monorepo::new().python("source-py")
}

fn path(file: &str) -> String {
    format!("{CONNECTORS}/source-py/{file}")
}

#[test]
fn what_the_lock_names_is_installed_by_hash_on_each_platform() {
    let repo = one();
    repo.xtask().run(&BUILD).code(0);
    let wheel = "sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";
    for architecture in ["amd64", "arm64"] {
        let list = repo.read(&format!(
            "target/xtask/connectors/source-py/requirements/requirements-{architecture}.txt"
        ));
        assert_eq!(list, format!("six==1.17.0 --hash={wheel}\n"));
    }
    let pins = repo.read("target/xtask/connectors/source-py/requirements/build.txt");
    assert!(
        pins.contains("poetry-core==") && pins.contains("--hash=sha256:"),
        "{pins}"
    );
    let log = repo.log();
    let build = log
        .lines()
        .find(|line| line.starts_with("buildx build"))
        .unwrap();
    for expected in [
        "--build-arg=ENTRY_POINT=python /airbyte/integration_code/main.py",
        "--build-arg=MANYLINUX=manylinux_2_36",
        "--build-context=uv=",
        "--build-context=requirements=",
    ] {
        assert!(build.contains(expected), "{expected}\n{build}");
    }
}

/// The store remembers what the index said when it fetched the file.
#[test]
fn a_yanked_package_is_an_error_unless_it_is_borne() {
    let repo = one();
    let store = repo.scratch().join("store");
    let cache = ("XTASK_CACHE", store.to_str().unwrap());
    repo.xtask().env(cache.0, cache.1).run(&BUILD).code(0);
    let wheel = "sha256-4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";
    let notes = store.join("yanked");
    std::fs::write(notes.join(wheel), "breaks the build").unwrap();
    let yanked = "source-py: six 1.17.0 was yanked from the package index: breaks the build\n";
    repo.xtask()
        .env(cache.0, cache.1)
        .run(&BUILD)
        .code(2)
        .says(&format!("error: {yanked}"))
        .says("help: ask for another version of six and lock again, or set `on-yanked = \"warn\"`");
    repo.xtask()
        .env(cache.0, cache.1)
        .env("XTASK_ON_YANKED", "warn")
        .run(&BUILD)
        .code(0)
        .says(&format!("warning: {yanked}"));
}

#[test]
fn the_base_images_python_is_asked_once() {
    let repo = one();
    repo.xtask().run(&BUILD).code(0);
    repo.xtask().run(&BUILD).code(0);
    assert_eq!(
        repo.log().matches("--entrypoint python").count(),
        1,
        "{}",
        repo.log()
    );
    let info = repo
        .xtask()
        .run(&["connector", "info", "source-py", "--json"])
        .code(0)
        .json();
    assert_eq!(info["dependencies"]["interpreter_assumed"], false);
    assert_eq!(info["dependencies"]["totals"]["packages"], 1);
}

#[test]
fn where_the_base_image_has_no_user_airbyte_a_connector_runs_as_root() {
    let repo = one();
    let build = |user| repo.xtask().env("FAKE_USER", user).run(&BUILD).code(0);
    build("false");
    assert!(
        repo.log().contains("--build-arg=CONNECTOR_USER=root "),
        "{}",
        repo.log()
    );
    let plan = repo
        .xtask()
        .run(&["connector", "build", "source-py", "--dry-run"])
        .code(0);
    let user = "  user   root: the base image has no user airbyte";
    assert!(plan.stdout.contains(user), "{}", plan.stdout);
}

#[test]
fn a_package_of_the_base_image_in_another_version_is_removed_first() {
    let repo = one();
    let path = "usr/local/lib/python3.11/site-packages/six.py";
    let of_base = |version: &str| {
        format!(r#"[{{"name": "Six", "version": "{version}", "paths": ["{path}"]}}]"#)
    };
    for (version, replaces) in [("1.17.0", false), ("1.16", true)] {
        let _ = std::fs::remove_dir_all(repo.root().join("target/xtask/interpreters"));
        let build = repo
            .xtask()
            .env("FAKE_INSTALLED", &of_base(version))
            .run(&BUILD);
        build.code(0);
        assert_eq!(repo.log().contains("--build-arg=REPLACES=true "), replaces);
        let plan = repo
            .xtask()
            .run(&[&BUILD[..], &["--dry-run"]].concat())
            .code(0);
        let said = "  replaces Six 1.16 of the base image\n";
        assert_eq!(plan.stdout.contains(said), replaces, "{}", plan.stdout);
    }
    for architecture in ["amd64", "arm64"] {
        let list = format!("requirements/replaced-{architecture}.txt");
        let list = repo.read(&format!("target/xtask/connectors/source-py/{list}"));
        assert_eq!(list, format!("{path}\n"));
    }
}

#[test]
fn a_dry_run_says_what_is_installed_and_what_is_assumed() {
    let finished = one()
        .xtask()
        .run(&["connector", "build", "source-py", "--dry-run"])
        .code(0);
    for expected in [
        "python 3.11.11 with glibc 2.36, assumed until the base image is there",
        "packages: 1; wheels for all platforms: 1",
        "starts python /airbyte/integration_code/main.py",
    ] {
        assert!(
            finished.stdout.contains(expected),
            "{expected}\n{}",
            finished.stdout
        );
    }
}

#[test]
fn without_main_py_the_console_script_starts() {
    let repo = one().file(&path("source_py/run.py"), "");
    std::fs::remove_file(repo.root().join(path("main.py"))).unwrap();
    repo.xtask().run(&BUILD).code(0);
    assert!(
        repo.log().contains("--build-arg=ENTRY_POINT=source-py "),
        "{}",
        repo.log()
    );
}

#[test]
fn what_can_t_work_is_found_before_anything_is_built() {
    let stale = include_str!("fixtures/pyproject.toml").replace("1.17.0", "1.16.0");
    let maturin =
        include_str!("fixtures/pyproject.toml").replace("poetry-core>=1.0.0", "maturin>=1");
    for (file, text, expected) in [
        ("pyproject.toml", stale.as_str(), "poetry lock"),
        (
            "pyproject.toml",
            maturin.as_str(),
            "requires maturin>=1 to be built; pinned versions of that: none",
        ),
        (
            "pyproject.toml",
            "[project",
            "pyproject.toml: TOML parse error at line 1",
        ),
        ("poetry.lock", "x = 1", "poetry.lock: "),
        (
            "build_customization.py",
            "",
            "has a build_customization.py, which is not run",
        ),
    ] {
        let repo = one().file(&path(file), text);
        let finished = repo.xtask().run(&BUILD);
        assert!(matches!(finished.status, Some(2)), "{file}: {finished:#?}");
        finished.says(expected);
        assert!(
            !repo.log().contains("buildx build"),
            "{file}: {}",
            repo.log()
        );
    }
    let repo = one();
    std::fs::remove_file(repo.root().join(path("main.py"))).unwrap();
    repo.xtask()
        .run(&BUILD)
        .code(2)
        .says("source-py has nothing to start");
}

#[test]
fn an_interpreter_that_the_lock_excludes_is_said() {
    let finished = one()
        .xtask()
        .env("FAKE_PYTHON", "3.9.1")
        .run(&BUILD)
        .code(2);
    finished.says("3.9.1").says("^3.11");
    let finished = one()
        .xtask()
        .env("FAKE_DOCKER", "no-python")
        .run(&BUILD)
        .code(1);
    finished
        .says("can't be asked for its Python")
        .says("python: not found");
}

#[test]
fn a_prerequisite_script_is_passed_on_for_its_connector_alone() {
    let repo = one().python("source-other").file(
        "Cargo.toml",
        "[workspace.metadata.connector.prerequisites]\nsource-py = \"prepare.sh\"\n",
    );
    let build = ["connector", "build", "source-py", "--platform", "all"];
    repo.xtask()
        .run(&build)
        .code(2)
        .says("source-py has no file prepare.sh, which prepares its image");
    let repo = repo.file(&path("prepare.sh"), "#!/bin/sh\n");
    let plan = |builder: &str| {
        let dry = ["--dry-run", "--builder", builder];
        repo.xtask().run(&[&build[..], &dry].concat())
    };
    for (builder, reason) in [
        ("auto", "(prepare.sh has to run in the image)"),
        (
            "docker",
            "(it was asked for, and prepare.sh has to run in the image)",
        ),
    ] {
        let plan = plan(builder).code(0).stdout;
        assert!(plan.contains(reason), "{plan}");
        let script = "script prepare.sh runs as root in the image, emulated for linux/arm64\n";
        assert!(plan.contains(script), "{plan}");
    }
    plan("assemble")
        .code(2)
        .says("source-py can't be assembled: prepare.sh has to run in the image");
    repo.xtask()
        .run(&["connector", "build", "source-py", "source-other"])
        .code(0);
    let log = repo.log();
    for line in log.lines().filter(|line| line.starts_with("buildx build")) {
        assert_eq!(
            line.contains("EXTRA_PREREQS_SCRIPT=prepare.sh"),
            line.contains("CONNECTOR_NAME=source-py"),
            "{line}"
        );
    }
}
