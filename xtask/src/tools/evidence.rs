//! Layers as a cataloguer is shown them: unpacked, without ordinary code, and without the programs that it learned
//! nothing from before. A layer is made so once, whichever images it is part of.
//!
//! `evidence/CATALOGUER/HEX.json` says what is kept of the layer with that digest of its content, `evidence/blobs/HEX` is it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tar::{EntryType, PaxExtensions};

use super::{
    files,
    layer::{self, Hashing},
    process::check_interrupted,
    wheel_store::{self, Usage, entries, mark_used},
};
use crate::model::{
    evidence::{self, LayerFiles},
    image::Digest,
    machine_code::{HEADER, MachineCode},
};

/// Changes when other files are left out.
const FORMAT: &str = "2";
/// Programs below this size are kept: leaving them out saves nothing. In bytes.
const SMALL: u64 = 4 << 10;
/// Programs above this size are kept unread. In bytes.
const LARGE: u64 = 32 << 20;
/// Layers above this size are shown as they are: copying one costs what it saves. In bytes.
const ALONE: u64 = 16 << 20;

/// What is kept of layers, for one version of the cataloguer: another may learn from other files.
pub struct EvidenceStore {
    records: Utf8PathBuf,
    blobs: Utf8PathBuf,
}

/// What is kept of a layer: an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evidence {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Programs that were left out; None before a cataloguer has seen them.
    fruitless: Option<BTreeSet<String>>,
}

/// Consecutive layers as a cataloguer is shown them: one archive.
#[derive(Debug)]
pub struct Shown {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Digests of the layers' content, each with its files where there are several.
    pub layers: Vec<(Digest, LayerFiles)>,
}

impl Shown {
    /// The layer that holds a file, whose path has no leading slash.
    pub fn holder(&self, path: &str) -> Option<&Digest> {
        match self.layers.as_slice() {
            [(only, _)] => Some(only),
            several => several
                .iter()
                .find(|(_, files)| files.holds(path))
                .map(|(layer, _)| layer),
        }
    }
}

/// An entry of a layer.
struct Entry<'a> {
    /// Without a leading slash.
    path: &'a str,
    kind: EntryType,
    /// In bytes.
    size: u64,
    /// Its first bytes.
    head: &'a [u8],
}

/// What lists of an image depend on besides the image: the cataloguer, and what it is shown.
pub fn cataloguer(syft: &semver::Version) -> String {
    format!("syft-{syft}-{FORMAT}")
}

/// How much is kept in `store`.
pub fn size(store: &Utf8Path) -> Result<Usage> {
    Ok(Usage::of(&entries(&store.join(BLOBS))?))
}

/// When each part of it was last used, and its bytes.
pub fn uses(store: &Utf8Path) -> Result<Vec<(SystemTime, u64)>> {
    Ok(wheel_store::uses(&entries(&store.join(BLOBS))?))
}

/// Removes what was last used before `before`; it is made again of the layers.
pub fn prune(store: &Utf8Path, before: SystemTime) -> Result<Usage> {
    wheel_store::prune(&entries(&store.join(BLOBS))?, before)
}

const BLOBS: &str = "evidence/blobs";

impl EvidenceStore {
    /// What a [`cataloguer`] is shown, in `store`.
    pub fn in_store(store: &Utf8Path, cataloguer: &str) -> EvidenceStore {
        EvidenceStore {
            records: store.join("evidence").join(cataloguer),
            blobs: store.join(BLOBS),
        }
    }

    /// What is kept of the layer whose content has this digest.
    pub fn get(&self, diff_id: &Digest) -> Option<Evidence> {
        let text = fs::read(self.record(diff_id)).ok()?;
        let evidence: Evidence = serde_json::from_slice(&text).ok()?;
        let blob = self.blob(&evidence.digest);
        (blob.metadata().ok()?.len() == evidence.size).then(|| {
            mark_used(&blob);
            evidence
        })
    }

