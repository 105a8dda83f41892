//! A journal in memory whose process can be made to crash between any two writes.
//!
//! [`MemoryDisk`] outlives the store: open a store on `disk.journal()`, let it work, `disk.crash()` or let a crash point fire, and open the
//! next store on the same disk. What was appended is there, whatever was only lazy is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Batch, Journal, JournalError, Record, Recovered, Threading};
use crate::store::key::{ObjectKey, Revision, TableName};
use crate::store::object::Stored;

/// Where in a write the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before the write is durable: it is lost and was not acknowledged.
    Before,
    /// After it is durable and before it is acknowledged.
    After,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Platters>>);

#[derive(Debug, Default)]
struct Platters {
    objects: BTreeMap<(TableName, ObjectKey), Arc<Stored>>,
    ceiling: Revision,
    /// Counts processes; an older one cannot write any more.
    generation: u64,
    plan: Option<(u64, CrashPoint)>,
    appends: u64,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A journal on this disk, for a new process; the process before it is dead from now on.
    pub fn journal(&self) -> Box<dyn Journal> {
        let mut platters = self.lock();
        platters.generation += 1;
        let generation = platters.generation;
        drop(platters);
        Box::new(MemoryJournal { disk: self.clone(), generation })
    }

    /// Kills the process that writes to this disk.
    pub fn crash(&self) {
        self.lock().generation += 1;
    }

    /// Kills the process at its `appends`-th append from now (1 is the next).
    pub fn crash_at(&self, appends: u64, point: CrashPoint) {
        let mut platters = self.lock();
        platters.plan = Some((platters.appends + appends, point));
    }

    /// Whether a planned end is still to come.
    pub fn will_crash(&self) -> bool {
        self.lock().plan.is_some()
    }

    /// How many batches have been made durable.
    pub fn appends(&self) -> u64 {
        self.lock().appends
    }

    fn lock(&self) -> MutexGuard<'_, Platters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct MemoryJournal {
    disk: MemoryDisk,
    generation: u64,
}

impl Journal for MemoryJournal {
    fn load(&mut self, sink: &mut dyn FnMut(Recovered)) -> Result<Revision, JournalError> {
        let platters = self.disk.lock();
        for ((table, key), object) in &platters.objects {
            sink(Recovered {
                table: table.clone(),
                key: key.clone(),
                revision: object.revision,
                shape: object.shape,
                body: object.body.to_vec(),
            });
        }
        Ok(platters.ceiling)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), JournalError> {
        let mut platters = self.disk.lock();
        if platters.generation != self.generation {
            return Err(JournalError::Crashed);
        }
        platters.appends += 1;
        let crash = platters.plan.filter(|(at, _)| *at == platters.appends).map(|(_, point)| point);
        if crash.is_some() {
            platters.plan = None;
            platters.generation += 1;
        }
        if crash == Some(CrashPoint::Before) {
            return Err(JournalError::Crashed);
        }
        platters.ceiling = batch.ceiling;
        for Record { table, object, is_deletion } in batch.records {
            let key = (table.clone(), object.key.clone());
            if *is_deletion {
                platters.objects.remove(&key);
            } else {
                platters.objects.insert(key, Arc::clone(object));
            }
        }
        if crash.is_some() { Err(JournalError::Crashed) } else { Ok(()) }
    }

    fn threading(&self) -> Threading {
        Threading::Inline
    }
}
