//! The unprivileged side: requests to the spawner, and what it tells by itself.
//!
//! One connection, many requests in flight. A request is sent when its future is first polled, and requests of one task are carried out
//! in the order in which they were sent, so two that build on each other need not wait for each other:
//!
//! ```ignore
//! let (pod, container) = tokio::join!(sandbox.create_pod(&pod), sandbox.start_container(&container));
//! ```

mod connection;
mod error;
mod talk;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Clock, Tasks};
use tokio::sync::mpsc;

use crate::spec::{
    ContainerId, ContainerSpec, ContainerState, DiskUsage, ExecId, LayerName, ListenSpec, ListenerName, PodFiles,
    PodId, PodSpec, PodState, PodStorage, SpawnerFacts, SpawnerUsage, StorageName, UnpackSpec, Usage,
};
use crate::wire::{
    Answer, FILES_SINCE, MEASURES_SINCE, OLDEST, Request, STORAGE_SINCE, TERMINALS_SINCE, USERS_SINCE, VERSION,
};
use connection::{Answered, Connection, Handle};

pub use crate::wire::{Event, Refusal, RefusalCode};
pub use error::SandboxError;
pub use talk::{Attachment, ExecHandle, ExecIo, Terminal};

/// A connection to the spawner. Clones share it; it closes when the last is dropped.
#[derive(Clone, Debug)]
pub struct Sandbox {
    connection: Arc<Handle>,
    facts: Arc<SpawnerFacts>,
}

/// What the spawner tells without being asked.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` once the connection has ended, which means that the spawner has.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// A pod's sockets. Whoever holds one of them keeps the pod's network alive: close all when it is removed.
#[derive(Debug)]
pub struct PodHandle {
    /// The pod as it is.
    pub state: PodState,
    /// Its listening sockets, in the order of [`PodState::listeners`]; non-blocking.
    pub listeners: Vec<OwnedFd>,
    /// Answers which of its ports listen, see [`listening`](crate::listening). A pod whose address is the instance's has none.
    pub diag: Option<OwnedFd>,
    /// Unconnected TCP sockets of its network; non-blocking.
    pub sockets: Vec<OwnedFd>,
}

/// Listening sockets.
#[derive(Debug)]
pub struct Listening {
    /// As asked for, with the port that was bound.
    pub spec: ListenSpec,
    /// The sockets; non-blocking.
    pub sockets: Vec<OwnedFd>,
}

impl Sandbox {
    /// Connects to the spawner that listens at `socket`, and agrees on a protocol version.
    ///
    /// # Errors
    /// No spawner listens there, it turns this process away, or the two have no version in common.
    pub async fn connect(socket: &Path, tasks: &Tasks, clock: Clock) -> Result<(Self, Events), SandboxError> {
        let (connection, events) = Connection::open(socket, tasks, clock).await?;
        let answered = connection.ask(Request::Hello { oldest: OLDEST, newest: VERSION }).await?;
        let Answer::Hello(facts) = answered.answer else { return Err(SandboxError::Unexpected) };
        Ok((Self { connection: Arc::new(connection), facts: Arc::from(facts) }, Events(events)))
    }

    /// What the spawner said of itself when this connection was made.
    pub fn facts(&self) -> &SpawnerFacts {
        &self.facts
    }

