use super::{
    latest::{LatestMove, LatestNow},
    request::{Asked, targets},
    *,
};
use crate::model::{
    config::Config,
    connector::{Connector, Language},
    metadata::Metadata,
    problem::Problem,
    release::{Latest, PreReleaseTag, ReleaseType, Signing},
};

fn connector(name: &str, version: &str, language: Option<Language>) -> Connector {
    let text = format!(
        "data: {{name: N, connectorType: source, definitionId: d, dockerRepository: airbyte/{name}, dockerImageTag: {version}, \
         license: MIT, documentationUrl: u, connectorBuildOptions: {{baseImage: 'docker.io/airbyte/base:1@sha256:{}'}}}}",
        "0".repeat(64)
    );
    Connector {
        name: name.parse().unwrap(),
        directory: name.into(),
        language,
        metadata: Metadata::parse(&text).unwrap(),
    }
}

fn manifest_only(name: &str, version: &str) -> Connector {
    connector(name, version, Some(Language::ManifestOnly))
}

const ASKED: Asked<'_> = Asked {
    tag_override: "",
    mode: Mode::Real,
    existing: Existing::Keep,
    release: ReleaseType::Main,
    commit: Some("0123456789abcdef0123456789abcdef01234567"),
};

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn messages(problems: Vec<Problem>) -> Vec<String> {
    problems
        .into_iter()
        .map(|problem| problem.message)
        .collect()
}

fn there(missing: &[Platform]) -> Found {
    let is_missing = |platform: &Platform| missing.contains(platform);
    Found::There {
        digest: digest("there"),
        platforms: Platform::ALL
            .into_iter()
            .filter(|p| !is_missing(p))
            .collect(),
        missing: missing.to_vec(),
    }
}

#[test]
fn the_tag_is_the_version_a_pre_releases_or_the_one_given() {
    for (version, release, given, expected) in [
        ("1.2.3", ReleaseType::Main, "", "1.2.3"),
        ("1.2.3-rc.4", ReleaseType::Main, "", "1.2.3-rc.4"),
        ("1.2.3", ReleaseType::PreRelease, "", "1.2.3-dev.0123456789"),
        (
            "1.2.3-rc.4",
            ReleaseType::PreRelease,
            "",
            "1.2.3-dev.0123456789",
        ),
        (
            "1.2.3-rc.x",
            ReleaseType::PreRelease,
            "",
            "1.2.3-rc.x-dev.0123456789",
        ),
        (
            "1.2.3-arch.1",
            ReleaseType::PreRelease,
            "",
            "1.2.3-arch.1-dev.0123456789",
        ),
        ("1.2.3", ReleaseType::Main, "v1", "v1"),
        ("1.2.3+build", ReleaseType::Main, "v1", "v1"),
    ] {
        let asked = Asked {
            tag_override: given,
            release,
            ..ASKED
        };
        let made = targets(
            &asked,
            &[manifest_only("source-a", version)],
            &Config::default(),
        );
        let image = &made.unwrap()[0].image;
        assert_eq!(
            image.to_string(),
            format!("docker.io/airbyte/source-a:{expected}")
        );
    }
}

