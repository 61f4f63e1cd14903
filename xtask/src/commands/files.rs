//! Files that commands write.

use std::{fs, io::Write, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result};
use camino::Utf8Path;

/// Writes a file whole, or not at all, making its directory.
pub fn write(path: &Utf8Path, text: &str) -> Result<()> {
    let directory = path.parent().context("a file has a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    let mut file = tempfile::NamedTempFile::new_in(directory)
        .with_context(|| format!("write into {directory}"))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {path}"))?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .with_context(|| format!("write {path}"))?;
    file.persist(path)
        .with_context(|| format!("write {path}"))?;
    Ok(())
}
