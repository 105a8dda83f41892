//! Blobs: writing with verification, and reading.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use tempfile::NamedTempFile;

use super::{Store, sync_dir};
use crate::digest::{Digest, Hasher};

/// How much of a blob is read at a time to verify it.
const VERIFY_BYTES: usize = 64 << 10;

/// A blob that is being written. Dropped without [`commit`](Self::commit), it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    file: NamedTempFile,
    hasher: Hasher,
    limit: u64,
}

/// A blob cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk, most often.
    #[error("write a blob")]
    Write(#[source] io::Error),
    /// Reading failed.
    #[error("read blob {digest}")]
    Read {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such blob.
    #[error("blob {digest} is not in the store")]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// More bytes than announced or allowed.
    #[error("the content is larger than {limit} bytes")]
    TooLarge {
        /// The bound that was met.
        limit: u64,
    },
    /// The content is not what its digest says.
    #[error("the content has the digest {actual}, expected was {expected}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// What the store holds is not what it was when it was written.
    #[error("blob {digest} in the store was damaged and has been removed: pull, push or import the image again")]
    Damaged {
        /// Which.
        digest: Digest,
    },
}

impl BlobWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] past the limit (nothing of `bytes` is written), [`BlobError::Write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        if self.length().saturating_add(bytes.len() as u64) > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.file.write_all(bytes).map_err(BlobError::Write)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// How many bytes have been written.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Makes the bytes a blob of the store, on disk before this returns, and gives its digest.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`] if it is not `expected`, [`BlobError::Write`].
    pub fn commit(self, expected: Option<Digest>) -> Result<Digest, BlobError> {
        let digest = self.hasher.finish();
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(BlobError::DigestMismatch { expected, actual: digest });
        }
        if self.store.touch(digest).is_some() {
            return Ok(digest);
        }
        self.file.as_file().sync_data().map_err(BlobError::Write)?;
        let path = self.store.blob_path(digest);
        self.file.persist(&path).map_err(|error| BlobError::Write(error.error))?;
        sync_dir(&self.store.blob_dir()).map_err(BlobError::Write)?;
        Ok(digest)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BlobWriter::write(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Starts a blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub fn blob_writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        let file = NamedTempFile::new_in(self.0.dir.join("tmp")).map_err(BlobError::Write)?;
        Ok(BlobWriter { store: self.clone(), file, hasher: Hasher::default(), limit })
    }

    /// Stores `bytes` as a blob.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let mut writer = self.blob_writer(bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.commit(None)
    }

    /// The length of a blob in bytes, if the store has it.
    pub fn blob_size(&self, digest: Digest) -> Option<u64> {
        let metadata = fs::symlink_metadata(self.blob_path(digest)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Like [`blob_size`](Self::blob_size), and keeps the blob from being collected for [`BLOB_GRACE`](super::BLOB_GRACE): whoever is
    /// told that it is there may rely on it and not send it again.
    pub fn touch(&self, digest: Digest) -> Option<u64> {
        let _aging = self.aging();
        let file = File::options().append(true).open(self.blob_path(digest)).ok()?;
        futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW).ok()?;
        Some(file.metadata().ok()?.len())
    }

    /// Opens a blob. Its content is as it was verified when written, unless the disk lost it: who depends on it verifies again.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Read`].
    pub fn open_blob(&self, digest: Digest) -> Result<File, BlobError> {
        File::open(self.blob_path(digest)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BlobError::Missing { digest },
            _ => BlobError::Read { digest, source },
        })
    }

    /// Reads a whole blob of at most `limit` bytes and verifies it.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::TooLarge`], [`BlobError::Damaged`], [`BlobError::Read`].
    pub fn read_blob(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| BlobError::Read { digest, source })?;
        if bytes.len() as u64 > limit {
            return Err(BlobError::TooLarge { limit });
        }
        if Digest::of(&bytes) != digest {
            self.discard_if_damaged(digest)?;
            return Err(BlobError::Damaged { digest });
        }
        Ok(bytes)
    }

    /// Verifies a blob, and removes it if it is damaged: then the store does not have it, and the next pull, push or import brings it again.
    /// Whether it was damaged. Reads all of it.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Read`], [`BlobError::Write`].
    pub fn discard_if_damaged(&self, digest: Digest) -> Result<bool, BlobError> {
        let mut file = self.open_blob(digest)?;
        let mut hasher = Hasher::default();
        let mut piece = vec![0; VERIFY_BYTES];
        loop {
            match file.read(&mut piece).map_err(|source| BlobError::Read { digest, source })? {
                0 => break,
                count => hasher.update(piece.get(..count).unwrap_or_default()),
            }
        }
        if hasher.finish() == digest {
            return Ok(false);
        }
        let _aging = self.aging();
        let path = self.blob_path(digest);
        let identity = |metadata: io::Result<fs::Metadata>| metadata.map(|it| (it.dev(), it.ino())).ok();
        // Another caller may have removed it meanwhile, and a good copy may have come.
        if identity(fs::symlink_metadata(&path)) == identity(file.metadata()) {
            fs::remove_file(&path).map_err(BlobError::Write)?;
        }
        Ok(true)
    }

    pub(super) fn blob_dir(&self) -> PathBuf {
        self.0.dir.join("blobs/sha256")
    }

    pub(super) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.blob_dir().join(digest.hex())
    }
}
