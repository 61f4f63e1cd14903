//! Looks at every file of an image's layers: a program for another machine has no place there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    thread,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    layer,
    layout::{self, Layout},
    process::check_interrupted,
    work::each,
};
use crate::model::{
    image::Digest,
    machine_code::{HEADER, MachineCode},
    platform::Platform,
    problem::Problem,
};

/// A file with machine code for another platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    pub path: String,
    pub platform: Platform,
    /// What it would run on, such as `x86_64`.
    pub machine: String,
    /// The package whose RECORD names it, as `NAME-VERSION`.
    pub package: Option<String>,
}

/// An error that names every stray file and its package; nothing when there is none.
pub fn expect_none(strays: &[Stray], what: &str) -> Result<()> {
    if strays.is_empty() {
        return Ok(());
    }
    let lines = strays.iter().map(|stray| {
        let from = stray.package.as_ref().map_or_else(
            || "of no package".to_owned(),
            |package| format!("of {package}"),
        );
        format!(
            "\n    {} ({from}) is for {}, not for {}",
            stray.path, stray.machine, stray.platform
        )
    });
    let problem = Problem::failure(format!(
        "{what} holds programs for another machine{}",
        lines.collect::<String>()
    ));
    Err(problem.help("a wheel holds what its tag denies, or an install ran for the wrong platform: look at how that package is made in `cargo xtask connector info`").into())
}

/// What was seen of one layer.
#[derive(Debug, Default)]
struct Findings {
    machine_code: Vec<(String, MachineCode)>,
    /// Path of a file and the package that installed it.
    owners: BTreeMap<String, String>,
}

impl Findings {
    fn see(&mut self, path: &str, mut content: impl Read) -> Result<()> {
        if let Some((site, package)) = record(path) {
            let mut text = String::new();
            content
                .take(64 << 20)
                .read_to_string(&mut text)
                .with_context(|| format!("read {path}"))?;
            for line in text.lines() {
                // A name with a comma is quoted; such files are found without their package.
                let file = line.split(',').next().unwrap_or_default();
                self.owners
                    .insert(normal(&format!("{site}/{file}")), package.to_owned());
            }
            return Ok(());
        }
        let mut header = [0; HEADER];
        let mut length = 0;
        while length < HEADER {
            match content
                .read(&mut header[length..])
                .with_context(|| format!("read {path}"))?
            {
                0 => break,
                count => length += count,
            }
        }
        let code = MachineCode::of(&header[..length]);
        self.machine_code
            .extend(code.map(|code| (path.to_owned(), code)));
        Ok(())
    }

    fn strays(&self, platform: Platform) -> Vec<Stray> {
        let strays = self.machine_code.iter().filter_map(|(path, code)| {
            Some(Stray {
                machine: code.stray_on(platform)?,
                package: self.owners.get(&normal(path)).cloned(),
                path: path.clone(),
                platform,
            })
        });
        strays.collect()
    }
}

/// `SITE/NAME-VERSION.dist-info/RECORD`: the directory that its paths start from, and the package.
fn record(path: &str) -> Option<(&str, &str)> {
    let directory = path.strip_suffix(".dist-info/RECORD")?;
    directory.rsplit_once('/').or(Some(("", directory)))
}

/// Without `.` and `..`: RECORD names scripts as `../../../bin/x`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Layers that were looked through before and hold nothing stray, as empty files in a directory.
#[derive(Debug, Clone)]
pub struct Seen {
    pub directory: Utf8PathBuf,
}

impl Seen {
    /// Those of a checkout, by its target directory; nothing is made before a layer is noted.
    pub fn in_target(target: &Utf8Path) -> Seen {
        Seen {
            directory: target.join("seen-layers"),
        }
    }

    /// The same content may be right on one platform and stray on another.
    fn path(&self, platform: Platform, diff_id: &Digest) -> Utf8PathBuf {
        self.directory
            .join(format!("{}-{}", platform.architecture(), diff_id.hex()))
    }

    fn holds(&self, platform: Platform, diff_id: &Digest) -> bool {
        self.path(platform, diff_id).exists()
    }

    /// Notes that a layer with `code` was looked through while it was packed, for those of `platforms` that it is right on.
    pub fn packed(
        &self,
        platforms: &[Platform],
        diff_id: &Digest,
        code: &BTreeSet<MachineCode>,
    ) -> Result<()> {
        for platform in platforms {
            if code.iter().all(|code| code.stray_on(*platform).is_none()) {
                self.add(*platform, diff_id)?;
            }
        }
        Ok(())
    }

    fn add(&self, platform: Platform, diff_id: &Digest) -> Result<()> {
        fs::create_dir_all(&self.directory).with_context(|| format!("make {}", self.directory))?;
        let path = self.path(platform, diff_id);
        fs::write(&path, "").with_context(|| format!("write {path}"))
    }
}

/// A layer that was not looked through yet.
struct Unseen {
    path: Utf8PathBuf,
    media_type: String,
    diff_id: Digest,
    /// Those whose images have it.
    platforms: Vec<Platform>,
}

/// Every image of a layout, without the layers that were seen before; each layer is read once.
pub fn layout(layout: &Layout, seen: &Seen) -> Result<Vec<Stray>> {
    let layers = unseen(layout, seen)?;
    let found = each(&layers, thread::available_parallelism()?, Unseen::look);
    let mut strays = Vec::new();
    for (layer, findings) in layers.iter().zip(found) {
        let findings = findings?;
        for platform in &layer.platforms {
            let found = findings.strays(*platform);
            if found.is_empty() {
                seen.add(*platform, &layer.diff_id)?;
            }
            strays.extend(found);
        }
    }
    strays.sort();
    Ok(strays)
}

