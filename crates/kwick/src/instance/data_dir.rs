//! The data directory: made once, checked at every start, never overwritten when it is not understood.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::NEWEST;
use super::record::Record;
use crate::exit::Refused;

/// How the names of files begin that are still being written. A start that was killed leaves some; the next one removes them.
const TEMPORARY: &str = ".kwick-";
/// The folders that belong to the instance's uid.
const OWNED: [&str; 3] = ["state", "images", "volumes"];

/// An instance's data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// Where an instance is if nobody says otherwise.
    pub(crate) const DEFAULT: &str = "/var/lib/kwick";

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

    /// ` --data-dir DIR`, for a command to a person, unless that is the default.
    pub(crate) fn option(&self) -> String {
        if self.0 == Path::new(Self::DEFAULT) { String::new() } else { format!(" --data-dir {}", self.0.display()) }
    }

    /// Whether an instance was ever started here.
    pub(crate) fn is_initialised(&self) -> bool {
        self.join("VERSION").exists()
    }

    /// Checks that an instance may live here: the directory is one of ours and not newer than this binary, or empty, or absent. Changes
    /// nothing.
    pub(crate) fn check(&self) -> Result<()> {
        match fs::metadata(self.join("VERSION")) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return self.check_empty(),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                let what = format!("{} cannot be a data directory: there is a file in its place", self.0.display());
                return Err(Refused::error(what, "name an empty or absent directory with --data-dir"));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.join("VERSION").display())),
        }
        let layout = self.layout()?;
        if layout <= NEWEST {
            return Ok(());
        }
        let (writer, needed) = match Record::writer(self) {
            Some(version) => (format!("Kwick {version}"), format!("Kwick {version} or a later one")),
            None => ("a newer Kwick".to_owned(), "that Kwick".to_owned()),
        };
        Err(Refused::error(
            format!(
                "{} was written by {writer} in a newer layout ({layout}; this is Kwick {}, which knows {NEWEST})",
                self.0.display(),
                env!("CARGO_PKG_VERSION")
            ),
            format!("use {needed}, or another --data-dir; nothing was changed"),
        ))
    }

    /// The layout of a directory that has one.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub(crate) fn layout(&self) -> Result<u32> {
        let path = self.join("VERSION");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.trim().parse::<u32>().ok().filter(|layout| *layout > 0).ok_or_else(|| {
            Refused::error(
                format!("{} is damaged: it should hold a layout version, and holds {text:?}", path.display()),
                format!("restore it from a copy (it should hold at most {NEWEST}), or use another --data-dir"),
            )
        })
    }

    /// Notes which layout the directory has from now on.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn set_layout(&self, layout: u32) -> Result<()> {
        write_durably(&self.join("VERSION"), format!("{layout}\n").as_bytes(), 0o644)
    }

    /// A directory of ours has a VERSION; one without must be empty, or it is somebody else's.
    fn check_empty(&self) -> Result<()> {
        if !self.0.exists() {
            return Ok(());
        }
        let is_ours = |name: &OsStr| {
            name == "lock" || name == "lost+found" || name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
        };
        let stranger = fs::read_dir(&self.0)
            .with_context(|| format!("cannot list {}", self.0.display()))?
            .flatten()
            .map(|entry| entry.file_name())
            .find(|name| !is_ours(name));
        match stranger {
            None => Ok(()),
            Some(stranger) => Err(Refused::error(
                format!("{} is not empty and not a data directory of Kwick (it holds {stranger:?})", self.0.display()),
                "name an empty or absent directory with --data-dir",
            )),
        }
    }

    /// Checks that the instance's unprivileged process can come here. What is absent will be made so that it can.
    pub(crate) fn check_reachable(&self, uid: u32) -> Result<()> {
        match self.0.ancestors().find(|folder| folder.exists() && !is_open_to(folder, uid)) {
            None => Ok(()),
            Some(folder) => Err(Refused::error(
                format!("Kwick's unprivileged process (uid {uid}) cannot pass through {}", folder.display()),
                format!("chmod o+x {}, or choose a --data-dir elsewhere", folder.display()),
            )),
        }
    }

    /// Makes the directory, after [`check`](Self::check), unless it is there.
    pub(crate) fn create(&self) -> Result<()> {
        if self.is_initialised() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.0)
            .with_context(|| format!("cannot make the data directory {}", self.0.display()))?;
        self.set_layout(NEWEST)
    }

    /// Deletes everything. VERSION goes last but for the lock: an interrupted deletion leaves a directory of ours, and can be repeated.
    pub(crate) fn delete(&self) -> Result<()> {
        let attempt = || -> std::io::Result<()> {
            for entry in fs::read_dir(&self.0)? {
                let (name, kind) = entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?)))?;
                match kind.is_dir() {
                    true => fs::remove_dir_all(self.0.join(name))?,
                    false if name == "VERSION" || name == "lock" => {}
                    false => fs::remove_file(self.0.join(name))?,
                }
            }
            remove_if_there(&self.join("VERSION"))?;
            remove_if_there(&self.join("lock"))?;
            match fs::remove_dir(&self.0) {
                // Something is mounted there: the place is not ours.
                Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(()),
                outcome => outcome,
            }
        };
        attempt().with_context(|| format!("cannot delete {}", self.0.display()))
    }

    /// Makes the folders that the instance's uid owns, and removes what a killed start was writing. The caller holds the lock.
    pub(crate) fn hand_over(&self, uid: u32) -> Result<()> {
        remove_temporaries(&self.0)?;
        for name in OWNED {
            let path = self.join(name);
            if path.exists() {
                remove_temporaries(&path)?;
            } else {
                DirBuilder::new()
                    .mode(0o700)
                    .create(&path)
                    .with_context(|| format!("cannot make {}", path.display()))?;
            }
            chown(&path, uid)?;
        }
        Ok(())
    }
}

