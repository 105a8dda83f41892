//! A descriptor that tokio waits for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the runtime of the caller.
///
/// # Errors
/// The runtime's poller refuses the descriptor.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is valid and stays the same descriptor until it is dropped, which `AsyncFd` does after deregistering it; only
    // shared references to it are handed out.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
