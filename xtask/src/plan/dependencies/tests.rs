//! Small locks, each written for one case.

use super::{summary::Totals, *};
use crate::model::{
    base_package::BasePackage,
    config::Config,
    lock::content_hash::{Groups, content_hash},
    platform::Platform,
    target::Libc,
};

const AMD64: Platform = Platform::LinuxAmd64;
const ARM64: Platform = Platform::LinuxArm64;

fn target(platform: Platform) -> Target {
    Target {
        platform,
        python: "3.11.2".parse().unwrap(),
        libc: Libc::Glibc(2, 36),
    }
}

/// A hash of its own for every file name.
fn hash(file: &str) -> String {
    let hex: String = file.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{:0<64}", &hex[hex.len().saturating_sub(64)..])
}

/// `[[package]]` of a poetry.lock: `name version`, its files, the rest of its tables.
fn package(name_and_version: &str, files: &[&str], rest: &str) -> String {
    let (name, version) = name_and_version.split_once(' ').unwrap();
    let files: Vec<String> = files
        .iter()
        .map(|file| format!("{{file = \"{file}\", hash = \"{}\"}}", hash(file)))
        .collect();
    format!(
        "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nfiles = [{}]\n{rest}\n",
        files.join(", ")
    )
}

fn pure(name_and_version: &str, rest: &str) -> String {
    let file = format!("{}-py3-none-any.whl", name_and_version.replace(' ', "-"));
    package(name_and_version, &[&file], rest)
}

fn poetry(dependencies: &str) -> Pyproject {
    Pyproject::parse(&format!(
        "[tool.poetry]\nname = \"source-x\"\n[tool.poetry.dependencies]\npython = \"^3.9,<3.12\"\n{dependencies}\n"
    ))
    .unwrap()
}

/// A poetry.lock of `version` made from `pyproject`.
fn lock_of(version: &str, pyproject: &Pyproject, packages: &[String]) -> Lock {
    let hash = content_hash(pyproject, Groups::Counted);
    Lock::parse_poetry(&format!(
        "{}[metadata]\nlock-version = \"{version}\"\npython-versions = \"^3.9,<3.12\"\ncontent-hash = \"{hash}\"\n",
        packages.concat()
    ))
    .unwrap()
}

/// What the lock gives on a platform, as `name==version how file`.
fn resolve(
    dependencies: &str,
    packages: &[String],
    platform: Platform,
) -> Result<Vec<String>, String> {
    let pyproject = poetry(dependencies);
    resolved(&pyproject, &lock_of("2.0", &pyproject, packages), platform)
}

fn resolved(pyproject: &Pyproject, lock: &Lock, platform: Platform) -> Result<Vec<String>, String> {
    let closure = Closure::resolve(pyproject, lock, target(platform));
    let closure = closure.map_err(|reasons| {
        let texts: Vec<String> = reasons.iter().map(Reason::to_string).collect();
        texts.join("; ")
    })?;
    let line = |planned: &Planned| {
        let how = match planned.how {
            How::Wheel { .. } => "wheel",
            How::Sdist {
                expected: Content::Pure,
                ..
            } => "pure sdist",
            How::Sdist {
                expected: Content::Native,
                ..
            } => "native sdist",
        };
        format!(
            "{}=={} {how} {}",
            planned.name,
            planned.version,
            planned.how.file().name
        )
    };
    Ok(closure.packages.iter().map(line).collect())
}

/// Names and versions alone.
fn names(dependencies: &str, packages: &[String], platform: Platform) -> Result<String, String> {
    let lines = resolve(dependencies, packages, platform)?;
    let names: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    Ok(names.join(" "))
}

