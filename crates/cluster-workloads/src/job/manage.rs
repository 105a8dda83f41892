//! Which Pods a Job that is not decided makes or deletes.

use std::sync::Arc;
use std::time::Duration;

use base_controller::{Change, Condition};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::backoff::{self, Ends};
use super::spec::{self, TRACKING};
use super::tally::{Tally, number};
use super::{resources, status};
use crate::objects::pods;
use crate::objects::ranking::least_useful;

/// Pods that one pass makes or deletes at most; what they wake does the rest. The first that is refused ends the pass, so that none begins
/// slowly.
pub(super) const MAX_BURST: usize = 500;

/// What is to be done about the number of Pods, and what the counts will be.
#[derive(Debug, Default)]
pub(super) struct Managed {
    pub(super) changes: Vec<Change>,
    /// How many more there will be, or fewer.
    pub(super) active: i32,
    /// How many of those that go are ready.
    pub(super) ready: i32,
    /// How many will be ending.
    pub(super) terminating: i32,
    /// When failed Pods may be replaced.
    pub(super) again: Option<Duration>,
}

/// Deletions go before creations: a pass does one of both.
pub(super) fn manage(tally: &Tally<'_>, ends: &Ends, now: Timestamp) -> Managed {
    if spec::is_suspended(tally.spec) {
        return delete_all(tally.active.get(..MAX_BURST).unwrap_or(&tally.active));
    }
    let wanted = wanted(tally);
    let active = number(tally.active.len());
    let surplus = superfluous(tally, usize::try_from(active - wanted).unwrap_or_default(), now);
    if !surplus.is_empty() {
        return delete_all(&surplus);
    }
    let ending = if spec::replaces_only_failed(tally.spec) { number(tally.terminating.len()) } else { 0 };
    let missing = usize::try_from(wanted - ending - active).unwrap_or_default().min(MAX_BURST);
    if missing == 0 {
        return Managed::default();
    }
    if tally.spec.backoff_limit_per_index.is_none()
        && let Some(wait) = with_ends_of_tracked(tally, ends).remaining(now)
    {
        return Managed { again: Some(wait), ..Managed::default() };
    }
    if spec::is_indexed(tally.spec) { create_indexed(tally, missing, now) } else { create_plain(tally, missing) }
}

/// How many Pods should be active.
fn wanted(tally: &Tally<'_>) -> i32 {
    let parallelism = spec::parallelism(tally.spec);
    match tally.spec.completions {
        Some(completions) => (completions - tally.succeeded).clamp(0, parallelism.max(0)),
        // After the first success whatever runs may go on, and nothing new begins.
        None if tally.succeeded > 0 => number(tally.active.len()),
        None => parallelism,
    }
}

fn with_ends_of_tracked(tally: &Tally<'_>, ends: &Ends) -> Ends {
    let mut ends = ends.clone();
    let over =
        |pod: &&&Arc<Pod>| spec::is_tracked(pod) && (spec::has_succeeded(pod) || spec::has_failed(tally.spec, pod));
    tally.pods.iter().filter(over).for_each(|pod| ends.add(pod));
    ends
}

fn create_plain(tally: &Tally<'_>, missing: usize) -> Managed {
    let pod = resources::make_pod(tally.job, tally.spec);
    let changes: Vec<_> = std::iter::repeat_with(|| create(&pod)).take(missing).collect();
    Managed { active: number(changes.len()), changes, ..Managed::default() }
}

fn create_indexed(tally: &Tally<'_>, missing: usize, now: Timestamp) -> Managed {
    let mut waits = Vec::new();
    let mut changes = Vec::new();
    for index in pending(tally, missing) {
        let failed = tally.kept_for_index(index);
        let wait = failed.and_then(|failed| {
            let (counted, ignored) = spec::index_failures(failed);
            let failures = usize::try_from(counted + ignored).unwrap_or_default() + 1;
            backoff::remaining(failures, spec::finished_at(failed)?, now)
        });
        match wait {
            Some(wait) => waits.push(wait),
            None => {
                let failed = failed.map(|pod| &**pod);
                changes.push(create(&resources::make_indexed_pod(tally.job, tally.spec, index, failed)));
            }
        }
    }
    Managed { active: number(changes.len()), changes, again: waits.into_iter().min(), ..Managed::default() }
}

/// The first indexes that nothing stands for.
fn pending(tally: &Tally<'_>, count: usize) -> Vec<i32> {
    let ending: &[&Arc<Pod>] = if spec::replaces_only_failed(tally.spec) { &tally.terminating } else { &[] };
    let taken = tally.active.iter().chain(ending).filter_map(|pod| spec::index(pod)).collect();
    let mut taken = tally.completed_indexes.union(&taken);
    if let Some(failed) = &tally.failed_indexes {
        taken = taken.union(failed);
    }
    taken.absent(count, tally.spec.completions.unwrap_or_default())
}

/// Active Pods that have to go: those of an indexed Job that have no index of it or share one, and so many more.
fn superfluous<'a>(tally: &Tally<'a>, count: usize, now: Timestamp) -> Vec<&'a Arc<Pod>> {
    let (mut superfluous, mut left) = (Vec::new(), Vec::new());
    if spec::is_indexed(tally.spec) {
        // They are in the order of their indexes.
        for same in tally.active.chunk_by(|a, b| spec::index(a) == spec::index(b)) {
            let is_valid = same.first().is_some_and(|pod| spec::valid_index(tally.spec, pod).is_some());
            let ranked = least_useful(same, now);
            let kept = usize::from(is_valid);
            let (out, stay) = ranked.split_at(ranked.len() - kept);
            superfluous.extend_from_slice(out);
            left.extend_from_slice(stay);
        }
    } else {
        left.clone_from(&tally.active);
    }
    let more = count.saturating_sub(superfluous.len());
    superfluous.extend(least_useful(&left, now).into_iter().take(more));
    superfluous.truncate(MAX_BURST);
    superfluous
}

/// Deletes Pods of which nothing will be counted.
fn delete_all(surplus: &[&Arc<Pod>]) -> Managed {
    let count = number(surplus.len());
    let ready = number(surplus.iter().filter(|pod| pods::is_ready(pod)).count());
    let changes = surplus.iter().flat_map(|pod| [spec::is_tracked(pod).then(|| let_go(pod)), Some(delete(pod))]);
    let changes = changes.flatten().collect();
    Managed { changes, active: -count, ready: -ready, terminating: count, again: None }
}

/// Takes the finalizer away.
pub(super) fn let_go(pod: &Pod) -> Change {
    let finalizers = pod.metadata.finalizers.iter().flatten();
    let others: Vec<_> = finalizers.filter(|finalizer| *finalizer != TRACKING).collect();
    Change::overlay_fields(pod, json!({"metadata": {"finalizers": others}}))
}

fn create(pod: &Pod) -> Change {
    pods::creation(pod).or_condition(refused())
}

pub(super) fn delete(pod: &Pod) -> Change {
    pods::deletion(pod).or_condition(refused())
}

/// No condition of a Job says that a Pod was refused; but the counts are not what they would have been.
fn refused() -> Condition {
    Condition {
        type_: status::REFUSED.to_owned(),
        status: String::new(),
        reason: String::new(),
        message: String::new(),
    }
}
