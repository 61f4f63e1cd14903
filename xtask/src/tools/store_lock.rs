//! The lock of the store: whoever takes wheels or layers holds it with others, whoever clears them holds it alone. Its
//! entries, and the connectors that are built, have locks of their own.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use camino::Utf8Path;

use super::process::check_interrupted;

const LOCK: &str = "lock";
/// Between two looks at a lock that someone else holds.
const PAUSE: Duration = Duration::from_millis(20);

/// Held until it is dropped.
#[derive(Debug)]
pub struct StoreLock(Option<File>);

impl Drop for StoreLock {
    /// A program that another thread starts meanwhile has the file open until it runs, and with it the lock.
    fn drop(&mut self) {
        // Where that fails the lock ends when the last one closes the file.
        let _ = self.0.as_ref().map(File::unlock);
    }
}

impl StoreLock {
    /// For who takes from `store`; waits for who clears it. A store that can't be written to, and has no lock that can be
    /// read, serves without one.
    pub fn shared(store: &Utf8Path) -> Result<StoreLock> {
        let lock = || format!("lock {store}");
        let file = match open(store, LOCK) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                // Who locks a file needs no right to write it.
                match File::open(store.join(LOCK)) {
                    Ok(file) => file,
                    Err(_) => return Ok(StoreLock(None)),
                }
            }
            opened => opened.with_context(lock)?,
        };
        wait(|| {
            let is_taken = taken(file.try_lock_shared()).with_context(lock)?;
            Ok(is_taken.then_some(()))
        })?;
        Ok(StoreLock(Some(file)))
    }

    /// For who clears `store`; None while anyone takes from it.
    pub fn alone(store: &Utf8Path) -> Result<Option<StoreLock>> {
        try_lock(store, LOCK)
    }
}

/// The lock `name` in `directory`, both made when they are not there; None while someone else holds it.
pub fn try_lock(directory: &Utf8Path, name: &str) -> Result<Option<StoreLock>> {
    let lock = || format!("lock {}", directory.join(name));
    let file = open(directory, name).with_context(lock)?;
    let is_taken = taken(file.try_lock()).with_context(lock)?;
    Ok(is_taken.then_some(StoreLock(Some(file))))
}

/// Tries until it has what it waits for. Ctrl-C ends that.
pub fn wait<T>(attempt: impl Fn() -> Result<Option<T>>) -> Result<T> {
    loop {
        check_interrupted()?;
        if let Some(lock) = attempt()? {
            return Ok(lock);
        }
        thread::sleep(PAUSE);
    }
}

fn open(directory: &Utf8Path, name: &str) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let lock = directory.join(name);
    File::options().create(true).append(true).open(lock)
}

fn taken(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_lock_ends_also_while_a_program_that_starts_has_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let store = Utf8Path::from_path(directory.path()).unwrap();
        let lock = StoreLock::alone(store).unwrap().unwrap();
        let _as_a_fork_has_it = lock.0.as_ref().unwrap().try_clone().unwrap();
        assert!(StoreLock::alone(store).unwrap().is_none());
        drop(lock);
        assert!(StoreLock::alone(store).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_can_only_be_read_is_held_too() {
        let directory = tempfile::tempdir().unwrap();
        let store = Utf8Path::from_path(directory.path()).unwrap();
        let lock = store.join(LOCK);
        fs::write(&lock, "").unwrap();
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o444)).unwrap();
        let _held = StoreLock::shared(store).unwrap();
        let _with_it = StoreLock::shared(store).unwrap();
        let tried = File::open(&lock).unwrap().try_lock();
        assert!(matches!(tried, Err(TryLockError::WouldBlock)), "{tried:?}");
    }
}