#[test]
fn each_platform_gets_its_file() {
    let x86 = "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
    let arm = "a-1-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl";
    let musl = "a-1-cp311-cp311-musllinux_1_1_x86_64.whl";
    let newer = "a-1-cp311-cp311-manylinux_2_39_x86_64.whl";
    let any = "a-1-py3-none-any.whl";
    let py2 = "a-1-py2-none-any.whl";
    let sdist = "a-1.tar.gz";
    for (files, amd64, arm64) in [
        (
            &[x86, arm, musl, sdist][..],
            format!("wheel {x86}"),
            format!("wheel {arm}"),
        ),
        (
            &[any, sdist],
            format!("wheel {any}"),
            format!("wheel {any}"),
        ),
        (&[any, x86], format!("wheel {x86}"), format!("wheel {any}")),
        // genson: published as an sdist only.
        (
            &[sdist],
            format!("pure sdist {sdist}"),
            format!("pure sdist {sdist}"),
        ),
        // avro: a wheel for Python 2 alone.
        (
            &[py2, sdist],
            format!("pure sdist {sdist}"),
            format!("pure sdist {sdist}"),
        ),
        // lxml 4.9.1: no wheel for arm64.
        (
            &[x86, sdist],
            format!("wheel {x86}"),
            format!("native sdist {sdist}"),
        ),
        (
            &[newer, musl, sdist],
            format!("native sdist {sdist}"),
            format!("native sdist {sdist}"),
        ),
    ] {
        let packages = [package("a 1", files, "")];
        for (platform, expected) in [(AMD64, amd64), (ARM64, arm64)] {
            let expected = vec![format!("a==1 {expected}")];
            assert_eq!(
                resolve("a = \"1\"", &packages, platform),
                Ok(expected),
                "{files:?} {platform}"
            );
        }
    }
}

#[test]
fn markers_extras_and_optional_packages_are_evaluated() {
    let packages = [
        pure(
            "a 1",
            "[package.dependencies]\n\
             b = {version = \"*\", markers = \"python_version < '3.11'\"}\n\
             c = {version = \"*\", markers = \"platform_machine == 'aarch64'\"}\n\
             d = {version = \"*\", optional = true, markers = \"extra == 'more-of'\"}\n\
             e = {version = \"*\", optional = true}\n\
             [package.extras]\nmore-of = [\"d\"]\nold = [\"e\"]\nall = [\"a[more_of,old]\"]",
        ),
        pure("b 1", ""),
        pure("c 1", ""),
        pure("d 1", ""),
        pure("e 1", ""),
        pure("dev 1", ""),
    ];
    for (dependencies, amd64, arm64) in [
        ("a = \"1\"", "a==1", "a==1 c==1"),
        (
            "a = {version = \"1\", extras = [\"More.Of\"]}",
            "a==1 d==1",
            "a==1 c==1 d==1",
        ),
        (
            "a = {version = \"1\", extras = [\"old\"]}",
            "a==1 e==1",
            "a==1 c==1 e==1",
        ),
        (
            "a = {version = \"1\", extras = [\"all\"]}",
            "a==1 d==1 e==1",
            "a==1 c==1 d==1 e==1",
        ),
        (
            "a = {version = \"1\", python = \"<3.11\"}\nb = \"*\"",
            "b==1",
            "b==1",
        ),
        (
            "a = {version = \"1\", optional = true}\nb = \"*\"",
            "b==1",
            "b==1",
        ),
        // The extra is asked for later than the package.
        ("a = \"1\"\nb = \"*\"\n", "a==1 b==1", "a==1 b==1 c==1"),
    ] {
        for (platform, expected) in [(AMD64, amd64), (ARM64, arm64)] {
            assert_eq!(
                names(dependencies, &packages, platform).as_deref(),
                Ok(expected),
                "{dependencies} {platform}"
            );
        }
    }
}

#[test]
fn an_extra_that_a_later_package_asks_for_counts() {
    let packages = [
        pure(
            "a 1",
            "[package.dependencies]\nb = {version = \"*\", optional = true, markers = \"extra == 'x'\"}",
        ),
        pure("b 1", ""),
        pure(
            "z 1",
            "[package.dependencies]\na = {version = \"*\", extras = [\"x\"]}",
        ),
    ];
    assert_eq!(
        names("a = \"*\"\nz = \"*\"", &packages, AMD64).as_deref(),
        Ok("a==1 b==1 z==1")
    );
}

#[test]
fn a_circle_ends() {
    let packages = [
        pure("a 1", "[package.dependencies]\nb = \"*\""),
        pure("b 1", "[package.dependencies]\na = \"*\""),
    ];
    assert_eq!(
        names("a = \"*\"", &packages, AMD64).as_deref(),
        Ok("a==1 b==1")
    );
}

