//! Checks of what a client asks for, before anything is done with it.
//!
//! They need no system call: bounds, characters, shapes. What a path really leads to is decided later, with descriptors, where it is opened.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{
    CapabilitySet, ContainerSpec, ExecSpec, ListenSpec, Mount, MountSource, Place, PodFiles, PodSpec, PodStorage,
    UnpackSpec, VolumeKind,
};

/// A request that is not carried out because of how it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Which part of the request.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// Something that can be checked as it stands.
pub(crate) trait Check {
    /// # Errors
    /// The first thing that is wrong.
    fn check(&self) -> Result<(), Invalid>;
}

const TAG_MAX_BYTES: usize = 64 << 10;
const HOSTNAME_MAX_BYTES: usize = 64;
/// As DNS has it.
const FQDN_MAX_BYTES: usize = 253;
const POD_NAMES_MAX: usize = 2;
const POD_LISTENERS_MAX: usize = 32;
pub(crate) const POD_VOLUMES_MAX: usize = 64;
/// Files of one volume, all their content, and how deep they lie. Their message carries a third more than the content.
const FILES_MAX: usize = 4096;
const FILES_MAX_BYTES: usize = 5 << 20;
const FILE_DEPTH_MAX: usize = 32;
const FILE_MODE_MAX: u32 = 0o777;
const DNS_ENTRIES_MAX: usize = 32;
const HOST_ALIASES_MAX: usize = 256;
const DOMAIN_MAX_BYTES: usize = 255;
/// The kernel's own limit for one overlay is 500; images have at most 127.
const LAYERS_MAX: usize = 127;
const ARGUMENTS_MAX: usize = 4096;
const ENV_MAX: usize = 4096;
/// What the kernel takes as arguments and environment is a quarter of the stack limit: 2 MiB.
const ARGUMENTS_MAX_BYTES: usize = 1 << 20;
const MOUNTS_MAX: usize = 128;
const GROUPS_MAX: usize = 64;
const RLIMITS_MAX: usize = 8;
/// The greatest user or group id, as Kubernetes and other runtimes have it. Above are the ones that mean "leave it as it is" to the kernel.
pub(crate) const ID_MAX: u32 = i32::MAX.cast_unsigned();
const PATH_MAX_BYTES: usize = 4095;
const LISTEN_SOCKETS_MAX: u16 = 64;
const LAST_SIGNAL: i32 = 64;
const LOG_MIN_BYTES: u64 = 4096;
const LOG_FILES_MAX: u16 = 100;
const VOLUME_MIN_BYTES: u64 = 4096;
/// CPU time is given out in periods of 100 ms, of which at least 1 ms: a hundredth of a processor.
const CPU_MAX_MILLIS: u32 = 1_024_000;

fn require(is_right: bool, field: &'static str, reason: impl FnOnce() -> String) -> Result<(), Invalid> {
    if is_right { Ok(()) } else { Err(Invalid::new(field, reason())) }
}

fn at_most(count: usize, most: usize, field: &'static str) -> Result<(), Invalid> {
    require(count <= most, field, || format!("has {count} entries or bytes, at most {most} are allowed"))
}

/// No control characters: neither NUL, which ends a C string, nor a newline, which ends a line of a file written from it.
fn plain_text(text: &str, most: usize, field: &'static str) -> Result<(), Invalid> {
    at_most(text.len(), most, field)?;
    require(!text.chars().any(char::is_control), field, || "has a control character".to_owned())
}

fn is_id(ids: impl IntoIterator<Item = u32>, field: &'static str) -> Result<(), Invalid> {
    match ids.into_iter().find(|id| *id > ID_MAX) {
        Some(id) => Err(Invalid::new(field, format!("{id} is not within 0 and {ID_MAX}"))),
        None => Ok(()),
    }
}

fn no_nul(text: &str, field: &'static str) -> Result<(), Invalid> {
    require(!text.contains('\0'), field, || "has a zero byte".to_owned())
}

