//! Storage: directories in the spawner's own place that outlive pods and spawners.
//!
//! A storage appears under its name only when it is complete, and is gone as soon as it has another: whatever else begins with a dot is removed
//! when the spawner starts. What is in it belongs to whoever writes there, so nothing in it is trusted: no link is followed.
//!
//! Whatever has to wait for the disk is done by a child.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::answers::{Outcome, Reply, Said, refuse, refuse_failed};
use super::jobs::{DEAD, Work};
use super::pods::{make_storage, no_pod};
use super::server::Spawner;
use crate::ownership::{belongs_to, give_tree};
use crate::spec::{Check, POD_VOLUMES_MAX, PodStorage, StorageName};
use crate::sys::time::Moment;
use crate::wire::{Answer, Refusal, RefusalCode};

/// A storage in the making.
const FRESH: &str = ".fresh-";
/// So many storages are given to groups at the same time.
const GIVING_MAX: usize = 8;
/// So many are given, made or removed.
const JOBS_MAX: usize = 64;
/// How long giving one may take. What has been given by then stays so, and the next try finds less to do.
const GIVEN_FOR: Duration = Duration::from_secs(600);

/// A storage that is being made or given to a group before a pod has it.
#[derive(Debug)]
pub(super) struct Preparing {
    wanted: PodStorage,
    path: PathBuf,
    /// Whether it was there, and so may have much in it.
    is_old: bool,
    reply: Reply,
}

/// A storage whose name is gone.
#[derive(Debug)]
pub(super) struct Removing {
    aside: PathBuf,
    reply: Reply,
}

impl Spawner {
    /// Lets a pod have a storage. `None`: the answer follows, once it is there and everything in it belongs to the group.
    pub(super) fn use_storage(&mut self, wanted: PodStorage, reply: Reply) -> Result<Option<Said>, Refusal> {
        wanted.check().map_err(refuse)?;
        let path = self.config.storage_dir.join(wanted.storage.as_str());
        let is_old = fs::symlink_metadata(&path).is_ok();
        let is_had = self.has_storage(&wanted, &path)?;
        if is_had || is_old && is_ready(&path, &wanted).map_err(refuse_failed("looking at a storage"))? {
            return self.hand_storage(&wanted, path).map(Some);
        }
        let is_given = |work: &Work| matches!(work, Work::Prepare(preparing) if preparing.is_old);
        if is_old && self.jobs.works().filter(|work| is_given(work)).count() >= GIVING_MAX {
            let message = format!("{GIVING_MAX} storages are being given to groups");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        self.require_room()?;
        let name = self.unique(&format!("{FRESH}{}", self.started_at.as_millisecond()));
        let fresh = self.config.storage_dir.join(name);
        let (own_path, own_wanted) = (path.clone(), wanted.clone());
        let preparing = Preparing { wanted, path, is_old, reply };
        let run =
            move || prepare(&own_path, &fresh, &own_wanted).map(|()| String::new()).map_err(|error| error.to_string());
        let started = self.start_job(Work::Prepare(Box::new(preparing)), run);
        started.map(|()| None).map_err(|failure| failure.1)
    }

    /// Whether a pod has a storage already.
    ///
    /// # Errors
    /// It cannot have it, as things are.
    fn has_storage(&self, wanted: &PodStorage, path: &Path) -> Result<bool, Refusal> {
        self.require_open()?;
        let pod = self.pods.get(&wanted.pod).ok_or_else(|| no_pod(&wanted.pod))?;
        if pod.removing.is_some() {
            return Err(Refusal::new(RefusalCode::Busy, format!("pod {} is being removed", wanted.pod)));
        }
        match pod.volumes.get(&wanted.name) {
            Some(known) if known == path => return Ok(true),
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
        Ok(false)
    }

    fn hand_storage(&mut self, wanted: &PodStorage, path: PathBuf) -> Outcome {
        if !self.has_storage(wanted, &path)?
            && let Some(pod) = self.pods.get_mut(&wanted.pod)
        {
            pod.volumes.insert(wanted.name.clone(), path);
        }
        Ok(Said::plain(Answer::Done))
    }

    /// A storage has been prepared, or not. Much may have happened meanwhile.
    pub(super) fn storage_prepared(&mut self, preparing: Preparing, outcome: Result<String, String>) {
        let Preparing { wanted, path, is_old, reply } = preparing;
        let outcome = match outcome {
            Ok(_) => self.hand_storage(&wanted, path),
            Err(text) if is_old => {
                Err(self.failed_job(format!("giving storage {} to its group: {text}", wanted.storage)))
            }
            Err(text) => Err(self.failed_job(format!("making storage {}: {text}", wanted.storage))),
        };
        self.answer(reply, outcome);
    }

    /// Takes a storage's name away at once, and its content soon. What is not there is fine. `None`: the answer follows, once the name stays
    /// away.
    pub(super) fn remove_storage(&mut self, storage: &StorageName, reply: Reply) -> Result<Option<Said>, Refusal> {
        let path = self.config.storage_dir.join(storage.as_str());
        let is_prepared = |work: &Work| matches!(work, Work::Prepare(preparing) if preparing.path == path);
        let is_used = self.pods.values().any(|pod| pod.volumes.values().any(|used| *used == path))
            || self.jobs.works().any(is_prepared);
        if is_used {
            return Err(Refusal::new(RefusalCode::Busy, format!("storage {storage} is in use")));
        }
        self.require_room()?;
        // Storages outlive the spawner, so its name says which one's it is.
        let name = self.unique(&format!("{DEAD}{}", self.started_at.as_millisecond()));
        let aside = self.config.storage_dir.join(name);
        match fs::rename(&path, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Said::plain(Answer::Done))),
            Err(error) => return Err(refuse_failed("removing a storage")(error)),
        }
        let directory = self.config.storage_dir.clone();
        let run = move || sync(&directory).map(|()| String::new()).map_err(|error| error.to_string());
        let started = self.start_job(Work::RemoveStorage(Removing { aside: aside.clone(), reply }), run);
        started.map(|()| None).map_err(|failure| {
            self.discard(aside);
            failure.1
        })
    }

