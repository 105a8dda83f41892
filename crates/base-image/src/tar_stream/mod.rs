//! Reading tar archives from untrusted sources, one entry at a time, in bounded memory.
//!
//! The general `tar` crate reads a long name or a pax extension of any length into memory and hides sparse maps; this reader refuses
//! extensions above one megabyte, resolves the ones that layers use (GNU long names, pax records with extended attributes)
//! and hands everything else to the caller as it stands. It never interprets a path.
//!
//! An archive ends with a block of zeros or at the end of the stream on a block's boundary, as Go's reader has it.
//! Specified by: POSIX `pax` (ustar and extended header format), GNU tar's manual ("Basic Tar Format").

mod pax;
#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, BufReader, Read, Seek};

use tar::{EntryType, Header};

/// tar's unit.
const BLOCK_BYTES: usize = 512;

/// The largest long name or pax header; Go's reader has the same bound.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with `size` bytes of data.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to `link`.
    Symlink,
    /// Another name for the entry `link`.
    HardLink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// Something else, by its type byte.
    Other(u8),
}

/// One entry, its extensions applied.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path as it stands in the archive.
    pub path: Vec<u8>,
    /// What it makes.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nanos: u32,
    /// Bytes of data that follow.
    pub size: u64,
    /// A link's target as it stands in the archive.
    pub link: Vec<u8>,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Extended attributes in the archive's order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The archive is damaged, hostile, or of a kind that is not supported.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Of the stream below, for instance a damaged compression.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// The stream ends inside an entry.
    #[error("the archive is cut off inside an entry")]
    Truncated,
    /// A header's or extension's bytes.
    #[error("the archive is malformed at byte {offset}: {what}")]
    Malformed {
        /// Where its header starts, in the uncompressed archive.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A long name or pax header above the bound.
    #[error("the archive has an extended header of {size} bytes, at most {MAX_EXTENSION_BYTES} are supported")]
    ExtensionTooLarge {
        /// Its length in bytes.
        size: u64,
    },
    /// Sparse files.
    #[error("the archive stores a sparse file, which is not supported: write the archive without --sparse")]
    Sparse,
}

/// A stream that can be moved forward.
pub trait Skip: Read {
    /// Passes over `count` bytes. Passing over the end may only show at the next read.
    ///
    /// # Errors
    /// Of the stream; [`io::ErrorKind::UnexpectedEof`] when it ends before.
    fn skip(&mut self, count: u64) -> io::Result<()>;
}

/// A stream that is read in order, and skipped by reading.
#[derive(Debug)]
pub struct Sequential<R>(pub R);

impl<R: Read> Read for Sequential<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Sequential<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.0.by_ref().take(count), &mut io::sink())?;
        if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<R: Read + Seek> Skip for BufReader<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let count = i64::try_from(count).map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.seek_relative(count)
    }
}

/// The entries of an archive, and the data of the one that was given last (by [`Read`]).
#[derive(Debug)]
pub struct TarStream<R> {
    reader: R,
    offset: u64,
    /// Data bytes of the present entry that were not read yet.
    unread: u64,
    /// Zeros after them, up to the block's boundary.
    padding: u64,
    is_at_end: bool,
}

/// What extension headers say about the entry that follows them.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: pax::Records,
}

impl<R: Skip> TarStream<R> {
    /// Reads the archive that `reader` is at the start of.
    pub fn new(reader: R) -> Self {
        Self { reader, offset: 0, unread: 0, padding: 0, is_at_end: false }
    }

