//! Leaving a session's groups, and ending whatever is in an instance's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::expedite::Expedited;
use super::group::directory_of;
use super::layout::Layout;
use crate::spec::InstanceId;

/// The spawner's own group.
const SPAWNER: &str = "spawner";
/// Groups are nested this deep at most below the instance's: a container may have made own ones.
const DEPTH_MAX: usize = 32;

/// Moves this process out of whatever groups its session put it into: a session's end must not end it.
///
/// In the v2 tree it always moves; in a v1 hierarchy only if it is not in the root, which is nobody's session.
pub(crate) fn leave_session(layout: &Layout, instance: &InstanceId) -> io::Result<()> {
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    let target = |mount: &Path| mount.join(directory_of(instance)).join(SPAWNER);
    let _expedited = Expedited::begin();
    for hierarchy in &layout.v1 {
        let is_root = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let is_it = controllers.split(',').any(|name| hierarchy.controllers.iter().any(|known| known == name));
            is_it && path == "/"
        };
        if !memberships.lines().any(is_root) {
            move_to(&target(&hierarchy.mount))?;
        }
    }
    layout.v2.as_ref().map_or(Ok(()), |unified| move_to(&target(&unified.mount)))
}

fn move_to(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    // A v1 cpuset takes no process before it has processors and memory nodes.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        for level in [directory.parent(), Some(directory)].into_iter().flatten() {
            let inherited = level.parent().and_then(|parent| fs::read_to_string(parent.join(file)).ok());
            if let Some(inherited) = inherited.filter(|_| level.join("cpuset.memory_migrate").exists()) {
                fs::write(level.join(file), inherited)?;
            }
        }
    }
    fs::write(directory.join("cgroup.procs"), "0")
}

/// Kills every process in the instance's groups. Returns whether there was one.
fn kill_all(layout: &Layout, instance: &InstanceId) -> bool {
    let mut found = false;
    for root in roots(layout, instance) {
        for directory in groups_below(&root) {
            found |= !members(&directory).is_empty();
            if fs::write(directory.join("cgroup.kill"), "1").is_err() {
                kill_members(&directory);
            }
        }
    }
    found
}

/// Kills what is in the instance's groups, if `may_kill`, and removes them. True when nothing of them is left.
///
/// Killed processes take a moment to go; the caller asks again.
pub(crate) fn remove_instance(layout: &Layout, instance: &InstanceId, may_kill: bool) -> bool {
    if may_kill {
        kill_all(layout, instance);
    }
    roots(layout, instance).into_iter().fold(true, |is_clean, root| {
        let groups = groups_below(&root);
        // Inner ones first.
        groups.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
        is_clean && !root.exists()
    })
}

fn roots(layout: &Layout, instance: &InstanceId) -> Vec<PathBuf> {
    let mounts =
        layout.v1.iter().map(|hierarchy| &hierarchy.mount).chain(layout.v2.iter().map(|unified| &unified.mount));
    mounts.map(|mount| mount.join(directory_of(instance))).filter(|root| root.exists()).collect()
}

/// A group and all below it, outer ones first.
fn groups_below(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut level = found.clone();
    for _ in 0..DEPTH_MAX {
        let entries = level.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
        level = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        if level.is_empty() {
            break;
        }
        found.extend(level.iter().cloned());
    }
    found
}

fn members(directory: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// Kills the processes of one group.
pub(super) fn kill_members(directory: &Path) {
    let own = rustix::process::getpid();
    for pid in members(directory).into_iter().filter(|pid| *pid != own) {
        // It may have ended meanwhile, which is all that is wanted.
        let _ = kill_process(pid, Signal::KILL);
    }
}
