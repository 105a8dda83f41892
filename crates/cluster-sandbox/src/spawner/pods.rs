//! Pods: made, adopted, removed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags};

use super::answers::{Outcome, Reply, Said, refuse, refuse_failed};
use super::pool::Parked;
use super::server::Spawner;
use crate::container::mounts;
use crate::container::users::Users;
use crate::network::NetworkError;
use crate::network::pod::{MadeSockets, PodLink, PodNamespaces, WantedSockets, make_sockets};
use crate::network::sockets;
use crate::spec::{
    Check, ContainerId, ContainerState, PodId, PodNetwork, PodSpec, PodState, PodVolume, VolumeKind, VolumeName,
};
use crate::sys::time::Moment;
use crate::wire::{Answer, Refusal, RefusalCode};

/// A pod.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) spec: PodSpec,
    pub(super) ip: Option<Ipv4Addr>,
    /// None for one whose address is the instance's own: it runs nothing.
    pub(super) namespaces: Option<PodNamespaces>,
    /// The machine's first user that is the pod's, if it has its own.
    users: Option<u32>,
    link: Option<PodLink>,
    listeners: Vec<OwnedFd>,
    pub(super) volumes: BTreeMap<VolumeName, PathBuf>,
    pub(super) files: BTreeMap<VolumeName, PathBuf>,
    pub(super) etc: Vec<(&'static str, PathBuf)>,
    pub(super) shared_memory: Option<PathBuf>,
    /// Memory file systems to unmount, in the spawner's own mounts.
    pub(super) memory: Vec<PathBuf>,
    /// Those who wait for its end.
    pub(super) removing: Option<Vec<Reply>>,
}

/// How long a link may outlive its pod before it is deleted by hand: long enough for the kernel to do it by itself.
const LINK_LINGERS: Duration = Duration::from_secs(5);
const SHARED_MEMORY_BYTES: u64 = 64 << 20;
const PODS_MAX: usize = 1000;
/// As everywhere: what lies in memory also keeps one user from removing what is another's.
const DISK_MODE: u32 = 0o777;
const MEMORY_MODE: u32 = 0o1777;

impl Spawner {
    pub(super) fn create_pod(&mut self, spec: PodSpec) -> Outcome {
        spec.check().map_err(refuse)?;
        self.require_open()?;
        if self.pods.contains_key(&spec.id) {
            return Err(Refusal::new(RefusalCode::Exists, format!("pod {} exists", spec.id)));
        }
        if self.pods.len() >= PODS_MAX {
            return Err(Refusal::new(RefusalCode::Busy, format!("there are {PODS_MAX} pods already")));
        }
        self.pool.rest();
        let id = spec.id.clone();
        let (pod, unconnected) = self.make_pod(spec)?;
        let answer = pod_answer(&pod, Vec::new(), unconnected)?;
        self.pods.insert(id, pod);
        Ok(answer)
    }

    fn make_pod(&mut self, spec: PodSpec) -> Result<(Pod, Vec<OwnedFd>), Refusal> {
        let mut pod = Pod {
            ip: None,
            namespaces: None,
            users: None,
            link: None,
            listeners: Vec::new(),
            volumes: BTreeMap::new(),
            files: BTreeMap::new(),
            etc: Vec::new(),
            shared_memory: None,
            memory: Vec::new(),
            removing: None,
            spec,
        };
        let made = self.join_network(&mut pod).and_then(|unconnected| {
            self.make_files(&mut pod).map_err(refuse_failed("making a pod's files")).map(|()| unconnected)
        });
        match made {
            Ok(unconnected) => Ok((pod, unconnected)),
            Err(refusal) => {
                self.dissolve(pod);
                Err(refusal)
            }
        }
    }

