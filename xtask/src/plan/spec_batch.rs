//! Which images' `spec` is tried in a container of its own, in one with others of the same base, or left out.
//!
//! Manifest-only images of one base differ in one layer and in labels. Importing the CDK is nearly all that their spec
//! costs, so one container of the base image lays out one layer after another (tools/spec_batch.py). What that
//! does not show, that the base's own start works, the first image shows in a container of its own.

use std::collections::BTreeMap;

use oci_spec::image::{Config, ImageConfiguration, ImageManifest};
use serde_json::Value;

use super::{
    assembly::{Method, On, Settings},
    build::{BuildPlan, Components},
};
use crate::model::{
    connector::Language,
    platform::Platform,
    run_as::RunAs,
    shard::fnv1a,
    spec_runs::{SpecRuns, Trial},
};

/// Of images without code of their own one in so many is tried on an emulated platform.
const SAMPLE: u64 = 16;
/// So many of a base are tried everywhere: importing the CDK costs more than they do.
const FEW: usize = 8;
/// A batch of fewer costs as much as a container each.
const BATCH: usize = 2;

/// Whether an image is its base and one layer, as others are.
pub fn shares(plan: &BuildPlan) -> bool {
    plan.language == Language::ManifestOnly && plan.method == Method::Assemble
}

/// Decides for images that are made in one run.
pub fn share<'p>(plans: impl IntoIterator<Item = &'p mut BuildPlan>, runs: SpecRuns) {
    let mut groups: BTreeMap<(String, Platform), Vec<&mut Trial>> = BTreeMap::new();
    for plan in plans {
        if !shares(plan) {
            continue;
        }
        // An image that nothing runs natively has no other trial.
        let native = plan.specs.iter().any(|check| !check.emulated);
        let tried = plan.components == Components::Own || is_sample(plan) || !native;
        for check in &mut plan.specs {
            let group = groups
                .entry((plan.base.used.to_string(), check.platform))
                .or_default();
            let left_out = runs == SpecRuns::Sample && check.emulated && !tried;
            check.trial = match left_out && group.len() >= FEW {
                true => Trial::LeftOut,
                false => Trial::Batch,
            };
            group.push(&mut check.trial);
        }
    }
    for group in groups.into_values() {
        let mut batch: Vec<_> = group
            .into_iter()
            .filter(|trial| **trial == Trial::Batch)
            .collect();
        let alone = match batch.len() > BATCH {
            true => 1,
            false => batch.len(),
        };
        batch
            .iter_mut()
            .take(alone)
            .for_each(|trial| **trial = Trial::Alone);
    }
}

/// By name and version, so that each release draws another sample.
fn is_sample(plan: &BuildPlan) -> bool {
    let label = |wanted: &str| plan.labels.iter().find(|(name, _)| name == wanted);
    let version = label("io.airbyte.version").map_or("", |(_, version)| version);
    fnv1a(format!("{}:{version}", plan.connector).as_bytes()).is_multiple_of(SAMPLE)
}

/// How an image runs, as its own documents say; an error when it is not what all of its batch are: the base's layers
/// below one more, and the base's configuration with these settings.
pub fn run_as(
    base: On<'_>,
    settings: &Settings,
    manifest: &ImageManifest,
    configuration: &ImageConfiguration,
) -> Result<RunAs, String> {
    let below = base.manifest.layers();
    let digests = |manifest: &ImageManifest| -> Vec<String> {
        manifest
            .layers()
            .iter()
            .map(|layer| layer.digest().to_string())
            .collect()
    };
    let (of_base, layers) = (digests(base.manifest), digests(manifest));
    if layers.len() != below.len() + 1 || !layers.starts_with(&of_base) {
        return Err("it is not its base image and one layer".to_owned());
    }
    let config = configuration.config().clone().unwrap_or_default();
    let run_as = RunAs {
        user: config.user().clone().unwrap_or_default(),
        work_directory: config.working_dir().clone().unwrap_or_default(),
        entry_point: config.entrypoint().clone().unwrap_or_default(),
        variables: config.env().clone().unwrap_or_default(),
    };
    for (what, same) in [
        ("user", run_as.user == settings.user),
        (
            "work directory",
            run_as.work_directory == settings.work_directory,
        ),
        ("entry point", run_as.entry_point == settings.entry_point),
        ("command", config.cmd().is_none()),
        (
            "environment",
            environment(&config) == expected(base.configuration, settings),
        ),
    ] {
        if !same {
            return Err(format!("its {what} is another one than planned"));
        }
    }
    Ok(run_as)
}

