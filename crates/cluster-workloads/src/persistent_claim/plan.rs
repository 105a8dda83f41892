//! Decides how a claim comes by its volume.

use base_controller::{Change, Finalizer, Plan, PlanEvent};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use super::observe::Observed;
use super::{resources, status};
use crate::objects::storage::{self, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, SELECTED_NODE};

type ClaimPlan = Plan<Option<PersistentVolumeClaimStatus>>;

/// Keeps a claim while it is used.
pub(super) const PROTECTION: &str = "kubernetes.io/pvc-protection";
/// On a claim: whose volume it waits for.
const PROVISIONER_OF_CLAIM: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];

/// The next step of the claim.
pub(super) fn plan(observed: &Observed) -> ClaimPlan {
    let claim = &*observed.claim;
    let finalizers = claim.metadata.finalizers.as_deref().unwrap_or_default();
    let is_protected = finalizers.iter().any(|finalizer| finalizer == PROTECTION);
    if claim.metadata.deletion_timestamp.is_some() {
        let is_free = is_protected && !observed.is_used;
        let finalizer = if is_free { Finalizer::Remove(PROTECTION) } else { Finalizer::Keep };
        return Plan { finalizer, ..Plan::new(None) };
    }
    let plan = match (storage::volume_name(claim), observed.volumes.first()) {
        (None, _) => unbound(observed),
        (Some(name), None) => without_volume(claim, name),
        (Some(_), Some(volume)) => with_volume(claim, volume),
    };
    Plan { finalizer: if is_protected { Finalizer::Keep } else { Finalizer::Add(PROTECTION) }, ..plan }
}

fn pending(claim: &PersistentVolumeClaim, event: Option<PlanEvent>) -> ClaimPlan {
    Plan { events: event.into_iter().collect(), ..Plan::new(Some(status::pending(claim))) }
}

/// The claim names no volume yet.
fn unbound(observed: &Observed) -> ClaimPlan {
    let (claim, class) = (&*observed.claim, observed.class.as_deref());
    let waits = class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let is_chosen = !storage::annotation(claim.metadata.annotations.as_ref(), SELECTED_NODE).is_empty();
    let is_to_wait = waits && !is_chosen;
    let found = storage::best_match(claim, &observed.volumes);
    if let Some(volume) = found.filter(|volume| !is_to_wait || storage::is_for(volume, claim)) {
        return bind(claim, volume);
    }
    if claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_none())
        && let Some(class) = class
    {
        let named = json!({"spec": {"storageClassName": class.metadata.name}});
        let change = Change::overlay_fields(claim, named);
        return Plan { changes: vec![change], ..pending(claim, None) };
    }
    match (class, storage::class_of(claim)) {
        (Some(_), _) if is_to_wait => {
            let message = "waiting for first consumer to be created before binding";
            pending(claim, Some(PlanEvent::normal("WaitForFirstConsumer", message)))
        }
        (Some(class), _) => provision(claim, class),
        (None, "") => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            pending(claim, Some(PlanEvent::normal("FailedBinding", message)))
        }
        (None, class) => {
            let message = format!("storageclass.storage.k8s.io {class:?} not found");
            pending(claim, Some(PlanEvent::warning("ProvisioningFailed", message)))
        }
    }
}

/// The volume is made the claim's first: whatever happens then, it is nobody else's.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> ClaimPlan {
    let changes = claim_volume(claim, volume).into_iter().chain([complete(claim, volume, &[])]).collect();
    Plan { changes, ..pending(claim, None) }
}

/// Lets a volume be for exactly this claim, unless it is.
fn claim_volume(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Change> {
    let known = storage::claim_ref(volume);
    if known.is_some_and(|reference| reference.uid.is_some() && reference.uid == claim.metadata.uid) {
        return None;
    }
    let mut fields = json!({"spec": {"claimRef": resources::reference(claim)}});
    if let (None, Some(fields)) = (known, fields.as_object_mut()) {
        fields.insert("metadata".to_owned(), json!({"annotations": {BOUND_BY_CONTROLLER: "yes"}}));
    }
    Some(Change::overlay_fields(volume, fields))
}

/// Lets the claim know its volume.
fn complete(claim: &PersistentVolumeClaim, volume: &PersistentVolume, more: &[(&str, &str)]) -> Change {
    let mut annotations: serde_json::Map<_, _> =
        more.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    annotations.insert(BIND_COMPLETED.to_owned(), json!("yes"));
    if storage::volume_name(claim).is_none() {
        annotations.insert(BOUND_BY_CONTROLLER.to_owned(), json!("yes"));
    }
    let fields = json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume.metadata.name}});
    Change::overlay_fields(claim, fields)
}

