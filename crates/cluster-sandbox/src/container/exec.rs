//! A program beside a container's own: into its namespaces and groups, as its user, under its filter.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::ThreadNameSpaceType;

use super::init::enter_working_directory;
use super::program::Program;
use super::report::Reporter;
use super::stdio::Stdio;
use super::tree::Tree;
use super::users::Users;
use super::{Step, failed, identity, privileges};
use crate::cgroup::Group;
use crate::spec::ContainerSpec;
use crate::sys::seccomp::Instruction;

/// What the spawner has ready for such a program.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    /// The container's own words.
    pub(crate) spec: &'a ContainerSpec,
    pub(crate) command: &'a [String],
    pub(crate) group: &'a Group,
    pub(crate) is_born_in_group: bool,
    /// The container's first process, whose namespaces are entered.
    pub(crate) process: BorrowedFd<'a>,
    pub(crate) filter: Option<&'a [Instruction]>,
    /// The pod's own users, if it has them.
    pub(crate) users: Option<Users<'a>>,
    pub(crate) stdio: Stdio<'a>,
}

impl Joining<'_> {
    /// Runs in a child of the spawner that was born in the container's PID namespace. Returns only if the program does not start.
    pub(crate) fn run(&self, mut reporter: Reporter) -> u8 {
        let refusal = match self.prepare() {
            Ok(program) => program.run(),
            Err(refusal) => refusal,
        };
        reporter.refused(refusal);
        1
    }

    fn prepare(&self) -> Step<Program> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(failed("binding to the spawner"))?;
        privileges::hide()?;
        rustix::process::setsid().map_err(failed("starting a session"))?;
        self.group.enter(self.is_born_in_group).map_err(failed("entering the cgroups"))?;
        let spaces = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::CONTROL_GROUP;
        rustix::thread::move_into_thread_name_spaces(self.process, spaces).map_err(failed("entering the container"))?;
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let root = root.map_err(failed("opening the container's root"))?;
        let identity = identity::resolve(Tree::root(root.as_fd()), &self.spec.user)?;
        let uid = self.users.map_or(identity.uid, |users| users.outside(identity.uid));
        self.stdio.connect(uid).map_err(failed("connecting input and output"))?;
        enter_working_directory(&self.spec.working_dir)?;
        let program = Program::new(self.command, &self.spec.env, &identity.home, self.stdio.is_terminal())?;
        privileges::drop(&identity, &self.spec.security, self.filter, self.users)?;
        // Changing the user has cleared it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(failed("binding to the spawner"))?;
        Ok(program)
    }
}
