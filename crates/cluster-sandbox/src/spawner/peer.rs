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

/// Whether `pid` holds an exclusive `flock` on a file.
fn is_locked_by(file: &Path, pid: Pid) -> bool {
    let Ok(metadata) = fs::metadata(file) else { return false };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| is_lock(line, pid.as_raw_pid(), metadata.dev(), metadata.ino()))
}

/// A line such as `3: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`.
fn is_lock(line: &str, pid: i32, device: u64, inode: u64) -> bool {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", holder, file, ..] = fields.as_slice() else { return false };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    *holder == pid.to_string() && *file == format!("{major:02x}:{minor:02x}:{inode}")
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
