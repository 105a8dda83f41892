//! Containers: started, watched, killed, forgotten.
//!
//! ```text
//! Starting ──(report pipe closes at exec)──▶ Running ──(SIGCHLD)──▶ Exited ──(RemoveContainer)──▶ forgotten
//!     └──(report says why not)──▶ forgotten at once; the request is refused
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use base_rt::Timestamp;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitStatus};

use super::answers::{Outcome, Reply, Said, refuse, refuse_failed};
use super::output::Log;
use super::pods::{Pod, no_pod};
use super::poll::{Source, Token};
use super::server::{Process, Spawner};
use super::stdio;
use super::talk::Talk;
use crate::cgroup::Group;
use crate::container::init::Init;
use crate::container::overlay::{Overlay, make_writable, written};
use crate::container::report::{REPORT_MAX_BYTES, Report, Reporter, parse};
use crate::spec::{Check, ContainerId, ContainerPhase, ContainerSpec, ContainerState, Exit, Input, PodId, Usage};
use crate::sys::fork::Fork;
use crate::wire::{Answer, Event, Refusal, RefusalCode};

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) spec: ContainerSpec,
    pub(super) pid: Pid,
    pub(super) group: Group,
    phase: ContainerPhase,
    started_at: Timestamp,
    pub(super) talk: Talk,
    report: Option<ReportPipe>,
    /// Why it does not start, to be answered once nothing is left of it.
    refused: Option<(Option<Reply>, Refusal)>,
    writable: PathBuf,
}

/// The way on which a starting process says why it does not start.
#[derive(Debug)]
pub(super) struct ReportPipe {
    pub(super) fd: OwnedFd,
    pub(super) token: Token,
    pub(super) said: Vec<u8>,
    pub(super) reply: Option<Reply>,
}

const CONTAINERS_MAX: usize = 4000;

impl Spawner {
    /// Starts a container. The answer follows when its program runs or cannot.
    pub(super) fn start_container(&mut self, spec: ContainerSpec, reply: Reply) -> Result<(), Refusal> {
        spec.check().map_err(refuse)?;
        spec.check_capabilities(self.config.capability_bound).map_err(refuse)?;
        spec.check_host_paths(&self.config.host_paths).map_err(refuse)?;
        let pod = self.pods.get(&spec.pod).ok_or_else(|| no_pod(&spec.pod))?;
        if self.ending.is_some() || pod.removing.is_some() {
            return Err(Refusal::new(RefusalCode::Busy, format!("pod {} is being removed", spec.pod)));
        }
        if pod.namespaces.is_none() {
            return Err(Refusal::new(
                RefusalCode::Invalid,
                format!("pod {} runs nothing: its address is the instance's", spec.pod),
            ));
        }
        if self.containers.contains_key(&spec.id) {
            return Err(Refusal::new(RefusalCode::Exists, format!("container {} exists", spec.id)));
        }
        if self.containers.len() >= CONTAINERS_MAX {
            return Err(Refusal::new(RefusalCode::Busy, format!("there are {CONTAINERS_MAX} containers already")));
        }
        self.pool.rest();
        let group = self
            .machine
            .cgroups
            .group(&spec.id, &spec.limits)
            .map_err(refuse_failed("making a container's cgroups"))?;
        let name = self.unique(&format!("container-{}", spec.id));
        let writable = self.config.pods_dir.join(spec.pod.as_str()).join(name);
        match self.launch(&spec, &group, &writable, reply) {
            Ok(container) => {
                self.processes.insert(container.pid, Process::Container(spec.id.clone()));
                self.containers.insert(spec.id, container);
                Ok(())
            }
            Err(refusal) => {
                self.release_group(group);
                self.discard(writable);
                Err(refusal)
            }
        }
    }