    fn join_network(&mut self, pod: &mut Pod) -> Result<Vec<OwnedFd>, Refusal> {
        let spec = &pod.spec;
        let wanted = WantedSockets { listeners: &spec.listeners, unconnected: spec.sockets };
        if let Some(parked) = self.take_parked(spec) {
            return self.dress(pod, parked);
        }
        if spec.network != PodNetwork::Isolated {
            pod.ip = Some(self.take_address(spec.ip)?);
        }
        let made = match (pod.ip, spec.network) {
            (Some(ip), PodNetwork::Instance) => self.hold(ip, wanted),
            (ip, _) => {
                pod.users = spec.has_own_users.then(|| self.machine.users.take());
                let own = (spec.hostname.as_str(), pod.users);
                let (mut namespaces, sockets) =
                    PodNamespaces::create(&self.machine.home, own, wanted).map_err(refuse_network)?;
                if let (Some(ip), Some(network)) = (ip, &mut self.machine.network) {
                    self.links_made = self.links_made.wrapping_add(1);
                    pod.link = Some(network.join(&mut namespaces, ip, self.links_made).map_err(refuse_network)?);
                }
                pod.namespaces = Some(namespaces);
                Ok(sockets)
            }
        };
        let sockets = made.map_err(refuse_network)?;
        pod.listeners = sockets.listeners;
        Ok(sockets.unconnected)
    }

    /// Makes a parked pod this one.
    fn dress(&self, pod: &mut Pod, parked: Parked) -> Result<Vec<OwnedFd>, Refusal> {
        (pod.ip, pod.link) = (Some(parked.link.ip), Some(parked.link));
        let namespaces = pod.namespaces.insert(parked.namespaces);
        let wanted = WantedSockets { listeners: &pod.spec.listeners, unconnected: pod.spec.sockets };
        let sockets = namespaces.dress(&self.machine.home, &pod.spec.hostname, wanted).map_err(refuse_network)?;
        pod.listeners = sockets.listeners;
        Ok(sockets.unconnected)
    }

