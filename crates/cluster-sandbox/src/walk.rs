//! Going through a directory tree that somebody else fills, and may be changing: for those who count what is in one
//! ([`crate::disk_usage`]) or give it away ([`crate::ownership`]).
//!
//! Each directory is opened by its name in the one above, and links are never followed. The upper levels stay open, so it does not matter
//! where they are moved. A container may nest directories deeper than there are descriptors: the levels below those are left by `..`, and who
//! goes up looks whether it is where it came from. What is kept of a level is where its next entry is, however many it has.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, SeekFrom, fstat, openat, seek};
use rustix::io::Errno;

use crate::sys::time::Moment;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// So many levels stay open.
const HELD_MAX: usize = 64;
/// What is nested deeper is left out.
const DEPTH_MAX: usize = 1 << 16;
/// What is read of a directory at once; the longest entry needs some 280 bytes.
const ENTRIES_BYTES: usize = 8 << 10;

/// Opens the directory at a path, which is no link.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, DIRECTORY, Mode::empty())
}

/// Lets `visit` see everything below a directory, by the directory it is in and its name; it says what it has seen. A directory is seen
/// before what is in it. What goes away meanwhile is no matter.
///
/// # Errors
/// Why something was left out: the first reason. Everything else has been seen, unless the deadline has passed.
pub(crate) fn walk(
    top: OwnedFd,
    deadline: Moment,
    visit: impl FnMut(BorrowedFd<'_>, &CStr) -> Result<FileType, Errno>,
) -> io::Result<()> {
    Walk { here: top, above: Vec::new(), deadline, visit, outcome: Ok(()) }.run()
}

struct Walk<V> {
    here: OwnedFd,
    /// The directories from the top to the one that `here` is in.
    above: Vec<Above>,
    deadline: Moment,
    visit: V,
    outcome: io::Result<()>,
}

/// A directory to come back to.
enum Above {
    /// It is where its next entry is.
    Open(OwnedFd),
    /// To be reached by `..`.
    Left { is: Identity, next: u64 },
}

/// Device and inode.
type Identity = (u64, u64);

impl<V: FnMut(BorrowedFd<'_>, &CStr) -> Result<FileType, Errno>> Walk<V> {
    fn run(mut self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(ENTRIES_BYTES);
        loop {
            let gone_on = match self.next_directory(&mut buffer)? {
                Some((name, next)) => self.descend(&name, next),
                None if self.above.is_empty() => return self.outcome,
                None => self.ascend(),
            };
            if let Err(error) = gone_on {
                note(&mut self.outcome, error);
            }
        }
    }

    /// Visits what is here, up to the next directory: its name, and where the entry after it is.
    fn next_directory(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<(CString, u64)>> {
        let mut entries = RawDir::new(&self.here, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            if self.deadline.is_past() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
            }
            let entry = match entry {
                Ok(entry) => entry,
                // It has been removed.
                Err(Errno::NOENT) => break,
                Err(error) => {
                    note(&mut self.outcome, error);
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match (self.visit)(self.here.as_fd(), name) {
                Ok(FileType::Directory) => return Ok(Some((name.to_owned(), entry.next_entry_cookie()))),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => note(&mut self.outcome, error),
            }
        }
        Ok(None)
    }

    fn descend(&mut self, name: &CStr, next: u64) -> io::Result<()> {
        seek(&self.here, SeekFrom::Start(next))?;
        if self.above.len() >= DEPTH_MAX {
            return Err(io::Error::other("directories are nested too deep"));
        }
        let below = match openat(&self.here, name, DIRECTORY, Mode::empty()) {
            // It has gone, or is something else by now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            below => below?,
        };
        let is = identity(&self.here)?;
        let above = std::mem::replace(&mut self.here, below);
        let is_held = self.above.len() < HELD_MAX;
        self.above.push(if is_held { Above::Open(above) } else { Above::Left { is, next } });
        Ok(())
    }

    fn ascend(&mut self) -> io::Result<()> {
        let above = match self.above.pop() {
            Some(Above::Left { is, next }) => self.parent(is, next),
            Some(Above::Open(directory)) => Ok(directory),
            None => return Ok(()),
        };
        let lost = match above {
            Ok(directory) => {
                self.here = directory;
                return Ok(());
            }
            Err(error) => error,
        };
        // What has not been seen of the levels up to the ones that are open is left out.
        self.above.truncate(HELD_MAX);
        if let Some(Above::Open(directory)) = self.above.pop() {
            self.here = directory;
        }
        Err(lost)
    }

    fn parent(&self, is: Identity, next: u64) -> io::Result<OwnedFd> {
        let directory = openat(&self.here, "..", DIRECTORY, Mode::empty())?;
        if identity(&directory)? != is {
            return Err(io::Error::other("a directory was moved meanwhile"));
        }
        seek(&directory, SeekFrom::Start(next))?;
        Ok(directory)
    }
}

fn identity(directory: &OwnedFd) -> Result<Identity, Errno> {
    let found = fstat(directory)?;
    Ok((found.st_dev, found.st_ino))
}

/// Keeps the first reason.
fn note(outcome: &mut io::Result<()>, error: impl Into<io::Error>) {
    if outcome.is_ok() {
        *outcome = Err(error.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use rustix::fs::{AtFlags, mkdirat, statat};

    use super::*;

    /// Deeper than levels are held open.
    const DEEP: usize = HELD_MAX + 40;

    fn later() -> Moment {
        Moment::now().after(Duration::from_secs(600))
    }

    fn seen(parent: BorrowedFd<'_>, name: &CStr) -> Result<FileType, Errno> {
        Ok(FileType::from_raw_mode(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
    }

    /// Walks, and does something at each name; the names that were seen, each once.
    fn walked(top: &Path, mut at: impl FnMut(&str)) -> (BTreeSet<String>, io::Result<()>) {
        let mut names = BTreeSet::new();
        let outcome = walk(open(top).unwrap(), later(), |parent, name| {
            let kind = seen(parent, name)?;
            let text = name.to_str().unwrap().to_owned();
            at(&text);
            assert!(names.insert(text), "{name:?} is seen twice");
            Ok(kind)
        });
        (names, outcome)
    }

    /// Levels `0` to `DEEP`, each in the one before, and in each files before and after.
    fn deep_tree(top: &Path) -> (BTreeSet<String>, Vec<PathBuf>) {
        let mut names = BTreeSet::new();
        let mut paths = Vec::new();
        let mut here = top.to_owned();
        for level in 0..=DEEP {
            for name in ["a", "b", "y", "z"].map(|name| format!("{name}{level}")) {
                fs::write(here.join(&name), "").unwrap();
                names.insert(name);
            }
            here.push(format!("m{level}"));
            fs::create_dir(&here).unwrap();
            names.insert(format!("m{level}"));
            paths.push(here.clone());
        }
        (names, paths)
    }

    #[test]
    fn everything_is_seen_once_however_deep_and_however_much() {
        let top = tempfile::tempdir().unwrap();
        let (mut names, _) = deep_tree(top.path());
        for number in 0..2000 {
            let name = format!("many-{number}");
            fs::create_dir(top.path().join(&name)).unwrap();
            names.insert(name);
        }
        let (seen, outcome) = walked(top.path(), |_| {});
        outcome.unwrap();
        assert_eq!(seen, names);
    }

    #[test]
    fn what_is_moved_is_left_and_the_rest_is_seen() {
        let outside = tempfile::tempdir().unwrap();
        // At an open level nothing is lost; deeper, what was not yet seen of levels below the open ones.
        for (level, is_whole) in [(3, true), (HELD_MAX + 20, false)] {
            let top = tempfile::tempdir().unwrap();
            let (names, paths) = deep_tree(top.path());
            let away = outside.path().join(level.to_string());
            let (seen, outcome) = walked(top.path(), |name| {
                if name == format!("m{DEEP}") {
                    fs::rename(&paths[level], &away).unwrap();
                }
            });
            assert_eq!(outcome.is_ok(), is_whole, "{outcome:?}");
            let missed = names.difference(&seen);
            let levels: Vec<usize> = missed.map(|name| name[1..].parse().unwrap()).collect();
            let unheld = HELD_MAX..=level;
            assert!(levels.iter().all(|missed| !is_whole && unheld.contains(missed)), "{level}: {levels:?}");
        }
    }

    #[test]
    fn a_problem_is_told_and_the_rest_is_seen() {
        let top = tempfile::tempdir().unwrap();
        let (names, _) = deep_tree(top.path());
        let mut count = 0;
        let outcome = walk(open(top.path()).unwrap(), later(), |parent, name| {
            count += 1;
            if name == c"a2" { Err(Errno::IO) } else { seen(parent, name) }
        });
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
        assert_eq!(count, names.len());
    }

    #[test]
    fn time_is_bounded_also_on_the_way_down() {
        let top = tempfile::tempdir().unwrap();
        let mut here = open(top.path()).unwrap();
        for _ in 0..3 {
            mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = openat(&here, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        let outcome = walk(open(top.path()).unwrap(), Moment::now(), seen);
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
