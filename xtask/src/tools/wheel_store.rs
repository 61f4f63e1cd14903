//! Files that locks name, and wheels built from sdists: kept once for every connector, checkout and run.
//!
//! Layout: `files/ALGORITHM-HASH/NAME` holds what was fetched, `yanked/ALGORITHM-HASH` why the index had withdrawn it
//! then, `built/KEY/NAME` what was built, `partial/` what is being written, `locks/` one empty file for each of them. A
//! file appears under its name whole and verified, by a rename; whoever makes one holds its lock, so that a second process
//! waits and then finds it.

use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Write},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::{
    files::remove_file,
    package_index::{Digests, PackageIndex},
    process::check_interrupted,
    store_lock::{self, StoreLock},
};
use crate::model::{hash::Hash, locked_file::LockedFile, platform::Platform, problem::Problem};

const FILES: &str = "files";
const BUILT: &str = "built";
const YANKED: &str = "yanked";
const PARTIAL: &str = "partial";
const LOCKS: &str = "locks";
/// A partial file that nobody wrote to for so long belongs to a process that is gone.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Such a directory; any number of processes may use it at a time.
#[derive(Debug, Clone)]
pub struct WheelStore {
    root: Utf8PathBuf,
}

/// A file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub path: Utf8PathBuf,
    pub hash: Hash,
    pub origin: Origin,
}

impl Stored {
    /// The file's name, by which installers know where a wheel runs.
    pub fn name(&self) -> &str {
        self.path.file_name().unwrap_or_default()
    }

    /// The name of its entry: of a built wheel its key.
    pub fn entry(&self) -> &str {
        let entry = self.path.parent().and_then(Utf8Path::file_name);
        entry.unwrap_or_default()
    }
}

/// How a file that was asked for came to be in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Kept,
    /// It was fetched or built just now.
    Made,
    /// Another machine built it; it was taken from the wheel cache just now.
    Pulled,
}

/// What a built wheel depends on: with equal keys, one build serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltKey {
    pub package: String,
    pub version: String,
    pub sdist: Hash,
    /// Such as `cp311`.
    pub abi: String,
    pub scope: Scope,
    /// What else changes the result: build constraints, pinned backends, a configured builder image.
    pub recipe: Vec<String>,
}

/// Where a built wheel runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// On every platform: it holds no machine code.
    Pure,
    /// On one platform with this C library, such as `glibc2.36`.
    Native { platform: Platform, libc: String },
}

impl BuiltKey {
    /// `pendulum-2.1.2-cp311-pure-0123456789abcdef`: readable, and a valid tag of an image registry and cache key.
    pub fn directory(&self) -> String {
        let scope = match &self.scope {
            Scope::Pure => "pure".to_owned(),
            Scope::Native { platform, libc } => format!("{}-{libc}", platform.architecture()),
        };
        let mut hasher = Sha256::new();
        for part in [self.sdist.as_str()]
            .into_iter()
            .chain(self.recipe.iter().map(String::as_str))
        {
            hasher.update(part);
            hasher.update([0]);
        }
        let digest = format!("{:x}", hasher.finalize());
        let version = self.version.replace(['+', '!'], "_");
        format!(
            "{}-{version}-{}-{scope}-{}",
            self.package,
            self.abi,
            &digest[..16]
        )
    }
}

/// What one kind of entry takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    pub files: u64,
    pub bytes: u64,
}

/// What a store of wheels takes up; layers and the rest are counted by their own modules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Files fetched because a lock names them.
    pub fetched: Usage,
    /// Wheels built from sdists.
    pub built: Usage,
    /// Downloads under way or abandoned.
    pub partial: Usage,
}

impl WheelStore {
    /// The store in `root`, which is made when it is not there.
    pub fn open(root: &Utf8Path) -> Result<WheelStore> {
        for part in [FILES, YANKED, BUILT, PARTIAL, LOCKS] {
            let directory = root.join(part);
            fs::create_dir_all(&directory).with_context(|| format!("make {directory}"))?;
        }
        Ok(WheelStore {
            root: root.to_owned(),
        })
    }

