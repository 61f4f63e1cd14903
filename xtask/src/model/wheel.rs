//! Names of wheels and which of them an interpreter takes.

use std::{cmp::Reverse, str::FromStr};

use super::target::{Libc, Target};

/// The file name of a wheel:
/// `{distribution}-{version}(-{build})?-{python tag}-{abi tag}-{platform tag}.whl`.
///
/// Sources: PEP 427 (file name convention), PEP 425 (tags and compressed tag sets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    pub distribution: String,
    pub version: String,
    /// Sorts after a wheel without one: its number, then the rest.
    pub build: Option<(u64, String)>,
    pythons: Vec<String>,
    abis: Vec<String>,
    platforms: Vec<String>,
}

/// How much an interpreter likes a wheel: the greatest is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    interpreter: Reverse<u16>,
    platform: Reverse<u32>,
    build: Option<(u64, String)>,
}

impl WheelName {
    /// Whether the wheel says of itself that it holds no machine code: its only platform is `any`.
    pub fn is_pure(&self) -> bool {
        self.platforms.iter().all(|platform| platform == "any")
    }

    /// The three tags as they stand in the name.
    pub fn tags(&self) -> String {
        [&self.pythons, &self.abis, &self.platforms]
            .map(|tags| tags.join("."))
            .join("-")
    }

    /// How much `target` likes this wheel; None when it does not take it. The order is that of
    /// `packaging.tags.sys_tags`, which pip and uv follow; of two equal wheels the higher build tag wins.
    pub fn preference(&self, target: &Target) -> Option<Preference> {
        let mut best = None;
        for python in &self.pythons {
            for abi in &self.abis {
                for platform in &self.platforms {
                    best = best.max(rank(python, abi, platform, target));
                }
            }
        }
        let (interpreter, platform) = best?;
        Some(Preference {
            interpreter,
            platform,
            build: self.build.clone(),
        })
    }
}

impl FromStr for WheelName {
    type Err = String;

    fn from_str(text: &str) -> Result<WheelName, String> {
        let error = || format!("`{text}` is not the name of a wheel");
        let stem = text.strip_suffix(".whl").ok_or_else(error)?;
        let parts: Vec<&str> = stem.split('-').collect();
        let (distribution, version, build, tags) = match parts.as_slice() {
            [distribution, version, tags @ ..] if tags.len() == 3 => {
                (distribution, version, None, tags)
            }
            [distribution, version, build, tags @ ..] if tags.len() == 3 => (
                distribution,
                version,
                Some(build_tag(build).ok_or_else(error)?),
                tags,
            ),
            _ => return Err(error()),
        };
        let tags: Vec<Vec<String>> = tags
            .iter()
            .map(|set| set.split('.').map(str::to_ascii_lowercase).collect())
            .collect();
        let [pythons, abis, platforms] = <[_; 3]>::try_from(tags).map_err(|_| error())?;
        Ok(WheelName {
            distribution: (*distribution).to_owned(),
            version: (*version).to_owned(),
            build,
            pythons,
            abis,
            platforms,
        })
    }
}

/// A build tag starts with a digit (PEP 427).
fn build_tag(text: &str) -> Option<(u64, String)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest.to_owned()))
}

type Rank = (Reverse<u16>, Reverse<u32>);

/// Where one tag stands in the interpreter's list; greater is nearer to the front.
fn rank(python: &str, abi: &str, platform: &str, target: &Target) -> Option<Rank> {
    let any = platform == "any";
    let interpreter = interpreter_rank(python, abi, any, target.python.minor)?;
    let platform = if any {
        0
    } else {
        platform_rank(platform, target)?
    };
    Some((Reverse(interpreter), Reverse(platform)))
}

