//! What the spawner and its client say to each other: one JSON object per message of a `SOCK_SEQPACKET` socket, descriptors beside it.
//!
//! ```text
//! client                              spawner
//!   │ Request{id 1, Hello}  ──────────▶ │  peer's uid and pid are checked before it is read
//!   │ ◀────────── Answer{id 1, Facts}   │
//!   │ Request{id 2, CreatePod}  ──────▶ │  requests may be sent without waiting; answers may come in another order
//!   │ ◀──── Answer{id 2, Pod} + fds     │
//!   │ ◀──── Event(ContainerExited)      │  at any time after Hello
//! ```
//! A message that does not fit into a packet lies in a memory file whose descriptor comes first ([`packet`]).
//!
//! Versions: [`VERSION`] is what this code speaks best, [`OLDEST`] what it still understands. A spawner outlives the program that started
//! it, so it meets newer clients: they keep speaking the previous version. Unknown requests are refused by name, unknown fields ignored.

pub(crate) mod packet;

use std::path::PathBuf;

use base_rt::Timestamp;
use serde::{Deserialize, Serialize};

use crate::spec::{
    ContainerId, ContainerSpec, ContainerState, DiskUsage, ExecId, ExecSpec, Exit, LayerName, ListenSpec, ListenerName,
    PodFiles, PodId, PodSpec, PodState, PodStorage, SpawnerFacts, SpawnerUsage, StorageName, UnpackSpec, Usage,
};

/// The protocol's version that this code speaks best.
pub(crate) const VERSION: u32 = 5;
/// The oldest version that this code understands.
pub(crate) const OLDEST: u32 = 1;
/// The version since which there is [`Request::WriteFiles`].
pub(crate) const FILES_SINCE: u32 = 2;
/// The version since which there are terminals, inputs of containers and [`Request::Attach`].
pub(crate) const TERMINALS_SINCE: u32 = 3;

/// The version since which there is [`Request::UseStorage`].
pub(crate) const STORAGE_SINCE: u32 = 4;
/// The version since which there is [`Request::MeasurePod`].
pub(crate) const MEASURES_SINCE: u32 = 4;

/// The version since which pods may have users of their own.
pub(crate) const USERS_SINCE: u32 = 5;

/// A message to the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToSpawner {
    /// Chosen by the client; the answer carries it.
    pub(crate) id: u64,
    /// What is asked for.
    pub(crate) request: Request,
}

/// What a client may ask for. Each variant names its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// First of all → [`Answer::Hello`]. Carries the versions that the client speaks.
    Hello { oldest: u32, newest: u32 },
    /// → [`Answer::Pods`].
    Pods,
    /// → [`Answer::Pod`], with the descriptors of an existing pod.
    AdoptPod { pod: PodId, sockets: u16 },
    /// → [`Answer::Pod`].
    CreatePod(Box<PodSpec>),
    /// → [`Answer::Done`], once every container that mounts them sees them.
    WriteFiles(Box<PodFiles>),
    /// → [`Answer::Done`], once containers of the pod can mount it.
    UseStorage(Box<PodStorage>),
    /// → [`Answer::Done`], once nobody finds it any more. Refused while a pod has it.
    RemoveStorage { storage: StorageName },
    /// → [`Answer::Sockets`].
    Sockets { pod: PodId, count: u16 },
    /// → [`Answer::Done`], once everything of it has ended and its name is free.
    RemovePod { pod: PodId },
    /// → [`Answer::Listening`], also when they exist already.
    Listen(Box<ListenSpec>),
    /// → [`Answer::Listeners`].
    Listeners,
    /// → [`Answer::Done`].
    Unlisten { name: ListenerName },
    /// → [`Answer::Started`], once its program runs.
    StartContainer(Box<ContainerSpec>),
    /// → [`Answer::Done`]. Only an ended one can be removed.
    RemoveContainer { container: ContainerId },
    /// → [`Answer::Done`], once the signal is sent to the container's first process.
    Signal { container: ContainerId, signal: i32 },
    /// → [`Answer::Done`], once every process of the container is told to die.
    Kill { container: ContainerId },
    /// → [`Answer::Attached`].
    Attach { container: ContainerId },
    /// → [`Answer::Exec`].
    Exec(Box<ExecSpec>),
    /// → [`Answer::Done`].
    SignalExec { exec: ExecId, signal: i32 },
    /// → [`Answer::Usage`], of the named containers that exist.
    Usage { containers: Vec<ContainerId> },
    /// → [`Answer::DiskUsage`], once everything is counted or time is over.
    MeasurePod { pod: PodId },
    /// → [`Answer::Layers`].
    Layers,
    /// → [`Answer::Done`], once the layer is unpacked and safe on the disk.
    Unpack(Box<UnpackSpec>),
    /// → [`Answer::Done`]. Refused while a container uses it.
    RemoveLayer { layer: LayerName },
    /// → [`Answer::Done`], once nobody finds them any more: a log with its older files, or a directory of logs.
    RemoveLogs { path: PathBuf },
    /// → [`Answer::Done`], when nothing is left but the spawner, which then ends.
    Down { grace_ms: u64 },
}

