//! A Pod's volumes: which the spawner makes, which are files of ours, and what is in those.
//!
//! ConfigMaps, Secrets, the downward API and tokens are directories that this process writes ([`write_volume`]), laid out as the kubelet
//! does so that an update is seen whole:
//! ```text
//! VOLUME/key ─► ..data/key        VOLUME/..data ─► ..N        VOLUME/..N/key (the content)
//! ```
//! Content is gathered by [`super::sources`]; here are the pure parts and the writing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

use cluster_sandbox::spec::{Mount, MountSource, PodVolume, VolumeKind, VolumeName};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath, Pod, Secret,
    ServiceAccountTokenProjection, Volume,
};

use super::env::Needs;
use super::expand::expand;
use super::fields::{Addresses, NodeLimits, field, resource};
use super::names;
use crate::objects::quantity::Milli;

/// Files of a volume: content and mode by relative path.
pub(crate) type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// What a file of ours has for mode if nothing says.
const MODE: u32 = 0o644;
/// An emptyDir in memory that names no bound has this one.
const MEMORY_VOLUME_BYTES: u64 = 256 << 20;
/// The link that says which content is the present one.
const DATA: &str = "..data";

/// One part of the content of a directory of ours.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Keys of a ConfigMap.
    ConfigMap(Pick),
    /// Keys of a Secret.
    Secret(Pick),
    /// Fields of the Pod.
    Downward(Vec<DownwardAPIVolumeFile>),
    /// A token of the Pod's ServiceAccount.
    Token(ServiceAccountTokenProjection),
}

/// Which keys of an object go where.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    /// The object's name.
    pub(crate) name: String,
    /// Which keys; all if none is named.
    pub(crate) items: Vec<KeyToPath>,
    /// Whether it may be absent.
    pub(crate) is_optional: bool,
}

impl Pick {
    fn new(name: &str, items: Option<&Vec<KeyToPath>>, optional: Option<bool>) -> Self {
        Self { name: name.to_owned(), items: items.cloned().unwrap_or_default(), is_optional: optional == Some(true) }
    }
}

/// What a volume is to this node.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// A directory that lives and ends with the Pod.
    Empty(VolumeKind),
    /// A directory of ours.
    Files {
        /// What is in it.
        parts: Vec<Part>,
        /// The mode of files that name none.
        mode: u32,
    },
    /// A path of the machine.
    Host(String),
}