/// The order of `packaging.tags`: cpXY-cpXY, cpXY-abi3, cpXY-none, older abi3; then for this platform
/// pyXY, py3, older pyXY; then the same for any platform.
fn interpreter_rank(python: &str, abi: &str, any: bool, minor: u8) -> Option<u16> {
    let minor = u16::from(minor);
    let (kind, digits) = python.split_at_checked(2)?;
    // `cp311` is 3.11 and `py3` is 3: one digit for the major version, the rest for the minor.
    let (major, of) = digits.split_at_checked(1)?;
    if major != "3" {
        return None;
    }
    let of = if of.is_empty() {
        None
    } else {
        Some(of.parse::<u16>().ok()?)
    };
    if of.is_some_and(|of| of > minor) {
        return None;
    }
    let age = of.map(|of| minor - of);
    match (kind, abi, age) {
        ("cp", "none", Some(0)) if any => Some(2000),
        ("cp", abi, Some(0)) if !any && abi == format!("cp3{minor}") => Some(0),
        ("cp", "abi3", Some(0)) if !any => Some(1),
        ("cp", "none", Some(0)) => Some(2),
        // The stable ABI exists since 3.2 (PEP 384).
        ("cp", "abi3", Some(age)) if !any && minor - age >= 2 => Some(2 + age),
        ("py", "none", Some(0)) => Some(base(any)),
        ("py", "none", None) => Some(base(any) + 1),
        ("py", "none", Some(age)) => Some(base(any) + 1 + age),
        _ => None,
    }
}

fn base(any: bool) -> u16 {
    if any { 2001 } else { 1000 }
}

/// Newest manylinux or musllinux version that the C library allows first, plain `linux_` last.
fn platform_rank(platform: &str, target: &Target) -> Option<u32> {
    let machine = target.platform.machine();
    let family = platform.strip_suffix(machine)?.strip_suffix('_')?;
    if family == "linux" {
        return Some(u32::MAX);
    }
    let (versions, has) = match target.libc {
        Libc::Glibc(major, minor) => (manylinux(family)?, (major, minor)),
        Libc::Musl(major, minor) => (version(family.strip_prefix("musllinux_")?)?, (major, minor)),
    };
    if versions.0 != has.0 || versions.1 > has.1 {
        return None;
    }
    Some(u32::from(has.1 - versions.1))
}

/// The glibc version that a manylinux tag asks for, with the names from before PEP 600.
fn manylinux(family: &str) -> Option<(u16, u16)> {
    match family {
        "manylinux1" => Some((2, 5)),
        "manylinux2010" => Some((2, 12)),
        "manylinux2014" => Some((2, 17)),
        _ => version(family.strip_prefix("manylinux_")?),
    }
}