    fn take_address(&mut self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, Refusal> {
        let Some(addresses) = &mut self.machine.addresses else {
            return Err(Refusal::new(RefusalCode::Invalid, "network: this instance has none"));
        };
        let mut taken = addresses.take(wanted);
        if taken.is_err() && self.unpark(wanted) {
            taken = self.machine.addresses.as_mut().map_or(taken, |addresses| addresses.take(wanted));
        }
        taken.map_err(refuse_network)
    }

    /// An address of the instance itself, with listeners on it.
    fn hold(&mut self, ip: Ipv4Addr, wanted: WantedSockets<'_>) -> Result<MadeSockets, NetworkError> {
        let Some(network) = &mut self.machine.network else { return Ok(MadeSockets::default()) };
        network.hold(ip)?;
        let made = self.machine.home.visit(network.namespace.as_fd(), || make_sockets(wanted, ip));
        made.and_then(|made| made).map_err(NetworkError::system("opening sockets of a pod"))
    }

    fn make_files(&self, pod: &mut Pod) -> io::Result<()> {
        if pod.namespaces.is_none() {
            return Ok(());
        }
        let small = self.small_dir(&pod.spec.id);
        let data = self.config.pods_dir.join(pod.spec.id.as_str());
        fs::create_dir(&small)?;
        fs::create_dir(&data)?;
        pod.etc = write_etc(&small, &pod.spec, pod.ip)?;
        if pod.spec.shared_memory {
            let path = small.join("shm");
            make_memory(&path, SHARED_MEMORY_BYTES, None)?;
            pod.memory.push(path.clone());
            pod.shared_memory = Some(path);
        }
        for volume in &pod.spec.volumes {
            let path = match volume.kind {
                VolumeKind::Disk => make_volume(&data, volume)?,
                VolumeKind::Memory { max_bytes } => {
                    let path = small.join(format!("volume-{}", volume.name));
                    make_memory(&path, max_bytes, volume.group)?;
                    pod.memory.push(path.clone());
                    path
                }
            };
            pod.volumes.insert(volume.name.clone(), path);
        }
        Ok(())
    }

    /// Where a pod's small files and what it has in memory are.
    pub(super) fn small_dir(&self, pod: &PodId) -> PathBuf {
        self.config.run_dir.join("pods").join(pod.as_str())
    }

    pub(super) fn adopt_pod(&mut self, id: &PodId, count: u16) -> Outcome {
        let containers = self.states_of(id);
        let pod = self.pods.get(id).ok_or_else(|| no_pod(id))?;
        let unconnected = self.open_sockets(pod, count)?;
        pod_answer(pod, containers, unconnected)
    }

    pub(super) fn more_sockets(&self, id: &PodId, count: u16) -> Outcome {
        let pod = self.pods.get(id).ok_or_else(|| no_pod(id))?;
        let sockets = self.open_sockets(pod, count)?;
        Ok(Said { answer: Answer::Sockets { count: sockets.len() as u16 }, descriptors: sockets })
    }

    fn open_sockets(&self, pod: &Pod, count: u16) -> Result<Vec<OwnedFd>, Refusal> {
        let count = count.min(PodSpec::MAX_SOCKETS);
        let network = match (&pod.namespaces, &self.machine.network) {
            (Some(namespaces), _) => namespaces.network(),
            (None, Some(instance)) => instance.namespace.as_fd(),
            // A pod that holds an address of an instance's network has one.
            (None, None) => return Ok(Vec::new()),
        };
        let opened = self.machine.home.visit(network, || sockets::unconnected(count));
        let opened = opened.and_then(|opened| Ok(opened?));
        opened.map_err(NetworkError::system("opening sockets in a pod")).map_err(refuse_network)
    }

    pub(super) fn list_pods(&self) -> Outcome {
        let states = self.pods.values().map(|pod| pod.state(self.states_of(&pod.spec.id)));
        Ok(Said::plain(Answer::Pods(states.collect())))
    }

    /// Begins the end of a pod: its containers are killed, and it goes once the last has ended.
    pub(super) fn remove_pod(&mut self, id: &PodId, reply: Option<Reply>) -> Result<(), Refusal> {
        let pod = self.pods.get_mut(id).ok_or_else(|| no_pod(id))?;
        pod.removing.get_or_insert_default().extend(reply);
        let containers: Vec<ContainerId> = self.containers_of(id);
        for container in &containers {
            self.kill_container(container);
        }
        self.finish_removal(id);
        Ok(())
    }

    /// Completes the removal of a pod that was asked for, if its containers have ended.
    pub(super) fn finish_removal(&mut self, id: &PodId) {
        self.pool.rest();
        let is_over = self.pods.get(id).is_some_and(|pod| pod.removing.is_some()) && self.are_over(id);
        let Some(mut pod) = (if is_over { self.pods.remove(id) } else { None }) else { return };
        for container in self.containers_of(id) {
            self.forget_container(&container);
        }
        let waiting = pod.removing.take().unwrap_or_default();
        self.unlisten_pod(id);
        self.dissolve(pod);
        waiting.into_iter().for_each(|reply| self.answer(reply, Ok(Said::plain(Answer::Done))));
    }

    /// Lets go of everything that a pod, whole or half-made, holds.
    fn dissolve(&mut self, pod: Pod) {
        pod.memory.iter().for_each(|path| unmount_memory(path));
        if pod.namespaces.is_some() {
            let name = pod.spec.id.as_str();
            self.discard_named(self.small_dir(&pod.spec.id));
            self.discard_named(self.config.pods_dir.join(name));
        }
        if let Some(first) = pod.users {
            self.machine.users.free(first);
        }
        match (pod.link, pod.ip) {
            (Some(link), _) => self.unlink(link),
            (None, Some(ip)) => {
                if let (Some(network), PodNetwork::Instance) = (&mut self.machine.network, pod.spec.network) {
                    network.release(ip);
                }
                self.free_address(ip);
            }
            (None, None) => {}
        }
    }

    /// Lets go of a link whose namespace is being closed, and of its address.
    pub(super) fn unlink(&mut self, link: PodLink) {
        if let Some(network) = &mut self.machine.network {
            network.part(link);
            self.lingering_links.push_back((Moment::now().after(LINK_LINGERS), link));
        }
        self.free_address(link.ip);
    }

    fn free_address(&mut self, ip: Ipv4Addr) {
        if let Some(addresses) = &mut self.machine.addresses {
            addresses.free(ip);
        }
    }
}

impl Pod {
    /// Its own users, if it has them: their namespace, and who they are outside.
    pub(super) fn users(&self) -> Option<Users<'_>> {
        let namespace = self.namespaces.as_ref()?.namespaces.user.as_ref()?.as_fd();
        Some(Users { namespace, first: self.users? })
    }

    fn state(&self, containers: Vec<ContainerState>) -> PodState {
        PodState {
            id: self.spec.id.clone(),
            network: self.spec.network,
            ip: self.ip,
            listeners: self.spec.listeners.iter().map(|listener| listener.name.clone()).collect(),
            tag: self.spec.tag.clone(),
            containers,
        }
    }
}

