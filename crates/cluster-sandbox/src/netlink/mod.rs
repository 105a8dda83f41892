//! The kernel's network configuration protocol, as much of it as links, addresses, routes, neighbours and socket queries need.
//!
//! [`message`] builds and reads messages, [`Socket`] carries them, [`route`] and [`diag`] are the kernel's two dialects used here. A socket
//! belongs for ever to the network namespace in which it was opened; that is how one process configures many.
//!
//! Sources: `netlink(7)`, `rtnetlink(7)`, `sock_diag(7)`.

pub(crate) mod diag;
pub(crate) mod message;
pub(crate) mod route;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use message::{Message, Reply, replies};

/// A netlink socket, used by one caller at a time.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One answer of the kernel fits into this; dumps come in several.
const BUFFER_BYTES: usize = 64 << 10;
/// A dump of more messages than this is given up: the namespace is not one we can work in.
const DUMP_MAX_MESSAGES: usize = 100_000;

impl Socket {
    /// A socket for links, addresses, routes and neighbours of the present network namespace.
    pub(crate) fn route() -> io::Result<Self> {
        // NETLINK_ROUTE is number 0, the default.
        let fd = Self::open(None)?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// A descriptor for questions about sockets of the present network namespace.
    pub(crate) fn diag() -> io::Result<OwnedFd> {
        Self::open(Some(rustix::net::netlink::INET_DIAG))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(fd)
    }

    /// Sends all messages at once and waits until the kernel has carried out each.
    ///
    /// # Errors
    /// The first one that the kernel refused; the later ones have been tried nevertheless.
    pub(crate) fn change(&mut self, mut messages: Vec<Message>) -> Result<(), Errno> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for message in &mut messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.finish(self.sequence, message::ACK);
            bytes.extend_from_slice(message.bytes());
        }
        self.send(&bytes)?;
        let mut outcome = Ok(());
        let mut outstanding = messages.len();
        while outstanding > 0 {
            let received = self.receive()?;
            for reply in replies(self.buffer.get(..received).unwrap_or_default()) {
                let is_ours = reply.sequence.wrapping_sub(first) < messages.len() as u32;
                if let (true, Some(code)) = (is_ours, reply.error()) {
                    outstanding -= 1;
                    outcome = outcome.and(result(code));
                }
            }
        }
        outcome
    }

    /// Asks one question and hands every message of the answer to `each`.
    pub(crate) fn ask(
        &mut self,
        mut question: Message,
        is_dump: bool,
        mut each: impl FnMut(Reply<'_>),
    ) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        // A question for one thing ends with an acknowledgement, one for many with "done".
        question.finish(self.sequence, if is_dump { message::DUMP } else { message::ACK });
        self.send(question.bytes())?;
        let mut seen = 0;
        loop {
            let received = self.receive()?;
            for reply in replies(self.buffer.get(..received).unwrap_or_default()) {
                if reply.sequence != self.sequence {
                    continue;
                }
                if let Some(code) = reply.error() {
                    return result(code);
                }
                if reply.is_done() {
                    return Ok(());
                }
                seen += 1;
                if seen > DUMP_MAX_MESSAGES {
                    return Err(Errno::TOOBIG);
                }
                each(reply);
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        rustix::net::send(&self.fd, bytes, SendFlags::empty()).map(|_| ())
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        loop {
            match rustix::net::recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((received, _)) => return Ok(received),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn result(code: i32) -> Result<(), Errno> {
    if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-code)) }
}
