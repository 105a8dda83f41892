//! Leaving namespaces for new ones.

use std::io;

use rustix::thread::UnshareFlags;

/// Puts this thread into new namespaces of the given kinds (or, with `FS`, gives it a working directory of its own).
///
/// `flags` never takes the descriptors away from other threads: `FILES` is left out.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: the call is dangerous only with FILES, which was taken out.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}
