//! Which Certificates a namespace has.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Change, Plan, PlanEvent};
use k8s_openapi::api::core::v1::Namespace;
use knative_apis::config::DomainTemplateValues;
use knative_apis::meta::{label, label_value, labels, owner};
use knative_apis::networking::Certificate;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use serde_json::json;

use super::observe::{Internal, Observed};
use crate::certified::{Purpose, class, make_certificate_of_namespace};
use crate::config::Configs;
use crate::json;

/// The type of domains that have wildcard Certificates.
const WILDCARD: &str = "wildcard";

/// Decides.
pub(super) fn plan(observed: &Observed, configs: &Configs) -> Plan<()> {
    let mut plan = Plan::new(());
    let wanted = wanted(observed, configs);
    for (domain, name) in &wanted {
        keep(&mut plan, observed, (domain, name), configs);
    }
    for certificate in observed.certificates.iter().filter(|certificate| is_ours(observed, certificate)) {
        let domain = label_value(&certificate.metadata, label::WILDCARD_DOMAIN).unwrap_or_default();
        if !wanted.contains_key(domain) {
            let what = format!("Knative Certificate {}/{}", observed.namespace.name_any(), certificate.name_any());
            plan.changes.push(
                Change::delete(&**certificate)
                    .with_event(PlanEvent::normal("Deleted", format!("Deleted {what}")))
                    .or_event(PlanEvent::normal("DeleteFailed", format!("Failed to delete {what}: {{error}}"))),
            );
        }
    }
    if let Some(internal) = &observed.internal {
        keep_internal(&mut plan, observed, internal, configs);
    }
    plan
}

/// Keeps the Certificate of what Knative's parts show each other. One that is somebody else's is used as it is.
fn keep_internal(plan: &mut Plan<()>, observed: &Observed, internal: &Internal, configs: &Configs) {
    let namespace = &*observed.namespace;
    let of_purpose = (label::CERTIFICATE_TYPE.to_owned(), Purpose::SystemInternal.word().to_owned());
    let named = (internal.name.to_owned(), class(&namespace.metadata, &configs.network));
    let desired =
        make_certificate_of_namespace(namespace, named, BTreeMap::from([of_purpose]), internal.dns_names.clone());
    plan.changes.extend(match internal.existing.as_deref() {
        None => Some(create(namespace, &desired)),
        Some(existing) if is_ours(observed, existing) => renew(existing, &desired),
        Some(_) => None,
    });
}

fn create(namespace: &Namespace, desired: &Certificate) -> Change {
    let what = format!("Knative Certificate {}/{}", namespace.name_any(), desired.name_any());
    Change::create(desired).with_event(PlanEvent::normal("Created", format!("Created {what}")))
}

fn renew(existing: &Certificate, desired: &Certificate) -> Option<Change> {
    json::change(existing, json::replacing(existing, &json!({ "spec": desired.spec }), &[&["spec"]]))
}

/// The domains, each with the wildcard name of the namespace; none if the namespace is not selected. A domain whose template makes no wildcard
/// has none.
fn wanted(observed: &Observed, configs: &Configs) -> BTreeMap<String, String> {
    let selector = configs.network.namespace_wildcard_cert_selector.clone().map(Selector::try_from);
    let Some(Ok(selector)) = selector else { return BTreeMap::new() };
    if !selector.matches(labels(&observed.namespace.metadata)) {
        return BTreeMap::new();
    }
    let (namespace, none) = (observed.namespace.name_any(), BTreeMap::new());
    let wildcards = configs.domain.domains.iter().filter(|(_, entry)| entry.type_ == WILDCARD);
    wildcards
        .filter_map(|(domain, _)| {
            let values =
                DomainTemplateValues { name: "*", namespace: &namespace, domain, annotations: &none, labels: &none };
            let name = configs.network.host(&values).ok()?;
            name.strip_prefix("*.").is_some_and(|rest| !rest.is_empty()).then(|| (domain.clone(), name))
        })
        .collect()
}

/// Keeps the Certificate of a domain, if nobody else's labelled one is for the name already.
fn keep(plan: &mut Plan<()>, observed: &Observed, (domain, name): (&str, &str), configs: &Configs) {
    let has_name = |certificate: &&Arc<Certificate>| certificate.spec.dns_names.iter().any(|known| known == name);
    if observed.certificates.iter().any(|certificate| has_name(&certificate)) {
        return;
    }
    let namespace = &*observed.namespace;
    let of_domain = BTreeMap::from([(label::WILDCARD_DOMAIN.to_owned(), domain.to_owned())]);
    let named = (name.trim_start_matches("*.").to_owned(), class(&namespace.metadata, &configs.network));
    let desired = make_certificate_of_namespace(namespace, named, of_domain, vec![name.to_owned()]);
    let is_of_domain = |certificate: &&Arc<Certificate>| {
        is_ours(observed, certificate) && label_value(&certificate.metadata, label::WILDCARD_DOMAIN) == Some(domain)
    };
    let change = match observed.certificates.iter().find(is_of_domain) {
        None => Some(create(namespace, &desired)),
        Some(existing) => renew(existing, &desired),
    };
    plan.changes.extend(change);
}

fn is_ours(observed: &Observed, certificate: &Certificate) -> bool {
    owner::is_controlled_by(&certificate.metadata, &observed.namespace.metadata)
}
