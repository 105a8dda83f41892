//! Which Revisions go, and when to look again.

use std::time::Duration;

use base_controller::{Change, Plan};
use jiff::{SignedDuration, Timestamp};
use knative_apis::config::Gc;
use knative_logic::revision_gc::{RevisionFact, stale};
use kube::ResourceExt;

use super::observe::Observed;

/// Revisions become old by the hour; there is no hurry.
const SOONEST: SignedDuration = SignedDuration::from_mins(1);

/// Decides.
pub(super) fn plan(observed: &Observed, config: &Gc, now: Timestamp) -> Plan<()> {
    let latest_ready = &observed.configuration.status.latest_ready_revision_name;
    let facts: Vec<_> = observed.revisions.iter().map(|revision| RevisionFact::new(revision, latest_ready)).collect();
    let stale = stale(&facts, config, now);
    let gone = observed.revisions.iter().filter(|revision| stale.contains(&revision.name_any()));
    let changes = gone.map(|revision| Change::delete(&**revision)).collect();
    Plan { changes, again: next_look(&facts, config, now), ..Plan::new(()) }
}

/// When the next Revision becomes old, if one can.
fn next_look(facts: &[RevisionFact], config: &Gc, now: Timestamp) -> Option<Duration> {
    let ages = |fact: &RevisionFact| {
        let by_creation = config.retain_since_create_time.and_then(|bound| fact.created.checked_add(bound).ok());
        let by_use = config.retain_since_last_active_time.and_then(|bound| fact.last_active.checked_add(bound).ok());
        by_creation.max(by_use)
    };
    let min = usize::try_from(config.min_non_active_revisions).unwrap_or(usize::MAX);
    let next = facts.iter().filter(|fact| !fact.is_kept).filter_map(ages).filter(|age| *age > now).min();
    let next = next.filter(|_| facts.len() > min)?;
    Duration::try_from(next.duration_since(now).max(SOONEST)).ok()
}
