//! Mounts, by descriptor: made detached, changed, then attached where a handle says. No path is looked up twice.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::tree::{Kind, Tree, kind_of};
use super::users::Users;
use super::{Step, failed};
use crate::spec::{Mount, MountSource, VolumeName};
use crate::sys::mount::set_attributes;
use crate::wire::{Refusal, RefusalCode};

/// Neither set-user-id programs nor device nodes nor programs: what the kernel's own file systems get.
pub(crate) const PLAIN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A new file system, attached to nothing. An option without a value is a flag.
pub(crate) fn filesystem(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // What programs look for in the list of mounts.
    fsconfig_set_string(&context, "source", kind)?;
    for (name, value) in options {
        match *value {
            "" => fsconfig_set_flag(&context, *name)?,
            value => fsconfig_set_string(&context, *name, value)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Another view of a part of a mounted tree, without what is mounted below it.
pub(crate) fn view(handle: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(handle, "", flags)
}

/// As [`view`], of a path of the machine's own file system, following links.
pub(crate) fn view_of(path: &Path) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// As [`view`], with what is mounted below it.
fn deep_view(handle: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(handle, "", flags | OpenTreeFlags::AT_RECURSIVE)
}

/// Attaches a detached mount to the place that `target` is a handle on.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// What volumes of a container can be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    /// The pod's volumes, by name.
    pub(crate) volumes: &'a BTreeMap<VolumeName, PathBuf>,
    /// The pod's files, by name.
    pub(crate) files: &'a BTreeMap<VolumeName, PathBuf>,
    /// Where the client keeps what it mounts.
    pub(crate) client_dir: &'a Path,
    /// Whose all of it is, if they are not the machine's users.
    pub(crate) users: Option<Users<'a>>,
}

impl Sources<'_> {
    /// Mounts one volume into a container's root.
    pub(crate) fn mount(&self, wanted: &Mount, root: Tree<'_>) -> Step<()> {
        let at = |what: &str| format!("mounting {}: {what}", wanted.target);
        let (mount, kind) = match &wanted.source {
            MountSource::Memory { max_bytes } => {
                let size = max_bytes.to_string();
                let options = [("size", size.as_str()), ("mode", "1777")];
                let mount = filesystem("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NODEV);
                (mount.map_err(failed(at("tmpfs")))?, Kind::Directory)
            }
            source => {
                let handle = self.find(source, wanted.sub_path.as_deref()).map_err(failed(at("source")))?;
                let kind = kind_of(handle.as_fd()).map_err(failed(at("source")))?;
                // What the machine has mounted below a path of its own is shown too.
                let is_deep = matches!(source, MountSource::Host(_));
                let mount = if is_deep { deep_view(handle.as_fd()) } else { view(handle.as_fd()) };
                (mount.map_err(failed(at("source")))?, kind)
            }
        };
        let mut attributes = libc::MOUNT_ATTR_NODEV;
        if wanted.is_read_only || matches!(wanted.source, MountSource::Files(_)) {
            attributes |= libc::MOUNT_ATTR_RDONLY;
        }
        set_attributes(mount.as_fd(), attributes, true).map_err(failed(at("attributes")))?;
        if let Some(users) = self.users {
            users.map(mount.as_fd(), true).map_err(failed(at("users")))?;
        }
        let target = root.handle_or_make(&wanted.target, kind).map_err(failed(at("target")))?;
        if is_kernels_own(target.as_fd()).map_err(failed(at("target")))? {
            // The path does not say so, but a link of the image leads there.
            let message = at("its target is inside /proc or /sys");
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        attach(mount.as_fd(), target.as_fd()).map_err(failed(at("attaching")))
    }

    fn find(&self, source: &MountSource, sub_path: Option<&str>) -> Result<OwnedFd, Errno> {
        let top = match source {
            MountSource::Volume(name) => open_directory(self.volumes.get(name).ok_or(Errno::NOENT)?)?,
            MountSource::Files(name) => open_directory(self.files.get(name).ok_or(Errno::NOENT)?)?,
            MountSource::Client(path) => {
                let directory = open_directory(self.client_dir)?;
                Tree::without_links(directory.as_fd()).handle(path)?
            }
            // Which of them may be mounted was checked with the request.
            MountSource::Host(path) => {
                rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())?
            }
            MountSource::Memory { .. } => return Err(Errno::INVAL),
        };
        match sub_path {
            Some(path) => Tree::beneath(top.as_fd()).like_its_top()?.handle_or_make(path, Kind::Directory),
            None => Ok(top),
        }
    }
}

/// Whether a handle is on one of the file systems through which the kernel shows itself.
fn is_kernels_own(handle: BorrowedFd<'_>) -> Result<bool, Errno> {
    let kind = rustix::fs::fstatfs(handle)?.f_type;
    let own = [libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC, libc::CGROUP_SUPER_MAGIC, libc::CGROUP2_SUPER_MAGIC];
    Ok(own.into_iter().any(|magic| i128::from(magic) == i128::from(kind)))
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
}

/// Makes this process's mounts its own: what it mounts is seen by nobody else, what the machine mounts later is still seen by it.
pub(crate) fn leave_machine_mounts() -> std::io::Result<()> {
    crate::sys::namespaces::unshare(rustix::thread::UnshareFlags::NEWNS)?;
    let flags = rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags)?;
    Ok(())
}

/// Makes the tree at `root` (a handle) this process's root, and lets go of everything else.
pub(crate) fn pivot(root: BorrowedFd<'_>) -> Step<()> {
    let at = failed::<Errno>;
    rustix::process::fchdir(root).map_err(at("entering the root"))?;
    // The old root is stacked over the new one, and taken off at once.
    rustix::process::pivot_root(".", ".").map_err(at("changing the root"))?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).map_err(at("letting go of the old root"))?;
    rustix::process::chdir("/").map_err(at("entering the root"))
}
