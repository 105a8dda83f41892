//! How much of the disk a directory tree takes that somebody else fills.
//!
//! As in giving one away ([`crate::ownership`]), one descriptor goes down by name and up by `..`, and who goes up looks whether it is where it
//! came from. A file of several names counts by its share under each, so nothing has to be remembered of files.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::sys::time::Moment;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// The bytes that the directory at `path` and everything below it take, and whether that is all of it: what cannot be read, is moved
/// meanwhile or comes after the deadline is not counted.
pub(crate) fn disk_usage(path: &Path, deadline: Moment) -> (u64, bool) {
    let mut count = Count { bytes: 0, deadline };
    let is_whole = count.walk(path).is_ok();
    (count.bytes, is_whole)
}

struct Count {
    bytes: u64,
    deadline: Moment,
}

/// A directory on the way down.
struct Level {
    is: (u64, u64),
    /// Directories in it that are still to be counted.
    left: Vec<CString>,
}

impl Count {
    fn walk(&mut self, path: &Path) -> io::Result<()> {
        let mut here = match openat(CWD, path, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened?,
        };
        let mut levels = vec![self.enter(&here)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.left.pop() {
                match openat(&here, name.as_c_str(), DIRECTORY, Mode::empty()) {
                    Ok(below) => here = below,
                    // It has gone, or is something else by now.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                    Err(error) => return Err(error.into()),
                }
                levels.push(self.enter(&here)?);
                continue;
            }
            levels.pop();
            if let Some(above) = levels.last() {
                here = openat(&here, "..", DIRECTORY, Mode::empty())?;
                if identity(&fstat(&here)?) != above.is {
                    return Err(io::Error::other("a directory was moved meanwhile"));
                }
            }
        }
        Ok(())
    }

    /// Counts a directory and what is in it, but for the content of directories.
    fn enter(&mut self, directory: &OwnedFd) -> io::Result<Level> {
        let own = fstat(directory)?;
        self.bytes += own.st_blocks.unsigned_abs() * BLOCK_BYTES;
        let mut left = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_bytes() == b"." || name.to_bytes() == b".." {
                continue;
            }
            if self.deadline.is_past() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                found => found?,
            };
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                left.push(name.to_owned());
            } else {
                self.bytes += found.st_blocks.unsigned_abs() * BLOCK_BYTES / found.st_nlink.max(1);
            }
        }
        Ok(Level { is: identity(&own), left })
    }
}

fn identity(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    fn measured(path: &Path) -> (u64, bool) {
        disk_usage(path, Moment::now().after(Duration::from_secs(60)))
    }

    #[test]
    fn everything_is_counted_once_and_no_link_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("big"), vec![1; 4 << 20]).unwrap();
        let tree = outside.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        let (empty, _) = measured(&tree);
        fs::write(tree.join("a/b/c/file"), vec![1; 1 << 20]).unwrap();
        fs::write(tree.join("file"), vec![1; 1 << 20]).unwrap();
        for name in ["one", "two", "three"] {
            fs::hard_link(tree.join("file"), tree.join("a").join(name)).unwrap();
        }
        symlink(outside.path(), tree.join("out")).unwrap();
        // A file with a hole takes what is written.
        fs::File::create(tree.join("sparse")).unwrap().set_len(64 << 20).unwrap();
        let (full, is_whole) = measured(&tree);
        let grown = full - empty;
        assert!(is_whole && ((2 << 20)..(2 << 20) + (64 << 10)).contains(&grown), "{grown}");
        assert_eq!(measured(&tree.join("none")), (0, true));
    }

    #[test]
    fn time_is_bounded() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("file"), "x").unwrap();
        assert!(!disk_usage(tree.path(), Moment::now()).1);
    }
}
