//! The data directory: made once, checked at every start, never overwritten when it is not understood.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::exit::Refused;

/// The layout that this binary writes. A higher number in `DIR/VERSION` is refused; a lower one is upgraded step by step.
const LAYOUT_VERSION: u32 = 1;
/// The folders that belong to the instance's uid.
const OWNED: [&str; 3] = ["state", "images", "volumes"];

/// An instance's data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// Names the directory; touches nothing. A relative path is taken from the working directory.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))?;
        Ok(Self(path))
    }

    /// The path of `name` in the directory.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether an instance was ever started here.
    pub(crate) fn is_initialised(&self) -> bool {
        self.join("VERSION").exists()
    }

    /// Makes the directory if it is absent; checks that it is one of ours and not newer than this binary.
    pub(crate) fn create_or_check(&self) -> Result<()> {
        if !self.0.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&self.0)
                .with_context(|| format!("cannot make the data directory {}", self.0.display()))?;
        }
        let text = match fs::read_to_string(self.join("VERSION")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return self.initialise(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.join("VERSION").display())),
        };
        match text.trim().parse::<u32>() {
            Ok(version) if version <= LAYOUT_VERSION => Ok(()),
            Ok(version) => Err(Refused::error(
                format!(
                    "{} was written by a newer Kwick (layout {version}, this one knows {LAYOUT_VERSION})",
                    self.0.display()
                ),
                "use the newer kwick, or another --data-dir",
            )),
            Err(_) => Err(Refused::error(
                format!(
                    "{} is damaged: it should hold a layout version, and holds {text:?}",
                    self.join("VERSION").display()
                ),
                format!("restore it from a copy (it should hold {LAYOUT_VERSION}), or use another --data-dir"),
            )),
        }
    }

    /// A directory of ours has a VERSION; one without must be empty, or it is somebody else's.
    fn initialise(&self) -> Result<()> {
        let stranger = fs::read_dir(&self.0)
            .with_context(|| format!("cannot list {}", self.0.display()))?
            .flatten()
            .map(|entry| entry.file_name())
            .find(|name| name != "lock" && name != "lost+found");
        if let Some(stranger) = stranger {
            return Err(Refused::error(
                format!("{} is not empty and not a data directory of Kwick (it holds {stranger:?})", self.0.display()),
                "name an empty or absent directory with --data-dir",
            ));
        }
        write_durably(&self.join("VERSION"), format!("{LAYOUT_VERSION}\n").as_bytes(), 0o644)
    }

    /// Makes the folders that the instance's uid owns, and checks that it can reach them.
    pub(crate) fn hand_over(&self, uid: u32) -> Result<()> {
        for name in OWNED {
            let path = self.join(name);
            if !path.exists() {
                DirBuilder::new()
                    .mode(0o700)
                    .create(&path)
                    .with_context(|| format!("cannot make {}", path.display()))?;
            }
            chown(&path, uid)?;
        }
        let closed = self.0.ancestors().find(|folder| !is_open_to(folder, uid));
        match closed {
            None => Ok(()),
            Some(folder) => Err(Refused::error(
                format!("Kwick's unprivileged process (uid {uid}) cannot pass through {}", folder.display()),
                format!("chmod o+x {}, or choose a --data-dir elsewhere", folder.display()),
            )),
        }
    }
}

/// Gives a file or folder to `uid` and the group of the same number.
fn chown(path: &Path, uid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid))
        .with_context(|| format!("cannot give {} to uid {uid}", path.display()))
}

/// Writes a whole file so that after a crash there is the old one or the new one: temporary name, fsync, rename, fsync of the folder.
pub(crate) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().with_context(|| format!("{} has no folder", path.display()))?;
    let attempt = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

fn is_open_to(folder: &Path, uid: u32) -> bool {
    fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o001 != 0 || (meta.uid() == uid && meta.mode() & 0o100 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_gets_a_version_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(&folder.path().join("a/b")).unwrap();
        dir.create_or_check().unwrap();
        dir.create_or_check().unwrap();
        assert!(dir.is_initialised());
    }

    #[test]
    fn newer_damaged_and_foreign_directories_are_refused() {
        for (version, complaint) in [("2\n", "newer Kwick"), ("kwick", "damaged")] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("VERSION"), version).unwrap();
            let error = DataDir::at(folder.path()).unwrap().create_or_check().unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
            assert_eq!(fs::read_to_string(folder.path().join("VERSION")).unwrap(), version);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let error = DataDir::at(folder.path()).unwrap().create_or_check().unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
    }
}
