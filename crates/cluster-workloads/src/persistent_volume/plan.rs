//! Decides a volume's phase, and whether it goes.

use base_controller::{Change, Finalizer, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::objects::storage;

type VolumePlan = Plan<Option<PersistentVolumeStatus>>;

/// Keeps a volume while a claim has it.
pub(super) const PROTECTION: &str = "kubernetes.io/pv-protection";

/// What the volume is to its claim, and what follows.
pub(super) fn plan(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>, now: Timestamp) -> VolumePlan {
    let plan = match standing(volume, claim) {
        Some("Released") => released(volume, now),
        standing => {
            let phase = standing.or(known_phase(volume)).unwrap_or("Available");
            Plan::new(Some(status(volume, (phase, None), now)))
        }
    };
    let phase = plan.status.as_ref().and_then(|status| status.phase.as_deref());
    let finalizer = finalizer(volume, phase == Some("Bound"));
    Plan { finalizer, ..plan }
}

fn known_phase(volume: &PersistentVolume) -> Option<&str> {
    volume.status.as_ref()?.phase.as_deref().filter(|phase| *phase != "Pending")
}

/// The phase that follows from the claim; none while it is on the way.
fn standing(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Option<&'static str> {
    let Some(reference) = storage::claim_ref(volume) else { return Some("Available") };
    if reference.uid.as_deref().unwrap_or_default().is_empty() {
        // It is kept for whoever will have this name.
        return Some("Available");
    }
    let Some(claim) = claim.filter(|claim| claim.metadata.uid == reference.uid) else { return Some("Released") };
    match storage::volume_name(claim) {
        Some(name) if Some(name) == volume.metadata.name.as_deref() => Some("Bound"),
        Some(_) => Some("Released"),
        None => None,
    }
}

fn finalizer(volume: &PersistentVolume, is_bound: bool) -> Finalizer {
    let finalizers = volume.metadata.finalizers.as_deref().unwrap_or_default();
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    match volume.metadata.deletion_timestamp {
        Some(_) if has(PROTECTION) && !is_bound => Finalizer::Remove(PROTECTION),
        Some(_) => Finalizer::Keep,
        None if !has(PROTECTION) => Finalizer::Add(PROTECTION),
        None if storage::content_of(volume).is_some() && !has(storage::CONTENT_FINALIZER) => {
            Finalizer::Add(storage::CONTENT_FINALIZER)
        }
        None => Finalizer::Keep,
    }
}

/// Its claim is gone.
fn released(volume: &PersistentVolume, now: Timestamp) -> VolumePlan {
    let is_here = storage::content_of(volume).is_some();
    match storage::reclaim_policy(volume) {
        "Delete" if is_here => {
            let is_ending = volume.metadata.deletion_timestamp.is_some();
            let changes = if is_ending { Vec::new() } else { vec![Change::delete(volume)] };
            Plan { changes, ..Plan::new(Some(status(volume, ("Released", None), now))) }
        }
        "Delete" => failed(volume, ("VolumeFailedDelete", "deleter", "deletable"), now),
        "Recycle" => failed(volume, ("VolumeFailedRecycle", "recycler", "recyclable"), now),
        _ => Plan::new(Some(status(volume, ("Released", None), now))),
    }
}

/// Nobody here can do what the policy says.
fn failed(volume: &PersistentVolume, (reason, plugin, quality): (&str, &str, &str), now: Timestamp) -> VolumePlan {
    // Whoever made the volume deletes it.
    if volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some()) {
        return Plan::new(Some(status(volume, ("Released", None), now)));
    }
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let message =
        format!("error getting {plugin} volume plugin for volume {name:?}: no {quality} volume plugin matched");
    let is_told = known_phase(volume) == Some("Failed");
    let event = PlanEvent::warning(reason, message.clone());
    let events = Some(event).into_iter().filter(|_| !is_told).collect();
    Plan { events, ..Plan::new(Some(status(volume, ("Failed", Some(message)), now))) }
}

fn status(
    volume: &PersistentVolume,
    (phase, message): (&str, Option<String>),
    now: Timestamp,
) -> PersistentVolumeStatus {
    let known = volume.status.clone().unwrap_or_default();
    let is_same = known.phase.as_deref() == Some(phase);
    PersistentVolumeStatus {
        phase: Some(phase.to_owned()),
        message,
        last_phase_transition_time: if is_same { known.last_phase_transition_time } else { Some(Time(now)) },
        ..PersistentVolumeStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rows;

    #[test]
    fn rows() {
        Rows::load("src/persistent_volume/testdata/plan.yaml").check(|row| {
            let claims = row.all::<PersistentVolumeClaim>();
            serde_json::to_value(plan(&row.one(), claims.first().map(|claim| &**claim), row.now)).unwrap()
        });
    }
}