#[test]
fn of_two_versions_the_right_one() {
    let both = |first: &str, second: &str| [pure("a 1", first), pure("a 2", second)];
    let by_marker = "a = [{version = \"1\", markers = \"platform_machine == 'x86_64'\"}, \
                     {version = \"2\", markers = \"platform_machine == 'aarch64'\"}]";
    let by_python =
        "a = [{version = \"1\", python = \"<3.11\"}, {version = \"2\", python = \">=3.11\"}]";
    let none = both("", "");
    assert_eq!(names(by_marker, &none, AMD64).as_deref(), Ok("a==1"));
    assert_eq!(names(by_marker, &none, ARM64).as_deref(), Ok("a==2"));
    assert_eq!(names(by_python, &none, AMD64).as_deref(), Ok("a==2"));
    // urllib3 in real locks: nothing tells them apart, Poetry installs the newest.
    assert_eq!(names("a = \"*\"", &none, AMD64).as_deref(), Ok("a==2"));
    assert_eq!(names("a = \"<2\"", &none, AMD64).as_deref(), Ok("a==1"));
    // A dependency that is found later strikes a version out.
    let packages = [
        both("", "").concat(),
        pure("z 1", "[package.dependencies]\na = \"<2\""),
    ];
    assert_eq!(
        names("a = \"*\"\nz = \"*\"", &packages, AMD64).as_deref(),
        Ok("a==1 z==1")
    );
    // One that doesn't run on the interpreter is none.
    let old = both(
        "python-versions = \">=3.9\"",
        "python-versions = \">=3.12\"",
    );
    assert_eq!(names("a = \"*\"", &old, AMD64).as_deref(), Ok("a==1"));
}

#[test]
fn since_lock_version_2_1_each_version_has_its_marker() {
    let pyproject = poetry("a = \"*\"");
    let marked = [
        pure("a 1", "markers = \"platform_machine == 'x86_64'\""),
        pure(
            "a 2",
            "groups = [\"main\", \"dev\"]\nmarkers = {main = \"platform_machine == 'aarch64'\"}",
        ),
    ];
    let lock = lock_of("2.1", &pyproject, &marked);
    assert_eq!(
        resolved(&pyproject, &lock, AMD64).unwrap(),
        ["a==1 wheel a-1-py3-none-any.whl"]
    );
    assert_eq!(
        resolved(&pyproject, &lock, ARM64).unwrap(),
        ["a==2 wheel a-2-py3-none-any.whl"]
    );
    // What a group wants where the main one does not is there for development only.
    let pyproject = poetry("[tool.poetry.group.dev.dependencies]\na = \"*\"");
    let by_group = "groups = [\"main\", \"dev\"]\n\
                    markers = {main = \"python_version < '3.11'\", dev = \"python_version < '3.13'\"}";
    let lock = lock_of("2.1", &pyproject, &[pure("a 1", by_group)]);
    let closure = development(&pyproject, &lock, target(AMD64)).unwrap();
    assert_eq!(closure.packages[0].version.to_string(), "1");
    let pyproject = poetry("a = \"*\"");
    let lock = lock_of("2.1", &pyproject, &[pure("a 1", by_group)]);
    assert_eq!(
        resolved(&pyproject, &lock, AMD64).unwrap_err(),
        "the connector needs a *, but it holds a 1"
    );
    let lock = lock_of("2.1", &pyproject, &[pure("a 1", ""), pure("a 2", "")]);
    assert_eq!(
        resolved(&pyproject, &lock, AMD64).unwrap_err(),
        "a 1 and 2 all match on linux/amd64"
    );
}

