//! What tests share: a real API server in process, a cluster's controllers, a node that only pretends, and waiting for a level.
//!
//! - [`Api`]: the API server over a journal in memory, with a clock that follows tokio's time. No port, no process.
//! - [`Cluster`]: the same with the controllers of `cluster-workloads`, each acting as its own account under its own rules, and a [`FakeNode`].
//! - [`eventually`]: waits for a condition in (paused) time. Tests never sleep for a fixed time.
//! - [`Load`]: what the node's Pods are measured to use.
//! - [`Timeline`]: every version of the objects of a kind, as a watcher saw them.
//!
//! Everything draws from one seed: under `#[tokio::test(start_paused = true)]` a test takes the same way each time.
//!
//! What this crate knows: both houses. What it must not know: what a test is about.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::disallowed_methods, reason = "tests play users and nodes, who write objects directly")]

mod api;
mod cluster;
mod eventually;
mod fake_node;
mod load;
pub mod objects;
mod timeline;

pub use api::Api;
pub use cluster::{CA_BUNDLE, Cluster};
pub use eventually::{eventually, eventually_every};
pub use fake_node::{FakeNode, FakeNodeConfig, Life};
pub use load::Load;
pub use timeline::Timeline;