    /// The part of the store in `root` for wheels of connectors themselves, which are of no use to other machines.
    pub fn open_own(root: &Utf8Path) -> Result<WheelStore> {
        WheelStore::open(&root.join("own"))
    }

    /// A locked file that is here already.
    pub fn file(&self, wanted: &LockedFile) -> Result<Option<Stored>> {
        for hash in &wanted.hashes {
            if let Some(path) = self.entry(FILES, &file_directory(hash))? {
                return Ok(Some(Stored {
                    path,
                    hash: hash.clone(),
                    origin: Origin::Kept,
                }));
            }
        }
        Ok(None)
    }

    /// A locked file, fetched from the index when it is not here. Safe to call at the same time from several threads
    /// and processes: one fetches, the others wait.
    pub fn fetch(&self, index: &PackageIndex, wanted: &LockedFile) -> Result<Stored> {
        if let Some(kept) = self.file(wanted)? {
            return Ok(kept);
        }
        let first = wanted.hashes.first().ok_or_else(|| {
            Problem::usage(format!("{}: the lock states no hash", wanted.label()))
                .help("lock again; only files with a hash are installed")
        })?;
        let _lock = self.lock(&file_directory(first))?;
        match self.file(wanted)? {
            Some(kept) => Ok(kept),
            None => self.fetch_anew(index, wanted),
        }
    }

    /// A locked file from the index, in the place of what is here. For who holds the entry's lock.
    fn fetch_anew(&self, index: &PackageIndex, wanted: &LockedFile) -> Result<Stored> {
        let mut partial = self.partial()?;
        let fetched = index
            .fetch(wanted, partial.as_file_mut())
            .with_context(|| format!("fetch {} {}", wanted.package, wanted.version))?;
        let directory = file_directory(&fetched.hash);
        let note = self.root.join(YANKED).join(&directory);
        match &fetched.yanked {
            Some(reason) => {
                fs::write(&note, reason).with_context(|| format!("write {note}"))?;
            }
            // A yank can be taken back.
            None => {
                remove_file(&note)?;
            }
        }
        let path = self.place(partial, FILES, &directory, &fetched.name)?;
        Ok(Stored {
            path,
            hash: fetched.hash,
            origin: Origin::Made,
        })
    }

    /// As [`fetch`](Self::fetch), for a file that nobody will check again before its content counts: one that was
    /// damaged here is fetched again, and `say` hears of it. It stays until then: others may have it open or look for it.
    pub fn fetch_whole(
        &self,
        index: &PackageIndex,
        wanted: &LockedFile,
        say: &dyn Fn(&str),
    ) -> Result<Stored> {
        let stored = self.fetch(index, wanted)?;
        if stored.origin == Origin::Made || is_whole(&stored)? {
            return Ok(stored);
        }
        let _lock = self.lock(stored.entry())?;
        // Whoever held it may have fetched the file.
        if is_whole(&stored)? {
            return Ok(stored);
        }
        let path = &stored.path;
        say(&format!(
            "{path} is not what it was when it came here: fetching it again"
        ));
        let fetched = self.fetch_anew(index, wanted)?;
        if fetched.path != *path {
            // The index names it otherwise now, or has another one that the lock allows.
            remove_file(path)?;
        }
        Ok(fetched)
    }