    fn launch(
        &mut self,
        spec: &ContainerSpec,
        group: &Group,
        writable: &PathBuf,
        reply: Reply,
    ) -> Result<Container, Refusal> {
        let at = refuse_failed::<io::Error>;
        let users = self.pods.get(&spec.pod).and_then(Pod::users);
        let root = users.map_or(0, |users| users.outside(0));
        make_writable(writable, root).map_err(at("making a container's writable layer"))?;
        let log = Log::open(&self.config.logs_dir, &spec.log, spec.is_interactive());
        let log = log.map_err(at("opening a container's log"))?;
        let filter = self.machine.filters.get(spec.security.seccomp, spec.security.capabilities);
        let pipes = || refuse_failed::<Errno>("making pipes");
        let (ours, theirs) =
            if spec.has_terminal { stdio::terminal() } else { stdio::pipes(spec.input != Input::None) }
                .map_err(at("making pipes"))?;
        let mut talk = Talk::new(log, ours).map_err(pipes())?;
        let (report, child_report) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(pipes())?;
        let birth_place = group.birth_place().map_err(at("opening a container's cgroup"))?;
        let pod = self.pods.get(&spec.pod).ok_or_else(|| no_pod(&spec.pod))?;
        let namespaces = pod.namespaces.as_ref().ok_or_else(|| no_pod(&spec.pod))?;
        let init = Init {
            spec,
            overlay: Overlay {
                base: &self.machine.base,
                layers_dir: &self.config.layers_dir,
                layers: &spec.layers,
                writable,
                users: pod.users(),
            },
            root_point: &self.machine.root_point,
            namespaces: &namespaces.namespaces,
            users: pod.users(),
            group,
            etc: &pod.etc,
            shared_memory: pod.shared_memory.as_deref(),
            volumes: &pod.volumes,
            files: &pod.files,
            client_dir: &self.config.volumes_dir,
            filter: filter.as_deref(),
            stdio: theirs.as_stdio(),
            is_born_in_group: birth_place.is_some(),
        };
        let fork =
            Fork { namespaces: libc::CLONE_NEWPID | libc::CLONE_NEWNS, cgroup: birth_place.as_ref().map(AsFd::as_fd) };
        let started_at = self.clock.now();
        // Before the process, so that there never is one that nobody waits for.
        let waiting = at("waiting for a container's output");
        let report_token = self.poller.add(&report, Source::ContainerReport(spec.id.clone())).map_err(waiting)?;
        let forked = talk.watch(&mut self.poller, &spec.id).map_err(at("waiting for a container's output"));
        let forked =
            forked.and_then(|()| fork.run(|| init.run(Reporter::new(child_report))).map_err(at("starting a process")));
        let pid = match forked {
            Ok(pid) => pid,
            Err(refusal) => {
                self.poller.remove(&report, report_token);
                talk.unwatch(&mut self.poller);
                return Err(refusal);
            }
        };
        Ok(Container {
            spec: spec.clone(),
            pid,
            group: group.clone(),
            phase: ContainerPhase::Starting,
            started_at,
            talk,
            refused: None,
            report: Some(ReportPipe { fd: report, token: report_token, said: Vec::new(), reply: Some(reply) }),
            writable: writable.clone(),
        })
    }

    /// A starting container has said something, or its program runs.
    pub(super) fn read_container_report(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let is_over = container.report.as_mut().is_some_and(ReportPipe::read);
        if is_over {
            self.finish_start(id);
        }
    }

    /// The report is complete: the program runs, or the container is no more.
    fn finish_start(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(pipe) = container.report.take() else { return };
        self.poller.remove(&pipe.fd, pipe.token);
        let mut refusal = None;
        for report in parse(&pipe.said) {
            match report {
                Report::Notice(notice) => tracing::info!(container = %id, notice, "a container goes without something"),
                Report::Refused(why) => refusal = Some(why),
            }
        }
        if let Some(why) = refusal {
            // Its process is about to end.
            container.refused = Some((pipe.reply, why));
            return;
        }
        if let Err(error) = container.talk.begin(&mut self.poller, id) {
            // Nobody could talk to it or read what it writes. It may have ended already.
            let _ = send(container.pid, libc::SIGKILL);
            container.refused = Some((pipe.reply, refuse_failed("taking over a terminal")(error)));
            return;
        }
        container.phase = ContainerPhase::Running;
        let answer = Answer::Started(Box::new(container.state()));
        if let Some(reply) = pipe.reply {
            self.answer(reply, Ok(Said::plain(answer)));
        }
    }

    /// A container's first process has ended, and with it all others of its PID namespace.
    pub(super) fn reap_container(&mut self, id: &ContainerId, status: WaitStatus) {
        // What it reported last may still be unread.
        if let Some(report) = self.containers.get_mut(id).and_then(|container| container.report.as_mut()) {
            report.read();
        }
        self.finish_start(id);
        self.finish_output(id);
        let now = self.clock.now();
        let Some(container) = self.containers.get_mut(id) else { return };
        let exit = exit(status, container.group.oom_kills() > 0, now);
        let refused = container.refused.take();
        container.phase = ContainerPhase::Exited(exit.clone());
        let (pod, group, writable) = (container.spec.pod.clone(), container.group.clone(), container.writable.clone());
        self.release_group(group);
        self.discard(writable);
        match refused {
            None => self.tell(&Event::ContainerExited { pod: pod.clone(), container: id.clone(), exit }),
            Some((reply, why)) => {
                self.forget_container(id);
                reply.into_iter().for_each(|reply| self.answer(reply, Err(why.clone())));
            }
        }
        self.finish_removal(&pod);
    }

    pub(super) fn remove_container(&mut self, id: &ContainerId) -> Outcome {
        match &self.find_container(id)?.phase {
            ContainerPhase::Exited(_) => {
                self.forget_container(id);
                Ok(Said::plain(Answer::Done))
            }
            _ => Err(Refusal::new(RefusalCode::Busy, format!("container {id} has not ended"))),
        }
    }

