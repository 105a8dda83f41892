//! Content digests: what names a blob everywhere in this crate.
//!
//! Only SHA-256 is spoken, the one algorithm that every registry and builder writes. A digest is 32 bytes by value, so it is cheap to
//! copy, ordered, and cannot hold a malformed text. Other registered algorithms (`sha512`) are recognised and refused by name.
//!
//! Specified by: OCI image-spec, `descriptor.md` (digests).

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The only algorithm this crate computes and accepts.
const ALGORITHM: &str = "sha256";

/// Bytes of a SHA-256 value.
const LENGTH: usize = 32;

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; LENGTH]);

/// A text that is no digest this crate can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `algorithm:hex`, or not 64 lower-case hexadecimal digits.
    #[error("{text:?} is not a digest: expected \"sha256:\" and 64 lower-case hexadecimal digits")]
    Malformed {
        /// What was given, shortened.
        text: String,
    },
    /// A well-formed digest of another algorithm.
    #[error("the digest algorithm {algorithm:?} is not supported: use sha256")]
    Algorithm {
        /// The algorithm's name as given.
        algorithm: String,
    },
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hexadecimal digits alone: a blob's file name.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(LENGTH * 2);
        for byte in self.0 {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 0xf));
        }
        text
    }

    /// Reads 64 lower-case hexadecimal digits, the reverse of [`hex`](Self::hex).
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != LENGTH * 2 {
            return None;
        }
        let mut value = [0; LENGTH];
        let (pairs, _) = hex.as_bytes().as_chunks::<2>();
        for (byte, [high, low]) in value.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(value))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed { text: shorten(text) };
        let (algorithm, hex) = text.split_once(':').ok_or_else(malformed)?;
        if algorithm == ALGORITHM {
            return Self::from_hex(hex).ok_or_else(malformed);
        }
        let is_other = matches!(algorithm, "sha384" | "sha512" | "blake3");
        Err(if is_other { DigestError::Algorithm { algorithm: algorithm.to_owned() } } else { malformed() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a digest and a length over bytes that pass by.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    length: u64,
}

impl Hasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
    }

    /// How many bytes have passed.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything that has passed.
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Passes bytes on and hashes them: a [`Read`] over what it reads, a [`Write`] over what it writes.
#[derive(Debug)]
pub struct Hashing<T> {
    inner: T,
    hasher: Hasher,
}

impl<T> Hashing<T> {
    /// Hashes everything that passes through to or from `inner` from now on.
    pub fn new(inner: T) -> Self {
        Self { inner, hasher: Hasher::default() }
    }

    /// How many bytes have passed.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// What was wrapped, and the hash so far.
    pub fn into_parts(self) -> (T, Hasher) {
        (self.inner, self.hasher)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A text from outside, cut to what fits into a message.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_and_value_agree() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        assert_eq!(serde_json::to_string(&Digest::of(b"")).unwrap(), format!("{EMPTY:?}"));
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        for text in ["", "sha256", "sha256:", "sha256:00", "md5:00", upper.as_str(), &format!("{EMPTY}0")] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Malformed { .. })), "{text}");
        }
        let sha512 = format!("sha512:{}", "0".repeat(128));
        assert_eq!(sha512.parse::<Digest>(), Err(DigestError::Algorithm { algorithm: "sha512".into() }));
        assert!("é".repeat(5000).parse::<Digest>().unwrap_err().to_string().len() < 1000);
    }

    #[test]
    fn a_stream_hashes_as_its_bytes() {
        let mut reader = Hashing::new(&b"hello"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.length(), 5);
        assert_eq!(reader.into_parts().1.finish(), Digest::of(b"hello"));
    }
}
