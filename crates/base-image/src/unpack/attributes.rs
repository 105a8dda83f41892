//! Owners, modes, times and extended attributes of what was unpacked.
//!
//! The order matters: changing the owner clears setuid bits and file capabilities, writing changes the time.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use xattr::FileExt;

use super::OverlayMarks;
use super::dir::Dir;
use super::error::{Attempt, EntryError};
use crate::tar_stream::Entry;

/// What a node has besides content.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    pub(super) mtime: TimeSpec,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Of a directory that nothing describes.
    pub(super) fn plain_directory() -> Self {
        let mode = Mode::from_bits_truncate(0o755);
        Self { mode, uid: Uid::from_raw(0), gid: Gid::from_raw(0), mtime: TimeSpec::new(0, 0), xattrs: Vec::new() }
    }

    pub(super) fn of_entry(entry: &Entry) -> Result<Self, EntryError> {
        // The highest value means "unchanged" to the kernel.
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(EntryError::Owner);
        Ok(Self {
            mode: Mode::from_bits_truncate(entry.mode),
            uid: Uid::from_raw(id(entry.uid)?),
            gid: Gid::from_raw(id(entry.gid)?),
            mtime: TimeSpec::new(entry.mtime, i64::from(entry.mtime_nanos)),
            xattrs: entry.xattrs.clone(),
        })
    }

    /// Of a node of a lower layer, open as `file`.
    pub(super) fn of_node(stat: &FileStat, file: &File) -> Result<Self, EntryError> {
        let mut xattrs = Vec::new();
        // A file system without extended attributes has none to copy.
        for name in file.list_xattr().into_iter().flatten() {
            let value = file.get_xattr(&name).attempt("read an extended attribute")?;
            xattrs.push((name.as_bytes().to_vec(), value.unwrap_or_default()));
        }
        Ok(Self {
            mode: Mode::from_bits_truncate(stat.st_mode & 0o7777),
            uid: Uid::from_raw(stat.st_uid),
            gid: Gid::from_raw(stat.st_gid),
            mtime: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
            xattrs,
        })
    }

    /// Sets everything on a file or directory; gives how many extended attributes were left out.
    pub(super) fn set(&self, file: &File) -> Result<u64, EntryError> {
        fchown(file, Some(self.uid), Some(self.gid)).attempt("set the owner")?;
        fchmod(file, self.mode).attempt("set the mode")?;
        let mut skipped = 0;
        for (name, value) in &self.xattrs {
            if !set_xattr(file, name, value)? {
                skipped += 1;
            }
        }
        futimens(file, &self.mtime, &self.mtime).attempt("set the time")?;
        Ok(skipped)
    }

    /// Sets what a symbolic link or a pipe can have. A link has no mode.
    pub(super) fn set_by_name(&self, dir: &Dir, name: &OsStr, has_mode: bool) -> Result<(), EntryError> {
        let (uid, gid) = (Some(self.uid), Some(self.gid));
        fchownat(dir.fd(), name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).attempt("set the owner")?;
        if has_mode {
            fchmodat(dir.fd(), name, self.mode, FchmodatFlags::FollowSymlink).attempt("set the mode")?;
        }
        let no_follow = UtimensatFlags::NoFollowSymlink;
        utimensat(dir.fd(), name, &self.mtime, &self.mtime, no_follow).attempt("set the time")
    }
}

/// Marks a directory as hiding everything below.
pub(super) fn set_opaque(dir: &Dir, marks: OverlayMarks) -> Result<(), EntryError> {
    dir.open_self()?.set_xattr(opaque_name(marks), b"y").attempt("mark a directory as opaque")
}

/// Whether a directory hides everything below.
pub(super) fn is_opaque(dir: &Dir, marks: OverlayMarks) -> Result<bool, EntryError> {
    let value = dir.open_self()?.get_xattr(opaque_name(marks));
    Ok(matches!(value, Ok(Some(value)) if value == b"y"))
}

fn opaque_name(marks: OverlayMarks) -> &'static str {
    match marks {
        OverlayMarks::Trusted => "trusted.overlay.opaque",
        OverlayMarks::User => "user.overlay.opaque",
    }
}

/// Only what belongs to an image: `user.*`, file capabilities and access lists. Overlayfs' own marks would let a layer rewrite the
/// stack, labels (`security.selinux`) are the host's.
fn is_allowed(name: &[u8]) -> bool {
    let is_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    is_user || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Gives whether it was set.
fn set_xattr(file: &File, name: &[u8], value: &[u8]) -> Result<bool, EntryError> {
    if !is_allowed(name) {
        return Ok(false);
    }
    match file.set_xattr(OsStr::from_bytes(name), value) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => Ok(false),
        Err(error) => Err(error).attempt("set an extended attribute"),
    }
}