#[test]
fn a_preview_stands_in_place_of_any_pre_release() {
    let config = Config {
        pre_release: PreReleaseTag::Preview,
        ..Config::default()
    };
    for version in ["1.2.3", "1.2.3-rc.4", "1.2.3-preview.876a49c"] {
        let asked = Asked {
            release: ReleaseType::PreRelease,
            ..ASKED
        };
        let made = targets(&asked, &[manifest_only("source-a", version)], &config).unwrap();
        let tag = made[0].image.tag.as_ref().unwrap().to_string();
        assert_eq!(tag, "1.2.3-preview.0123456", "{version}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_all_at_once() {
    let config = Config {
        registry: "https://docker.io/airbyte".into(),
        ..Config::default()
    };
    let asked = Asked {
        tag_override: "-v1",
        mode: Mode::DryRun,
        existing: Existing::Replace,
        release: ReleaseType::PreRelease,
        commit: None,
    };
    let connectors = [
        connector("source-java", "1.0.0", Some(Language::Java)),
        manifest_only("source-a", "1.0.0"),
    ];
    let found = messages(targets(&asked, &connectors, &config).unwrap_err());
    for (place, start) in [
        "--force-publish overwrites images, a dry run writes none",
        "--tag-override: `-v1` is not a valid image tag",
        "registry: `https://docker.io/airbyte` is not of the form HOST/NAMESPACE",
        "--release-type pre-release tags with the commit, and there is none",
        "source-java is written in java, which is not supported",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(found[place].starts_with(start), "{found:#?}");
    }
    assert_eq!(found.len(), 5);
}

#[test]
fn registries_have_a_host_and_a_namespace() {
    for (registry, good) in [
        ("docker.io/airbyte", true),
        ("127.0.0.1:5000/a/b", true),
        ("localhost/a", true),
        ("airbyte", false),
        ("airbyte/team", false),
        ("docker.io", false),
        ("docker.io/", false),
        ("docker.io/airbyte/", false),
        ("docker.io/airbyte:1", false),
        ("docker.io/Airbyte", false),
        ("$(id)/x", false),
    ] {
        let config = Config {
            registry: registry.into(),
            ..Config::default()
        };
        let made = targets(&ASKED, &[manifest_only("source-a", "1.0.0")], &config);
        assert_eq!(made.is_ok(), good, "{registry}: {made:?}");
    }
}

#[test]
fn versions_that_no_tag_can_hold_and_names_given_twice_are_refused() {
    let config = Config::default();
    let found = targets(&ASKED, &[manifest_only("source-a", "1.0.0+b")], &config);
    assert!(
        messages(found.unwrap_err())[0].starts_with("source-a: `1.0.0+b` is not a valid image tag")
    );
    let mut second = manifest_only("source-a", "1.0.0");
    second.name = "source-b".parse().unwrap();
    let found = targets(
        &ASKED,
        &[manifest_only("source-a", "1.0.0"), second],
        &config,
    );
    assert_eq!(
        messages(found.unwrap_err()),
        ["source-a, source-b would all be published as docker.io/airbyte/source-a:1.0.0"]
    );
}

#[test]
fn stand_in_bases_stay_on_this_host() {
    let mut config = Config::default();
    let stand_in = "127.0.0.1:5000/base:sandbox".parse().unwrap();
    config
        .stand_ins
        .insert("docker.io/airbyte/base".into(), stand_in);
    for (registry, mode, good) in [
        ("docker.io/airbyte", Mode::Real, false),
        ("docker.io/airbyte", Mode::DryRun, true),
        ("127.0.0.1:5000/airbyte", Mode::Real, true),
    ] {
        config.registry = registry.into();
        let made = targets(
            &Asked { mode, ..ASKED },
            &[manifest_only("source-a", "1.0.0")],
            &config,
        );
        assert_eq!(made.is_ok(), good, "{registry} {mode:?}");
    }
}

#[test]
fn what_is_there_decides_what_is_done() {
    let unknown = Found::Unknown {
        because: "no route".into(),
    };
    let partly = there(&[Platform::LinuxArm64]);
    let nothing = there(&Platform::ALL);
    let whole = there(&[]);
    let (ours, other) = (digest("there"), digest("other"));
    use Existing::{Keep, Replace};
    for (mode, existing, found, published, expected) in [
        (Mode::DryRun, Keep, &unknown, None, Action::Try),
        (Mode::DryRun, Keep, &whole, None, Action::Try),
        (Mode::Real, Keep, &unknown, None, Action::Refuse),
        (Mode::Real, Replace, &unknown, None, Action::Refuse),
        (Mode::Real, Keep, &Found::Absent, None, Action::Publish),
        (
            Mode::Real,
            Keep,
            &Found::Absent,
            Some(&ours),
            Action::Publish,
        ),
        (Mode::Real, Replace, &Found::Absent, None, Action::Publish),
        (Mode::Real, Keep, &partly, None, Action::Repair),
        (Mode::Real, Keep, &partly, Some(&other), Action::Repair),
        (Mode::Real, Keep, &nothing, None, Action::Repair),
        (Mode::Real, Replace, &partly, None, Action::Replace),
        (Mode::Real, Keep, &whole, None, Action::Keep),
        (Mode::Real, Keep, &whole, Some(&ours), Action::Keep),
        (Mode::Real, Keep, &whole, Some(&other), Action::Refuse),
        (Mode::Real, Replace, &whole, Some(&other), Action::Replace),
    ] {
        let action = Action::decide(mode, existing, found, published);
        assert_eq!(
            action, expected,
            "{mode:?} {existing:?} {found:?} {published:?}"
        );
    }
}

fn planned(found: Found, latest: Latest) -> steps::PublishPlan {
    planned_with(found, latest, Package::None, Mode::Real)
}

fn planned_with(found: Found, latest: Latest, package: Package, mode: Mode) -> steps::PublishPlan {
    steps::PublishPlan::new(inputs(found, latest, package, mode))
}

fn inputs(found: Found, latest: Latest, package: Package, mode: Mode) -> steps::Inputs<'static> {
    let made = targets(
        &ASKED,
        &[manifest_only("source-a", "1.2.3")],
        &Config::default(),
    );
    steps::Inputs {
        target: made.unwrap().remove(0),
        found,
        published: None,
        platforms: &Platform::ALL,
        mode,
        existing: Existing::Keep,
        signing: Signing::Off,
        latest,
        release: ReleaseType::Main,
        overridden: false,
        package,
        build: None,
    }
}

/// The steps that a plan runs, besides looking and telling.
fn runs(plan: &steps::PublishPlan) -> Vec<&'static str> {
    let run = plan
        .steps
        .iter()
        .filter(|planned| planned.does == steps::Does::Run);
    run.map(|planned| planned.step.as_str())
        .filter(|name| !matches!(*name, "exists" | "outputs"))
        .collect()
}

