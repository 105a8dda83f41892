//! Service: a name, addresses and ports for Pods; and Endpoints, the old list of what is behind it.
//!
//! The kind says what it needs ([`addresses`]); handing out cluster IPs and node ports is the server's.

pub mod addresses;
mod families;
mod node_ports;
mod validate;

use serde_json::{Value, json};

use super::{NameRule, Rules, Strategy, check::Errors};
use crate::{
    field_error::FieldPath,
    value::{as_object, child_mut, list_at, semantic_eq, str_at},
};

pub(super) use validate::{validate_cidr, validate_endpoint_ip, validate_entries};

/// The Service's strategy.
pub(super) struct Service;

impl Strategy for Service {
    fn rules(&self) -> Rules {
        Rules { first_status: r#"{"loadBalancer":{}}"#, ..Rules::STATUS }
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn prepare_create(&self, service: &mut Value) {
        self.rules().create(service);
        normalize(service, None);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        self.rules().update(new, old, subresource);
        if subresource.is_none() {
            addresses::drop_type_dependent(new, old);
        }
    }

    fn validate_create(&self, service: &Value, errors: &mut Errors) {
        validate::service(service, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_some() {
            validate::status(new, errors);
            return;
        }
        validate::update(new, old, errors);
        validate::service(new, errors);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings(new)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// What is set in vain, or should not be used any more.
fn warnings(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let is_set = |name: &str| !str_at(spec, &[name]).is_empty();
    let is_external_name = str_at(spec, &["type"]) == "ExternalName";
    let has_external_ips = !list_at(spec, &["externalIPs"]).is_empty();
    let mut found = Vec::new();
    if is_headless(service) {
        if is_set("loadBalancerIP") {
            found.push("spec.loadBalancerIP is ignored for headless services");
        }
        if has_external_ips {
            found.push("spec.externalIPs is ignored for headless services");
        }
        if str_at(spec, &["sessionAffinity"]) != "None" {
            found.push("spec.SessionAffinity is ignored for headless services");
        }
    } else if has_external_ips && !is_external_name {
        found.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    if is_external_name && has_external_ips {
        found.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if !is_external_name && is_set("externalName") {
        found.push("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if str_at(spec, &["trafficDistribution"]) == "PreferClose" {
        found.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
    found.into_iter().map(str::to_owned).collect()
}

/// Whether the Service has no address of its own.
pub(super) fn is_headless(service: &Value) -> bool {
    str_at(service, &["spec", "clusterIP"]) == "None"
}

/// `clusterIP` is the first of `clusterIPs`: whichever the client set fills in the other.
fn normalize(service: &mut Value, old: Option<&Value>) {
    let first = list_at(service, &["spec", "clusterIPs"]).first().cloned();
    let single = str_at(service, &["spec", "clusterIP"]).to_owned();
    let spec = as_object(child_mut(service, "spec"));
    let Some(old) = old else {
        if !single.is_empty() && first.is_none() {
            spec.insert("clusterIPs".to_owned(), json!([single]));
        }
        return;
    };
    let (before, listed) = (str_at(old, &["spec", "clusterIP"]), &old["spec"]["clusterIPs"]);
    if single == before {
        if first.is_none() && !listed.is_null() {
            spec.insert("clusterIPs".to_owned(), listed.clone());
        }
    } else if semantic_eq(spec.get("clusterIPs").unwrap_or(&Value::Null), listed) {
        if single.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".to_owned(), json!([single]));
        }
    }
}

/// The Endpoints' strategy.
pub(super) struct Endpoints;

impl Strategy for Endpoints {
    fn validate_create(&self, endpoints: &Value, errors: &mut Errors) {
        validate::subsets(endpoints, &FieldPath::Root.child("subsets"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        if !semantic_eq(&new["subsets"], &old["subsets"]) {
            self.validate_create(new, errors);
        }
    }

    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}
