//! Whether a published image is what its repository says: what was found is compared, and every difference is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::{image::Digest, platform::Platform};

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Digest,
    Platforms,
    Labels,
    Spec,
    Signature,
    Rebuild,
}

/// How a look ended. Something wrong ends `connector verify` with 1, something unknown with 3 where nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Ok,
    /// There is nothing to look at.
    None,
    Wrong,
    /// It could not be found out: no pass.
    Unknown,
}

/// What came of one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub what: What,
    pub standing: Standing,
    /// Every difference; of what is right, what it is; of what went wrong, the next step too.
    pub details: Vec<String>,
}

impl Check {
    /// Wrong when there are differences, else what `right` says.
    pub fn of(what: What, differences: Vec<String>, right: impl FnOnce() -> String) -> Check {
        if differences.is_empty() {
            Check::new(what, Standing::Ok, right())
        } else {
            Check {
                what,
                standing: Standing::Wrong,
                details: differences,
            }
        }
    }

    /// With one detail; differences are judged by [`of`](Self::of).
    pub fn new(what: What, standing: Standing, detail: impl Into<String>) -> Check {
        Check {
            what,
            standing,
            details: vec![detail.into()],
        }
    }
}

impl What {
    /// Second column of the report, the same word as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Digest => "digest",
            What::Platforms => "platforms",
            What::Labels => "labels",
            What::Spec => "spec",
            What::Signature => "signature",
            What::Rebuild => "rebuild",
        }
    }
}

impl Standing {
    /// First column of the report, the same word as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Ok => "ok",
            Standing::None => "none",
            Standing::Wrong => "wrong",
            Standing::Unknown => "unknown",
        }
    }
}

/// One platform's image as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// Digest of its manifest.
    pub manifest: Digest,
    /// As the configuration says it, `os/architecture`.
    pub runs_on: String,
    pub labels: BTreeMap<String, String>,
    /// Digests of the layers' content, each with what its history says it holds.
    pub layers: Vec<(Digest, String)>,
}

/// An image with what is compared of it.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    pub digest: &'a Digest,
    pub halves: &'a BTreeMap<Platform, Half>,
}

/// Label with the commit an image was built from (OCI image specification, "Pre-Defined Annotation Keys"); `-dirty`
/// behind it says that not all of it was committed.
pub const REVISION: &str = "org.opencontainers.image.revision";
const DIRTY: &str = "-dirty";

/// The platforms that are configured and lacking, and those whose image runs elsewhere.
pub fn platforms(configured: &[Platform], found: &BTreeMap<Platform, Half>) -> Vec<String> {
    let lacking = configured
        .iter()
        .filter(|platform| !found.contains_key(platform));
    let lacking = lacking.map(|platform| format!("there is no image for {platform}"));
    let elsewhere = found.iter().filter_map(|(platform, half)| {
        let runs_on = &half.runs_on;
        (*runs_on != platform.to_string())
            .then(|| format!("the image for {platform} says that it runs on {runs_on}"))
    });
    lacking.chain(elsewhere).collect()
}

/// The commit that all platforms' images name, or what is wrong with what they name.
pub fn commit(found: &BTreeMap<Platform, Half>) -> Result<String, Vec<String>> {
    let named: BTreeSet<Option<&String>> = found
        .values()
        .map(|half| half.labels.get(REVISION))
        .collect();
    match Vec::from_iter(named).as_slice() {
        [Some(commit)] => match commit.strip_suffix(DIRTY) {
            // It comes from a registry: git and who copies a command line get nothing else.
            None if !is_commit(commit) => Err(vec![format!("{REVISION}: `{commit}` is no commit")]),
            None => Ok((*commit).clone()),
            Some(commit) => Err(vec![format!(
                "{REVISION}: built from {commit} with changes that were not committed"
            )]),
        },
        [None] | [] => Err(vec![format!(
            "{REVISION}: missing, so the commit is not known"
        )]),
        several => Err(several
            .iter()
            .map(|commit| format!("{REVISION}: {}", commit.map_or("missing", String::as_str)))
            .chain(["the platforms were built from different commits".to_owned()])
            .collect()),
    }
}

/// Whether it is a whole object name, of SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Every label that metadata and commit ask for and an image has not, or has otherwise.
pub fn labels(expected: &[(String, String)], found: &BTreeMap<Platform, Half>) -> Vec<String> {
    let mut differences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (platform, half) in found {
        for (name, value) in expected {
            let difference = match half.labels.get(name) {
                Some(there) if there == value => continue,
                Some(there) => format!("{name} is `{there}`, the commit says `{value}`"),
                None => format!("{name} is missing, the commit says `{value}`"),
            };
            differences
                .entry(difference)
                .or_default()
                .push(platform.to_string());
        }
    }
    let line = |(difference, platforms): (String, Vec<String>)| {
        format!("{}: {difference}", platforms.join(", "))
    };
    differences.into_iter().map(line).collect()
}

/// In what a rebuilt image differs; nothing when the digests are equal. Of an index that also lists `attestations`,
/// which say when it was built, only the images can be.
pub fn rebuilt(published: Image<'_>, built: Image<'_>, attestations: usize) -> Vec<String> {
    let same = |(platform, half): (&Platform, &Half)| {
        let built = built.halves.get(platform);
        built.is_some_and(|built| built.manifest == half.manifest)
    };
    if published.digest == built.digest || (attestations > 0 && published.halves.iter().all(same)) {
        return Vec::new();
    }
    let mut differences = vec![format!(
        "{} is published, {} was built",
        published.digest, built.digest
    )];
    for (platform, half) in published.halves {
        let difference = match built.halves.get(platform) {
            None => Some("was not built".to_owned()),
            Some(built) => first_difference(half, built),
        };
        differences.extend(difference.map(|difference| format!("{platform}: {difference}")));
    }
    if differences.len() == 1 {
        let same = "content and labels are the same: documents of another builder, or compressed otherwise";
        differences.push(same.to_owned());
    }
    differences
}

