//! The sidecar of every Pod of a Revision: queue-proxy.
//!
//! What it has to know is in its environment, in Knative's names, so that the process in a cluster and the role inside Kwick are configured
//! by one parser, and so that Knative's own image could stand here.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, SeccompProfile, SecurityContext,
};
use knative_apis::config::{Metrics, Observability};
use knative_apis::meta::{annotation, annotation_value, annotations, label, label_value, owner, port};
use knative_apis::networking::Protocol;
use knative_apis::serving::v1::Revision;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::Configs;
use super::containers::{user_port, variable};
use super::probes::{encode_user_probes, make_queue_probe};
use super::queue_resources::make_queue_resources;

/// The sidecar's name.
pub(crate) const CONTAINER_NAME: &str = "queue-proxy";
const HTTPS_PORT_NAME: &str = "https-port";
const PROFILING_PORT_NAME: &str = "profiling-port";

/// The sidecar.
pub(super) fn make_queue_container(revision: &Revision, configs: &Configs) -> Container {
    let serving_port = serving_port(revision);
    let serving = revision.spec.serving_container();
    let uses_defaults = configs.features.queue_proxy_resource_defaults.is_enabled();
    let resources = make_queue_resources(&configs.deployment, annotations(&revision.metadata), serving, uses_defaults);
    let args = &configs.settings.queue_proxy_args;
    Container {
        name: CONTAINER_NAME.to_owned(),
        image: Some(configs.deployment.queue_sidecar_image.clone()),
        args: (!args.is_empty()).then(|| args.clone()),
        resources: Some(resources),
        ports: Some(make_ports(serving_port, configs.observability.profiling)),
        readiness_probe: make_queue_probe(revision, serving_port),
        security_context: Some(make_security_context()),
        env: Some(make_environment(revision, configs)),
        ..Container::default()
    }
}

fn serving_port(revision: &Revision) -> i32 {
    match revision.protocol() {
        Protocol::H2c => port::BACKEND_HTTP2,
        _ => port::BACKEND_HTTP,
    }
}

fn make_ports(serving_port: i32, has_profiling: bool) -> Vec<ContainerPort> {
    let profiling = has_profiling.then_some((PROFILING_PORT_NAME, port::PROFILING));
    let ports = [
        Some((port::QUEUE_AUTOSCALING_METRICS_NAME, port::QUEUE_AUTOSCALING_METRICS)),
        Some((port::QUEUE_USER_METRICS_NAME, port::QUEUE_USER_METRICS)),
        profiling,
        Some((port::QUEUE_PORT_NAME, serving_port)),
        Some((HTTPS_PORT_NAME, port::BACKEND_HTTPS)),
    ];
    let make = |(name, number): (&str, i32)| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        ..ContainerPort::default()
    };
    ports.into_iter().flatten().map(make).collect()
}

fn make_security_context() -> SecurityContext {
    let nothing = Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None };
    let seccomp = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(nothing),
        seccomp_profile: Some(seccomp),
        ..SecurityContext::default()
    }
}

