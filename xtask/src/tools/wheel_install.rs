//! Installs a wheel into a tree of files as uv does with `--prefix /usr/local` (binary distribution format, "Installing
//! a wheel"): data directories, scripts, entry points, RECORD.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    rc::Rc,
};

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use camino::Utf8Path;
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use super::layer::Mode;
use crate::model::{layer::is_whiteout, target::PythonVersion};

const PREFIX: &str = "usr/local";
const INTERPRETER: &str = "/usr/local/bin/python";

type Archive = ZipArchive<BufReader<File>>;

/// Installed files by their path in the image, without a leading slash.
pub type Installed = BTreeMap<String, (Mode, Source)>;

/// Where an installed file's content is.
#[derive(Debug, Clone)]
pub enum Source {
    Bytes(Vec<u8>),
    Packed(PackedFile),
}

/// A file that is still in its wheel.
#[derive(Clone)]
pub struct PackedFile {
    archive: Rc<RefCell<Archive>>,
    index: usize,
    /// In bytes, unpacked.
    pub size: u64,
}

/// Where files of a wheel go.
struct Places {
    site: String,
    python: PythonVersion,
    /// `NAME-VERSION.dist-info` and `NAME-VERSION.data`.
    info: String,
    data: String,
}

/// What a wheel installs for a Python. Files stay in it until they are read.
pub fn install(wheel: &Utf8Path, python: PythonVersion) -> Result<Installed> {
    unpack(wheel, python).with_context(|| format!("install {wheel}"))
}

fn unpack(wheel: &Utf8Path, python: PythonVersion) -> Result<Installed> {
    let archive = ZipArchive::new(BufReader::new(File::open(wheel)?))?;
    let places = Places::new(&archive, python)?;
    let count = archive.len();
    let archive = Rc::new(RefCell::new(archive));
    let mut installed = Installed::new();
    let mut record = Vec::new();
    let mut record_mode = Mode::Plain;
    let mut entry_points = String::new();
    let mut added = Installed::new();
    for index in 0..count {
        let (packed, path, executable) = {
            let mut archive_now = archive.borrow_mut();
            let file = archive_now.by_index_raw(index)?;
            if file.is_dir() {
                continue;
            }
            let packed = PackedFile {
                archive: Rc::clone(&archive),
                index,
                size: file.size(),
            };
            let executable = file.unix_mode().unwrap_or(0) & 0o111 != 0;
            (packed, file.name()?.into_owned(), executable)
        };
        if path == format!("{}/RECORD", places.info) {
            record = read_record(&String::from_utf8_lossy(&packed.read()?))?;
            // It is rewritten in place, so it keeps its mode.
            if executable {
                record_mode = Mode::Executable;
            }
            continue;
        }
        if path == format!("{}/entry_points.txt", places.info) {
            entry_points = String::from_utf8_lossy(&packed.read()?).into_owned();
        }
        let (to, is_script) = places.place(&path)?;
        let mode = if executable || is_script {
            Mode::Executable
        } else {
            Mode::Plain
        };
        if is_script && let Some(text) = for_interpreter(&packed.read()?) {
            added.insert(to, (mode, Source::Bytes(text)));
        } else {
            installed.insert(to, (mode, Source::Packed(packed)));
        }
    }
    for (script, text) in scripts(&entry_points)? {
        let text = Source::Bytes(text.into_bytes());
        added.insert(format!("{PREFIX}/bin/{script}"), (Mode::Executable, text));
    }
    for (file, text) in [("INSTALLER", "uv"), ("REQUESTED", "")] {
        let path = format!("{}/{}/{file}", places.site, places.info);
        added.insert(path, (Mode::Plain, Source::Bytes(text.into())));
    }
    // By its path in the image: what was recorded of it.
    let mut lines: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (path, hash, size) in record {
        lines.insert(places.place(&path)?.0, (hash, size));
    }
    for (path, (_, source)) in &added {
        lines.insert(path.clone(), recorded(&source.read()?));
    }
    installed.extend(added);
    let path = format!("{}/{}/RECORD", places.site, places.info);
    lines.insert(path.clone(), (String::new(), String::new()));
    let text = Source::Bytes(places.record(&lines).into_bytes());
    installed.insert(path, (record_mode, text));
    Ok(installed)
}

/// A script that begins with `#!python`, begun with the image's interpreter.
fn for_interpreter(script: &[u8]) -> Option<Vec<u8>> {
    let rest = script.strip_prefix(b"#!python")?;
    let end = rest.iter().position(|byte| *byte == b'\n');
    let rest = &rest[end.unwrap_or(rest.len())..];
    Some([b"#!", INTERPRETER.as_bytes(), rest].concat())
}

impl Source {
    /// All of the content; what is packed is read from its wheel each time, and that may fail.
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::Packed(packed) => packed.read(),
        }
    }
}