fn remove_temporaries(folder: &Path) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                remove_if_there(&folder.join(name))?;
            }
        }
        Ok(())
    };
    attempt().with_context(|| format!("cannot clean up {}", folder.display()))
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
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
        dir.check().unwrap();
        assert!(!dir.path().exists(), "a check makes nothing");
        dir.create().unwrap();
        dir.check().unwrap();
        assert!(dir.is_initialised());
    }

    #[test]
    fn newer_damaged_and_foreign_directories_are_refused() {
        let record = r#"{"writtenBy": "9.8.7", "what": "is not known yet"}"#;
        let (newer, damaged) = ("9999\n", "kwick");
        for (version, record, complaint) in [
            (newer, "", "by a newer Kwick in a newer layout (9999;"),
            (newer, record, "by Kwick 9.8.7 in a newer layout (9999;"),
            (damaged, record, "damaged"),
            ("0", record, "damaged"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("VERSION"), version).unwrap();
            fs::write(folder.path().join("instance.json"), record).unwrap();
            let error = DataDir::at(folder.path()).unwrap().check().unwrap_err();
            assert!(error.is::<Refused>() && error.to_string().contains(complaint), "{error}");
            assert_eq!(fs::read_to_string(folder.path().join("VERSION")).unwrap(), version);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let error = DataDir::at(folder.path()).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        let error = DataDir::at(&folder.path().join("thesis.tex")).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("a file in its place"), "{error}");
    }

    #[test]
    fn what_a_killed_start_left_does_not_stop_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        fs::write(dir.join(&format!("{TEMPORARY}x")), "1").unwrap();
        fs::write(dir.join("lock"), "").unwrap();
        dir.check().unwrap();
        dir.create().unwrap();
        remove_temporaries(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "VERSION and the lock");
    }

    #[test]
    fn a_deletion_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(&folder.path().join("data")).unwrap();
        dir.create().unwrap();
        fs::create_dir(dir.join("images")).unwrap();
        fs::write(dir.join("instance.json"), "{}").unwrap();
        dir.delete().unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(&folder.path().join("data")).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let error = dir.check_reachable(nix::unistd::getuid().as_raw() + 1).unwrap_err();
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
        assert!(!dir.path().exists());
    }
}
