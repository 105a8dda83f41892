//! The collector's loop: follows the catalog, decides about one object after another, looks for owners, writes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_controller::apply::{Applier, Outcome};
use base_controller::{Change, Context, Delta, GroupKind, Key};
use base_rt::{Phase, error_chain};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::api::Api;
use kube::{Client, Resource};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::absent::Absent;
use super::graph::{Graph, Missing, Node};
use super::pending::Pending;
use super::plan::{self, Decision, Facts, Kinds};
use crate::catalog::{Catalog, Kind, Metadata};

/// Objects that are worked on at once.
const WORKERS: usize = 8;
/// How long the first decisions wait for every kind to be listed; what they would miss, they ask the server for.
const MAX_START: Duration = Duration::from_secs(30);
/// How long the server may take to say whether an owner is there.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);

struct Worker {
    client: Client,
    applier: Applier,
    catalog: Catalog,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    graph: Graph,
    absent: Absent,
    pending: Pending,
}

/// How the look at an object ended.
enum End {
    Done,
    Retry,
    Park,
}

impl Kinds for Catalog {
    fn is_namespaced(&self, kind: &GroupKind) -> Option<bool> {
        let kind = self.get(kind)?.kind;
        kind.is_watched().then_some(kind.is_namespaced)
    }

    fn is_complete(&self) -> bool {
        Self::is_complete(self)
    }
}

/// Starts the loop.
pub(super) fn start(context: &Context, catalog: &Catalog) {
    let worker = Arc::new(Worker {
        client: context.client.clone(),
        applier: Applier::new(context.client.clone()),
        catalog: catalog.clone(),
        state: Mutex::default(),
        changed: Notify::new(),
    });
    let following = Arc::clone(&worker);
    catalog.subscribe(move |kind, delta| following.follow(kind, delta));
    let shutdown = context.tasks.shutdown().clone();
    context.tasks.spawn("owner-gc", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = worker.run() => {}
        }
        Ok(())
    });
}

impl Worker {
    fn follow(&self, kind: &Kind, delta: &Delta<'_, Metadata>) {
        let mut state = self.state();
        let uid = |object: &Metadata| object.meta().uid.clone().unwrap_or_default();
        let (old, new) = (delta.old.map(|old| uid(old)), delta.new.map(|new| uid(new)));
        let mut affected = BTreeSet::new();
        if let Some(old) = old.filter(|old| Some(old) != new.as_ref()) {
            affected.extend(state.graph.remove(&old));
        }
        if let Some(new) = delta.new {
            let resource = Arc::new(kind.resource.clone());
            affected.extend(state.graph.set(Node { resource, key: Key::of(&**new), object: Arc::clone(new) }));
        }
        let is_any = !affected.is_empty();
        affected.into_iter().for_each(|uid| state.pending.add(uid));
        drop(state);
        if is_any {
            self.changed.notify_one();
        }
    }

    async fn run(&self) {
        let mut complete = self.catalog.changes();
        let is_complete = async { complete.wait_for(|_| self.catalog.is_complete()).await.is_ok() };
        // Whatever is missing after that is asked for one by one.
        let _ = tokio::time::timeout(MAX_START, is_complete).await;
        let mut in_hand = FuturesUnordered::new();
        loop {
            while in_hand.len() < WORKERS {
                let Some(uid) = self.state().pending.take(Instant::now()) else { break };
                in_hand.push(self.work(uid));
            }
            // While all hands are full nothing is taken, so a timer that is due would be due again and again.
            let due = if in_hand.len() < WORKERS { self.state().pending.next_due() } else { None };
            tokio::select! {
                biased;
                Some((uid, end)) = in_hand.next() => self.end(&uid, end),
                Ok(()) = complete.changed() => self.state().pending.unpark(),
                () = self.changed.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    fn end(&self, uid: &str, end: End) {
        let mut state = self.state();
        match end {
            End::Done => state.pending.done(uid),
            End::Retry => state.pending.retry(uid, Instant::now()),
            End::Park => state.pending.park(uid),
        }
    }

    async fn work(&self, uid: String) -> (String, End) {
        let decision = {
            let state = self.state();
            let facts = Facts { graph: &state.graph, absent: &state.absent, kinds: &self.catalog };
            plan::decide(&uid, &facts)
        };
        let end = match decision {
            Decision::Rest => End::Done,
            Decision::Wait => End::Park,
            Decision::Wake(others) => {
                let mut state = self.state();
                others.into_iter().for_each(|other| state.pending.add(other));
                End::Done
            }
            Decision::Ask(owners) => self.ask(&uid, owners).await,
            Decision::Write(changes) => self.write(&uid, changes).await,
        };
        (uid, end)
    }

    async fn write(&self, uid: &str, changes: Vec<Change>) -> End {
        match self.applier.apply_changes(changes).await.outcome {
            Ok(Outcome::Done | Outcome::Again(_)) => End::Done,
            Ok(Outcome::Conflict) => End::Retry,
            Err(error) => {
                tracing::warn!(uid, error = error_chain(&error), "garbage could not be collected");
                End::Retry
            }
        }
    }

    /// Looks for owners, and has the object looked at again with what was learned.
    async fn ask(&self, uid: &str, owners: Vec<Missing>) -> End {
        let mut end = End::Done;
        for owner in owners {
            match tokio::time::timeout(ASK_TIMEOUT, self.is_there(&owner)).await {
                Ok(Ok(false)) => {
                    self.state().absent.add(owner);
                    continue;
                }
                // Its watch will show it; until then it is asked for again.
                Ok(Ok(true)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(owner = %owner.key, kind = %owner.kind, error = error_chain(&error), "could not look for an owner");
                }
                Err(_elapsed) => tracing::warn!(owner = %owner.key, kind = %owner.kind, "no answer about an owner"),
            }
            end = End::Retry;
        }
        if matches!(end, End::Done) {
            self.state().pending.add(uid.to_owned());
        }
        end
    }

    async fn is_there(&self, owner: &Missing) -> kube::Result<bool> {
        let Some(entry) = self.catalog.get(&owner.kind) else { return Ok(true) };
        let api: Api<Metadata> = match owner.key.namespace() {
            "" => Api::all_with(self.client.clone(), &entry.kind.resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &entry.kind.resource),
        };
        let found = api.get_opt(owner.key.name()).await?;
        Ok(found.is_some_and(|found| found.meta().uid.as_deref() == Some(&owner.uid)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