fn unseen(layout: &Layout, seen: &Seen) -> Result<Vec<Unseen>> {
    let mut layers: BTreeMap<Digest, Unseen> = BTreeMap::new();
    for (platform, image) in &layout.images {
        let diff_ids = image.diff_ids()?;
        for (layer, diff_id) in image.manifest.layers().iter().zip(diff_ids) {
            let path = layout.blob(&layout::digest(layer)?);
            // An assembled layout lacks the layers of its base, which are not of our making.
            if seen.holds(*platform, &diff_id) || !path.exists() {
                continue;
            }
            let layer = layers.entry(diff_id.clone()).or_insert_with(|| Unseen {
                path,
                media_type: layer.media_type().to_string(),
                diff_id,
                platforms: Vec::new(),
            });
            layer.platforms.push(*platform);
        }
    }
    Ok(layers.into_values().collect())
}

impl Unseen {
    fn look(&self) -> Result<Findings> {
        let path = &self.path;
        let archive = layer::open(path, &self.media_type)?;
        tar_archive(archive).with_context(|| format!("read layer {path}"))
    }
}

fn tar_archive(content: impl Read) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries()? {
        check_interrupted()?;
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            findings.see(&path, entry)?;
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};
    use std::io::Write;

    fn elf(machine: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend([machine, 0]);
        bytes.resize(4096, 1);
        bytes
    }

    fn files() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("lib/site-packages/a/good.so", elf(183)),
            ("lib/site-packages/a/bad.so", elf(62)),
            ("lib/site-packages/a/launcher.exe", b"MZ".to_vec()),
            (
                "lib/site-packages/a-1.0.dist-info/RECORD",
                b"a/good.so,,\na/bad.so,sha256=x,1\n../../bin/tool,,\n".to_vec(),
            ),
            ("bin/tool", elf(62)),
            ("bin/loose", elf(3)),
        ]
    }

    fn expected(platform: Platform) -> Vec<Stray> {
        let stray = |path: &str, machine: &str, package: Option<&str>| Stray {
            path: path.into(),
            platform,
            machine: machine.into(),
            package: package.map(str::to_owned),
        };
        vec![
            stray("bin/loose", "x86", None),
            stray("bin/tool", "x86_64", Some("a-1.0")),
            stray("lib/site-packages/a/bad.so", "x86_64", Some("a-1.0")),
        ]
    }

    /// Adds a blob and gives its digest.
    fn add(root: &Utf8Path, bytes: &[u8]) -> String {
        let hex = format!("{:x}", Sha256::digest(bytes));
        fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        fs::write(root.join("blobs/sha256").join(&hex), bytes).unwrap();
        format!("sha256:{hex}")
    }

    fn layer(root: &Utf8Path, files: Vec<(&str, Vec<u8>)>) -> (String, String) {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            archive
                .append_data(&mut header, path, bytes.as_slice())
                .unwrap();
        }
        let tar = archive.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        (
            add(root, &gzip.finish().unwrap()),
            format!("sha256:{:x}", Sha256::digest(&tar)),
        )
    }

    #[test]
    fn layers_are_looked_at_once_for_each_platform() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let (base, base_id) = layer(root, vec![("bin/base", elf(62))]);
        let (own, own_id) = layer(root, files());
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let config = format!(
            r#"{{"os":"linux","architecture":"arm64","rootfs":{{"type":"layers","diff_ids":["{base_id}","{own_id}"]}}}}"#
        );
        let config = add(root, config.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{config}","size":1}},
            "layers":[{{"mediaType":"{gzip}","digest":"{base}","size":1}},{{"mediaType":"{gzip}","digest":"{own}","size":1}}]}}"#
        );
        let manifest = add(root, manifest.as_bytes());
        let inner = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest}","size":1,"platform":{{"os":"linux","architecture":"arm64"}}}},
            {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest}","size":1,"platform":{{"os":"unknown","architecture":"unknown"}}}}]}}"#
        );
        let inner = add(root, inner.as_bytes());
        fs::write(root.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{inner}","size":1}}]}}"#)).unwrap();
        let opened = Layout::open(root).unwrap();
        let seen = Seen::in_target(root);
        assert_eq!(
            layout(&opened, &seen).unwrap().len(),
            4,
            "the base's own file too"
        );
        let amd64 = BTreeSet::from([MachineCode::Elf { machine: 62 }]);
        seen.packed(&Platform::ALL, &base_id.parse().unwrap(), &amd64)
            .unwrap();
        assert_eq!(
            layout(&opened, &seen).unwrap().len(),
            4,
            "what is right for amd64 is not for arm64"
        );
        seen.packed(
            &[Platform::LinuxArm64],
            &base_id.parse().unwrap(),
            &BTreeSet::from([MachineCode::Pe, MachineCode::Elf { machine: 183 }]),
        )
        .unwrap();
        let strays = layout(&opened, &seen).unwrap();
        assert_eq!(strays, expected(Platform::LinuxArm64));
        let error = expect_none(&strays, "image x").unwrap_err().to_string();
        let package = "lib/site-packages/a/bad.so (of a-1.0) is for x86_64, not for linux/arm64";
        assert!(error.contains(package), "{error}");
        assert!(
            error.contains("bin/loose (of no package) is for x86,"),
            "{error}"
        );
    }
}