    /// The stream below, at an unspecified position.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Where the data of the present entry starts, in bytes from the archive's start (before any of it was read).
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry, or `None` at the end. What was not read of the present one is skipped.
    ///
    /// # Errors
    /// [`TarError`]; nothing more can be read after one.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let start = self.offset;
            let Some(header) = self.read_header()? else {
                return Ok(None);
            };
            let malformed = |what| TarError::Malformed { offset: start, what };
            let size = number(&header.as_old().size, || header.entry_size());
            let size = size.map_err(|_| malformed("its size is no number"))?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.read_long_name(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.read_long_name(size)?),
                EntryType::XHeader => {
                    let bytes = self.read_extension(size)?;
                    extensions.pax = pax::Records::parse(&bytes).ok_or_else(|| malformed("a pax record"))?;
                }
                // It speaks about the archive (git writes the commit); no layer format gives it a meaning.
                EntryType::XGlobalHeader => self.start_data(size),
                EntryType::GNUSparse => return Err(TarError::Sparse),
                _ => return self.entry(&header, size, extensions, start).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions, start: u64) -> Result<Entry, TarError> {
        let malformed = |what| move |_: io::Error| TarError::Malformed { offset: start, what };
        let pax = extensions.pax;
        if pax.is_sparse {
            return Err(TarError::Sparse);
        }
        let path = pax.path.or(extensions.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind_of(header, &path);
        let size = pax.size.unwrap_or(size);
        // Only files have data; a size elsewhere is a leftover of the file system that was archived.
        let size = if matches!(kind, Kind::File | Kind::Other(_)) { size } else { 0 };
        let link = pax.link.or(extensions.link);
        let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
        let fields = header.as_old();
        let mtime = number(&fields.mtime, || header.mtime()).map_err(malformed("its time is no number"))?;
        let mode = number(&fields.mode, || header.mode().map(u64::from));
        let mode = mode.map_err(malformed("its mode is no number"))? & 0o7777;
        let uid = pax.uid.map_or_else(|| number(&fields.uid, || header.uid()), Ok);
        let gid = pax.gid.map_or_else(|| number(&fields.gid, || header.gid()), Ok);
        let (mtime, mtime_nanos) = pax.mtime.unwrap_or((mtime.cast_signed(), 0));
        let entry = Entry {
            path,
            kind,
            mode: u32::try_from(mode).unwrap_or(0),
            uid: uid.map_err(malformed("its owner is no number"))?,
            gid: gid.map_err(malformed("its group is no number"))?,
            mtime,
            mtime_nanos,
            size,
            link,
            device: device_of(header),
            xattrs: pax.xattrs,
        };
        if entry.path.is_empty() || [&entry.path, &entry.link].iter().any(|text| text.contains(&0)) {
            return Err(TarError::Malformed { offset: start, what: "its name is empty or has a zero byte" });
        }
        self.start_data(size);
        Ok(entry)
    }

    /// The next header that is valid, or `None` at the end.
    fn read_header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        if self.is_at_end || !self.read_block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0)
        {
            self.is_at_end = true;
            return Ok(None);
        }
        if !has_valid_checksum(&header) {
            let offset = self.offset - BLOCK_BYTES as u64;
            return Err(TarError::Malformed { offset, what: "no tar header (its checksum is wrong)" });
        }
        Ok(Some(header))
    }

    /// Fills `block`, or gives `false` when the stream has ended.
    fn read_block(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<bool, TarError> {
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(TarError::Truncated),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        self.offset += BLOCK_BYTES as u64;
        Ok(true)
    }

    fn read_long_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut bytes = self.read_extension(size)?;
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(length);
        Ok(bytes)
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION_BYTES {
            return Err(TarError::ExtensionTooLarge { size });
        }
        self.start_data(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(TarError::from_io)?;
        Ok(bytes)
    }

    fn start_data(&mut self, size: u64) {
        self.unread = size;
        self.padding = size.wrapping_neg() % BLOCK_BYTES as u64;
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let count = self.unread.checked_add(self.padding).ok_or(TarError::Truncated)?;
        if count > 0 {
            self.reader.skip(count).map_err(TarError::from_io)?;
        }
        self.offset = self.offset.checked_add(count).ok_or(TarError::Truncated)?;
        (self.unread, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.unread).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let count = self.reader.read(buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

impl TarError {
    /// An error of reading an entry's data.
    pub fn from_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Read(error) }
    }
}

/// A header's numeric field. Left blank it is 0, as other readers have it.
fn number(field: &[u8], parse: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { parse() }
}

fn kind_of(header: &Header, path: &[u8]) -> Kind {
    match header.entry_type() {
        // Before directories had a type, they were files whose name ends with a slash.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::CharDevice,
        EntryType::Block => Kind::BlockDevice,
        other => Kind::Other(other.as_byte()),
    }
}

fn device_of(header: &Header) -> (u32, u32) {
    let number = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
    (number(header.device_major()), number(header.device_minor()))
}

/// The sum of all bytes, the checksum's own eight counted as spaces. Some old writers summed signed bytes.
fn has_valid_checksum(header: &Header) -> bool {
    const FIELD: std::ops::Range<usize> = 148..156;
    let Ok(expected) = header.cksum() else {
        return false;
    };
    let bytes = header.as_bytes().iter().enumerate();
    let bytes = bytes.map(|(at, byte)| if FIELD.contains(&at) { b' ' } else { *byte });
    let unsigned: u32 = bytes.clone().map(u32::from).sum();
    let signed: i64 = bytes.map(|byte| i64::from(byte.cast_signed())).sum();
    unsigned == expected || signed == i64::from(expected)
}