/// What `volume` is.
///
/// # Errors
/// This node has no such volumes; in words.
pub(crate) fn plan(volume: &Volume) -> Result<Plan, String> {
    let mode = |mode: Option<i32>| mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(MODE);
    if let Some(source) = &volume.empty_dir {
        return Ok(Plan::Empty(empty_kind(source)));
    }
    if let Some(source) = &volume.config_map {
        let pick = Pick::new(&source.name, source.items.as_ref(), source.optional);
        return Ok(Plan::Files { parts: vec![Part::ConfigMap(pick)], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let pick = Pick::new(name, source.items.as_ref(), source.optional);
        return Ok(Plan::Files { parts: vec![Part::Secret(pick)], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.downward_api {
        let parts = vec![Part::Downward(source.items.clone().unwrap_or_default())];
        return Ok(Plan::Files { parts, mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.projected {
        let mut parts = Vec::new();
        for projection in source.sources.iter().flatten() {
            if let Some(map) = &projection.config_map {
                parts.push(Part::ConfigMap(Pick::new(&map.name, map.items.as_ref(), map.optional)));
            } else if let Some(secret) = &projection.secret {
                parts.push(Part::Secret(Pick::new(&secret.name, secret.items.as_ref(), secret.optional)));
            } else if let Some(downward) = &projection.downward_api {
                parts.push(Part::Downward(downward.items.clone().unwrap_or_default()));
            } else if let Some(token) = &projection.service_account_token {
                parts.push(Part::Token(token.clone()));
            } else {
                return Err(format!("volume {:?} projects something that this node does not support", volume.name));
            }
        }
        return Ok(Plan::Files { parts, mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.host_path {
        return Ok(Plan::Host(source.path.clone()));
    }
    // A volume without a source is an emptyDir.
    let is_bare =
        serde_json::to_value(volume).is_ok_and(|value| value.as_object().is_some_and(|fields| fields.len() == 1));
    if is_bare {
        return Ok(Plan::Empty(VolumeKind::Disk));
    }
    Err(format!("volume {:?} is of a kind that this node does not support", volume.name))
}

fn empty_kind(source: &EmptyDirVolumeSource) -> VolumeKind {
    if source.medium.as_deref() != Some("Memory") {
        return VolumeKind::Disk;
    }
    let bytes =
        source.size_limit.as_ref().and_then(Milli::parse).and_then(|amount| u64::try_from(amount.0 / 1000).ok());
    VolumeKind::Memory { max_bytes: bytes.filter(|bytes| *bytes > 0).unwrap_or(MEMORY_VOLUME_BYTES).max(4096) }
}

/// The Pod's volumes.
pub(crate) fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// The volumes that the spawner makes.
pub(crate) fn spawner_volumes(pod: &Pod) -> Vec<PodVolume> {
    let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let group = security.and_then(|security| security.fs_group).and_then(|group| u32::try_from(group).ok());
    let made = volumes(pod).filter_map(|volume| match plan(volume) {
        Ok(Plan::Empty(kind)) => Some(PodVolume { name: VolumeName::try_new(volume.name.clone()).ok()?, kind, group }),
        _ => None,
    });
    made.collect()
}

/// ConfigMaps and Secrets that the volumes show.
pub(crate) fn needs(pod: &Pod) -> Needs {
    let mut needs = Needs::default();
    for part in volumes(pod).filter_map(|volume| plan(volume).ok()).flat_map(|plan| match plan {
        Plan::Files { parts, .. } => parts,
        _ => Vec::new(),
    }) {
        match part {
            Part::ConfigMap(pick) => _ = needs.config_maps.insert(pick.name),
            Part::Secret(pick) => _ = needs.secrets.insert(pick.name),
            Part::Downward(_) | Part::Token(_) => {}
        }
    }
    needs
}

/// Files from the keys of a ConfigMap.
///
/// # Errors
/// It, or a key of it, is not there; in words.
pub(crate) fn config_map_files(pick: &Pick, map: Option<&ConfigMap>, mode: u32) -> Result<Files, String> {
    let data = map.map(|map| {
        let texts = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let bytes = map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        texts.chain(bytes).collect()
    });
    picked(pick, data, ("configmap", mode))
}

/// Files from the keys of a Secret.
///
/// # Errors
/// It, or a key of it, is not there; in words.
pub(crate) fn secret_files(pick: &Pick, secret: Option<&Secret>, mode: u32) -> Result<Files, String> {
    let data =
        secret.map(|secret| secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect());
    picked(pick, data, ("secret", mode))
}

fn picked(pick: &Pick, data: Option<BTreeMap<String, Vec<u8>>>, what: (&str, u32)) -> Result<Files, String> {
    let (kind, mode) = what;
    let data = match data {
        Some(data) => data,
        None if pick.is_optional => return Ok(Files::new()),
        None => return Err(format!("{kind} \"{}\" not found", pick.name)),
    };
    if pick.items.is_empty() {
        return Ok(data.into_iter().map(|(key, bytes)| (key, (bytes, mode))).collect());
    }
    let mut files = Files::new();
    for item in &pick.items {
        let own = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
        match data.get(&item.key) {
            Some(bytes) => _ = files.insert(plain(&item.path)?, (bytes.clone(), own)),
            None if pick.is_optional => {}
            None => return Err(format!("references non-existent {kind} key: {}", item.key)),
        }
    }
    Ok(files)
}

/// Files from fields of the Pod.
///
/// # Errors
/// There is no such field; in words.
pub(crate) fn downward_files(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    context: (Addresses, NodeLimits, u32),
) -> Result<Files, String> {
    let (addresses, node, mode) = context;
    let mut files = Files::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => field(pod, &reference.field_path, addresses)?,
            (None, Some(selector)) => resource(pod, "", selector, node)?,
            (None, None) => String::new(),
        };
        let own = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
        files.insert(plain(&item.path)?, (text.into_bytes(), own));
    }
    Ok(files)
}

/// A path that stays inside its volume.
///
/// # Errors
/// It does not; in words.
pub(crate) fn plain(path: &str) -> Result<String, String> {
    let stays = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let is_ours = path.starts_with("..");
    if stays && !is_ours { Ok(path.to_owned()) } else { Err(format!("{path:?} is no path inside a volume")) }
}

/// A container's mounts.
///
/// # Errors
/// A volume is not there or not supported; in words.
pub(crate) fn mounts(
    pod: &Pod,
    container: &Container,
    own_env: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let known = |name: &str| own_env.get(name).map(String::as_str);
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes(pod).find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| {
            format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
        })?;
        let (source, is_ours) = match plan(volume)? {
            Plan::Empty(_) => {
                let name = VolumeName::try_new(volume.name.clone()).map_err(|error| error.to_string())?;
                (MountSource::Volume(name), false)
            }
            Plan::Files { .. } => (MountSource::Client(names::volume_path(uid, &volume.name)), true),
            Plan::Host(path) => (MountSource::Host(path.into()), false),
        };
        let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(text)) if !text.is_empty() => Some(expand(text, known)),
            _ => None,
        };
        mounts.push(Mount {
            target: mount.mount_path.clone(),
            source,
            sub_path,
            is_read_only: is_ours || mount.read_only == Some(true),
        });
    }
    Ok(mounts)
}

/// Puts `files` into the volume's directory, all at once: who looks sees the old content or the new. Nothing happens if it is the same.
/// Blocks on the disk.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn write_volume(directory: &Path, files: &Files) -> io::Result<()> {
    make_directory(directory)?;
    let present = fs::read_link(directory.join(DATA)).ok();
    if present.as_ref().is_some_and(|present| has(&directory.join(present), files)) {
        return Ok(());
    }
    let number =
        present.as_ref().and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok()).unwrap_or(0) + 1;
    let fresh = format!("..{number}");
    let content = directory.join(&fresh);
    match fs::remove_dir_all(&content) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make_directory(&content)?;
    for (path, (bytes, mode)) in files {
        let path = content.join(path);
        for parent in path.ancestors().skip(1).take_while(|parent| parent.starts_with(&content) && *parent != content) {
            fs::create_dir_all(parent)?;
            fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode & 0o777))?;
    }
    let pending = directory.join("..pending");
    let _ = fs::remove_file(&pending);
    symlink(&fresh, &pending)?;
    fs::rename(&pending, directory.join(DATA))?;
    link_names(directory, files)?;
    match present {
        Some(old) if old.to_str() != Some(&fresh) => fs::remove_dir_all(directory.join(old)),
        _ => Ok(()),
    }
}

/// Whether a content directory holds exactly these files.
fn has(content: &Path, files: &Files) -> bool {
    fn count(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(content) == files.len()
        && files.iter().all(|(path, (bytes, _))| fs::read(content.join(path)).is_ok_and(|present| present == *bytes))
}

/// The names by which the content is seen: the first parts of its paths.
fn link_names(directory: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with("..") && !wanted.contains(text.as_ref()) {
            fs::remove_file(directory.join(&name))?;
        }
    }
    for name in wanted {
        match symlink(format!("{DATA}/{name}"), directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Makes a directory that everybody in a container may look into, whatever the process's mask says.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests;