    /// Why the index had withdrawn a file when it was fetched here; None when it had not. The reason may be empty.
    pub fn yanked(&self, hash: &Hash) -> Result<Option<String>> {
        let note = self.root.join(YANKED).join(file_directory(hash));
        match fs::read_to_string(&note) {
            Ok(reason) => {
                mark_used(&note);
                Ok(Some(reason))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {note}")),
        }
    }

    /// A built wheel that is here already, unless it was damaged, as its own checksums tell: then it is built again and
    /// replaced.
    pub fn built(&self, key: &BuiltKey) -> Result<Option<Stored>> {
        let Some(path) = self.entry(BUILT, &key.directory())? else {
            return Ok(None);
        };
        let bytes = fs::read(&path).with_context(|| format!("read {path}"))?;
        if read_members(&bytes).is_err() {
            return Ok(None);
        }
        Ok(Some(Stored {
            hash: sha256(&bytes)?,
            path,
            origin: Origin::Kept,
        }))
    }

    /// The key of every built wheel and where it lies.
    pub fn all_built(&self) -> Result<Vec<(String, Utf8PathBuf)>> {
        let mut all = Vec::new();
        for directory in entries(&self.root.join(BUILT))? {
            let key = directory.file_name().unwrap_or_default().to_owned();
            all.extend(entries(&directory)?.pop().map(|path| (key, path)));
        }
        Ok(all)
    }

    /// Keeps a wheel that was just built.
    pub fn keep_built(&self, key: &BuiltKey, name: &str, bytes: &[u8]) -> Result<Stored> {
        let mut partial = self.partial()?;
        partial
            .write_all(bytes)
            .with_context(|| format!("write {name} to the store"))?;
        let directory = key.directory();
        let _lock = self.lock(&directory)?;
        let path = self.place(partial, BUILT, &directory, name)?;
        Ok(Stored {
            path,
            hash: sha256(bytes)?,
            origin: Origin::Made,
        })
    }

    /// Calls `make` while no other thread or process makes the same thing. `name` is a file name.
    pub fn alone<T>(&self, name: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let _lock = self.lock(name)?;
        make()
    }

    /// Lays the files out in `directory` (emptied first) for an installer that knows no hash directories: as hard
    /// links, or copies on another file system. Two different files of one name are an error.
    pub fn lay_out<'a>(
        &self,
        files: impl IntoIterator<Item = &'a Stored>,
        directory: &Utf8Path,
    ) -> Result<()> {
        if directory.exists() {
            fs::remove_dir_all(directory).with_context(|| format!("empty {directory}"))?;
        }
        fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
        let mut laid = std::collections::BTreeMap::new();
        for file in files {
            if let Some(other) = laid.insert(file.name().to_owned(), &file.hash) {
                anyhow::ensure!(
                    other == &file.hash,
                    "two different files are called {}: {other} and {}",
                    file.name(),
                    file.hash
                );
                continue;
            }
            let to = directory.join(file.name());
            if fs::hard_link(&file.path, &to).is_err() {
                fs::copy(&file.path, &to).with_context(|| format!("copy {} to {to}", file.path))?;
            }
        }
        Ok(())
    }

    /// When each entry was last used, and its bytes.
    pub fn uses(&self) -> Result<Vec<(SystemTime, u64)>> {
        let mut uses = Vec::new();
        for part in [FILES, BUILT] {
            for directory in entries(&self.root.join(part))? {
                let files = entries(&directory)?;
                let used = files.iter().map(|file| modified(file)).max();
                let usage = Usage::of(&files);
                uses.extend(used.map(|used| (used, usage.bytes)));
            }
        }
        Ok(uses)
    }

    /// Counts without a lock: what others make or remove meanwhile may be in it or not.
    pub fn size(&self) -> Result<Size> {
        let mut size = Size::default();
        for (part, usage) in [(FILES, &mut size.fetched), (BUILT, &mut size.built)] {
            for directory in entries(&self.root.join(part))? {
                for file in entries(&directory)? {
                    *usage = usage.and(&file);
                }
            }
        }
        for file in entries(&self.root.join(PARTIAL))? {
            size.partial = size.partial.and(&file);
        }
        Ok(size)
    }

