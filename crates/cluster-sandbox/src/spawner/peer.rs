//! Who may talk to the spawner: root, and the one process that is the client of the moment.
//!
//! A user id alone says little, since a container may have any. The client is therefore also the process that holds the data directory's
//! lock, or the one that the spawner itself started.

use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Pid;

use super::config::SpawnerConfig;

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The unprivileged client: it gets events, and its absence is noticed.
    Owner,
    /// A command run by root.
    Root,
}

/// Decides about the process at the other end of `socket`.
///
/// # Errors
/// Why it is turned away.
pub(super) fn admit(socket: BorrowedFd<'_>, config: &SpawnerConfig, child: Option<Pid>) -> Result<Peer, String> {
    let peer = rustix::net::sockopt::socket_peercred(socket).map_err(|error| error.to_string())?;
    let (uid, pid) = (peer.uid.as_raw(), peer.pid);
    if uid != config.owner.uid {
        return if uid == 0 { Ok(Peer::Root) } else { Err(format!("user {uid} is not the owner")) };
    }
    let Some(lock) = &config.lock_file else { return Ok(Peer::Owner) };
    if child == Some(pid) || is_locked_by(lock, pid) {
        return Ok(Peer::Owner);
    }
    // Root may be the owner too, in tests and simple set-ups; it needs no lock to be root.
    if uid == 0 { Ok(Peer::Root) } else { Err(format!("process {pid} does not hold {}", lock.display())) }
}

/// The lock is among the first descriptors of its holder, which takes it before it does anything else.
const DESCRIPTORS_MAX: usize = 256;

/// Whether `pid` has a file open by which an exclusive `flock` is held on it.
///
/// `/proc/locks` would say it in one place, but names files by numbers that `stat` does not know on some file systems (btrfs, overlayfs).
fn is_locked_by(file: &Path, pid: Pid) -> bool {
    let Ok(wanted) = fs::metadata(file) else { return false };
    let process = Path::new("/proc").join(pid.as_raw_pid().to_string());
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().take(DESCRIPTORS_MAX).any(|descriptor| {
        let is_it = fs::metadata(descriptor.path())
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()));
        is_it && {
            let facts = process.join("fdinfo").join(descriptor.file_name());
            fs::read_to_string(facts).is_ok_and(|facts| facts.lines().any(is_lock))
        }
    })
}

/// A line such as `lock: 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`.
fn is_lock(line: &str) -> bool {
    let mut fields = line.split_whitespace();
    fields.next() == Some("lock:") && fields.nth(1) == Some("FLOCK") && fields.nth(1) == Some("WRITE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FlockOperation, flock};

    #[test]
    fn a_lock_names_its_holder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = rustix::process::getpid();
        assert!(!is_locked_by(file.path(), own));
        flock(file.as_file(), FlockOperation::LockShared).unwrap();
        assert!(!is_locked_by(file.path(), own), "a shared lock is nobody's");
        flock(file.as_file(), FlockOperation::LockExclusive).unwrap();
        assert!(is_locked_by(file.path(), own));
        assert!(!is_locked_by(file.path(), Pid::INIT));
        assert!(!is_locked_by(Path::new("/proc/version"), own));
    }
}
