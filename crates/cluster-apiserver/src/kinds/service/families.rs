//! The address families of a Service: which it has, and what its policy lets it change.
//!
//! IPv4 is the only family here; a headless Service without selector names both, since its addresses are the user's.
//!
//! Specified by kube-apiserver's `initIPFamilyFields`.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::addresses::spec_of;
use super::{is_headless, validate};
use crate::{
    field_error::{FieldError, FieldPath},
    value::{at, list_at, str_at, strings_at},
};

const FOUR: &str = "IPv4";
const SIX: &str = "IPv6";

/// Completes `ipFamilyPolicy` and `ipFamilies` of a Service that has addresses.
///
/// # Errors
/// They fit neither each other, nor `clusterIPs`, nor this server.
pub(super) fn set(new: &mut Value, old: Option<&Value>) -> Result<(), Vec<FieldError>> {
    if old.is_some_and(|old| is_settled(new, old)) {
        return Ok(());
    }
    let is_open = is_headless(new) && new["spec"]["selector"].as_object().is_none_or(Map::is_empty);
    if at(new, &["spec", "ipFamilyPolicy"]).is_none() {
        let before = old.and_then(|old| at(old, &["spec", "ipFamilyPolicy"])).cloned();
        let policy = before.unwrap_or(json!(if is_open { "RequireDualStack" } else { "SingleStack" }));
        spec_of(new).insert("ipFamilyPolicy".to_owned(), policy);
    }
    let mut errors = Vec::new();
    let root = FieldPath::Root;
    let path = root.child("spec");
    validate::cluster_ips(new, &path, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    match old {
        Some(old) if is_single(new) => release_second(new, old),
        Some(old) => refuse_release(new, old, &path, &mut errors),
        None => {}
    }
    if is_single(new) {
        for (name, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if list_at(new, &["spec", name]).len() == 2 {
                let text =
                    format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy(new), &text));
            }
        }
    }
    let mut families = families_of(new);
    infer(new, &mut families, &path, &mut errors);
    if errors.is_empty() && !is_open {
        refuse_unknown(new, &families, &path, &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if families.is_empty() {
        families.push(FOUR.to_owned());
    }
    if is_open && families.len() == 1 && !is_single(new) {
        let other = if families.iter().any(|family| family == FOUR) { SIX } else { FOUR };
        families.push(other.to_owned());
    }
    spec_of(new).insert("ipFamilies".to_owned(), json!(families));
    Ok(())
}

fn policy(service: &Value) -> &str {
    str_at(service, &["spec", "ipFamilyPolicy"])
}

fn is_single(service: &Value) -> bool {
    policy(service) == "SingleStack"
}

fn families_of(service: &Value) -> Vec<String> {
    strings_at(service, &["spec", "ipFamilies"]).into_iter().map(str::to_owned).collect()
}

/// A change that leaves the preference for two families as it was adds and takes away none.
fn is_settled(new: &Value, old: &Value) -> bool {
    let is_preferring = |service: &Value| policy(service) == "PreferDualStack";
    is_preferring(new)
        && (is_preferring(old) || policy(old).is_empty())
        && ["type", "clusterIPs", "ipFamilies"].iter().all(|name| old["spec"][name] == new["spec"][name])
}

/// Who asks for a single family and changes no list means the first.
fn release_second(new: &mut Value, old: &Value) {
    for name in ["clusterIPs", "ipFamilies"] {
        let list = &new["spec"][name];
        if let Some(first) = list.get(0).filter(|_| *list == old["spec"][name]).cloned() {
            spec_of(new).insert(name.to_owned(), json!([first]));
        }
    }
}

fn refuse_release(new: &Value, old: &Value, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    for (name, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (list_at(new, &["spec", name]).len(), list_at(old, &["spec", name]).len());
        if now != 0 && now < before {
            let text = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy(new), &text));
        }
    }
}

/// Adds the families of addresses that name none.
fn infer(service: &Value, families: &mut Vec<String>, path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    let list = path.child("clusterIPs");
    let known = families.len();
    for (index, ip) in strings_at(service, &["spec", "clusterIPs"]).iter().enumerate().skip(known) {
        match ip.parse() {
            Ok(IpAddr::V4(_)) => families.push(FOUR.to_owned()),
            Ok(IpAddr::V6(_)) => {
                let text = "IPv6 is not configured on this cluster";
                errors.push(FieldError::invalid(&list.index(index), &service["spec"]["clusterIPs"], text));
            }
            Err(_) => return,
        }
    }
}

fn refuse_unknown(service: &Value, families: &[String], path: &FieldPath<'_>, errors: &mut Vec<FieldError>) {
    if policy(service) == "RequireDualStack" {
        let text = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy(service), text));
    }
    let list = path.child("ipFamilies");
    for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != FOUR) {
        errors.push(FieldError::invalid(&list.index(index), family, "not configured on this cluster"));
    }
}
