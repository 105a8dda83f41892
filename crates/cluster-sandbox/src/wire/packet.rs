//! One message and its descriptors in one packet of a `SOCK_SEQPACKET` socket.
//!
//! ```text
//! 'J' json…          the message itself
//! 'M' length subject the message lies in a memory file; its descriptor comes before all others. Two u64, little endian: how long it is, and
//!                    which request it answers
//! ```
//! A memory file is sealed: it is memory, and nobody changes it while it is read. Who has no room for descriptors still learns which request
//! came to nothing.
//!
//! Bounds: a packet is at most 64 KiB, a message at most 8 MiB, a packet carries at most 250 descriptors (the kernel's limit is 253).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most descriptors of one message.
pub(crate) const DESCRIPTORS_MAX: usize = 250;
const PACKET_MAX_BYTES: usize = 64 << 10;
const MESSAGE_MAX_BYTES: usize = 8 << 20;
const INLINE: u8 = b'J';
const IN_MEMORY_FILE: u8 = b'M';
/// The subject of a message that answers no request.
const NO_SUBJECT: u64 = u64::MAX;
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Why a message could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("message of {0} bytes is too long")]
    TooLong(usize),
    #[error("message with {0} descriptors has too many")]
    TooManyDescriptors(usize),
    #[error("message is damaged: {0}")]
    Damaged(&'static str),
    #[error("message does not parse")]
    Json(#[from] serde_json::Error),
    #[error("memory file of a long message failed")]
    MemoryFile(#[source] std::io::Error),
    /// This process had no room for the memory file of the answer to this request.
    #[error("this process may not open more files")]
    NoRoom(u64),
    /// The socket is closed, full, empty or broken.
    #[error("socket failed")]
    Socket(#[source] Errno),
}

/// A message ready to be sent, as often as the socket says that it is full.
#[derive(Debug)]
pub(crate) struct Packet {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Packet {
    /// Encodes `message`. The descriptors are closed here once the packet is dropped.
    pub(crate) fn encode(message: &impl Serialize, descriptors: Vec<OwnedFd>) -> Result<Self, PacketError> {
        Self::encode_about(NO_SUBJECT, message, descriptors)
    }

    /// As [`encode`](Self::encode), for the answer to a request.
    pub(crate) fn encode_about(
        subject: u64,
        message: &impl Serialize,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Self, PacketError> {
        if descriptors.len() >= DESCRIPTORS_MAX {
            return Err(PacketError::TooManyDescriptors(descriptors.len()));
        }
        let mut bytes = vec![INLINE];
        serde_json::to_writer(&mut bytes, message)?;
        if bytes.len() > MESSAGE_MAX_BYTES {
            return Err(PacketError::TooLong(bytes.len()));
        }
        if bytes.len() > PACKET_MAX_BYTES {
            let json = bytes.get(1..).unwrap_or_default();
            descriptors.insert(0, memory_file(json).map_err(PacketError::MemoryFile)?);
            let length = json.len() as u64;
            bytes = vec![IN_MEMORY_FILE];
            bytes.extend(length.to_le_bytes());
            bytes.extend(subject.to_le_bytes());
        }
        Ok(Self { bytes, descriptors })
    }

    /// Sends the packet without waiting.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] when the socket is full; the packet may then be sent again.
    pub(crate) fn send(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let descriptors: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors.len()))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let data = [IoSlice::new(&self.bytes)];
        sendmsg(socket, &data, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(|_| ())
    }
}

/// A message as it arrived.
#[derive(Debug)]
pub(crate) struct Received<M> {
    pub(crate) message: M,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Whether descriptors are missing, because this process may not open more files.
    pub(crate) is_cut: bool,
}

/// Receives one message without waiting; `None` when the other side has closed.
pub(crate) fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<Received<M>>, PacketError> {
    let mut bytes = vec![0; PACKET_MAX_BYTES];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = {
        let mut data = [IoSliceMut::new(&mut bytes)];
        recvmsg(socket, &mut data, &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC)
            .map_err(PacketError::Socket)?
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(PacketError::Damaged("it was cut"));
    }
    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
    bytes.truncate(received.bytes);
    let message = decode(&bytes, &mut descriptors, is_cut)?;
    Ok(Some(Received { message, descriptors, is_cut }))
}

fn decode<M: DeserializeOwned>(bytes: &[u8], descriptors: &mut Vec<OwnedFd>, is_cut: bool) -> Result<M, PacketError> {
    match bytes.split_first() {
        Some((&INLINE, json)) => Ok(serde_json::from_slice(json)?),
        Some((&IN_MEMORY_FILE, header)) => {
            let (length, subject) = numbers(header).ok_or(PacketError::Damaged("its header is cut"))?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MESSAGE_MAX_BYTES {
                return Err(PacketError::TooLong(length));
            }
            if descriptors.is_empty() {
                let is_known = is_cut && subject != NO_SUBJECT;
                let missing = PacketError::Damaged("its memory file is missing");
                return Err(if is_known { PacketError::NoRoom(subject) } else { missing });
            }
            let file = descriptors.remove(0);
            Ok(serde_json::from_slice(&read_memory_file(&file, length)?)?)
        }
        _ => Err(PacketError::Damaged("its first byte is unknown")),
    }
}

fn numbers(header: &[u8]) -> Option<(u64, u64)> {
    let (length, subject) = header.split_at_checked(size_of::<u64>())?;
    Some((u64::from_le_bytes(length.try_into().ok()?), u64::from_le_bytes(subject.try_into().ok()?)))
}

fn memory_file(content: &[u8]) -> std::io::Result<OwnedFd> {
    let file = memfd_create("kwick-message", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut written = 0;
    while let Some(rest) = content.get(written..).filter(|rest| !rest.is_empty()) {
        written += rustix::io::pwrite(&file, rest, written as u64)?;
    }
    fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

fn read_memory_file(file: &OwnedFd, length: usize) -> Result<Vec<u8>, PacketError> {
    // Only memory can be sealed. Another file might never come to an end of being read, on a file system of somebody's own.
    if !fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS)) {
        return Err(PacketError::Damaged("its memory file is not one, or not sealed"));
    }
    let mut content = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let count =
            rustix::io::pread(file, rest, filled as u64).map_err(|error| PacketError::MemoryFile(error.into()))?;
        if count == 0 {
            return Err(PacketError::Damaged("its memory file is cut"));
        }
        filled += count;
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (left, right) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        Packet::encode(&"one", vec![]).unwrap().send(left.as_fd()).unwrap();
        Packet::encode(&"two", vec![writer]).unwrap().send(left.as_fd()).unwrap();
        let one = receive::<String>(right.as_fd()).unwrap().unwrap();
        assert_eq!((one.message.as_str(), one.descriptors.len()), ("one", 0));
        let two = receive::<String>(right.as_fd()).unwrap().unwrap();
        rustix::io::write(&two.descriptors[0], b"x").unwrap();
        let mut byte = [0];
        rustix::io::read(&reader, &mut byte).unwrap();
        assert_eq!((two.message.as_str(), byte), ("two", *b"x"));
        drop(left);
        assert!(receive::<String>(right.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_long_message_travels_in_a_memory_file() {
        let (left, right) = pair();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let long = "x".repeat(3 << 20);
        Packet::encode(&long, vec![reader]).unwrap().send(left.as_fd()).unwrap();
        let received = receive::<String>(right.as_fd()).unwrap().unwrap();
        assert_eq!(received.message, long);
        assert_eq!(received.descriptors.len(), 1, "the memory file is not among them");
        assert!(matches!(Packet::encode(&"x".repeat(9 << 20), vec![]), Err(PacketError::TooLong(_))));
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let (left, right) = pair();
        let short = [&b"M\x05"[..], &[0; 15]].concat();
        let endless = [&b"M"[..], &[0xff; 16]].concat();
        for bytes in [&b"X"[..], b"J{", b"M", b"M\x05\0\0\0\0\0\0\0", &short, &endless] {
            rustix::net::send(&left, bytes, SendFlags::empty()).unwrap();
            assert!(receive::<String>(right.as_fd()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn only_sealed_memory_is_read() {
        let (left, right) = pair();
        let unsealed = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&unsealed, b"\"text\"").unwrap();
        let on_disk = tempfile::tempfile().unwrap();
        for file in [unsealed, on_disk.into()] {
            let mut bytes = vec![IN_MEMORY_FILE];
            bytes.extend([6_u64, 1].map(u64::to_le_bytes).concat());
            Packet { bytes, descriptors: vec![file] }.send(left.as_fd()).unwrap();
            let refused = receive::<String>(right.as_fd()).unwrap_err();
            assert!(refused.to_string().contains("not sealed"), "{refused}");
        }
    }

    #[test]
    fn without_room_for_descriptors_the_message_is_still_told() {
        let (left, right) = pair();
        // More than are taken, as many as the kernel sends: they are cut, as they are for a process at its limit.
        let many = (0..253).map(|_| memfd_create("test", MemfdFlags::CLOEXEC).unwrap()).collect();
        Packet { bytes: b"J\"text\"".to_vec(), descriptors: many }.send(left.as_fd()).unwrap();
        let received = receive::<String>(right.as_fd()).unwrap().unwrap();
        assert_eq!((received.message.as_str(), received.is_cut), ("text", true));
        let long = Packet::encode_about(7, &"x".repeat(1 << 20), vec![]).unwrap();
        assert!(matches!(decode::<String>(&long.bytes, &mut vec![], true), Err(PacketError::NoRoom(7))));
        assert!(matches!(decode::<String>(&long.bytes, &mut vec![], false), Err(PacketError::Damaged(_))));
    }
}