    /// Unpacks the layer `blob` without its code.
    pub fn make(&self, diff_id: &Digest, blob: &Utf8Path, media_type: &str) -> Result<Evidence> {
        let mut layer = Hashing::new(layer::open(blob, media_type)?);
        let verdict = |entry: &Entry<'_>| {
            let is_program = MachineCode::of(entry.head).is_some();
            match (entry.kind.is_file(), is_program) {
                (true, false) if evidence::is_code(entry.path) => Verdict::Drop,
                (true, true)
                    if evidence::is_extension_module(entry.path) && entry.size <= LARGE =>
                {
                    Verdict::KeepIfMarked
                }
                _ => Verdict::Keep,
            }
        };
        let (digest, size) = self
            .filtered(&mut layer, verdict)
            .with_context(|| format!("read layer {blob}"))?;
        // An archive may be padded beyond its end.
        io::copy(&mut layer, &mut io::sink()).with_context(|| format!("read layer {blob}"))?;
        let (content, ..) = layer.finish();
        ensure!(
            content == *diff_id,
            "layer {blob} holds {content}, not {diff_id}"
        );
        let evidence = Evidence {
            digest,
            size,
            fruitless: None,
        };
        self.keep(diff_id, &evidence)?;
        Ok(evidence)
    }

    /// Leaves out the programs of these layers, an image's from the lowest, that the cataloguer did not name. Nothing is
    /// done when another process is doing it.
    pub fn trim(&self, layers: &[Digest], named: &BTreeSet<String>) -> Result<()> {
        let kept = layers.iter().map(|diff_id| self.get(diff_id));
        let Some(kept) = kept.collect::<Option<Vec<Evidence>>>() else {
            return Ok(());
        };
        if kept.iter().all(|kept| kept.fruitless.is_some()) {
            return Ok(());
        }
        let mut archives = Vec::new();
        for kept in &kept {
            let Ok(archive) = File::open(self.blob(&kept.digest)) else {
                return Ok(());
            };
            archives.push(archive);
        }
        let mut listed = Vec::new();
        for (kept, archive) in kept.iter().zip(&archives) {
            listed.push(list(kept, archive)?);
        }
        let fruitless = evidence::fruitless(&listed, named);
        let layers = layers.iter().zip(&kept).zip(&mut archives);
        for (((diff_id, kept), archive), fruitless) in layers.zip(fruitless) {
            if kept.fruitless.is_some() {
                continue;
            }
            archive.rewind().context("read a layer again")?;
            let verdict = |entry: &Entry<'_>| match fruitless.contains(entry.path) {
                true => Verdict::Drop,
                false => Verdict::Keep,
            };
            let (digest, size) = self.filtered(archive, verdict)?;
            let trimmed = Evidence {
                digest,
                size,
                fruitless: Some(fruitless),
            };
            self.keep(diff_id, &trimmed)?;
            if trimmed.digest != kept.digest {
                files::remove_file(&self.blob(&kept.digest))?;
            }
        }
        Ok(())
    }

    /// Where what is kept of a layer is, by [`Evidence::digest`], whether it is there or not.
    pub fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.blobs.join(digest.hex())
    }

    fn record(&self, diff_id: &Digest) -> Utf8PathBuf {
        self.records.join(format!("{}.json", diff_id.hex()))
    }

    fn keep(&self, diff_id: &Digest, evidence: &Evidence) -> Result<()> {
        let text = serde_json::to_string(evidence).context("describe what is kept of a layer")?;
        files::write(&self.record(diff_id), &text)
    }

    /// Keeps the entries of an archive that `verdict` is for.
    fn filtered(
        &self,
        archive: impl Read,
        verdict: impl FnMut(&Entry<'_>) -> Verdict,
    ) -> Result<(Digest, u64)> {
        fs::create_dir_all(&self.blobs).with_context(|| format!("make {}", self.blobs))?;
        let file = tempfile::NamedTempFile::new_in(&self.blobs)
            .with_context(|| format!("write into {}", self.blobs))?;
        let mut hashing = Hashing::new(file);
        filter(archive, &mut hashing, verdict)?;
        let (digest, size, file) = hashing.finish();
        let path = self.blob(&digest);
        file.persist(&path)
            .with_context(|| format!("write {path}"))?;
        Ok((digest, size))
    }
}

/// Makes of an image's layers, from the lowest, as few archives as can be: syft copies all that it knows of an image
/// once a layer. What is kept of them is in the directory `blobs`, named by digests, and so is what is made.
pub fn show(kept: Vec<(Digest, Evidence)>, blobs: &Utf8Path) -> Result<Vec<Shown>> {
    let files = kept.iter().map(|(_, kept)| match kept.size {
        ..=ALONE => list(kept, open(kept, blobs)?).map(Some),
        _ => Ok(None),
    });
    let mut files: Vec<Option<LayerFiles>> = files.collect::<Result<_>>()?;
    let mut shown = Vec::new();
    for run in evidence::mergeable(&files) {
        let archives = &kept[run.clone()];
        let (digest, size) = match archives {
            [(_, only)] => (only.digest.clone(), only.size),
            several => concatenate(several, blobs)?,
        };
        let layers = archives.iter().map(|(layer, _)| layer.clone());
        let files = files[run]
            .iter_mut()
            .map(|files| files.take().unwrap_or_default());
        let layers = layers.zip(files).collect();
        shown.push(Shown {
            digest,
            size,
            layers,
        });
    }
    Ok(shown)
}

