//! What a PodAutoscaler makes: a ServerlessService, a Metric, the scale of its Deployment, or a HorizontalPodAutoscaler ([`horizontal`]).

mod horizontal;

use base_controller::Change;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::annotations::METRIC;
use knative_apis::autoscaling::{Metric, MetricSpec, MetricStatus, PodAutoscaler};
use knative_apis::config::Autoscaler;
use knative_apis::meta::owner;
use knative_apis::networking::{
    ServerlessService, ServerlessServiceMode, ServerlessServiceSpec, ServerlessServiceStatus,
};
use knative_logic::scale::targets::{panic_window, stable_window, target_burst_capacity};
use kube::ResourceExt;
use kube::api::ApiResource;
use serde_json::json;

pub(super) use horizontal::make_horizontal_pod_autoscaler;

/// The ServerlessService: where the Revision's Service leads, and through how many activators.
pub(super) fn make_serverless_service(
    autoscaler: &PodAutoscaler,
    mode: ServerlessServiceMode,
    activators: i32,
) -> ServerlessService {
    let mut metadata = make_metadata(autoscaler);
    metadata.annotations.iter_mut().for_each(|annotations| annotations.retain(|key, _| !METRIC.is_spelling(key)));
    let spec = ServerlessServiceSpec {
        mode,
        object_ref: autoscaler.spec.scale_target_ref.clone(),
        protocol_type: autoscaler.spec.protocol_type.clone(),
        num_activators: activators,
    };
    ServerlessService { metadata, spec, status: ServerlessServiceStatus::default() }
}

/// The Metric: what is measured, over which windows. Nobody asks the Pods where the activator sees every request.
pub fn make_metric(autoscaler: &PodAutoscaler, metrics_service: &str, config: &Autoscaler) -> Metric {
    let is_always_proxied = target_burst_capacity(autoscaler, config) < 0.0;
    let nanos = |window: jiff::SignedDuration| i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
    let spec = MetricSpec {
        stable_window_ns: nanos(stable_window(autoscaler, config)),
        panic_window_ns: nanos(panic_window(autoscaler, config)),
        scrape_target: if is_always_proxied { String::new() } else { metrics_service.to_owned() },
    };
    Metric { metadata: make_metadata(autoscaler), spec, status: MetricStatus::default() }
}

/// Asks for `replicas` of the Deployment, whatever else has changed about it.
pub(super) fn rescale(deployment: &Deployment, replicas: i32) -> Change {
    let resource = ApiResource {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        api_version: "autoscaling/v1".to_owned(),
        kind: "Scale".to_owned(),
        plural: "deployments".to_owned(),
    };
    let metadata = ObjectMeta {
        name: deployment.metadata.name.clone(),
        namespace: deployment.metadata.namespace.clone(),
        uid: deployment.metadata.uid.clone(),
        ..ObjectMeta::default()
    };
    let spec = ScaleSpec { replicas: deployment.spec.replicas };
    let now = Scale { metadata, spec: Some(spec), status: None };
    Change::overlay_of(resource, &now, json!({ "spec": { "replicas": replicas } })).to_subresource("scale")
}

fn make_metadata(autoscaler: &PodAutoscaler) -> ObjectMeta {
    ObjectMeta {
        name: Some(autoscaler.name_any()),
        namespace: autoscaler.metadata.namespace.clone(),
        labels: autoscaler.metadata.labels.clone(),
        annotations: autoscaler.metadata.annotations.clone(),
        owner_references: Some(vec![owner::controller_ref(autoscaler)]),
        ..ObjectMeta::default()
    }
}
