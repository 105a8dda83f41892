//! `/dev`, `/dev/pts`, `/dev/shm`, `/dev/mqueue`.
//!
//! Device nodes are views of the machine's own, bound one by one into a file system that honours none itself. A container with CAP_MKNOD
//! may make as many nodes as it likes: none of its mounts lets it open one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, mkdirat, mknodat, symlinkat};
use rustix::mount::MountAttrFlags;

use super::mounts::{PLAIN, attach, filesystem, view_of};
use super::tree::Tree;
use super::users::Users;
use super::{Step, failed};

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];
const DIRECTORIES: [&str; 3] = ["pts", "shm", "mqueue"];
/// So many terminals a container may have: the machine has 4096 for all that run on it.
const TERMINALS_MAX: &str = "256";
/// The group that owns terminals in every distribution.
const TTY_GROUP: u32 = 5;

/// Mounts `/dev` and what belongs in it. `shared_memory` is the pod's own `/dev/shm`, if its containers share one.
/// They are the machine's root's, or that of `users`.
pub(crate) fn mount(root: Tree<'_>, shared_memory: Option<&Path>, users: Option<Users<'_>>) -> Step<()> {
    let own = |mount: OwnedFd| match users {
        Some(users) => users.map(mount.as_fd(), false).map(|()| mount),
        None => Ok(mount),
    };
    let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let dev = filesystem("tmpfs", &[("size", "64k"), ("mode", "755")], nosuid).map_err(failed("mounting /dev"))?;
    fill(&dev).map_err(failed("filling /dev"))?;
    let dev = own(dev).map_err(failed("mapping users in /dev"))?;
    let target = root.handle("/dev").map_err(failed("opening /dev"))?;
    attach(dev.as_fd(), target.as_fd()).map_err(failed("attaching /dev"))?;
    let inside = Tree::without_links(dev.as_fd());
    let put = |mount: OwnedFd, name: &str| -> Result<(), rustix::io::Errno> {
        let target = inside.handle(name)?;
        attach(mount.as_fd(), target.as_fd())
    };
    for name in NODES {
        let what = format!("binding /dev/{name}");
        view_of(&Path::new("/dev").join(name)).and_then(|node| put(node, name)).map_err(failed(what))?;
    }
    let noexec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let group = users.map_or(TTY_GROUP, |users| users.outside(TTY_GROUP)).to_string();
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", group.as_str()), ("max", TERMINALS_MAX)];
    filesystem("devpts", &options, noexec).and_then(|pts| put(pts, "pts")).map_err(failed("mounting /dev/pts"))?;
    let shm = match shared_memory {
        Some(path) => view_of(path),
        None => filesystem("tmpfs", &[("size", "64m"), ("mode", "1777")], PLAIN),
    };
    shm.and_then(own).and_then(|shm| put(shm, "shm")).map_err(failed("mounting /dev/shm"))?;
    match filesystem("mqueue", &[], PLAIN) {
        Ok(mqueue) => put(mqueue, "mqueue").map_err(failed("mounting /dev/mqueue")),
        // A kernel without POSIX message queues.
        Err(rustix::io::Errno::NODEV) => Ok(()),
        Err(error) => Err(failed("mounting /dev/mqueue")(error)),
    }
}

fn fill(dev: &OwnedFd) -> Result<(), rustix::io::Errno> {
    for name in NODES {
        mknodat(dev, name, FileType::RegularFile, Mode::from_raw_mode(0o666), 0)?;
    }
    for name in DIRECTORIES {
        mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    }
    LINKS.into_iter().try_for_each(|(name, target)| symlinkat(target, dev, name))
}
