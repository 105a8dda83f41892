//! The steps of a new container's first process, in order.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use super::mounts::{self, PLAIN, Sources, attach, filesystem, view_of};
use super::overlay::Overlay;
use super::program::Program;
use super::report::Reporter;
use super::stdio::Stdio;
use super::tree::{Kind, Tree};
use super::users::Users;
use super::{Step, devices, failed, identity, masks, privileges};
use crate::cgroup::Group;
use crate::network::home::Namespaces;
use crate::spec::{ContainerSpec, VolumeName};
use crate::sys::mount::set_attributes;
use crate::sys::namespaces::unshare;
use crate::sys::seccomp::Instruction;
use crate::wire::{Refusal, RefusalCode};

/// What the spawner has ready for a container. The child got a copy with the rest of the address space.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub(crate) spec: &'a ContainerSpec,
    pub(crate) overlay: Overlay<'a>,
    /// An empty directory on which the root is attached until it is the root.
    pub(crate) root_point: &'a Path,
    /// The pod's namespaces.
    pub(crate) namespaces: &'a Namespaces,
    /// Its own users, if it has them.
    pub(crate) users: Option<Users<'a>>,
    pub(crate) group: &'a Group,
    /// Files for `/etc`: name and where it lies.
    pub(crate) etc: &'a [(&'static str, PathBuf)],
    pub(crate) shared_memory: Option<&'a Path>,
    pub(crate) volumes: &'a BTreeMap<VolumeName, PathBuf>,
    pub(crate) files: &'a BTreeMap<VolumeName, PathBuf>,
    pub(crate) client_dir: &'a Path,
    pub(crate) filter: Option<&'a [Instruction]>,
    pub(crate) stdio: Stdio<'a>,
    pub(crate) is_born_in_group: bool,
}

