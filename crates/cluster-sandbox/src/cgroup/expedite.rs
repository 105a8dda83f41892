//! Why entering a version 1 cgroup takes 0.1 ms here and 10 ms elsewhere.
//!
//! Moving a process between cgroups takes a kernel-wide reader-writer lock for writing. Taken after a quiet moment, the kernel first waits
//! one RCU grace period, some 10 ms on an idle machine, and a cold start always comes after a quiet moment. `/sys/kernel/rcu_expedited`
//! makes the kernel end such waits at once, at the price of interrupting the other processors; it is switched on for the length of the
//! move and restored after it. A lock on the file itself keeps instances from taking each other's 1 for the machine's setting. Everybody can
//! open the file, and so hold its lock: it is waited for no longer than it could save.
//!
//! Where the file cannot be written, or the machine prefers normal grace periods (`rcu_normal`), moving simply takes its 10 ms.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::thread::{Timespec, nanosleep};

const SWITCH: &str = "/sys/kernel/rcu_expedited";
/// How often, and how many times, the lock is tried.
const TRY_EVERY_USEC: i64 = 200;
const TRIES: u32 = 50;

/// While it lives, waits for other processors are short.
#[derive(Debug)]
pub(crate) struct Expedited {
    file: File,
}

impl Expedited {
    /// Switches on, if that is possible and not so already.
    pub(crate) fn begin() -> Option<Self> {
        let file = open().ok()?;
        lock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        // The administrator's own 1 stays.
        let is_off = value(&file).is_ok_and(|value| value == b'0');
        (is_off && file.write_all_at(b"1\n", 0).is_ok()).then_some(Self { file })
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        if let Err(error) = self.file.write_all_at(b"0\n", 0) {
            tracing::warn!(%error, "expedited grace periods could not be switched off again");
        }
    }
}

/// Restores the machine's setting if the process that switched it died before it could.
pub(crate) fn restore(machines_own: Option<bool>) {
    let Ok(file) = open() else { return };
    let is_ours = lock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && machines_own == Some(false);
    if is_ours && value(&file).is_ok_and(|value| value == b'1') && file.write_all_at(b"0\n", 0).is_ok() {
        tracing::info!("expedited grace periods were left switched on; switched off");
    }
}

/// The machine's own setting, to be asked for while nobody expedites.
pub(crate) fn setting() -> Option<bool> {
    let file = open().ok()?;
    lock(&file, FlockOperation::NonBlockingLockShared).ok()?;
    value(&file).ok().map(|value| value != b'0')
}

/// Whether moves are quick on this machine.
pub(crate) fn is_possible() -> bool {
    let prefers_normal = fs::read_to_string("/sys/kernel/rcu_normal").is_ok_and(|value| value.trim() != "0");
    open().is_ok() && !prefers_normal
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(SWITCH)
}

fn lock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    let mut tries = 1;
    loop {
        match flock(file, operation) {
            Err(Errno::WOULDBLOCK) if tries < TRIES => {
                tries += 1;
                // Woken early, it only tries once more.
                let _ = nanosleep(&Timespec { tv_sec: 0, tv_nsec: TRY_EVERY_USEC * 1000 });
            }
            outcome => return outcome,
        }
    }
}

fn value(file: &File) -> io::Result<u8> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0)?;
    Ok(byte[0])
}