fn first_difference(published: &Half, built: &Half) -> Option<String> {
    let layers = published.layers.iter().zip(&built.layers);
    let layer = layers
        .enumerate()
        .find(|(_, (there, made))| there.0 != made.0);
    if let Some((number, ((digest, holds), _))) = layer {
        return Some(format!(
            "layer {} differs first: {digest} ({holds})",
            number + 1
        ));
    }
    let (there, made) = (published.layers.len(), built.layers.len());
    if there != made {
        return Some(format!("{there} layers are published, {made} were built"));
    }
    let names = published.labels.keys().chain(built.labels.keys());
    let name = names
        .into_iter()
        .find(|name| published.labels.get(*name) != built.labels.get(*name))?;
    let value = |half: &Half| {
        half.labels
            .get(name)
            .map_or("missing".to_owned(), |v| format!("`{v}`"))
    };
    Some(format!(
        "label {name} is {} there and {} here",
        value(published),
        value(built)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(labels: &[(&str, &str)], layers: &[&str]) -> Half {
        Half {
            manifest: Digest::of(format!("{labels:?} {layers:?}").as_bytes()),
            runs_on: "linux/amd64".to_owned(),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            layers: layers
                .iter()
                .map(|text| (Digest::of(text.as_bytes()), format!("files of {text}")))
                .collect(),
        }
    }

    fn both(amd64: Half, arm64: Half) -> BTreeMap<Platform, Half> {
        [(Platform::LinuxAmd64, amd64), (Platform::LinuxArm64, arm64)].into()
    }

    #[test]
    fn lacking_platforms_and_those_of_another_machine_are_told() {
        let configured = [Platform::LinuxAmd64, Platform::LinuxArm64];
        let one = [(Platform::LinuxAmd64, half(&[], &[]))].into();
        assert_eq!(
            platforms(&configured, &one),
            ["there is no image for linux/arm64"]
        );
        assert_eq!(
            platforms(&configured, &both(half(&[], &[]), half(&[], &[]))),
            ["the image for linux/arm64 says that it runs on linux/amd64"]
        );
    }

    #[test]
    fn one_clean_commit_is_named_by_all() {
        let of = |commit: &str| half(&[(REVISION, commit)], &[]);
        let [one, other] = ["a1", "b2"].map(|hex| hex.repeat(20));
        let dirty = of(&format!("{one}-dirty"));
        let changed = "with changes that were not committed";
        let several = "built from different commits";
        for (found, expected) in [
            (both(of(&one), of(&one)), Ok(one.clone())),
            (both(dirty.clone(), dirty), Err(changed)),
            (
                both(half(&[], &[]), half(&[], &[])),
                Err("missing, so the commit is not known"),
            ),
            (both(of(&one), of(&other)), Err(several)),
            (both(of(&one), half(&[], &[])), Err(several)),
            (both(of("HEAD"), of("HEAD")), Err("`HEAD` is no commit")),
            (both(of("--help"), of("--help")), Err("is no commit")),
            (both(of(&one[1..]), of(&one[1..])), Err("is no commit")),
        ] {
            match (commit(&found), expected) {
                (Ok(commit), Ok(expected)) => assert_eq!(commit, expected),
                (Err(told), Err(expected)) => {
                    assert!(told.last().unwrap().contains(expected), "{told:?}");
                }
                (got, expected) => panic!("{got:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn every_label_that_differs_is_told_once_with_its_platforms() {
        let expected = [("a", "1"), ("b", "2"), ("c", "3")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = both(
            half(&[("a", "1"), ("b", "x"), ("more", "of the base")], &[]),
            half(&[("a", "0"), ("b", "x"), ("c", "3")], &[]),
        );
        assert_eq!(
            labels(&expected, &found),
            [
                "linux/arm64: a is `0`, the commit says `1`",
                "linux/amd64, linux/arm64: b is `x`, the commit says `2`",
                "linux/amd64: c is missing, the commit says `3`",
            ]
        );
    }

    #[test]
    fn a_rebuild_tells_where_it_begins_to_differ() {
        let [published, made] = [b"p", b"m"].map(|one| Digest::of(one));
        let whole = half(&[("a", "1")], &["base", "own"]);
        for (built, expected) in [
            (whole.clone(), "content and labels are the same"),
            (half(&[("a", "1")], &["base", "other"]), "(files of own)"),
            (
                half(&[("a", "1")], &["base"]),
                "2 layers are published, 1 were built",
            ),
            (
                half(&[("a", "2")], &["base", "own"]),
                "label a is `1` there and `2` here",
            ),
            (
                half(&[], &["base", "own"]),
                "label a is `1` there and missing here",
            ),
        ] {
            let halves = [
                both(whole.clone(), whole.clone()),
                both(built.clone(), whole.clone()),
            ];
            let [there, here] = [(&published, &halves[0]), (&made, &halves[1])]
                .map(|(digest, halves)| Image { digest, halves });
            let told = rebuilt(there, here, 0);
            assert!(told.last().unwrap().contains(expected), "{told:?}");
            let equal = whole == built;
            assert_eq!(
                rebuilt(there, here, 1).is_empty(),
                equal,
                "statements do not count"
            );
        }
        let halves = both(whole.clone(), whole);
        let image = Image {
            digest: &made,
            halves: &halves,
        };
        assert!(rebuilt(image, image, 0).is_empty());
    }
}
