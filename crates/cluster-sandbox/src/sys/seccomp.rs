//! Handing a system call filter to the kernel.

use std::io;

/// One instruction of a classic BPF program, as the kernel reads it.
pub(crate) type Instruction = libc::sock_filter;

/// Makes `program` decide about every later system call of this thread and what it starts.
///
/// Without `no_new_privs` the caller needs CAP_SYS_ADMIN.
///
/// # Errors
/// The kernel refuses the program (wrong, too long) or the caller.
pub(crate) fn install(program: &[Instruction]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points to `len` instructions that live across the call; the kernel copies and verifies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // Speculation stays as the container's processes choose it, as with every current runtime.
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
