//! The Deployment of a Revision: the same in both of Kwick's homes.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSpec, PodTemplateSpec, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::annotations::autoscaling;
use knative_apis::config::{AffinityType, Flag};
use knative_apis::meta::internal_tls::SERVING_CERTIFICATE;
use knative_apis::meta::{annotation, annotation_value, annotations, label, labels};
use knative_apis::serving::v1::Revision;
use knative_logic::names;
use kube::ResourceExt;

use super::containers::{make_init_containers, make_user_containers};
use super::queue::{CONTAINER_NAME, make_queue_container};
use super::{Configs, hash, make_metadata, without_autoscaling};

const HOSTNAME_TOPOLOGY: &str = "kubernetes.io/hostname";
const SPREAD_WEIGHT: i32 = 100;
const LOG_VOLUME: &str = "knative-var-log";
const LOG_DIRECTORY: &str = "/var/log";
const POD_INFO_VOLUME: &str = "pod-info";
const POD_INFO_DIRECTORY: &str = "/etc/podinfo";
const POD_INFO_FILE: &str = "annotations";
const TOKEN_VOLUME: &str = "knative-token-volume";
const TOKEN_DIRECTORY: &str = "/var/run/secrets/tokens";
const CERTIFICATE_VOLUME: &str = "server-certs";
const CERTIFICATE_DIRECTORY: &str = "/var/lib/knative/certs";
const TOKEN_LIFETIME_S: i64 = 3600;

/// The Deployment of `revision`, with the initial scale; of one that is there the autoscaler has the scale.
pub(crate) fn make_deployment(revision: &Revision, configs: &Configs) -> Deployment {
    let asked = autoscaling(annotations(&revision.metadata));
    let deadline = asked.progress_deadline.unwrap_or(configs.deployment.progress_deadline);
    let metadata = make_metadata(revision, names::deployment(&revision.name_any()), without_autoscaling(revision));
    let spec = DeploymentSpec {
        replicas: Some(asked.initial_scale.unwrap_or(configs.autoscaler.initial_scale)),
        selector: make_selector(revision),
        progress_deadline_seconds: Some(i32::try_from(deadline.as_secs()).unwrap_or(i32::MAX)),
        revision_history_limit: Some(0),
        strategy: Some(make_strategy()),
        template: make_template(revision, &metadata, configs),
        ..DeploymentSpec::default()
    };
    let mut deployment = Deployment { metadata, spec, status: None };
    hash::label_with_hash(&mut deployment);
    deployment
}

fn make_selector(revision: &Revision) -> LabelSelector {
    let uid = (label::REVISION_UID.to_owned(), revision.uid().unwrap_or_default());
    LabelSelector { match_labels: Some([uid].into()), match_expressions: None }
}

/// No Pod goes before another has taken its place.
fn make_strategy() -> DeploymentStrategy {
    let update = RollingUpdateDeployment { max_unavailable: Some(IntOrString::Int(0)), max_surge: None };
    DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(update) }
}

fn make_template(revision: &Revision, metadata: &ObjectMeta, configs: &Configs) -> PodTemplateSpec {
    let mut annotations = without_autoscaling(revision);
    if let Some(serving) = revision.spec.serving_container().filter(|container| !container.name.is_empty()) {
        annotations.insert(annotation::DEFAULT_CONTAINER.to_owned(), serving.name.clone());
    }
    let metadata =
        ObjectMeta { labels: metadata.labels.clone(), annotations: Some(annotations), ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(make_pod(revision, configs)) }
}

fn make_pod(revision: &Revision, configs: &Configs) -> PodSpec {
    let mut pod = revision.spec.pod.clone();
    let mut queue = make_queue_container(revision, configs);
    let mut volumes = pod.volumes.take().unwrap_or_default();
    volumes.extend(mount_pod_info(&mut queue, revision, configs));
    volumes.extend(mount_tokens(&mut queue, configs));
    volumes.extend(mount_certificate(&mut queue, configs));
    pod.init_containers = make_init_containers(revision);
    pod.containers = make_user_containers(revision, &configs.features);
    if configs.observability.enable_var_log_collection {
        volumes.push(make_log_volume());
        pod.containers.iter_mut().for_each(collect_logs);
    }
    pod.containers.push(queue);
    pod.volumes = (!volumes.is_empty()).then_some(volumes);
    pod.termination_grace_period_seconds = revision.spec.timeout_seconds;
    pod.enable_service_links = pod.enable_service_links.or(configs.defaults.enable_service_links);
    if pod.runtime_class_name.is_none() {
        let class = configs.deployment.runtime_class_name(labels(&revision.metadata));
        pod.runtime_class_name = class.map(str::to_owned);
    }
    if pod.affinity.is_none() && configs.deployment.default_affinity_type == AffinityType::PreferSpreadRevisionOverNodes
    {
        pod.affinity = Some(spread_over_nodes(revision));
    }
    pod
}