    /// Removes what was last used before `before`, and what a dead process left half written; gives what was freed.
    pub fn prune(&self, before: SystemTime) -> Result<Usage> {
        let mut freed = Usage::default();
        for part in [FILES, BUILT] {
            for directory in entries(&self.root.join(part))? {
                check_interrupted()?;
                let name = directory.file_name().unwrap_or_default();
                // Someone is making this one at the moment.
                let Some(_lock) = self.try_lock(name)? else {
                    continue;
                };
                let files = entries(&directory)?;
                if files.iter().any(|file| modified(file) >= before) {
                    continue;
                }
                let usage = Usage::of(&files);
                fs::remove_dir_all(&directory).with_context(|| format!("remove {directory}"))?;
                freed = freed.plus(usage);
            }
        }
        for note in entries(&self.root.join(YANKED))? {
            // A wheel that was built of it outlives the file.
            if modified(&note) < before {
                remove_file(&note)?;
            }
        }
        let abandoned = SystemTime::now() - ABANDONED;
        for file in entries(&self.root.join(PARTIAL))? {
            let usage = Usage::default().and(&file);
            if modified(&file) < abandoned && remove_file(&file)? {
                freed = freed.plus(usage);
            }
        }
        Ok(freed)
    }

    /// The one file of an entry, marked as used now.
    fn entry(&self, part: &str, directory: &str) -> Result<Option<Utf8PathBuf>> {
        let path = entries(&self.root.join(part).join(directory))?.pop();
        if let Some(path) = &path {
            mark_used(path);
        }
        Ok(path)
    }

    fn partial(&self) -> Result<tempfile::NamedTempFile> {
        let directory = self.root.join(PARTIAL);
        tempfile::NamedTempFile::new_in(&directory).with_context(|| format!("write to {directory}"))
    }

    /// Moves a finished file to its place.
    fn place(
        &self,
        file: tempfile::NamedTempFile,
        part: &str,
        directory: &str,
        name: &str,
    ) -> Result<Utf8PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
            return Err(
                Problem::failure(format!("`{name}` is no name of a distribution file")).into(),
            );
        }
        let directory = self.root.join(part).join(directory);
        fs::create_dir_all(&directory).with_context(|| format!("make {directory}"))?;
        let path = directory.join(name);
        // Read by users in containers.
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .with_context(|| format!("write {path}"))?;
        file.as_file()
            .sync_all()
            .with_context(|| format!("write {path}"))?;
        file.persist(&path)
            .with_context(|| format!("write {path}"))?;
        Ok(path)
    }

    /// Held while an entry is made or removed.
    fn lock(&self, name: &str) -> Result<StoreLock> {
        store_lock::wait(|| self.try_lock(name))
    }

    fn try_lock(&self, name: &str) -> Result<Option<StoreLock>> {
        store_lock::try_lock(&self.root.join(LOCKS), name)
    }
}

/// When each file was last used, and its bytes.
pub fn uses(files: &[Utf8PathBuf]) -> Vec<(SystemTime, u64)> {
    let of = |file: &Utf8PathBuf| (modified(file), Usage::default().and(file).bytes);
    files.iter().map(of).collect()
}

/// Removes those of the files that were last used before `before`; gives what was freed.
pub fn prune(files: &[Utf8PathBuf], before: SystemTime) -> Result<Usage> {
    let mut freed = Usage::default();
    for file in files.iter().filter(|file| modified(file) < before) {
        freed = freed.and(file);
        remove_file(file)?;
    }
    Ok(freed)
}

impl Usage {
    /// Of these files.
    pub fn of(files: &[Utf8PathBuf]) -> Usage {
        let files = files.iter();
        files.fold(Usage::default(), |usage, file| usage.and(file))
    }

    /// The sum of two that have no file in common.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
        }
    }

    /// With one file more.
    pub fn and(self, file: &Utf8Path) -> Usage {
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        Usage {
            files: self.files + 1,
            bytes: self.bytes + bytes,
        }
    }
}

fn file_directory(hash: &Hash) -> String {
    hash.as_str().replace(':', "-")
}

/// Whether a file still has the hash that it is kept by.
fn is_whole(stored: &Stored) -> Result<bool> {
    let path = &stored.path;
    let mut file = File::open(path).with_context(|| format!("open {path}"))?;
    let mut digests = Digests::like(std::slice::from_ref(&stored.hash));
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digests.finish() == stored.hash.as_str()),
            Ok(count) => digests.add(&buffer[..count]),
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        }
    }
}

