//! Whose Pod is tried before an object of a dry run is accepted, and how it is said that the cluster does not take it.

use super::{Denied, Request, VALIDATION_WEBHOOK, decode};
use crate::field_error::FieldErrors;
use crate::meta::{label, label_value};
use crate::serving::v1::{Configuration, Revision, RevisionTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::Resource;

/// The Revision that an object accepted by [`validate`](super::validate) would lead to: of a Service's template, or of a Configuration's that
/// belongs to no Service. It has a namespace, and no name yet.
pub fn revision_to_try(request: &Request<'_>) -> Option<Revision> {
    let (metadata, template) = template(request)?;
    let metadata = ObjectMeta { namespace: metadata.namespace, ..ObjectMeta::default() };
    Some(Revision { metadata, spec: template.spec, ..Revision::default() })
}

fn template(request: &Request<'_>) -> Option<(ObjectMeta, RevisionTemplateSpec)> {
    if request.group != Service::group(&()) || request.version != Service::version(&()) {
        return None;
    }
    match request.kind {
        "Service" => {
            let service: Service = decode::object(request.object, "new").ok()?;
            Some((service.metadata, service.spec.template))
        }
        "Configuration" => {
            let configuration: Configuration = decode::object(request.object, "new").ok()?;
            let is_owned = label_value(&configuration.metadata, label::SERVICE).is_some_and(|owner| !owner.is_empty());
            (!is_owned).then_some((configuration.metadata, configuration.spec.template))
        }
        _ => None,
    }
}

/// The refusal of an object whose Pod the cluster does not take, with what the cluster says.
pub fn pod_refused(reason: &str) -> Denied {
    let error = FieldErrors::one(format!("dry run failed with {reason}"), ["spec.template"]);
    Denied::new(VALIDATION_WEBHOOK, format!("validation callback failed: {error}"))
}
