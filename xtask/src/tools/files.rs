//! Writing and removing files, all or nothing.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
};

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};

/// Writes a file whole, or not at all, making its directory: a run that is killed leaves no half of one.
pub fn write(path: &Utf8Path, text: &str) -> Result<()> {
    write_bytes(path, text.as_bytes())
}

/// As [`write`], for what is no text.
pub fn write_bytes(path: &Utf8Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().context("a file has a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    let mut file = tempfile::NamedTempFile::new_in(directory)
        .with_context(|| format!("write into {directory}"))?;
    file.write_all(bytes)
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

/// A program for a test to start. Another process writes it: a file that this one has open for writing, and with it
/// whatever other threads are just starting, can't be run (execve(2), ETXTBSY).
#[cfg(test)]
pub fn executable(path: &Utf8Path, text: &str) {
    let shell = xshell::Shell::new().unwrap();
    let install = xshell::cmd!(shell, "install -m 755 /dev/stdin {path}");
    super::process::Program::from(install)
        .input(text)
        .output()
        .unwrap();
}

/// A file to write anew.
#[derive(Debug, Clone)]
pub struct Replacement {
    pub path: Utf8PathBuf,
    /// What it must still hold.
    pub before: String,
    pub after: String,
}

/// Writes all of the files anew or, when one of them can't be, none. A link's target is written, and modes are kept.
pub fn replace(files: &[Replacement]) -> Result<()> {
    let mut ready = Vec::new();
    for file in files {
        let path = &file.path;
        let change = Staged::new(file).with_context(|| format!("write {path}"))?;
        ready.push((change, file));
    }
    let mut done: Vec<(Utf8PathBuf, &Replacement)> = Vec::new();
    for (staged, file) in ready {
        let Staged { target, content } = staged;
        if let Err(error) = content.persist(&target) {
            for (target, file) in done {
                fs::write(&target, &file.before)
                    .with_context(|| format!("write {target} back to what it was"))?;
            }
            return Err(error).with_context(|| format!("write {}", file.path));
        }
        done.push((target, file));
    }
    Ok(())
}

/// What a file will hold, beside it.
struct Staged {
    target: Utf8PathBuf,
    content: tempfile::NamedTempFile,
}

impl Staged {
    fn new(file: &Replacement) -> Result<Staged> {
        let target = file.path.canonicalize_utf8()?;
        ensure!(
            fs::read_to_string(&target)? == file.before,
            "it changed in the meantime"
        );
        let directory = target.parent().context("a file has a directory")?;
        let mut content = tempfile::NamedTempFile::new_in(directory)?;
        content.write_all(file.after.as_bytes())?;
        let permissions = fs::metadata(&target)?.permissions();
        content.as_file().set_permissions(permissions)?;
        Ok(Staged { target, content })
    }
}

/// Removes a directory with all it holds; nothing when it is not there.
pub fn remove_directory(path: &Utf8Path) -> Result<()> {
    gone(fs::remove_dir_all(path), path).map(drop)
}

/// Removes a file; false when it is not there.
pub fn remove_file(path: &Utf8Path) -> Result<bool> {
    gone(fs::remove_file(path), path)
}

fn gone(removed: std::io::Result<()>, path: &Utf8Path) -> Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("remove {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_replaced_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let (one, two, link) = (root.join("one"), root.join("two"), root.join("link"));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        fs::set_permissions(&two, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("two", &link).unwrap();
        let file = |path: &Utf8PathBuf, before: &str| Replacement {
            path: path.clone(),
            before: before.to_owned(),
            after: "new".to_owned(),
        };
        let error = replace(&[file(&one, "1"), file(&link, "other")]).unwrap_err();
        assert!(format!("{error:#}").contains("changed in the meantime"));
        assert!(replace(&[file(&one, "1"), file(&root.join("none"), "")]).is_err());
        assert_eq!(fs::read_to_string(&one).unwrap(), "1");
        assert_eq!(fs::read_dir(root).unwrap().count(), 3);
        replace(&[file(&one, "1"), file(&link, "2")]).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap(), "new");
        assert_eq!(fs::read_to_string(&two).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            fs::metadata(&two).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(fs::read_dir(root).unwrap().count(), 3);
    }

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
