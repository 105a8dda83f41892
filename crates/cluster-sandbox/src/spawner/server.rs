//! The spawner's state and its event loop.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base_rt::{Clock, Timestamp};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open};

use super::answers::{Outcome, Reply, Said};
use super::clients::Client;
use super::config::SpawnerConfig;
use super::containers::Container;
use super::ending::{Ending, GRACE};
use super::execs::Exec;
use super::jobs::Jobs;
use super::listeners::Listener;
use super::machine::Machine;
use super::peer::{Peer, admit};
use super::pods::Pod;
use super::poll::{ClientId, Poller, Source, Token};
use super::pool::Pool;
use crate::cgroup::Group;
use crate::network::instance::InstanceNetwork;
use crate::network::pod::PodLink;
use crate::spec::{ContainerId, ExecId, ListenerName, PodId, SpawnerFacts, SpawnerUsage};
use crate::sys::signals;
use crate::sys::text::release_text;
use crate::sys::time::Moment;
use crate::wire::packet::{Packet, PacketError, Received, receive};
use crate::wire::{Answer, Event, FromSpawner, OLDEST, Refusal, RefusalCode, Request, ToSpawner, VERSION};

/// What a child process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Container(ContainerId),
    Exec(ExecId),
    Job,
    /// The client, where the spawner is the first process and started it.
    Client,
}

/// Everything the spawner knows. The modules beside this one each add what they know how to do with it.
pub(super) struct Spawner {
    pub(super) config: SpawnerConfig,
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    pub(super) poller: Poller,
    pub(super) pods: BTreeMap<PodId, Pod>,
    pub(super) containers: BTreeMap<ContainerId, Container>,
    pub(super) execs: BTreeMap<ExecId, Exec>,
    pub(super) listeners: BTreeMap<ListenerName, Listener>,
    /// Looked up, never gone through: a process id has no order.
    pub(super) processes: HashMap<Pid, Process>,
    pub(super) jobs: Jobs,
    pub(super) pool: Pool,
    pub(super) lingering_groups: Vec<Group>,
    pub(super) lingering_links: VecDeque<(Moment, PodLink)>,
    pub(super) ending: Option<Ending>,
    /// When pods end because nobody came back; none while a client is connected.
    pub(super) orphan_at: Option<Moment>,
    /// Who started it, until a client has connected.
    starter: Option<(OwnedFd, Token)>,
    pub(super) links_made: u32,
    pub(super) names_made: u64,
    pub(super) child: Option<Pid>,
    pub(super) child_exit: Option<u8>,
    clients: BTreeMap<ClientId, Client>,
    next_client: ClientId,
    door: OwnedFd,
    signals: OwnedFd,
    pub(super) started_at: Timestamp,
}

/// More connections than this are turned away; there is one client and perhaps a command or two.
const CLIENTS_MAX: usize = 16;
/// How many requests of one client are carried out before others have their turn.
const REQUESTS_AT_ONCE: usize = 16;
/// Signals that the loop reads.
pub(super) const SIGNALS: [i32; 3] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT];

impl Spawner {
    pub(super) fn new(config: SpawnerConfig, machine: Machine, door: OwnedFd, signals: OwnedFd) -> io::Result<Self> {
        let clock = Clock::system();
        let mut poller = Poller::new()?;
        poller.add(&door, Source::Door)?;
        poller.add(&signals, Source::Signals)?;
        let starter = config.starter.map(|pid| watch_starter(pid, &mut poller));
        let pool = Pool::new(config.parked_pods);
        let wait = if matches!(starter, Some(None)) { 0 } else { config.orphan_wait_ms };
        Ok(Self {
            config,
            machine,
            clock,
            poller,
            pods: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            listeners: BTreeMap::new(),
            processes: HashMap::new(),
            jobs: Jobs::default(),
            pool,
            lingering_groups: Vec::new(),
            lingering_links: VecDeque::new(),
            ending: None,
            orphan_at: Some(Moment::now().after(Duration::from_millis(wait))),
            starter: starter.flatten(),
            links_made: 0,
            names_made: 0,
            child: None,
            child_exit: None,
            clients: BTreeMap::new(),
            next_client: 0,
            door,
            signals,
            started_at: clock.now(),
        })
    }

    /// Serves until the end; returns the exit code of the client if the spawner started it.
    pub(super) fn run(mut self) -> io::Result<u8> {
        if let Err(error) = release_text() {
            tracing::debug!(%error, "the code of the start stays in memory");
        }
        while !self.is_over() {
            let ready = self.poller.wait(self.patience())?;
            let is_idle = ready.is_empty();
            for source in ready {
                self.serve(source);
            }
            self.tick();
            // Removing trees can wait for a quiet moment, or until there is a heap of them.
            if is_idle || self.jobs.is_heap() {
                self.run_jobs();
            }
            self.refill();
        }
        Ok(self.take_down())
    }

