//! What a Revision makes: a Deployment, a PodAutoscaler, and an Image for each container. Pure makers.
//!
//! - [`deployment`]: the Deployment and its Pod; [`containers`]: the user's containers in it; [`queue`]: the sidecar, with
//!   [`queue_resources`] (what it may use) and [`probes`] (how it asks whether the user's container is ready);
//! - [`pod_autoscaler`], [`image`]: the other two;
//! - [`pod_to_try`]: the Pod by which a dry run asks whether the cluster would take it;
//! - [`hash`]: how a changed Deployment is told from an unchanged one.

mod containers;
mod deployment;
mod hash;
mod image;
mod pod_autoscaler;
mod pod_to_try;
mod probes;
mod queue;
mod queue_resources;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::meta::{AUTOSCALING_GROUP, annotation, annotations, label, labels, owner};
use knative_apis::serving::v1::Revision;
use kube::ResourceExt;

pub(crate) use deployment::make_deployment;
pub(crate) use image::make_image;
pub(crate) use pod_autoscaler::make_pod_autoscaler;
pub(crate) use pod_to_try::make_pod_to_try;
pub(crate) use queue::CONTAINER_NAME as QUEUE_CONTAINER;

/// What the resources of this crate are made from, beside the Revision.
pub(crate) use crate::config::Configs;

/// Labels of a Revision that its children do not carry: they change with the Routes.
const KEPT_LABELS: [&str; 2] = [label::ROUTE, label::ROUTING_STATE];
/// Annotations of a Revision that its children do not carry: they change with the Routes, or concern only the Revision.
const KEPT_ANNOTATIONS: [&str; 4] =
    [annotation::LAST_PINNED, annotation::NO_GC, annotation::ROUTING_STATE_MODIFIED, annotation::ROUTES];

/// The metadata of the child `name`.
fn make_metadata(revision: &Revision, name: String, annotations: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: revision.metadata.namespace.clone(),
        labels: Some(make_labels(revision)),
        annotations: Some(annotations),
        owner_references: Some(vec![owner::controller_ref(revision)]),
        ..ObjectMeta::default()
    }
}

/// The labels of every child.
fn make_labels(revision: &Revision) -> BTreeMap<String, String> {
    let own = labels(&revision.metadata).iter().filter(|(key, _)| !KEPT_LABELS.contains(&key.as_str()));
    let mut labels: BTreeMap<_, _> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.insert(label::REVISION.to_owned(), revision.name_any());
    labels.insert(label::REVISION_UID.to_owned(), revision.uid().unwrap_or_default());
    labels.entry(label::APP.to_owned()).or_insert_with(|| revision.name_any());
    labels
}

/// The annotations of children that have nothing to do with scale.
fn without_autoscaling(revision: &Revision) -> BTreeMap<String, String> {
    let mut annotations = with_autoscaling(revision);
    annotations.retain(|key, _| !key.starts_with(AUTOSCALING_GROUP));
    annotations
}

/// The annotations of the PodAutoscaler.
fn with_autoscaling(revision: &Revision) -> BTreeMap<String, String> {
    let own = annotations(&revision.metadata).iter().filter(|(key, _)| !KEPT_ANNOTATIONS.contains(&key.as_str()));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}
