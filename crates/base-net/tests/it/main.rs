//! Servers, pools, TLS, probes over real sockets on loopback.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail the test")]

mod plane;
mod pool;
mod probe;
mod rig;
mod serve;
mod tls;
mod upgrade;
