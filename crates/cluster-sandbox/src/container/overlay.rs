//! A root file system of layers: read-only ones below, one writable layer on top.
//!
//! Layers are named relative to the directory they lie in, because the kernel takes at most 255 bytes per name, and the working directory
//! is where it looks. The lowest layer of all is [`base`](make_base): it holds the directories and files that something is always mounted
//! on, so that nothing has to be made in the writable layer on a start.
//!
//! The overlay is `volatile`: its writable layer is thrown away with the container, so the kernel need not sync it, least of all while
//! the container ends.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount, open_tree,
};

use super::users::Users;
use super::{Step, failed};
use crate::spec::LayerName;

/// Where the parts of one overlay are.
#[derive(Clone, Debug)]
pub(crate) struct Overlay<'a> {
    /// The directory of [`make_base`].
    pub(crate) base: &'a Path,
    /// The directory in which the layers lie.
    pub(crate) layers_dir: &'a Path,
    /// The base of the image first.
    pub(crate) layers: &'a [LayerName],
    /// An existing directory with `upper` and `work` in it.
    pub(crate) writable: &'a Path,
    /// Whose the layers are, if they are not the machine's root's.
    pub(crate) users: Option<Users<'a>>,
}

/// A layer's root within its directory (`base_image::unpack`).
const LAYER_ROOT: &str = "fs";
/// What is always mounted on: these exist in every container even if the image lacks them.
const BASE_DIRECTORIES: [&str; 4] = ["proc", "sys", "dev", "etc"];
const BASE_FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Makes the lowest layer, or completes it.
pub(crate) fn make_base(base: &Path) -> io::Result<()> {
    BASE_DIRECTORIES.iter().try_for_each(|name| fs::create_dir_all(base.join(name)))?;
    BASE_FILES
        .iter()
        .try_for_each(|name| fs::OpenOptions::new().append(true).create(true).open(base.join(name)).map(drop))
}

/// Makes a container's writable part, whose root is this user's: the numbers in it are the machine's, for it does not outlive the container.
pub(crate) fn make_writable(writable: &Path, root: u32) -> io::Result<()> {
    fs::create_dir(writable)?;
    fs::create_dir(writable.join("upper"))?;
    chown(writable.join("upper"), Some(root), Some(root))?;
    fs::create_dir(writable.join("work"))
}

/// Where in a container's writable part that is what it has written.
pub(crate) fn written(writable: &Path) -> PathBuf {
    writable.join("upper")
}

impl Overlay<'_> {
    /// Mounts it, attached to nothing yet. Changes the working directory.
    pub(crate) fn mount(&self) -> Step<OwnedFd> {
        if let Some(users) = self.users {
            users.map_here(self.layers_dir)?;
            users.map_here(self.base)?;
        }
        match self.mount_by_parts() {
            // Before Linux 6.5 layers cannot be named one by one.
            Err((Errno::INVAL, "naming a layer")) => self.mount_by_one_string(),
            outcome => outcome.map_err(|(error, what)| failed(what)(error)),
        }
    }

    fn mount_by_parts(&self) -> Result<OwnedFd, (Errno, &'static str)> {
        let at = |what| move |error| (error, what);
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(at("opening overlayfs"))?;
        rustix::process::chdir(self.layers_dir).map_err(at("opening the layers"))?;
        for layer in self.layers.iter().rev() {
            let name = Path::new(layer.as_str()).join(LAYER_ROOT);
            // A missing layer is told as such, not as the kernel's "invalid argument".
            rustix::fs::access(&name, rustix::fs::Access::EXISTS).map_err(at("finding a layer"))?;
            fsconfig_set_string(&overlay, "lowerdir+", &name).map_err(at("naming a layer"))?;
        }
        let base = self.base.parent().unwrap_or(Path::new("/"));
        rustix::process::chdir(base).map_err(at("opening the base layer"))?;
        let name = self.base.file_name().unwrap_or_default();
        fsconfig_set_string(&overlay, "lowerdir+", name).map_err(at("naming the base layer"))?;
        rustix::process::chdir(self.writable).map_err(at("opening the writable layer"))?;
        fsconfig_set_string(&overlay, "upperdir", "upper").map_err(at("naming the writable layer"))?;
        fsconfig_set_string(&overlay, "workdir", "work").map_err(at("naming the work directory"))?;
        fsconfig_set_flag(&overlay, "volatile").map_err(at("making the overlay volatile"))?;
        fsconfig_create(&overlay).map_err(at("making the overlay"))?;
        fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
            .map_err(at("mounting the overlay"))
    }

    /// The old way: all in one page of text, so by short links beside the writable layer.
    fn mount_by_one_string(&self) -> Step<OwnedFd> {
        let links = self.writable.join("l");
        let attempt = || -> io::Result<OwnedFd> {
            fs::create_dir(&links)?;
            let layers = self.layers.iter().rev().map(|layer| self.layers_dir.join(layer.as_str()).join(LAYER_ROOT));
            let mut names = Vec::new();
            for (number, target) in layers.chain([PathBuf::from(self.base)]).enumerate() {
                std::os::unix::fs::symlink(target, links.join(number.to_string()))?;
                names.push(format!("l/{number}"));
            }
            rustix::process::chdir(self.writable)?;
            let options = format!("lowerdir={},upperdir=upper,workdir=work,volatile", names.join(":"));
            let point = self.writable.join("m");
            fs::create_dir(&point)?;
            let options = std::ffi::CString::new(options)?;
            mount("overlay", &point, "overlay", MountFlags::NODEV, options.as_c_str())?;
            let tree = open_tree(CWD, &point, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
            rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH)?;
            Ok(tree)
        };
        attempt().map_err(failed("mounting the overlay"))
    }
}