#[test]
fn what_stands_in_the_way_names_package_and_remedy() {
    let unhashed =
        "[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = [{file = \"a-1.tar.gz\"}]\n";
    let source = |kind: &str| {
        pure(
            "a 1",
            &format!("[package.source]\ntype = \"{kind}\"\nurl = \"x\""),
        )
    };
    for (dependencies, packages, message, remedy) in [
        (
            "a = \"*\"",
            vec![],
            "a, which the connector needs, is not in it",
            "lock again",
        ),
        (
            "a = \"*\"",
            vec![pure("a 1", "[package.dependencies]\nb = \">=2\"")],
            "b, which a 1 needs, is not in it",
            "edited or merged by hand around b",
        ),
        (
            "a = \"^2\"",
            vec![pure("a 1", "")],
            "the connector needs a ^2, but it holds a 1",
            "edited or merged by hand around a",
        ),
        (
            "a = \"*\"",
            vec![pure("a 1", "python-versions = \">=3.12\"")],
            "a 1 needs Python `>=3.12`, the base image has 3.11.2",
            "another Python, or ask for a version of a",
        ),
        (
            "a = \"*\"",
            vec![package(
                "a 1",
                &["a-1-cp311-cp311-win_amd64.whl", "a-1-py2.7.egg"],
                "",
            )],
            "a 1 has no file for linux/amd64 with Python 3.11.2 and glibc 2.36: a-1-cp311-cp311-win_amd64.whl",
            "a version of a with a wheel for the platform",
        ),
        (
            "a = \"*\"",
            vec![package("a 1", &[], "")],
            "a 1 has no file for",
            "a version of a with",
        ),
        (
            "a = \"*\"",
            vec![unhashed.to_owned()],
            "a 1 has no wheel or sdist with a sha256, sha384 or sha512 hash: a-1.tar.gz",
            "publishes hashes of a",
        ),
        (
            "a = \"*\"",
            vec![source("git")],
            "a comes from git, which is not supported",
            "publish a to a package index",
        ),
        (
            "a = \"*\"",
            vec![source("directory")],
            "a comes from directory",
            "publish a",
        ),
        (
            "a = {path = \"../a\"}",
            vec![source("directory")],
            "a comes from path",
            "publish a",
        ),
    ] {
        let pyproject = poetry(dependencies);
        let lock = lock_of("2.0", &pyproject, &packages);
        let problem = plan(&pyproject, Some(&lock), &[target(AMD64)]).unwrap_err();
        assert!(
            problem
                .message
                .starts_with(&format!("poetry.lock: {message}")),
            "{}",
            problem.message
        );
        assert!(
            problem.help.as_deref().unwrap_or_default().contains(remedy),
            "{:?}",
            problem.help
        );
    }
}

#[test]
fn a_package_index_of_ones_own_is_supported() {
    let packages = [pure(
        "a 1",
        "[package.source]\ntype = \"legacy\"\nurl = \"x\"",
    )];
    assert_eq!(names("a = \"*\"", &packages, AMD64).as_deref(), Ok("a==1"));
}

#[test]
fn a_lock_that_is_out_of_date_or_for_another_python_is_refused_whole() {
    let pyproject = poetry("a = \"1\"");
    let lock = lock_of("2.0", &pyproject, &[pure("a 1", "")]);
    let changed = poetry("a = \"^1\"");
    let problem = plan(&changed, Some(&lock), &[target(AMD64), target(ARM64)]).unwrap_err();
    assert_eq!(
        problem.message,
        "poetry.lock: out of date with pyproject.toml: its content-hash is another"
    );
    assert!(problem.help.unwrap().contains("poetry lock"));

    let newer = Target {
        python: "3.12.1".parse().unwrap(),
        ..target(AMD64)
    };
    let problem = plan(&pyproject, Some(&lock), &[newer]).unwrap_err();
    assert_eq!(
        problem.message,
        "poetry.lock: the base image has Python 3.12.1, which `^3.9,<3.12` excludes"
    );
    assert!(problem.help.unwrap().contains("base image"));
}

#[test]
fn all_reasons_come_at_once_and_each_once() {
    let pyproject = poetry("a = \"*\"\nb = \"*\"\nc = \"*\"");
    let windows = package("c 1", &["c-1-cp311-cp311-win_amd64.whl"], "");
    let lock = lock_of("2.0", &pyproject, std::slice::from_ref(&windows));
    let both = [target(AMD64), target(ARM64)];
    let problem = plan(&pyproject, Some(&lock), &both).unwrap_err();
    assert_eq!(problem.message.lines().count(), 2, "{}", problem.message);
    let lock = lock_of(
        "2.0",
        &pyproject,
        &[pure("a 1", ""), pure("b 1", ""), windows],
    );
    let problem = plan(&pyproject, Some(&lock), &both).unwrap_err();
    assert_eq!(
        problem.message.lines().count(),
        2,
        "one for each platform: {}",
        problem.message
    );
    assert_eq!(problem.help.unwrap().lines().count(), 1);
}

#[test]
fn requirements_demand_the_chosen_file_alone() {
    let pyproject = poetry("a = \"*\"\nb = \"*\"");
    let any = "a-1-py3-none-any.whl";
    let lock = lock_of(
        "2.0",
        &pyproject,
        &[
            package("a 1", &[any, "a-1.tar.gz"], ""),
            package("b 2.0", &["b-2.0.tar.gz"], ""),
        ],
    );
    let closure = Closure::resolve(&pyproject, &lock, target(ARM64)).unwrap();
    let expected = format!(
        "a==1 --hash={}\nb==2.0 --hash={}\n",
        hash(any),
        hash("b-2.0.tar.gz")
    );
    assert_eq!(closure.requirements(|_| None), expected);
    let built: Hash = hash("b-2.0-py3-none-any.whl").parse().unwrap();
    let expected = format!("a==1 --hash={}\nb==2.0 --hash={built}\n", hash(any));
    assert_eq!(closure.requirements(|_| Some(built.clone())), expected);
}