    pub(super) fn forget_container(&mut self, id: &ContainerId) {
        self.containers.remove(id);
    }

    pub(super) fn signal_container(&mut self, id: &ContainerId, signal: i32) -> Outcome {
        let container = self.find_container(id)?;
        if matches!(container.phase, ContainerPhase::Exited(_)) {
            return Err(Refusal::new(RefusalCode::Busy, format!("container {id} has ended")));
        }
        send(container.pid, signal).map_err(refuse_failed(format!("sending signal {signal}")))?;
        Ok(Said::plain(Answer::Done))
    }

    pub(super) fn kill_by_request(&mut self, id: &ContainerId) -> Outcome {
        self.find_container(id)?;
        self.kill_container(id);
        Ok(Said::plain(Answer::Done))
    }

    /// Kills everything in a container that has not ended.
    pub(super) fn kill_container(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.get(id).filter(|container| container.is_alive()) {
            container.group.kill();
            // The group's members all follow their first process; this is for one that is not in its group yet.
            let _ = send(container.pid, libc::SIGKILL);
        }
    }

    /// Asks every living container to end in its own way.
    pub(super) fn stop_all_containers(&self) {
        for container in self.containers.values().filter(|container| container.is_alive()) {
            let _ = send(container.pid, container.spec.stop_signal);
        }
    }

    pub(super) fn usage(&self, wanted: &[ContainerId]) -> Vec<(ContainerId, Usage)> {
        let living = self
            .containers
            .iter()
            .filter(|(id, container)| container.is_alive() && (wanted.is_empty() || wanted.contains(id)));
        living.map(|(id, container)| (id.clone(), container.group.usage())).collect()
    }

    /// Whether a container's log is at or below `path`.
    pub(super) fn is_logging_to(&self, path: &std::path::Path) -> bool {
        self.containers.values().any(|container| container.is_alive() && container.spec.log.path.starts_with(path))
    }

    pub(super) fn find_container(&self, id: &ContainerId) -> Result<&Container, Refusal> {
        self.containers.get(id).ok_or_else(|| no_container(id))
    }

    pub(super) fn containers_of(&self, pod: &PodId) -> Vec<ContainerId> {
        self.containers.iter().filter(|(_, container)| container.spec.pod == *pod).map(|(id, _)| id.clone()).collect()
    }

    /// Where each living container of a pod keeps what it has written over its image.
    pub(super) fn written_by(&self, pod: &PodId) -> impl Iterator<Item = (ContainerId, PathBuf)> {
        let living =
            self.containers.iter().filter(move |(_, container)| container.spec.pod == *pod && container.is_alive());
        living.map(|(id, container)| (id.clone(), written(&container.writable)))
    }

    pub(super) fn states_of(&self, pod: &PodId) -> Vec<ContainerState> {
        self.containers.values().filter(|container| container.spec.pod == *pod).map(Container::state).collect()
    }

    /// Whether every container of a pod has ended.
    pub(super) fn are_over(&self, pod: &PodId) -> bool {
        !self.containers.values().any(|container| container.spec.pod == *pod && container.is_alive())
    }

    /// Removes a container's cgroups, now or, while its last process is still going, soon.
    pub(super) fn release_group(&mut self, group: Group) {
        if group.remove().is_err() {
            self.lingering_groups.push(group);
        }
    }
}

impl Container {
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.phase, ContainerPhase::Exited(_))
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase == ContainerPhase::Running
    }

    fn state(&self) -> ContainerState {
        ContainerState {
            id: self.spec.id.clone(),
            pid: self.pid.as_raw_pid(),
            phase: self.phase.clone(),
            started_at: self.started_at,
            log: self.talk.log.path().to_owned(),
            tag: self.spec.tag.clone(),
        }
    }
}

impl ReportPipe {
    /// Reads what is there. Whether the other side has closed.
    pub(super) fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(0) => return true,
                Ok(count) if self.said.len() < REPORT_MAX_BYTES => {
                    self.said.extend_from_slice(chunk.get(..count).unwrap_or_default());
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
    }
}

pub(super) fn no_container(id: &ContainerId) -> Refusal {
    Refusal::new(RefusalCode::NotFound, format!("there is no container {id}"))
}

/// Sends any signal, real-time ones too.
pub(super) fn send(pid: Pid, signal: i32) -> Result<(), Errno> {
    let signal = Signal::from_named_raw(signal).ok_or(Errno::INVAL)?;
    rustix::process::kill_process(pid, signal)
}

/// How a process ended, in the words of a shell.
pub(super) fn exit(status: WaitStatus, is_oom_killed: bool, now: Timestamp) -> Exit {
    let signal = status.terminating_signal();
    let code = status.exit_status().or(signal.map(|signal| 128 + signal)).unwrap_or(-1);
    Exit { code, signal, is_oom_killed, finished_at: now }
}
