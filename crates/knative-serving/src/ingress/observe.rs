//! What the plan of an Ingress looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::Key;
use knative_apis::meta::{annotation, annotations};
use knative_apis::networking::Ingress;
use knative_logic::route_table::ingress_hash;
use serde::Serialize;

use super::GatewayFacts;
use crate::lister::Lister;
use crate::settings::Settings;

/// The facts about one Ingress.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Ingress.
    pub(crate) ingress: Arc<Ingress>,
    /// Its version: what gateways that serve it as it is report.
    pub(crate) version: String,
    /// Which version each gateway serves.
    pub(crate) served: BTreeMap<String, Option<String>>,
}

/// Reads the facts; none if the Ingress is gone, going, or somebody else's.
pub(crate) fn gather(
    ingresses: &Lister<Ingress>,
    (gateways, settings): (&GatewayFacts, &Settings),
    key: &Key,
) -> Option<Observed> {
    let ingress = ingresses.get(key)?;
    let class = annotation::INGRESS_CLASS.value(annotations(&ingress.metadata)).unwrap_or_default();
    if ingress.metadata.deletion_timestamp.is_some() || class != settings.ingress_class {
        return None;
    }
    let version = ingress_hash(&ingress);
    Some(Observed { version, served: gateways.versions(key), ingress })
}
