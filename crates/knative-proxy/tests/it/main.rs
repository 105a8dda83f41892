//! The request path over real sockets on loopback: gateway, activator and queue-proxy, each alone, in one process, and cut.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]

mod activator;
mod gateway;
mod queue;
mod rig;
mod stack;