    /// Every pod with its containers, ended ones too: what a new client adopts.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn pods(&self) -> Result<Vec<PodState>, SandboxError> {
        match self.ask(Request::Pods).await?.answer {
            Answer::Pods(pods) => Ok(pods),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// The sockets of a pod that an earlier client made, and `sockets` unconnected ones.
    ///
    /// # Errors
    /// [`RefusalCode::NotFound`], or the connection is broken.
    pub async fn adopt_pod(&self, pod: &PodId, sockets: u16) -> Result<PodHandle, SandboxError> {
        pod_handle(self.ask(Request::AdoptPod { pod: pod.clone(), sockets }).await?)
    }

    /// Makes a pod: its namespaces, address, sockets and volumes.
    ///
    /// # Errors
    /// Refused, or its sockets could not be taken, with nothing left of it; or the connection is broken.
    pub async fn create_pod(&self, spec: &PodSpec) -> Result<PodHandle, SandboxError> {
        if spec.has_own_users {
            self.require(USERS_SINCE, "gives no pod users of its own")?;
        }
        match self.ask(Request::CreatePod(Box::new(spec.clone()))).await {
            Err(SandboxError::NoRoom) => {
                // It was made, and is of no use.
                self.remove_pod(&spec.id).await?;
                Err(SandboxError::NoRoom)
            }
            answered => pod_handle(answered?),
        }
    }

    /// Makes files of a pod, or changes them: who looks sees the old ones or the new. Nothing happens if they are the same.
    ///
    /// # Errors
    /// Refused, with the old ones in place; [`RefusalCode::Version`] by a spawner that an earlier version of this program has started. Or the
    /// connection is broken.
    pub async fn write_files(&self, files: PodFiles) -> Result<(), SandboxError> {
        self.require(FILES_SINCE, "keeps no files")?;
        self.done(Request::WriteFiles(Box::new(files))).await
    }

    /// Lets containers of a pod mount a storage, which is made if it is not there. Nothing happens if the pod has it.
    ///
    /// # Errors
    /// Refused; [`RefusalCode::Version`] by a spawner that an earlier version of this program has started. Or the connection is broken.
    pub async fn use_storage(&self, wanted: PodStorage) -> Result<(), SandboxError> {
        self.require(STORAGE_SINCE, "keeps no storage")?;
        self.done(Request::UseStorage(Box::new(wanted))).await
    }

    /// Removes a storage with everything in it. One that is not there is fine.
    ///
    /// # Errors
    /// [`RefusalCode::Busy`] while a pod has it; as [`Sandbox::use_storage`].
    pub async fn remove_storage(&self, storage: &StorageName) -> Result<(), SandboxError> {
        self.require(STORAGE_SINCE, "keeps no storage")?;
        self.done(Request::RemoveStorage { storage: storage.clone() }).await
    }

    /// Further unconnected TCP sockets of a pod's network. To be asked for in batches, ahead of need.
    ///
    /// # Errors
    /// [`RefusalCode::NotFound`], or the connection is broken.
    pub async fn sockets(&self, pod: &PodId, count: u16) -> Result<Vec<OwnedFd>, SandboxError> {
        let answered = self.ask(Request::Sockets { pod: pod.clone(), count }).await?;
        match answered.answer {
            Answer::Sockets { .. } => Ok(answered.descriptors),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// Kills what still runs in a pod and removes it, its exited containers and its volumes. Returns when its name is free.
    ///
    /// The caller closes the pod's sockets.
    ///
    /// # Errors
    /// [`RefusalCode::NotFound`], or the connection is broken.
    pub async fn remove_pod(&self, pod: &PodId) -> Result<(), SandboxError> {
        self.done(Request::RemovePod { pod: pod.clone() }).await
    }

    /// Opens listening sockets, or returns the ones that exist under this name with this address.
    ///
    /// # Errors
    /// [`RefusalCode::Exists`] if the name or the address is taken; or the connection is broken.
    pub async fn listen(&self, spec: &ListenSpec) -> Result<Listening, SandboxError> {
        let answered = self.ask(Request::Listen(Box::new(spec.clone()))).await?;
        match answered.answer {
            Answer::Listening(spec) => Ok(Listening { spec: *spec, sockets: answered.descriptors }),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// Every listener, as it was bound.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn listeners(&self) -> Result<Vec<ListenSpec>, SandboxError> {
        match self.ask(Request::Listeners).await?.answer {
            Answer::Listeners(listeners) => Ok(listeners),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// Has the spawner let go of a listener. The address is free once the caller has closed its sockets too.
    ///
    /// # Errors
    /// [`RefusalCode::NotFound`], or the connection is broken.
    pub async fn unlisten(&self, name: &ListenerName) -> Result<(), SandboxError> {
        self.done(Request::Unlisten { name: name.clone() }).await
    }

    /// Starts a container and returns when its program runs.
    ///
    /// # Errors
    /// Refused, with nothing left of it but what is in its log; the code tells a missing or unsuitable program or user apart. Or the
    /// connection is broken.
    pub async fn start_container(&self, spec: &ContainerSpec) -> Result<ContainerState, SandboxError> {
        if spec.is_interactive() {
            self.require(TERMINALS_SINCE, talk::LACK)?;
        }
        match self.ask(Request::StartContainer(Box::new(spec.clone()))).await?.answer {
            Answer::Started(state) => Ok(*state),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// Forgets a container that has ended. Its log stays.
    ///
    /// # Errors
    /// [`RefusalCode::Busy`] while it runs, [`RefusalCode::NotFound`]; or the connection is broken.
    pub async fn remove_container(&self, container: &ContainerId) -> Result<(), SandboxError> {
        self.done(Request::RemoveContainer { container: container.clone() }).await
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// [`RefusalCode::Busy`] if it has ended, [`RefusalCode::NotFound`]; or the connection is broken.
    pub async fn signal(&self, container: &ContainerId, signal: i32) -> Result<(), SandboxError> {
        self.done(Request::Signal { container: container.clone(), signal }).await
    }

    /// Kills every process of a container. Its end is told as an event.
    ///
    /// # Errors
    /// [`RefusalCode::NotFound`], or the connection is broken.
    pub async fn kill(&self, container: &ContainerId) -> Result<(), SandboxError> {
        self.done(Request::Kill { container: container.clone() }).await
    }

    /// Sends a signal to a program started by [`exec`](Self::exec).
    ///
    /// # Errors
    /// [`RefusalCode::NotFound`] if it has ended; or the connection is broken.
    pub async fn signal_exec(&self, exec: &ExecId, signal: i32) -> Result<(), SandboxError> {
        self.done(Request::SignalExec { exec: exec.clone(), signal }).await
    }

    /// What the named containers use, or all if none is named, as far as they live; and what the spawner uses.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn usage(
        &self,
        containers: &[ContainerId],
    ) -> Result<(Vec<(ContainerId, Usage)>, SpawnerUsage), SandboxError> {
        match self.ask(Request::Usage { containers: containers.to_vec() }).await?.answer {
            Answer::Usage { containers, spawner } => Ok((containers, spawner)),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// What a pod takes of the disk now. It may take many seconds to count.
    ///
    /// # Errors
    /// [`RefusalCode::NotFound`], [`RefusalCode::Busy`] if too many ask at once; [`RefusalCode::Version`] by a spawner that an earlier version of
    /// this program has started. Or the connection is broken.
    pub async fn disk_usage(&self, pod: &PodId) -> Result<DiskUsage, SandboxError> {
        self.require(MEASURES_SINCE, "measures nothing")?;
        match self.ask(Request::MeasurePod { pod: pod.clone() }).await?.answer {
            Answer::DiskUsage(usage) => Ok(usage),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// Every unpacked layer.
    ///
    /// # Errors
    /// The layers cannot be listed, or the connection is broken.
    pub async fn layers(&self) -> Result<Vec<LayerName>, SandboxError> {
        match self.ask(Request::Layers).await?.answer {
            Answer::Layers(layers) => Ok(layers),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// Unpacks a layer, unless it is there; returns when it is on disk for good. Several who ask for the same layer share the work.
    ///
    /// # Errors
    /// What is wrong with the blob, as a refusal; or the connection is broken.
    pub async fn unpack(&self, spec: &UnpackSpec) -> Result<(), SandboxError> {
        self.done(Request::Unpack(Box::new(spec.clone()))).await
    }

    /// Removes a layer that no living container uses.
    ///
    /// # Errors
    /// [`RefusalCode::Busy`], [`RefusalCode::NotFound`]; or the connection is broken.
    pub async fn remove_layer(&self, layer: &LayerName) -> Result<(), SandboxError> {
        self.done(Request::RemoveLayer { layer: layer.clone() }).await
    }

    /// Removes a log with its older files, or a directory of logs, by its path relative to the logs directory. What is not there is fine.
    ///
    /// # Errors
    /// [`RefusalCode::Busy`] while a container writes there; or the connection is broken.
    pub async fn remove_logs(&self, path: &Path) -> Result<(), SandboxError> {
        self.done(Request::RemoveLogs { path: path.to_owned() }).await
    }

    /// Ends everything: containers are asked to end, killed after `grace`; then pods, network, cgroups and the spawner itself go. Returns
    /// when nothing is left but the spawner's last instructions.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn down(&self, grace: Duration) -> Result<(), SandboxError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.done(Request::Down { grace_ms }).await
    }

    /// Waits until the spawner has ended, or has ended the connection: nothing can be asked any more.
    pub async fn gone(&self) {
        self.connection.ended().await;
    }

    /// Refuses what a spawner of an earlier version would not understand.
    fn require(&self, since: u32, lack: &str) -> Result<(), SandboxError> {
        if self.facts.protocol >= since {
            return Ok(());
        }
        let message =
            format!("the spawner is of an earlier version and {lack}; end it with \"kwick down\" and start again");
        Err(Refusal::new(RefusalCode::Version, message).into())
    }

    async fn done(&self, request: Request) -> Result<(), SandboxError> {
        match self.ask(request).await?.answer {
            Answer::Done => Ok(()),
            _ => Err(SandboxError::Unexpected),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answered, SandboxError> {
        self.connection.ask(request).await
    }
}

fn pod_handle(answered: Answered) -> Result<PodHandle, SandboxError> {
    let Answer::Pod { state, has_diag, sockets } = answered.answer else { return Err(SandboxError::Unexpected) };
    let expected = state.listeners.len() + usize::from(has_diag) + usize::from(sockets);
    if answered.descriptors.len() != expected {
        return Err(SandboxError::Unexpected);
    }
    let mut descriptors = answered.descriptors.into_iter();
    let listeners = descriptors.by_ref().take(state.listeners.len()).collect();
    let diag = if has_diag { descriptors.next() } else { None };
    Ok(PodHandle { state: *state, listeners, diag, sockets: descriptors.collect() })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::os::fd::AsFd;

    use base_rt::{Shutdown, Timestamp};
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

    use super::*;
    use crate::spec::{InstanceId, VolumeName};
    use crate::wire::packet::{Packet, receive};
    use crate::wire::{FromSpawner, ToSpawner};

    /// A spawner of the oldest version, for one greeting.
    fn greet_as_oldest(door: &OwnedFd) {
        let socket = rustix::net::accept(door).unwrap();
        rustix::event::poll(&mut [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)], None).unwrap();
        let hello = receive::<ToSpawner>(socket.as_fd()).unwrap().unwrap().message;
        let facts = SpawnerFacts {
            protocol: OLDEST,
            instance: InstanceId::try_new("old").unwrap(),
            pid: 1,
            started_at: Timestamp::UNIX_EPOCH,
            network: None,
            notices: Vec::new(),
            is_ending: false,
        };
        let answer = FromSpawner::Answer { id: hello.id, outcome: Ok(Answer::Hello(Box::new(facts))) };
        Packet::encode(&answer, Vec::new()).unwrap().send(socket.as_fd()).unwrap();
        // Its next message would be the end of the connection.
        rustix::event::poll(&mut [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)], None).unwrap();
        assert!(
            receive::<ToSpawner>(socket.as_fd()).unwrap().is_none(),
            "it is asked for nothing that it does not know"
        );
    }

    #[tokio::test]
    async fn an_old_spawner_is_not_asked_for_what_it_does_not_know() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let door = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::bind(&door, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&door, 1).unwrap();
        let spawner = std::thread::spawn(move || greet_as_oldest(&door));
        let (handle, shutdown) = Shutdown::new();
        let (sandbox, _events) = Sandbox::connect(&path, &Tasks::new(shutdown), Clock::system()).await.unwrap();
        let files = PodFiles {
            pod: PodId::try_new("pod").unwrap(),
            name: VolumeName::try_new("v").unwrap(),
            group: None,
            files: BTreeMap::new(),
            mount_points: BTreeSet::new(),
        };
        assert_eq!(sandbox.write_files(files).await.unwrap_err().refusal(), Some(RefusalCode::Version));
        drop((sandbox, handle));
        tokio::task::spawn_blocking(|| spawner.join().unwrap()).await.unwrap();
    }
}
