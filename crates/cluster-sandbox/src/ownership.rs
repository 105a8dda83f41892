//! Giving a directory tree that somebody else fills to a group: everything belongs to it and may be written by it.
//!
//! Links are never followed, devices and pipes never opened. The top itself comes last: if it belongs to the group, so does all that was in it,
//! whatever ended an earlier try.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, chmod, chownat, fstat, openat};
use rustix::io::Errno;

use crate::sys::time::Moment;
use crate::walk::{open, walk};

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// What the group may do with a file, and with a directory; which passes it on.
const FILE_MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o2770;

/// Whether a directory belongs to the group as [`give_tree`] leaves it.
pub(crate) fn belongs_to(path: &Path, group: u32) -> io::Result<bool> {
    let found = fstat(openat(CWD, path, HANDLE, Mode::empty())?)?;
    Ok(found.st_gid == group && found.st_mode & DIRECTORY_MODE == DIRECTORY_MODE)
}

/// Gives the directory at `path` and everything below it to the group.
///
/// # Errors
/// Something could not be given, or not before the deadline; then the directory itself is not.
pub(crate) fn give_tree(path: &Path, group: u32, deadline: Moment) -> io::Result<()> {
    let top = open(path)?;
    walk(top.try_clone()?, deadline, |parent, name| give(openat(parent, name, HANDLE, Mode::empty())?, group))?;
    give(top, group)?;
    Ok(())
}

fn give(handle: impl AsFd, group: u32) -> Result<FileType, Errno> {
    let found = fstat(&handle)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    if found.st_gid != group {
        chownat(&handle, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let mode = match kind {
        FileType::Directory => found.st_mode & 0o7777 | DIRECTORY_MODE,
        // Programs that changed user or group do so no more: the group may write them.
        FileType::RegularFile => found.st_mode & 0o1777 | FILE_MODE,
        _ => return Ok(kind),
    };
    if found.st_mode & 0o7777 != mode {
        // What the handle is on, whatever its name leads to by now.
        chmod(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()), Mode::from_raw_mode(mode))?;
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_is_given_and_no_link_followed() {
        let outside = tempfile::tempdir().unwrap();
        let group = rustix::process::getegid().as_raw();
        let tree = outside.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        symlink(outside.path().join("kept"), tree.join("a/link")).unwrap();
        symlink(outside.path(), tree.join("out")).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        set(&tree.join("a/b/file"), 0o4700);
        set(&outside.path().join("kept"), 0o600);
        set(outside.path(), 0o700);
        let later = Moment::now().after(Duration::from_secs(600));
        assert!(!belongs_to(&tree, group).unwrap());
        assert_eq!(give_tree(&tree, group, Moment::now()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(!belongs_to(&tree, group).unwrap(), "the top comes last");
        give_tree(&tree, group, later).unwrap();
        assert!(belongs_to(&tree, group).unwrap());
        assert_eq!([mode(&tree.join("a")), mode(&tree.join("a/b"))], [0o2775; 2]);
        assert_eq!(mode(&tree.join("a/b/file")), 0o760);
        assert_eq!([mode(&outside.path().join("kept")), mode(outside.path())], [0o600, 0o700]);
    }
}
