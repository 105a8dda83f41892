//! The lock of a data directory: held by the running Kwick for as long as it lives, whatever ends it.
//!
//! It is a `flock` on `DIR/lock`, which root alone may open, kept over `exec` by leaving its descriptor open, and released by the kernel.
//! Who holds it stands in `DIR/pid`, for everybody to read: the process and when it began. The two together are never used again, so a
//! file that outlived its process names nobody.

use std::fs::{File, OpenOptions, Permissions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::data_dir::{DataDir, write_durably};

/// The held lock. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Lock(Flock<File>);

/// Somebody else has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A running Kwick with this process id.
    Kwick(i32),
    /// A command that prepares or ends one.
    Command,
}

impl Lock {
    /// Takes the lock, or tells who has it.
    pub(crate) fn take(dir: &DataDir) -> Result<std::result::Result<Self, Holder>> {
        let path = dir.join("lock");
        let attempt = || -> std::io::Result<File> {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok(file)
        };
        let file = attempt().with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Ok(Self(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(Err(running(dir).map_or(Holder::Command, Holder::Kwick))),
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Says that this process, which holds the lock, is the instance's Kwick from now on.
    pub(crate) fn announce(&self, dir: &DataDir) -> Result<()> {
        let pid = std::process::id();
        let begun = begun(pid).context("cannot tell when this process began")?;
        write_durably(&dir.join("pid"), format!("{pid} {begun}\n").as_bytes(), 0o644)
    }
}

/// The descriptor that holds it; a program that inherits it does.
impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The process id of the instance's Kwick, if it runs. Anybody may ask.
pub(crate) fn running(dir: &DataDir) -> Option<i32> {
    let text = std::fs::read_to_string(dir.join("pid")).ok()?;
    let (pid, since) = text.trim().split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    (begun(pid)? == since.parse::<u64>().ok()?).then(|| i32::try_from(pid).ok())?
}

/// When a process that has not ended began, in clock ticks since the machine's start.
fn begun(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state and the numbers stand behind the name, which is in parentheses and may contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let is_over = matches!(fields.next()?, "Z" | "X");
    (!is_over).then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        assert_eq!(running(&dir), None);
        let lock = Lock::take(&dir).unwrap().unwrap();
        assert_eq!(Lock::take(&dir).unwrap().unwrap_err(), Holder::Command);
        lock.announce(&dir).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Lock::take(&dir).unwrap().unwrap_err(), Holder::Kwick(pid));
        assert_eq!(running(&dir), Some(pid));
        drop(lock);
        assert!(Lock::take(&dir).unwrap().is_ok());
    }

    #[test]
    fn a_process_id_that_is_used_again_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        let pid = std::process::id();
        let later = begun(pid).unwrap() + 1;
        let ended = std::process::Command::new("true").spawn().map(|mut child| (child.id(), child.wait())).unwrap().0;
        for text in [format!("{pid} {later}"), format!("{pid}"), format!("{ended} 1"), "x".to_owned(), String::new()] {
            std::fs::write(dir.join("pid"), &text).unwrap();
            assert_eq!(running(&dir), None, "{text:?}");
        }
    }
}