#[test]
fn other_versions_of_a_base_image_are_replaced_where_they_are_locked() {
    let pyproject =
        poetry("a-b = \"*\"\nc = {version = \"*\", markers = \"platform_machine == 'aarch64'\"}");
    let lock = lock_of("2.0", &pyproject, &[pure("a-b 2.0", ""), pure("c 1", "")]);
    let planned = plan(&pyproject, Some(&lock), &[target(AMD64), target(ARM64)]).unwrap();
    let of_base = |name: &str, version: &str| BasePackage {
        name: name.to_owned(),
        version: version.to_owned(),
        paths: vec![name.to_owned()],
    };
    let [old, mut other] = [of_base("A_B", "1.9"), of_base("c", "of old")];
    other.paths = vec!["c.cpython-311-x86_64-linux-gnu.so".to_owned()];
    let installed = [old.clone(), other.clone(), of_base("pip", "24.0")];
    other.paths = vec!["c.cpython-311-aarch64-linux-gnu.so".to_owned()];
    let expected = [(AMD64, vec![old.clone()]), (ARM64, vec![old, other])];
    assert_eq!(planned.replaced(&installed), expected.into());
    let same = [of_base("a.b", "2"), of_base("c", "1.0")];
    assert_eq!(planned.replaced(&same), [].into());
    let unlocked = plan(&pyproject, None, &[target(AMD64)]).unwrap();
    assert_eq!(unlocked.replaced(&installed), [].into());
}

#[test]
fn the_summary_counts_over_platforms() {
    let pyproject = poetry(
        "a = \"*\"\nb = \"*\"\nc = \"*\"\nd = \"*\"\ne = {version = \"*\", markers = \"platform_machine == 'aarch64'\"}",
    );
    let x86 = "-1-cp311-cp311-manylinux2014_x86_64.whl";
    let arm = "-1-cp311-cp311-manylinux2014_aarch64.whl";
    let lock = lock_of(
        "2.0",
        &pyproject,
        &[
            pure("a 1", ""),
            package("b 1", &[&format!("b{x86}"), &format!("b{arm}")], ""),
            package("c 1", &["c-1.tar.gz"], ""),
            package("d 1", &[&format!("d{x86}"), "d-1.tar.gz"], ""),
            pure("e 1", ""),
        ],
    );
    let Dependencies::Locked(closures) =
        plan(&pyproject, Some(&lock), &[target(AMD64), target(ARM64)]).unwrap()
    else {
        panic!("unlocked")
    };
    let config = Config {
        builder_images: [("d".to_owned(), "docker.io/library/gcc:1".parse().unwrap())].into(),
        build_constraints: [("d".to_owned(), vec!["cython<3".to_owned()])].into(),
        ..Config::default()
    };
    let summary = Summary::new(closures, Platform::LinuxAmd64, &config);
    assert_eq!(
        summary.totals,
        Totals {
            packages: 5,
            shared_wheels: 1,
            platform_wheels: 2,
            pure_sdists: 1,
            native_sdists: 1
        }
    );
    let builds: Vec<_> = summary
        .builds
        .iter()
        .map(|build| {
            (
                build.name.to_string(),
                build.expected,
                build.platforms.clone(),
            )
        })
        .collect();
    assert_eq!(
        builds,
        [
            ("c".to_owned(), Content::Pure, vec![AMD64, ARM64]),
            ("d".to_owned(), Content::Native, vec![ARM64]),
        ]
    );
    assert_eq!(
        summary.lines()[1..],
        [
            "c 1: one wheel for linux/amd64 and linux/arm64 from c-1.tar.gz in the base image (published as an sdist only)",
            "d 1: a wheel for linux/arm64 (emulated unless it proves pure) from d-1.tar.gz in docker.io/library/gcc:1 \
             with cython<3 (its only wheel is cp311-cp311-manylinux2014_x86_64)",
        ]
    );
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["totals"]["packages"], 5);
    assert_eq!(json["closures"][1]["target"]["platform"], "linux/arm64");
    assert_eq!(json["closures"][1]["packages"][3]["how"], "sdist");
    assert_eq!(json["closures"][1]["packages"][3]["expected"], "native");
    assert_eq!(
        json["closures"][1]["packages"][3]["file"]["name"],
        "d-1.tar.gz"
    );
}

