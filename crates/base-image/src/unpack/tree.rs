//! The new layer's directories: finding and making the one that an entry goes into.
//!
//! A path is walked name by name. What this layer does not have is taken from the layers below: a directory is made here with the same
//! attributes, a symbolic link is followed. What nobody has becomes a plain directory. Links are followed as in a container whose root
//! this is: absolute ones start at the root, and `..` stops there.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::attributes::{self, Attributes};
use super::dir::{Dir, NodeKind};
use super::error::{EntryError, UnpackError};
use super::lower::{Found, Lower};
use super::path::{MAX_DEPTH, MAX_PATH_BYTES};
use super::{OverlayMarks, UnpackOptions};

/// Symbolic links in one path; Linux has the same bound.
const MAX_LINKS: usize = 40;

/// Names looked at for one layer, so that links that lead far cannot keep a processor busy for hours. An ordinary layer looks at a few
/// for each of its entries.
const MAX_LOOKUPS: usize = 30_000_000;

/// A directory of the new layer, and its path without links.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: Dir,
    pub(super) path: Vec<OsString>,
}

/// The new layer's tree.
#[derive(Debug)]
pub(super) struct Tree {
    root: Dir,
    pub(super) lower: Lower,
    marks: OverlayMarks,
    /// Directories that hide what is below, by their path without links.
    opaque: BTreeSet<Vec<OsString>>,
    /// The last directory that was found: entries come directory by directory.
    last: Option<(Vec<OsString>, Place)>,
    lookups_left: usize,
}

/// Where a walk is.
struct Walk {
    /// The directories from the root to here, and their names.
    dirs: Vec<Dir>,
    path: Vec<OsString>,
    rest: VecDeque<OsString>,
    links: usize,
}

impl Tree {
    /// The tree at `root`, an empty directory, above the layers `below` (the lowest first).
    pub(super) fn open(root: &Path, below: &[PathBuf], options: &UnpackOptions) -> Result<Self, UnpackError> {
        let opened = Dir::open_root(root);
        let dir = opened.map_err(|errno| UnpackError::Prepare { path: root.to_owned(), source: errno.into() })?;
        let lower = Lower::open(below, options.marks)?;
        Ok(Self {
            root: dir,
            lower,
            marks: options.marks,
            opaque: BTreeSet::new(),
            last: None,
            lookups_left: MAX_LOOKUPS,
        })
    }

    pub(super) fn root(&self) -> &Dir {
        &self.root
    }

    /// The directory `names`, made with all its parents where it is missing.
    pub(super) fn directory(&mut self, names: &[OsString]) -> Result<Place, EntryError> {
        if let Some((known, place)) = &self.last
            && known == names
        {
            return Ok(Place { dir: place.dir.try_clone()?, path: place.path.clone() });
        }
        let place = self.walk(names)?;
        let copy = Place { dir: place.dir.try_clone()?, path: place.path.clone() };
        self.last = Some((names.to_vec(), copy));
        Ok(place)
    }

    /// To be called after a name was removed or replaced: a path that led through it may lead elsewhere now.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Makes `name` in `place` a directory, whatever it was, and gives it.
    pub(super) fn make_directory(&mut self, place: &Place, name: &OsStr) -> Result<Dir, EntryError> {
        let was = place.dir.kind(name)?;
        if was == Some(NodeKind::Directory) {
            return place.dir.open_dir(name)?.ok_or(EntryError::NotADirectory);
        }
        if was.is_some() {
            place.dir.remove(name)?;
            self.forget();
        }
        let made = place.dir.create_dir(name)?;
        if was == Some(NodeKind::Whiteout) {
            // It was removed and made anew: what is below must not show through.
            let path = [place.path.as_slice(), &[name.to_owned()]].concat();
            self.set_opaque(&made, path)?;
        }
        Ok(made)
    }

    /// Marks a directory as hiding everything below.
    pub(super) fn set_opaque(&mut self, dir: &Dir, path: Vec<OsString>) -> Result<(), EntryError> {
        attributes::set_opaque(dir, self.marks)?;
        self.opaque.insert(path);
        Ok(())
    }

