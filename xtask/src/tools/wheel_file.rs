//! Wheels as files: what they contain, and the same contents under the tag that they deserve.

use std::io::{Cursor, Read, Write};

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use pep508_rs::PackageName;
use sha2::{Digest as _, Sha256};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::model::machine_code::{HEADER, MachineCode};

/// A wheel in memory.
#[derive(Debug)]
pub struct WheelFile {
    pub name: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl WheelFile {
    /// Unpacks a wheel, without its directories. Fails where it is no zip archive, or where a member of it is damaged;
    /// `name` is taken as it is.
    pub fn read(name: &str, bytes: &[u8]) -> Result<WheelFile> {
        let mut archive =
            ZipArchive::new(Cursor::new(bytes)).with_context(|| format!("read {name}"))?;
        let mut entries = Vec::new();
        for index in 0..archive.len() {
            let mut file = archive
                .by_index(index)
                .with_context(|| format!("read {name}"))?;
            if file.is_dir() {
                continue;
            }
            let path = file
                .name()
                .with_context(|| format!("read {name}"))?
                .into_owned();
            let mode = file.unix_mode().unwrap_or(0o644) & 0o777;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)
                .with_context(|| format!("read {path} in {name}"))?;
            entries.push(Entry { path, mode, bytes });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(WheelFile {
            name: name.to_owned(),
            entries,
        })
    }

    /// Files with machine code, by path. A wheel without any is pure whatever its tag says.
    pub fn machine_code(&self) -> Vec<(&str, MachineCode)> {
        let code = |entry: &Entry| MachineCode::of(&entry.bytes[..entry.bytes.len().min(HEADER)]);
        self.entries
            .iter()
            .filter_map(|entry| Some((entry.path.as_str(), code(entry)?)))
            .collect()
    }

    /// The same contents as a pure wheel for every platform and Python 3: renamed, with WHEEL and RECORD saying so.
    /// (An installer goes by the name and refuses another platform's, or `py2-none-any`, else.)
    pub fn into_pure(mut self) -> Result<WheelFile> {
        let stem = self
            .name
            .strip_suffix(".whl")
            .context("a wheel's name ends in .whl")?;
        let parts: Vec<&str> = stem.split('-').collect();
        let [front @ .., _, _, _] = parts.as_slice() else {
            anyhow::bail!("`{}` is not the name of a wheel", self.name);
        };
        self.name = format!("{}-py3-none-any.whl", front.join("-"));
        self.edit("WHEEL", |text| {
            let mut lines: Vec<&str> = text
                .lines()
                .filter(|line| {
                    !line.is_empty()
                        && !line.starts_with("Tag:")
                        && !line.starts_with("Root-Is-Purelib:")
                })
                .collect();
            lines.extend(["Root-Is-Purelib: true", "Tag: py3-none-any"]);
            lines.join("\n") + "\n"
        })?;
        Ok(self)
    }

    /// The same contents as a wheel of the package `to`, as if pyproject.toml had that name.
    pub fn renamed(mut self, to: &PackageName) -> Result<WheelFile> {
        let name = self.name.clone();
        let directory = self
            .metadata("METADATA")
            .and_then(|entry| Some(entry.path.split_once(".dist-info/")?.0.to_owned()));
        // NAME-VERSION, which `.data` has in common.
        let from = directory.with_context(|| format!("{name} has no METADATA"))?;
        let (_, version) = from
            .rsplit_once('-')
            .with_context(|| format!("`{from}.dist-info` in {name} names no version"))?;
        let (_, rest) = name.split_once('-').context("a wheel's name has parts")?;
        let distribution = to.as_dist_info_name();
        self.name = format!("{distribution}-{rest}");
        let moved = |path: &str| {
            let below = path.strip_prefix(&from)?;
            let is_its = below.starts_with(".dist-info/") || below.starts_with(".data/");
            is_its.then(|| format!("{distribution}-{version}{below}"))
        };
        for entry in &mut self.entries {
            if let Some(path) = moved(&entry.path) {
                entry.path = path;
            }
        }
        self.edit("METADATA", |text| {
            let mut lines: Vec<&str> = text.lines().collect();
            let line = format!("Name: {to}");
            if let Some(old) = lines.iter_mut().find(|line| line.starts_with("Name:")) {
                *old = &line;
            }
            lines.join("\n") + "\n"
        })?;
        let record = self.record()?;
        let lines = String::from_utf8_lossy(&record.bytes).into_owned();
        let lines = lines.lines().map(|line| {
            // A path with a comma stands in quotes.
            let (quote, path) = match line.strip_prefix('"') {
                Some(path) => ("\"", path),
                None => ("", line),
            };
            moved(path).map_or_else(|| line.to_owned(), |path| format!("{quote}{path}"))
        });
        record.bytes = (lines.collect::<Vec<_>>().join("\n") + "\n").into_bytes();
        Ok(self)
    }

    /// Changes the text of a file of the metadata, and its line in RECORD.
    fn edit(&mut self, file: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
        let name = self.name.clone();
        let entry = self
            .metadata(file)
            .with_context(|| format!("{name} has no {file}"))?;
        entry.bytes = change(&String::from_utf8_lossy(&entry.bytes)).into_bytes();
        let (path, size) = (entry.path.clone(), entry.bytes.len());
        let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&entry.bytes));
        let line = format!("{path},sha256={hash},{size}");
        let record = self.record()?;
        let text = String::from_utf8_lossy(&record.bytes).into_owned();
        let is_it = |old: &&str| {
            let directory = old.split_once(".dist-info/").map(|(_, rest)| rest);
            directory.is_some_and(|rest| rest.starts_with(&format!("{file},")))
        };
        let lines = text
            .lines()
            .map(|old| if is_it(&old) { &line } else { old });
        record.bytes = (lines.collect::<Vec<_>>().join("\n") + "\n").into_bytes();
        Ok(())
    }

    fn record(&mut self) -> Result<&mut Entry> {
        let name = self.name.clone();
        let record = self.metadata("RECORD");
        record.with_context(|| format!("{name} has no RECORD"))
    }

    /// The archive, the same bytes for the same contents: sorted, with one constant date.
    pub fn write(&self) -> Result<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        // RECORD comes last (PEP 427); the dates are zip's earliest.
        let (record, files): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .partition(|entry| is_metadata(&entry.path, "RECORD"));
        for entry in files.into_iter().chain(record) {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .last_modified_time(zip::DateTime::default())
                .unix_permissions(entry.mode);
            archive
                .start_file(&entry.path, options)
                .with_context(|| format!("write {}", entry.path))?;
            archive
                .write_all(&entry.bytes)
                .with_context(|| format!("write {}", entry.path))?;
        }
        Ok(archive
            .finish()
            .with_context(|| format!("write {}", self.name))?
            .into_inner())
    }

    fn metadata(&mut self, file: &str) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| is_metadata(&entry.path, file))
    }
}