#[test]
fn without_a_lock_the_requirements_are_told() {
    let pyproject = poetry("a = \"^1.2\"\nb = {version = \"*\", extras = [\"x\"]}\n");
    let Dependencies::Unlocked { requirements } = plan(&pyproject, None, &[target(AMD64)]).unwrap()
    else {
        panic!("locked")
    };
    assert_eq!(requirements, ["a>=1.2,<2", "b[x]"]);
    let by_python = poetry(
        "a = [{version = \"1\", python = \"<3.10\"}, {version = \"2\", python = \">=3.10\"}]\n\
         b = {git = \"x\", python = \"<3.10\"}",
    );
    let Dependencies::Unlocked { requirements } =
        plan(&by_python, None, &[target(AMD64), target(ARM64)]).unwrap()
    else {
        panic!("locked")
    };
    assert_eq!(requirements, ["a==2"]);
    let wrong = poetry("a = \"<1 || >2\"\nb = {git = \"x\"}");
    let problem = plan(
        &wrong,
        None,
        &[Target {
            python: "3.13.0".parse().unwrap(),
            ..target(AMD64)
        }],
    )
    .unwrap_err();
    assert_eq!(problem.message.lines().count(), 3, "{}", problem.message);
    // A lock would change nothing.
    let direct = poetry("b = {git = \"x\"}");
    let problem = plan(&direct, None, &[target(AMD64)]).unwrap_err();
    assert_eq!(
        problem.help.as_deref(),
        Some("publish b to a package index and depend on a version of it")
    );
}

const UV_PYPROJECT: &str = "[project]\nname = \"source-x\"\nversion = \"1\"\nrequires-python = \">=3.10,<3.13\"\n\
    dependencies = [\"a[y]>=1,<2\", \"c; sys_platform == 'linux'\"]\n\
    [project.optional-dependencies]\nmore = [\"never\"]\n[dependency-groups]\ndev = [\"never\"]\n";

fn uv_lock(packages: &str) -> Lock {
    lock_with(packages, &[])
}

/// The same with some texts replaced.
fn lock_with(packages: &str, changes: &[(&str, &str)]) -> Lock {
    let text = format!(
        r#"version = 1
revision = 3
requires-python = ">=3.10, <3.13"
[[package]]
name = "source-x"
version = "1"
source = {{ editable = "." }}
dependencies = [{{ name = "a", extra = ["y"] }}, {{ name = "c", version = "1", source = {{ registry = "r" }}, marker = "python_full_version < '3.11'" }}, {{ name = "c", version = "2", source = {{ registry = "r" }}, marker = "python_full_version >= '3.11'" }}]
[package.optional-dependencies]
more = [{{ name = "never" }}]
[package.dev-dependencies]
dev = [{{ name = "never" }}]
[package.metadata]
requires-dist = [{{ name = "a", extras = ["y"], specifier = ">=1,<2" }}, {{ name = "c", marker = "sys_platform == 'linux'" }}, {{ name = "never", marker = "extra == 'more'" }}]
{packages}
"#
    );
    let changed = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    Lock::parse_uv(&changes.iter().fold(text, changed)).unwrap()
}

fn uv_package(name: &str, version: &str, rest: &str) -> String {
    let file = format!("{name}-{version}-py3-none-any.whl");
    format!(
        "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = {{ registry = \"r\" }}\nwheels = [{{ url = \"r/{file}\", hash = \"{}\" }}]\n{rest}\n",
        hash(&file)
    )
}

fn uv_packages() -> String {
    [
        uv_package(
            "a",
            "1",
            "[package.optional-dependencies]\ny = [{ name = \"b\" }]\nz = [{ name = \"never\" }]",
        ),
        uv_package("b", "1", ""),
        uv_package("c", "1", ""),
        uv_package("c", "2", ""),
        uv_package("never", "1", ""),
    ]
    .concat()
}

#[test]
fn uv_locks_resolve_from_the_root_package() {
    let pyproject = Pyproject::parse(UV_PYPROJECT).unwrap();
    let lines = resolved(&pyproject, &uv_lock(&uv_packages()), AMD64).unwrap();
    assert_eq!(
        lines,
        [
            "a==1 wheel a-1-py3-none-any.whl",
            "b==1 wheel b-1-py3-none-any.whl",
            "c==2 wheel c-2-py3-none-any.whl"
        ]
    );
}

