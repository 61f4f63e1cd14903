//! The host's certificates and proxies reach a build, and nothing of them stays in an image.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Cursor, Read},
    path::Path,
};

use memchr::memmem;
use serde_json::Value;

use super::{
    docker, elsewhere,
    wheels::{Sandbox, on_base, specs},
};
use crate::monorepo::{CONNECTORS, Monorepo};

const CERTIFICATES: &str = "marker-of-the-hosts-certificates";
const PROXY: &str = "http://marker-of-the-hosts-proxy:password@127.0.0.1:1";

/// Fails unless it can verify peers by the host's certificates, through the host's proxy. It is in the image itself, so
/// it does not spell the markers out.
const SCRIPT: &str = r#"#!/usr/local/bin/python3
import os, ssl
assert len(ssl.create_default_context().get_ca_certs()) > 10
assert "-".join(["marker", "of", "the", "hosts", "certificates"]) in open(os.environ["PIP_CERT"]).read()
assert "-".join(["marker", "of", "the", "hosts", "proxy"]) in os.environ["FTP_PROXY"]
open("/usr/local/lib/prepared", "w").write("prepared on " + os.uname().machine)
"#;

const MAIN: &str = r#"import json, pathlib
prepared = pathlib.Path("/usr/local/lib/prepared")
schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
          "title": prepared.read_text() if prepared.exists() else "not prepared"}
print(json.dumps({"type": "SPEC", "spec": {"connectionSpecification": schema}}))
"#;

fn connector() -> Monorepo {
    let directory = format!("{CONNECTORS}/source-own");
    let pyproject = "[build-system]\nrequires = [\"poetry-core>=2.0\"]\nbuild-backend = \"poetry.core.masonry.api\"\n\
        [project]\nname = \"source-own\"\nversion = \"1.2.3\"\nrequires-python = \">=3.11,<3.12\"\n\
        [tool.poetry]\npackages = [{ include = \"source_own\" }]\n";
    let lock = "version = 1\nrequires-python = \">=3.11, <3.12\"\n\
        [[package]]\nname = \"source-own\"\nversion = \"1.2.3\"\nsource = { editable = \".\" }\n";
    let files = [
        ("metadata.yaml", on_base("source-own").as_str()),
        ("pyproject.toml", pyproject),
        ("uv.lock", lock),
        ("source_own/__init__.py", ""),
        ("install.py", SCRIPT),
        ("main.py", MAIN),
    ]
    .map(|(name, text)| (format!("{directory}/{name}"), text.to_owned()));
    let repo = Monorepo::new();
    files
        .iter()
        .fold(repo, |repo, (path, text)| repo.file(path, text))
}

#[test]
fn nothing_of_the_hosts_certificates_and_proxies_stays_in_an_image() {
    let _turn = elsewhere();
    let sandbox = Sandbox::up();
    let repo = connector();
    let certificates = std::env::var("SSL_CERT_FILE")
        .unwrap_or_else(|_| "/etc/ssl/certs/ca-certificates.crt".to_owned());
    let certificates = fs::read_to_string(certificates).unwrap();
    let marked = repo.scratch().join("certificates.pem");
    fs::write(&marked, format!("{certificates}\n# {CERTIFICATES}\n")).unwrap();
    let script = ("XTASK_PREREQUISITES", "source-own=install.py");
    let host = [
        ("SSL_CERT_FILE", marked.to_str().unwrap()),
        ("FTP_PROXY", PROXY),
    ];
    for (variables, machines) in [
        (
            &[host[0], host[1], script][..],
            ["prepared on x86_64", "prepared on aarch64"],
        ),
        (&host, ["not prepared"; 2]),
    ] {
        let build = [
            "connector",
            "build",
            "source-own",
            "--platform",
            "all",
            "--json",
        ];
        let built = sandbox.on(&repo, variables, &build).code(0).json();
        for (spec, machine) in specs(&built[0]).iter().zip(machines) {
            assert!(spec.contains(machine), "{machine}: {spec}");
        }
        let saved = repo.scratch().join("image.tar");
        let image = built[0]["image"].as_str().unwrap();
        docker(&["image", "save", "--output", saved.to_str().unwrap(), image]).code(0);
        assert_eq!(
            look_through(&saved),
            ["amd64".to_owned(), "arm64".to_owned()].into(),
            "both platforms were looked through"
        );
    }
}

/// Every byte of a saved image: configurations with their history, manifests, layers. Gives the architectures seen.
fn look_through(saved: &Path) -> BTreeSet<String> {
    let mut architectures = BTreeSet::new();
    let mut archive = tar::Archive::new(File::open(saved).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let packed = std::mem::take(&mut bytes);
            let mut layer = flate2::read::GzDecoder::new(packed.as_slice());
            layer.read_to_end(&mut bytes).unwrap();
            for file in tar::Archive::new(Cursor::new(&bytes)).entries().unwrap() {
                let file = file.unwrap().path().unwrap().display().to_string();
                let left = ["run/secrets", "opt/connector", "tmp/prerequisites"];
                assert!(!left.iter().any(|trace| file.contains(trace)), "{file}");
            }
        }
        for trace in [CERTIFICATES, "marker-of-the-hosts-proxy"] {
            assert!(
                memmem::find(&bytes, trace.as_bytes()).is_none(),
                "{trace} in {path}"
            );
        }
        if let Ok(document) = serde_json::from_slice::<Value>(&bytes) {
            architectures.extend(document["architecture"].as_str().map(str::to_owned));
        }
    }
    architectures
}
