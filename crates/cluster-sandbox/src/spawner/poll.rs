//! The spawner's event loop: which descriptor woke it, and what that means.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::spec::{ContainerId, ExecId};

/// What a descriptor is, and so what its readiness means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A client wants to connect.
    Door,
    /// A signal came.
    Signals,
    /// Who started the spawner has ended.
    Starter,
    /// A client says something, or can be told something again.
    Client(ClientId),
    /// A container writes.
    Output(ContainerId, Stream),
    /// A starting container reports.
    ContainerReport(ContainerId),
    /// A starting program beside a container reports.
    ExecReport(ExecId),
}

/// A connection's number, never used twice.
pub(super) type ClientId = u64;

/// Which of a container's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u64);

/// Descriptors to wait for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    sources: BTreeMap<Token, Source>,
    next: u64,
}

const EVENTS_AT_ONCE: usize = 64;

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, sources: BTreeMap::new(), next: 0 })
    }

    /// Waits for `fd` to become readable from now on.
    pub(super) fn add(&mut self, fd: impl AsFd, source: Source) -> io::Result<Token> {
        self.next += 1;
        let token = Token(self.next);
        epoll::add(&self.epoll, fd, EventData::new_u64(token.0), EventFlags::IN)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Waits, or no longer waits, for room to write as well; and, or not, for something to read.
    pub(super) fn watch(&self, fd: impl AsFd, token: Token, reads: bool, writes: bool) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, reads);
        flags.set(EventFlags::OUT, writes);
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token.0), flags)?)
    }

    /// Forgets `fd`. To be called before it is closed: a copy of it may live on in a child for a moment.
    pub(super) fn remove(&mut self, fd: impl AsFd, token: Token) {
        self.sources.remove(&token);
        // It can only have been forgotten already.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something is ready, or for at most `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Source>> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_AT_ONCE);
        let timeout = timeout.map(|duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events.iter().filter_map(|event| self.sources.get(&Token(event.data.u64()))).cloned().collect())
    }
}
