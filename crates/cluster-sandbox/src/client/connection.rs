//! The socket to the spawner: requests go out, answers find who asked, events queue up.
//!
//! Requests are sent by whoever asks, without a task in between; only when the socket is full do they wait for the connection's one task,
//! which otherwise reads.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_rt::{Clock, Phase, Tasks, Timestamp};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use super::SandboxError;
use crate::sys::async_fd::register;
use crate::wire::packet::{Packet, PacketError, Received, receive};
use crate::wire::{Answer, Event, FromSpawner, Request, ToSpawner};

/// A good answer with its descriptors.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) descriptors: Vec<OwnedFd>,
}

type Outcome = Result<Answered, SandboxError>;
type Waiting = oneshot::Sender<Outcome>;

/// Requests in flight; more wait their turn.
const IN_FLIGHT_MAX: usize = 512;
/// Events not taken yet; later ones are dropped and told as missed.
const EVENTS_MAX: usize = 4096;
/// How often and how long a spawner whose queue of connections is full is asked again.
const RETRY: Duration = Duration::from_millis(10);
const RETRIES: u32 = 200;

#[derive(Debug)]
pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
    state: Mutex<State>,
    /// The task shall look at the state: the socket is full, or nobody wants the connection any more.
    wake: Notify,
    /// Told when the connection has ended.
    ended: Notify,
    in_flight: Semaphore,
}

/// The client's end of a connection: dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Handle(Arc<Connection>);

impl std::ops::Deref for Handle {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.wake.notify_one();
    }
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    unsent: VecDeque<Packet>,
    is_over: bool,
}

impl Connection {
    /// Connects, and starts the task that reads.
    pub(super) async fn open(
        path: &Path,
        tasks: &Tasks,
        clock: Clock,
    ) -> Result<(Handle, mpsc::Receiver<Event>), SandboxError> {
        let failed = |source: std::io::Error| SandboxError::Connect { path: path.display().to_string(), source };
        let socket = connect(path).await.map_err(|error| failed(error.into()))?;
        let connection = Arc::new(Self {
            socket: register(socket).map_err(failed)?,
            state: Mutex::default(),
            wake: Notify::new(),
            ended: Notify::new(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
        });
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let reading = Arc::clone(&connection);
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_transient("sandbox/connection", async move {
            let mut teller = Teller { sender, missed_since: None, clock };
            tokio::select! {
                biased;
                outcome = reading.read_all(&mut teller) => {
                    if let Err(error) = outcome {
                        tracing::warn!(error = base_rt::error_chain(&error), "the connection to the spawner broke");
                    }
                }
                () = shutdown.reached(Phase::Stopped) => {}
            }
            reading.end();
        });
        Ok((Handle(connection), events))
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(&self, request: Request) -> Result<Answered, SandboxError> {
        // The semaphore is never closed.
        let Ok(_turn) = self.in_flight.acquire().await else { return Err(SandboxError::Gone) };
        let answer = self.send(request)?;
        answer.await.unwrap_or(Err(SandboxError::Gone))
    }

    fn send(&self, request: Request) -> Result<oneshot::Receiver<Outcome>, SandboxError> {
        let mut state = self.state();
        if state.is_over {
            return Err(SandboxError::Gone);
        }
        let id = state.next;
        state.next += 1;
        let packet = Packet::encode(&ToSpawner { id, request }, Vec::new()).map_err(SandboxError::send)?;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(id, sender);
        state.unsent.push_back(packet);
        match flush(&mut state, &self.socket) {
            Ok(()) | Err(Errno::AGAIN) => {}
            // The reading task will see the same and say so to everybody.
            Err(error) => tracing::debug!(%error, "a request could not be sent"),
        }
        if !state.unsent.is_empty() {
            self.wake.notify_one();
        }
        Ok(receiver)
    }

    /// Nobody reads any more: everybody who waits learns that, and so does who asks later.
    fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        state.waiting.clear();
        state.unsent.clear();
        drop(state);
        self.ended.notify_waiters();
    }

    /// Waits until the connection has ended.
    pub(super) async fn ended(&self) {
        let mut told = std::pin::pin!(self.ended.notified());
        // From here on a notification is not missed.
        told.as_mut().enable();
        if !self.state().is_over {
            told.await;
        }
    }

    async fn read_all(&self, teller: &mut Teller) -> Result<(), PacketError> {
        let broken = |error: std::io::Error| PacketError::Socket(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        loop {
            let (has_unsent, is_over) = {
                let state = self.state();
                (!state.unsent.is_empty(), state.is_over)
            };
            if is_over {
                return Ok(());
            }
            tokio::select! {
                biased;
                ready = self.socket.readable() => {
                    let mut ready = ready.map_err(broken)?;
                    match receive::<FromSpawner>(self.socket.get_ref().as_fd()) {
                        Ok(Some(received)) => self.deliver(received, teller),
                        Ok(None) => return Ok(()),
                        Err(PacketError::NoRoom(id)) => self.settle(id, Err(SandboxError::NoRoom)),
                        Err(PacketError::Socket(Errno::AGAIN)) => ready.clear_ready(),
                        Err(error) => return Err(error),
                    }
                }
                ready = self.socket.writable(), if has_unsent => {
                    let mut ready = ready.map_err(broken)?;
                    let flushed = flush(&mut self.state(), &self.socket);
                    match flushed {
                        Ok(()) => {}
                        Err(Errno::AGAIN) => ready.clear_ready(),
                        Err(error) => return Err(PacketError::Socket(error)),
                    }
                }
                () = self.wake.notified() => {}
            }
        }
    }

    fn deliver(&self, received: Received<FromSpawner>, teller: &mut Teller) {
        match received.message {
            FromSpawner::Event(event) => teller.tell(event),
            FromSpawner::Answer { id, .. } if received.is_cut => self.settle(id, Err(SandboxError::NoRoom)),
            FromSpawner::Answer { id, outcome } => {
                let answered = outcome.map(|answer| Answered { answer, descriptors: received.descriptors });
                self.settle(id, answered.map_err(SandboxError::Refused));
            }
        }
    }

    fn settle(&self, id: u64, outcome: Outcome) {
        let waiting = self.state().waiting.remove(&id);
        // Who asked may have given up; the descriptors are then closed.
        if let Some(waiting) = waiting {
            let _ = waiting.send(outcome);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what waits, in order, until the socket is full.
fn flush(state: &mut State, socket: &AsyncFd<OwnedFd>) -> Result<(), Errno> {
    while let Some(packet) = state.unsent.front() {
        packet.send(socket.get_ref().as_fd())?;
        state.unsent.pop_front();
    }
    Ok(())
}

/// Hands events on, never waiting for who takes them.
struct Teller {
    sender: mpsc::Sender<Event>,
    missed_since: Option<Timestamp>,
    clock: Clock,
}

impl Teller {
    fn tell(&mut self, event: Event) {
        if let Some(since) = self.missed_since {
            match self.sender.try_send(Event::Missed { since }) {
                Ok(()) => self.missed_since = None,
                Err(_) => return,
            }
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(event) {
            self.missed_since = Some(self.clock.now());
        }
    }
}

async fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let address = SocketAddrUnix::new(path)?;
    for _ in 0..RETRIES {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN) => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(error),
        }
    }
    Err(Errno::AGAIN)
}
