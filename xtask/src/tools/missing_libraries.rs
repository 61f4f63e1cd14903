//! Shared libraries that a wheel's machine code links to, and an image lacks.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use camino::Utf8Path;

use super::docker::Engine;
use crate::model::{image::ImageRef, platform::Platform};

const SCRIPT: &str = include_str!("missing_libraries.py");
/// A container's start and one `ldd` a file, emulated.
const LIMIT: Duration = Duration::from_secs(120);

/// Their names, such as `libxml2.so.2`, in order. The dynamic linker of `image` is asked, nothing of the wheel's runs.
pub fn of(
    engine: &Engine,
    image: &ImageRef,
    platform: Platform,
    wheel: &Utf8Path,
) -> Result<Vec<String>> {
    let bytes = fs::read(wheel).with_context(|| format!("read {wheel}"))?;
    let command = ["python3", "-c", SCRIPT];
    let finished = engine
        .run_untrusted(image, platform, &command, LIMIT, |program| {
            program.input(bytes)
        })?
        .success()?;
    Ok(finished
        .text()
        .lines()
        .map(str::to_owned)
        .filter(|name| !name.is_empty())
        .collect())
}
