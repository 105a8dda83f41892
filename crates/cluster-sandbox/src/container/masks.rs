//! Files of the kernel that a container must not read, and ones it must not write.
//!
//! The lists are those of container runtimes. They are applied to file systems that were mounted a moment ago by this process, by names
//! that no image has a say in, before anything of the image runs.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::mounts::{PLAIN, attach, filesystem, view, view_of};
use super::tree::{Kind, Tree, kind_of};
use super::{Step, failed};
use crate::sys::mount::set_attributes;

const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmcore",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Hides and protects. Paths that this kernel does not have are passed over.
pub(crate) fn apply(root: Tree<'_>) -> Step<()> {
    for path in MASKED {
        mask(root, path).map_err(failed(format!("masking {path}")))?;
    }
    for path in READ_ONLY {
        protect(root, path).map_err(failed(format!("protecting {path}")))?;
    }
    Ok(())
}

fn mask(root: Tree<'_>, path: &str) -> Result<(), Errno> {
    let target = match root.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let cover = match kind_of(target.as_fd())? {
        Kind::File => view_of(Path::new("/dev/null"))?,
        Kind::Directory => filesystem(
            "tmpfs",
            &[("size", "0"), ("mode", "555")],
            PLAIN | rustix::mount::MountAttrFlags::MOUNT_ATTR_RDONLY,
        )?,
    };
    attach(cover.as_fd(), target.as_fd())
}

fn protect(root: Tree<'_>, path: &str) -> Result<(), Errno> {
    let target = match root.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let cover = view(target.as_fd())?;
    let read_only =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    set_attributes(cover.as_fd(), read_only, false)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    attach(cover.as_fd(), target.as_fd())
}
