//! Simulation of the whole control plane.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod happy;
mod jobs;
mod seeds;
