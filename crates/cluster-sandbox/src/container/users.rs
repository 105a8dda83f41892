//! Users of a pod's own, in a container: what lies on the disk as theirs is shown as theirs, and its program becomes one of them.
//!
//! Everything is mounted by the machine's root before that, in the machine's users; so who is root inside can change none of it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::mounts::{attach, view_of};
use super::{Step, failed};
use crate::sys::mount::map_users;

/// A pod's users.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Users<'a> {
    pub(crate) namespace: BorrowedFd<'a>,
    /// Who user 0 is outside.
    pub(crate) first: u32,
}

impl Users<'_> {
    /// Lets a detached mount show what is whose on the disk as the pod's.
    pub(crate) fn map(self, mount: BorrowedFd<'_>, is_recursive: bool) -> Result<(), Errno> {
        map_users(mount, self.namespace, is_recursive)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Lets a directory show so to this process, which has mounts of its own.
    pub(crate) fn map_here(self, directory: &Path) -> Step<()> {
        let mapped = || {
            let mount = view_of(directory)?;
            self.map(mount.as_fd(), false)?;
            let place = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            attach(mount.as_fd(), place.as_fd())
        };
        mapped().map_err(failed(format!("mapping users in {}", directory.display())))
    }

    /// Who a user of the pod's is outside.
    pub(crate) fn outside(self, id: u32) -> u32 {
        self.first.saturating_add(id)
    }

    /// Moves this process among them, for good: it may do everything there, and nothing outside.
    pub(crate) fn enter(self) -> Step<()> {
        move_into_link_name_space(self.namespace, Some(LinkNameSpaceType::User))
            .map_err(failed("entering the pod's users"))
    }
}
