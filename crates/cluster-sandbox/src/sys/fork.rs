//! Making a process: `clone3` without shared memory, so a `fork` that can also make namespaces and land in a cgroup.
//!
//! Invariant: only single-threaded processes call this (the spawner and what it forks). The child may then allocate, lock and open as it
//! likes, because no other thread can have held a lock at the moment of the copy.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

/// What the new process does not share with its maker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fork<'fd> {
    /// `CLONE_NEW…` flags.
    pub(crate) namespaces: i32,
    /// A directory of a cgroup v2 tree to be born in.
    pub(crate) cgroup: Option<BorrowedFd<'fd>>,
}

/// The child's exit code if its closure panicked.
pub(crate) const PANICKED: u8 = 70;

impl Fork<'_> {
    /// Runs `child` in a new process, which ends with the returned exit code; returns the process id to the caller.
    ///
    /// # Errors
    /// What `clone3` says: no memory, too many processes, a namespace or cgroup that may not be made or entered.
    pub(crate) fn run(self, child: impl FnOnce() -> u8) -> io::Result<Pid> {
        match self.clone3()? {
            Some(pid) => Ok(pid),
            None => {
                let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED);
                exit_now(code)
            }
        }
    }

    /// `None` in the child.
    fn clone3(self) -> io::Result<Option<Pid>> {
        let mut flags = u64::from(self.namespaces.cast_unsigned());
        let mut cgroup = 0;
        if let Some(fd) = self.cgroup {
            flags |= CLONE_INTO_CGROUP;
            cgroup = u64::from(fd.as_raw_fd().cast_unsigned());
        }
        let args = libc::clone_args {
            flags,
            pidfd: 0,
            child_tid: 0,
            parent_tid: 0,
            exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
            stack: 0,
            stack_size: 0,
            tls: 0,
            set_tid: 0,
            set_tid_size: 0,
            cgroup,
        };
        // SAFETY: `args` lives across the call and has the size given. Without CLONE_VM and with no stack the child gets a copy of this
        // address space and continues here, as after fork(2); the process is single-threaded (the module's invariant).
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        match i32::try_from(pid) {
            Ok(-1) | Err(_) => Err(io::Error::last_os_error()),
            Ok(pid) => Ok(Pid::from_raw(pid)),
        }
    }
}

// The C library's constant has a signed type that the flag does not fit on every target.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Ends the process without running destructors, exit handlers or flushing buffers that belong to the parent.
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit takes any value and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}