fn environment(config: &Config) -> BTreeMap<String, String> {
    let lines = config.env().iter().flatten();
    lines.filter_map(|line| pair(line)).collect()
}

fn expected(base: &Value, settings: &Settings) -> BTreeMap<String, String> {
    let lines = base["config"]["Env"].as_array().into_iter().flatten();
    let mut expected: BTreeMap<String, String> =
        lines.filter_map(|line| pair(line.as_str()?)).collect();
    expected.extend(settings.variables.iter().cloned());
    expected
}

fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            attestation::Attestations, builder::Builder, config::Config, connector::Connector,
            metadata::Metadata, target::User,
        },
        plan::{
            assembly::{Dockerfile, NamedLayer, image},
            build::Inputs,
        },
    };
    use serde_json::json;

    fn plan(name: &str, base: u8, components: Components, builder: &Builder) -> BuildPlan {
        let text = format!(
            "data: {{name: N, connectorType: source, definitionId: d, dockerRepository: airbyte/{name}, dockerImageTag: 1.0.0, \
             license: MIT, documentationUrl: u, connectorBuildOptions: {{baseImage: 'docker.io/airbyte/base:1@sha256:{}'}}}}",
            base.to_string().repeat(64)
        );
        let connector = Connector {
            name: name.parse().unwrap(),
            directory: name.into(),
            language: Some(Language::ManifestOnly),
            metadata: Metadata::parse(&text).unwrap(),
        };
        let inputs = Inputs {
            config: &Config::default(),
            platforms: &Platform::ALL,
            tag: &"dev".parse().unwrap(),
            builder,
            attestations: Attestations::NONE,
            dockerfile: Dockerfile::Ours,
            native: Some(Platform::LinuxAmd64),
            revision: None,
            layout: "layout".into(),
            root: "/repository".into(),
            docker_images: "/images".into(),
            proxies: Vec::new(),
            python: None,
            user: User::Airbyte,
            components,
            ca: None,
        };
        BuildPlan::new(&connector, inputs).unwrap()
    }

    /// What each plan does on the native and on the emulated platform.
    fn shared(mut plans: Vec<BuildPlan>, runs: SpecRuns) -> Vec<[Trial; 2]> {
        share(&mut plans, runs);
        let trials = |plan: &BuildPlan| [plan.specs[0].trial, plan.specs[1].trial];
        plans.iter().map(trials).collect()
    }

    #[test]
    fn every_base_is_started_everywhere_and_every_image_natively() {
        use Trial::{Alone, Batch};
        let (auto, docker) = (Builder::Auto, Builder::Docker);
        let plain = |name: &str, base| plan(name, base, Components::None, &auto);
        let with_code = |name: &str, base| plan(name, base, Components::Own, &auto);
        for (plans, runs, expected) in [
            (
                vec![plain("source-a", 1)],
                SpecRuns::Sample,
                vec![[Alone, Alone]],
            ),
            (
                vec![
                    plain("source-a", 1),
                    plain("source-b", 1),
                    plain("source-c", 2),
                ],
                SpecRuns::Sample,
                vec![[Alone, Alone]; 3],
            ),
            (
                vec![
                    plain("source-a", 1),
                    with_code("source-b", 1),
                    plain("source-c", 1),
                    with_code("source-d", 1),
                ],
                SpecRuns::Sample,
                vec![
                    [Alone, Alone],
                    [Batch, Batch],
                    [Batch, Batch],
                    [Batch, Batch],
                ],
            ),
            (
                vec![
                    plain("source-a", 1),
                    plain("source-b", 1),
                    plain("source-c", 1),
                ],
                SpecRuns::All,
                vec![[Alone, Alone], [Batch, Batch], [Batch, Batch]],
            ),
            (
                (0..3)
                    .map(|number| plan(&format!("source-{number}"), 1, Components::None, &docker))
                    .collect(),
                SpecRuns::Sample,
                vec![[Alone, Alone]; 3],
            ),
        ] {
            let names: Vec<String> = plans
                .iter()
                .map(|plan| plan.connector.to_string())
                .collect();
            assert_eq!(shared(plans, runs), expected, "{names:?}");
        }
    }

    #[test]
    fn a_sample_of_the_rest_is_emulated() {
        let plans = (0..200).map(|number| {
            plan(
                &format!("source-{number}"),
                1,
                Components::None,
                &Builder::Auto,
            )
        });
        let trials = shared(plans.collect(), SpecRuns::Sample);
        assert!(
            trials[1..]
                .iter()
                .all(|[native, _]| *native == Trial::Batch)
        );
        let few = &trials[..FEW];
        assert!(few.iter().all(|[_, emulated]| *emulated != Trial::LeftOut));
        let emulated = trials
            .iter()
            .filter(|[_, emulated]| *emulated != Trial::LeftOut)
            .count();
        assert!((5..30).contains(&emulated), "{emulated}");
    }

    #[test]
    fn where_every_platform_is_emulated_none_is_left_out() {
        let name = |number: usize| format!("source-{number}");
        let plans = (0..40).map(|number| plan(&name(number), 1, Components::None, &Builder::Auto));
        let mut plans: Vec<BuildPlan> = plans.collect();
        for plan in &mut plans {
            plan.specs.retain(|check| check.emulated);
        }
        share(&mut plans, SpecRuns::Sample);
        let trials = plans.iter().flat_map(|plan| &plan.specs);
        assert_eq!(
            trials.filter(|check| check.trial != Trial::LeftOut).count(),
            40
        );
    }

    #[test]
    fn an_image_that_differs_in_more_than_its_layer_is_found() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let layers = |letters: &[&str]| -> ImageManifest {
            let layer = |letter: &&str| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(letter), "size": 1});
            let layers: Vec<Value> = letters.iter().map(layer).collect();
            serde_json::from_value(json!({"schemaVersion": 2, "config": {"mediaType": "c", "digest": digest("c"), "size": 1}, "layers": layers})).unwrap()
        };
        let (below, other) = (layers(&["a", "b"]), layers(&["a", "d"]));
        let of_base = json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest("a"), digest("b")]}});
        let settings = plan("source-a", 1, Components::None, &Builder::Auto).settings();
        let top = NamedLayer {
            layer: serde_json::from_value(
                json!({"digest": digest("e"), "diff-id": digest("f"), "size": 1}),
            )
            .unwrap(),
            holds: "files".into(),
            recipe: None,
        };
        let made = |base: &ImageManifest, settings: &Settings| {
            let on = On {
                manifest: base,
                configuration: &of_base,
            };
            let made = image(on, settings, std::slice::from_ref(&top)).unwrap();
            let manifest: ImageManifest = serde_json::from_slice(&made.manifest.bytes).unwrap();
            let configuration: ImageConfiguration =
                serde_json::from_slice(&made.configuration.bytes).unwrap();
            (manifest, configuration)
        };
        let on = On {
            manifest: &below,
            configuration: &of_base,
        };
        let judged = |(manifest, configuration): (ImageManifest, ImageConfiguration)| {
            run_as(on, &settings, &manifest, &configuration)
        };
        let right = judged(made(&below, &settings)).unwrap();
        assert_eq!(
            right.entry_point,
            ["python", "/airbyte/integration_code/main.py"]
        );
        assert!(right.variables.contains(&"PATH=/bin".to_owned()));
        assert_eq!(
            judged(made(&other, &settings)).unwrap_err(),
            "it is not its base image and one layer"
        );
        let entry = Settings {
            entry_point: vec!["sh".into()],
            ..settings.clone()
        };
        let user = Settings {
            user: "root",
            ..settings.clone()
        };
        let place = Settings {
            work_directory: "/",
            ..settings.clone()
        };
        let variable = Settings {
            variables: vec![("A".into(), "2".into())],
            ..settings.clone()
        };
        for (wrong, what) in [
            (entry, "entry point"),
            (user, "user"),
            (place, "work directory"),
            (variable, "environment"),
        ] {
            assert_eq!(
                judged(made(&below, &wrong)).unwrap_err(),
                format!("its {what} is another one than planned")
            );
        }
    }
}
