//! `check --online` against the sandbox's registry, with images that docker pushed there.

use super::{docker, elsewhere, fresh, xtask};
use crate::monorepo::{CONNECTORS, Monorepo, metadata};

const ONLINE: &str = "base-image-exists,version-not-below-released";

#[test]
fn base_images_and_versions_are_looked_up_in_a_real_registry() {
    let _turn = elsewhere();
    xtask(&["sandbox", "up"]).code(0);
    let status = xtask(&["sandbox", "status", "--json"]).code(0).json();
    let registry = status["registry"].as_str().unwrap();
    let base = status["stand_ins"]["docker.io/airbyte/source-declarative-manifest"]
        .as_str()
        .unwrap();
    let (_, digest) = base.split_once('@').unwrap();
    let image = fresh("airbyte/source-online-");
    for tag in ["1.2.3", "1.10.0", "2.0.0-rc.1", "latest"] {
        let pushed = format!("{registry}/{image}:{tag}");
        docker(&["pull", "--quiet", base]).code(0);
        docker(&["tag", base, &pushed]).code(0);
        docker(&["push", "--quiet", &pushed]).code(0);
        docker(&["rmi", &pushed]).code(0);
    }
    let released = |name: &str, version: &str, digest: &str| {
        let base = format!("airbyte/source-declarative-manifest:sandbox@{digest}");
        let old = "airbyte/base:1.0.0@sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916";
        metadata(name)
            .replace(old, &base)
            .replace(&format!("airbyte/{name}"), &image)
            .replace("1.2.3", version)
    };
    let nowhere = format!("sha256:{}", "0".repeat(64));
    let repo = [
        ("source-below", released("source-below", "1.9.0", digest)),
        (
            "source-based-on-nothing",
            released("source-based-on-nothing", "1.11.0", &nowhere),
        ),
        (
            "source-candidate",
            released("source-candidate", "1.3.0-rc.1", digest),
        ),
        ("source-same", released("source-same", "1.10.0", digest)),
        (
            "source-unreleased",
            metadata("source-unreleased")
                .replace(
                    "airbyte/base:1.0.0",
                    "airbyte/source-declarative-manifest:sandbox",
                )
                .replace(
                    "sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916",
                    digest,
                ),
        ),
    ]
    .into_iter()
    .fold(Monorepo::new(), |repo, (name, text)| {
        repo.file(&format!("{CONNECTORS}/{name}/metadata.yaml"), &text)
    });
    let mirrors = format!("mirrors=docker.io/airbyte={registry}/airbyte");
    let published = format!("registry={registry}/airbyte");
    let check = |flags: &[&str]| {
        let settings = [
            "--config",
            &mirrors,
            "--config",
            &published,
            "connector",
            "check",
        ];
        repo.xtask()
            .run(&[&settings[..], flags, &["--output-format", "json"]].concat())
    };
    let document = check(&["--only", ONLINE]).code(1).json();
    let findings = document["findings"].as_array().unwrap().iter();
    let found: Vec<String> = findings
        .map(|one| {
            format!(
                "{} {}",
                one["connector"].as_str().unwrap(),
                one["message"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            format!(
                "source-based-on-nothing connectorBuildOptions.baseImage: docker.io/airbyte/source-declarative-manifest:sandbox@{nowhere} is not on its registry"
            ),
            "source-below dockerImageTag: 1.9.0 is below 1.10.0, which is released".to_owned(),
        ]
    );
}
