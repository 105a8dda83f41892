//! Records: which manifest a reference means, since when, and how it came here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use base_rt::Timestamp;
use base_rt::watch;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{BlobError, OpenError, Store, sync_dir};
use crate::digest::Digest;
use crate::manifest::{Document, MAX_MANIFEST_BYTES, ManifestError};
use crate::reference::Reference;

/// The most references of a store.
const MAX_RECORDS: usize = 100_000;

/// The largest record file; a reference, a digest and a media type need a fraction of it.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// How an image came into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Put here on purpose: imported, pushed or assembled. The store is the authority for the reference.
    Local,
    /// A copy of what another registry has: the store answers by digest, but a tag is asked for there again.
    Pulled,
}

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The canonical reference.
    pub reference: Reference,
    /// The manifest's or index's digest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// When the reference came to mean this.
    pub created: Timestamp,
    /// How it came here.
    pub origin: Origin,
}

/// A record cannot be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum RefError {
    /// The manifest is not readable from the store.
    #[error("record {reference}")]
    Manifest {
        /// The reference.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// The manifest's bytes are none.
    #[error("record {reference}")]
    Parse {
        /// The reference.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The manifest names a blob or manifest that the store does not have.
    #[error("the manifest of {reference} needs {digest}, which is not in the store")]
    Incomplete {
        /// The reference.
        reference: Box<Reference>,
        /// What is missing.
        digest: Digest,
    },
    /// More than the store keeps.
    #[error("the store has its most, {MAX_RECORDS} image references: remove some")]
    TooMany,
    /// The disk.
    #[error("write the record of {reference}")]
    Write {
        /// The reference.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads every record in `dir`.
pub(super) fn load(dir: &Path) -> Result<BTreeMap<Reference, Record>, OpenError> {
    let prepare = |source| OpenError::Prepare { path: dir.to_owned(), source };
    let mut refs = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(prepare)? {
        let path = entry.map_err(prepare)?.path();
        let record = read_record(&path).map_err(|source| OpenError::DamagedRecord { path, source })?;
        refs.insert(record.reference.clone(), record);
        if refs.len() > MAX_RECORDS {
            return Err(OpenError::TooManyRecords { path: dir.to_owned(), limit: MAX_RECORDS });
        }
    }
    Ok(refs)
}

fn read_record(path: &Path) -> io::Result<Record> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_RECORD_BYTES).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

impl Store {
    /// What `reference` means here, under any of this registry's names. A digest is found in any repository that has it by record.
    pub fn record(&self, reference: &Reference) -> Option<Record> {
        let reference = self.0.own.canonicalise(reference);
        self.read_refs(|refs| refs.get(&reference).cloned())
    }

    /// All records in the order of their references.
    pub fn records(&self) -> Vec<Record> {
        self.read_refs(|refs| refs.values().cloned().collect())
    }

    /// The records of one repository, tags first. `registry` may be any of this registry's names.
    pub fn repository(&self, registry: &str, repository: &str) -> Vec<Record> {
        let own = self.own_names();
        let registry = if own.contains(registry) { own.canonical() } else { registry };
        let same =
            |record: &&Record| record.reference.repository() == repository && record.reference.registry() == registry;
        self.read_refs(|refs| refs.values().filter(same).cloned().collect())
    }

    /// Makes `reference` mean the manifest `digest`, which must be in the store with everything that it needs; of an index, at least
    /// one of the manifests must be. A reference by tag also records the digest, so that moving the tag loses nothing.
    ///
    /// On disk before this returns.
    ///
    /// # Errors
    /// [`RefError`]. Nothing is recorded then.
    pub fn set_record(
        &self,
        reference: &Reference,
        digest: Digest,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Record, RefError> {
        let reference = self.0.own.canonicalise(reference);
        let _writing = self.writing();
        let document = self.complete_document(&reference, digest)?;
        let record = |reference: Reference| Record {
            reference,
            digest,
            media_type: document.media_type().to_owned(),
            created: now,
            origin,
        };
        let by_digest = record(reference.with_digest(digest));
        if self.known_origin(&by_digest.reference) != Some(Origin::Local) {
            self.write_record(by_digest)?;
        }
        let named = record(reference);
        if named.reference.tag().is_some() {
            self.write_record(named.clone())?;
        }
        Ok(named)
    }

    /// Removes one reference, and nothing else. Gives whether it was there.
    ///
    /// # Errors
    /// [`RefError::Write`].
    pub fn remove_record(&self, reference: &Reference) -> Result<bool, RefError> {
        let reference = self.0.own.canonicalise(reference);
        let _writing = self.writing();
        self.unlink_records([&reference].into_iter().cloned().collect())
    }

    /// Removes an image as a person means it: the reference, and the content's own record once no tag of the repository leads to it;
    /// by digest: the content's record and every tag of the repository that leads to it. Gives whether anything was there.
    ///
    /// # Errors
    /// [`RefError::Write`].
    pub fn remove_image(&self, reference: &Reference) -> Result<bool, RefError> {
        let reference = self.0.own.canonicalise(reference);
        let _writing = self.writing();
        let Some(record) = self.read_refs(|refs| refs.get(&reference).cloned()) else {
            return Ok(false);
        };
        let siblings = self.repository(reference.registry(), reference.repository());
        let same_content = siblings.into_iter().filter(|sibling| sibling.digest == record.digest);
        let (tags, digests): (Vec<_>, Vec<_>) =
            same_content.map(|sibling| sibling.reference).partition(|sibling| sibling.tag().is_some());
        let others = tags.iter().filter(|tag| **tag != reference).count();
        let mut gone = BTreeSet::from([reference.clone()]);
        if reference.tag().is_none() {
            gone.extend(tags);
        } else if others == 0 {
            gone.extend(digests);
        }
        self.unlink_records(gone)
    }

    /// Changes whenever a record goes: what it led to may be needed by nobody now.
    pub fn removals(&self) -> watch::Receiver<u64> {
        self.0.removals.subscribe()
    }

    /// Forgets copies of other registries' images that were recorded before `before` and whose digest is not `in_use`; they can be
    /// pulled again. Gives how many records went.
    ///
    /// # Errors
    /// [`RefError::Write`].
    pub fn forget_pulled(&self, before: Timestamp, in_use: &BTreeSet<Digest>) -> Result<usize, RefError> {
        let _writing = self.writing();
        let is_old = |record: &&Record| {
            record.origin == Origin::Pulled && record.created < before && !in_use.contains(&record.digest)
        };
        let old: BTreeSet<_> =
            self.read_refs(|refs| refs.values().filter(is_old).map(|r| r.reference.clone()).collect());
        let count = old.len();
        self.unlink_records(old)?;
        Ok(count)
    }

    pub(super) fn read_refs<T>(&self, read: impl FnOnce(&BTreeMap<Reference, Record>) -> T) -> T {
        read(&self.0.refs.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn known_origin(&self, reference: &Reference) -> Option<Origin> {
        self.read_refs(|refs| refs.get(reference).map(|record| record.origin))
    }

    fn complete_document(&self, reference: &Reference, digest: Digest) -> Result<Document, RefError> {
        let unreadable = |source| RefError::Manifest { reference: Box::new(reference.clone()), source };
        let bytes = self.read_blob(digest, MAX_MANIFEST_BYTES).map_err(unreadable)?;
        let malformed = |source| RefError::Parse { reference: Box::new(reference.clone()), source };
        let document = Document::parse(&bytes, None).map_err(malformed)?;
        let parts = document.parts();
        let mut missing = parts.iter().filter(|part| self.blob_size(part.digest).is_none());
        let first_missing = match &document {
            Document::Manifest(_) => missing.next(),
            Document::Index(_) if missing.clone().count() == parts.len() => missing.next(),
            Document::Index(_) => None,
        };
        match first_missing {
            Some(part) => Err(RefError::Incomplete { reference: Box::new(reference.clone()), digest: part.digest }),
            None => Ok(document),
        }
    }

    fn record_path(&self, reference: &Reference) -> PathBuf {
        self.ref_dir().join(format!("{}.json", Digest::of(reference.to_string().as_bytes()).hex()))
    }

    fn ref_dir(&self) -> PathBuf {
        self.0.dir.join("refs")
    }

    fn write_record(&self, record: Record) -> Result<(), RefError> {
        if self.read_refs(BTreeMap::len) >= MAX_RECORDS {
            return Err(RefError::TooMany);
        }
        let failed = |source| RefError::Write { reference: Box::new(record.reference.clone()), source };
        let bytes = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
        let path = self.record_path(&record.reference);
        self.replace_file(&path, &bytes).map_err(failed)?;
        let mut refs = self.0.refs.write().unwrap_or_else(PoisonError::into_inner);
        refs.insert(record.reference.clone(), record);
        Ok(())
    }

    fn replace_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(self.0.dir.join("tmp"))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_dir(&self.ref_dir())
    }

    fn unlink_records(&self, references: BTreeSet<Reference>) -> Result<bool, RefError> {
        let mut any = false;
        // Tags sort before digests, so what a tag leads to is kept until the tag is gone.
        for reference in references {
            let failed = |source| RefError::Write { reference: Box::new(reference.clone()), source };
            match fs::remove_file(self.record_path(&reference)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                outcome => outcome.map_err(failed)?,
            }
            sync_dir(&self.ref_dir()).map_err(failed)?;
            let mut refs = self.0.refs.write().unwrap_or_else(PoisonError::into_inner);
            any |= refs.remove(&reference).is_some();
            drop(refs);
            self.0.removals.send_modify(|count| *count += 1);
        }
        Ok(any)
    }
}