fn absolute(path: &str, field: &'static str) -> Result<(), Invalid> {
    at_most(path.len(), PATH_MAX_BYTES, field)?;
    no_nul(path, field)?;
    require(path.starts_with('/'), field, || format!("{path:?} is not absolute"))?;
    let climbs = Path::new(path).components().any(|part| part == Component::ParentDir);
    require(!climbs, field, || format!("{path:?} contains '..'"))
}

/// A path that stays below whatever it is appended to, as far as its text goes.
fn relative(path: &Path, field: &'static str) -> Result<(), Invalid> {
    let text = path.to_str().ok_or_else(|| Invalid::new(field, "is not UTF-8"))?;
    at_most(text.len(), PATH_MAX_BYTES, field)?;
    no_nul(text, field)?;
    let stays = !text.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    require(stays, field, || format!("{text:?} is not a plain relative path"))
}

impl Check for PodSpec {
    fn check(&self) -> Result<(), Invalid> {
        at_most(self.tag.len(), TAG_MAX_BYTES, "tag")?;
        plain_text(&self.hostname, HOSTNAME_MAX_BYTES, "hostname")?;
        require(!self.hostname.is_empty(), "hostname", || "is empty".to_owned())?;
        at_most(self.names.len(), POD_NAMES_MAX, "names")?;
        self.names.iter().try_for_each(|name| plain_text(name, FQDN_MAX_BYTES, "names"))?;
        at_most(self.listeners.len(), POD_LISTENERS_MAX, "listeners")?;
        let names: BTreeSet<_> = self.listeners.iter().map(|listener| &listener.name).collect();
        require(names.len() == self.listeners.len(), "listeners", || "two have the same name".to_owned())?;
        at_most(usize::from(self.sockets), usize::from(Self::MAX_SOCKETS), "sockets")?;
        at_most(self.volumes.len(), POD_VOLUMES_MAX, "volumes")?;
        let names: BTreeSet<_> = self.volumes.iter().map(|volume| &volume.name).collect();
        require(names.len() == self.volumes.len(), "volumes", || "two have the same name".to_owned())?;
        is_id(self.volumes.iter().filter_map(|volume| volume.group), "volumes")?;
        for volume in &self.volumes {
            if let VolumeKind::Memory { max_bytes } = volume.kind {
                memory_bound(max_bytes, "volumes")?;
            }
        }
        check_dns(&self.dns)?;
        at_most(self.host_aliases.len(), HOST_ALIASES_MAX, "host_aliases")?;
        for name in self.host_aliases.iter().flat_map(|alias| &alias.names) {
            plain_text(name, DOMAIN_MAX_BYTES, "host_aliases")?;
        }
        Ok(())
    }
}

fn check_dns(dns: &super::Dns) -> Result<(), Invalid> {
    at_most(dns.nameservers.len(), DNS_ENTRIES_MAX, "dns.nameservers")?;
    at_most(dns.searches.len(), DNS_ENTRIES_MAX, "dns.searches")?;
    at_most(dns.options.len(), DNS_ENTRIES_MAX, "dns.options")?;
    dns.searches.iter().try_for_each(|search| plain_text(search, DOMAIN_MAX_BYTES, "dns.searches"))?;
    dns.options.iter().try_for_each(|option| plain_text(option, DOMAIN_MAX_BYTES, "dns.options"))
}

fn memory_bound(max_bytes: u64, field: &'static str) -> Result<(), Invalid> {
    require(max_bytes >= VOLUME_MIN_BYTES, field, || format!("a memory volume needs at least {VOLUME_MIN_BYTES} bytes"))
}