impl Init<'_> {
    /// Runs in the child. Returns only if the container does not start.
    pub(crate) fn run(&self, mut reporter: Reporter) -> u8 {
        let refusal = match self.prepare(&mut reporter) {
            Ok(program) => program.run(),
            Err(refusal) => refusal,
        };
        reporter.refused(refusal);
        1
    }

    fn prepare(&self, reporter: &mut Reporter) -> Step<Program> {
        // If the spawner dies there is nobody to keep this container's log or to end it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(failed("binding to the spawner"))?;
        privileges::hide()?;
        rustix::process::setsid().map_err(failed("starting a session"))?;
        self.group.enter(self.is_born_in_group).map_err(failed("entering the cgroups"))?;
        privileges::set_oom_score(self.spec.oom_score_adj, reporter)?;
        self.namespaces.enter().map_err(failed("entering the pod's namespaces"))?;
        unshare(UnshareFlags::NEWCGROUP).map_err(failed("making a cgroup namespace"))?;
        let root = self.overlay.mount()?;
        let point = open_handle(self.root_point).map_err(failed("opening the root's place"))?;
        attach(root.as_fd(), point.as_fd()).map_err(failed("attaching the root"))?;
        let outside = |uid| self.users.map_or(uid, |users| users.outside(uid));
        let tree = Tree::root(root.as_fd()).owned_by(self.users.map(|_| outside(0)));
        self.fill(tree)?;
        let identity = identity::resolve(tree, &self.spec.user)?;
        self.working_directory(tree)?;
        mounts::pivot(root.as_fd())?;
        self.stdio.connect(outside(identity.uid)).map_err(failed("connecting input and output"))?;
        if self.spec.security.is_root_read_only {
            set_attributes(root.as_fd(), libc::MOUNT_ATTR_RDONLY, false).map_err(failed("protecting the root"))?;
        }
        enter_working_directory(&self.spec.working_dir)?;
        privileges::limit(&self.spec.rlimits, reporter)?;
        let program = Program::new(&self.spec.command, &self.spec.env, &identity.home, self.stdio.is_terminal())?;
        privileges::drop(&identity, &self.spec.security, self.filter, self.users)?;
        // Changing the user has cleared it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(failed("binding to the spawner"))?;
        Ok(program)
    }

    /// Everything that is mounted in the root.
    fn fill(&self, root: Tree<'_>) -> Step<()> {
        let put = |mount: Result<OwnedFd, Errno>, target: &str| -> Step<()> {
            let what = format!("mounting {target}");
            let mount = mount.map_err(failed(&what))?;
            let target = root.handle_or_make(target, Kind::Directory).map_err(failed(&what))?;
            attach(mount.as_fd(), target.as_fd()).map_err(failed(&what))
        };
        put(filesystem("proc", &[], PLAIN), "/proc")?;
        put(filesystem("sysfs", &[], PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY), "/sys")?;
        self.show_cgroups(root).map_err(failed("mounting /sys/fs/cgroup"))?;
        devices::mount(root, self.shared_memory, self.users)?;
        for (name, source) in self.etc {
            let what = format!("mounting /etc/{name}");
            let target = root.handle_or_make(Path::new("/etc").join(name), Kind::File).map_err(failed(&what))?;
            let mount = view_of(source).map_err(failed(&what))?;
            set_attributes(mount.as_fd(), libc::MOUNT_ATTR_NODEV, false).map_err(failed(&what))?;
            self.users.map_or(Ok(()), |users| users.map(mount.as_fd(), false)).map_err(failed(&what))?;
            attach(mount.as_fd(), target.as_fd()).map_err(failed(&what))?;
        }
        let (volumes, files) = (self.volumes, self.files);
        let sources = Sources { volumes, files, client_dir: self.client_dir, users: self.users };
        self.spec.mounts.iter().try_for_each(|mount| sources.mount(mount, root))?;
        if self.spec.security.is_proc_masked { masks::apply(root) } else { Ok(()) }
    }

    fn show_cgroups(&self, root: Tree<'_>) -> Result<(), Errno> {
        let views = self.group.views();
        let target = match root.handle("/sys/fs/cgroup") {
            // A kernel without cgroups has no place for them either.
            Err(Errno::NOENT) => return Ok(()),
            target => target?,
        };
        let shown = |directory: &Path| -> Result<OwnedFd, Errno> {
            let mount = view_of(directory)?;
            let attributes =
                libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
            set_attributes(mount.as_fd(), attributes, false)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            Ok(mount)
        };
        if let [(name, directory)] = views.as_slice()
            && name.is_empty()
        {
            return attach(shown(directory)?.as_fd(), target.as_fd());
        }
        let holder = filesystem("tmpfs", &[("size", "4k"), ("mode", "755")], PLAIN)?;
        attach(holder.as_fd(), target.as_fd())?;
        for (name, directory) in &views {
            rustix::fs::mkdirat(&holder, name.as_str(), Mode::from_raw_mode(0o755))?;
            let place = Tree::without_links(holder.as_fd()).handle(name)?;
            attach(shown(directory)?.as_fd(), place.as_fd())?;
        }
        set_attributes(holder.as_fd(), libc::MOUNT_ATTR_RDONLY, false)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn working_directory(&self, root: Tree<'_>) -> Step<()> {
        if self.spec.working_dir.is_empty() {
            return Ok(());
        }
        let what = format!("making the working directory {:?}", self.spec.working_dir);
        root.handle_or_make(&self.spec.working_dir, Kind::Directory).map(|_| ()).map_err(failed(what))
    }
}

/// Enters it, and makes sure that it is in the container: a directory reached through a leaked descriptor would have no path here.
pub(crate) fn enter_working_directory(path: &str) -> Step<()> {
    let path = if path.is_empty() { "/" } else { path };
    let what = format!("entering the working directory {path:?}");
    rustix::process::chdir(path).map_err(failed(&what))?;
    let reached = rustix::process::getcwd(Vec::new()).map_err(failed(&what))?;
    if reached.as_bytes().first() == Some(&b'/') {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::Failed, format!("{what}: it is outside the container")))
}

fn open_handle(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
