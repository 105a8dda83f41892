//! Applying entries: each becomes a node of the tree, a whiteout or a mark. Later entries win over earlier ones of the same path.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, futimens, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, mkfifoat, symlinkat};

use super::attributes::Attributes;
use super::dir::{Dir, NodeKind};
use super::error::{Attempt, EntryError, UnpackError};
use super::path::{self, Target};
use super::tree::{Place, Tree};
use super::{UnpackOptions, UnpackReport};
use crate::tar_stream::{Entry, Kind, Skip, TarStream};

/// Memory for what is remembered of directories until their times are set; an entry costs its path and [`DIRECTORY_COST`].
const MAX_DIRECTORY_BYTES: usize = 64 << 20;

/// What remembering a directory costs besides its path.
const DIRECTORY_COST: usize = 64;

/// How much of a file is copied at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Applies a layer's entries to a tree.
pub(super) struct Applier {
    tree: Tree,
    options: UnpackOptions,
    report: UnpackReport,
    /// Bytes that may still be copied up from lower layers.
    copy_up_left: u64,
    /// Directories, by path without links, whose time has to be set again when everything is in them.
    directories: Vec<(Box<OsStr>, TimeSpec)>,
    directory_bytes_left: usize,
    buffer: Vec<u8>,
}

impl Applier {
    pub(super) fn new(root: &Path, below: &[PathBuf], options: &UnpackOptions) -> Result<Self, UnpackError> {
        let tree = Tree::open(root, below, options)?;
        // Without an entry of its own the root looks as it does below, like any other directory.
        let attributes = tree.lower.root_attributes().and_then(|attributes| {
            let attributes = attributes.unwrap_or_else(Attributes::plain_directory);
            attributes.set(&tree.root().open_self()?)?;
            Ok(attributes)
        });
        let attributes = attributes.map_err(|source| UnpackError::entry(b"/", source))?;
        Ok(Self {
            tree,
            options: *options,
            report: UnpackReport::default(),
            copy_up_left: options.limits.bytes,
            directories: vec![(Box::default(), attributes.mtime)],
            directory_bytes_left: MAX_DIRECTORY_BYTES,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Applies every entry of `archive`.
    pub(super) fn run(mut self, archive: &mut TarStream<impl Skip>) -> Result<UnpackReport, UnpackError> {
        while let Some(entry) = archive.next_entry().map_err(UnpackError::Archive)? {
            self.report.entries += 1;
            if self.report.entries > self.options.limits.entries {
                return Err(UnpackError::TooManyEntries { limit: self.options.limits.entries });
            }
            self.apply(&entry, archive).map_err(|source| UnpackError::entry(&entry.path, source))?;
        }
        self.hide_root()
            .and_then(|()| self.set_directory_times())
            .map_err(|source| UnpackError::entry(b"/", source))?;
        Ok(self.report)
    }

    fn apply(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), EntryError> {
        match Target::parse(&entry.path)? {
            Target::Ignored => Ok(()),
            Target::Root if entry.kind == Kind::Directory => self.set_root(entry),
            Target::Root => Err(EntryError::Root),
            Target::Opaque { directory } => {
                let place = self.tree.directory(&directory)?;
                self.hide_below(&place.dir, place.path)
            }
            Target::Whiteout { parent, name } => self.white_out(&parent, &name),
            Target::Node { parent, name } => self.make_node(entry, &parent, &name, data),
        }
    }

    fn set_root(&mut self, entry: &Entry) -> Result<(), EntryError> {
        let attributes = Attributes::of_entry(entry)?;
        self.report.skipped_xattrs += attributes.set(&self.tree.root().open_self()?)?;
        self.remember(&[], attributes.mtime)
    }

    /// Has a directory's time set at the end.
    fn remember(&mut self, path: &[OsString], mtime: TimeSpec) -> Result<(), EntryError> {
        let joined = path.join(OsStr::new("/")).into_boxed_os_str();
        let left = self.directory_bytes_left.checked_sub(joined.len() + DIRECTORY_COST);
        self.directory_bytes_left = left.ok_or(EntryError::TooManyDirectories)?;
        self.directories.push((joined, mtime));
        Ok(())
    }

    /// Hides `name` of the layers below. What this layer itself puts there stays.
    fn white_out(&mut self, parent: &[OsString], name: &OsStr) -> Result<(), EntryError> {
        let place = self.tree.directory(parent)?;
        match place.dir.kind(name)? {
            Some(NodeKind::Directory) => {
                let dir = place.dir.open_dir(name)?.ok_or(EntryError::NotADirectory)?;
                let path = [place.path.as_slice(), &[name.to_owned()]].concat();
                self.hide_below(&dir, path)
            }
            Some(_) => Ok(()),
            None => mknodat(place.dir.fd(), name, SFlag::S_IFCHR, Mode::empty(), 0).attempt("make a whiteout"),
        }
    }

    fn hide_below(&mut self, dir: &Dir, path: Vec<OsString>) -> Result<(), EntryError> {
        let left = self.directory_bytes_left.checked_sub(path.iter().map(|name| name.len() + DIRECTORY_COST).sum());
        self.directory_bytes_left = left.ok_or(EntryError::TooManyDirectories)?;
        self.tree.set_opaque(dir, path)
    }

    /// Overlayfs merges the roots of all layers, whatever their marks: to hide everything below, each name is hidden.
    fn hide_root(&mut self) -> Result<(), EntryError> {
        if !self.tree.is_root_opaque() {
            return Ok(());
        }
        for name in self.tree.lower.root_names()? {
            self.white_out(&[], &name)?;
        }
        Ok(())
    }

    fn make_node(
        &mut self,
        entry: &Entry,
        parent: &[OsString],
        name: &OsStr,
        data: &mut impl Read,
    ) -> Result<(), EntryError> {
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            self.report.skipped_devices += 1;
            return Ok(());
        }
        let attributes = Attributes::of_entry(entry)?;
        let place = self.tree.directory(parent)?;
        match entry.kind {
            Kind::Directory => return self.make_directory(attributes, &place, name),
            Kind::HardLink => return self.make_hard_link(entry, &place, name),
            _ => self.clear(&place, name)?,
        }
        match entry.kind {
            Kind::Symlink => {
                symlinkat(OsStr::from_bytes(&entry.link), place.dir.fd(), name).attempt("make a symbolic link")?;
                // A path that led through a lower layer's node of that name leads elsewhere now.
                self.tree.forget();
                attributes.set_by_name(&place.dir, name, false)
            }
            Kind::Fifo => {
                mkfifoat(place.dir.fd(), name, Mode::S_IRWXU).attempt("make a pipe")?;
                attributes.set_by_name(&place.dir, name, true)
            }
            Kind::File => {
                let mut file = place.dir.create_file(name)?;
                copy(data, &mut file, &mut self.buffer)?;
                self.report.skipped_xattrs += attributes.set(&file)?;
                Ok(())
            }
            Kind::Other(kind) => Err(EntryError::Kind { kind: char::from(kind) }),
            Kind::Directory | Kind::HardLink | Kind::CharDevice | Kind::BlockDevice => Ok(()),
        }
    }

    fn make_directory(&mut self, attributes: Attributes, place: &Place, name: &OsStr) -> Result<(), EntryError> {
        let made = self.tree.make_directory(place, name)?;
        self.report.skipped_xattrs += attributes.set(&made.open_self()?)?;
        self.remember(&[place.path.as_slice(), &[name.to_owned()]].concat(), attributes.mtime)
    }

    /// Makes room for a node: removes what has its name.
    fn clear(&mut self, place: &Place, name: &OsStr) -> Result<(), EntryError> {
        if place.dir.kind(name)?.is_some() {
            place.dir.remove(name)?;
            self.tree.forget();
        }
        Ok(())
    }

    fn make_hard_link(&mut self, entry: &Entry, place: &Place, name: &OsStr) -> Result<(), EntryError> {
        let mut parent = path::split(&entry.link)?;
        let target_name = parent.pop().ok_or(EntryError::LinkKind)?;
        let target = self.tree.directory(&parent)?;
        match target.dir.kind(&target_name)? {
            Some(NodeKind::File | NodeKind::Symlink | NodeKind::Other) => {}
            Some(NodeKind::Directory) => return Err(EntryError::LinkKind),
            Some(NodeKind::Whiteout) => return Err(EntryError::LinkTarget),
            None => self.copy_up(&target, &target_name)?,
        }
        if target.path == place.path && target_name == name {
            return Ok(());
        }
        self.clear(place, name)?;
        let linked = linkat(target.dir.fd(), target_name.as_os_str(), place.dir.fd(), name, AtFlags::empty());
        linked.attempt("make a hard link")
    }

    /// Brings a lower layer's file into this one, so that it can be linked to.
    fn copy_up(&mut self, target: &Place, name: &OsStr) -> Result<(), EntryError> {
        let path = [target.path.as_slice(), &[name.to_owned()]].concat();
        let found = self.tree.find_below(&path)?.ok_or(EntryError::LinkTarget)?;
        match found.kind {
            NodeKind::Symlink => {
                let link = found.parent.read_link(&found.name)?;
                symlinkat(link.as_os_str(), target.dir.fd(), name).attempt("copy a symbolic link up")
            }
            NodeKind::File => {
                let size = u64::try_from(found.stat.st_size).unwrap_or(u64::MAX);
                self.copy_up_left = self.copy_up_left.checked_sub(size).ok_or(EntryError::TooLarge)?;
                let mut from = found.parent.open_file(&found.name)?;
                let mut to = target.dir.create_file(name)?;
                copy(&mut from, &mut to, &mut self.buffer)?;
                Attributes::of_node(&found.stat, &from)?.set(&to)?;
                Ok(())
            }
            NodeKind::Directory | NodeKind::Whiteout | NodeKind::Other => Err(EntryError::LinkKind),
        }
    }

    /// Sets directories' times, which their content changed, where they still are directories.
    fn set_directory_times(&mut self) -> Result<(), EntryError> {
        for (path, mtime) in std::mem::take(&mut self.directories) {
            if let Some(dir) = self.still_there(&path)? {
                futimens(&dir, &mtime, &mtime).attempt("set the time")?;
            }
        }
        Ok(())
    }

    fn still_there(&self, path: &OsStr) -> Result<Option<File>, EntryError> {
        let mut at = self.tree.root().try_clone()?;
        for name in path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let name = OsStr::from_bytes(name);
            if at.kind(name)? != Some(NodeKind::Directory) {
                return Ok(None);
            }
            let Some(child) = at.open_dir(name)? else {
                return Ok(None);
            };
            at = child;
        }
        at.open_self().map(Some)
    }
}

fn copy(from: &mut impl Read, to: &mut File, buffer: &mut [u8]) -> Result<(), EntryError> {
    loop {
        let count = match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(EntryError::Data(error)),
        };
        to.write_all(buffer.get(..count).unwrap_or_default()).attempt("write a file")?;
    }
}
