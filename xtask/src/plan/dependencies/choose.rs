//! Which file of a package a target gets.

use super::{Content, How, Planned, Reason};
use crate::model::{
    lock::{Package, Wheel},
    target::Target,
    wheel::Preference,
};

/// The wheel that the target likes best, else the sdist.
pub fn choose(package: &Package, target: Target) -> Result<Planned, Reason> {
    let liked = |wheel: &Wheel| wheel.name.preference(&target);
    let best = package
        .wheels
        .iter()
        .filter_map(|wheel| Some((liked(wheel)?, wheel)))
        .max_by(|(a, _), (b, _): &(Preference, &Wheel)| a.cmp(b));
    let (how, because) = match (best, &package.sdist) {
        (Some((_, wheel)), _) => (
            How::Wheel {
                file: wheel.file.clone(),
            },
            why_wheel(package, wheel),
        ),
        (None, Some(sdist)) => (
            How::Sdist {
                file: sdist.clone(),
                expected: expected(package),
            },
            why_sdist(package, target),
        ),
        (None, None) => return Err(nothing(package, target)),
    };
    Ok(Planned {
        name: package.name.clone(),
        version: package.version.clone(),
        how,
        because,
    })
}

/// Who publishes wheels by platform has machine code; who publishes none, or one for any platform, has not.
fn expected(package: &Package) -> Content {
    if package.wheels.iter().all(|wheel| wheel.name.is_pure()) {
        Content::Pure
    } else {
        Content::Native
    }
}

fn why_wheel(package: &Package, wheel: &Wheel) -> String {
    match (wheel.name.is_pure(), package.wheels.len()) {
        (true, _) => format!("{} runs on every platform", wheel.name.tags()),
        (false, 1) => format!("{} fits", wheel.name.tags()),
        (false, count) => format!("{} is the best fit of {count} wheels", wheel.name.tags()),
    }
}

fn why_sdist(package: &Package, target: Target) -> String {
    match (package.wheels.as_slice(), expected(package)) {
        ([], _) => "published as an sdist only".to_owned(),
        ([only], _) => format!("its only wheel is {}", only.name.tags()),
        (wheels, _) => format!("none of its {} wheels fits {target}", wheels.len()),
    }
}

fn nothing(package: &Package, target: Target) -> Reason {
    let name = package.name.clone();
    let version = package.version.clone();
    if package.wheels.is_empty() && !package.unusable.is_empty() {
        return Reason::NoHash {
            name,
            version,
            files: package.unusable.clone(),
        };
    }
    let files = package
        .wheels
        .iter()
        .map(|wheel| wheel.file.name.clone())
        .collect();
    Reason::NoFile {
        name,
        version,
        target,
        files,
    }
}
