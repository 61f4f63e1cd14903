//! The Dockerfiles that images are built with: the repository's, else the copies inside this program.

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::model::{ignored_files::IgnoredFiles, problem::Problem};

/// The files of docker-images/ that connectors are built with.
const FILES: [(&str, &str); 6] = [
    (
        "Dockerfile.python-connector",
        include_str!("../../../docker-images/Dockerfile.python-connector"),
    ),
    (
        "Dockerfile.python-connector.dockerignore",
        include_str!("../../../docker-images/Dockerfile.python-connector.dockerignore"),
    ),
    (
        "Dockerfile.manifest-only-connector",
        include_str!("../../../docker-images/Dockerfile.manifest-only-connector"),
    ),
    (
        "Dockerfile.manifest-only-connector.dockerignore",
        include_str!("../../../docker-images/Dockerfile.manifest-only-connector.dockerignore"),
    ),
    (
        "build-requirements.txt",
        include_str!("../../../docker-images/build-requirements.txt"),
    ),
    (
        "build-requirements-sdists.txt",
        include_str!("../../../docker-images/build-requirements-sdists.txt"),
    ),
];

/// The files of docker-images/ that base images are made with.
pub const BASE_FILES: [(&str, &str); 6] = [
    (
        "Dockerfile.sandbox-python",
        include_str!("../../../docker-images/Dockerfile.sandbox-python"),
    ),
    (
        "Dockerfile.python-connector-base",
        include_str!("../../../docker-images/Dockerfile.python-connector-base"),
    ),
    (
        "Dockerfile.declarative-manifest-base",
        include_str!("../../../docker-images/Dockerfile.declarative-manifest-base"),
    ),
    (
        "declarative-manifest-requirements.txt",
        include_str!("../../../docker-images/declarative-manifest-requirements.txt"),
    ),
    (
        "source_declarative_manifest/main.py",
        include_str!("../../../docker-images/source_declarative_manifest/main.py"),
    ),
    (
        "source_declarative_manifest/run.py",
        include_str!("../../../docker-images/source_declarative_manifest/run.py"),
    ),
];

/// The directory to build connectors with: `configured` when it holds every file, else a copy of our own in `work`
/// (a repository that has only connectors, or Dockerfiles of another make).
pub fn directory(configured: &Utf8Path, work: &Utf8Path) -> Result<Utf8PathBuf> {
    holding(&FILES, configured, work)
}

/// The files of ours that `configured` holds too though it is not what [`directory`] gives; None where it is.
pub fn passed_over(configured: &Utf8Path) -> Option<Vec<&'static str>> {
    let (held, lacking): (Vec<&str>, Vec<&str>) = FILES
        .iter()
        .map(|(name, _)| *name)
        .partition(|name| configured.join(name).is_file());
    (!lacking.is_empty()).then_some(held)
}

/// Whether `directory` holds a file of this name as this program has it.
pub fn is_ours(directory: &Utf8Path, name: &str) -> Result<bool> {
    let path = directory.join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(FILES.contains(&(name, text.as_str())))
}

/// What a Dockerfile's builds leave out of their images.
pub fn ignored_files(dockerfile: &Utf8Path) -> Result<IgnoredFiles> {
    let path = Utf8PathBuf::from(format!("{dockerfile}.dockerignore"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    IgnoredFiles::parse(&text).map_err(|error| Problem::usage(format!("{path}: {error}")).into())
}

/// Pins and hashes of build backends, as `uv build --build-constraints` reads them.
pub fn build_requirements() -> &'static str {
    include_str!("../../../docker-images/build-requirements.txt")
}

/// As [`directory`], for base images.
pub fn base_directory(configured: &Utf8Path, work: &Utf8Path) -> Result<Utf8PathBuf> {
    holding(&BASE_FILES, configured, work)
}

fn holding(files: &[(&str, &str)], configured: &Utf8Path, work: &Utf8Path) -> Result<Utf8PathBuf> {
    if files
        .iter()
        .all(|(name, _)| configured.join(name).is_file())
    {
        return Ok(configured.to_owned());
    }
    for (name, text) in files {
        let path = work.join(name);
        let parent = path.parent().unwrap_or(work);
        fs::create_dir_all(parent).with_context(|| format!("make {parent}"))?;
        // Written only when it differs: another build may be reading it.
        if fs::read_to_string(&path).ok().as_deref() != Some(*text) {
            fs::write(&path, text).with_context(|| format!("write {path}"))?;
        }
    }
    Ok(work.to_owned())
}
