//! The directory of all unpacked layers: which are there, making one, removing one.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::syncfs;
use serde::Serialize;

use super::{UnpackError, UnpackOptions, UnpackReport, apply_blob};
use crate::digest::Digest;
use crate::image::Layer;

/// Images hold setuid programs and their builders' secrets: only root looks in.
const DIR_MODE: u32 = 0o700;

/// The layer's root, within its directory.
const ROOT: &str = "fs";

/// Present when the layer is complete.
const MARKER: &str = "layer.json";

/// The prefix of what is being made.
const NEW: &str = ".new-";

/// The prefix of what is being removed.
const DEAD: &str = ".dead-";

/// The unpacked layers of an instance.
#[derive(Clone, Debug)]
pub struct LayersDir {
    dir: PathBuf,
}

/// What a layer was made of: for people, and for the question whether it is complete.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    digest: Digest,
    diff_id: Digest,
    chain_id: Digest,
    entries: u64,
    bytes: u64,
}

impl LayersDir {
    /// The layers in `dir`, which is made when missing, for root alone.
    ///
    /// # Errors
    /// [`UnpackError::Prepare`].
    pub fn open(dir: &Path) -> Result<Self, UnpackError> {
        let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
        made.map_err(|source| UnpackError::Prepare { path: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Whether that layer is unpacked, completely.
    pub fn contains(&self, chain_id: Digest) -> bool {
        self.layer(chain_id).join(MARKER).is_file()
    }

    /// The directory to stack: an overlayfs `lowerdir`.
    pub fn root(&self, chain_id: Digest) -> PathBuf {
        self.layer(chain_id).join(ROOT)
    }

    /// The layers that are there.
    ///
    /// # Errors
    /// [`UnpackError::Prepare`].
    pub fn list(&self) -> Result<BTreeSet<Digest>, UnpackError> {
        let names = self.names().map_err(|source| self.prepare(source))?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name)).filter(|layer| self.contains(*layer)).collect())
    }

    /// Unpacks `layer` from `blob` above the layers `below` (their chain ids, the lowest first), unless it is there.
    ///
    /// # Errors
    /// [`UnpackError`]; nothing new is there then.
    pub fn unpack(
        &self,
        layer: &Layer,
        below: &[Digest],
        blob: impl Read,
        options: &UnpackOptions,
    ) -> Result<UnpackReport, UnpackError> {
        if self.contains(layer.chain_id) {
            return Ok(UnpackReport::default());
        }
        if let Some(chain_id) = below.iter().find(|below| !self.contains(**below)) {
            return Err(UnpackError::MissingBelow { chain_id: *chain_id });
        }
        let below: Vec<_> = below.iter().map(|chain_id| self.root(*chain_id)).collect();
        let new = tempfile::Builder::new().prefix(NEW).tempdir_in(&self.dir).map_err(|source| self.prepare(source))?;
        let root = new.path().join(ROOT);
        fs::create_dir(&root).map_err(|source| UnpackError::Prepare { path: root.clone(), source })?;
        let report = apply_blob(blob, layer, &root, &below, options)?;
        self.keep(new, layer, &report).map_err(|source| self.prepare(source))?;
        Ok(report)
    }

    /// Removes a layer, if it is there. Nothing may be using it.
    ///
    /// # Errors
    /// [`UnpackError::Prepare`].
    pub fn remove(&self, chain_id: Digest) -> Result<(), UnpackError> {
        let dead = self.dir.join(format!("{DEAD}{}", chain_id.hex()));
        let removed = fs::rename(self.layer(chain_id), &dead).and_then(|()| fs::remove_dir_all(&dead));
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(UnpackError::Prepare { path: dead, source }),
            _ => Ok(()),
        }
    }

    /// Removes what a crash left of layers that were being made or removed. Nothing may be unpacking.
    ///
    /// # Errors
    /// [`UnpackError::Prepare`].
    pub fn remove_leftovers(&self) -> Result<(), UnpackError> {
        let names = self.names().map_err(|source| self.prepare(source))?;
        for name in names.iter().filter(|name| name.starts_with(NEW) || name.starts_with(DEAD)) {
            let path = self.dir.join(name);
            fs::remove_dir_all(&path).map_err(|source| UnpackError::Prepare { path, source })?;
        }
        Ok(())
    }

    /// Gives a finished layer its name, once it is on disk whatever happens to the machine.
    fn keep(&self, new: tempfile::TempDir, layer: &Layer, report: &UnpackReport) -> io::Result<()> {
        let Layer { digest, diff_id, chain_id, .. } = *layer;
        let marker = Marker { digest, diff_id, chain_id, entries: report.entries, bytes: report.bytes };
        File::create(new.path().join(MARKER))?.write_all(&serde_json::to_vec(&marker)?)?;
        let dir = File::open(&self.dir)?;
        syncfs(&dir)?;
        match fs::rename(new.path(), self.layer(chain_id)) {
            Ok(()) => drop(new.keep()),
            // Somebody else was quicker: theirs is as good.
            Err(_) if self.contains(chain_id) => return Ok(()),
            Err(error) => return Err(error),
        }
        dir.sync_all()
    }

    fn layer(&self, chain_id: Digest) -> PathBuf {
        self.dir.join(chain_id.hex())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().into_string()));
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn prepare(&self, source: io::Error) -> UnpackError {
        UnpackError::Prepare { path: self.dir.clone(), source }
    }
}
