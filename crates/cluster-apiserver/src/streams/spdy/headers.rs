//! SPDY's header blocks: names and values, compressed with a dictionary that both sides know.
//!
//! One stream of compressed data runs through all blocks of a direction; each ends where everything so far can be read.

use std::collections::BTreeMap;
use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Names in lower case, and values.
pub(crate) type Headers = BTreeMap<String, String>;

/// The dictionary of SPDY/3 (draft-mbelshe-httpbis-spdy-00, section 2.6.10.1).
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// The longest block, once it is unpacked. Ours are names of streams.
const BLOCK_MAX_BYTES: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// What is wrong with what a client sends.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Unpacks blocks, in their order.
#[derive(Debug)]
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers of a block.
    pub(super) fn read(&mut self, block: &[u8]) -> io::Result<Headers> {
        let begun = self.0.total_in();
        let mut plain = Vec::with_capacity(BLOCK_MAX_BYTES);
        loop {
            let used = usize::try_from(self.0.total_in() - begun).unwrap_or(usize::MAX);
            let rest = block.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return parse(&plain);
            }
            let (before, length) = (self.0.total_in(), plain.len());
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(DICTIONARY).map_err(|_| damaged("the dictionary is another"))?;
                    continue;
                }
                Err(_) => return Err(damaged("a header block cannot be unpacked")),
                Ok(_) => {}
            }
            if (before, length) == (self.0.total_in(), plain.len()) {
                return Err(damaged("a header block is too long"));
            }
        }
    }
}

fn parse(mut block: &[u8]) -> io::Result<Headers> {
    let count = number(&mut block)?;
    if count > HEADERS_MAX {
        return Err(damaged("a header block has too many headers"));
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let (name, value) = (text(&mut block)?, text(&mut block)?);
        headers.insert(name.to_ascii_lowercase(), value);
    }
    Ok(headers)
}

fn number(block: &mut &[u8]) -> io::Result<usize> {
    let (bytes, rest) = block.split_first_chunk().ok_or_else(|| damaged("a header block is cut"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*bytes) as usize)
}

fn text(block: &mut &[u8]) -> io::Result<String> {
    let length = number(block)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or_else(|| damaged("a header block is cut"))?;
    *block = rest;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Packs blocks, in their order.
#[derive(Debug)]
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        // A fresh stream takes it.
        let _ = compress.set_dictionary(DICTIONARY);
        Self(compress)
    }

    /// A block of these headers.
    pub(super) fn write(&mut self, headers: &Headers) -> Vec<u8> {
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut plain = Vec::new();
        plain.extend(u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(length(text));
            plain.extend(text.as_bytes());
        }
        // Enough also for what cannot be compressed.
        let mut block = Vec::with_capacity(plain.len() + plain.len() / 8 + 128);
        // Writing into memory with room does not fail.
        let _ = self.0.compress_vec(&plain, &mut block, FlushCompress::Sync);
        block
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn one_stream_runs_through_all_blocks() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        let first = headers(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]);
        let blocks = [packer.write(&first), packer.write(&Headers::new()), packer.write(&first)];
        assert!(blocks[2].len() < blocks[0].len(), "the second time it is known");
        assert_eq!(unpacker.read(&blocks[0]).unwrap(), first);
        assert_eq!(unpacker.read(&blocks[1]).unwrap(), Headers::new());
        assert_eq!(unpacker.read(&blocks[2]).unwrap(), first);
    }

    #[test]
    fn blocks_are_bounded() {
        let long = "x".repeat(BLOCK_MAX_BYTES);
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(DICTIONARY).unwrap();
        let mut block = Vec::with_capacity(1 << 16);
        compress.compress_vec(long.as_bytes(), &mut block, FlushCompress::Sync).unwrap();
        compress.compress_vec(long.as_bytes(), &mut block, FlushCompress::Sync).unwrap();
        assert!(block.len() < 1000, "a bomb");
        assert!(Unpacker::new().read(&block).is_err());
        let many = u32::MAX.to_be_bytes();
        assert!(parse(&many).is_err() && parse(&[many, many].concat()).is_err() && parse(&[0, 0, 0, 1, 0]).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_an_error(garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut unpacker = Unpacker::new();
            for block in garbage.chunks(50) {
                let _ = unpacker.read(block);
            }
            let _ = parse(&garbage);
        }
    }
}