impl PackedFile {
    fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(|file| Ok(file.read_to_end(&mut bytes)?))?;
        Ok(bytes)
    }

    /// Calls `read` with the file's content, unpacked as it is read. Its wheel can't be looked into meanwhile.
    pub fn open<T>(&self, read: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
        read(&mut self.archive.borrow_mut().by_index(self.index)?)
    }
}

impl std::fmt::Debug for PackedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes in a wheel", self.size)
    }
}

impl Places {
    fn new(archive: &Archive, python: PythonVersion) -> Result<Places> {
        let mut info: Vec<String> = archive
            .file_names()
            .filter_map(|name| {
                let name = name.ok()?;
                let (top, rest) = name.split_once('/')?;
                (top.ends_with(".dist-info") && rest == "WHEEL").then(|| top.to_owned())
            })
            .collect();
        info.dedup();
        let [info] = info.as_slice() else {
            anyhow::bail!("it has {} .dist-info directories, not one", info.len());
        };
        Ok(Places {
            site: format!(
                "{PREFIX}/lib/python{}.{}/site-packages",
                python.major, python.minor
            ),
            python,
            data: format!("{}.data", info.trim_end_matches(".dist-info")),
            info: info.clone(),
        })
    }

    /// Where a file goes, and whether it is a script.
    fn place(&self, path: &str) -> Result<(String, bool)> {
        anyhow::ensure!(
            !path.starts_with('/') && !path.split('/').any(|part| part == ".."),
            "{path} leads out of the wheel"
        );
        anyhow::ensure!(
            !path.split('/').any(is_whiteout),
            "{path} would remove files of other layers"
        );
        let below = path
            .strip_prefix(&self.data)
            .and_then(|rest| rest.strip_prefix('/'));
        let Some((scheme, rest)) = below.and_then(|rest| rest.split_once('/')) else {
            return Ok((format!("{}/{path}", self.site), false));
        };
        let PythonVersion { major, minor, .. } = self.python;
        let name = self.data.split('-').next().unwrap_or_default();
        Ok(match scheme {
            "purelib" | "platlib" => (format!("{}/{rest}", self.site), false),
            "scripts" => (format!("{PREFIX}/bin/{rest}"), true),
            "data" => (format!("{PREFIX}/{rest}"), false),
            "headers" => {
                let include = format!("{PREFIX}/include/site/python{major}.{minor}/{name}");
                (format!("{include}/{rest}"), false)
            }
            other => anyhow::bail!("{path}: `{other}` is no place to install to"),
        })
    }

    /// RECORD with paths from site-packages, in their order.
    fn record(&self, lines: &BTreeMap<String, (String, String)>) -> String {
        let relative = |path: &str| {
            let below = path
                .strip_prefix(&self.site)
                .map(|rest| rest.trim_start_matches('/'));
            below.map_or_else(
                || format!("../../../{}", &path[PREFIX.len() + 1..]),
                str::to_owned,
            )
        };
        let lines: BTreeMap<String, &(String, String)> = lines
            .iter()
            .map(|(path, recorded)| (relative(path), recorded))
            .collect();
        lines
            .iter()
            .map(|(path, (hash, size))| {
                let path = if path.contains([',', '"', '\n']) {
                    format!("\"{}\"", path.replace('"', "\"\""))
                } else {
                    path.clone()
                };
                format!("{path},{hash},{size}\n")
            })
            .collect()
    }
}

fn recorded(bytes: &[u8]) -> (String, String) {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
    (format!("sha256={hash}"), bytes.len().to_string())
}

/// Path, hash and size of each line.
fn read_record(text: &str) -> Result<Vec<(String, String, String)>> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (path, rest) = if let Some(quoted) = line.strip_prefix('"') {
            let end = quoted.rfind("\",");
            let end = end.with_context(|| format!("RECORD: `{line}` has no end"))?;
            (quoted[..end].replace("\"\"", "\""), &quoted[end + 2..])
        } else {
            let (path, rest) = line
                .split_once(',')
                .with_context(|| format!("RECORD: `{line}` is no record"))?;
            (path.to_owned(), rest)
        };
        let (hash, size) = rest.split_once(',').unwrap_or((rest, ""));
        lines.push((path, hash.to_owned(), size.to_owned()));
    }
    Ok(lines)
}

