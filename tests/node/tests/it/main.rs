//! Pods on the node, from the object in a real API server to processes at a real spawner and back. Needs root; skipped loudly without.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "these are tests"
)]

mod eviction;
mod harness;
mod hooks;
mod images;
mod lives;
mod measuring;
mod probes;
mod pulls;
mod restarts;
mod roles;
mod security;
mod sessions;
mod volumes;
