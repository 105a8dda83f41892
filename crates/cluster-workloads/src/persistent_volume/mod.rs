//! PersistentVolume: free, a claim's, or left behind by one; and then deleted, if that is its policy.
//!
//! | claim | phase |
//! |---|---|
//! | none, or one that is not there yet | Available |
//! | knows the volume | Bound |
//! | is on the way | as it was |
//! | gone, or has another volume | Released; with policy `Delete` the volume is deleted, if its content lies with this machine's node, or else Failed |
//!
//! A volume that is deleted stays while it is Bound, and until the node has removed its content ([`crate::node`]). The claim's side is
//! [`crate::persistent_claim`]. Specified by `k8s.io/kubernetes/pkg/controller/volume/{persistentvolume,pvprotection}`.

mod plan;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus};
use serde::Serialize;

use crate::objects::storage;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "persistentvolume-reclaimer";

/// Keeps volumes true.
struct Volumes {
    volumes: Informer<PersistentVolume>,
    claims: Informer<PersistentVolumeClaim>,
}

/// The facts about one volume.
#[derive(Debug, Serialize)]
struct Observed {
    /// The volume itself.
    volume: Arc<PersistentVolume>,
    /// The claim of the name that it is for.
    claim: Option<Arc<PersistentVolumeClaim>>,
}

impl Reconciler for Volumes {
    type Object = PersistentVolume;
    type Observed = Observed;
    type Status = Option<PersistentVolumeStatus>;

    const WRITES: &'static [Write] = &[
        Write::deletion("", "PersistentVolume"),
        Write::finalizer("", "PersistentVolume", plan::PROTECTION),
        Write::finalizer("", "PersistentVolume", storage::CONTENT_FINALIZER),
        Write::status("", "PersistentVolume", &["phase", "reason", "message", "lastPhaseTransitionTime"]),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        let volume = self.volumes.get(key)?;
        let claim = storage::claim_ref(&volume).and_then(|reference| {
            self.claims.get(&Key::new(reference.namespace.as_deref()?, reference.name.as_deref()?))
        });
        Some(Observed { volume, claim })
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<PersistentVolume>> {
        Some(&observed.volume)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(&observed.volume, observed.claim.as_deref(), now)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let volumes = context.informers.get::<PersistentVolume>(Scope::all());
    let claims = context.informers.get::<PersistentVolumeClaim>(Scope::all());
    let by_claim = volumes.index("claim", |volume| {
        let reference = storage::claim_ref(volume);
        let name = |reference: &k8s_openapi::api::core::v1::ObjectReference| {
            Some(storage::claim_key(reference.namespace.as_deref()?, reference.name.as_deref()?))
        };
        reference.and_then(name).into_iter().collect()
    });
    let woken = move |delta: &base_controller::Delta<'_, PersistentVolumeClaim>| {
        let Some(claim) = delta.latest() else { return Vec::new() };
        let key = Key::of(&**claim);
        let volumes = by_claim.get(&storage::claim_key(key.namespace(), key.name()));
        volumes.iter().map(|volume| Key::of(&**volume)).collect()
    };
    Controller::new(NAME, Volumes { volumes: volumes.clone(), claims: claims.clone() }, &volumes, context)
        .watches(&claims, woken)
        .start();
}
