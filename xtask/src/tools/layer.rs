//! Writes layers: gzipped tar archives in which only content counts, so that equal content makes equal bytes.
//!
//! Every entry gets one of two modes, one constant date and a number as its owner; entries stand in the order of their
//! paths, each directory before what it holds.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write},
};

use anyhow::{Context, Result};
use camino::Utf8Path;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::model::{
    image::Digest,
    layer::Layer,
    machine_code::{HEADER, MachineCode},
};

/// 1980, the earliest date that a zip archive can hold: what installed files had before.
const DATE: u64 = 315_532_800;
/// A heavy connector's layers take a third of the default level's time and a tenth more space.
const LEVEL: Compression = Compression::new(1);

/// Whose the entries of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Root,
    /// The user `airbyte` of the base images.
    Airbyte,
}

/// What kind of file an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Plain,
    Executable,
}

/// A layer that is being written to `W`.
pub struct LayerWriter<W: Write> {
    archive: tar::Builder<Hashing<Blocks<GzEncoder<Hashing<W>>>>>,
    code: BTreeSet<MachineCode>,
}

/// A written layer.
#[derive(Debug)]
pub struct Written<W> {
    pub layer: Layer,
    /// The kinds of machine code in its files.
    pub code: BTreeSet<MachineCode>,
    pub inner: W,
}

impl<W: Write> LayerWriter<W> {
    /// An empty layer, compressed and hashed on its way to `inner`, which [`finish`](Self::finish) gives back.
    pub fn new(inner: W) -> LayerWriter<W> {
        let gzip = flate2::GzBuilder::new().write(Hashing::new(inner), LEVEL);
        LayerWriter {
            archive: tar::Builder::new(Hashing::new(Blocks::new(gzip))),
            code: BTreeSet::new(),
        }
    }

    /// `path` is the place in the image without a leading slash.
    pub fn directory(&mut self, path: &str, owner: Owner) -> Result<()> {
        let path = format!("{}/", path.trim_end_matches('/'));
        let mut header = header(EntryType::Directory, 0o755, owner, 0);
        self.append(&path, &mut header, &[] as &[u8])
    }

    /// Adds a file that is in memory; the directories above it are for the caller to add.
    pub fn file(&mut self, path: &str, mode: Mode, owner: Owner, bytes: &[u8]) -> Result<()> {
        self.copy(path, mode, owner, bytes.len() as u64, bytes)
    }

    /// As [`file`](Self::file), for what is too long to be held in memory; `size` in bytes.
    pub fn copy(
        &mut self,
        path: &str,
        mode: Mode,
        owner: Owner,
        size: u64,
        mut content: impl Read,
    ) -> Result<()> {
        let mode = match mode {
            Mode::Plain => 0o644,
            Mode::Executable => 0o755,
        };
        let mut whole = content.by_ref().take(size);
        let mut head = Vec::new();
        (&mut whole)
            .take(HEADER as u64)
            .read_to_end(&mut head)
            .with_context(|| format!("read {path}"))?;
        self.code.extend(MachineCode::of(&head));
        self.append(
            path,
            &mut header(EntryType::Regular, mode, owner, size),
            head.chain(&mut whole),
        )?;
        let lacking = whole.limit();
        let more = content
            .read(&mut [0])
            .with_context(|| format!("read {path}"))?;
        anyhow::ensure!(
            lacking == 0 && more == 0,
            "{path} is not as long as it is said to be"
        );
        Ok(())
    }

    /// Adds a symbolic link; whether `target` is there is not looked at.
    pub fn link(&mut self, path: &str, target: &str, owner: Owner) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, owner, 0);
        self.archive
            .append_link(&mut header, path, target)
            .with_context(|| format!("pack {path}"))
    }

    fn append(&mut self, path: &str, header: &mut Header, content: impl Read) -> Result<()> {
        self.archive
            .append_data(header, path, content)
            .with_context(|| format!("pack {path}"))
    }

    /// Ends the archive, without which no digest is known; fails where the rest can't be written.
    pub fn finish(self) -> Result<Written<W>> {
        let code = self.code;
        let finish = || -> io::Result<_> {
            let (diff_id, _, blocks) = self.archive.into_inner()?.finish();
            let (digest, size, inner) = blocks.finish()?.finish()?.finish();
            let layer = Layer {
                digest,
                diff_id,
                size,
            };
            Ok((layer, inner))
        };
        let (layer, inner) = finish().context("finish a layer")?;
        Ok(Written { layer, code, inner })
    }
}

/// Digest of the archive in a packed layer.
pub fn diff_id(packed: impl Read) -> Result<Digest> {
    let mut archive = Hashing::new(MultiGzDecoder::new(packed));
    io::copy(&mut archive, &mut io::sink()).context("unpack a layer")?;
    Ok(archive.finish().0)
}

fn header(kind: EntryType, mode: u32, owner: Owner, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(DATE);
    header.set_size(size);
    let id = match owner {
        Owner::Root => 0,
        Owner::Airbyte => 1000,
    };
    header.set_uid(id);
    header.set_gid(id);
    header
}

