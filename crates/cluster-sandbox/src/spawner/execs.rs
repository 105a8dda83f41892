//! Programs beside a container's own.

use std::os::fd::AsFd;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, WaitStatus};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::answers::{Outcome, Reply, Said, refuse, refuse_failed};
use super::containers::{ReportPipe, exit, no_container, send};
use super::pods::Pod;
use super::poll::{ClientId, Source};
use super::server::{Process, Spawner};
use super::stdio::{self, Ours};
use crate::container::exec::Joining;
use crate::container::report::{Report, Reporter, parse};
use crate::spec::{Check, ExecId, ExecSpec};
use crate::sys::fork::{Fork, exit_now};
use crate::wire::{Answer, Event, Refusal, RefusalCode};

/// A program that runs, or is about to.
#[derive(Debug)]
pub(super) struct Exec {
    pid: Pid,
    report: Option<ReportPipe>,
    /// What the client gets, until it runs.
    ours: Option<Ours>,
    did_run: bool,
    /// Who takes it along.
    client: Option<ClientId>,
}

const EXECS_MAX: usize = 256;

impl Spawner {
    /// Starts a program in a container. The answer follows when it runs or cannot.
    pub(super) fn exec(&mut self, spec: &ExecSpec, reply: Reply) -> Result<(), Refusal> {
        spec.check().map_err(refuse)?;
        if self.execs.contains_key(&spec.id) {
            return Err(Refusal::new(RefusalCode::Exists, format!("exec {} exists", spec.id)));
        }
        if self.execs.len() >= EXECS_MAX {
            return Err(Refusal::new(RefusalCode::Busy, format!("{EXECS_MAX} programs run beside containers already")));
        }
        let container = self.find_container(&spec.container)?;
        if !container.is_running() {
            return Err(Refusal::new(RefusalCode::Busy, format!("container {} is not running", spec.container)));
        }
        let (ours, theirs) = if spec.has_terminal { stdio::terminal() } else { stdio::pipes(spec.with_stdin) }
            .map_err(refuse_failed("making pipes"))?;
        let report_flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (report, child_report) = rustix::pipe::pipe_with(report_flags).map_err(refuse_failed("making pipes"))?;
        let security = &container.spec.security;
        let filter = self.machine.filters.get(security.seccomp, security.capabilities);
        let container = self.containers.get(&spec.container).ok_or_else(|| no_container(&spec.container))?;
        let birth_place = container.group.birth_place().map_err(refuse_failed("opening a container's cgroup"))?;
        let process = rustix::process::pidfd_open(container.pid, PidfdFlags::empty())
            .map_err(refuse_failed("opening a container"))?;
        let joining = Joining {
            spec: &container.spec,
            command: &spec.command,
            group: &container.group,
            is_born_in_group: birth_place.is_some(),
            process: process.as_fd(),
            filter: filter.as_deref(),
            users: self.pods.get(&container.spec.pod).and_then(Pod::users),
            stdio: theirs.as_stdio(),
        };
        let fork = Fork { namespaces: 0, cgroup: birth_place.as_ref().map(AsFd::as_fd) };
        // Before the process, so that there never is one that nobody waits for.
        let token = self.poller.add(&report, Source::ExecReport(spec.id.clone()));
        let token = token.map_err(refuse_failed("waiting for a program"))?;
        let forked = fork_in_pid_namespace(container.pid, || fork.run(|| joining.run(Reporter::new(child_report))));
        let pid = match forked {
            Ok(pid) => pid,
            Err(refusal) => {
                self.poller.remove(&report, token);
                return Err(refusal);
            }
        };
        let client = spec.ends_with_client.then_some(reply.client);
        let report = ReportPipe { fd: report, token, said: Vec::new(), reply: Some(reply) };
        self.processes.insert(pid, Process::Exec(spec.id.clone()));
        self.execs
            .insert(spec.id.clone(), Exec { pid, report: Some(report), ours: Some(ours), did_run: false, client });
        Ok(())
    }

    pub(super) fn read_exec_report(&mut self, id: &ExecId) {
        let is_over = self.execs.get_mut(id).and_then(|exec| exec.report.as_mut()).is_some_and(ReportPipe::read);
        if is_over {
            self.finish_exec_start(id);
        }
    }

    fn finish_exec_start(&mut self, id: &ExecId) {
        let Some(exec) = self.execs.get_mut(id) else { return };
        let Some(pipe) = exec.report.take() else { return };
        self.poller.remove(&pipe.fd, pipe.token);
        let ours = exec.ours.take();
        let refused = parse(&pipe.said).into_iter().find_map(|report| match report {
            Report::Refused(why) => Some(why),
            Report::Notice(_) => None,
        });
        exec.did_run = refused.is_none();
        let outcome = match (refused, ours.map(Ours::into_descriptors)) {
            (Some(why), _) => Err(why),
            (None, Some(Err(error))) => {
                // Nobody could ever talk to it. It may have ended already.
                let _ = send(exec.pid, libc::SIGKILL);
                Err(refuse_failed("taking over a terminal")(error))
            }
            (None, descriptors) => {
                let descriptors = descriptors.and_then(Result::ok).unwrap_or_default();
                Ok(Said { answer: Answer::Exec { pid: exec.pid.as_raw_pid() }, descriptors })
            }
        };
        if let Some(reply) = pipe.reply {
            self.answer(reply, outcome);
        }
    }

    pub(super) fn signal_exec(&mut self, id: &ExecId, signal: i32) -> Outcome {
        let missing = || Refusal::new(RefusalCode::NotFound, format!("there is no exec {id}"));
        let exec = self.execs.get(id).ok_or_else(missing)?;
        send(exec.pid, signal).map_err(refuse_failed(format!("sending signal {signal}")))?;
        Ok(Said::plain(Answer::Done))
    }

    /// Kills what was run for a client that is gone.
    pub(super) fn end_execs_of(&self, client: ClientId) {
        for exec in self.execs.values().filter(|exec| exec.client == Some(client)) {
            // It may have ended already.
            let _ = send(exec.pid, libc::SIGKILL);
        }
    }

    pub(super) fn reap_exec(&mut self, id: &ExecId, status: WaitStatus) {
        if let Some(report) = self.execs.get_mut(id).and_then(|exec| exec.report.as_mut()) {
            report.read();
        }
        self.finish_exec_start(id);
        let did_run = self.execs.remove(id).is_some_and(|exec| exec.did_run);
        if did_run {
            let exit = exit(status, false, self.clock.now());
            self.tell(&Event::ExecExited { exec: id.clone(), exit });
        }
    }
}

/// A process enters a PID namespace only by being born in it: its maker steps halfway in and back.
fn fork_in_pid_namespace(of: Pid, fork: impl FnOnce() -> std::io::Result<Pid>) -> Result<Pid, Refusal> {
    let open = |pid: &str| std::fs::File::open(format!("/proc/{pid}/ns/pid"));
    let theirs = open(&of.as_raw_pid().to_string()).map_err(refuse_failed("opening a container's PID namespace"))?;
    let ours = open("self").map_err(refuse_failed("opening the spawner's PID namespace"))?;
    let kind = Some(LinkNameSpaceType::ProcessID);
    move_into_link_name_space(theirs.as_fd(), kind).map_err(refuse_failed("entering a container's PID namespace"))?;
    let forked = fork();
    if move_into_link_name_space(ours.as_fd(), kind).is_err() {
        // Every later container would be born in this one's namespace. Ending lets the next start clean up.
        exit_now(1);
    }
    forked.map_err(refuse_failed("starting a process"))
}
