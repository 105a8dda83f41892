//! Netlink's framing: messages with a fixed header, and attributes that may hold attributes.
//!
//! Everything is in the machine's byte order and padded to four bytes. Reading is bounded by the lengths that were received and never
//! trusts a length inside a message.

/// Message kinds of the framing itself.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Message flags.
pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const NESTED: u16 = 1 << 15;
const ATTRIBUTE_KIND_MASK: u16 = !(NESTED | 1 << 14);

/// A message being written.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    flags: u16,
}

impl Message {
    /// A message of a kind, with the fixed part that its kind asks for.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend_from_slice(fixed);
        let mut message = Self { bytes, flags: flags | REQUEST };
        message.pad();
        message
    }

    /// Appends an attribute.
    pub(crate) fn with(mut self, kind: u16, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let length = ATTRIBUTE_HEADER_BYTES + value.len();
        self.bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends an attribute with a number.
    pub(crate) fn with_u32(self, kind: u16, value: u32) -> Self {
        self.with(kind, value.to_ne_bytes())
    }

    /// Appends an attribute with a text that ends with a zero byte.
    pub(crate) fn with_text(self, kind: u16, text: &str) -> Self {
        self.with(kind, [text.as_bytes(), &[0]].concat())
    }

    /// Appends an attribute that holds what `content` appends, after the bytes of `fixed`.
    pub(crate) fn nest(mut self, kind: u16, fixed: &[u8], content: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend(0_u16.to_ne_bytes());
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        self.pad();
        let mut filled = content(self);
        let length = u16::try_from(filled.bytes.len() - start).unwrap_or(u16::MAX);
        filled.put(start, &length.to_ne_bytes());
        filled
    }

    /// Fills in the header. Whoever sends the message calls this.
    pub(crate) fn finish(&mut self, sequence: u32, more_flags: u16) {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.put(0, &length.to_ne_bytes());
        self.put(6, &(self.flags | more_flags).to_ne_bytes());
        self.put(8, &sequence.to_ne_bytes());
    }

    /// The message as it is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'bytes> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) content: &'bytes [u8],
}

impl<'bytes> Reply<'bytes> {
    /// The error code (0 for an acknowledgement, else negative) if this is such a message.
    pub(crate) fn error(&self) -> Option<i32> {
        (self.kind == ERROR).then(|| number(self.content, 0).map_or(-libc::EPROTO, i32::from_ne_bytes))
    }

    /// Whether this ends a dump.
    pub(crate) fn is_done(&self) -> bool {
        self.kind == DONE
    }

    /// The attributes after a fixed part of the given size.
    pub(crate) fn attributes(&self, fixed_bytes: usize) -> Attributes<'bytes> {
        Attributes { rest: self.content.get(fixed_bytes.next_multiple_of(4)..).unwrap_or_default() }
    }
}

/// All messages of one received packet.
pub(crate) fn replies(mut packet: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(number(packet, 0)?) as usize;
        let kind = u16::from_ne_bytes(number(packet, 4)?);
        let sequence = u32::from_ne_bytes(number(packet, 8)?);
        let content = packet.get(HEADER_BYTES..length)?;
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Reply { kind, sequence, content })
    })
}

/// Attributes of a message, as pairs of kind and value.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'bytes> {
    rest: &'bytes [u8],
}

impl<'bytes> Attributes<'bytes> {
    /// The value of the first attribute of a kind.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'bytes [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

impl<'bytes> Iterator for Attributes<'bytes> {
    type Item = (u16, &'bytes [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(number(self.rest, 0)?));
        let kind = u16::from_ne_bytes(number(self.rest, 2)?) & ATTRIBUTE_KIND_MASK;
        let value = self.rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The bytes of a number at a place, if they are there.
pub(crate) fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut message =
            Message::new(16, CREATE, &[1, 2, 3, 4]).with_text(3, "eth0").nest(18, &[], |m| m.with_u32(7, 9));
        message.finish(5, ACK);
        let packet = [message.bytes(), message.bytes()].concat();
        let read: Vec<_> = replies(&packet).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].kind, read[1].sequence), (16, 5));
        assert_eq!(read[1].attributes(4).get(3), Some(&b"eth0\0"[..]));
        let nested = Attributes { rest: read[1].attributes(4).get(18).unwrap() };
        assert_eq!(nested.get(7), Some(&9_u32.to_ne_bytes()[..]));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let mut message = Message::new(16, 0, &[]).with_text(3, "eth0");
        message.finish(1, 0);
        let mut bytes = message.bytes().to_vec();
        for length in [0_u32, 1, 15, 17, 1000, u32::MAX] {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(replies(&bytes).take(10).count() <= 1, "{length}");
        }
        for length in [0_u16, 3, 200, u16::MAX] {
            let attribute = [&length.to_ne_bytes()[..], &3_u16.to_ne_bytes(), b"abc\0"].concat();
            assert_eq!(Attributes { rest: &attribute }.count(), 0, "{length}");
        }
    }
}
