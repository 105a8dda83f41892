//! Ending what a spawner left behind that was killed itself.
//!
//! Containers die with their spawner, but not everything about them does: cgroups, the link to the instance's network and its routes,
//! settings of the machine, trees of files. All of it carries the instance's name, so nothing needs to have been written down in time.

use std::io;
use std::path::Path;

use rustix::thread::nanosleep;
use rustix::time::Timespec;

use crate::cgroup::{Layout, remove_instance};
use crate::network::NetworkError;
use crate::network::instance::remove_leftovers;
use crate::removal::remove_tree;
use crate::spawner::SpawnerConfig;
use crate::spawner::machine::restore_noted;

/// Why something is left.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The machine's cgroups could not be looked at.
    #[error("looking for cgroups")]
    Cgroups(#[source] io::Error),
    /// Killed processes have not gone.
    #[error("processes or cgroups of instance {0} do not go away")]
    Stubborn(String),
    /// The network could not be taken down.
    #[error("taking down the instance's network")]
    Network(#[source] NetworkError),
    /// A tree could not be removed.
    #[error("removing {path}")]
    Remove {
        /// The tree.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How often, and how many times, killed processes are looked for.
const LOOK_EVERY_MS: i64 = 5;
const LOOKS: u32 = 2_000;

/// Kills every process in the instance's cgroups and removes its cgroups, links, routes, firewall table, run directory and pods' trees.
/// Does nothing when there is nothing. The spawner is not running; layers and logs stay.
///
/// # Errors
/// What could not be removed, the first of it.
pub fn leftovers(config: &SpawnerConfig) -> Result<(), CleanupError> {
    let layout = Layout::detect().map_err(CleanupError::Cgroups)?;
    let mut looks = 0;
    while !remove_instance(&layout, &config.instance, true) {
        looks += 1;
        if looks > LOOKS {
            return Err(CleanupError::Stubborn(config.instance.to_string()));
        }
        let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY_MS * 1_000_000 };
        // Woken early, it only looks once more.
        let _ = nanosleep(&pause);
    }
    remove_leftovers(&config.instance).map_err(CleanupError::Network)?;
    restore_noted(&config.run_dir);
    remove(&config.pods_dir)?;
    remove(&config.run_dir)
}

fn remove(path: &Path) -> Result<(), CleanupError> {
    remove_tree(path).map_err(|source| CleanupError::Remove { path: path.display().to_string(), source })
}
