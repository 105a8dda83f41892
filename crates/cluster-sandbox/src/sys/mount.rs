//! Changing a mount's attributes by descriptor, which `rustix` does not wrap yet.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets attributes (`MOUNT_ATTR_…`) of the mount that `mount` is open on; of the whole tree below it if `recursive`.
pub(crate) fn set_attributes(mount: BorrowedFd<'_>, attributes: u64, recursive: bool) -> io::Result<()> {
    change(mount, libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 }, recursive)
}

/// Lets a detached mount show the owners of files as the users that they are in a user namespace.
pub(crate) fn map_users(mount: BorrowedFd<'_>, users: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let userns_fd = u64::from(users.as_raw_fd().cast_unsigned());
    let map = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    change(mount, map, recursive)
}

fn change(mount: BorrowedFd<'_>, change: libc::mount_attr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `change` lives across the call and has the size given; the path is an empty string, which AT_EMPTY_PATH allows.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of_val(&change),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