impl Check for ContainerSpec {
    fn check(&self) -> Result<(), Invalid> {
        at_most(self.tag.len(), TAG_MAX_BYTES, "tag")?;
        require(!self.layers.is_empty(), "layers", || "is empty".to_owned())?;
        at_most(self.layers.len(), LAYERS_MAX, "layers")?;
        check_command(&self.command)?;
        check_env(&self.env)?;
        if !self.working_dir.is_empty() {
            absolute(&self.working_dir, "working_dir")?;
        }
        plain_text(&self.user.image_user, DOMAIN_MAX_BYTES, "user.image_user")?;
        is_id(self.user.uid, "user.uid")?;
        is_id(self.user.gid, "user.gid")?;
        at_most(self.user.supplementary_groups.len(), GROUPS_MAX, "user.supplementary_groups")?;
        is_id(self.user.supplementary_groups.iter().copied(), "user.supplementary_groups")?;
        at_most(self.mounts.len(), MOUNTS_MAX, "mounts")?;
        self.mounts.iter().try_for_each(Check::check)?;
        at_most(self.rlimits.len(), RLIMITS_MAX, "rlimits")?;
        let is_ordered = self.rlimits.iter().all(|limit| limit.soft <= limit.hard);
        require(is_ordered, "rlimits", || "a soft limit is above its hard limit".to_owned())?;
        let score = self.oom_score_adj.unwrap_or_default();
        require((-1000..=1000).contains(&score), "oom_score_adj", || "is not within -1000 and 1000".to_owned())?;
        require((1..=LAST_SIGNAL).contains(&self.stop_signal), "stop_signal", || "is no signal".to_owned())?;
        check_limits(self.limits)?;
        check_log_path(&self.log.path)?;
        require(self.log.max_bytes >= LOG_MIN_BYTES, "log.max_bytes", || format!("is below {LOG_MIN_BYTES}"))?;
        let files = self.log.max_files;
        require((1..=LOG_FILES_MAX).contains(&files), "log.max_files", || {
            format!("is not within 1 and {LOG_FILES_MAX}")
        })
    }
}

/// Refuses what is not a path of a log or of a directory of logs, below all of them.
pub(crate) fn check_log_path(path: &Path) -> Result<(), Invalid> {
    relative(path, "log.path")
}

impl ContainerSpec {
    /// Refuses capabilities beyond `bound`.
    pub(crate) fn check_capabilities(&self, bound: CapabilitySet) -> Result<(), Invalid> {
        let beyond = self.security.capabilities.difference(bound);
        let names = || match self.security.capabilities == CapabilitySet::ALL {
            true => "a privileged container".to_owned(),
            false => beyond.names().collect::<Vec<_>>().join(", "),
        };
        require(beyond.is_empty(), "security.capabilities", || {
            format!("{} would reach beyond the container; this installation does not allow them", names())
        })
    }

    /// Refuses paths of the machine that are not below one of `allowed`.
    pub(crate) fn check_host_paths(&self, allowed: &[PathBuf]) -> Result<(), Invalid> {
        let wanted = self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Host(path) => Some(path),
            _ => None,
        });
        wanted.into_iter().try_for_each(|path| {
            let is_allowed = allowed.iter().any(|allowed| path.starts_with(allowed));
            require(is_allowed, "mounts.source", || {
                format!(
                    "{} is the machine's; this installation does not give it to containers (hostPath)",
                    path.display()
                )
            })
        })
    }
}

fn check_limits(limits: super::Limits) -> Result<(), Invalid> {
    const MEMORY_MIN_BYTES: u64 = 512 << 10;
    let memory = limits.memory_bytes.unwrap_or(u64::MAX);
    require(memory >= MEMORY_MIN_BYTES, "limits.memory_bytes", || format!("is below {MEMORY_MIN_BYTES}"))?;
    for millis in [limits.cpu_limit_millis, limits.cpu_request_millis].into_iter().flatten() {
        require(millis <= CPU_MAX_MILLIS, "limits.cpu", || format!("is above {CPU_MAX_MILLIS}"))?;
    }
    require(limits.pids != Some(0), "limits.pids", || "is 0".to_owned())
}

fn check_command(command: &[String]) -> Result<(), Invalid> {
    at_most(command.len(), ARGUMENTS_MAX, "command")?;
    at_most(command.iter().map(String::len).sum(), ARGUMENTS_MAX_BYTES, "command")?;
    command.iter().try_for_each(|argument| no_nul(argument, "command"))?;
    let program = command.first().map_or("", String::as_str);
    require(!program.is_empty(), "command", || "no command specified".to_owned())
}

