//! The volume that is made for a claim.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::objects::storage::{self, CONTENT_FINALIZER, PROVISIONER};

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// The reference by which a volume is for exactly this claim.
pub(super) fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        name: claim.metadata.name.clone(),
        namespace: claim.metadata.namespace.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// A volume for the claim, named by its uid: it is made once. Its content is a storage of the node, by the same name.
///
/// # Errors
/// Why this machine has no such volumes; in words.
pub(super) fn make_volume(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<PersistentVolume, String> {
    let asked = claim.spec.clone().unwrap_or_default();
    if asked.volume_mode.as_deref() == Some("Block") {
        return Err("block volumes are not supported".to_owned());
    }
    if asked.selector.is_some() {
        return Err("claim.Spec.Selector is not supported".to_owned());
    }
    if asked.data_source.is_some() || asked.data_source_ref.is_some() {
        return Err("data sources are not supported".to_owned());
    }
    let name = format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default());
    let size = storage::requested(claim).cloned().unwrap_or_default();
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        annotations: Some([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())].into()),
        finalizers: Some(vec![CONTENT_FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    let spec = PersistentVolumeSpec {
        access_modes: asked.access_modes,
        capacity: Some(BTreeMap::from([("storage".to_owned(), size)])),
        claim_ref: Some(reference(claim)),
        csi: Some(CSIPersistentVolumeSource {
            driver: PROVISIONER.to_owned(),
            volume_handle: name,
            ..CSIPersistentVolumeSource::default()
        }),
        mount_options: class.mount_options.clone(),
        persistent_volume_reclaim_policy: Some(class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned())),
        storage_class_name: class.metadata.name.clone(),
        volume_mode: asked.volume_mode,
        ..PersistentVolumeSpec::default()
    };
    Ok(PersistentVolume { metadata, spec: Some(spec), status: None })
}
