//! Giving a directory tree that somebody else fills to a group: everything belongs to it and may be written by it.
//!
//! As in removing one ([`crate::removal`]), one descriptor goes down by name and up by `..`. But others may be at work in the tree, and move
//! directories: so who goes up looks whether it is where it came from. Links are never followed, devices and pipes never opened.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, chmod, chownat, fstat, openat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
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
pub(crate) fn give_tree(path: &Path, group: u32) -> io::Result<()> {
    let top = openat(CWD, path, HANDLE, Mode::empty())?;
    give(&top, group)?;
    let mut here = openat(CWD, path, DIRECTORY, Mode::empty())?;
    let mut levels = vec![Level { is: identity(&here)?, left: give_entries(&here, group)? }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.left.pop() {
            match openat(&here, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Ok(below) => here = below,
                // It has gone, or is something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(error.into()),
            }
            levels.push(Level { is: identity(&here)?, left: give_entries(&here, group)? });
            continue;
        }
        levels.pop();
        if let Some(above) = levels.last() {
            here = openat(&here, "..", DIRECTORY, Mode::empty())?;
            if identity(&here)? != above.is {
                return Err(io::Error::other("a directory was moved meanwhile"));
            }
        }
    }
    Ok(())
}

/// A directory on the way down.
struct Level {
    is: (u64, u64),
    /// Directories in it that are still to be given.
    left: Vec<CString>,
}

fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let found: Stat = fstat(directory)?;
    Ok((found.st_dev, found.st_ino))
}

/// Gives what is in a directory; returns the directories among it.
fn give_entries(directory: &OwnedFd, group: u32) -> io::Result<Vec<CString>> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let handle = match openat(directory, name, HANDLE, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if give(&handle, group)? == FileType::Directory {
            directories.push(name.to_owned());
        }
    }
    Ok(directories)
}

fn give(handle: &OwnedFd, group: u32) -> io::Result<FileType> {
    let found = fstat(handle)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    chownat(handle, "", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = match kind {
        FileType::Directory => found.st_mode & 0o7777 | DIRECTORY_MODE,
        // Programs that changed user or group do so no more: the group may write them.
        FileType::RegularFile => found.st_mode & 0o1777 | FILE_MODE,
        _ => return Ok(kind),
    };
    // What the handle is on, whatever its name leads to by now.
    chmod(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()), Mode::from_raw_mode(mode))?;
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

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
        assert!(!belongs_to(&tree, group).unwrap());
        give_tree(&tree, group).unwrap();
        assert!(belongs_to(&tree, group).unwrap());
        assert_eq!([mode(&tree.join("a")), mode(&tree.join("a/b"))], [0o2775; 2]);
        assert_eq!(mode(&tree.join("a/b/file")), 0o760);
        assert_eq!([mode(&outside.path().join("kept")), mode(outside.path())], [0o600, 0o700]);
    }
}
