//! A claim's status: its phase, and what it has of its volume.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus};

/// It waits for a volume.
pub(super) fn pending(claim: &PersistentVolumeClaim) -> PersistentVolumeClaimStatus {
    in_phase(claim, "Pending")
}

/// Its volume is gone.
pub(super) fn lost(claim: &PersistentVolumeClaim) -> PersistentVolumeClaimStatus {
    in_phase(claim, "Lost")
}

fn in_phase(claim: &PersistentVolumeClaim, phase: &str) -> PersistentVolumeClaimStatus {
    let known = claim.status.clone().unwrap_or_default();
    PersistentVolumeClaimStatus { phase: Some(phase.to_owned()), access_modes: None, capacity: None, ..known }
}

/// It has this volume.
pub(super) fn bound(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> PersistentVolumeClaimStatus {
    let spec = volume.spec.clone().unwrap_or_default();
    let known = claim.status.clone().unwrap_or_default();
    PersistentVolumeClaimStatus {
        phase: Some("Bound".to_owned()),
        access_modes: spec.access_modes,
        capacity: spec.capacity,
        ..known
    }
}
