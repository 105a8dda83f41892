//! Leaving namespaces for new ones.

use std::io;

use rustix::thread::UnshareFlags;

/// Puts this thread into new namespaces of the given kinds (or, with `FS`, gives it a working directory of its own).
///
/// `flags` never takes the descriptors away from other threads: `FILES` is left out.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: the call is dangerous only with FILES, which was taken out.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Does something in file systems as another user and the group of that number, with no privilege over others' files.
pub(crate) fn as_user_of_files<T>(id: u32, act: impl FnOnce() -> T) -> T {
    let (group, user) = (set_group_of_files(id), set_user_of_files(id));
    let done = act();
    set_user_of_files(user);
    set_group_of_files(group);
    done
}

/// Answers the one before.
fn set_user_of_files(id: u32) -> u32 {
    // SAFETY: it only changes whom the kernel takes this thread for where files are concerned.
    unsafe { libc::setfsuid(id) }.cast_unsigned()
}

fn set_group_of_files(id: u32) -> u32 {
    // SAFETY: as for the user.
    unsafe { libc::setfsgid(id) }.cast_unsigned()
}