/// Hands on what is written in blocks of one size: what a compressor makes depends on the pieces that it gets.
struct Blocks<W> {
    inner: W,
    block: Vec<u8>,
}

/// In bytes.
const BLOCK: usize = 64 << 10;

impl<W: Write> Blocks<W> {
    fn new(inner: W) -> Blocks<W> {
        Blocks {
            inner,
            block: Vec::with_capacity(BLOCK),
        }
    }

    /// Hands on the last block, which may be shorter.
    fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&self.block)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.inner.write_all(&self.block)?;
            self.block.clear();
        }
        Ok(count)
    }

    /// What is not a block yet stays.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes and counts what is written or read through it.
pub struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    count: u64,
}

impl<T> Hashing<T> {
    /// Hashes what passes from now on.
    pub fn new(inner: T) -> Hashing<T> {
        Hashing {
            inner,
            hasher: Sha256::new(),
            count: 0,
        }
    }

    /// The digest of all bytes, their number, and what they went to or came from.
    pub fn finish(self) -> (Digest, u64, T) {
        (Digest::finish(self.hasher), self.count, self.inner)
    }

    fn see(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.see(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.see(&buffer[..count]);
        Ok(count)
    }
}

/// The archive in the layer `blob`.
///
/// # Errors
/// When it is packed in a way that is not known here: see [`is_known`].
pub fn open(blob: &Utf8Path, media_type: &str) -> Result<Box<dyn Read>> {
    let file = File::open(blob).with_context(|| format!("open layer {blob}"))?;
    match media_type {
        gzip if gzip.ends_with("gzip") => Ok(Box::new(MultiGzDecoder::new(file))),
        tar if tar.ends_with("tar") => Ok(Box::new(file)),
        other => anyhow::bail!("layer {blob}: {other} can't be read"),
    }
}

/// Whether layers of this media type can be read: zstd is in use too.
pub fn is_known(media_type: &str) -> bool {
    media_type.ends_with("gzip") || media_type.ends_with("tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Written<Vec<u8>> {
        let mut writer = LayerWriter::new(Vec::new());
        writer.directory("airbyte", Owner::Airbyte).unwrap();
        writer
            .file("airbyte/main.py", Mode::Plain, Owner::Airbyte, b"x = 1\n")
            .unwrap();
        let long = format!("usr/{}/tool", "long/".repeat(60));
        writer
            .file(&long, Mode::Executable, Owner::Root, b"x")
            .unwrap();
        writer
            .link("usr/link", "airbyte/main.py", Owner::Root)
            .unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn a_layer_holds_what_was_put_in_and_is_named_by_it() {
        let written = written();
        assert_eq!(written.layer.size, written.inner.len() as u64);
        assert_eq!(written.layer.digest, Digest::of(&written.inner));
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(written.inner.as_slice())
            .read_to_end(&mut tar)
            .unwrap();
        assert_eq!(written.layer.diff_id, Digest::of(&tar));
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                format!(
                    "{:o} {} {} {}",
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.mtime().unwrap(),
                    path.replace("long/long/", "")
                )
            })
            .collect();
        assert_eq!(
            entries,
            [
                "755 1000 315532800 airbyte/",
                "644 1000 315532800 airbyte/main.py",
                "755 0 315532800 usr//tool",
                "777 0 315532800 usr/link"
            ]
        );
    }

    #[test]
    fn machine_code_is_noted_while_it_is_packed() {
        let mut writer = LayerWriter::new(Vec::new());
        let mut program = b"\x7fELF\x02\x01".to_vec();
        program.resize(2 * HEADER, 0);
        program[18] = 62;
        for (path, bytes) in [("a", &program[..]), ("b", b"\x7fELF"), ("c", b"")] {
            writer.file(path, Mode::Plain, Owner::Root, bytes).unwrap();
        }
        let written = writer.finish().unwrap();
        let elf = MachineCode::Elf { machine: 62 };
        assert_eq!(written.code, BTreeSet::from([elf]));
        let mut archive = tar::Archive::new(MultiGzDecoder::new(written.inner.as_slice()));
        let mut first = Vec::new();
        let mut entries = archive.entries().unwrap();
        entries
            .next()
            .unwrap()
            .unwrap()
            .read_to_end(&mut first)
            .unwrap();
        assert_eq!(first, program);
    }

    /// Gives at most so many bytes at a time.
    struct Sips<'a>(&'a [u8], usize);

    impl Read for Sips<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn equal_content_makes_equal_bytes() {
        assert_eq!(written().inner, written().inner);
        let words = (0..60_000_u64).map(|number| format!("{} ", number * number % 9973));
        let text = words.collect::<String>().into_bytes();
        let packed = |sip: usize| {
            let mut writer = LayerWriter::new(Vec::new());
            for path in ["a", "b"] {
                let (size, content) = (text.len() as u64, Sips(&text, sip));
                writer
                    .copy(path, Mode::Plain, Owner::Root, size, content)
                    .unwrap();
            }
            writer.finish().unwrap().inner
        };
        let whole = packed(usize::MAX);
        for sip in [1000, 4097, 70_000] {
            assert_eq!(packed(sip), whole, "however it is read");
        }
    }
}
