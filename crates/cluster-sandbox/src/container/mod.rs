//! From a fork of the spawner to the image's own program: everything that happens inside the new process.
//!
//! ```text
//! spawner ── clone3(pid, mount namespaces; born in its v2 cgroup) ──▶ child
//!   │                                                                 │ enters v1 cgroups, the pod's namespaces, a cgroup namespace
//!   │                                                                 │ root: overlay of layers ([`root`], [`mounts`], [`devices`], [`masks`])
//!   │                                                                 │ pivot: the machine's own file system is gone
//!   │                                                                 │ the pod's users, if it has its own ([`users`])
//!   │                                                                 │ user, capabilities, filter ([`identity`], [`privileges`], [`seccomp`])
//!   │ ◀── [`report`]: refusal, or end of file when it becomes … ──────│ the program ([`program`])
//! ```
//! Rules that keep an image from using the way in: paths of an image are only followed by `openat2` inside its root ([`tree`]); mounts are
//! moved by descriptor; every descriptor closes on exec; the process is not dumpable until then; the spawner's own executable is read-only
//! to everybody (see `launch`). No mount of a container honours device nodes except the few that are put into `/dev`, which is why no
//! device cgroup is needed.

pub(crate) mod devices;
pub(crate) mod exec;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod masks;
pub(crate) mod mounts;
pub(crate) mod overlay;
pub(crate) mod privileges;
pub(crate) mod program;
pub(crate) mod report;
pub(crate) mod seccomp;
pub(crate) mod stdio;
pub(crate) mod tree;
pub(crate) mod users;

use crate::wire::{Refusal, RefusalCode};

/// What a step on the way gives: itself, or why the container does not start.
pub(crate) type Step<T> = Result<T, Refusal>;

/// Turns a system error into the refusal `WHAT: ERROR`.
pub(crate) fn failed<E: Into<std::io::Error>>(what: impl AsRef<str>) -> impl FnOnce(E) -> Refusal {
    move |error| Refusal::new(RefusalCode::Failed, format!("{}: {}", what.as_ref(), error.into()))
}
