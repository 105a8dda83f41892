//! What a Route says of its traffic.

use super::{Assignment, HostError, Hosts, Target};
use crate::rollout::{RevisionRollout, Rollout};
use knative_apis::serving::v1::TrafficTarget;

/// The Route's current split: every target with its revision, and every revision of a rollout with
/// its share.
///
/// # Errors
/// That the host of a tag cannot be named.
pub fn status_traffic(
    assignment: &Assignment,
    rollout: &Rollout,
    hosts: &Hosts<'_>,
) -> Result<Vec<TrafficTarget>, HostError> {
    let mut status = Vec::with_capacity(assignment.listed.len());
    for Target { traffic, .. } in &assignment.listed {
        let url = if traffic.tag.is_empty() { String::new() } else { hosts.url(&traffic.tag)? };
        for revision in shares(traffic, rollout) {
            status.push(TrafficTarget {
                tag: traffic.tag.clone(),
                revision_name: revision.revision_name,
                percent: Some(revision.percent),
                latest_revision: traffic.latest_revision,
                url: url.clone(),
                ..TrafficTarget::default()
            });
        }
    }
    Ok(status)
}

fn shares(target: &TrafficTarget, rollout: &Rollout) -> Vec<RevisionRollout> {
    let rolling = rollout.find(&target.tag, &target.configuration_name).filter(|_| target.is_latest());
    match rolling {
        Some(rolling) => rolling.revisions.clone(),
        None => vec![RevisionRollout { revision_name: target.revision_name.clone(), percent: target.share() }],
    }
}
