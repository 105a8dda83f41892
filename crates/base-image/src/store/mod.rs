//! The content store: blobs by digest, and names that point to them.
//!
//! ```text
//! DIR/blobs/sha256/<hex>     complete, verified content; never changed
//! DIR/refs/<hex>.json        one record per reference, named by the hash of its canonical text
//! DIR/tmp/                   what is being written; emptied at every open
//! DIR/lock                   held by the one process that has the store open
//! ```
//! A blob appears by rename, after its bytes were flushed and its digest compared; a record likewise, and only when everything that
//! it leads to is there. So after a crash at any moment each name that exists leads to complete content.
//!
//! **What keeps content alive** ([`Store::collect_garbage`]): a record, a [`Lease`] (a pull under way, a running container), or youth:
//! whatever was written, or asked for by an uploader, less than [`BLOB_GRACE`] ago stays, since its manifest may still be coming.
//!
//! The functions here block on the disk; asynchronous callers go through [`BlobSink`] and `tokio::task::spawn_blocking`.
//! A [`Store`] is cheap to clone and safe to use from many threads. It needs no privileges.

mod blob;
mod gc;
mod lease;
mod load;
mod refs;
mod sink;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base_rt::watch;
use nix::fcntl::{Flock, FlockArg};

pub use blob::{BlobError, BlobWriter};
pub use gc::{BLOB_GRACE, GcError, GcReport};
pub use lease::{Condemned, LayerSweep, Lease};
pub use load::LoadError;
pub use refs::{Origin, Record, RefError};
pub use sink::BlobSink;
pub(crate) use sink::commit;

use crate::own_names::OwnNames;
use crate::reference::Reference;

/// A content store, open. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    own: OwnNames,
    refs: RwLock<BTreeMap<Reference, Record>>,
    /// Held while records are written and while garbage is collected, so that no record appears for what is being removed.
    writing: Mutex<()>,
    leases: Mutex<lease::Leases>,
    /// Changes whenever records go.
    removals: watch::Sender<u64>,
    /// Held while one blob is looked at and removed, and while one is made young again.
    aging: Mutex<()>,
    _lock: Flock<File>,
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory cannot be made or read.
    #[error("prepare the image store's directory {}", .path.display())]
    Prepare {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the image store {} is in use by another process", .path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// A record cannot be read or understood.
    #[error("the image record {} is damaged: remove this file and import or pull the image again", .path.display())]
    DamagedRecord {
        /// The record's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More records than the store keeps.
    #[error("the image store {} has more than {limit} records", .path.display())]
    TooManyRecords {
        /// The store's directory.
        path: PathBuf,
        /// How many may be.
        limit: usize,
    },
}

impl Store {
    /// Opens the store in `dir`, which is made when missing. `own` are the names of this process's own registry.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing was changed if another process has it open.
    pub fn open(dir: &Path, own: OwnNames) -> Result<Self, OpenError> {
        let prepare = |path: &Path, source| OpenError::Prepare { path: path.to_owned(), source };
        fs::create_dir_all(dir).map_err(|source| prepare(dir, source))?;
        let lock = lock(dir)?;
        let tmp = dir.join("tmp");
        match fs::remove_dir_all(&tmp) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(prepare(&tmp, source)),
            _ => {}
        }
        for path in [tmp, dir.join("refs"), dir.join("blobs/sha256")] {
            fs::create_dir_all(&path).map_err(|source| prepare(&path, source))?;
        }
        let refs = refs::load(&dir.join("refs"))?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            own,
            refs: RwLock::new(refs),
            writing: Mutex::new(()),
            leases: Mutex::default(),
            removals: watch::Sender::new(0),
            aging: Mutex::new(()),
            _lock: lock,
        })))
    }

    /// The names of this process's own registry.
    pub fn own_names(&self) -> &OwnNames {
        &self.0.own
    }

    fn leases(&self) -> MutexGuard<'_, lease::Leases> {
        self.0.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn aging(&self) -> MutexGuard<'_, ()> {
        self.0.aging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.0.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(dir: &Path) -> Result<Flock<File>, OpenError> {
    let path = dir.join("lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|source| OpenError::Prepare { path: path.clone(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => OpenError::InUse { path: dir.to_owned() },
        other => OpenError::Prepare { path, source: other.into() },
    })
}

/// Makes a rename or a removal in `dir` survive a crash of the machine.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