    /// A storage's name stays away, or that is not known.
    pub(super) fn storage_removed(&mut self, removing: Removing, outcome: Result<String, String>) {
        self.discard(removing.aside);
        let outcome = match outcome {
            Ok(_) => Ok(Said::plain(Answer::Done)),
            Err(text) => Err(self.failed_job(format!("removing a storage: {text}"))),
        };
        self.answer(removing.reply, outcome);
    }

    fn require_room(&self) -> Result<(), Refusal> {
        let is_ours = |work: &&Work| matches!(work, Work::Prepare(_) | Work::RemoveStorage(_));
        if self.jobs.works().filter(is_ours).count() >= JOBS_MAX {
            let message = format!("{JOBS_MAX} storages are being made, given to groups or removed");
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        Ok(())
    }
}

/// Whether a storage that is there can be had as it is.
fn is_ready(path: &Path, wanted: &PodStorage) -> io::Result<bool> {
    match wanted.group {
        Some(group) => Ok(!wanted.is_group_enforced && belongs_to(path, group)?),
        None => Ok(true),
    }
}

/// Makes a storage unless it is there, and gives one that was there to its group. Runs in a child.
fn prepare(path: &Path, fresh: &Path, wanted: &PodStorage) -> io::Result<()> {
    let is_made = fs::symlink_metadata(path).is_err() && make(path, fresh, wanted.group)?;
    match wanted.group {
        Some(group) if !is_made && !is_ready(path, wanted)? => give_tree(path, group, Moment::now().after(GIVEN_FOR)),
        _ => Ok(()),
    }
}

/// Makes a storage that is on the disk, whole, before its name is; whether it was made, as somebody may have been faster.
fn make(path: &Path, fresh: &Path, group: Option<u32>) -> io::Result<bool> {
    make_storage(fresh, group)?;
    sync(fresh)?;
    let is_made = match renameat_with(CWD, fresh, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => true,
        Err(Errno::EXIST) => {
            fs::remove_dir(fresh)?;
            false
        }
        Err(error) => return Err(error.into()),
    };
    path.parent().map_or(Ok(()), sync)?;
    Ok(is_made)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
