//! Writing and removing files, all or nothing.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
};

use anyhow::{Context, Result};
use camino::Utf8Path;

/// Writes a file whole, or not at all, making its directory: a run that is killed leaves no half of one.
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

/// As [`write`], a file that can be run.
pub fn write_program(path: &Utf8Path, text: &str) -> Result<()> {
    write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {path} a program"))
}

/// Removes a directory with all it holds; nothing when it is not there.
pub fn remove_directory(path: &Utf8Path) -> Result<()> {
    gone(fs::remove_dir_all(path), path)
}

/// Removes a file; nothing when it is not there.
pub fn remove_file(path: &Utf8Path) -> Result<()> {
    gone(fs::remove_file(path), path)
}

fn gone(removed: std::io::Result<()>, path: &Utf8Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {path}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap().join("file");
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
