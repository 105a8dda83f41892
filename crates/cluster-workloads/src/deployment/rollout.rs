//! One step from the old ReplicaSets to the new one, for each strategy. Sizes only: what may be made or shrunk now.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::sets::{self, Sets};
use super::size::Bounds;

/// A set and the size that it gets.
pub(super) type Resized<'a> = (&'a ReplicaSet, i32);

/// The size of the new set (none: about to be made) under a rolling update: as large as the surge allows.
pub(super) fn new_size(bounds: &Bounds, sets: &Sets<'_>) -> i32 {
    let size = sets.new.map_or(0, sets::replicas);
    if size >= bounds.replicas {
        return bounds.replicas;
    }
    let room = bounds.max_total() - total(sets);
    size + room.max(0).min(bounds.replicas - size)
}

/// The sizes of old sets under a rolling update: first what is not available anyway goes, then as many as enough available ones stand in for.
pub(super) fn shrink_old<'a>(deployment: &Deployment, sets: &Sets<'a>) -> Vec<Resized<'a>> {
    let bounds = Bounds::of(deployment);
    let old = sets.active_old();
    let new_unavailable = sets.new.map_or(0, |new| sets::replicas(new) - sets::available(new));
    let may_go = total(sets) - bounds.min_available() - new_unavailable;
    if old.is_empty() || may_go <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<Resized<'a>> = old.into_iter().map(|set| (set, sets::replicas(set))).collect();
    take(&mut sizes, may_go, |(set, size)| size - sets::available(set));
    // What is being taken is not available, so it does not count here.
    let available: i32 =
        sizes.iter().map(|(set, _)| sets::available(set)).sum::<i32>() + sets.new.map_or(0, sets::available);
    take(&mut sizes, available - bounds.min_available(), |(_, size)| *size);
    sizes.retain(|(set, size)| *size != sets::replicas(set));
    sizes
}

/// The sizes of old sets before anything new starts: none.
pub(super) fn stop_old<'a>(sets: &Sets<'a>) -> Vec<Resized<'a>> {
    sets.active_old().into_iter().map(|set| (set, 0)).collect()
}

/// Takes up to `budget` Pods, oldest set first, from each at most what `available_in` says.
fn take<'a>(sizes: &mut [Resized<'a>], mut budget: i32, available_in: impl Fn(&Resized<'a>) -> i32) {
    for sized in sizes {
        let taken = available_in(sized).min(budget).max(0);
        sized.1 -= taken;
        budget -= taken;
    }
}

fn total(sets: &Sets<'_>) -> i32 {
    sets.all().map(sets::replicas).sum()
}
