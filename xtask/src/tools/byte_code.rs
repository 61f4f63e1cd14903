//! Byte-code of Python files, compiled by a base image's own interpreter on the platform that is native to the engine:
//! it is the same on every platform.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    time::Duration,
};

use anyhow::{Context, Result};
use zip::ZipArchive;

use super::{docker::Engine, wheel_file};
use crate::model::{image::ImageRef, platform::Platform, problem::Problem, target::PythonVersion};

const SCRIPT: &str = include_str!("compile_bytecode.py");
const LIMIT: Duration = Duration::from_secs(600);
/// Source that one container is given, in bytes: what it gives back is as long, and both are held in memory.
const BATCH: usize = 12 << 20;

/// Files by their path in the image, without a leading slash.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The interpreter that compiles.
#[derive(Debug, Clone, Copy)]
pub struct Compiler<'a> {
    pub engine: &'a Engine,
    pub image: &'a ImageRef,
    /// Platform that the engine's containers run on natively.
    pub native: Platform,
    pub python: PythonVersion,
}

impl Compiler<'_> {
    /// The byte-code of every `.py` file of every group, under the path where the interpreter looks for it. A group's
    /// byte-code depends on that group alone. Files that are no Python of this version have none.
    pub fn compile(&self, groups: &[&Files]) -> Result<Vec<Files>> {
        let mut compiled = vec![Files::new(); groups.len()];
        let mut batch = Vec::new();
        let mut length = 0;
        for (number, files) in groups.iter().enumerate() {
            let sources = files.iter().filter(|(path, _)| path.ends_with(".py"));
            for (path, bytes) in sources {
                length += bytes.len();
                batch.push((format!("{number}/{path}"), bytes.clone()));
            }
            if length > BATCH || number + 1 == groups.len() {
                self.run(&std::mem::take(&mut batch), &mut compiled)?;
                length = 0;
            }
        }
        Ok(compiled)
    }

    fn run(&self, batch: &[(String, Vec<u8>)], compiled: &mut [Files]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let what = || format!("compile byte-code in {}", self.image);
        let command = [
            "env",
            "PYTHONHASHSEED=0",
            "PYTHONDONTWRITEBYTECODE=1",
            "/usr/local/bin/python",
            "-S",
            "-c",
            SCRIPT,
        ];
        let job = wheel_file::pack(batch)?;
        let finished = self
            .engine
            .run_untrusted(self.image, self.native, &command, job, LIMIT)?;
        if !finished.status.success() || finished.timed_out.is_some() {
            let tail = super::process::indent(&finished.tail());
            return Err(Problem::failure(format!(
                "{}: python {}\n{tail}",
                what(),
                finished.ending()
            ))
            .into());
        }
        let mut archive = ZipArchive::new(Cursor::new(&finished.stdout)).with_context(what)?;
        for index in 0..archive.len() {
            let mut file = archive.by_index(index).with_context(what)?;
            let name = file.name().with_context(what)?.into_owned();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).with_context(what)?;
            let place = name.split_once('/').and_then(|(group, path)| {
                Some((compiled.get_mut(group.parse::<usize>().ok()?)?, path))
            });
            let (files, path) = place.with_context(|| format!("{}: what is {name}?", what()))?;
            files.insert(cached(path, self.python), bytes);
        }
        Ok(())
    }
}

/// Where the interpreter looks for the byte-code of a file (PEP 3147).
fn cached(path: &str, python: PythonVersion) -> String {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.trim_end_matches(".py");
    format!(
        "{directory}/__pycache__/{stem}.cpython-{}{}.pyc",
        python.major, python.minor
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_lies_where_the_interpreter_looks() {
        let python = "3.11.2".parse().unwrap();
        assert_eq!(
            cached("usr/lib/a/b.py", python),
            "usr/lib/a/__pycache__/b.cpython-311.pyc"
        );
    }
}