/// A message from the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromSpawner {
    Answer { id: u64, outcome: Result<Answer, Refusal> },
    Event(Event),
}

/// The outcome of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Hello(Box<SpawnerFacts>),
    Pods(Vec<PodState>),
    /// Descriptors: the listeners in the state's order, a sock_diag socket if `has_diag`, unconnected sockets.
    Pod {
        state: Box<PodState>,
        has_diag: bool,
        sockets: u16,
    },
    /// Descriptors: the sockets.
    Sockets {
        count: u16,
    },
    /// Descriptors: the sockets. The specification has the address that was bound.
    Listening(Box<ListenSpec>),
    Listeners(Vec<ListenSpec>),
    Started(Box<ContainerState>),
    /// Descriptor: the terminal, or the writing end of standard input; none if there is neither.
    Attached {
        is_terminal: bool,
    },
    /// Descriptors: the writing end of standard input if asked for, the reading ends of standard output and error; or the terminal.
    Exec {
        pid: i32,
    },
    Usage {
        containers: Vec<(ContainerId, Usage)>,
        spawner: SpawnerUsage,
    },
    DiskUsage(DiskUsage),
    Layers(Vec<LayerName>),
    Done,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal.
    pub code: RefusalCode,
    /// What went wrong, for a person.
    pub message: String,
}

/// Kinds of refusals, as far as a client acts differently on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The request is badly written or asks for what may not be had.
    Invalid,
    /// It names something that does not exist.
    NotFound,
    /// It makes something whose name, address or port is taken.
    Exists,
    /// It cannot be done in the present state.
    Busy,
    /// The container's program does not exist in its image.
    CommandNotFound,
    /// The container's program exists and cannot be run.
    CommandNotExecutable,
    /// The container's user does not exist in its image, or may not be what it is.
    BadUser,
    /// The two sides have no protocol version in common.
    Version,
    /// The machine refused, or something broke.
    Failed,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What happened without being asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A container's program ended; its log is complete.
    ContainerExited {
        /// Its pod.
        pod: PodId,
        /// Itself.
        container: ContainerId,
        /// How it ended.
        exit: Exit,
    },
    /// A program run beside a container ended.
    ExecExited {
        /// Which.
        exec: ExecId,
        /// How it ended.
        exit: Exit,
    },
    /// A log file was full and renamed; a new one has taken its place.
    LogRotated {
        /// Whose.
        container: ContainerId,
        /// The file, absolute.
        path: PathBuf,
    },
    /// Some events could not be delivered because the client did not read them. What they told is in the pods' states.
    Missed {
        /// Since when.
        since: Timestamp,
    },
}
