//! Ingress (KIngress): says whether the gateways serve it, and where they are.
//!
//! The route table itself is built where a gateway watches (`knative_logic::route_table`). Here only the status is written: the gateways
//! report, through [`GatewayFacts`], which version of which Ingress they serve, and an Ingress is ready once every gateway serves the
//! version that the API has. So a change is ready within the time of a table swap, and nothing is probed over the network where the
//! gateway is in this process; a gateway elsewhere is probed by whoever feeds the facts.
//!
//! Who else writes: Routes and DomainMappings make Ingresses and their spec. Ingresses of another class are somebody else's.
//! Specified by Knative's `networking` API; the version is the hash that its probes compare.

mod facts;
mod observe;
mod plan;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Informer, Key, Plan, Reconciler};
use jiff::Timestamp;
use knative_apis::networking::{Ingress, IngressStatus};

use crate::lister::Lister;
use crate::settings::Settings;
pub use facts::GatewayFacts;
use observe::{Observed, gather};
use plan::plan;

/// Keeps the status of Ingresses true.
pub(crate) struct IngressReconciler {
    ingresses: Lister<Ingress>,
    gateways: GatewayFacts,
    settings: Arc<Settings>,
}

impl Reconciler for IngressReconciler {
    type Object = Ingress;
    type Observed = Observed;
    type Status = IngressStatus;

    const WRITES: &'static [Write] = &[Write::status(
        "networking.internal.knative.dev",
        "Ingress",
        &["conditions", "observedGeneration", "publicLoadBalancer", "privateLoadBalancer"],
    )];

    fn gather(&self, key: &Key) -> Option<Observed> {
        gather(&self.ingresses, (&self.gateways, &self.settings), key)
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Ingress>> {
        Some(&observed.ingress)
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<IngressStatus> {
        plan(observed, &self.settings, now)
    }
}

/// Starts the controller: an Ingress is woken by itself and by what the gateways report.
pub(crate) fn wire(
    context: &Context,
    ingresses: &Informer<Ingress>,
    settings: &Arc<Settings>,
    gateways: &GatewayFacts,
) {
    let (settings, gateways_seen) = (Arc::clone(settings), gateways.clone());
    let reconciler = IngressReconciler { ingresses: Lister::live(ingresses), gateways: gateways_seen, settings };
    gateways.bind(Controller::new("ingress", reconciler, ingresses, context).start());
}
