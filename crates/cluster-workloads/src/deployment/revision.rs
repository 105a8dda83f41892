//! The history of a Deployment: which ReplicaSet was its how-many-eth template.
//!
//! The new set has the highest number. A set that becomes new again (a rollback) gets a new number and remembers its earlier ones. The
//! Deployment carries the number of its new set.

use std::collections::BTreeMap;

use base_controller::Change;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::json;

use super::resources::{self, REVISION, REVISION_HISTORY};
use super::sets::{self, Sets, age_order};

/// Characters that the list of earlier numbers may have; the oldest go first.
const MAX_HISTORY: usize = 2000;

/// The number of a set's template; 0 if it has none.
pub(super) fn of(set: &ReplicaSet) -> i64 {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(REVISION)?.parse().ok()).unwrap_or_default()
}

/// The number that a new set gets.
pub(super) fn next(sets: &Sets<'_>) -> i64 {
    sets.old.iter().map(|set| of(set)).max().unwrap_or_default() + 1
}

/// Brings the new set's annotations (its number, and those it shares with the Deployment) and `minReadySeconds` up to date.
pub(super) fn update_set(deployment: &Deployment, set: &ReplicaSet, next: i64) -> Option<Change> {
    let known = set.metadata.annotations.clone().unwrap_or_default();
    let mut annotations = resources::copied_annotations(deployment);
    annotations.retain(|name, value| known.get(name) != Some(value));
    annotations.extend(renumbered(&known, next));
    let min_ready_s = deployment.spec.min_ready_seconds.unwrap_or_default();
    let is_ready_alike = set.spec.min_ready_seconds.unwrap_or_default() == min_ready_s;
    if annotations.is_empty() && is_ready_alike {
        return None;
    }
    let mut fields = json!({"metadata": {"annotations": annotations}});
    if let (false, Some(fields)) = (is_ready_alike, fields.as_object_mut()) {
        fields.insert("spec".to_owned(), json!({"minReadySeconds": min_ready_s}));
    }
    Some(Change::overlay_fields(set, fields))
}

/// The annotations that a set gets with a higher number. A number that is none was set by somebody else and stays.
fn renumbered(known: &BTreeMap<String, String>, next: i64) -> BTreeMap<String, String> {
    let mut changed = BTreeMap::new();
    let before = known.get(REVISION).map(String::as_str).unwrap_or_default();
    let number: Option<i64> = if before.is_empty() { Some(0) } else { before.parse().ok() };
    if number.is_none_or(|number| number >= next) {
        return changed;
    }
    changed.insert(REVISION.to_owned(), next.to_string());
    if !before.is_empty() {
        let history = known.get(REVISION_HISTORY).map(String::as_str).unwrap_or_default();
        changed.insert(REVISION_HISTORY.to_owned(), remember(history, before));
    }
    changed
}

/// The list of earlier numbers with one more, cut from the left to its bound.
fn remember(history: &str, number: &str) -> String {
    let mut list = if history.is_empty() { number.to_owned() } else { format!("{history},{number}") };
    while list.len() > MAX_HISTORY {
        list = list.split_once(',').map(|(_oldest, rest)| rest.to_owned()).unwrap_or_default();
    }
    list
}

/// Deletes old sets beyond the Deployment's `revisionHistoryLimit`, the lowest numbers first; none that has or wants Pods.
pub(super) fn forget(deployment: &Deployment, sets: &Sets<'_>) -> Vec<Change> {
    let Some(limit) = deployment.spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok()) else {
        return Vec::new();
    };
    let mut old: Vec<&ReplicaSet> =
        sets.old.iter().copied().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    old.sort_by_key(|set| (of(set), age_order(set)));
    let too_many = old.len().saturating_sub(limit);
    let is_idle = |set: &&ReplicaSet| {
        let status = sets::status(set);
        let is_observed = set.metadata.generation <= status.observed_generation;
        is_observed && status.replicas == 0 && sets::replicas(set) == 0
    };
    old.into_iter().take(too_many).filter(is_idle).map(Change::delete).collect()
}

/// Lets the Deployment carry the number of its new set.
pub(super) fn update_deployment(deployment: &Deployment, number: &str) -> Option<Change> {
    let known = deployment.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REVISION));
    let is_known = known.map(String::as_str) == Some(number);
    (!is_known).then(|| Change::overlay_fields(deployment, json!({"metadata": {"annotations": {REVISION: number}}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(revision: &str, history: &str) -> BTreeMap<String, String> {
        let pairs = [(REVISION, revision), (REVISION_HISTORY, history)];
        pairs.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn a_set_that_becomes_new_again_remembers_its_numbers() {
        assert_eq!(renumbered(&known("", ""), 1), known("1", ""));
        assert_eq!(renumbered(&known("1", ""), 3), known("3", "1"));
        assert_eq!(renumbered(&known("3", "1"), 5), known("5", "1,3"));
        assert!(renumbered(&known("5", "1,3"), 5).is_empty());
        assert!(renumbered(&known("mine", ""), 5).is_empty());
    }

    #[test]
    fn the_history_is_bounded() {
        let history = vec!["1234"; 400].join(",");
        let longer = remember(&history, "9999");
        assert!(longer.len() <= MAX_HISTORY && longer.ends_with(",1234,9999"), "{}", longer.len());
    }
}
