//! The Dockerfiles that images are built with: the repository's, else the copies inside this program.

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

/// The files of docker-images/ that connectors are built with.
const FILES: [(&str, &str); 5] = [
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
