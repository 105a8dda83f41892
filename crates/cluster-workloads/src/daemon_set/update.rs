//! Bringing Pods to the set's template, within what the strategy allows.

use k8s_openapi::api::apps::v1::{DaemonSet, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::Pod;

use super::placement::Place;
use super::plan::Step;
use super::resources;
use crate::objects::percent::{self, Round};
use crate::objects::pods;

fn rolling(set: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    let strategy =
        set.spec.update_strategy.as_ref().filter(|strategy| strategy.type_.as_deref() != Some("OnDelete"))?;
    strategy.rolling_update.as_ref()
}

/// The bounds of an update, in Pods: how many more there may be, and how many fewer.
fn bounds(set: &DaemonSet, desired: usize) -> (usize, usize) {
    let desired = i32::try_from(desired).unwrap_or(i32::MAX);
    let of = |value| usize::try_from(percent::scaled(value, desired, Round::Up)).unwrap_or_default();
    let surge = rolling(set).and_then(|rolling| rolling.max_surge.as_ref()).map_or(0, of);
    let unavailable = rolling(set).and_then(|rolling| rolling.max_unavailable.as_ref()).map_or(0, of);
    // With neither the update could not move.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A node's Pods of the present template and of an older one.
type Pair<'a> = (Option<&'a Pod>, Option<&'a Pod>);

/// A node's Pods that stay. None if there are several of one sort.
fn pair<'a>(set: &DaemonSet, place: &Place<'a>, hash: &str) -> Option<Pair<'a>> {
    let present = place.pods.iter().copied().filter(|pod| !pods::is_terminating(pod));
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = present.partition(|pod| resources::is_updated(set, pod, hash));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

impl<'a> Step<'a> {
    /// Whether new Pods start beside old ones.
    pub(super) fn is_surging(&self) -> bool {
        bounds(self.set, 1).0 > 0
    }

    /// One more part of a rolling update.
    pub(super) fn update(&mut self) {
        let is_on_delete = self
            .set
            .spec
            .update_strategy
            .as_ref()
            .is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete"));
        if is_on_delete {
            return;
        }
        let desired = self.places.iter().filter(|place| place.should_run).count();
        match bounds(self.set, desired) {
            (0, max_unavailable) => self.replace(max_unavailable),
            (max_surge, _) => self.surge(max_surge, desired),
        }
    }

    /// The nodes that take part in an update: all that are to have a Pod or have one.
    fn pairs(&self) -> Vec<(usize, Option<Pair<'a>>)> {
        let places = self.places.iter().enumerate().filter(|(_, place)| place.should_run || !place.pods.is_empty());
        places.map(|(index, place)| (index, pair(self.set, place, self.hash))).collect()
    }

    /// Deletes old Pods: those that are not available anyway, and others as long as not too many are missing.
    fn replace(&mut self, max_unavailable: usize) {
        let (mut unavailable, mut at_once, mut candidates) = (0_usize, Vec::new(), Vec::new());
        for (_, pair) in self.pairs() {
            match pair {
                Some((Some(new), None)) if self.is_available(new) => {}
                Some((None, Some(old))) if self.is_available(old) => candidates.push(old),
                Some((None, Some(old))) => {
                    unavailable += 1;
                    at_once.push(old);
                }
                _ => unavailable += 1,
            }
        }
        candidates.truncate(max_unavailable.saturating_sub(unavailable));
        at_once.into_iter().chain(candidates).for_each(|pod| self.delete(pod));
    }

    /// Starts new Pods beside old ones, and deletes old ones whose successors are available.
    fn surge(&mut self, max_surge: usize, desired: usize) {
        let (mut surging, mut available) = (0_usize, 0_usize);
        let (mut at_once, mut candidates, mut old_ones, mut misplaced) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, pair) in self.pairs() {
            let Some((new, old)) = pair else {
                surging += 1;
                continue;
            };
            available += usize::from(old.or(new).is_some_and(|pod| self.is_available(pod)));
            let should_run = self.places.get(index).is_some_and(|place| place.should_run);
            match (new, old) {
                (_, None) => {}
                (None, Some(old)) if !should_run && self.is_available(old) => misplaced.push(old),
                (None, Some(old)) if !should_run => old_ones.push(old),
                (None, Some(old)) if self.is_available(old) => candidates.push(index),
                (None, Some(_)) => at_once.push(index),
                (Some(new), Some(old)) if self.is_available(new) => old_ones.push(old),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        misplaced.truncate(available.saturating_sub(desired));
        candidates.truncate(max_surge.saturating_sub(surging));
        at_once.into_iter().chain(candidates).for_each(|index| self.make(index));
        old_ones.into_iter().chain(misplaced).for_each(|pod| self.delete(pod));
    }
}
