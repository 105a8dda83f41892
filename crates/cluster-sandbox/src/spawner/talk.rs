//! What containers write, and how they are written to.
//!
//! Output goes into the log, whoever reads that; nobody's slowness reaches the container. What whoever attaches gets is the other direction:
//! the input, or the terminal, which has both.

use std::io;
use std::os::fd::OwnedFd;

use base_rt::Timestamp;
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::answers::{Outcome, Said, refuse_failed};
use super::containers::no_container;
use super::output::Log;
use super::poll::{Poller, Source, Stream, Token};
use super::server::Spawner;
use super::stdio::Ours;
use crate::container::stdio::take_over;
use crate::spec::{ContainerId, Input};
use crate::wire::{Answer, Event, Refusal, RefusalCode};

/// How much is read from one output before others have their turn.
const CHUNK_BYTES: usize = 64 << 10;
/// How much is read of an output after its container has ended; more cannot be in a pipe.
const LAST_CHUNKS: usize = 32;
/// Descriptors from here on are not the standard ones.
const FIRST_DESCRIPTOR: i32 = 3;

/// A container's log, and this side of its standard input and output.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) log: Log,
    /// Reads the output; a terminal's only one.
    stdout: Option<Output>,
    stderr: Option<Output>,
    /// Writes the input.
    input: Option<OwnedFd>,
    /// Where the terminal comes out once the program runs.
    way: Option<OwnedFd>,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    /// None until it is waited for.
    token: Option<Token>,
}

impl Output {
    fn new(fd: OwnedFd) -> Result<Option<Self>, Errno> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Some(Self { fd, token: None }))
    }
}

impl Talk {
    pub(super) fn new(log: Log, ours: Ours) -> Result<Self, Errno> {
        let nothing = Self { log, stdout: None, stderr: None, input: None, way: None };
        Ok(match ours {
            Ours::Pipes { stdin, stdout, stderr } => {
                Self { stdout: Output::new(stdout)?, stderr: Output::new(stderr)?, input: stdin, ..nothing }
            }
            Ours::Terminal(way) => Self { way: Some(way), ..nothing },
        })
    }

    /// Waits for what the outputs bring; for all or none.
    pub(super) fn watch(&mut self, poller: &mut Poller, id: &ContainerId) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Some(output) = self.output(stream) else { continue };
            match poller.add(&output.fd, Source::Output(id.clone(), stream)) {
                Ok(token) => output.token = Some(token),
                Err(error) => {
                    self.unwatch(poller);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    pub(super) fn unwatch(&mut self, poller: &mut Poller) {
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            if let Some(token) = output.token.take() {
                poller.remove(&output.fd, token);
            }
        }
    }

    /// The program runs: its terminal is there.
    pub(super) fn begin(&mut self, poller: &mut Poller, id: &ContainerId) -> io::Result<()> {
        let Some(way) = self.way.take() else { return Ok(()) };
        let terminal = take_over(&way)?;
        self.input = Some(fcntl_dupfd_cloexec(&terminal, FIRST_DESCRIPTOR)?);
        self.stdout = Output::new(terminal)?;
        self.watch(poller, id)
    }

    fn output(&mut self, stream: Stream) -> Option<&mut Output> {
        match stream {
            Stream::Stdout => self.stdout.as_mut(),
            Stream::Stderr => self.stderr.as_mut(),
        }
    }

    fn close(&mut self, stream: Stream, poller: &mut Poller, now: Timestamp) {
        let output = match stream {
            Stream::Stdout => self.stdout.take(),
            Stream::Stderr => self.stderr.take(),
        };
        if let Some(output) = output {
            if let Some(token) = output.token {
                poller.remove(&output.fd, token);
            }
            self.log.finish(stream, now);
        }
    }

    /// Moves one chunk of output into the log: (whether the stream has nothing more, whether the log was rotated).
    fn pump(&mut self, stream: Stream, now: Timestamp) -> (bool, bool) {
        let Some(output) = self.output(stream) else { return (true, false) };
        let mut chunk = vec![0; CHUNK_BYTES];
        match rustix::io::read(&output.fd, &mut chunk) {
            Ok(0) => (true, false),
            Ok(count) => (false, self.log.append(stream, chunk.get(..count).unwrap_or_default(), now)),
            Err(Errno::AGAIN | Errno::INTR) => (false, false),
            // A terminal that nobody has open any more fails.
            Err(_) => (true, false),
        }
    }
}

impl Spawner {
    /// A container has written something.
    pub(super) fn read_output(&mut self, id: &ContainerId, stream: Stream) {
        let now = self.clock.now();
        let Some(container) = self.containers.get_mut(id) else { return };
        let (is_over, is_rotated) = container.talk.pump(stream, now);
        if is_over {
            container.talk.close(stream, &mut self.poller, now);
        }
        if is_rotated {
            self.tell_rotation(id);
        }
    }

    /// Takes what an ended container has written last.
    pub(super) fn finish_output(&mut self, id: &ContainerId) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(id, stream);
            let now = self.clock.now();
            if let Some(container) = self.containers.get_mut(id) {
                container.talk.close(stream, &mut self.poller, now);
            }
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.talk.input = None;
        }
    }

    fn drain(&mut self, id: &ContainerId, stream: Stream) {
        let now = self.clock.now();
        for _ in 0..LAST_CHUNKS {
            let Some(container) = self.containers.get_mut(id) else { return };
            let (is_over, is_rotated) = container.talk.pump(stream, now);
            if is_rotated {
                self.tell_rotation(id);
            }
            if is_over {
                return;
            }
        }
    }

    fn tell_rotation(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.get(id) {
            let event = Event::LogRotated { container: id.clone(), path: container.talk.log.path().to_owned() };
            self.tell(&event);
        }
    }

    /// Hands out a container's terminal, or its input as long as there is one.
    pub(super) fn attach(&mut self, id: &ContainerId) -> Outcome {
        if !self.find_container(id)?.is_running() {
            return Err(Refusal::new(RefusalCode::Busy, format!("container {id} is not running")));
        }
        let container = self.containers.get_mut(id).ok_or_else(|| no_container(id))?;
        let is_terminal = container.spec.has_terminal;
        let is_given_away = container.spec.input == Input::Once && !is_terminal;
        let input = match (is_given_away, &container.talk.input) {
            (true, _) => container.talk.input.take(),
            (false, Some(input)) => {
                let copied = fcntl_dupfd_cloexec(input, FIRST_DESCRIPTOR);
                Some(copied.map_err(refuse_failed("copying a descriptor"))?)
            }
            (false, None) => None,
        };
        Ok(Said { answer: Answer::Attached { is_terminal }, descriptors: input.into_iter().collect() })
    }
}
