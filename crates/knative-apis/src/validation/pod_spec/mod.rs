//! What is wrong with the Pod of a Revision: Knative accepts a part of Kubernetes' PodSpec, and
//! more of it where the operator allows it (config-features).
//!
//! A field that Knative does not accept is `must not set the field(s)`; a value that it does not
//! accept has a text of its own. Paths are as Knative prints them, also where it leaves out a step
//! (an init container is `containers[i]`, the items of a volume's source are `items[j]`).

mod container;
mod probe;
mod security;
mod volume;

use super::mask::disallowed;
use super::names;
use crate::config::{Features, Flag};
use crate::field_error::{FieldErrors, invalid_value, missing_field};
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use std::collections::{BTreeMap, BTreeSet};

/// Names that a route of the request path takes; a user's container cannot have them.
const RESERVED_CONTAINER_NAMES: [&str; 1] = ["queue-proxy"];

/// The port that serves, by what a probe may call it.
#[derive(Clone, Debug)]
struct ServingPort {
    name: String,
}

/// What is wrong with a Pod's spec.
pub(crate) fn pod_spec(spec: &PodSpec, features: &Features) -> FieldErrors {
    let no_inits: &[Container] = &[];
    let inits = spec.init_containers.as_deref().unwrap_or(no_inits);
    let mut errors = disallowed(spec, &allowed_fields(spec, features));
    if let Some(context) = &spec.security_context {
        errors.also(security::pod(context, features).via_field("securityContext"));
    }
    errors.also(insecure_defaults(spec, "containers", &spec.containers, features));
    errors.also(insecure_defaults(spec, "initContainers", inits, features));

    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let mounted = mounted_names(inits.iter().chain(&spec.containers));
    errors.also(volume::volumes(volumes, &mounted, features).via_field("volumes"));
    let volumes: BTreeMap<&str, &Volume> = volumes.iter().map(|volume| (volume.name.as_str(), volume)).collect();

    errors.also(init_containers(inits, &spec.containers, &volumes, features));
    let (port, port_errors) = serving_port(&spec.containers);
    errors.also(port_errors.via_field("containers[*]"));
    errors.also(match spec.containers.as_slice() {
        [] => missing_field("containers"),
        [only] => container::serving(only, &volumes, &port, features).via_field_index("containers", 0),
        several => containers(several, &volumes, &port, features),
    });
    errors.and(service_account_name(spec))
}

fn allowed_fields(spec: &PodSpec, features: &Features) -> Vec<&'static str> {
    let mut allowed = vec!["containers", "enableServiceLinks", "imagePullSecrets", "serviceAccountName", "volumes"];
    if spec.automount_service_account_token == Some(false) {
        allowed.push("automountServiceAccountToken");
    }
    let secured = features.secure_pod_defaults != Flag::Disabled;
    let gated = [
        ("affinity", features.pod_spec_affinity),
        ("topologySpreadConstraints", features.pod_spec_topology_spread_constraints),
        ("hostAliases", features.pod_spec_host_aliases),
        ("nodeSelector", features.pod_spec_node_selector),
        ("runtimeClassName", features.pod_spec_runtime_class_name),
        ("tolerations", features.pod_spec_tolerations),
        ("securityContext", if secured { Flag::Allowed } else { features.pod_spec_security_context }),
        ("shareProcessNamespace", features.pod_spec_share_process_namespace),
        ("priorityClassName", features.pod_spec_priority_class_name),
        ("schedulerName", features.pod_spec_scheduler_name),
        ("initContainers", features.pod_spec_init_containers),
        ("dnsPolicy", features.pod_spec_dns_policy),
        ("dnsConfig", features.pod_spec_dns_config),
        ("hostIPC", features.pod_spec_host_ipc),
        ("hostPID", features.pod_spec_host_pid),
        ("hostNetwork", features.pod_spec_host_network),
    ];
    allowed.extend(gated.into_iter().filter(|(_, flag)| *flag != Flag::Disabled).map(|(field, _)| field));
    allowed
}

fn insecure_defaults(spec: &PodSpec, field: &str, containers: &[Container], features: &Features) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, container) in containers.iter().enumerate() {
        let warnings = security::insecure_defaults(spec.security_context.as_ref(), container, features);
        errors.also(warnings.via_field("securityContext").via_field_index(field, index));
    }
    errors
}

fn mounted_names<'a>(containers: impl Iterator<Item = &'a Container>) -> BTreeSet<&'a str> {
    containers.flat_map(|c| c.volume_mounts.iter().flatten()).map(|mount| mount.name.as_str()).collect()
}

/// The port that serves, and what is wrong with the number of ports.
fn serving_port(containers: &[Container]) -> (ServingPort, FieldErrors) {
    let ports: Vec<_> =
        containers.iter().filter_map(|c| c.ports.as_deref()).filter(|ports| !ports.is_empty()).collect();
    let count: usize = ports.iter().map(|ports| ports.len()).sum();
    let name = ports.last().and_then(|ports| ports.first()?.name.clone()).filter(|name| !name.is_empty());
    let port = ServingPort { name: name.unwrap_or_else(|| "http".to_owned()) };
    let errors = if count == 0 && containers.len() > 1 {
        missing_field("ports")
    } else if count > 1 {
        FieldErrors::one("more than one container port is set", ["ports"])
            .with_details("Only a single port is allowed across all containers")
    } else {
        FieldErrors::none()
    };
    (port, errors)
}

fn containers(
    containers: &[Container],
    volumes: &BTreeMap<&str, &Volume>,
    port: &ServingPort,
    features: &Features,
) -> FieldErrors {
    let nowhere: [&str; 0] = [];
    if features.multi_container != Flag::Enabled {
        return FieldErrors::one(format!("multi-container is off, but found {} containers", containers.len()), nowhere);
    }
    let mut errors = FieldErrors::none();
    let mut names = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        if !names.insert(container.name.as_str()) {
            errors.also(duplicate_name(&container.name).via_field_index("containers", index));
        }
        let serves = container.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        let found = if serves {
            container::serving(container, volumes, port, features)
        } else {
            container::sidecar(container, volumes, features)
        };
        errors.also(found.via_field_index("containers", index));
    }
    errors
}

fn init_containers(
    inits: &[Container],
    others: &[Container],
    volumes: &BTreeMap<&str, &Volume>,
    features: &Features,
) -> FieldErrors {
    let nowhere: [&str; 0] = [];
    if inits.is_empty() {
        return FieldErrors::none();
    }
    if features.pod_spec_init_containers != Flag::Enabled {
        let message = format!("pod spec support for init-containers is off, but found {} init containers", inits.len());
        return FieldErrors::one(message, nowhere);
    }
    let names: BTreeSet<&str> = others.iter().map(|container| container.name.as_str()).collect();
    let mut errors = FieldErrors::none();
    for (index, container) in inits.iter().enumerate() {
        if names.contains(container.name.as_str()) {
            errors.also(duplicate_name(&container.name).via_field_index("containers", index));
        }
        errors.also(container::init(container, volumes, features).via_field_index("containers", index));
    }
    errors
}

fn duplicate_name(name: &str) -> FieldErrors {
    FieldErrors::one(format!("duplicate container name {}", crate::go_text::quote(name)), ["name"])
}

fn service_account_name(spec: &PodSpec) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if let Some(name) = spec.service_account_name.as_deref().filter(|name| !name.is_empty()) {
        for problem in names::dns1123_subdomain(name) {
            errors.also(invalid_value(name, "serviceAccountName").with_details(problem));
        }
    }
    errors
}
