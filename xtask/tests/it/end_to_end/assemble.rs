//! Images assembled without a builder are those that docker builds.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::{
    base_bump::newer,
    docker, elsewhere, here, sandboxed,
    scan::{self, Vulnerable},
};
use crate::monorepo::Finished;

/// Everything that installing and copying put into an image, one line a file: kind, mode, owner, content, path. Byte-code
/// is passed over, unless it is of no file.
const LIST: &str = r#"
import hashlib, os, stat, sys
for top in ("/airbyte", "/usr/local", "/entrypoint.sh"):
    found = [top] if os.path.lexists(top) else []
    for directory, directories, files in os.walk(top):
        found += [os.path.join(directory, name) for name in directories + files]
    for path in sorted(found):
        if "__pycache__" in path:
            source = path.replace("__pycache__/", "").replace(f".{sys.implementation.cache_tag}.pyc", ".py")
            if not os.path.exists(source):
                print("byte-code of nothing", path)
            continue
        status = os.lstat(path)
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(open(path, "rb").read()).hexdigest()
        print(stat.filemode(status.st_mode), status.st_uid, status.st_gid, content, path)
"#;

/// What is compared of one connector's image.
#[derive(Debug, PartialEq)]
struct Seen {
    files: Vec<String>,
    configuration: Value,
    specs: BTreeMap<String, String>,
}

fn build(connector: &str, builder: &str) -> (Seen, String) {
    let flags = ["--builder", builder, "--tag", builder, "--json"];
    let built = sandboxed(&[&["connector", "build", connector], &flags[..]].concat());
    let built = built.code(0).json()[0].clone();
    let image = built["image"].as_str().unwrap();
    let files = python(image, LIST);
    let inspected = docker(&["image", "inspect", "--format", "{{json .Config}}", image]);
    let mut configuration = inspected.code(0).json();
    // A relic that buildx writes into every configuration.
    configuration.as_object_mut().unwrap().remove("ArgsEscaped");
    let specs = built["specs"].as_array().unwrap().iter().map(|spec| {
        let text = fs::read_to_string(spec["path"].as_str().unwrap()).unwrap();
        (spec["platform"].as_str().unwrap().to_owned(), text)
    });
    let seen = Seen {
        files: files.stdout.lines().map(str::to_owned).collect(),
        configuration,
        specs: specs.collect(),
    };
    (seen, built["digest"].as_str().unwrap().to_owned())
}

/// What the Python of an image prints.
fn python(image: &str, script: &str) -> Finished {
    let alone = ["run", "--rm", "--network", "none", "--user", "0"];
    docker(&[&alone[..], &["--entrypoint", "python", image, "-c", script]].concat()).code(0)
}

#[test]
fn assembled_images_are_those_that_docker_builds() {
    let _turn = here();
    for connector in [
        "source-faker",
        "destination-jsonl",
        "source-pokeapi",
        "source-open-meteo",
    ] {
        let (assembled, _) = build(connector, "assemble");
        let (built, _) = build(connector, "docker");
        for (ours, theirs) in assembled.files.iter().zip(&built.files) {
            assert_eq!(ours, theirs, "{connector}");
        }
        assert_eq!(assembled, built, "{connector}");
        assert!(assembled.files.len() > 10 && assembled.specs.len() == 1);
        assert_eq!(assembled.configuration["User"], json!("airbyte"));
    }
}

/// Byte-code and layers are made anew from the wheels.
#[test]
fn assembling_is_repeatable() {
    let _turn = here();
    for connector in ["source-faker", "source-pokeapi"] {
        let (_, first) = build(connector, "assemble");
        for known in ["bases", "layers"] {
            let store = super::root().join("target/xtask/store");
            fs::remove_dir_all(store.join(known)).unwrap();
        }
        fs::create_dir_all(super::root().join("target/xtask/store/layers")).unwrap();
        let (_, second) = build(connector, "assemble");
        assert_eq!(first, second, "{connector}");
    }
}

/// As an installer would: what the base has in the same version stays, and so does what shares a directory with a package
/// that goes.
#[test]
fn a_package_of_the_base_image_makes_way_for_another_version() {
    const BASE: &str = r#"
RUN <<EOT
set -eu
cd /usr/local/lib/python3.11/site-packages
package() {
    info="$1-$2.dist-info"
    mkdir -p "$info"
    printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' "$1" "$2" > "$info/METADATA"
    shift 2
    for file in "$@"; do mkdir -p "$(dirname "$file")" && touch "$file"; done
    printf '%s,,\n' "$@" "$info/METADATA" "$info/RECORD" > "$info/RECORD"
}
package requests 2.0 requests/old/gone.py shared/of_requests.py ../../../bin/old-script
package idna 3.7 idna/of_the_base.py
package other 1.0 shared/of_other.py
python -m compileall -q requests
EOT
"#;
    const LOOK: &str = r#"
import importlib.metadata, os
os.chdir("/usr/local/lib/python3.11/site-packages")
print(importlib.metadata.version("requests"), importlib.metadata.version("other"))
for path in ["requests/old", "requests-2.0.dist-info", "shared/of_requests.py", "/usr/local/bin/old-script",
             "requests/__init__.py", "idna/of_the_base.py", "shared/of_other.py"]:
    print(os.path.exists(path), path)
"#;
    let _turn = elsewhere();
    let sandbox = Vulnerable::new();
    let base = sandbox.stand_in("airbyte/python-connector-base");
    let base = newer(&base, "with-packages", BASE);
    let stand_in = format!("docker.io/airbyte/python-connector-base={base}");
    for builder in ["assemble", "docker"] {
        let build = |more: &[&str]| {
            let mut command = sandbox.command();
            command.env("XTASK_STAND_INS", &stand_in);
            command.args([
                "connector",
                "build",
                "source-vulnerable",
                "--builder",
                builder,
            ]);
            command.args(["--platform", "linux/amd64"]).args(more);
            Finished::from(command.output().unwrap()).code(0)
        };
        let built = build(&["--json"]).json()[0].clone();
        let seen = python(built["image"].as_str().unwrap(), LOOK);
        assert_eq!(
            seen.stdout,
            "2.31.0 1.0\n\
             False requests/old\nFalse requests-2.0.dist-info\nFalse shared/of_requests.py\n\
             False /usr/local/bin/old-script\n\
             True requests/__init__.py\nTrue idna/of_the_base.py\nTrue shared/of_other.py\n",
            "{builder}"
        );
        let plan = build(&["--dry-run"]);
        let said = "  replaces requests 2.0 of the base image\n";
        assert!(plan.stdout.contains(said), "{}", plan.stdout);
    }
    let flags = ["--platform", "linux/amd64", "--output-format", "json"];
    let scan = sandbox.scan_with(&flags, |command| command.env("XTASK_STAND_INS", &stand_in));
    let found = scan::first(&scan.code(0));
    assert_eq!(scan::exposures(&found), scan::BOTH_HIGH, "of 2.31.0 alone");
}
