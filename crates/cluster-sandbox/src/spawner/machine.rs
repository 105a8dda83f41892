//! What the spawner found and made on this machine before the first request: the ground that pods stand on.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::config::SpawnerConfig;
use crate::cgroup::{Layout, Root, expedite};
use crate::container::overlay::make_base;
use crate::container::seccomp::Filters;
use crate::network::home::Home;
use crate::network::instance::{InstanceNetwork, Wanted};
use crate::network::pod::Addresses;
use crate::network::users::UserRanges;

/// The ground.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) layout: Layout,
    pub(super) cgroups: Root,
    pub(crate) home: Home,
    pub(crate) network: Option<InstanceNetwork>,
    pub(super) addresses: Option<Addresses>,
    pub(super) users: UserRanges,
    pub(super) filters: Filters,
    /// The lowest layer of every container.
    pub(super) base: PathBuf,
    /// Where a container's root is attached until it is one.
    pub(super) root_point: PathBuf,
    pub(super) notices: Vec<String>,
}

/// Why a spawner cannot start.
pub(super) type StartError = String;

fn at<E: std::error::Error>(what: impl Into<String>) -> impl FnOnce(E) -> StartError {
    let what = what.into();
    move |error| format!("{what}: {}", base_rt::error_chain(&error))
}

const BASE: &str = "base";
const ROOT_POINT: &str = "root";
/// Notes of the present spawner for whoever cleans up after it.
const NOTES: &str = "machine.json";

impl Machine {
    /// Makes directories, cgroups and the network.
    pub(super) fn prepare(config: &SpawnerConfig) -> Result<Self, StartError> {
        let mut notices = Vec::new();
        make_directories(config).map_err(at("making the directories"))?;
        let layout = Layout::detect().map_err(at("looking for cgroups"))?;
        let cgroups =
            Root::create(&layout, &config.instance, &mut notices).map_err(at("making the instance's cgroups"))?;
        if !layout.v1.is_empty() && !expedite::is_possible() {
            notices.push(
                "moving processes between cgroups is slow here: each container start takes 10 ms longer".to_owned(),
            );
        }
        let base = config.pods_dir.join(BASE);
        make_base(&base).map_err(at("making the base layer"))?;
        let home = Home::here().map_err(at("finding this process's namespaces"))?;
        let network = match &config.network {
            Some(network) => {
                let wanted =
                    Wanted { instance: &config.instance, previous: network.previous, has_egress: network.has_egress };
                Some(
                    InstanceNetwork::create(wanted, &home, &mut notices)
                        .map_err(at("making the instance's network"))?,
                )
            }
            None => None,
        };
        let addresses = network.as_ref().map(|network| Addresses::new(network.facts().ranges));
        Ok(Self {
            layout,
            cgroups,
            home,
            network,
            addresses,
            users: UserRanges::default(),
            filters: Filters::default(),
            base,
            root_point: config.run_dir.join(ROOT_POINT),
            notices,
        })
    }
}

/// Keeps the machine's own settings where the next spawner finds them if this one dies. Called before anything is changed.
pub(super) fn take_notes(config: &SpawnerConfig) {
    let notes = serde_json::json!({ "rcuExpedited": expedite::setting() });
    if let Err(error) = fs::write(config.run_dir.join(NOTES), notes.to_string()) {
        tracing::warn!(%error, "the machine's settings could not be noted");
    }
}

/// Restores the settings that a dead spawner noted.
pub(crate) fn restore_noted(run_dir: &Path) {
    let notes = fs::read_to_string(run_dir.join(NOTES)).unwrap_or_default();
    let notes: serde_json::Value = serde_json::from_str(&notes).unwrap_or_default();
    expedite::restore(notes.get("rcuExpedited").and_then(serde_json::Value::as_bool));
}

fn make_directories(config: &SpawnerConfig) -> io::Result<()> {
    directory(&config.run_dir, 0o711, None)?;
    directory(&config.run_dir.join(ROOT_POINT), 0o700, None)?;
    directory(&config.run_dir.join("pods"), 0o700, None)?;
    directory(&config.pods_dir, 0o700, None)?;
    directory(&config.storage_dir, 0o700, None)?;
    directory(&config.layers_dir, 0o700, None)?;
    // New directories below take the group over.
    directory(&config.logs_dir, 0o2750, Some((0, config.owner.gid)))?;
    directory(&config.volumes_dir, 0o711, Some((config.owner.uid, config.owner.gid)))
}

/// Makes a directory if it is not there, with this mode and owner. One that is there is left as it is, unless anybody could write to it.
fn directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Ok(found) = fs::symlink_metadata(path) {
        let is_safe = found.is_dir() && found.mode() & 0o002 == 0;
        let problem = format!("{} is not a directory, or everybody may write to it", path.display());
        return if is_safe { Ok(()) } else { Err(io::Error::other(problem)) };
    }
    fs::create_dir_all(path)?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
