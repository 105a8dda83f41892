//! Sizes of a Deployment's ReplicaSets when its replicas have changed, or when it is paused: nothing rolls, all keep their share.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::resources::{self, DESIRED_REPLICAS, MAX_REPLICAS};
use super::rollout::Resized;
use super::sets::{self, Sets, age_order};
use super::size::Bounds;

/// Whether the replicas have changed since the sets were last sized.
pub(super) fn is_due(deployment: &Deployment, sets: &Sets<'_>) -> bool {
    let wanted = resources::replicas(deployment);
    sets.active().into_iter().filter_map(|set| sets::number(set, DESIRED_REPLICAS)).any(|known| known != wanted)
}

/// The sizes that the sets get. A set may be in it that has its size already: it is to remember the Deployment's.
pub(super) fn sizes<'a>(deployment: &Deployment, sets: &Sets<'a>) -> Vec<Resized<'a>> {
    let wanted = resources::replicas(deployment);
    if let Some(only) = only_active_or_latest(sets) {
        return vec![(only, wanted)];
    }
    if sets.new.is_some_and(|new| is_saturated(new, wanted)) {
        return sets.active_old().into_iter().map(|set| (set, 0)).collect();
    }
    if resources::is_recreating(deployment) { Vec::new() } else { proportional(deployment, sets) }
}

/// The one set that wants Pods; if none does, the new or the youngest one.
fn only_active_or_latest<'a>(sets: &Sets<'a>) -> Option<&'a ReplicaSet> {
    match sets.active().as_slice() {
        [] => sets.new.or(sets.old.last().copied()),
        [only] => Some(only),
        _ => None,
    }
}

/// Whether the set has all Pods that the Deployment wants, and knows so.
fn is_saturated(set: &ReplicaSet, wanted: i32) -> bool {
    sets::replicas(set) == wanted
        && sets::number(set, DESIRED_REPLICAS) == Some(wanted)
        && sets::available(set) == wanted
}

/// In the middle of a rollout, what is added or removed is shared among the sets by their sizes; the largest gets what is left over.
fn proportional<'a>(deployment: &Deployment, sets: &Sets<'a>) -> Vec<Resized<'a>> {
    let bounds = Bounds::of(deployment);
    let mut active = sets.active();
    let allowed = if bounds.replicas > 0 { bounds.max_total() } else { 0 };
    let to_add = allowed - active.iter().map(|set| sets::replicas(set)).sum::<i32>();
    // Largest first; of equals, the younger one grows and the older one shrinks first.
    active.sort_by(|a, b| {
        let by_age = age_order(a).cmp(&age_order(b));
        let by_age = if to_add > 0 { by_age.reverse() } else { by_age };
        sets::replicas(b).cmp(&sets::replicas(a)).then(by_age)
    });
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for set in active {
        let share = share(deployment, &bounds, set);
        let left = to_add - added;
        let share = if to_add > 0 { share.min(left) } else { share.max(left) };
        added += share;
        sizes.push((set, sets::replicas(set) + share));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size += to_add - added;
    }
    sizes.into_iter().map(|(set, size)| (set, size.max(0))).collect()
}

/// By how much a set changes so that it keeps its part of the whole.
fn share(deployment: &Deployment, bounds: &Bounds, set: &ReplicaSet) -> i32 {
    let size = sets::replicas(set);
    if bounds.replicas == 0 {
        return -size;
    }
    let current = || deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or_default();
    let before = sets::number(set, MAX_REPLICAS).filter(|max| *max != 0).unwrap_or_else(current);
    if before <= 0 {
        return 0;
    }
    let (size_now, max, before) = (i64::from(size), i64::from(bounds.max_total()), i64::from(before));
    // Rounded half up.
    let scaled = (2 * size_now * max + before) / (2 * before);
    i32::try_from(scaled).unwrap_or(i32::MAX) - size
}
