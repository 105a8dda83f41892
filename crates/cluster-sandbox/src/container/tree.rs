//! A file system tree whose names cannot be trusted: every path is resolved inside it, as if it were the root already.
//!
//! An image may hold links such as `etc -> /etc`, and another container of the pod may change a shared volume meanwhile. `openat2` with
//! `RESOLVE_IN_ROOT` resolves each path in one step in the kernel, so there is no moment between checking and using.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, mkdirat, mknodat, openat, openat2,
};
use rustix::io::Errno;

use crate::sys::namespaces::as_user_of_files;

/// The top of such a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'fd> {
    top: BorrowedFd<'fd>,
    how: ResolveFlags,
    /// What directories that are made have.
    mode: Mode,
    /// Whose what is made is, user and group; whoever makes it if none.
    owner: Option<u32>,
}

/// What should be at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

impl<'fd> Tree<'fd> {
    /// A root file system: absolute links and `..` stay inside it.
    pub(crate) fn root(top: BorrowedFd<'fd>) -> Self {
        Self::new(top, ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS))
    }

    /// A part of something: links that lead out of it are an error.
    pub(crate) fn beneath(top: BorrowedFd<'fd>) -> Self {
        Self::new(top, ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS))
    }

    /// A directory of ours whose owner is not trusted with links at all.
    pub(crate) fn without_links(top: BorrowedFd<'fd>) -> Self {
        Self::new(top, ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS))
    }

    fn new(top: BorrowedFd<'fd>, how: ResolveFlags) -> Self {
        Self { top, how, mode: DIRECTORY_MODE, owner: None }
    }

    /// The same tree; what is made in it belongs to this user and the group of that number.
    pub(crate) fn owned_by(self, owner: Option<u32>) -> Self {
        Self { owner, ..self }
    }

    /// The same tree; directories that are made in it have the mode of its top.
    pub(crate) fn like_its_top(self) -> Result<Self, Errno> {
        Ok(Self { mode: Mode::from_raw_mode(rustix::fs::fstat(self.top)?.st_mode), ..self })
    }

    /// Opens a path in the tree. A leading slash means its top.
    pub(crate) fn open(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = relative(path.as_ref());
        loop {
            match openat2(self.top, &path, flags | OFlags::CLOEXEC, Mode::empty(), self.how) {
                // The kernel could not rule out a concurrent rename above; asking again is what it wants.
                Err(Errno::AGAIN) => {}
                outcome => return outcome,
            }
        }
    }

    /// A handle (`O_PATH`) on what is at a path, following links.
    pub(crate) fn handle(&self, path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH)
    }

    /// A handle on what is at a path; if nothing is there, it is made, with the directories on the way.
    pub(crate) fn handle_or_make(&self, path: impl AsRef<Path>, kind: Kind) -> Result<OwnedFd, Errno> {
        let path = relative(path.as_ref());
        match self.handle(&path) {
            Err(Errno::NOENT) => {}
            outcome => return outcome,
        }
        let mut reached = PathBuf::new();
        let mut directory = self.handle(".")?;
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let Component::Normal(name) = part else { return Err(Errno::INVAL) };
            reached.push(name);
            let is_last = parts.peek().is_none();
            directory = match self.handle(&reached) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    self.make(directory.as_fd(), name, if is_last { kind } else { Kind::Directory })?;
                    self.handle(&reached)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(directory)
    }

    fn make(&self, directory: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> Result<(), Errno> {
        let create = || match kind {
            Kind::Directory => mkdirat(directory, name, DIRECTORY_MODE),
            Kind::File => mknodat(directory, name, FileType::RegularFile, FILE_MODE, 0),
        };
        let made = match (create(), self.owner) {
            // Where users are mapped, the machine's own root is nobody who could own anything.
            (Err(Errno::OVERFLOW), Some(owner)) => as_user_of_files(owner, create),
            (Ok(()), Some(owner)) => {
                let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
                chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
            (made, _) => made,
        };
        match made {
            Ok(()) if kind == Kind::Directory && self.mode != DIRECTORY_MODE => {
                // The process's mask does not matter then, nor a link that somebody put there meanwhile.
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                fchmod(openat(directory, name, flags, Mode::empty())?, self.mode)
            }
            // Another container of the pod was faster, in a shared volume.
            Err(Errno::EXIST) => Ok(()),
            outcome => outcome,
        }
    }
}

fn relative(path: &Path) -> PathBuf {
    let parts = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    let relative: PathBuf = parts.collect();
    if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative }
}

/// What kind of thing a handle is on.
pub(crate) fn kind_of(handle: BorrowedFd<'_>) -> Result<Kind, Errno> {
    let mode = rustix::fs::fstat(handle)?.st_mode;
    let is_directory = FileType::from_raw_mode(mode) == FileType::Directory;
    Ok(if is_directory { Kind::Directory } else { Kind::File })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        symlink("/../../etc", root.join("etc")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink("..", root.join("up")).unwrap();
        let top = File::open(&root).unwrap();
        let tree = Tree::root(top.as_fd());
        // `etc` leads to an `etc` inside the root, which is itself: a loop.
        assert_eq!(tree.handle("/etc/passwd").unwrap_err(), Errno::LOOP);
        assert_eq!(tree.handle("out/secret").unwrap_err(), Errno::NOENT);
        assert_eq!(tree.handle("up/secret").unwrap_err(), Errno::NOENT);
        assert_eq!(Tree::beneath(top.as_fd()).handle("up/secret").unwrap_err(), Errno::XDEV);
        fs::create_dir(root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(Tree::beneath(top.as_fd()).handle("b").is_ok());
        assert_eq!(Tree::without_links(top.as_fd()).handle("b").unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn mount_points_are_made_inside() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        symlink("/", root.join("loop")).unwrap();
        let top = File::open(&root).unwrap();
        let tree = Tree::root(top.as_fd());
        let made = tree.handle_or_make("/loop/a/b/c", Kind::File).unwrap();
        assert_eq!(kind_of(made.as_fd()).unwrap(), Kind::File);
        assert!(root.join("a/b/c").is_file());
        let made = tree.handle_or_make("/loop/a/b/d", Kind::Directory).unwrap();
        assert_eq!(kind_of(made.as_fd()).unwrap(), Kind::Directory);
        symlink("nowhere", root.join("dangling")).unwrap();
        assert!(tree.handle_or_make("/dangling", Kind::File).is_err());
        assert_eq!(tree.handle_or_make("/a/../../x", Kind::File).unwrap_err(), Errno::INVAL);
    }
}
