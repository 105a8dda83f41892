//! Waiting until a program listens, without disturbing it and without a lost packet.
//!
//! The kernel is asked which sockets of the pod listen ([`PodHandle::diag`](crate::PodHandle::diag)): 3 µs a question, no privilege, and
//! nothing the program could see. It is asked every 0.5 ms at first, because a start takes few milliseconds, then less and less often.
//! A connection follows only when somebody listens; tried over a link that is a moment old, its first packet could be lost for a second.

use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::netlink::diag::is_listening;

const EAGER_EVERY: Duration = Duration::from_micros(500);
const EAGER_FOR: Duration = Duration::from_millis(50);
const EVERY_MAX: Duration = Duration::from_millis(10);

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("asking which sockets of a pod listen")]
pub struct DiagError(#[source] std::io::Error);

/// Whether a TCP socket listens for connections to `address` in the network that `diag` belongs to.
///
/// # Errors
/// The kernel refuses to say.
pub fn listens(diag: BorrowedFd<'_>, address: SocketAddrV4) -> Result<bool, DiagError> {
    is_listening(diag, address).map_err(|error| DiagError(error.into()))
}

/// Returns when a TCP socket listens for connections to `address`. Never, if none ever does: the caller sets the bound.
///
/// One caller at a time may use a `diag` socket.
///
/// # Errors
/// The kernel refuses to say.
pub async fn wait(diag: BorrowedFd<'_>, address: SocketAddrV4) -> Result<(), DiagError> {
    let since = Instant::now();
    let mut every = EAGER_EVERY;
    while !listens(diag, address)? {
        sleep(every).await;
        if since.elapsed() > EAGER_FOR {
            every = every.mul_f32(1.5).min(EVERY_MAX);
        }
    }
    Ok(())
}
