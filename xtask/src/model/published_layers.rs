//! What a published image says of its layers of packages, so that a machine without them takes them as they are.

use std::{fmt, str::FromStr};

use oci_spec::image::{ImageConfiguration, ImageManifest};

use super::{hash::Hash, image::Digest, layer::Layer, manifest_document};

/// Annotation of a layer's descriptor: its [`Recipe`].
pub const RECIPE: &str = "io.airbyte.xtask.layer";

/// What a layer is made from. As text, the key stands in the first line and each wheel in one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Names the layer by all that it is made from.
    pub key: Digest,
    pub wheels: Vec<Wheel>,
}

/// A wheel as far as layers are concerned. As text: file name, hash, size and, of one that was built, its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wheel {
    /// Of the file.
    pub name: String,
    pub hash: Hash,
    /// In bytes.
    pub size: u64,
    /// Of one that was built from an sdist: the key of its build.
    pub built: Option<String>,
}

impl Wheel {
    /// What a lock or a recipe knows it by before it is there.
    pub fn id(&self) -> &str {
        self.built.as_deref().unwrap_or(self.hash.as_str())
    }
}

/// The layers of an image that say what they are made from.
pub fn read(
    manifest: &ImageManifest,
    configuration: &ImageConfiguration,
) -> Result<Vec<(Recipe, Layer)>, String> {
    let diff_ids = configuration.rootfs().diff_ids();
    if diff_ids.len() != manifest.layers().len() {
        return Err("its manifest and its configuration name different layers".to_owned());
    }
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers().iter().zip(diff_ids) {
        let annotations = descriptor.annotations().as_ref();
        if let Some(recipe) = annotations.and_then(|all| all.get(RECIPE)) {
            let layer = Layer {
                digest: manifest_document::digest(descriptor)?,
                diff_id: diff_id.parse()?,
                size: descriptor.size(),
            };
            layers.push((recipe.parse()?, layer));
        }
    }
    Ok(layers)
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        self.wheels
            .iter()
            .try_for_each(|wheel| write!(f, "\n{wheel}"))
    }
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(text: &str) -> Result<Recipe, String> {
        let (key, wheels) = text.split_once('\n').unwrap_or((text, ""));
        Ok(Recipe {
            key: key.parse()?,
            wheels: wheels.lines().map(str::parse).collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Wheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.hash, self.size)?;
        self.built.iter().try_for_each(|key| write!(f, " {key}"))
    }
}

impl FromStr for Wheel {
    type Err = String;

    fn from_str(text: &str) -> Result<Wheel, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let (name, hash, size, built) = match words[..] {
            [name, hash, size] => (name, hash, size, None),
            [name, hash, size, key] => (name, hash, size, Some(key.to_owned())),
            _ => return Err(format!("`{text}` describes no wheel")),
        };
        Ok(Wheel {
            name: name.to_owned(),
            hash: hash.parse()?,
            size: size
                .parse()
                .map_err(|error| format!("`{size}` is no size: {error}"))?,
            built,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    /// An image of a base's layer and one with this annotation.
    fn image(annotation: &str, diff_ids: &[char]) -> Result<Vec<(Recipe, Layer)>, String> {
        let layer = |digit, annotations| {
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(digit), "size": 7,
                "annotations": annotations})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest('0'), "size": 1},
            "layers": [layer('1', json!({})), layer('2', json!({ RECIPE: annotation }))],
        });
        let diff_ids: Vec<String> = diff_ids.iter().copied().map(digest).collect();
        let configuration = json!({
            "architecture": "arm64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        read(
            &serde_json::from_value(manifest).unwrap(),
            &serde_json::from_value(configuration).unwrap(),
        )
    }

    #[test]
    fn a_layer_is_found_by_what_it_is_made_from() {
        let wheel = |name: &str, digit, built: Option<&str>| Wheel {
            name: name.to_owned(),
            hash: digest(digit).parse().unwrap(),
            size: 5,
            built: built.map(str::to_owned),
        };
        let fetched = wheel("a-1-py3-none-any.whl", 'a', None);
        let built = wheel("b-2-py3-none-any.whl", 'b', Some("b-2-cp311-pure-00"));
        assert_eq!(
            (fetched.id(), built.id()),
            (digest('a').as_str(), "b-2-cp311-pure-00")
        );
        for wheels in [vec![], vec![fetched.clone()], vec![fetched, built]] {
            let recipe = Recipe {
                key: digest('c').parse().unwrap(),
                wheels,
            };
            let layer = Layer {
                digest: digest('2').parse().unwrap(),
                diff_id: digest('4').parse().unwrap(),
                size: 7,
            };
            let read = image(&recipe.to_string(), &['3', '4']);
            assert_eq!(read, Ok(vec![(recipe, layer)]));
        }
    }

    #[test]
    fn what_does_not_fit_together_is_nothing_to_go_by() {
        let key = digest('c');
        for (annotation, diff_ids, expected) in [
            ("key", &['3', '4'][..], "key"),
            (
                &format!("{key}\na.whl"),
                &['3', '4'],
                "`a.whl` describes no wheel",
            ),
            (&format!("{key}\na.whl md5:1 5"), &['3', '4'], "no sha256"),
            (
                &format!("{key}\na.whl {key} x"),
                &['3', '4'],
                "`x` is no size",
            ),
            (&key, &['3'], "different layers"),
        ] {
            let error = image(annotation, diff_ids).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
