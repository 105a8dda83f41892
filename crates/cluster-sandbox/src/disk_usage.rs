//! How much of the disk a directory tree takes that somebody else fills. A file of several names counts by its share under each, so nothing has
//! to be remembered of files.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use crate::sys::time::Moment;
use crate::walk::{open, walk};

/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// The bytes that the directory at `path` and everything below it take, and whether that is all of it: what cannot be read, is moved
/// meanwhile or comes after the deadline is not counted.
pub(crate) fn disk_usage(path: &Path, deadline: Moment) -> (u64, bool) {
    let mut bytes = 0;
    let is_whole = count(path, deadline, &mut bytes).is_ok();
    (bytes, is_whole)
}

fn count(path: &Path, deadline: Moment, bytes: &mut u64) -> io::Result<()> {
    let top = match open(path) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    *bytes += taken(&fstat(&top)?);
    walk(top, deadline, |parent, name| {
        let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        // Directories have links of their own making.
        let names = if kind == FileType::Directory { 1 } else { found.st_nlink.max(1) };
        *bytes += taken(&found) / names;
        Ok(kind)
    })
}

fn taken(found: &Stat) -> u64 {
    found.st_blocks.unsigned_abs() * BLOCK_BYTES
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
