//! What the plan of a DomainMapping looks at.

use std::sync::Arc;

use base_controller::{Key, ObjectRef};
use k8s_openapi::api::core::v1::Service as CoreService;
use knative_apis::duck::Addressable;
use knative_apis::go_text::quote;
use knative_apis::meta::{CLUSTER_DOMAIN, SERVING_GROUP};
use knative_apis::networking::{Certificate, ClusterDomainClaim, Ingress};
use knative_apis::serving::v1::{Route, Service};
use knative_apis::serving::v1beta1::DomainMapping;
use knative_logic::names;
use serde::Serialize;

use crate::caches::Caches;

/// The facts about one DomainMapping.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The DomainMapping; it may be on its way out.
    pub(crate) mapping: Arc<DomainMapping>,
    /// The claim of its name, whosever.
    pub(crate) claim: Option<Arc<ClusterDomainClaim>>,
    /// The Ingress of its name, whoever made it.
    pub(crate) ingress: Option<Arc<Ingress>>,
    /// The Certificate of its name, whoever made it.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// The URL of what it refers to, or why there is none.
    pub(crate) referent: Result<String, String>,
    /// Everything that it looks at by name, whether that is there or not.
    #[serde(skip)]
    pub(crate) references: Vec<ObjectRef>,
}

/// Reads the facts; none if the DomainMapping is gone.
pub(crate) fn gather(caches: &Caches, key: &Key) -> Option<Observed> {
    let mapping = caches.domain_mappings.get(key)?;
    let (claim, ingress) = (Key::new("", key.name()), Key::new(key.namespace(), names::ingress(key.name())));
    let mut references = vec![
        ObjectRef::new::<ClusterDomainClaim>(claim.clone()),
        ObjectRef::new::<Ingress>(ingress.clone()),
        // It has the same name.
        ObjectRef::new::<Certificate>(ingress.clone()),
    ];
    let referent = resolve(caches, &mapping, &mut references);
    Some(Observed {
        claim: caches.domain_claims.get(&claim),
        ingress: caches.ingresses.get(&ingress),
        certificate: caches.certificates.get(&ingress),
        mapping,
        referent,
        references,
    })
}

/// Where what the mapping refers to is reached, in the words of Knative's resolver if it cannot be said.
fn resolve(caches: &Caches, mapping: &DomainMapping, references: &mut Vec<ObjectRef>) -> Result<String, String> {
    let reference = &mapping.spec.reference;
    let key = Key::new(reference.namespace.as_str(), reference.name.as_str());
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let (resource, found) = match (group, reference.kind.as_str()) {
        ("", "Service") => {
            references.push(ObjectRef::new::<CoreService>(key.clone()));
            let url = |_| Ok(format!("http://{}.{}.svc.{CLUSTER_DOMAIN}", key.name(), key.namespace()));
            ("services".to_owned(), caches.core_services.get(&key).map(url))
        }
        (SERVING_GROUP, "Service") => {
            references.push(ObjectRef::new::<Service>(key.clone()));
            let found = caches.services.get(&key);
            (format!("services.{SERVING_GROUP}"), found.map(|service| url_of(service.status.address.as_ref(), &key)))
        }
        (SERVING_GROUP, "Route") => {
            references.push(ObjectRef::new::<Route>(key.clone()));
            let found = caches.routes.get(&key);
            (format!("routes.{SERVING_GROUP}"), found.map(|route| url_of(route.status.address.as_ref(), &key)))
        }
        (_, kind) => return Err(format!("{kind} of {} is nothing that a domain can lead to", reference.api_version)),
    };
    found.unwrap_or_else(|| Err(format!("failed to get object {key}: {resource} {} not found", quote(key.name()))))
}

fn url_of(address: Option<&Addressable>, key: &Key) -> Result<String, String> {
    let url = address.map(|address| address.url.clone()).filter(|url| !url.is_empty());
    url.ok_or_else(|| format!("address not set for {key}"))
}
