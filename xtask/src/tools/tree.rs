//! Files that become a layer of an image.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    layer::{LayerWriter, Mode, Owner},
    process::check_interrupted,
    spool::Spooled,
    wheel_install::{PackedFile, Source},
};
use crate::model::{ignored_files::IgnoredFiles, layer::is_whiteout, problem::Problem};

/// Files by their path in the image, without a leading slash; the directories above each are there too.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    content: Content,
}

/// What stands at a path.
#[derive(Debug)]
pub enum Content {
    Directory,
    /// Read when it is packed.
    File {
        path: Utf8PathBuf,
        mode: Mode,
    },
    Bytes {
        bytes: Vec<u8>,
        mode: Mode,
    },
    /// Unpacked when it is packed again.
    Packed {
        file: PackedFile,
        mode: Mode,
    },
    Spooled {
        part: Spooled,
        mode: Mode,
    },
    /// A symbolic link with its target.
    Link(String),
}

impl Content {
    /// A file that is not executable.
    pub fn plain(path: Utf8PathBuf) -> Content {
        Content::File {
            path,
            mode: Mode::Plain,
        }
    }
}

impl Tree {
    /// Puts something at `path`, in place of what was there.
    pub fn add(&mut self, path: &str, owner: Owner, content: Content) {
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        for directory in above {
            self.entries.entry(directory.to_owned()).or_insert(Entry {
                owner,
                content: Content::Directory,
            });
        }
        self.entries
            .insert(path.to_owned(), Entry { owner, content });
    }

    /// Removes what lower layers hold at `path` (OCI image specification 1.1, "Whiteouts").
    pub fn remove(&mut self, path: &str) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let whiteout = Content::Bytes {
            bytes: Vec::new(),
            mode: Mode::Plain,
        };
        let path = format!("{directory}/.wh.{name}");
        self.add(path.trim_start_matches('/'), Owner::Root, whiteout);
    }

    /// Puts everything of a directory below `path`, without what is ignored.
    pub fn add_directory(
        &mut self,
        path: &str,
        owner: Owner,
        directory: &Utf8Path,
        ignored: &IgnoredFiles,
    ) -> Result<()> {
        self.add(path, owner, Content::Directory);
        let mut open = vec![directory.to_owned()];
        while let Some(next) = open.pop() {
            check_interrupted()?;
            let read = next.read_dir_utf8();
            for entry in read.with_context(|| format!("read {next}"))? {
                let entry = entry.with_context(|| format!("read {next}"))?;
                let below = entry.path().strip_prefix(directory)?.to_owned();
                let kind = entry
                    .file_type()
                    .with_context(|| format!("read {}", entry.path()))?;
                let is_ignored = ignored.holds(&below);
                if kind.is_dir() && !(is_ignored && ignored.is_final()) {
                    open.push(entry.path().to_owned());
                }
                if is_ignored {
                    continue;
                }
                if is_whiteout(entry.file_name()) {
                    let fault = format!("{} would remove files of the base image", entry.path());
                    let problem = Problem::usage(fault);
                    return Err(problem
                        .help("rename it: in a layer names that begin with `.wh.` are no files")
                        .into());
                }
                let content = content(entry.path(), kind)?;
                self.add(&format!("{path}/{below}"), owner, content);
            }
        }
        Ok(())
    }

    /// Every file's content by its path, without links and directories.
    pub fn contents(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut contents = BTreeMap::new();
        for (path, entry) in &self.entries {
            let bytes = match &entry.content {
                Content::Directory | Content::Link(_) => continue,
                Content::Bytes { bytes, .. } => bytes.clone(),
                Content::Packed { file, .. } => Source::Packed(file.clone()).read()?,
                Content::Spooled { part, .. } => {
                    let mut bytes = Vec::new();
                    part.reader().read_to_end(&mut bytes)?;
                    bytes
                }
                Content::File { path: from, .. } => {
                    fs::read(from).with_context(|| format!("read {from}"))?
                }
            };
            contents.insert(path.clone(), bytes);
        }
        Ok(contents)
    }

    /// Packs everything, in the order of the paths.
    pub fn write<W: Write>(&self, into: &mut LayerWriter<W>) -> Result<()> {
        for (path, Entry { owner, content }) in &self.entries {
            match content {
                Content::Directory => into.directory(path, *owner)?,
                Content::Link(target) => into.link(path, target, *owner)?,
                Content::Bytes { bytes, mode } => into.file(path, *mode, *owner, bytes)?,
                Content::Packed { file, mode } => {
                    file.open(|content| into.copy(path, *mode, *owner, file.size, content))?;
                }
                Content::Spooled { part, mode } => {
                    into.copy(path, *mode, *owner, part.size, part.reader())?;
                }
                Content::File { path: from, mode } => {
                    let bytes = fs::read(from).with_context(|| format!("read {from}"))?;
                    into.file(path, *mode, *owner, &bytes)?;
                }
            }
        }
        Ok(())
    }
}

fn content(path: &Utf8Path, kind: fs::FileType) -> Result<Content> {
    if kind.is_dir() {
        return Ok(Content::Directory);
    }
    if kind.is_symlink() {
        let target = path.read_link_utf8();
        let target = target.with_context(|| format!("read the link {path}"))?;
        return Ok(Content::Link(target.into_string()));
    }
    anyhow::ensure!(
        kind.is_file(),
        "{path} is neither a file, a directory nor a link"
    );
    let metadata = fs::metadata(path).with_context(|| format!("read {path}"))?;
    // As git knows them: what else a checkout's mode says depends on the machine.
    let mode = if metadata.permissions().mode() & 0o100 == 0 {
        Mode::Plain
    } else {
        Mode::Executable
    };
    Ok(Content::File {
        path: path.to_owned(),
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_is_a_whiteout_beside_it() {
        let mut tree = Tree::default();
        tree.remove("a/b");
        tree.remove("c");
        let paths: Vec<&String> = tree.entries.keys().collect();
        assert_eq!(paths, [".wh.c", "a", "a/.wh.b"]);
    }

    #[test]
    fn a_directory_goes_in_without_what_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        for (path, mode) in [
            ("main.py", 0o664),
            ("run.sh", 0o700),
            ("secrets/config.json", 0o600),
            ("pkg/a.pyc", 0o644),
            ("pkg/a.py", 0o644),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), path).unwrap();
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(root.join("empty")).unwrap();
        std::os::unix::fs::symlink("main.py", root.join("link.py")).unwrap();
        let ignored = IgnoredFiles::parse("secrets\n**/*.pyc").unwrap();
        let mut tree = Tree::default();
        tree.add_directory("a/code", Owner::Airbyte, root, &ignored)
            .unwrap();
        let mut writer = LayerWriter::new(Vec::new());
        tree.write(&mut writer).unwrap();
        let layer = writer.finish().unwrap().inner;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer.as_slice()));
        let entries: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                format!("{:o} {path}", entry.header().mode().unwrap())
            })
            .collect();
        assert_eq!(
            entries,
            [
                "755 a/",
                "755 a/code/",
                "755 a/code/empty/",
                "777 a/code/link.py",
                "644 a/code/main.py",
                "755 a/code/pkg/",
                "644 a/code/pkg/a.py",
                "755 a/code/run.sh"
            ]
        );
        fs::write(root.join("pkg/.wh.a.py"), "").unwrap();
        let error = Tree::default()
            .add_directory("a/code", Owner::Airbyte, root, &ignored)
            .unwrap_err();
        assert!(error.to_string().contains("pkg/.wh.a.py"), "{error}");
    }
}
