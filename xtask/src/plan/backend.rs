//! What a connector's own package is built with.

use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::PackageName;

use crate::model::{
    build_system::{self, BuildSystem, Pin},
    problem::Problem,
    target::Target,
};

/// Where what builds a connector's own package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltBy {
    /// A pinned file.
    Pinned,
    /// uv itself, which is `uv_build`.
    Uv,
}

impl BuiltBy {
    /// By the build backend's name; whether a pinned file serves it is for [`choose`] to say.
    pub fn of(build: &BuildSystem) -> BuiltBy {
        match build.build_backend.as_str() {
            "uv_build" => BuiltBy::Uv,
            _ => BuiltBy::Pinned,
        }
    }
}

/// The pinned build backends for a connector's `[build-system]`; an error when it asks for something that is not
/// pinned, which would be whatever the package index has on the day. `uv_build` is in uv itself, at uv's version.
pub fn choose(
    connector: &str,
    build: &BuildSystem,
    pinned: &str,
    uv: &semver::Version,
    target: Target,
) -> Result<Vec<Pin>, Problem> {
    let mut pins = Pin::read(pinned)
        .map_err(|error| Problem::usage(format!("build-requirements.txt: {error}")))?;
    let uv_build = PackageName::from_str("uv-build").expect("a valid name");
    pins.push(Pin {
        name: uv_build.clone(),
        version: Version::new([uv.major, uv.minor, uv.patch]),
        hashes: Vec::new(),
    });
    let markers = target.markers().map_err(Problem::failure)?;
    let mut chosen = build_system::choose(&build.requires, &[], &pins, &markers).map_err(|error| {
        Problem::usage(format!("{connector}: pyproject.toml {error}"))
            .help("pin it with its hashes in docker-images/build-requirements.txt, or use poetry-core, hatchling, setuptools or uv_build (which is at the version of `tools.uv` in configuration)")
    })?;
    chosen.retain(|pin| pin.name != uv_build);
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{platform::Platform, target::Interpreter};

    #[test]
    fn what_is_not_pinned_is_named() {
        let hash = "0".repeat(64);
        let pinned = format!("# comment\npoetry-core==2.1.3 \\\n    --hash=sha256:{hash}\n");
        for (requires, missing) in [
            (&["poetry-core>=1.0.0"][..], None),
            (&["uv_build>=0.9,<1"], None),
            (&["uv-build"], None),
            (&["uv_build>=0.5,<0.6"], Some("uv-build>=0.5,<0.6")),
            (&["Poetry.Core ; python_version > '3'"], None),
            (&["poetry-core<2"], Some("poetry-core<2")),
            (&["maturin>=1,<2", "poetry-core"], Some("maturin>=1,<2")),
            (&["maturin ; sys_platform == 'win32'"], None),
        ] {
            let build = BuildSystem {
                requires: requires.iter().map(ToString::to_string).collect(),
                build_backend: "b".to_owned(),
                backend_path: Vec::new(),
            };
            let chosen = choose(
                "source-a",
                &build,
                &pinned,
                &semver::Version::new(0, 13, 9),
                Interpreter::USUAL.on(Platform::LinuxAmd64),
            );
            let message = chosen
                .err()
                .map(|problem| problem.message)
                .unwrap_or_default();
            assert_eq!(
                message.is_empty(),
                missing.is_none(),
                "{requires:?}: {message}"
            );
            assert!(
                missing.is_none_or(|missing| message.contains(missing)),
                "{requires:?}: {message}"
            );
        }
    }
}