/// Listeners, then the diagnostic socket, then unconnected ones.
fn pod_answer(pod: &Pod, containers: Vec<ContainerState>, unconnected: Vec<OwnedFd>) -> Outcome {
    let failed = || refuse_failed("duplicating a pod's sockets");
    let mut descriptors = Vec::new();
    for listener in &pod.listeners {
        descriptors.push(listener.try_clone().map_err(failed())?);
    }
    if let Some(namespaces) = &pod.namespaces {
        descriptors.push(namespaces.diag.try_clone().map_err(failed())?);
    }
    let sockets = unconnected.len() as u16;
    descriptors.extend(unconnected);
    let answer = Answer::Pod { state: Box::new(pod.state(containers)), has_diag: pod.namespaces.is_some(), sockets };
    Ok(Said { answer, descriptors })
}

pub(super) fn no_pod(id: &PodId) -> Refusal {
    Refusal::new(RefusalCode::NotFound, format!("there is no pod {id}"))
}

pub(super) fn refuse_network(error: NetworkError) -> Refusal {
    let in_use = Errno::ADDRINUSE.raw_os_error();
    let code = match &error {
        NetworkError::AddressTaken(_) => RefusalCode::Exists,
        NetworkError::RangeFull(_) => RefusalCode::Busy,
        NetworkError::System { source, .. }
            if source.raw_os_error() == Some(in_use) || source.kind() == io::ErrorKind::AddrInUse =>
        {
            RefusalCode::Exists
        }
        _ => RefusalCode::Failed,
    };
    Refusal::new(code, base_rt::error_chain(&error))
}

fn write_etc(directory: &Path, spec: &PodSpec, ip: Option<Ipv4Addr>) -> io::Result<Vec<(&'static str, PathBuf)>> {
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if let Some(ip) = ip {
        let names = spec.names.iter().map(|name| format!("\t{name}"));
        let _ = writeln!(hosts, "{ip}{}", names.collect::<String>());
    }
    for alias in &spec.host_aliases {
        let _ = writeln!(hosts, "{}\t{}", alias.ip, alias.names.join("\t"));
    }
    let mut resolv = String::new();
    for server in &spec.dns.nameservers {
        let _ = writeln!(resolv, "nameserver {server}");
    }
    if !spec.dns.searches.is_empty() {
        let _ = writeln!(resolv, "search {}", spec.dns.searches.join(" "));
    }
    if !spec.dns.options.is_empty() {
        let _ = writeln!(resolv, "options {}", spec.dns.options.join(" "));
    }
    let files = [("hosts", hosts), ("hostname", format!("{}\n", spec.hostname)), ("resolv.conf", resolv)];
    files
        .into_iter()
        .map(|(name, content)| {
            let path = directory.join(name);
            fs::write(&path, content)?;
            Ok((name, path))
        })
        .collect()
}

fn make_volume(data: &Path, volume: &PodVolume) -> io::Result<PathBuf> {
    let path = data.join(format!("volume-{}", volume.name));
    fs::create_dir(&path)?;
    own_volume(&path, DISK_MODE, volume.group)?;
    Ok(path)
}

/// A storage: as a volume of a pod on the disk.
pub(super) fn make_storage(path: &Path, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(path)?;
    own_volume(path, DISK_MODE, group)
}

fn make_memory(path: &Path, max_bytes: u64, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(path)?;
    mount_memory(path, &[("size", &max_bytes.to_string())])?;
    own_volume(path, MEMORY_MODE, group)
}

/// A memory file system in the spawner's own mounts, which nobody else sees and which end with it.
pub(super) fn mount_memory(path: &Path, options: &[(&str, &str)]) -> Result<(), Errno> {
    let mount =
        mounts::filesystem("tmpfs", options, MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    let point = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mounts::attach(mount.as_fd(), point.as_fd())
}

pub(super) fn unmount_memory(path: &Path) {
    if let Err(error) = rustix::mount::unmount(path, UnmountFlags::DETACH) {
        tracing::warn!(path = %path.display(), %error, "a memory volume could not be unmounted");
    }
}

fn own_volume(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    chown(path, None, group)?;
    let set_group_id = if group.is_some() { 0o2000 } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode | set_group_id))
}
