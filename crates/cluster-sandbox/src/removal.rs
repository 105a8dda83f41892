//! Removing a directory tree that somebody else has filled.
//!
//! A container may nest directories deeper than a path is long, than a stack is, or than there are descriptors. So: one descriptor, which
//! goes down by name and up by `..`, links never followed. Nobody else may be changing the tree, or `..` could lead astray: its container
//! has ended and nothing else can reach it.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, DirEntry, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes `path` and everything below it. What is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let mut here = match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(CWD, path, AtFlags::empty())?),
        Err(error) => return Err(error.into()),
    };
    let mut levels = vec![Level { name: None, left: sweep(&here)? }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.left.pop() {
            here = openat(&here, name.as_c_str(), DIRECTORY, Mode::empty())?;
            levels.push(Level { name: Some(name), left: sweep(&here)? });
            continue;
        }
        let emptied = levels.pop().and_then(|level| level.name);
        if let Some(name) = emptied {
            here = openat(&here, "..", DIRECTORY, Mode::empty())?;
            unlinkat(&here, name.as_c_str(), AtFlags::REMOVEDIR)?;
        }
    }
    drop(here);
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// A directory on the way down.
struct Level {
    /// As its parent names it; the top has none.
    name: Option<CString>,
    /// Directories in it that are still to be removed.
    left: Vec<CString>,
}

/// Removes everything in a directory but the directories that are not empty; returns those.
fn sweep(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut left = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        if !is_directory(directory, &entry)? {
            unlinkat(directory, name, AtFlags::empty())?;
            continue;
        }
        match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => left.push(name.to_owned()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(left)
}

fn is_directory(parent: &OwnedFd, entry: &DirEntry) -> io::Result<bool> {
    let kind = match entry.file_type() {
        // Some file systems do not say.
        FileType::Unknown => {
            FileType::from_raw_mode(rustix::fs::statat(parent, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
        }
        kind => kind,
    };
    Ok(kind == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_removed_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        let tree = outside.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir_all(tree.join("a/d")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink(outside.path(), tree.join("a/out")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.path().join("kept").exists());
        remove_tree(&tree).unwrap();
        symlink(outside.path(), &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.is_symlink() && outside.path().join("kept").exists());
    }

    #[test]
    fn depth_does_not_matter() {
        let outside = tempfile::tempdir().unwrap();
        let tree = outside.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut here = openat(CWD, &tree, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&here, "dir", Mode::from_raw_mode(0o755)).unwrap();
            here = openat(&here, "dir", DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
