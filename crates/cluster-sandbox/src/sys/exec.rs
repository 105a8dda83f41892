//! Becoming another program.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// Replaces this process by the program at `path`. Returns only if that failed.
pub(crate) fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let argv = pointers(argv);
    let env = pointers(env);
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this process by the program that `file` is open on. Returns only if that failed.
pub(crate) fn execve_file(file: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let argv = pointers(argv);
    let env = pointers(env);
    // SAFETY: as in `execve`; the path is an empty string, which AT_EMPTY_PATH allows.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Marks every descriptor from `first` on as closed by the next exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on.
///
/// Only for a process that owns none of them as a Rust value, as one has right after its exec or as its very last act.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, 0)
}

/// Closes every descriptor but the three standard ones and `kept`.
///
/// Only for a process that never drops a Rust value which owns another one: the child of a fork that ends by
/// [`exit_now`](super::fork::exit_now).
pub(crate) fn close_all_but(kept: &OwnedFd) -> io::Result<()> {
    let kept = kept.as_raw_fd().cast_unsigned();
    if kept > FIRST {
        close_range(FIRST, kept - 1, 0)?;
    }
    close_range(kept + 1, u32::MAX, 0)
}

/// The first descriptor that is not a standard one.
const FIRST: u32 = 3;
const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: the call takes plain numbers; who may call it is said on the callers above.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}