#[test]
fn uv_locks_out_of_date_missing_or_direct_are_refused() {
    let lock = uv_lock(&uv_packages());
    for (from, to, message) in [
        (
            "a[y]>=1",
            "a[y]>=1.1",
            "a[y]>=1.1,<2 is not what it was made from",
        ),
        ("a[y]", "a[z]", "a[z]>=1,<2 is not what it was made from"),
        (
            "== 'linux'",
            "== 'win32'",
            "c ; sys_platform == 'win32' is not what it was made from",
        ),
        (
            ", \"c; sys_platform == 'linux'\"",
            "",
            "c ; sys_platform == 'linux' is no longer asked for",
        ),
        ("\"source-x\"", "\"source-y\"", "it was made for source-x"),
    ] {
        let pyproject = Pyproject::parse(&UV_PYPROJECT.replace(from, to)).unwrap();
        let error = resolved(&pyproject, &lock, AMD64).unwrap_err();
        assert_eq!(error, format!("out of date with pyproject.toml: {message}"));
    }
    // Written otherwise, but the same; or where nobody but the build backend reads it.
    for (from, to) in [
        (
            "dependencies = [\"a[y]>=1,<2\", \"c; sys_platform == 'linux'\"]",
            "dynamic = [\"dependencies\"]",
        ),
        (">=1,<2", "<2, >=1"),
        ("\"source-x\"", "\"Source_X\""),
        ("a[y]", "A [Y]"),
    ] {
        let pyproject = Pyproject::parse(&UV_PYPROJECT.replace(from, to)).unwrap();
        assert!(resolved(&pyproject, &lock, AMD64).is_ok(), "{to}");
    }
    // What a source replaces is recorded by its name and where it comes from.
    let sourced = lock_with(
        &uv_packages().replacen("{ registry = \"r\" }", "{ git = \"r\" }", 1),
        &[(
            r#"{ name = "a", extras = ["y"], specifier = ">=1,<2" }"#,
            r#"{ name = "a", extras = ["y"], marker = "sys_platform == 'linux'", git = "r" }, { name = "a", extras = ["y"], specifier = ">=1,<2", marker = "sys_platform != 'linux'" }"#,
        )],
    );
    let source = "\n[tool.uv.sources]\nA = [{git = \"r\", marker = \"sys_platform == 'linux'\"}]\n";
    let of_group = "\n[tool.uv.sources]\na = {path = \"../a\", group = \"dev\"}\n";
    let of_group = Pyproject::parse(&format!("{UV_PYPROJECT}{of_group}")).unwrap();
    assert!(resolved(&of_group, &lock, AMD64).is_ok());
    let with_source = Pyproject::parse(&format!("{UV_PYPROJECT}{source}")).unwrap();
    let without = Pyproject::parse(UV_PYPROJECT).unwrap();
    for (pyproject, lock, expected) in [
        (&with_source, &sourced, "a comes from git"),
        (
            &with_source,
            &lock,
            "out of date with pyproject.toml: a[y]>=1,<2 is not",
        ),
        (
            &without,
            &sourced,
            "out of date with pyproject.toml: a[y]>=1,<2 is not",
        ),
    ] {
        let error = resolved(pyproject, lock, AMD64).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let pyproject = Pyproject::parse(UV_PYPROJECT).unwrap();
    let git = uv_packages().replacen("{ registry = \"r\" }", "{ git = \"r\" }", 1);
    assert!(
        resolved(&pyproject, &uv_lock(&git), AMD64)
            .unwrap_err()
            .starts_with("a comes from git")
    );
    let missing = uv_package("a", "1", "");
    let error = resolved(&pyproject, &uv_lock(&missing), AMD64).unwrap_err();
    assert_eq!(error, "c, which source-x needs, is not in it");
    let several = uv_packages().replace(
        "y = [{ name = \"b\" }]",
        "y = [{ name = \"b\" }, { name = \"d\" }]",
    ) + &uv_package("d", "1", "")
        + &uv_package("d", "2", "");
    let error = resolved(&pyproject, &uv_lock(&several), ARM64).unwrap_err();
    assert_eq!(error, "d 1 and 2 all match on linux/arm64");
}
