//! A layer as a tree of files, and its tar archive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::AssembleError;

/// The mode of directories that were not added by name.
const DIRECTORY_MODE: u32 = 0o755;

/// The files of one layer, by path.
#[derive(Debug, Default)]
pub struct LayerTree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    Directory { mode: u32 },
    Bytes { mode: u32, bytes: Vec<u8> },
    File { mode: u32, source: PathBuf },
    Symlink { target: String },
}

impl LayerTree {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with content `bytes`. A later addition of the same path wins, here and below.
    ///
    /// # Errors
    /// [`AssembleError::Path`].
    pub fn add_bytes(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Result<(), AssembleError> {
        self.add(path, Node::Bytes { mode, bytes: bytes.into() })
    }

    /// Adds a copy of the file `source`, which is read when the layer is written.
    ///
    /// # Errors
    /// [`AssembleError::Path`].
    pub fn add_file(&mut self, path: &str, mode: u32, source: &Path) -> Result<(), AssembleError> {
        self.add(path, Node::File { mode, source: source.to_owned() })
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// [`AssembleError::Path`].
    pub fn add_directory(&mut self, path: &str, mode: u32) -> Result<(), AssembleError> {
        self.add(path, Node::Directory { mode })
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// [`AssembleError::Path`].
    pub fn add_symlink(&mut self, path: &str, target: &str) -> Result<(), AssembleError> {
        self.add(path, Node::Symlink { target: target.to_owned() })
    }

    /// Adds everything below the directory `source` under `path`. Files that their owner may execute get the mode 0755, others 0644,
    /// so that the result does not depend on a umask. Only files, directories and symbolic links can be added.
    ///
    /// # Errors
    /// [`AssembleError::Source`], [`AssembleError::Path`].
    pub fn add_tree(&mut self, path: &str, source: &Path) -> Result<(), AssembleError> {
        let failed = |error| AssembleError::Source { path: source.to_owned(), source: error };
        self.add_directory(path, DIRECTORY_MODE)?;
        for entry in fs::read_dir(source).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| failed(io::Error::other("its name is not UTF-8")))?;
            self.add_found(&format!("{path}/{name}"), &entry.path())?;
        }
        Ok(())
    }

    fn add_found(&mut self, path: &str, source: &Path) -> Result<(), AssembleError> {
        let failed = |error| AssembleError::Source { path: source.to_owned(), source: error };
        let metadata = fs::symlink_metadata(source).map_err(failed)?;
        if metadata.is_dir() {
            return self.add_tree(path, source);
        }
        if metadata.is_symlink() {
            let target = fs::read_link(source).map_err(failed)?;
            let target = target.to_str().ok_or_else(|| failed(io::Error::other("its target is not UTF-8")))?;
            return self.add_symlink(path, target);
        }
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is no file, directory or symbolic link")));
        }
        let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        self.add_file(path, mode, source)
    }

    fn add(&mut self, path: &str, node: Node) -> Result<(), AssembleError> {
        let path = path.trim_matches('/');
        if path.split('/').any(|component| matches!(component, "" | "." | "..")) {
            return Err(AssembleError::Path { path: path.to_owned() });
        }
        for (slash, _) in path.match_indices('/') {
            let parent = path.get(..slash).unwrap_or_default().to_owned();
            self.nodes.entry(parent).or_insert(Node::Directory { mode: DIRECTORY_MODE });
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// Writes the archive.
    pub(super) fn write<W: Write>(&self, writer: W) -> Result<W, AssembleError> {
        let mut builder = Builder::new(writer);
        for (path, node) in &self.nodes {
            append(&mut builder, path, node)?;
        }
        builder.into_inner().map_err(AssembleError::Layer)
    }
}

fn append<W: Write>(builder: &mut Builder<W>, path: &str, node: &Node) -> Result<(), AssembleError> {
    let written = match node {
        Node::Directory { mode } => {
            builder.append_data(&mut header(EntryType::Directory, *mode, 0), format!("{path}/"), io::empty())
        }
        Node::Symlink { target } => builder.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target),
        Node::Bytes { mode, bytes } => {
            let mut header = header(EntryType::Regular, *mode, bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        Node::File { mode, source } => return append_file(builder, path, *mode, source),
    };
    written.map_err(AssembleError::Layer)
}

fn append_file<W: Write>(builder: &mut Builder<W>, path: &str, mode: u32, source: &Path) -> Result<(), AssembleError> {
    let failed = |error| AssembleError::Source { path: source.to_owned(), source: error };
    let file = File::open(source).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    // The header has announced the size: more is cut off, and less must not shift what follows.
    let mut data = crate::digest::Hashing::new(file.take(size));
    builder.append_data(&mut header(EntryType::Regular, mode, size), path, &mut data).map_err(AssembleError::Layer)?;
    if data.length() != size {
        return Err(failed(io::Error::other("it became shorter while it was read")));
    }
    Ok(())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
