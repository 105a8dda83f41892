//! Where an archive's parts lie: files of a directory, or ranges of a tar file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DocumentError, ImportError};
use crate::compress::Decoder;
use crate::media_type::Compression;
use crate::tar_stream::{Entry, Kind, TarStream};

/// The most entries of an image archive: each layer has a handful.
const MAX_ENTRIES: usize = 50_000;

/// The longest path that an archive's part can have.
const MAX_PATH_BYTES: usize = 512;

/// The most that a compressed archive may become when it is unpacked to a temporary file.
const MAX_UNCOMPRESSED_BYTES: u64 = 64 << 30;

/// An archive's files.
#[derive(Debug)]
pub(super) enum Source {
    Directory(PathBuf),
    Tar { file: Arc<File>, parts: BTreeMap<String, Place> },
}

/// Where the content of one part is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A file of its own.
    File(PathBuf),
    /// A range of the tar file.
    Range { offset: u64, length: u64 },
    /// Docker's archives share layers by symbolic links between their parts.
    Link(String),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let read = |source| ImportError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let mut decoder = Decoder::new(&file).map_err(read)?;
        // A pipe cannot be read twice, nor can the middle of a compressed file be found.
        if decoder.compression() != Compression::None || !metadata.is_file() {
            file = uncompress(&mut decoder).map_err(read)?;
        }
        file.rewind().map_err(read)?;
        let parts = list(path, &file)?;
        Ok(Self::Tar { file: Arc::new(file), parts })
    }

    pub(super) fn has(&self, part: &str) -> bool {
        self.place(part).is_some()
    }

    /// Where `part` is, links between parts followed.
    pub(super) fn place(&self, part: &str) -> Option<Place> {
        match self {
            Self::Directory(dir) => {
                let path = dir.join(normalise(part)?);
                path.is_file().then_some(Place::File(path))
            }
            Self::Tar { parts, .. } => match parts.get(&normalise(part)?)? {
                Place::Link(target) => parts.get(target).filter(|place| !matches!(place, Place::Link(_))).cloned(),
                place => Some(place.clone()),
            },
        }
    }

    pub(super) fn open_place(&self, place: &Place) -> io::Result<Box<dyn Read + Send>> {
        match (self, place) {
            (_, Place::File(path)) => Ok(Box::new(File::open(path)?)),
            (Self::Tar { file, .. }, Place::Range { offset, length }) => {
                Ok(Box::new(Section { file: Arc::clone(file), offset: *offset, left: *length }))
            }
            (_, Place::Range { .. } | Place::Link(_)) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn size(&self, place: &Place) -> io::Result<u64> {
        match place {
            Place::File(path) => Ok(path.metadata()?.len()),
            Place::Range { length, .. } => Ok(*length),
            Place::Link(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Reads a whole part of at most `limit` bytes. `archive` is for messages.
    pub(super) fn read(&self, archive: &Path, part: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
        let missing = || ImportError::MissingPart { path: archive.to_owned(), part: part.to_owned() };
        let place = self.place(part).ok_or_else(missing)?;
        let mut bytes = Vec::new();
        let read = self.open_place(&place).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
        read.map_err(|source| ImportError::Read { path: archive.join(part), source })?;
        if bytes.len() as u64 > limit {
            return Err(ImportError::TooLarge { path: archive.to_owned(), part: part.to_owned(), limit });
        }
        Ok(bytes)
    }
}

/// A malformed part's error.
pub(super) fn malformed<'a>(archive: &'a Path, part: &'a str) -> impl Fn(DocumentError) -> ImportError + 'a {
    move |source| ImportError::Malformed { path: archive.to_owned(), part: part.to_owned(), source }
}

/// A range of a file, read without moving the file's position.
struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn uncompress(decoder: &mut impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    let copied = io::copy(&mut decoder.take(MAX_UNCOMPRESSED_BYTES), &mut file)?;
    if copied == MAX_UNCOMPRESSED_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_UNCOMPRESSED_BYTES} bytes when uncompressed")));
    }
    Ok(file)
}

/// The files in a tar archive.
fn list(path: &Path, file: &File) -> Result<BTreeMap<String, Place>, ImportError> {
    let mut stream = TarStream::new(BufReader::new(file));
    let mut parts = BTreeMap::new();
    loop {
        let entry = stream.next_entry().map_err(|source| ImportError::Tar { path: path.to_owned(), source })?;
        let Some(entry) = entry else {
            return Ok(parts);
        };
        if parts.len() >= MAX_ENTRIES {
            return Err(ImportError::TooManyEntries { path: path.to_owned(), limit: MAX_ENTRIES });
        }
        if let Some((name, place)) = part(&entry, stream.offset()) {
            parts.insert(name, place);
        }
    }
}

fn part(entry: &Entry, offset: u64) -> Option<(String, Place)> {
    let name = normalise(std::str::from_utf8(&entry.path).ok()?)?;
    let link = std::str::from_utf8(&entry.link).ok()?;
    let place = match entry.kind {
        Kind::File => Place::Range { offset, length: entry.size },
        Kind::HardLink => Place::Link(normalise(link)?),
        Kind::Symlink => Place::Link(normalise(&format!("{}/../{link}", name))?),
        _ => return None,
    };
    Some((name, place))
}

/// A relative path without `.` and `..`; `None` if it leaves the archive.
fn normalise(path: &str) -> Option<String> {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => _ = components.pop()?,
            component => components.push(component),
        }
    }
    let path = components.join("/");
    (!path.is_empty() && path.len() <= MAX_PATH_BYTES).then_some(path)
}
