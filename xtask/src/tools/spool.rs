//! Bytes that wait on disk, in a file without a name, for what is too much together to be held in memory.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::fs::FileExt,
    sync::Arc,
};

use camino::Utf8Path;

/// A file that grows at its end; it is gone with the last of its parts.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
}

/// A part of a spool.
#[derive(Debug, Clone)]
pub struct Spooled {
    file: Arc<File>,
    start: u64,
    /// In bytes.
    pub size: u64,
}

/// Reads a part from its start; several may do so at a time.
pub struct Reader<'s> {
    part: &'s Spooled,
    done: u64,
}

impl Spool {
    /// An empty one in the file system of `directory`.
    pub fn new(directory: &Utf8Path) -> io::Result<Spool> {
        let file = Arc::new(tempfile::tempfile_in(directory)?);
        Ok(Spool { file })
    }

    /// Keeps the next `size` bytes of `from`; fewer are an error.
    pub fn keep(&mut self, from: impl Read, size: u64) -> io::Result<Spooled> {
        let mut end = &*self.file;
        let start = end.stream_position()?;
        let copied = io::copy(&mut from.take(size), &mut end)?;
        if copied < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let file = Arc::clone(&self.file);
        Ok(Spooled { file, start, size })
    }
}

impl Spooled {
    /// Reads the part from its start, whoever else reads the spool at the time.
    pub fn reader(&self) -> Reader<'_> {
        let part = self;
        Reader { part, done: 0 }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Spooled { file, start, size } = self.part;
        let left = usize::try_from(size - self.done).unwrap_or(usize::MAX);
        let length = left.min(into.len());
        let read = file.read_at(&mut into[..length], start + self.done)?;
        self.done += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_came_and_a_short_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path().try_into().unwrap()).unwrap();
        let mut pipe = &b"firstsecond"[..];
        let parts = [5, 0, 6].map(|size| spool.keep(&mut pipe, size).unwrap());
        assert!(spool.keep(&b"ab"[..], 3).is_err());
        let after = spool.keep(&b"after"[..], 5).unwrap();
        drop(spool);
        for (part, expected) in parts
            .iter()
            .chain([&after])
            .zip(["first", "", "second", "after"])
        {
            let text = io::read_to_string(part.reader()).unwrap();
            assert_eq!(
                (text.as_str(), part.size),
                (expected, expected.len() as u64)
            );
        }
        let left = directory.path().read_dir().unwrap().count();
        assert_eq!(left, 0, "it has no name");
    }
}