    fn serve(&mut self, source: Source) {
        match source {
            Source::Door => self.open_door(),
            Source::Signals => self.read_signals(),
            Source::Starter => self.lose_starter(),
            Source::Client(id) => self.serve_client(id),
            Source::Output(container, stream) => self.read_output(&container, stream),
            Source::ContainerReport(container) => self.read_container_report(&container),
            Source::ExecReport(exec) => self.read_exec_report(&exec),
        }
    }

    fn open_door(&mut self) {
        let socket = match rustix::net::accept_with(&self.door, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return,
            Err(error) => return tracing::warn!(%error, "a connection could not be accepted"),
        };
        let peer = match admit(socket.as_fd(), &self.config, self.child) {
            Ok(peer) if self.clients.len() < CLIENTS_MAX => peer,
            Ok(_) => return tracing::warn!("a connection was turned away: there are too many"),
            Err(reason) => return tracing::warn!(reason, "a connection was turned away"),
        };
        let id = self.next_client;
        self.next_client += 1;
        match self.poller.add(&socket, Source::Client(id)) {
            Ok(token) => drop(self.clients.insert(id, Client::new(socket, token, peer))),
            Err(error) => tracing::warn!(%error, "a connection could not be watched"),
        }
    }

    fn serve_client(&mut self, id: ClientId) {
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(client) = self.clients.get_mut(&id) else { return };
            if let Err(error) = client.flush(&self.poller) {
                return self.part_with(id, Some(error));
            }
            if !client.may_ask() {
                return;
            }
            match receive::<ToSpawner>(client.socket.as_fd()) {
                // A request carries no descriptors; ones that came are closed here.
                Ok(Some(Received { message, .. })) => {
                    self.request(Reply { client: id, id: message.id }, message.request)
                }
                Ok(None) => return self.part_with(id, None),
                Err(PacketError::Socket(Errno::AGAIN)) => return,
                Err(error) => return self.part_with(id, Some(error)),
            }
        }
    }

    fn part_with(&mut self, id: ClientId, why: Option<PacketError>) {
        let Some(client) = self.clients.remove(&id) else { return };
        self.poller.remove(&client.socket, client.token);
        self.end_execs_of(id);
        if let Some(error) = why {
            tracing::warn!(error = base_rt::error_chain(&error), "a client was disconnected");
        }
        let is_alone = !self.clients.values().any(|client| client.peer == Peer::Owner && client.is_greeted);
        if client.peer == Peer::Owner && client.is_greeted && is_alone && self.ending.is_none() {
            tracing::info!(wait_ms = self.config.orphan_wait_ms, "the client is gone; pods are kept for the next one");
            self.orphan_at = Some(Moment::now().after(Duration::from_millis(self.config.orphan_wait_ms)));
        }
    }

    fn request(&mut self, reply: Reply, request: Request) {
        let is_greeted = self.clients.get(&reply.client).is_some_and(|client| client.is_greeted);
        if !is_greeted && !matches!(request, Request::Hello { .. }) {
            return self.answer(reply, Err(Refusal::new(RefusalCode::Invalid, "the first request must be hello")));
        }
        let now_or_later = self.carry_out(reply, request);
        match now_or_later {
            Ok(Some(said)) => self.answer(reply, Ok(said)),
            Ok(None) => {}
            Err(refusal) => self.answer(reply, Err(refusal)),
        }
    }

    /// `None`: the answer follows later.
    fn carry_out(&mut self, reply: Reply, request: Request) -> Result<Option<Said>, Refusal> {
        match request {
            Request::Hello { oldest, newest } => self.greet(reply.client, oldest, newest).map(Some),
            Request::Pods => self.list_pods().map(Some),
            Request::AdoptPod { pod, sockets } => self.adopt_pod(&pod, sockets).map(Some),
            Request::CreatePod(spec) => self.create_pod(*spec).map(Some),
            Request::WriteFiles(files) => self.write_files(&files).map(Some),
            Request::UseStorage(wanted) => self.use_storage(*wanted, reply),
            Request::RemoveStorage { storage } => self.remove_storage(&storage, reply),
            Request::Sockets { pod, count } => self.more_sockets(&pod, count).map(Some),
            Request::RemovePod { pod } => self.remove_pod(&pod, Some(reply)).map(|()| None),
            Request::Listen(spec) => self.listen(*spec).map(Some),
            Request::Listeners => self.list_listeners().map(Some),
            Request::Unlisten { name } => self.unlisten(&name).map(Some),
            Request::StartContainer(spec) => self.start_container(*spec, reply).map(|()| None),
            Request::RemoveContainer { container } => self.remove_container(&container).map(Some),
            Request::Signal { container, signal } => self.signal_container(&container, signal).map(Some),
            Request::Kill { container } => self.kill_by_request(&container).map(Some),
            Request::Attach { container } => self.attach(&container).map(Some),
            Request::Exec(spec) => self.exec(&spec, reply).map(|()| None),
            Request::SignalExec { exec, signal } => self.signal_exec(&exec, signal).map(Some),
            Request::Usage { containers } => {
                let answer = Answer::Usage { containers: self.usage(&containers), spawner: self.own_usage() };
                Ok(Some(Said::plain(answer)))
            }
            Request::MeasurePod { pod } => self.measure(&pod, reply).map(|()| None),
            Request::Layers => self.layers().map(Some),
            Request::Unpack(spec) => self.unpack(*spec, reply).map(|()| None),
            Request::RemoveLayer { layer } => self.remove_layer(&layer).map(Some),
            Request::RemoveLogs { path } => self.remove_logs(&path).map(Some),
            Request::Down { grace_ms } => {
                self.end(Duration::from_millis(grace_ms), Some(reply));
                Ok(None)
            }
        }
    }

    fn greet(&mut self, id: ClientId, oldest: u32, newest: u32) -> Outcome {
        let protocol = newest.min(VERSION);
        if protocol < oldest.max(OLDEST) {
            let message = format!(
                "this spawner speaks protocol versions {OLDEST} to {VERSION}, the client {oldest} to {newest}; end it with \"kwick down\" and start again"
            );
            return Err(Refusal::new(RefusalCode::Version, message));
        }
        let Some(client) = self.clients.get_mut(&id) else {
            return Err(Refusal::new(RefusalCode::NotFound, "the client is gone"));
        };
        client.is_greeted = true;
        if client.peer == Peer::Owner {
            self.orphan_at = None;
            self.forget_starter();
        }
        Ok(Said::plain(Answer::Hello(Box::new(self.facts(protocol)))))
    }

    /// What the spawner says of itself.
    pub(super) fn facts(&self, protocol: u32) -> SpawnerFacts {
        SpawnerFacts {
            protocol,
            instance: self.config.instance.clone(),
            pid: rustix::process::getpid().as_raw_pid(),
            started_at: self.started_at,
            network: self.machine.network.as_ref().map(InstanceNetwork::facts).cloned(),
            notices: self.machine.notices.clone(),
            is_ending: self.ending.is_some(),
        }
    }

    /// Answers a request. A client that is gone is not missed.
    pub(super) fn answer(&mut self, reply: Reply, outcome: Outcome) {
        let (outcome, descriptors) = match outcome {
            Ok(said) => (Ok(said.answer), said.descriptors),
            Err(refusal) => (Err(refusal), Vec::new()),
        };
        let Some(client) = self.clients.get_mut(&reply.client) else { return };
        let packet = Packet::encode_about(reply.id, &FromSpawner::Answer { id: reply.id, outcome }, descriptors);
        if let Err(error) = packet.and_then(|packet| client.send(packet, &self.poller)) {
            self.part_with(reply.client, Some(error));
        }
    }

    /// Tells every client of the owner.
    pub(super) fn tell(&mut self, event: &Event) {
        let now = self.clock.now();
        let mut gone = Vec::new();
        for (id, client) in &mut self.clients {
            if let Err(error) = client.notify(event, now, &self.poller) {
                gone.push((*id, error));
            }
        }
        gone.into_iter().for_each(|(id, error)| self.part_with(id, Some(error)));
    }

    fn read_signals(&mut self) {
        let mut record = [0; signals::RECORD_BYTES];
        while rustix::io::read(&self.signals, &mut record).is_ok_and(|count| count == record.len()) {
            match signals::number(&record) {
                Some(libc::SIGCHLD) => self.reap(),
                // The first process of a container passes the request on; its client then ends, and with it everything.
                Some(signal) => match self.child {
                    Some(child) => drop(super::containers::send(child, signal)),
                    None => self.end(GRACE, None),
                },
                None => {}
            }
        }
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            match self.processes.remove(&pid) {
                Some(Process::Container(id)) => self.reap_container(&id, status),
                Some(Process::Exec(id)) => self.reap_exec(&id, status),
                Some(Process::Job) => self.reap_job(pid, status),
                Some(Process::Client) => self.lose_child(status),
                // The first process inherits orphans.
                None => {}
            }
        }
    }

    fn own_usage(&self) -> SpawnerUsage {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        let pss =
            rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        SpawnerUsage {
            pss_bytes: pss.map(|kilobytes| kilobytes * 1024),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            parked_pods: self.pool.len() as u64,
            taken_pods: self.pool.taken,
        }
    }

    /// Nobody has connected yet, and who would have done it is gone.
    fn lose_starter(&mut self) {
        // It may have ended together with a first word of the client.
        if self.starter.is_none() {
            return;
        }
        tracing::info!("who started this spawner has ended without connecting");
        self.forget_starter();
        self.orphan_at = Some(Moment::now());
    }

    fn forget_starter(&mut self) {
        if let Some((process, token)) = self.starter.take() {
            self.poller.remove(&process, token);
        }
    }

    fn lose_child(&mut self, status: WaitStatus) {
        self.child = None;
        self.child_exit = Some(exit_code(status));
        self.end(GRACE, None);
    }
}

/// Waits for the end of the process that started this one; `None` if it has ended.
fn watch_starter(pid: i32, poller: &mut Poller) -> Option<(OwnedFd, Token)> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let token = poller.add(&process, Source::Starter).ok()?;
    Some((process, token))
}

/// How a process ended, as the exit code of whoever ends with it.
pub(super) fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