/// The claim names a volume that is not there.
fn without_volume(claim: &PersistentVolumeClaim, name: &str) -> ClaimPlan {
    if !storage::is_bound(claim) {
        return pending(claim, None);
    }
    let event = PlanEvent::warning(
        "ClaimLost",
        format!("Bound claim has lost its PersistentVolume. Data on the volume {name:?} is lost!"),
    );
    lost(claim, event)
}

/// The claim names this volume.
fn with_volume(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> ClaimPlan {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    match (storage::claim_ref(volume), storage::is_bound(claim)) {
        (None, false) if !storage::suits(claim, volume) => {
            let message = format!("Cannot bind to requested volume {name:?}: it is not what the claim asks for");
            pending(claim, Some(PlanEvent::warning("VolumeMismatch", message)))
        }
        (Some(_), false) if !storage::is_for(volume, claim) => {
            let message = format!("volume {name:?} already bound to a different claim.");
            pending(claim, Some(PlanEvent::warning("FailedBinding", message)))
        }
        (Some(_), true) if !storage::is_for(volume, claim) => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost(claim, PlanEvent::warning("ClaimMisbound", message))
        }
        (_, is_bound) => {
            let mut changes: Vec<Change> = claim_volume(claim, volume).into_iter().collect();
            if !is_bound {
                changes.push(complete(claim, volume, &[]));
            }
            Plan { changes, ..Plan::new(Some(status::bound(claim, volume))) }
        }
    }
}

fn lost(claim: &PersistentVolumeClaim, event: PlanEvent) -> ClaimPlan {
    let status = status::lost(claim);
    let is_told = claim.status.as_ref().is_some_and(|known| known.phase == status.phase);
    Plan { events: Some(event).into_iter().filter(|_| !is_told).collect(), ..Plan::new(Some(status)) }
}

/// Makes a volume, if the class is this machine's.
fn provision(claim: &PersistentVolumeClaim, class: &StorageClass) -> ClaimPlan {
    let provisioner = class.provisioner.as_str();
    let for_provisioner = PROVISIONER_OF_CLAIM.map(|name| (name, provisioner));
    if provisioner != PROVISIONER {
        let annotations: serde_json::Map<_, _> =
            for_provisioner.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let change = Change::overlay_fields(claim, json!({"metadata": {"annotations": annotations}}));
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        let told = pending(claim, Some(PlanEvent::normal("ExternalProvisioning", message)));
        return Plan { changes: vec![change], ..told };
    }
    let volume = match resources::make_volume(claim, class) {
        Ok(volume) => volume,
        Err(why) => {
            let message = format!("failed to provision volume with StorageClass {:?}: {why}", storage::class_of(claim));
            return pending(claim, Some(PlanEvent::warning("ProvisioningFailed", message)));
        }
    };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let made = Change::create(&volume)
        .with_event(PlanEvent::normal("ProvisioningSucceeded", format!("Successfully provisioned volume {name}")))
        .or_event(PlanEvent::warning("ProvisioningFailed", "{error}"));
    let changes = vec![made, complete(claim, &volume, &for_provisioner)];
    Plan { changes, ..pending(claim, None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rows;

    #[test]
    fn rows() {
        Rows::load("src/persistent_claim/testdata/plan.yaml").check(|row| {
            let observed = Observed {
                claim: row.one(),
                volumes: row.all(),
                class: row.all().into_iter().next(),
                is_used: row.config == json!("used"),
            };
            serde_json::to_value(plan(&observed)).unwrap()
        });
    }
}