/// `NAME-VERSION.dist-info/FILE`.
fn is_metadata(path: &str, file: &str) -> bool {
    path.split_once('/')
        .is_some_and(|(directory, rest)| directory.ends_with(".dist-info") && rest == file)
}

/// An archive of some files, for handing them to a program.
pub fn pack(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive
            .start_file(path, options)
            .with_context(|| format!("pack {path}"))?;
        archive
            .write_all(bytes)
            .with_context(|| format!("pack {path}"))?;
    }
    Ok(archive.finish().context("pack files")?.into_inner())
}

/// The one file of an archive: its name and content.
pub fn unpack_one(bytes: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).context("read what the build gave back")?;
    anyhow::ensure!(
        archive.len() == 1,
        "the build gave back {} files",
        archive.len()
    );
    let mut file = archive
        .by_index(0)
        .context("read what the build gave back")?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)
        .context("read what the build gave back")?;
    let name = file
        .name()
        .context("read what the build gave back")?
        .into_owned();
    Ok((name, content))
}

/// pyproject.toml at the top of an sdist (`.zip` or gzipped tar); None when it has none.
pub fn pyproject(name: &str, bytes: &[u8]) -> Result<Option<String>> {
    let is_it = |path: &str| {
        path.split('/').filter(|part| *part != ".").count() == 2
            && path.ends_with("/pyproject.toml")
    };
    let mut text = String::new();
    if name.ends_with(".zip") {
        let mut archive =
            ZipArchive::new(Cursor::new(bytes)).with_context(|| format!("read {name}"))?;
        let found = archive
            .file_names()
            .filter_map(|path| Some(path.ok()?.into_owned()))
            .find(|path| is_it(path));
        let Some(path) = found else { return Ok(None) };
        archive
            .by_name(&path)?
            .read_to_string(&mut text)
            .with_context(|| format!("read {path} in {name}"))?;
        return Ok(Some(text));
    }
    anyhow::ensure!(
        name.ends_with(".tar.gz") || name.ends_with(".tgz"),
        "{name}: only .tar.gz and .zip sdists are known"
    );
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    for entry in archive.entries().with_context(|| format!("read {name}"))? {
        let mut entry = entry.with_context(|| format!("read {name}"))?;
        if is_it(&String::from_utf8_lossy(&entry.path_bytes())) {
            entry
                .read_to_string(&mut text)
                .with_context(|| format!("read pyproject.toml in {name}"))?;
            return Ok(Some(text));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(name: &str, code: &[u8]) -> WheelFile {
        let files = [
            (
                "a-1.dist-info/RECORD",
                b"a.py,sha256=x,3\na-1.dist-info/WHEEL,sha256=old,1\na-1.dist-info/RECORD,,\n"
                    .to_vec(),
            ),
            (
                "a-1.dist-info/WHEEL",
                b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-linux_x86_64\n\n"
                    .to_vec(),
            ),
            ("a.py", b"x=1".to_vec()),
            ("a/b.so", code.to_vec()),
        ];
        WheelFile::read(
            name,
            &pack(&files.map(|(path, bytes)| (path.to_owned(), bytes))).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn content_tells_whether_a_wheel_is_pure() {
        let name = "a-1-cp311-cp311-linux_x86_64.whl";
        assert!(wheel(name, b"text").machine_code().is_empty());
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(18, 0);
        elf.extend([62, 0]);
        let native = wheel("a-1-py3-none-any.whl", &elf);
        assert_eq!(
            native.machine_code(),
            [("a/b.so", MachineCode::Elf { machine: 62 })]
        );
    }

    #[test]
    fn a_pure_wheel_gets_its_tag_in_name_metadata_and_record() {
        for (name, expected) in [
            ("a-1-cp311-cp311-linux_x86_64.whl", "a-1-py3-none-any.whl"),
            ("a-1-py2-none-any.whl", "a-1-py3-none-any.whl"),
            (
                "a-1-2x-cp311-cp311-linux_x86_64.whl",
                "a-1-2x-py3-none-any.whl",
            ),
        ] {
            let pure = wheel(name, b"").into_pure().unwrap();
            assert_eq!(pure.name, expected);
            let bytes = pure.write().unwrap();
            assert_eq!(
                bytes,
                WheelFile::read(expected, &bytes).unwrap().write().unwrap(),
                "repeatable"
            );
            let mut read = WheelFile::read(expected, &bytes).unwrap();
            let meta = String::from_utf8(read.metadata("WHEEL").unwrap().bytes.clone()).unwrap();
            assert_eq!(
                meta,
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            );
            let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&meta));
            let record = String::from_utf8(read.metadata("RECORD").unwrap().bytes.clone()).unwrap();
            assert!(
                record.contains(&format!(
                    "a-1.dist-info/WHEEL,sha256={hash},{}\n",
                    meta.len()
                )),
                "{record}"
            );
            assert!(
                record.starts_with("a.py,sha256=x,3\n")
                    && record.ends_with("a-1.dist-info/RECORD,,\n")
            );
        }
    }

    #[test]
    fn another_name_stands_everywhere() {
        let files = [
            ("a.py", "x=1"),
            ("a_b-1.data/scripts/run", "x"),
            (
                "a_b-1.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: a-b\nVersion: 1\n\nName: text\n",
            ),
            (
                "a_b-1.dist-info/RECORD",
                "a.py,sha256=x,3\n\"a_b-1.data/scripts/a,b\",sha256=y,1\na_b-1.dist-info/METADATA,sha256=old,1\na_b-1.dist-info/RECORD,,\n",
            ),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        let wheel = WheelFile::read("a_b-1-py3-none-any.whl", &pack(&files).unwrap()).unwrap();
        let renamed = wheel.renamed(&"Other.Name".parse().unwrap()).unwrap();
        assert_eq!(renamed.name, "other_name-1-py3-none-any.whl");
        let text = |path: &str| {
            let entry = renamed.entries.iter().find(|entry| entry.path == path);
            String::from_utf8(entry.unwrap().bytes.clone()).unwrap()
        };
        let metadata = "Metadata-Version: 2.1\nName: other-name\nVersion: 1\n\nName: text\n";
        assert_eq!(text("other_name-1.dist-info/METADATA"), metadata);
        assert_eq!(text("other_name-1.data/scripts/run"), "x");
        let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(metadata));
        assert_eq!(
            text("other_name-1.dist-info/RECORD"),
            format!(
                "a.py,sha256=x,3\n\"other_name-1.data/scripts/a,b\",sha256=y,1\n\
                 other_name-1.dist-info/METADATA,sha256={hash},{}\nother_name-1.dist-info/RECORD,,\n",
                metadata.len()
            )
        );
    }

    #[test]
    fn pyproject_is_found_at_the_top_only() {
        let file = |path: &str| vec![(path.to_owned(), b"[build-system]".to_vec())];
        for (path, expected) in [
            ("a-1/pyproject.toml", true),
            ("a-1/tests/pyproject.toml", false),
            ("a-1/setup.py", false),
        ] {
            let zipped = pack(&file(path)).unwrap();
            assert_eq!(
                pyproject("a-1.zip", &zipped).unwrap().is_some(),
                expected,
                "{path}"
            );
            let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::fast(),
            ));
            let mut header = tar::Header::new_gnu();
            header.set_size(14);
            archive
                .append_data(&mut header, path, &b"[build-system]"[..])
                .unwrap();
            let tarred = archive.into_inner().unwrap().finish().unwrap();
            assert_eq!(
                pyproject("a-1.tar.gz", &tarred).unwrap().is_some(),
                expected,
                "{path}"
            );
        }
        assert!(pyproject("a-1.tar.bz2", b"").is_err());
    }
}
