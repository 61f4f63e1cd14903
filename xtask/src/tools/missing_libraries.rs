//! Shared libraries that a wheel's machine code links to, and an image lacks.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use camino::Utf8Path;

use super::docker::Engine;
use crate::model::{image::ImageRef, platform::Platform};

/// Part of the key where its answers are kept.
pub const SCRIPT: &str = include_str!("missing_libraries.py");
/// A container's start and one `ldd` a file, emulated.
const LIMIT: Duration = Duration::from_secs(120);

/// Their names, such as `libxml2.so.2` or, where only a version is lacking, `GLIBC_2.38 of libc.so.6`, in order. The
/// dynamic linker of `image` is asked, nothing of the wheel's runs.
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

#[cfg(test)]
mod tests {
    use xshell::{Shell, cmd};

    use super::*;
    use crate::tools::{files::executable, process::Program, wheel_file::pack};

    #[test]
    fn what_the_linker_misses_is_told_on_whichever_stream_it_says_it() {
        let directory = tempfile::tempdir().unwrap();
        let top = Utf8Path::from_path(directory.path()).unwrap();
        // As that of glibc prints, the path of the library being its last argument.
        let script = "#!/bin/sh\n\
            echo \"$1: /lib/libc.so.6: version \\`GLIBC_2.38' not found (required by $1)\" >&2\n\
            echo '\tlibxml2.so.2 => not found'\n\
            echo '\tlibc.so.6 => /lib/libc.so.6 (0x00)'\n";
        executable(&top.join("ldd"), script);
        let files = [
            ("a/b.so".to_owned(), b"\x7fELF".to_vec()),
            ("a/c.py".to_owned(), Vec::new()),
        ];
        let shell = Shell::new().unwrap();
        let path = std::env::var("PATH").unwrap();
        let told = Program::from(cmd!(shell, "python3 -c {SCRIPT}"))
            .env("PATH", format!("{top}:{path}"))
            .input(pack(&files).unwrap())
            .read()
            .unwrap();
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(told, ["GLIBC_2.38 of libc.so.6", "libxml2.so.2"]);
    }
}