fn version(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('_')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::platform::Platform;

    fn target(platform: Platform, libc: Libc) -> Target {
        Target {
            platform,
            python: "3.11.2".parse().unwrap(),
            libc,
        }
    }

    fn fits(tags: &str, target: &Target) -> bool {
        let name: WheelName = format!("a-1-{tags}.whl").parse().unwrap();
        name.preference(target).is_some()
    }

    #[test]
    fn names_are_parsed_with_and_without_build_tag() {
        let name: WheelName = "Foo_Bar-1.0-2b-py2.py3-none-any.whl".parse().unwrap();
        assert_eq!(
            (name.distribution.as_str(), name.version.as_str()),
            ("Foo_Bar", "1.0")
        );
        assert_eq!(name.build, Some((2, "b".to_owned())));
        assert!(name.is_pure());
        assert_eq!(name.tags(), "py2.py3-none-any");
        for bad in [
            "a-1.tar.gz",
            "a-1-py3-none.whl",
            "a-1-x-py3-none-any.whl",
            "a-1-1-2-py3-none-any.whl",
            "",
        ] {
            assert!(bad.parse::<WheelName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wheel_fits_interpreter_platform_and_libc() {
        use Platform::{LinuxAmd64, LinuxArm64};
        let glibc = Libc::Glibc(2, 36);
        for (tags, platform, libc, expected) in [
            (
                "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
                LinuxAmd64,
                glibc,
                true,
            ),
            (
                "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
                LinuxArm64,
                glibc,
                false,
            ),
            ("cp311-cp311-manylinux2014_aarch64", LinuxArm64, glibc, true),
            (
                "cp311-cp311-manylinux_2_39_x86_64",
                LinuxAmd64,
                glibc,
                false,
            ),
            ("cp311-cp311-manylinux_2_36_x86_64", LinuxAmd64, glibc, true),
            (
                "cp311-cp311-manylinux1_x86_64",
                LinuxAmd64,
                Libc::Glibc(2, 5),
                true,
            ),
            (
                "cp311-cp311-manylinux2010_x86_64",
                LinuxAmd64,
                Libc::Glibc(2, 5),
                false,
            ),
            ("cp311-cp311-musllinux_1_1_x86_64", LinuxAmd64, glibc, false),
            (
                "cp311-cp311-musllinux_1_1_x86_64",
                LinuxAmd64,
                Libc::Musl(1, 2),
                true,
            ),
            (
                "cp311-cp311-musllinux_1_3_x86_64",
                LinuxAmd64,
                Libc::Musl(1, 2),
                false,
            ),
            (
                "cp311-cp311-manylinux_2_17_x86_64",
                LinuxAmd64,
                Libc::Musl(1, 2),
                false,
            ),
            ("cp311-cp311-linux_x86_64", LinuxAmd64, glibc, true),
            ("cp311-cp311-macosx_11_0_arm64", LinuxArm64, glibc, false),
            ("cp311-cp311-win_amd64", LinuxAmd64, glibc, false),
            ("cp311-cp310-manylinux2014_x86_64", LinuxAmd64, glibc, false),
            ("cp312-cp312-manylinux2014_x86_64", LinuxAmd64, glibc, false),
            ("cp310-cp310-manylinux2014_x86_64", LinuxAmd64, glibc, false),
            (
                "cp313-cp313t-manylinux2014_x86_64",
                LinuxAmd64,
                glibc,
                false,
            ),
            ("cp37-abi3-manylinux2014_x86_64", LinuxAmd64, glibc, true),
            ("cp312-abi3-manylinux2014_x86_64", LinuxAmd64, glibc, false),
            (
                "cp36.cp37.cp38-abi3-manylinux2014_x86_64",
                LinuxAmd64,
                glibc,
                true,
            ),
            (
                "pp311-pypy311_pp73-manylinux2014_x86_64",
                LinuxAmd64,
                glibc,
                false,
            ),
            ("py3-none-manylinux2014_x86_64", LinuxAmd64, glibc, true),
            ("py2.py3-none-any", LinuxArm64, glibc, true),
            ("py2-none-any", LinuxAmd64, glibc, false),
            ("py39-none-any", LinuxAmd64, glibc, true),
            ("py312-none-any", LinuxAmd64, glibc, false),
            ("cp311-none-any", LinuxAmd64, glibc, true),
            ("cp310-none-any", LinuxAmd64, glibc, false),
        ] {
            assert_eq!(
                fits(tags, &target(platform, libc)),
                expected,
                "{tags} on {platform} with {libc}"
            );
        }
    }

    #[test]
    fn wheels_are_preferred_in_the_order_of_pip() {
        let target = target(Platform::LinuxAmd64, Libc::Glibc(2, 36));
        let best_first = [
            "a-1-2-cp311-cp311-manylinux_2_28_x86_64.whl",
            "a-1-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_5_x86_64.manylinux1_x86_64.whl",
            "a-1-cp311-cp311-linux_x86_64.whl",
            "a-1-cp311-abi3-manylinux2014_x86_64.whl",
            "a-1-cp311-none-manylinux2014_x86_64.whl",
            "a-1-cp310-abi3-manylinux2014_x86_64.whl",
            "a-1-cp37-abi3-manylinux2014_x86_64.whl",
            "a-1-py311-none-manylinux2014_x86_64.whl",
            "a-1-py3-none-manylinux2014_x86_64.whl",
            "a-1-py310-none-manylinux2014_x86_64.whl",
            "a-1-cp311-none-any.whl",
            "a-1-py311-none-any.whl",
            "a-1-py2.py3-none-any.whl",
            "a-1-py310-none-any.whl",
        ];
        let preferences: Vec<_> = best_first
            .iter()
            .map(|name| {
                name.parse::<WheelName>()
                    .unwrap()
                    .preference(&target)
                    .expect(name)
            })
            .collect();
        for (pair, names) in preferences.windows(2).zip(best_first.windows(2)) {
            assert!(pair[0] > pair[1], "{} before {}", names[0], names[1]);
        }
    }
}