fn check_env(env: &[(String, String)]) -> Result<(), Invalid> {
    at_most(env.len(), ENV_MAX, "env")?;
    at_most(env.iter().map(|(name, value)| name.len() + value.len()).sum(), ARGUMENTS_MAX_BYTES, "env")?;
    for (name, value) in env {
        no_nul(name, "env")?;
        no_nul(value, "env")?;
        require(!name.is_empty() && !name.contains('='), "env", || format!("{name:?} is no variable's name"))?;
    }
    Ok(())
}

impl Check for Mount {
    fn check(&self) -> Result<(), Invalid> {
        absolute(&self.target, "mounts.target")?;
        let mut parts = Path::new(&self.target).components().skip(1);
        let first = parts.next().map(|part| part.as_os_str().to_owned());
        let Some(first) = first else { return Err(Invalid::new("mounts.target", "is the root")) };
        let is_kernels = first == "proc" || first == "sys";
        require(!is_kernels, "mounts.target", || format!("{:?} is inside /proc or /sys", self.target))?;
        if let Some(sub_path) = &self.sub_path {
            relative(Path::new(sub_path), "mounts.sub_path")?;
        }
        match &self.source {
            MountSource::Volume(_) | MountSource::Files(_) => Ok(()),
            MountSource::Client(path) => relative(path, "mounts.source"),
            MountSource::Host(path) => absolute(path.to_str().unwrap_or_default(), "mounts.source"),
            MountSource::Memory { max_bytes } => memory_bound(*max_bytes, "mounts.source"),
        }
    }
}

impl Check for PodFiles {
    fn check(&self) -> Result<(), Invalid> {
        at_most(self.files.len(), FILES_MAX, "files")?;
        at_most(self.files.values().map(|file| file.content.len()).sum(), FILES_MAX_BYTES, "files")?;
        at_most(self.mount_points.len(), MOUNTS_MAX, "mount_points")?;
        is_id(self.group, "group")?;
        is_id(self.files.values().map(|file| file.owner), "files.owner")?;
        let is_plain = self.files.values().all(|file| file.mode <= FILE_MODE_MAX);
        require(is_plain, "files.mode", || format!("is above {FILE_MODE_MAX:o}"))?;
        self.files.keys().try_for_each(|path| check_file_path(path, "files"))?;
        self.mount_points.iter().try_for_each(|path| check_file_path(path, "mount_points"))
    }
}

impl Check for PodStorage {
    fn check(&self) -> Result<(), Invalid> {
        is_id(self.group, "group")
    }
}

fn check_file_path(path: &str, field: &'static str) -> Result<(), Invalid> {
    relative(Path::new(path), field)?;
    at_most(Path::new(path).components().count(), FILE_DEPTH_MAX, field)?;
    require(!path.starts_with(".."), field, || format!("{path:?} begins with '..'"))
}

impl Check for ListenSpec {
    fn check(&self) -> Result<(), Invalid> {
        let count = self.sockets;
        require((1..=LISTEN_SOCKETS_MAX).contains(&count), "sockets", || {
            format!("is not within 1 and {LISTEN_SOCKETS_MAX}")
        })?;
        require(count == 1 || self.address.port() != 0, "address", || "port 0 cannot be shared".to_owned())?;
        let is_wild = self.place == Place::Instance && self.address.ip().is_unspecified();
        require(!is_wild, "address", || "a wildcard address would answer on every service address".to_owned())
    }
}

impl Check for ExecSpec {
    fn check(&self) -> Result<(), Invalid> {
        check_command(&self.command)
    }
}

impl Check for UnpackSpec {
    fn check(&self) -> Result<(), Invalid> {
        relative(&self.blob, "blob")?;
        at_most(self.below.len(), LAYERS_MAX, "below")
    }
}

#[cfg(test)]
mod tests;
