//! What every process of Kwick stands on: named tasks, shutdown phases, the clock, metrics and tracing.
//!
//! What this crate knows: tokio, time, and how a process of ours starts tasks and ends.
//! **What it must not know**: HTTP, Kubernetes, Knative, containers.
//! Where to start: [`Tasks`] (the only way to spawn), then [`Shutdown`] (how everything ends), then [`Clock`].

pub mod backoff;
mod clock;
pub mod metrics;
mod shutdown;
mod tasks;
pub mod trace;
pub mod watch;

pub use clock::Clock;
pub use jiff::Timestamp;
pub use shutdown::{Phase, Shutdown, ShutdownHandle};
pub use tasks::{TaskError, TaskFailure, Tasks};

/// Renders an error with its whole chain of causes, once, for the edge of the process: `a: b: c`.
///
/// Library errors never repeat their source in their own message, so joining them says each thing once.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
