//! PersistentVolumeClaim: gets a volume that suits, or one that is made for it.
//!
//! ```text
//! Pending ─► a volume names it, or suits ─────────────────────────► the volume's claimRef ─► the claim's volumeName ─► Bound
//!         └► none, and its class is this machine's: make a volume ─┘
//! ```
//! A class with `WaitForFirstConsumer` waits until the scheduler has chosen a node for a Pod of the claim. Whatever is interrupted goes on from
//! what is written: a volume that names the claim by uid is the claim's, also if the claim does not know yet. Classes of other provisioners
//! are left to them, with the annotations that they look for.
//!
//! A claim that is deleted stays while a Pod that is bound to a node uses it. The volume's side is [`crate::persistent_volume`].
//!
//! Who else writes: users and StatefulSets `spec`, the scheduler the annotation of the chosen node. Specified by
//! `k8s.io/kubernetes/pkg/controller/volume/{persistentvolume,pvcprotection}`.

mod class;
mod observe;
mod plan;
mod resources;
mod status;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Index, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::objects::storage;
pub use class::standard_class;
use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "persistentvolume-controller";

/// Keeps claims true.
struct Claims {
    caches: Caches,
}

impl Reconciler for Claims {
    type Object = PersistentVolumeClaim;
    type Observed = Observed;
    type Status = Option<PersistentVolumeClaimStatus>;

    const WRITES: &'static [Write] = &[
        Write::child("", "PersistentVolume"),
        Write::fields("", "PersistentVolume", &["spec.claimRef"]),
        Write::fields(
            "",
            "PersistentVolumeClaim",
            &[
                "spec.volumeName",
                "spec.storageClassName",
                "metadata.annotations[pv.kubernetes.io/bind-completed]",
                "metadata.annotations[pv.kubernetes.io/bound-by-controller]",
                "metadata.annotations[volume.kubernetes.io/storage-provisioner]",
            ],
        ),
        Write::finalizer("", "PersistentVolumeClaim", plan::PROTECTION),
        Write::status("", "PersistentVolumeClaim", &["phase", "accessModes", "capacity"]),
    ];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<PersistentVolumeClaim>> {
        Some(&observed.claim)
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let claims = context.informers.get::<PersistentVolumeClaim>(Scope::all());
    let volumes = context.informers.get::<PersistentVolume>(Scope::all());
    let classes = context.informers.get::<StorageClass>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let waiting = claims.index("waiting", |claim| match storage::is_bound(claim) {
        true => Vec::new(),
        false => vec![WAITING.to_owned()],
    });
    let (for_volume, for_class) = (waiting.clone(), waiting);
    let caches = Caches::new(&claims, &volumes, &classes, &pods);
    Controller::new(NAME, Claims { caches }, &claims, context)
        .watches(&volumes, move |delta| affected(&for_volume, delta))
        .watches(&classes, move |delta| of_class(&for_class, delta))
        .watches(&pods, users_end)
        // One at a time: two claims at once could each see the same free volume. The next is planned when the cache shows whose it is.
        .with_workers(1)
        .start();
}

const WAITING: &str = "waiting";

fn those(
    waiting: &Index<PersistentVolumeClaim>,
    is_meant: impl Fn(&PersistentVolumeClaim) -> bool,
) -> impl Iterator<Item = Key> {
    let waiting = waiting.get(WAITING).into_iter().filter(move |claim| is_meant(claim));
    waiting.map(|claim| Key::of(&*claim))
}

/// The claims that wait for a class of this name, or for the default one, which this may be.
fn of_class(waiting: &Index<PersistentVolumeClaim>, delta: &Delta<'_, StorageClass>) -> Vec<Key> {
    let Some(name) = delta.new.and_then(|class| class.metadata.name.as_deref()) else { return Vec::new() };
    let asks = |claim: &PersistentVolumeClaim| claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
    those(waiting, |claim| asks(claim).is_none_or(|class| class == name)).collect()
}

/// The claim that a volume is for; if it is for none, those that wait and name it, or that it suits.
fn affected(waiting: &Index<PersistentVolumeClaim>, delta: &Delta<'_, PersistentVolume>) -> Vec<Key> {
    let of = |volume: &Arc<PersistentVolume>| {
        let reference = storage::claim_ref(volume)?;
        Some(Key::new(reference.namespace.as_deref()?, reference.name.as_deref()?))
    };
    let mut keys: Vec<Key> = delta.both().filter_map(of).collect();
    if let Some(free) = delta.new.filter(|volume| storage::claim_ref(volume).is_none()) {
        let names = |claim: &PersistentVolumeClaim| storage::volume_name(claim) == free.metadata.name.as_deref();
        keys.extend(those(waiting, |claim| names(claim) || storage::suits(claim, free)));
    }
    keys
}

/// The claims of a Pod that uses them no more.
fn users_end(delta: &Delta<'_, Pod>) -> Vec<Key> {
    let Some(gone) = delta.old.filter(|_| delta.new.is_none()) else { return Vec::new() };
    let namespace = gone.metadata.namespace.as_deref().unwrap_or_default();
    storage::claims_of(gone).map(|name| Key::new(namespace, name)).collect()
}
