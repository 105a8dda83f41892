//! The server's own small tasks: flushing lazy writes, forgetting history and old Events, ending the process when the store has failed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Phase, TaskError};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::core::Core;
use crate::identity::Caller;
use crate::store::Stored;
use crate::value::str_at;
use crate::writes::{Context, DeleteOptions, delete};

/// Lazy writes reach a journal in memory after this time, if nothing durable takes them along.
const LAZY_FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// History is kept for so many intervals, as far as its bounds allow, and at most for one more.
const HISTORY_INTERVALS: usize = 5;
const HISTORY_INTERVAL: Duration = Duration::from_secs(60);
/// How often old Events are looked for.
const EVENTS_INTERVAL: Duration = Duration::from_secs(300);
/// An Event lives so long after its last write, as in Kubernetes.
const EVENT_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// So many Events are kept, the newest.
const MAX_EVENTS: usize = 5000;

/// Fails when the store has: nothing is acknowledged any more, so the process should end.
pub(crate) async fn report_failure(core: Arc<Core>) -> Result<(), TaskError> {
    tokio::select! {
        biased;
        () = core.tasks.shutdown().reached(Phase::Stopped) => Ok(()),
        why = core.store.failed() => Err(format!("the store has failed: {why}").into()),
    }
}

pub(crate) async fn flush_lazy_writes(core: Arc<Core>) -> Result<(), TaskError> {
    loop {
        tokio::select! {
            biased;
            () = core.tasks.shutdown().reached(Phase::Stopped) => return Ok(()),
            () = core.store.lazy_backlog() => {}
        }
        if is_over(&core, Phase::Stopped, LAZY_FLUSH_INTERVAL).await {
            return Ok(());
        }
        core.store.flush();
    }
}

/// Forgets history that nobody should still ask for.
pub(crate) async fn forget_history(core: Arc<Core>) -> Result<(), TaskError> {
    let mut revisions = VecDeque::from([core.store.revision()]);
    loop {
        if is_over(&core, Phase::Drained, HISTORY_INTERVAL).await {
            return Ok(());
        }
        if revisions.len() == HISTORY_INTERVALS
            && let Some(old) = revisions.pop_front()
        {
            core.store.compact(old);
        }
        revisions.push_back(core.store.revision());
    }
}

/// Deletes Events that nobody should still want.
pub(crate) async fn forget_events(core: Arc<Core>) -> Result<(), TaskError> {
    loop {
        if is_over(&core, Phase::Drained, EVENTS_INTERVAL).await {
            return Ok(());
        }
        let Some(events) = core.registry.builtin("", "events") else { return Ok(()) };
        let caller = Caller::server();
        let mut stored = core.store.list(&events.table, "").objects;
        stored.sort_by_key(|event| std::cmp::Reverse(event.revision));
        let now = core.clock.now();
        for (rank, event) in stored.iter().enumerate() {
            if rank < MAX_EVENTS && !is_old(event, now) {
                continue;
            }
            let context = Context::of_server(&core, &caller, events, event.key.namespace());
            if let Err(error) = delete(&context, event.key.name(), &DeleteOptions::default()).await
                && error.code != 404
            {
                tracing::warn!(%error, event = %event.key, "an old event could not be deleted");
            }
        }
    }
}

/// Whether an Event's last sign of life is too long ago.
fn is_old(event: &Stored, now: Timestamp) -> bool {
    let value: Value = serde_json::from_slice(&event.body).unwrap_or_default();
    let paths: [&[&str]; 4] =
        [&["metadata", "creationTimestamp"], &["lastTimestamp"], &["eventTime"], &["series", "lastObservedTime"]];
    let last = paths.iter().filter_map(|path| str_at(&value, path).parse::<Timestamp>().ok()).max();
    last.is_none_or(|last| now.duration_since(last) > EVENT_LIFETIME)
}

/// Waits; answers whether the shutdown has come instead.
async fn is_over(core: &Core, phase: Phase, interval: Duration) -> bool {
    tokio::select! {
        biased;
        () = core.tasks.shutdown().reached(phase) => true,
        () = tokio::time::sleep(interval) => false,
    }
}
