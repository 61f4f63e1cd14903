//! Images assembled without a builder are those that docker builds.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::{docker, here, sandboxed};

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
    let built = sandboxed(&[
        "connector",
        "build",
        connector,
        "--builder",
        builder,
        "--tag",
        builder,
        "--json",
    ])
    .code(0)
    .json()[0]
        .clone();
    let image = built["image"].as_str().unwrap();
    let alone = [
        "run",
        "--rm",
        "--network",
        "none",
        "--user",
        "0",
        "--entrypoint",
        "python",
    ];
    let files = docker(&[&alone[..], &[image, "-c", LIST]].concat()).code(0);
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
