//! The root process: parent and reaper of all containers, holder of listeners, writer of logs. It outlives the client.
//!
//! It is the same executable as its client, re-executed: [`run`] is called first thing in `main`, before any thread or runtime exists,
//! when [`is_spawner`] says so. One thread, one event loop ([`server`]), no async runtime: it forks all the time, and only a small
//! single-threaded process does that in a tenth of a millisecond and without surprises.
//!
//! Two stages. The first one is a child of whoever starts the spawner: it takes the configuration from standard input, leaves session,
//! cgroups and parents behind, and executes the second one from a read-only view of the executable, so that no container can ever write
//! to it through `/proc/PID/exe`. The second one prepares the machine, says on standard output that it is ready (or why not), and serves.

mod answers;
mod clients;
mod config;
mod containers;
mod ending;
mod execs;
mod files;
mod jobs;
mod listeners;
mod logs;
pub(crate) mod machine;
mod measuring;
mod output;
mod peer;
mod pods;
mod poll;
mod pool;
mod server;
mod stages;
mod stdio;
mod storage;
mod talk;

pub use config::{ChildCommand, NetworkConfig, Owner, SpawnerConfig};
pub(crate) use stages::{SECOND_STAGE_AS_FIRST_PROCESS, SPAWNER_ARGUMENT, Started, lock_instance, second_stage};
pub use stages::{is_spawner, run};