fn make_environment(revision: &Revision, configs: &Configs) -> Vec<EnvVar> {
    let (deployment, features) = (&configs.deployment, &configs.features);
    let seconds = |limit: Option<i64>| limit.unwrap_or_default().to_string();
    let is_multi_container = features.multi_container_probing.is_enabled();
    let full_duplex = annotation_value(&revision.metadata, annotation::HTTP_FULL_DUPLEX).unwrap_or_default();
    let level = configs.logging.levels.get("queueproxy").map(String::as_str).unwrap_or_default();
    vec![
        variable("SERVING_NAMESPACE", revision.namespace().unwrap_or_default()),
        variable("SERVING_SERVICE", label_value(&revision.metadata, label::SERVICE).unwrap_or_default()),
        variable("SERVING_CONFIGURATION", configuration_name(revision)),
        variable("SERVING_REVISION", revision.name_any()),
        variable("QUEUE_SERVING_PORT", serving_port(revision).to_string()),
        variable("QUEUE_SERVING_TLS_PORT", port::BACKEND_HTTPS.to_string()),
        variable("CONTAINER_CONCURRENCY", revision.spec.concurrency_limit().to_string()),
        variable("REVISION_TIMEOUT_SECONDS", seconds(revision.spec.timeout_seconds)),
        variable("REVISION_RESPONSE_START_TIMEOUT_SECONDS", seconds(revision.spec.response_start_timeout_seconds)),
        variable("REVISION_IDLE_TIMEOUT_SECONDS", seconds(revision.spec.idle_timeout_seconds)),
        field("SERVING_POD", None, "metadata.name"),
        field("SERVING_POD_IP", None, "status.podIP"),
        variable("SERVING_LOGGING_CONFIG", configs.logging.zap_config.as_str()),
        variable("SERVING_LOGGING_LEVEL", level),
        variable("USER_PORT", user_port(revision).to_string()),
        variable("SYSTEM_NAMESPACE", configs.settings.system_namespace.as_str()),
        variable("SERVING_READINESS_PROBE", encode_user_probes(revision, is_multi_container)),
        field("HOST_IP", Some("v1"), "status.hostIP"),
        variable("ENABLE_HTTP2_AUTO_DETECTION", features.auto_detect_http2.is_enabled().to_string()),
        variable("ENABLE_HTTP_FULL_DUPLEX", full_duplex.eq_ignore_ascii_case("enabled").to_string()),
        variable("ROOT_CA", deployment.queue_sidecar_root_ca.as_str()),
        variable("QUEUE_PROXY_TLS_MIN_VERSION", deployment.queue_sidecar_tls_min_version.as_str()),
        variable("QUEUE_PROXY_TLS_MAX_VERSION", deployment.queue_sidecar_tls_max_version.as_str()),
        variable("QUEUE_PROXY_TLS_CIPHER_SUITES", deployment.queue_sidecar_tls_cipher_suites.as_str()),
        variable("QUEUE_PROXY_TLS_CURVE_PREFERENCES", deployment.queue_sidecar_tls_curve_preferences.as_str()),
        variable("ENABLE_MULTI_CONTAINER_PROBES", is_multi_container.to_string()),
        variable("OBSERVABILITY_CONFIG", encode_observability(&configs.observability)),
    ]
}

/// The Configuration that made the Revision; empty for a Revision made by hand.
fn configuration_name(revision: &Revision) -> &str {
    let owner = owner::controller_of(&revision.metadata).filter(|owner| owner.kind == "Configuration");
    owner.map(|owner| owner.name.as_str()).unwrap_or_default()
}

fn field(name: &str, api_version: Option<&str>, path: &str) -> EnvVar {
    let selector = ObjectFieldSelector { api_version: api_version.map(str::to_owned), field_path: path.to_owned() };
    let source = EnvVarSource { field_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// config-observability as the sidecar reads it: Knative's JSON, durations in nanoseconds, what says nothing left out.
fn encode_observability(observability: &Observability) -> String {
    let Observability { tracing, metrics, request_metrics, .. } = observability;
    let nanos = i64::try_from(observability.runtime_export_interval.as_nanos()).unwrap_or(i64::MAX);
    let profiling = if observability.profiling { "enabled" } else { "disabled" };
    let fields = without_zeros(json!({
        "tracing": without_zeros(json!({
            "protocol": tracing.protocol, "endpoint": tracing.endpoint, "samplingRate": tracing.sampling_rate,
        })),
        "metrics": metrics_json(metrics),
        "runtime": without_zeros(json!({"profiling": profiling, "exportInterval": nanos})),
        "requestMetrics": metrics_json(request_metrics),
        "enableRequestLog": observability.enable_request_log,
        "requestLogTemplate": observability.request_log_template,
        "enableProbeRequestLog": observability.enable_probe_request_log,
    }));
    fields.to_string()
}

fn metrics_json(metrics: &Metrics) -> Value {
    let nanos = i64::try_from(metrics.export_interval.as_nanos()).unwrap_or(i64::MAX);
    without_zeros(json!({"protocol": metrics.protocol, "endpoint": metrics.endpoint, "exportInterval": nanos}))
}

/// Go's `omitempty`.
fn without_zeros(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let says_something = |value: &Value| match value {
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Null => false,
        Value::Array(_) | Value::Object(_) => true,
    };
    Value::Object(fields.into_iter().filter(|(_, value)| says_something(value)).collect::<Map<_, _>>())
}
