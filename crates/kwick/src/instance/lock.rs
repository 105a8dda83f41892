//! The lock of a data directory: held by the running Kwick for as long as it lives, whatever ends it.
//!
//! It is a `flock` on `DIR/lock`, kept over `exec` by leaving its descriptor open, and released by the kernel. The file holds the pid.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::data_dir::DataDir;

/// The held lock. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Lock(Flock<File>);

/// Who has a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A running Kwick with this pid.
    Process(i32),
    /// Nobody.
    Nobody,
}

impl Lock {
    /// Takes the lock, or tells which process has it.
    pub(crate) fn take(dir: &DataDir) -> Result<std::result::Result<Self, i32>> {
        let path = dir.join("lock");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Ok(Self(lock))),
            Err((file, Errno::EWOULDBLOCK)) => Ok(Err(read_pid(file))),
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Writes the pid of the process that will hold the lock.
    pub(crate) fn set_holder(&mut self, pid: u32) -> Result<()> {
        let attempt = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(pid.to_string().as_bytes())
        };
        attempt(&mut self.0).context("cannot write the pid into the lock file")
    }
}

/// The descriptor that holds it; a program that inherits it does.
impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Who has the directory now. Takes nothing; an absent lock file is nobody's.
pub(crate) fn holder(dir: &DataDir) -> Result<Holder> {
    let path = dir.join("lock");
    let Ok(file) = File::open(&path) else { return Ok(Holder::Nobody) };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(Holder::Nobody),
        Err((file, Errno::EWOULDBLOCK)) => Ok(Holder::Process(read_pid(file))),
        Err((_, error)) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// The pid in the file; 0 when its holder has not written it yet.
fn read_pid(mut file: File) -> i32 {
    let mut text = String::new();
    if file.rewind().is_err() || file.read_to_string(&mut text).is_err() {
        return 0;
    }
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_the_first_ones_pid() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        assert_eq!(holder(&dir).unwrap(), Holder::Nobody);
        let mut lock = Lock::take(&dir).unwrap().unwrap();
        lock.set_holder(4711).unwrap();
        assert_eq!(Lock::take(&dir).unwrap().unwrap_err(), 4711);
        assert_eq!(holder(&dir).unwrap(), Holder::Process(4711));
        drop(lock);
        assert_eq!(holder(&dir).unwrap(), Holder::Nobody);
    }
}
