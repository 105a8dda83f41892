//! One container, and one program run inside it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CapabilitySet, ContainerId, ExecId, LayerName, PodId, VolumeName};

/// A container to start: one run, which ends and is not restarted by the spawner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The pod it joins.
    pub pod: PodId,
    /// This run's name, unique in the instance.
    pub id: ContainerId,
    /// Unpacked layers, the base first.
    pub layers: Vec<LayerName>,
    /// The program and its arguments. Without a slash the program is searched in `PATH` of [`env`](Self::env).
    pub command: Vec<String>,
    /// Environment, in order; `HOME` and `PATH` are added if absent.
    pub env: Vec<(String, String)>,
    /// Where it starts; made if absent. Empty means `/`.
    pub working_dir: String,
    /// Who it runs as.
    pub user: UserSpec,
    /// What is mounted beyond the usual, in order.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub security: Security,
    /// Process limits other than the inherited ones. One above the spawner's own hard limit is lowered to it, with a notice.
    pub rlimits: Vec<Rlimit>,
    /// How willingly the kernel kills it for memory, -1000 to 1000. A negative one is left out where the machine forbids it, with a notice.
    pub oom_score_adj: Option<i16>,
    /// What its standard input is.
    #[serde(default)]
    pub input: Input,
    /// Whether input and output are one terminal, of its own `/dev/pts`.
    #[serde(default)]
    pub has_terminal: bool,
    /// Where its output goes.
    pub log: LogSpec,
    /// What asks it to end, as a signal number; used by `down`.
    pub stop_signal: i32,
    /// Whatever the client wants to find again when it adopts the container.
    pub tag: String,
}

impl ContainerSpec {
    /// A container with defaults for all but what it runs: root, no limits, the default capabilities and system call filter.
    pub fn new(pod: PodId, id: ContainerId, layers: Vec<LayerName>, command: Vec<String>) -> Self {
        let log = LogSpec::new(format!("{}.log", id.as_str()));
        Self {
            pod,
            id,
            layers,
            command,
            env: Vec::new(),
            working_dir: String::new(),
            user: UserSpec::default(),
            mounts: Vec::new(),
            limits: Limits::default(),
            security: Security::default(),
            rlimits: Vec::new(),
            oom_score_adj: None,
            input: Input::default(),
            has_terminal: false,
            log,
            stop_signal: libc::SIGTERM,
            tag: String::new(),
        }
    }
}

impl ContainerSpec {
    /// Whether somebody may talk with it while it runs.
    pub(crate) fn is_interactive(&self) -> bool {
        self.has_terminal || self.input != Input::None
    }
}

/// What a container's standard input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Empty.
    #[default]
    None,
    /// Open as long as it runs; whoever attaches may write to it.
    Kept,
    /// Written by the first who attaches, and at its end when that one closes it. A terminal has no such end.
    Once,
}

/// Who a process runs as. Names are looked up in the image's own `/etc/passwd` and `/etc/group`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    /// The image's word: empty, `name`, `uid`, `name:group`, `uid:gid`.
    pub image_user: String,
    /// Instead of the image's user.
    pub uid: Option<u32>,
    /// Instead of the primary group that follows from the user.
    pub gid: Option<u32>,
    /// Further groups.
    pub supplementary_groups: Vec<u32>,
    /// Refuse to start if the user turns out to be 0.
    pub must_not_be_root: bool,
}

/// A mount inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, absolute in the container; made if absent. Not `/`, nor below `/proc` or `/sys`.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// A relative path below the source; neither it nor a link in it leads out of the source. Directories that are not there are made, with
    /// the source's mode.
    pub sub_path: Option<String>,
    /// Whether writing is refused.
    pub is_read_only: bool,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A volume of the pod.
    Volume(VolumeName),
    /// Files of the pod, see [`PodFiles`](super::PodFiles); always read-only.
    Files(VolumeName),
    /// A directory or file that the client made below the configured volumes directory, by its path relative to that.
    Client(PathBuf),
    /// A path of the machine, below one that the spawner's configuration allows.
    Host(PathBuf),
    /// An empty file system in memory, of this container alone.
    Memory {
        /// Its bound.
        max_bytes: u64,
    },
}

/// What a container may use. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, in bytes (swap is never added to it).
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a processor.
    pub cpu_limit_millis: Option<u32>,
    /// Its share under contention, in thousandths of a processor. `None` is the smallest share.
    pub cpu_request_millis: Option<u32>,
    /// Processes and threads. `None` is 4096: without any limit, one container could take all that the machine has.
    pub pids: Option<u32>,
}

/// What a container may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// The most it can have; effective at once if it runs as root.
    pub capabilities: CapabilitySet,
    /// Which system calls it may make.
    pub seccomp: Seccomp,
    /// Whether set-user-id programs and file capabilities give it nothing.
    pub no_new_privileges: bool,
    /// Whether its root file system refuses writing.
    pub is_root_read_only: bool,
    /// Whether the kernel's delicate files under `/proc` and `/sys` are hidden or read-only, as they should be.
    pub is_proc_masked: bool,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            capabilities: CapabilitySet::container_default(),
            seccomp: Seccomp::RuntimeDefault,
            no_new_privileges: false,
            is_root_read_only: false,
            is_proc_masked: true,
        }
    }
}

/// A system call filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Seccomp {
    /// The allow list of container runtimes.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
}

/// A process limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Which.
    pub kind: RlimitKind,
    /// The limit in force.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

/// The process limits that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RlimitKind {
    /// Open descriptors.
    OpenFiles,
    /// Size of a core file.
    Core,
    /// Locked memory.
    LockedMemory,
    /// Stack.
    Stack,
}

/// Where and how a container's output is kept: lines of `TIME stdout|stderr F|P TEXT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// The file, relative to the configured log directory. Directories are made. A full one is renamed to `PATH.1`, that one to `PATH.2`.
    pub path: PathBuf,
    /// When a file is full.
    pub max_bytes: u64,
    /// How many files there may be, the one being written among them.
    pub max_files: u16,
}

impl LogSpec {
    /// 10 MiB in each of 5 files.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 10 << 20, max_files: 5 }
    }
}

/// A program to run beside a container's own, in its namespaces and under its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The container.
    pub container: ContainerId,
    /// This run's name.
    pub id: ExecId,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether the answer carries a pipe to its standard input; else that is empty.
    pub with_stdin: bool,
    /// Whether input and output are one terminal, of the container's `/dev/pts`.
    #[serde(default)]
    pub has_terminal: bool,
    /// Whether it is killed when the client that asked for it is gone.
    #[serde(default)]
    pub ends_with_client: bool,
}
