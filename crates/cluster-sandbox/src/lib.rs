//! Linux containers: a small root process that makes and keeps them, and the client through which an unprivileged program uses it.
//!
//! ```text
//!  client (unprivileged, async)             spawner (root, one thread)                    containers
//!  Sandbox ── requests, answers, events ──▶ pods, listeners, logs, exit codes ── clone3 ▶ overlay, namespaces, cgroups
//!          ◀── sockets (SCM_RIGHTS) ─────── the instance's network
//! ```
//! **What this crate knows**: namespaces, cgroups of both versions, overlayfs, netlink, seccomp; how to start an image's program so that
//! it can neither leave its container nor hurt the one who started it; how all that outlives the client and is taken back by the next one,
//! or leaves nothing. **What it must not know**: Kubernetes, HTTP, objects, what a container is for. Its words are plain data ([`spec`]).
//!
//! `unsafe` is only in `sys`, one system call per function.
//!
//! # Where to start
//! - The program's `main`: first thing, `if spawner::is_spawner(args) { return spawner::run(args) }`.
//! - As root: [`launch::start`] (or [`launch::become_spawner`] as the first process of a container) with a [`SpawnerConfig`];
//!   [`preflight::check`] says before what the machine lacks.
//! - Unprivileged (see [`privileges::exec_as`]): [`Sandbox::connect`], [`Sandbox::pods`] and [`Sandbox::adopt_pod`] for what is there,
//!   [`Sandbox::create_pod`], [`Sandbox::write_files`], [`Sandbox::unpack`], [`Sandbox::start_container`], [`Events::next`],
//!   [`listening::wait`].
//! - The end: [`Sandbox::down`]. If the spawner itself was killed: [`cleanup::leftovers`] (which `launch::start` calls as well).
//!
//! # Promises
//! - The client may be killed at any time: containers go on, their logs are contiguous, connections wait in listeners' queues. The next
//!   client gets everything back. If none comes for [`SpawnerConfig::orphan_wait_ms`], everything ends.
//! - Containers end with the spawner, whatever ends it.
//! - A refused request leaves nothing behind.
//! - An event that cannot be delivered is told as [`Event::Missed`]; states are always whole.
//! - Layers named in a [`spec::ContainerSpec`] are directories `LAYERS_DIR/<name>/fs`, as `base_image::unpack` makes them.
//!
//! # What it does not do
//! AppArmor and SELinux labels, IPv6 between pods, 32-bit programs under the default system call filter. Root in a container is the machine's
//! root without most capabilities, unless its pod has users of its own ([`spec::PodSpec::has_own_users`]).

mod cgroup;
pub mod cleanup;
mod client;
mod container;
mod disk_usage;
pub mod launch;
pub mod listening;
mod netlink;
mod network;
mod ownership;
pub mod preflight;
pub mod privileges;
mod removal;
pub mod spawner;
pub mod spec;
#[expect(unsafe_code, reason = "the one module that may: one system call per function, each with its SAFETY text")]
mod sys;
mod walk;
mod wire;

pub use client::{
    Attachment, Event, Events, ExecHandle, ExecIo, Listening, PodHandle, Refusal, RefusalCode, Sandbox, SandboxError,
    Terminal,
};
pub use spawner::{ChildCommand, NetworkConfig, Owner, SpawnerConfig};
pub use sys::text::release_text;
