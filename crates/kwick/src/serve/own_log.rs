//! The log of a detached Kwick: standard error is a file that nobody rotates, so it is bounded here.

use std::os::fd::AsFd as _;
use std::time::Duration;

use base_rt::{Phase, Tasks};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::ftruncate;

/// A file beyond this is begun again; what it held is lost but for what each `kwick up` keeps beside it.
const MAX_BYTES: i64 = 64 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Looks at the log's size now and then.
pub(super) fn bound(tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("kwick/log", async move {
        loop {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Lame) => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => cut(MAX_BYTES),
            }
        }
    });
}

fn cut(limit: i64) {
    let error = std::io::stderr();
    let log = error.as_fd();
    let is_too_long = fstat(log).is_ok_and(|stat| {
        SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG && stat.st_size > limit
    });
    // It is opened for appending, so what follows is written at its new end.
    if is_too_long && ftruncate(log, 0).is_ok() {
        tracing::warn!(bytes = limit, "the log was begun again, because it grew beyond its bound");
    }
}