/// Makes one archive of the entries of several.
fn concatenate(several: &[(Digest, Evidence)], blobs: &Utf8Path) -> Result<(Digest, u64)> {
    let write = || format!("write into {blobs}");
    let file = tempfile::NamedTempFile::new_in(blobs).with_context(write)?;
    let mut archive = Hashing::new(file);
    for (layer, kept) in several {
        let entries = kept.size - END.len() as u64;
        io::copy(&mut open(kept, blobs)?.take(entries), &mut archive)
            .with_context(|| format!("show layer {layer}"))?;
    }
    archive.write_all(&END).with_context(write)?;
    let (digest, size, file) = archive.finish();
    file.persist(blobs.join(digest.hex())).with_context(write)?;
    Ok((digest, size))
}

fn open(kept: &Evidence, blobs: &Utf8Path) -> Result<File> {
    let path = blobs.join(kept.digest.hex());
    File::open(&path).with_context(|| format!("read {path}"))
}

/// What the layer holds, as far as it is known.
fn list(kept: &Evidence, archive: impl Read) -> Result<LayerFiles> {
    let mut listed = LayerFiles {
        others: kept.fruitless.clone().unwrap_or_default(),
        ..LayerFiles::default()
    };
    filter(archive, &mut io::sink(), |entry| {
        let is_program = entry.size >= SMALL && MachineCode::of(entry.head).is_some();
        let path = entry.path.to_owned();
        match entry.kind {
            EntryType::Directory => {}
            EntryType::Regular if is_program => drop(listed.programs.insert(path)),
            _ => drop(listed.others.insert(path)),
        }
        Verdict::Drop
    })?;
    Ok(listed)
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
    /// Kept where its content is [marked](evidence::is_marked).
    KeepIfMarked,
}

/// Copies the entries of a tar archive that `verdict` is for, each byte for byte with the headers that extend it.
fn filter(
    archive: impl Read,
    into: &mut impl Write,
    mut verdict: impl FnMut(&Entry<'_>) -> Verdict,
) -> Result<()> {
    let mut archive = tar::Archive::new(archive);
    // Headers that belong to the next entry, and the name that one of them gives it.
    let mut extensions = Vec::new();
    let mut long = None;
    for entry in archive.entries()?.raw(true) {
        check_interrupted()?;
        let mut entry = entry?;
        let header = entry.header().clone();
        let kind = header.entry_type();
        let extends = kind.is_gnu_longname() || kind.is_gnu_longlink();
        if extends || kind.is_pax_local_extensions() || kind.is_pax_global_extensions() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            if kind.is_gnu_longname() {
                long = content.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
            } else if kind.is_pax_local_extensions() {
                long = path_of(&content)?.or(long);
            }
            append(&mut extensions, header.as_bytes(), &mut content.as_slice())?;
            continue;
        }
        let path = long
            .take()
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let path = String::from_utf8_lossy(&path);
        let path = path.trim_start_matches("./").trim_matches('/');
        let mut head = Vec::new();
        entry.by_ref().take(HEADER as u64).read_to_end(&mut head)?;
        let size = header.entry_size()?;
        let item = Entry {
            path,
            kind,
            size,
            head: &head,
        };
        let verdict = verdict(&item);
        if verdict == Verdict::KeepIfMarked {
            entry.read_to_end(&mut head)?;
        }
        if verdict == Verdict::Keep
            || verdict == Verdict::KeepIfMarked && evidence::is_marked(&head)
        {
            into.write_all(&extensions)?;
            append(into, header.as_bytes(), &mut head.chain(&mut entry))?;
        }
        extensions.clear();
    }
    into.write_all(&END)?;
    Ok(())
}

/// Archives consist of blocks of this size (POSIX.1-2017, pax, "ustar Interchange Format"). In bytes.
const BLOCK: usize = 512;
/// What an archive ends with.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn append(into: &mut impl Write, header: &[u8], content: &mut impl Read) -> Result<()> {
    into.write_all(header)?;
    let written = io::copy(content, into)?;
    let over = usize::try_from(written % BLOCK as u64)?;
    if over > 0 {
        into.write_all(&[0; BLOCK][over..])?;
    }
    Ok(())
}

