//! Connections: what each may do, and what it has still to be told.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use base_rt::Timestamp;
use rustix::io::Errno;

use super::peer::Peer;
use super::poll::{Poller, Token};
use crate::wire::packet::{Packet, PacketError};
use crate::wire::{Event, FromSpawner};

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) token: Token,
    pub(super) peer: Peer,
    /// Whether versions have been agreed on.
    pub(super) is_greeted: bool,
    /// Packets that the socket had no room for.
    waiting: VecDeque<Packet>,
    /// Since when events are dropped because too many packets wait.
    missing_since: Option<Timestamp>,
}

/// A client that leaves more than this unread gets no further events (it is told so), and its requests wait.
const WAITING_MAX: usize = 1024;
/// A client that leaves more answers than this unread is disconnected: it asked and never listened.
const WAITING_HARD_MAX: usize = 4096;

impl Client {
    pub(super) fn new(socket: OwnedFd, token: Token, peer: Peer) -> Self {
        Self { socket, token, peer, is_greeted: false, waiting: VecDeque::new(), missing_since: None }
    }

    /// Whether requests of this client are to be read now.
    pub(super) fn may_ask(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Tells an event, now or later or, if the client does not listen, never: then it learns that it missed some.
    pub(super) fn notify(&mut self, event: &Event, now: Timestamp, poller: &Poller) -> Result<(), PacketError> {
        if !self.is_greeted || self.peer != Peer::Owner {
            return Ok(());
        }
        if self.waiting.len() >= WAITING_MAX {
            self.missing_since.get_or_insert(now);
            return Ok(());
        }
        let packet = Packet::encode(&FromSpawner::Event(event.clone()), Vec::new())?;
        self.send(packet, poller)
    }

    /// Sends, or keeps for later.
    pub(super) fn send(&mut self, packet: Packet, poller: &Poller) -> Result<(), PacketError> {
        self.waiting.push_back(packet);
        if self.waiting.len() > WAITING_HARD_MAX {
            return Err(PacketError::Socket(Errno::NOBUFS));
        }
        self.flush(poller)
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self, poller: &Poller) -> Result<(), PacketError> {
        while let Some(packet) = self.waiting.front() {
            match packet.send(self.socket.as_fd()) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(PacketError::Socket(error)),
            }
        }
        let listens_again = self.waiting.len() < WAITING_MAX / 2;
        if let Some(since) = self.missing_since.take_if(|_| listens_again) {
            let packet = Packet::encode(&FromSpawner::Event(Event::Missed { since }), Vec::new())?;
            self.waiting.push_back(packet);
        }
        let has_more = !self.waiting.is_empty();
        poller
            .watch(&self.socket, self.token, self.may_ask(), has_more)
            .map_err(|error| PacketError::Socket(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
}
