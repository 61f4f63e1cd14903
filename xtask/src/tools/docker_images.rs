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

/// The directory to build with: `configured` when it holds every file, else a copy of our own in `work`
/// (a repository that has only connectors, or Dockerfiles of another make).
pub fn directory(configured: &Utf8Path, work: &Utf8Path) -> Result<Utf8PathBuf> {
    if FILES
        .iter()
        .all(|(name, _)| configured.join(name).is_file())
    {
        return Ok(configured.to_owned());
    }
    fs::create_dir_all(work).with_context(|| format!("make {work}"))?;
    for (name, text) in FILES {
        let path = work.join(name);
        // Written only when it differs: another build may be reading it.
        if fs::read_to_string(&path).ok().as_deref() != Some(text) {
            fs::write(&path, text).with_context(|| format!("write {path}"))?;
        }
    }
    Ok(work.to_owned())
}