/// The path that a pax header gives the entry after it.
fn path_of(content: &[u8]) -> Result<Option<Vec<u8>>> {
    for extension in PaxExtensions::new(content) {
        let extension = extension?;
        if extension.key_bytes() == b"path" {
            return Ok(Some(extension.value_bytes().to_vec()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(5000, 1);
        bytes
    }

    /// Paths and contents, some with names that need a header of their own.
    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, path, bytes.as_slice())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, content)
        });
        entries.collect()
    }

    #[test]
    fn a_layer_is_kept_without_code_and_then_without_what_was_of_no_use() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let deep = "a-long-name/".repeat(20);
        let file = |path: &str, bytes: &[u8]| (path.to_owned(), bytes.to_vec());
        let metadata = file(&format!("{deep}a.dist-info/METADATA"), b"Name: a");
        let disguised = file(&format!("{deep}disguised.py"), &program());
        let named = file("usr/bin/python3.11", &program());
        let module = |name: &str, more: &[u8]| {
            let path = format!("{deep}{name}.cpython-311-x86_64-linux-gnu.so");
            file(&path, &[&program(), more].concat())
        };
        let (plain, marked) = (module("plain", b""), module("marked", b"\0.dep-v0\0"));
        let dull = file("usr/lib/dull.so", &program());
        let code = file(&format!("{deep}code.py"), b"import os");
        let all = [
            code,
            metadata.clone(),
            disguised,
            named.clone(),
            dull,
            plain,
            marked,
        ];
        let layer = archive(&all);
        let blob = root.join("layer");
        fs::write(&blob, &layer).unwrap();

        let store = EvidenceStore::in_store(root, "syft-1.0.0");
        let diff_id = Digest::of(&layer);
        assert_eq!(store.get(&diff_id), None);
        let made = store.make(&diff_id, &blob, "tar").unwrap();
        let kept = fs::read(store.blob(&made.digest)).unwrap();
        assert_eq!(Digest::of(&kept), made.digest);
        let left: Vec<_> = unpacked(&kept).into_iter().map(|(path, _)| path).collect();
        assert_eq!(left.len(), 5, "{left:?}");
        for gone in ["code.py", "plain.cpython"] {
            assert!(left.iter().all(|path| !path.contains(gone)), "{gone}");
        }

        let names = BTreeSet::from([named.0.clone()]);
        store.trim(std::slice::from_ref(&diff_id), &names).unwrap();
        let trimmed = store.get(&diff_id).unwrap();
        let kept = fs::read(store.blob(&trimmed.digest)).unwrap();
        assert_eq!(unpacked(&kept), [metadata, named]);
        assert_eq!(
            fs::read_dir(root.join("evidence/blobs")).unwrap().count(),
            1
        );
        let newer = EvidenceStore::in_store(root, "syft-2.0.0");
        assert_eq!(newer.get(&diff_id), None, "another version looks anew");
    }

    #[test]
    fn layers_that_do_not_meet_are_shown_as_one_archive() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let store = EvidenceStore::in_store(root, "syft-1.0.0");
        let file = |path: &str, bytes: &[u8]| (path.to_owned(), bytes.to_vec());
        let long = format!("{}METADATA", "a-long-name/".repeat(20));
        let layers = [
            vec![file("a/METADATA", b"a"), file(&long, b"long")],
            vec![file("b/METADATA", b"b"), file("b/code.py", b"import os")],
            vec![file("a/METADATA", b"another")],
        ];
        let kept = layers.iter().enumerate().map(|(index, files)| {
            let (layer, blob) = (archive(files), root.join(index.to_string()));
            fs::write(&blob, &layer).unwrap();
            let diff_id = Digest::of(&layer);
            let evidence = store.make(&diff_id, &blob, "tar").unwrap();
            (diff_id, evidence)
        });
        let kept: Vec<_> = kept.collect();
        let shown = show(kept.clone(), &store.blobs).unwrap();
        let contents = shown.iter().map(|shown| {
            let bytes = fs::read(store.blob(&shown.digest)).unwrap();
            assert_eq!(Digest::of(&bytes), shown.digest);
            assert_eq!(bytes.len() as u64, shown.size);
            unpacked(&bytes)
        });
        let all = [layers[0].as_slice(), &layers[1][..1]].concat();
        assert_eq!(contents.collect::<Vec<_>>(), [all, layers[2].clone()]);
        assert_eq!(shown[0].holder(&long), Some(&kept[0].0));
        assert_eq!(shown[0].holder("b/METADATA"), Some(&kept[1].0));
        assert_eq!(shown[0].holder("b/code.py"), None);
        assert_eq!(shown[1].holder("a/METADATA"), Some(&kept[2].0));
    }
}