#[test]
fn a_package_follows_its_image_once() {
    let name = || "airbyte-source-a 1.2.3".to_owned();
    let because = || "no route".to_owned();
    for (found, package, mode, expected) in [
        (there(&[]), Package::None, Mode::Real, false),
        (
            there(&[]),
            Package::Exists { name: name() },
            Mode::Real,
            false,
        ),
        (
            there(&[]),
            Package::Missing { name: name() },
            Mode::Real,
            true,
        ),
        (
            Found::Absent,
            Package::Missing { name: name() },
            Mode::Real,
            true,
        ),
        (
            Found::Absent,
            Package::Missing { name: name() },
            Mode::DryRun,
            true,
        ),
        (
            Found::Absent,
            Package::Unknown { because: because() },
            Mode::DryRun,
            false,
        ),
        (
            Found::Unknown { because: because() },
            Package::Missing { name: name() },
            Mode::Real,
            false,
        ),
    ] {
        let text = format!("{found:?} {package:?} {mode:?}");
        let plan = planned_with(found, Latest::Leave, package, mode);
        assert_eq!(runs(&plan).contains(&"pypi"), expected, "{text}");
    }
}

#[test]
fn only_a_main_release_under_its_own_version_is_a_package() {
    for (release, overridden, expected) in [
        (ReleaseType::Main, false, true),
        (ReleaseType::Main, true, false),
        (ReleaseType::PreRelease, false, false),
    ] {
        let package = Package::Missing {
            name: "airbyte-source-a 1.2.3".to_owned(),
        };
        let plan = steps::PublishPlan::new(steps::Inputs {
            release,
            overridden,
            ..inputs(Found::Absent, Latest::Leave, package, Mode::Real)
        });
        let text = format!("{release:?} {overridden}");
        assert_eq!(runs(&plan).contains(&"pypi"), expected, "{text}");
    }
}

#[test]
fn bug_14_latest_is_repaired_where_the_version_exists() {
    assert_eq!(runs(&planned(there(&[]), Latest::Follow)), ["latest"]);
    assert!(runs(&planned(there(&[]), Latest::Leave)).is_empty());
}

#[test]
fn bug_15_a_version_of_which_one_platform_arrived_does_not_exist() {
    let plan = planned(there(&[Platform::LinuxArm64]), Latest::Follow);
    assert!(!plan.found.exists());
    assert_eq!(plan.action, Action::Repair);
    assert_eq!(
        runs(&plan),
        ["build", "spec", "scan", "push", "tag", "verify", "latest"]
    );
    assert!(
        plan.lines()[1].contains("linux/amd64 without linux/arm64"),
        "{:?}",
        plan.lines()
    );
}

#[test]
fn a_tag_is_only_overwritten_by_force_or_where_the_plan_saw_a_part() {
    let (ours, old, other) = (digest("ours"), digest("there"), digest("other"));
    let partly = there(&[Platform::LinuxArm64]);
    for (action, planned, now, expected) in [
        (Action::Publish, &Found::Absent, None, Ok(Tagging::Set)),
        (
            Action::Publish,
            &Found::Absent,
            Some(&ours),
            Ok(Tagging::IsSet),
        ),
        (
            Action::Publish,
            &Found::Absent,
            Some(&other),
            Err(other.clone()),
        ),
        (
            Action::Repair,
            &partly,
            Some(&old),
            Ok(Tagging::Replace(old.clone())),
        ),
        (Action::Repair, &partly, Some(&other), Err(other.clone())),
        (Action::Repair, &partly, None, Ok(Tagging::Set)),
        (
            Action::Replace,
            &there(&[]),
            Some(&other),
            Ok(Tagging::Replace(other.clone())),
        ),
    ] {
        assert_eq!(
            may_tag(action, planned, now, &ours),
            expected,
            "{action:?} {now:?}"
        );
    }
}

#[test]
fn latest_goes_forward_only() {
    let ours = digest("ours");
    let at = |version: Option<&str>| LatestNow::There {
        digest: digest("latest"),
        version: version.map(|text| text.parse().unwrap()),
    };
    let there = LatestNow::There {
        digest: ours.clone(),
        version: None,
    };
    for (now, existing, moves) in [
        (LatestNow::Absent, Existing::Keep, Some(true)),
        (there, Existing::Keep, None),
        (at(Some("1.9.0")), Existing::Keep, Some(true)),
        (at(Some("1.10.0")), Existing::Keep, Some(true)),
        (at(Some("1.11.0-rc.1")), Existing::Keep, Some(false)),
        (at(Some("1.10.1")), Existing::Keep, Some(false)),
        (at(Some("2.0.0")), Existing::Replace, Some(true)),
        (at(None), Existing::Keep, Some(false)),
        (at(None), Existing::Replace, Some(true)),
    ] {
        let decided = latest::decide(&"1.10.0".parse().unwrap(), &ours, &now, existing);
        let moved = match decided {
            LatestMove::Move(_) => Some(true),
            LatestMove::Stay(_) => Some(false),
            LatestMove::IsThere => None,
        };
        assert_eq!(moved, moves, "{now:?} {existing:?}");
    }
}
