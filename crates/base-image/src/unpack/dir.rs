//! One directory by descriptor, and what can be done to a name in it. Nothing here follows a link or takes a path.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::Dir as Listing;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::{Attempt, EntryError};

/// A directory's descriptor (`O_PATH`: it opens without read permission and cannot be read through).
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Directory,
    File,
    Symlink,
    /// A character device 0:0: overlayfs' mark for a removed name.
    Whiteout,
    Other,
}

/// The mode that new nodes have until their own is set.
const PRIVATE: Mode = Mode::S_IRWXU;

impl Dir {
    pub(super) fn open_root(path: &std::path::Path) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).map(Self)
    }

    pub(super) fn fd(&self) -> impl AsFd {
        &self.0
    }

    pub(super) fn try_clone(&self) -> Result<Self, EntryError> {
        self.0.try_clone().map(Self).attempt("duplicate a descriptor")
    }

    /// Opens the directory `name`; `None` if there is no such name.
    pub(super) fn open_dir(&self, name: &OsStr) -> Result<Option<Self>, EntryError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.0, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).attempt("open a directory"),
        }
    }

    /// This directory as a file, for what `O_PATH` cannot do.
    pub(super) fn open_self(&self) -> Result<File, EntryError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(&self.0, c".", flags, Mode::empty()).map(File::from).attempt("open a directory")
    }

    pub(super) fn open_file(&self, name: &OsStr) -> Result<File, EntryError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.0, name, flags, Mode::empty()).map(File::from).attempt("open a file")
    }

    pub(super) fn create_file(&self, name: &OsStr) -> Result<File, EntryError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.0, name, flags, PRIVATE).map(File::from).attempt("create a file")
    }

    pub(super) fn create_dir(&self, name: &OsStr) -> Result<Self, EntryError> {
        mkdirat(&self.0, name, PRIVATE).attempt("create a directory")?;
        self.open_dir(name)?.ok_or(Errno::ENOENT).attempt("open the new directory")
    }

    pub(super) fn read_link(&self, name: &OsStr) -> Result<OsString, EntryError> {
        readlinkat(&self.0, name).attempt("read a symbolic link")
    }

    /// What `name` is; `None` if there is no such name.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Option<FileStat>, EntryError> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).attempt("look at a name"),
        }
    }

    /// The kind of `name`; `None` if there is no such name.
    pub(super) fn kind(&self, name: &OsStr) -> Result<Option<NodeKind>, EntryError> {
        Ok(self.stat(name)?.as_ref().map(kind))
    }

    /// Removes `name` and everything below it.
    pub(super) fn remove(&self, name: &OsStr) -> Result<(), EntryError> {
        if self.kind(name)? != Some(NodeKind::Directory) {
            return unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir).attempt("replace a name");
        }
        if let Some(child) = self.open_dir(name)? {
            // The depth is bounded where directories are made.
            for entry in child.names()? {
                child.remove(&entry)?;
            }
        }
        unlinkat(&self.0, name, UnlinkatFlags::RemoveDir).attempt("replace a directory")
    }

    /// The names in this directory, without `.` and `..`.
    pub(super) fn names(&self) -> Result<Vec<OsString>, EntryError> {
        let mut listing = Listing::from_fd(self.open_self()?.into()).attempt("list a directory")?;
        let names = listing.iter().map(|entry| Ok(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned()));
        let names = names.filter(|name| !matches!(name, Ok(name) if name == "." || name == ".."));
        names.collect::<nix::Result<_>>().attempt("list a directory")
    }
}

/// The kind of a node by its status.
pub(super) fn kind(stat: &FileStat) -> NodeKind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => NodeKind::Directory,
        SFlag::S_IFREG => NodeKind::File,
        SFlag::S_IFLNK => NodeKind::Symlink,
        SFlag::S_IFCHR if stat.st_rdev == 0 => NodeKind::Whiteout,
        _ => NodeKind::Other,
    }
}
