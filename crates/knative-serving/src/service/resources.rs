//! The Configuration and the Route that a Service makes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::meta::{annotation, annotations, label, labels, owner};
use knative_apis::serving::v1::{
    Configuration, ConfigurationSpec, ConfigurationStatus, Route, RouteSpec, RouteStatus, Service,
};
use kube::ResourceExt;

use crate::caches::route_names;

/// The Configuration of `service`; of one that is there, the Routes that use it stay listed.
pub(super) fn make_configuration(service: &Service, existing: Option<&Configuration>) -> Configuration {
    let mut annotations = handed_down(service, |key| annotation::ROLLOUT_DURATION.is_spelling(key));
    let mut routes: BTreeSet<&str> = existing.into_iter().flat_map(route_names).collect();
    let own_route = service.name_any();
    routes.insert(&own_route);
    annotations.insert(annotation::ROUTES.to_owned(), routes.into_iter().collect::<Vec<_>>().join(","));
    let mut metadata = make_metadata(service, annotations);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(label::SERVICE_UID.to_owned(), service.uid().unwrap_or_default());
    Configuration {
        metadata,
        spec: ConfigurationSpec { template: service.spec.template.clone() },
        status: ConfigurationStatus::default(),
    }
}

/// The Route of `service`.
pub(super) fn make_route(service: &Service) -> Route {
    let mut traffic = service.spec.traffic.clone();
    for target in traffic.iter_mut().filter(|target| target.revision_name.is_empty()) {
        target.configuration_name = service.name_any();
    }
    Route {
        metadata: make_metadata(service, handed_down(service, |_| false)),
        spec: RouteSpec { traffic },
        status: RouteStatus::default(),
    }
}

fn handed_down(service: &Service, is_kept_back: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let all = annotations(&service.metadata).iter();
    let handed_down = all.filter(|(key, _)| *key != annotation::LAST_APPLIED && !is_kept_back(key));
    handed_down.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn make_metadata(service: &Service, annotations: BTreeMap<String, String>) -> ObjectMeta {
    let mut labels = labels(&service.metadata).clone();
    labels.insert(label::SERVICE.to_owned(), service.name_any());
    ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![owner::controller_ref(service)]),
        ..ObjectMeta::default()
    }
}