/// Reads a zip archive to its end; that fails where a member is not what its checksum says.
fn read_members(archive: &[u8]) -> Result<()> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive))?;
    for member in 0..archive.len() {
        io::copy(&mut archive.by_index(member)?, &mut io::sink())?;
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> Result<Hash> {
    format!("sha256:{:x}", Sha256::digest(bytes))
        .parse()
        .map_err(anyhow::Error::msg)
}

/// What a directory holds, in order; nothing when it is not there.
pub(super) fn entries(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let read = match directory.read_dir_utf8() {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {directory}")),
    };
    let mut paths = read
        .map(|entry| Ok(entry?.into_path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("read {directory}"))?;
    paths.sort();
    Ok(paths)
}

/// Notes that a file was used now. Only pruning goes by this; a store that can't be written to still serves.
pub(super) fn mark_used(file: &Utf8Path) {
    let _ = File::options()
        .append(true)
        .open(file)
        .and_then(|file| file.set_modified(SystemTime::now()));
}

/// When a file was last used.
pub(super) fn modified(file: &Utf8Path) -> SystemTime {
    fs::metadata(file)
        .and_then(|metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{
        index_addresses::Index,
        retry::Policy,
        test_server::{Answer, Server},
    };

    const ONCE: Policy = Policy {
        tries: 1,
        total: Duration::ZERO,
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    fn store() -> (tempfile::TempDir, WheelStore) {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap().join("store");
        (directory, WheelStore::open(&root).unwrap())
    }

    fn index(server: &Server) -> PackageIndex {
        PackageIndex::of(
            vec![Index {
                address: server.url("/simple/"),
                login: None,
            }],
            Duration::from_secs(5),
            ONCE,
        )
    }

    fn wanted(content: &[u8]) -> LockedFile {
        LockedFile {
            package: "a".into(),
            version: "1".into(),
            name: "a-1-py3-none-any.whl".into(),
            hashes: vec![sha256(content).unwrap()],
        }
    }

    fn page() -> Answer {
        Answer::ok(
            "text/html",
            "<a href='/a-1-py3-none-any.whl'>a-1-py3-none-any.whl</a>",
        )
    }

    fn file(content: &str) -> Answer {
        Answer::ok("application/octet-stream", content)
    }

    #[test]
    fn many_at_a_time_fetch_a_file_once() {
        let (_directory, store) = store();
        let server = Server::start(vec![page(), file("hello")]);
        let wanted = wanted(b"hello");
        let stored: Vec<Stored> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| store.fetch(&index(&server), &wanted).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(server.requests().len(), 2);
        assert_eq!(
            stored
                .iter()
                .filter(|stored| stored.origin == Origin::Made)
                .count(),
            1
        );
        assert_eq!(fs::read(&stored[0].path).unwrap(), b"hello");
        assert_eq!(stored[0].name(), "a-1-py3-none-any.whl");
    }

    #[test]
    fn what_was_yanked_is_remembered() {
        let (_directory, store) = store();
        for (attribute, expected) in [
            ("", None),
            ("data-yanked", Some("")),
            ("data-yanked='too old'", Some("too old")),
        ] {
            let content = format!("content {attribute}");
            let wanted = wanted(content.as_bytes());
            let link = format!("<a href='/x' {attribute}>a-1-py3-none-any.whl</a>");
            let server = Server::start(vec![Answer::ok("text/html", link), file(&content)]);
            store.fetch(&index(&server), &wanted).unwrap();
            let yanked = store.yanked(&wanted.hashes[0]).unwrap();
            assert_eq!(yanked.as_deref(), expected, "{attribute}");
        }
        // Until the file is fetched anew and the index offers it again.
        let wanted = wanted(b"content data-yanked");
        let stored = store.file(&wanted).unwrap().unwrap();
        fs::remove_file(stored.path).unwrap();
        let server = Server::start(vec![page(), file("content data-yanked")]);
        store.fetch(&index(&server), &wanted).unwrap();
        assert_eq!(store.yanked(&wanted.hashes[0]).unwrap(), None);
    }

    #[test]
    fn what_was_damaged_is_fetched_or_built_again() {
        let (_directory, store) = store();
        let server = Server::start(vec![page(), file("hello"), page(), file("hello")]);
        let wanted = wanted(b"hello");
        let said = std::cell::RefCell::new(Vec::new());
        let say = |line: &str| said.borrow_mut().push(line.to_owned());
        for (found, origin, lines) in [
            (None, Origin::Made, 0),
            (None, Origin::Kept, 0),
            (Some("hell"), Origin::Made, 1),
        ] {
            if let Some(found) = found {
                let path = store.file(&wanted).unwrap().unwrap().path;
                fs::write(path, found).unwrap();
            }
            let stored = store.fetch_whole(&index(&server), &wanted, &say).unwrap();
            assert_eq!(fs::read(&stored.path).unwrap(), b"hello");
            assert_eq!((stored.origin, said.borrow().len()), (origin, lines));
        }
        let path = store.file(&wanted).unwrap().unwrap().path;
        fs::write(&path, "hell").unwrap();
        let away = Server::start(vec![Answer::status(404)]);
        assert!(store.fetch_whole(&index(&away), &wanted, &say).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"hell");

        let key = key(Scope::Pure, &[]);
        let files = [("a".to_owned(), b"content".to_vec())];
        let whole = crate::tools::wheel_file::pack(&files).unwrap();
        let kept = store.keep_built(&key, "a.whl", &whole).unwrap();
        assert!(store.built(&key).unwrap().is_some());
        let mut other = whole.clone();
        let at = whole.windows(7).position(|part| part == b"content");
        other[at.unwrap()] = b'C';
        for damaged in [&whole[..whole.len() - 1], &other[..]] {
            fs::write(&kept.path, damaged).unwrap();
            assert_eq!(store.built(&key).unwrap(), None);
        }
    }

    #[test]
    fn nothing_is_pruned_while_it_is_kept() {
        let (_directory, store) = store();
        let later = SystemTime::now() + ABANDONED;
        let kept = key(Scope::Pure, &[]);
        store.keep_built(&kept, "a.whl", b"a").unwrap();
        let meanwhile = store.alone(&kept.directory(), || store.prune(later));
        assert_eq!(meanwhile.unwrap().files, 0);
        assert_eq!(store.prune(later).unwrap().files, 1);
        let keys: Vec<BuiltKey> = (0..50)
            .map(|n| key(Scope::Pure, &[&n.to_string()]))
            .collect();
        std::thread::scope(|scope| {
            let keeps = scope.spawn(|| {
                for key in &keys {
                    store.keep_built(key, "a.whl", b"a").unwrap();
                }
            });
            while !keeps.is_finished() {
                store.prune(later).unwrap();
            }
        });
    }

    #[test]
    fn nothing_wrong_or_half_ever_appears() {
        let (_directory, store) = store();
        for answer in [file("other"), file("hello").cut(2), Answer::status(404)] {
            let server = Server::start(vec![page(), answer]);
            let error = store.fetch(&index(&server), &wanted(b"hello")).unwrap_err();
            assert!(format!("{error:#}").starts_with("fetch a 1: "), "{error:#}");
            assert_eq!(store.file(&wanted(b"hello")).unwrap(), None);
            assert_eq!(store.size().unwrap(), Size::default());
        }
    }

    #[test]
    fn an_index_can_not_place_files_elsewhere() {
        let (_directory, store) = store();
        let server = Server::start(vec![
            Answer::ok(
                "text/html",
                format!(
                    "<a href='/x#sha256={}'>../../evil.whl</a>",
                    &sha256(b"hello").unwrap().as_str()[7..]
                ),
            ),
            file("hello"),
        ]);
        let wanted = LockedFile {
            name: String::new(),
            ..wanted(b"hello")
        };
        let error = store.fetch(&index(&server), &wanted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`../../evil.whl` is no name of a distribution file"
        );
    }

    /// An archive of empty files.
    fn zip(names: &[&str]) -> Vec<u8> {
        let files: Vec<_> = names
            .iter()
            .map(|name| (name.to_string(), Vec::new()))
            .collect();
        crate::tools::wheel_file::pack(&files).unwrap()
    }

    fn key(scope: Scope, recipe: &[&str]) -> BuiltKey {
        BuiltKey {
            package: "pendulum".into(),
            version: "2.1.2+local".into(),
            sdist: sha256(b"sdist").unwrap(),
            abi: "cp311".into(),
            scope,
            recipe: recipe.iter().map(|part| part.to_string()).collect(),
        }
    }

    #[test]
    fn built_wheels_are_kept_by_all_that_they_depend_on() {
        let (_directory, store) = store();
        let native = |platform| Scope::Native {
            platform,
            libc: "glibc2.36".into(),
        };
        let pure = key(Scope::Pure, &[]);
        let wheel = zip(&["pure"]);
        store.keep_built(&pure, "p.whl", &wheel).unwrap();
        let kept = store.built(&pure).unwrap().unwrap();
        assert_eq!(
            (kept.hash, kept.origin),
            (sha256(&wheel).unwrap(), Origin::Kept)
        );
        for other in [
            key(native(Platform::LinuxAmd64), &[]),
            key(native(Platform::LinuxArm64), &[]),
            key(Scope::Pure, &["cython<3"]),
            BuiltKey {
                sdist: sha256(b"x").unwrap(),
                ..pure.clone()
            },
            BuiltKey {
                abi: "cp310".into(),
                ..pure.clone()
            },
        ] {
            assert_eq!(store.built(&other).unwrap(), None, "{other:?}");
        }
        assert!(
            pure.directory().parse::<crate::model::image::Tag>().is_ok(),
            "{}",
            pure.directory()
        );
        assert_ne!(
            key(Scope::Pure, &["a", "b"]).directory(),
            key(Scope::Pure, &["ab"]).directory()
        );
    }

    #[test]
    fn pruning_removes_what_was_not_used() {
        let (_directory, store) = store();
        let old = store
            .keep_built(&key(Scope::Pure, &["old"]), "old.whl", b"12345")
            .unwrap();
        store
            .keep_built(&key(Scope::Pure, &["new"]), "new.whl", b"123")
            .unwrap();
        let day = Duration::from_secs(24 * 3600);
        let then = SystemTime::now() - 40 * day;
        File::options()
            .append(true)
            .open(&old.path)
            .unwrap()
            .set_modified(then)
            .unwrap();
        let limit = SystemTime::now() - 30 * day;
        let held = store.lock(&key(Scope::Pure, &["old"]).directory()).unwrap();
        assert_eq!(
            store.prune(limit).unwrap(),
            Usage::default(),
            "one in use stays"
        );
        drop(held);
        assert_eq!(store.prune(limit).unwrap(), Usage { files: 1, bytes: 5 });
        assert_eq!(store.size().unwrap().built, Usage { files: 1, bytes: 3 });
    }

    #[test]
    fn files_are_laid_out_under_their_names() {
        let (directory, store) = store();
        let one = store
            .keep_built(&key(Scope::Pure, &["1"]), "a.whl", b"1")
            .unwrap();
        let two = store
            .keep_built(&key(Scope::Pure, &["2"]), "a.whl", b"2")
            .unwrap();
        let to = Utf8Path::from_path(directory.path())
            .unwrap()
            .join("wheels");
        fs::create_dir(&to).unwrap();
        fs::write(to.join("stale.whl"), "").unwrap();
        store.lay_out([&one, &one], &to).unwrap();
        assert_eq!(entries(&to).unwrap(), [to.join("a.whl")]);
        let error = store.lay_out([&one, &two], &to).unwrap_err().to_string();
        assert!(
            error.starts_with("two different files are called a.whl"),
            "{error}"
        );
    }
}
