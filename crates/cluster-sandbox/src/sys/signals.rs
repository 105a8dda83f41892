//! Signals as something to read in an event loop, and a clean slate of them for a new program.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

/// A descriptor from which the given signals are read from now on, instead of being delivered.
pub(crate) fn descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    let mut set = empty_set();
    for &signal in signals {
        // SAFETY: `set` is initialised, and the call checks the signal number.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set_mask(&set)?;
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of a signal from one record read from [`descriptor`].
pub(crate) fn number(record: &[u8]) -> Option<i32> {
    let number = record.get(..4)?.try_into().ok()?;
    i32::try_from(u32::from_ne_bytes(number)).ok()
}

/// The size of one record read from [`descriptor`].
pub(crate) const RECORD_BYTES: usize = size_of::<libc::signalfd_siginfo>();

/// What a program expects at its start: nothing blocked, nothing ignored. (Rust's runtime ignores SIGPIPE, whoever started the spawner may
/// have ignored others, and exec would hand all that on.)
pub(crate) fn reset_for_exec() -> io::Result<()> {
    for signal in (1..=LAST_SIGNAL).filter(|signal| *signal != libc::SIGKILL && *signal != libc::SIGSTOP) {
        // The C library keeps two real-time signals to itself, so this asks the kernel.
        // SAFETY: `DEFAULT_ACTION` is a valid action, of the kernel's layout or longer; handlers of this process never run again.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT_ACTION.as_ptr(),
                std::ptr::null::<u64>(),
                SIGNAL_SET_BYTES,
            )
        };
    }
    set_mask(&empty_set())
}

const LAST_SIGNAL: i32 = 64;
/// The size of the kernel's set of 64 signals.
const SIGNAL_SET_BYTES: usize = 8;
/// The kernel's `struct sigaction`: handler (0 is the default), flags, restorer, mask.
static DEFAULT_ACTION: [u64; 4] = [0; 4];

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call writes the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above.
    unsafe { set.assume_init() }
}

fn set_mask(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: `set` is initialised, and the old mask is not asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