fn spread_over_nodes(revision: &Revision) -> Affinity {
    let of_revision = LabelSelector {
        match_labels: Some(BTreeMap::from([(label::REVISION.to_owned(), revision.name_any())])),
        match_expressions: None,
    };
    let term = PodAffinityTerm {
        topology_key: HOSTNAME_TOPOLOGY.to_owned(),
        label_selector: Some(of_revision),
        ..PodAffinityTerm::default()
    };
    let preferred = WeightedPodAffinityTerm { weight: SPREAD_WEIGHT, pod_affinity_term: term };
    let spread = PodAntiAffinity {
        preferred_during_scheduling_ignored_during_execution: Some(vec![preferred]),
        ..PodAntiAffinity::default()
    };
    Affinity { pod_anti_affinity: Some(spread), ..Affinity::default() }
}

/// The Pod's annotations as a file for the sidecar, where the operator or the Revision asks for it.
fn mount_pod_info(queue: &mut Container, revision: &Revision, configs: &Configs) -> Option<Volume> {
    let asked = annotation_value(&revision.metadata, annotation::QUEUE_POD_INFO).unwrap_or_default();
    let is_wanted = match configs.features.queue_proxy_mount_pod_info {
        Flag::Enabled => true,
        Flag::Allowed => asked.eq_ignore_ascii_case("enabled"),
        _ => false,
    };
    if !is_wanted {
        return None;
    }
    mount(queue, POD_INFO_VOLUME, POD_INFO_DIRECTORY, true);
    let file = DownwardAPIVolumeFile {
        path: POD_INFO_FILE.to_owned(),
        field_ref: Some(ObjectFieldSelector { api_version: None, field_path: "metadata.annotations".to_owned() }),
        ..DownwardAPIVolumeFile::default()
    };
    let source = DownwardAPIVolumeSource { items: Some(vec![file]), ..DownwardAPIVolumeSource::default() };
    Some(Volume { name: POD_INFO_VOLUME.to_owned(), downward_api: Some(source), ..Volume::default() })
}

/// Tokens for the audiences that the operator names, each in a file of the audience's name.
fn mount_tokens(queue: &mut Container, configs: &Configs) -> Option<Volume> {
    let audiences = configs.deployment.queue_sidecar_token_audiences.iter().filter(|audience| !audience.is_empty());
    let token = |audience: &String| VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            audience: Some(audience.clone()),
            expiration_seconds: Some(TOKEN_LIFETIME_S),
            path: audience.clone(),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let sources: Vec<_> = audiences.map(token).collect();
    if sources.is_empty() {
        return None;
    }
    mount(queue, TOKEN_VOLUME, TOKEN_DIRECTORY, false);
    let source = ProjectedVolumeSource { sources: Some(sources), ..ProjectedVolumeSource::default() };
    Some(Volume { name: TOKEN_VOLUME.to_owned(), projected: Some(source), ..Volume::default() })
}

/// The certificate by which the sidecar speaks TLS, where the operator wants it.
fn mount_certificate(queue: &mut Container, configs: &Configs) -> Option<Volume> {
    if !configs.network.system_internal_tls {
        return None;
    }
    mount(queue, CERTIFICATE_VOLUME, CERTIFICATE_DIRECTORY, true);
    let source =
        SecretVolumeSource { secret_name: Some(SERVING_CERTIFICATE.to_owned()), ..SecretVolumeSource::default() };
    Some(Volume { name: CERTIFICATE_VOLUME.to_owned(), secret: Some(source), ..Volume::default() })
}

fn mount(container: &mut Container, volume: &str, directory: &str, is_read_only: bool) {
    container.volume_mounts.get_or_insert_default().push(VolumeMount {
        name: volume.to_owned(),
        mount_path: directory.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    });
}

fn make_log_volume() -> Volume {
    Volume { name: LOG_VOLUME.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

/// Files that a user's container writes under `/var/log`, where a collector on the node finds them.
fn collect_logs(container: &mut Container) {
    debug_assert_ne!(container.name, CONTAINER_NAME, "the sidecar logs to its output");
    let path = format!("$(K_INTERNAL_POD_NAMESPACE)_$(K_INTERNAL_POD_NAME)_{}", container.name);
    container.volume_mounts.get_or_insert_default().push(VolumeMount {
        name: LOG_VOLUME.to_owned(),
        mount_path: LOG_DIRECTORY.to_owned(),
        sub_path_expr: Some(path),
        ..VolumeMount::default()
    });
    let variables = [("K_INTERNAL_POD_NAME", "metadata.name"), ("K_INTERNAL_POD_NAMESPACE", "metadata.namespace")];
    container.env.get_or_insert_default().extend(variables.map(|(name, path)| {
        let selector = ObjectFieldSelector { api_version: None, field_path: path.to_owned() };
        let source = EnvVarSource { field_ref: Some(selector), ..EnvVarSource::default() };
        EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
    }));
}
