//! The lock of the store: whoever takes wheels or layers holds it with others, whoever clears them holds it alone.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
};

use anyhow::{Context, Result};
use camino::Utf8Path;

/// Held until it is dropped.
#[derive(Debug)]
pub struct StoreLock(
    #[allow(dead_code, reason = "the lock ends when the file is closed")] Option<File>,
);

impl StoreLock {
    /// For who takes from `store`; waits for who clears it. A store that can't be written to serves without a lock.
    pub fn shared(store: &Utf8Path) -> Result<StoreLock> {
        let lock = || format!("lock {store}");
        match open(store) {
            Ok(file) => {
                file.lock_shared().with_context(lock)?;
                Ok(StoreLock(Some(file)))
            }
            Err(error) => match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Ok(StoreLock(None)),
                _ => Err(error).with_context(lock),
            },
        }
    }

    /// For who clears `store`; None while anyone takes from it.
    pub fn alone(store: &Utf8Path) -> Result<Option<StoreLock>> {
        let lock = || format!("lock {store}");
        let file = open(store).with_context(lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(StoreLock(Some(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(lock),
        }
    }
}

fn open(store: &Utf8Path) -> io::Result<File> {
    fs::create_dir_all(store)?;
    let lock = store.join("lock");
    File::options().create(true).append(true).open(lock)
}