/// The console scripts of entry_points.txt: name and text, which is the text that uv writes.
fn scripts(entry_points: &str) -> Result<Vec<(String, String)>> {
    let mut section = "";
    let mut scripts = Vec::new();
    for line in entry_points.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim();
            continue;
        }
        let is_script = matches!(section, "console_scripts" | "gui_scripts");
        let Some((name, object)) = line.split_once('=').filter(|_| is_script) else {
            continue;
        };
        if line.starts_with(['#', ';']) {
            continue;
        }
        // Extras in brackets are obsolete and mean nothing here.
        let object = object.split('[').next().unwrap_or_default();
        let (module, function) = object
            .split_once(':')
            .with_context(|| format!("entry_points.txt: `{line}` names no function"))?;
        let (name, module, function) = (name.trim(), module.trim(), function.trim());
        anyhow::ensure!(
            !name.is_empty() && !name.contains('/') && !is_whiteout(name),
            "entry_points.txt: `{name}` is no file name"
        );
        let import = function.split('.').next().unwrap_or_default();
        let text = format!(
            "#!{INTERPRETER}\n# -*- coding: utf-8 -*-\nimport sys\nfrom {module} import {import}\n\
             if __name__ == \"__main__\":\n    if sys.argv[0].endswith(\"-script.pyw\"):\n        sys.argv[0] = sys.argv[0][:-11]\n    \
             elif sys.argv[0].endswith(\".exe\"):\n        sys.argv[0] = sys.argv[0][:-4]\n    sys.exit({function}())\n"
        );
        scripts.push((name.to_owned(), text));
    }
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::tools::wheel_file::pack;

    fn installed(files: &[(&str, &str)]) -> Result<Installed> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect();
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&pack(&files)?)?;
        let path = Utf8Path::from_path(file.path()).context("a path")?;
        install(path, "3.11.2".parse().unwrap())
    }

    #[test]
    fn files_go_where_their_scheme_says() {
        let installed = installed(&[
            ("a/__init__.py", "x = 1\n"),
            ("a-1.data/scripts/tool", "#!python\nprint()\n"),
            ("a-1.data/scripts/shell", "#!/bin/sh\n"),
            ("a-1.data/data/share/a/x, y.txt", "x"),
            ("a-1.data/purelib/b.py", ""),
            ("a-1.data/headers/a.h", ""),
            ("a-1.dist-info/WHEEL", "Wheel-Version: 1.0\n"),
            (
                "a-1.dist-info/entry_points.txt",
                "[other]\nx = a:b\n[console_scripts]\n# no\na-run = a.b:Main.run [extra]\n",
            ),
            (
                "a-1.dist-info/RECORD",
                "a/__init__.py,sha256=AA,6\na-1.data/scripts/tool,sha256=BB,17\n\
                 \"a-1.data/data/share/a/x, y.txt\",sha256=CC,1\na-1.dist-info/RECORD,,\n",
            ),
        ])
        .unwrap();
        let site = "usr/local/lib/python3.11/site-packages";
        let text = |path: &str| String::from_utf8(installed[path].1.read().unwrap()).unwrap();
        for path in [
            "usr/local/share/a/x, y.txt",
            "usr/local/include/site/python3.11/a/a.h",
            &format!("{site}/b.py"),
        ] {
            assert!(installed.contains_key(path), "{path}");
        }
        assert_eq!(
            text("usr/local/bin/tool"),
            "#!/usr/local/bin/python\nprint()\n"
        );
        assert_eq!(text("usr/local/bin/shell"), "#!/bin/sh\n");
        assert_eq!(installed["usr/local/bin/shell"].0, Mode::Executable);
        let run = text("usr/local/bin/a-run");
        assert!(
            run.contains("from a.b import Main\n") && run.ends_with("    sys.exit(Main.run())\n"),
            "{run}"
        );
        assert_eq!(text(&format!("{site}/a-1.dist-info/INSTALLER")), "uv");
        let record = text(&format!("{site}/a-1.dist-info/RECORD"));
        let lines: Vec<&str> = record.lines().collect();
        assert!(
            lines[0].starts_with("\"../../../share/a/x, y.txt\",sha256=CC,1")
                || lines[0].starts_with("../../../bin/a-run,sha256="),
            "{record}"
        );
        assert!(record.contains("a/__init__.py,sha256=AA,6\n"), "{record}");
        assert!(
            !record.contains("sha256=BB"),
            "the changed script is recorded anew: {record}"
        );
        assert!(record.contains("a-1.dist-info/RECORD,,\n"));
    }

    #[test]
    fn nothing_is_installed_outside() {
        for path in [
            "../x.py",
            "a-1.data/data/../../x",
            "a-1.data/odd/x",
            "a/.wh.b.py",
            "a/.wh..wh..opq",
            ".wh.a/b.py",
        ] {
            let files = [("a-1.dist-info/WHEEL", ""), (path, "")];
            assert!(installed(&files).is_err(), "{path}");
        }
        for script in ["a/b", ".wh.python"] {
            let entry_points = format!("[console_scripts]\n{script} = a:b\n");
            let files = [
                ("a-1.dist-info/WHEEL", ""),
                ("a-1.dist-info/entry_points.txt", entry_points.as_str()),
            ];
            assert!(installed(&files).is_err(), "{script}");
        }
    }
}
