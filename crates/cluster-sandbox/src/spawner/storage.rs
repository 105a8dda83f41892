//! Storage: directories in the spawner's own place that outlive pods and spawners.
//!
//! A storage appears under its name only when it is complete, and is gone as soon as it has another: whatever else begins with a dot is removed
//! when the spawner starts. What is in it belongs to whoever writes there, so nothing in it is trusted: no link is followed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::answers::{Outcome, Reply, Said, refuse, refuse_failed};
use super::jobs::{DEAD, Work};
use super::pods::{make_storage, no_pod};
use super::server::Spawner;
use crate::ownership::{belongs_to, give_tree};
use crate::spec::{Check, POD_VOLUMES_MAX, PodStorage, StorageName};
use crate::wire::{Answer, Refusal, RefusalCode};

/// A storage in the making.
const FRESH: &str = ".fresh-";
/// So many storages are given to groups at the same time.
const GIVING_MAX: usize = 8;

/// A storage that is being given to a group before a pod has it.
#[derive(Debug)]
pub(super) struct Giving {
    wanted: PodStorage,
    path: PathBuf,
    reply: Reply,
}

impl Spawner {
    /// Lets a pod have a storage. `None`: the answer follows, once everything in it belongs to the group.
    pub(super) fn use_storage(&mut self, wanted: PodStorage, reply: Reply) -> Result<Option<Said>, Refusal> {
        wanted.check().map_err(refuse)?;
        let path = self.config.storage_dir.join(wanted.storage.as_str());
        let pod = self.pods.get(&wanted.pod).ok_or_else(|| no_pod(&wanted.pod))?;
        if pod.removing.is_some() {
            return Err(Refusal::new(RefusalCode::Busy, format!("pod {} is being removed", wanted.pod)));
        }
        match pod.volumes.get(&wanted.name) {
            Some(known) if *known == path => return Ok(Some(Said::plain(Answer::Done))),
            Some(_) => {
                let message = format!("pod {} has another volume {}", wanted.pod, wanted.name);
                return Err(Refusal::new(RefusalCode::Exists, message));
            }
            None => {}
        }
        if pod.namespaces.is_none() || pod.volumes.len() >= POD_VOLUMES_MAX {
            let message = format!("pod {} runs nothing, or has {POD_VOLUMES_MAX} volumes already", wanted.pod);
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        let is_fresh = self.make_storage(&path, wanted.group).map_err(refuse_failed("making a storage"))?;
        let Some(group) = wanted.group.filter(|_| !is_fresh) else {
            return self.hand_storage(&wanted, path).map(Some);
        };
        if !wanted.is_group_enforced && belongs_to(&path, group).map_err(refuse_failed("looking at a storage"))? {
            return self.hand_storage(&wanted, path).map(Some);
        }
        self.give_storage(Giving { wanted, path, reply }, group).map(|()| None)
    }

    /// Makes a storage unless it is there: whether it was made.
    fn make_storage(&mut self, path: &Path, group: Option<u32>) -> io::Result<bool> {
        if fs::symlink_metadata(path).is_ok() {
            return Ok(false);
        }
        let name = self.unique(&format!("{FRESH}{}", self.started_at.as_millisecond()));
        let fresh = self.config.storage_dir.join(name);
        make_storage(&fresh, group)?;
        fs::rename(&fresh, path)?;
        File::open(&self.config.storage_dir)?.sync_all()?;
        Ok(true)
    }

    fn hand_storage(&mut self, wanted: &PodStorage, path: PathBuf) -> Outcome {
        let pod = self.pods.get_mut(&wanted.pod).ok_or_else(|| no_pod(&wanted.pod))?;
        pod.volumes.insert(wanted.name.clone(), path);
        Ok(Said::plain(Answer::Done))
    }

    fn give_storage(&mut self, giving: Giving, group: u32) -> Result<(), Refusal> {
        if self.jobs.givings().count() >= GIVING_MAX {
            let message = format!("{GIVING_MAX} storages are being given to groups");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        let path = giving.path.clone();
        let give = move || give_tree(&path, group).map(|()| String::new()).map_err(|error| error.to_string());
        self.start_job(Work::Give(Box::new(giving)), give).map_err(|failure| failure.1)
    }

    /// A storage has been given to a group, or not.
    pub(super) fn storage_given(&mut self, giving: Giving, outcome: Result<(), String>) {
        let Giving { wanted, path, reply } = giving;
        let outcome = match outcome {
            Ok(()) => self.hand_storage(&wanted, path),
            Err(text) => {
                let message = format!("giving storage {} to its group: {text}", wanted.storage);
                Err(Refusal::new(RefusalCode::Failed, message))
            }
        };
        self.answer(reply, outcome);
    }

    /// Takes a storage's name away at once, and its content soon. What is not there is fine.
    pub(super) fn remove_storage(&mut self, storage: &StorageName) -> Outcome {
        let path = self.config.storage_dir.join(storage.as_str());
        let is_used = self.pods.values().any(|pod| pod.volumes.values().any(|used| *used == path))
            || self.jobs.givings().any(|giving| giving.path == path);
        if is_used {
            return Err(Refusal::new(RefusalCode::Busy, format!("storage {storage} is in use")));
        }
        // Storages outlive the spawner, so its name says which one's it is.
        let name = self.unique(&format!("{DEAD}{}", self.started_at.as_millisecond()));
        let aside = self.config.storage_dir.join(name);
        match fs::rename(&path, &aside) {
            Ok(()) => {
                let synced = File::open(&self.config.storage_dir).and_then(|directory| directory.sync_all());
                self.discard(aside);
                synced.map_err(refuse_failed("removing a storage"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse_failed("removing a storage")(error)),
        }
        Ok(Said::plain(Answer::Done))
    }
}

/// What an earlier spawner did not come to complete, or to remove.
pub(super) fn leftovers(storage_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(storage_dir)?.collect::<io::Result<Vec<_>>>()?;
    let is_none = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    Ok(entries.into_iter().filter(is_none).map(|entry| entry.path()).collect())
}
