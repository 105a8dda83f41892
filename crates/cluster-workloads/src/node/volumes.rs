//! A Pod's volumes: which the spawner makes, which are files that it is handed, and what is in those. Pure.
//!
//! ConfigMaps, Secrets, the downward API and tokens are files, as the kubelet has them: read-only, root's, with the mode that the volume or
//! the item says. A Pod's `fsGroup` owns and reads all of them. A token is its user's alone where that is known, and else its group's.
//! Content is gathered by [`super::sources`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use cluster_sandbox::spec::{Mount, MountSource, PodFile, PodFiles, PodId, PodVolume, VolumeKind, VolumeName};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath, Pod, Secret,
    ServiceAccountTokenProjection, Volume,
};

use super::claims::Claims;
use super::env::Needs;
use super::expand::expand;
use super::facts::containers;
use super::fields::{Addresses, NodeLimits, field, resource};
use crate::objects::quantity::Milli;

/// Files of a volume, by relative path.
pub(crate) type Files = BTreeMap<String, PodFile>;

/// What a file of ours has for mode if nothing says.
const MODE: u32 = 0o644;
/// An emptyDir in memory that names no bound has this one.
const MEMORY_VOLUME_BYTES: u64 = 256 << 20;
/// What a token has if a user or a group is to read it, and nobody else.
const TOKEN_MODE: u32 = 0o600;
/// What the Pod's group may do with every file.
const GROUP_READS: u32 = 0o440;

/// One part of a volume of files.
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
    /// Files that the spawner is handed.
    Files {
        /// What is in it.
        parts: Vec<Part>,
        /// The mode of files that name none.
        mode: u32,
    },
    /// A path of the machine.
    Host(String),
    /// Whatever stands behind a claim.
    Claim {
        /// The claim's name.
        name: String,
        /// Whether the Pod may only read it.
        is_read_only: bool,
    },
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
    if let Some(source) = &volume.persistent_volume_claim {
        return Ok(Plan::Claim { name: source.claim_name.clone(), is_read_only: source.read_only == Some(true) });
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
    let group = fs_group(pod);
    let made = volumes(pod).filter_map(|volume| match plan(volume) {
        Ok(Plan::Empty(kind)) => Some(PodVolume { name: VolumeName::try_new(volume.name.clone()).ok()?, kind, group }),
        _ => None,
    });
    made.collect()
}

/// The group that the Pod's volumes belong to.
pub(crate) fn fs_group(pod: &Pod) -> Option<u32> {
    let security = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(security.fs_group?).ok()
}

/// The user that all of the Pod's containers run as, if they say so and agree.
fn fs_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod.spec.as_ref()?.security_context.as_ref().and_then(|security| security.run_as_user);
    let own = |container: &Container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(of_pod);
    let mut users = containers(pod).map(own);
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
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
        return Ok(data.into_iter().map(|(key, content)| (key, of_root(content, mode))).collect());
    }
    let mut files = Files::new();
    for item in &pick.items {
        let own = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
        match data.get(&item.key) {
            Some(bytes) => _ = files.insert(plain(&item.path)?, of_root(bytes.clone(), own)),
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
        files.insert(plain(&item.path)?, of_root(text.into_bytes(), own));
    }
    Ok(files)
}

fn of_root(content: Vec<u8>, mode: u32) -> PodFile {
    PodFile { content, mode: mode & 0o777, owner: 0 }
}

/// The file of a token.
///
/// # Errors
/// Its path leads out of the volume; in words.
pub(crate) fn token_file(pod: &Pod, path: &str, token: String, mode: u32) -> Result<Files, String> {
    let (user, group) = (fs_user(pod), fs_group(pod));
    let mode = if user.is_some() || group.is_some() { TOKEN_MODE } else { mode };
    let file = PodFile { owner: user.unwrap_or_default(), ..of_root(token.into_bytes(), mode) };
    Ok(Files::from([(plain(path)?, file)]))
}

/// What the spawner is handed for a volume of files.
///
/// # Errors
/// The Pod or the volume has a name that the spawner does not take; in words.
pub(crate) fn pod_files(pod: &Pod, volume: &str, mut files: Files) -> Result<PodFiles, String> {
    let name = |error: cluster_sandbox::spec::BadName| error.to_string();
    let group = fs_group(pod);
    if group.is_some() {
        files.values_mut().for_each(|file| file.mode |= GROUP_READS);
    }
    Ok(PodFiles {
        pod: PodId::try_new(pod.metadata.uid.clone().unwrap_or_default()).map_err(name)?,
        name: VolumeName::try_new(volume).map_err(name)?,
        group,
        files,
        mount_points: mount_points(pod, volume),
    })
}

/// Where in a volume other volumes are mounted, by any container: a volume of files is read-only, so these have to be there.
fn mount_points(pod: &Pod, volume: &str) -> BTreeSet<String> {
    let inside = |container: &Container| -> Vec<String> {
        let mounts = || container.volume_mounts.iter().flatten();
        let whole =
            mounts().filter(|mount| mount.name == volume && mount.sub_path.is_none() && mount.sub_path_expr.is_none());
        let below = whole.flat_map(|outer| {
            mounts().filter_map(|inner| Path::new(&inner.mount_path).strip_prefix(&outer.mount_path).ok())
        });
        below.filter_map(|path| plain(path.to_str()?).ok()).collect()
    };
    containers(pod).flat_map(inside).collect()
}

/// A path that stays inside its volume.
///
/// # Errors
/// It does not; in words.
fn plain(path: &str) -> Result<String, String> {
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
    claims: &Claims,
) -> Result<Vec<Mount>, String> {
    let known = |name: &str| own_env.get(name).map(String::as_str);
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes(pod).find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| {
            format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
        })?;
        let name = || VolumeName::try_new(volume.name.clone()).map_err(|error| error.to_string());
        let (source, is_fixed) = match plan(volume)? {
            Plan::Empty(_) => (MountSource::Volume(name()?), false),
            Plan::Files { .. } => (MountSource::Files(name()?), true),
            Plan::Host(path) => (MountSource::Host(path.into()), false),
            Plan::Claim { name: claim, .. } => {
                let claimed = claims.get(&volume.name).ok_or_else(|| format!("claim {claim:?} has no volume"))?;
                claimed.mount(name()?)
            }
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
            is_read_only: is_fixed || mount.read_only == Some(true),
        });
    }
    // What is mounted inside another mount comes after it, as with other container runtimes.
    mounts.sort_by_key(|mount| Path::new(&mount.target).components().count());
    Ok(mounts)
}

#[cfg(test)]
mod tests;
