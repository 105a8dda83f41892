//! PodDisruptionBudget: how many Pods of an application may be evicted now.
//!
//! `disruptionsAllowed = currentHealthy - desiredHealthy`, where healthy is a Pod that is ready and not on its way out, and what is desired follows
//! from `minAvailable`, or from `maxUnavailable` and the scale of the Pods' controllers. The API server's eviction spends what is allowed and notes
//! the Pod in `status.disruptedPods`, which counts as gone until the cache shows that it goes, or two minutes have passed.
//!
//! Whatever cannot be calculated allows nothing (`SyncFailed`). Who else writes: users `spec`; evictions `disruptionsAllowed` and `disruptedPods`.
//! `stale` takes back what an eviction said of a Pod that stayed. Specified by `k8s.io/kubernetes/pkg/controller/disruption`.

mod observe;
mod plan;
mod scale;
mod stale;
mod status;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Delta, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};

use observe::{Caches, Observed};

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "disruption-controller";

/// Keeps PodDisruptionBudgets true.
struct Budgets {
    caches: Caches,
}

impl Reconciler for Budgets {
    type Object = PodDisruptionBudget;
    type Observed = Observed;
    type Status = Option<PodDisruptionBudgetStatus>;

    const WRITES: &'static [Write] = &[Write::status(
        "policy",
        "PodDisruptionBudget",
        &[
            "currentHealthy",
            "desiredHealthy",
            "expectedPods",
            "disruptionsAllowed",
            "disruptedPods",
            "observedGeneration",
            "conditions",
        ],
    )];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.caches.gather(key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<PodDisruptionBudget>> {
        Some(&observed.budget)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Self::Status> {
        plan::plan(observed, now)
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let budgets = context.informers.get::<PodDisruptionBudget>(Scope::all());
    let pods = context.informers.get::<Pod>(Scope::all());
    let caches = Caches::new(&budgets, &pods, context);
    let taking = budgets.clone();
    caches
        .reading(Controller::new(NAME, Budgets { caches: caches.clone() }, &budgets, context))
        .watches(&pods, move |delta| takers(&taking, delta))
        .start();
    stale::start(context);
}

/// The budgets that are for a Pod.
fn takers(budgets: &Informer<PodDisruptionBudget>, delta: &Delta<'_, Pod>) -> Vec<Key> {
    let Some(namespace) = delta.latest().and_then(|pod| pod.metadata.namespace.as_deref()) else { return Vec::new() };
    let here = budgets.list_in(namespace);
    let takes = |budget: &PodDisruptionBudget| {
        let selector = observe::selector(budget);
        delta.both().any(|pod| selector.takes(&pod.metadata))
    };
    here.iter().filter(|budget| takes(budget)).map(|budget| Key::of(&**budget)).collect()
}
