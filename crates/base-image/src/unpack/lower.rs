//! The layers below, seen as overlayfs will show them: which layer's node a path is, and whether a higher one hides it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use nix::sys::stat::FileStat;

use super::OverlayMarks;
use super::attributes::{self, Attributes};
use super::dir::{self, Dir, NodeKind};
use super::error::{Attempt, EntryError, UnpackError};

/// The roots of the layers below, the highest first.
#[derive(Debug)]
pub(super) struct Lower {
    roots: Vec<Dir>,
    marks: OverlayMarks,
}

/// A node of a lower layer that shows through.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) parent: Dir,
    pub(super) name: OsString,
    pub(super) stat: FileStat,
    pub(super) kind: NodeKind,
}

/// What one layer says about a path.
enum Verdict {
    Found(Box<Found>),
    Hidden,
    Silent,
}

impl Lower {
    /// `below` are the layers' roots, the lowest first.
    pub(super) fn open(below: &[PathBuf], marks: OverlayMarks) -> Result<Self, UnpackError> {
        let open = |path: &PathBuf| {
            Dir::open_root(path).map_err(|errno| UnpackError::Prepare { path: path.clone(), source: errno.into() })
        };
        Ok(Self { roots: below.iter().rev().map(open).collect::<Result<_, _>>()?, marks })
    }

    /// How many layers there are.
    pub(super) fn count(&self) -> usize {
        self.roots.len()
    }

    /// The names in the layers' roots, hidden ones too.
    pub(super) fn root_names(&self) -> Result<BTreeSet<OsString>, EntryError> {
        let mut names = BTreeSet::new();
        for root in &self.roots {
            names.extend(root.names()?);
        }
        Ok(names)
    }

    /// The attributes of the lower layers' root, if there is a lower layer.
    pub(super) fn root_attributes(&self) -> Result<Option<Attributes>, EntryError> {
        let Some(root) = self.roots.first() else {
            return Ok(None);
        };
        let stat = nix::sys::stat::fstat(root.fd()).attempt("look at the layer below")?;
        Attributes::of_node(&stat, &root.open_self()?).map(Some)
    }

    /// The node that shows through at `path`, which must lead through directories only (its links are resolved).
    pub(super) fn find(&self, path: &[OsString]) -> Result<Option<Found>, EntryError> {
        for root in &self.roots {
            match self.look(root, path)? {
                Verdict::Found(found) => return Ok(Some(*found)),
                Verdict::Hidden => return Ok(None),
                Verdict::Silent => {}
            }
        }
        Ok(None)
    }

    fn look(&self, root: &Dir, path: &[OsString]) -> Result<Verdict, EntryError> {
        let Some((name, parents)) = path.split_last() else {
            return Ok(Verdict::Hidden);
        };
        let mut at = root.try_clone()?;
        let mut hides_below = false;
        for parent in parents {
            at = match at.kind(parent)? {
                Some(NodeKind::Directory) => self.descend(&at, parent, &mut hides_below)?,
                Some(_) => return Ok(Verdict::Hidden),
                None => return Ok(silence(hides_below)),
            };
        }
        let Some(stat) = at.stat(name)? else {
            return Ok(silence(hides_below));
        };
        Ok(match dir::kind(&stat) {
            NodeKind::Whiteout => Verdict::Hidden,
            kind => Verdict::Found(Box::new(Found { parent: at, name: name.clone(), stat, kind })),
        })
    }

    fn descend(&self, at: &Dir, name: &OsStr, hides_below: &mut bool) -> Result<Dir, EntryError> {
        let child = at.open_dir(name)?.ok_or(EntryError::NotADirectory)?;
        *hides_below |= attributes::is_opaque(&child, self.marks)?;
        Ok(child)
    }
}

/// A layer without the path says nothing about it, unless one of its directories on the way is opaque.
fn silence(hides_below: bool) -> Verdict {
    if hides_below { Verdict::Hidden } else { Verdict::Silent }
}