    /// What shows through from the layers below at `path` (without links).
    pub(super) fn find_below(&mut self, path: &[OsString]) -> Result<Option<Found>, EntryError> {
        self.count_lookups(path.len().saturating_mul(self.lower.count()))?;
        let is_hidden = (0..path.len()).any(|end| path.get(..end).is_some_and(|prefix| self.opaque.contains(prefix)));
        if is_hidden { Ok(None) } else { self.lower.find(path) }
    }

    /// Whether the root itself hides what is below.
    pub(super) fn is_root_opaque(&self) -> bool {
        self.opaque.contains(&[][..])
    }

    fn count_lookups(&mut self, count: usize) -> Result<(), EntryError> {
        self.lookups_left = self.lookups_left.checked_sub(count).ok_or(EntryError::TooManyLookups)?;
        Ok(())
    }

    fn walk(&mut self, names: &[OsString]) -> Result<Place, EntryError> {
        let mut walk = Walk { dirs: Vec::new(), path: Vec::new(), rest: names.iter().cloned().collect(), links: 0 };
        while let Some(name) = walk.rest.pop_front() {
            if name == ".." {
                walk.dirs.pop();
                walk.path.pop();
                continue;
            }
            self.step(&mut walk, name)?;
        }
        let dir = walk.dirs.pop().map_or_else(|| self.root.try_clone(), Ok)?;
        Ok(Place { dir, path: walk.path })
    }

    fn step(&mut self, walk: &mut Walk, name: OsString) -> Result<(), EntryError> {
        self.count_lookups(1)?;
        let at = walk.dirs.last().unwrap_or(&self.root).try_clone()?;
        let child = match at.kind(&name)? {
            Some(NodeKind::Directory) => at.open_dir(&name)?.ok_or(EntryError::NotADirectory)?,
            Some(NodeKind::Symlink) => {
                let target = at.read_link(&name)?;
                return walk.follow(&target);
            }
            Some(NodeKind::Whiteout) => {
                let place = Place { dir: at, path: walk.path.clone() };
                let made = self.make_directory(&place, &name)?;
                Attributes::plain_directory().set(&made.open_self()?)?;
                made
            }
            Some(_) => return Err(EntryError::NotADirectory),
            None => {
                let path = [walk.path.as_slice(), std::slice::from_ref(&name)].concat();
                match self.find_below(&path)? {
                    Some(found) if found.kind == NodeKind::Symlink => {
                        let target = found.parent.read_link(&found.name)?;
                        return walk.follow(&target);
                    }
                    found => make_missing(&at, &name, found.as_ref())?,
                }
            }
        };
        walk.enter(child, name)
    }
}

impl Walk {
    fn enter(&mut self, dir: Dir, name: OsString) -> Result<(), EntryError> {
        self.dirs.push(dir);
        self.path.push(name);
        let length: usize = self.path.iter().map(|name| name.len() + 1).sum();
        if self.path.len() > MAX_DEPTH || length > MAX_PATH_BYTES { Err(EntryError::TooDeep) } else { Ok(()) }
    }

    /// Goes on with a link's target. Unlike an entry's path, it may go above the root, and stays there.
    fn follow(&mut self, target: &OsStr) -> Result<(), EntryError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(EntryError::TooManyLinks);
        }
        let bytes = target.as_bytes();
        if bytes.starts_with(b"/") {
            self.dirs.clear();
            self.path.clear();
        }
        let names = bytes.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
        for name in names.rev() {
            self.rest.push_front(OsStr::from_bytes(name).to_owned());
        }
        if self.rest.len() > MAX_PATH_BYTES { Err(EntryError::TooDeep) } else { Ok(()) }
    }
}

/// Makes a directory that no entry describes: as it is below, or plain.
fn make_missing(at: &Dir, name: &OsStr, below: Option<&Found>) -> Result<Dir, EntryError> {
    let attributes = match below {
        Some(found) if found.kind == NodeKind::Directory => {
            let dir = found.parent.open_dir(&found.name)?.ok_or(EntryError::NotADirectory)?;
            Attributes::of_node(&found.stat, &dir.open_self()?)?
        }
        _ => Attributes::plain_directory(),
    };
    let made = at.create_dir(name)?;
    attributes.set(&made.open_self()?)?;
    Ok(made)
}
