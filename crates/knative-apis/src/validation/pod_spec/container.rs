//! What is wrong with a container.

use super::probe::{Prober, probe, readiness_probe};
use super::{RESERVED_CONTAINER_NAMES, ServingPort, disallowed, security, volume};
use crate::config::{Features, Flag};
use crate::field_error::{
    CURRENT_FIELD, FieldErrors, invalid_value, missing_field, missing_one_of, multiple_one_of, out_of_bounds,
};
use crate::go_text::quote;
use crate::meta::port;
use crate::validation::{is_image_reference, semantically_equal};
use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvFromSource, EnvVar, Volume};
use std::collections::BTreeMap;

const RESERVED_ENV: [&str; 4] = ["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"];
const RESERVED_PORTS: [i32; 6] = [
    port::BACKEND_HTTP,
    port::BACKEND_HTTP2,
    port::QUEUE_ADMIN,
    port::QUEUE_AUTOSCALING_METRICS,
    port::QUEUE_USER_METRICS,
    port::PROFILING,
];
const ALLOWED: [&str; 17] = [
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
    "workingDir",
];

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It serves requests.
    Serving,
    /// It stands beside the one that serves.
    Sidecar,
    /// It runs before them.
    Init,
}

type Volumes<'a> = BTreeMap<&'a str, &'a Volume>;

pub(super) fn serving(c: &Container, volumes: &Volumes<'_>, port: &ServingPort, features: &Features) -> FieldErrors {
    probes(c, Prober::Serving(port)).and(common(c, Role::Serving, volumes, features))
}

pub(super) fn sidecar(c: &Container, volumes: &Volumes<'_>, features: &Features) -> FieldErrors {
    let errors =
        if features.multi_container_probing == Flag::Enabled { probes(c, Prober::Sidecar) } else { no_probes(c) };
    errors.and(common(c, Role::Sidecar, volumes, features))
}

pub(super) fn init(c: &Container, volumes: &Volumes<'_>, features: &Features) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (field, is_set) in [
        ("livenessProbe", c.liveness_probe.is_some()),
        ("readinessProbe", c.readiness_probe.is_some()),
        ("startupProbe", c.startup_probe.is_some()),
        ("lifecycle", c.lifecycle.is_some()),
    ] {
        if is_set {
            errors.also(FieldErrors::one("field not allowed in an init container", [field]));
        }
    }
    errors.and(common(c, Role::Init, volumes, features))
}

fn probes(c: &Container, prober: Prober<'_>) -> FieldErrors {
    let liveness = c.liveness_probe.as_ref().map(|p| probe(p, prober).via_field("livenessProbe"));
    let readiness = c.readiness_probe.as_ref().map(|p| readiness_probe(p, prober).via_field("readinessProbe"));
    let startup = c.startup_probe.as_ref().map(|p| probe(p, prober).via_field("startupProbe"));
    [liveness, readiness, startup].into_iter().flatten().fold(FieldErrors::none(), FieldErrors::and)
}

fn no_probes(c: &Container) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (field, probe) in [
        ("livenessProbe", &c.liveness_probe),
        ("readinessProbe", &c.readiness_probe),
        ("startupProbe", &c.startup_probe),
    ] {
        if let Some(probe) = probe {
            errors.also(super::probe::refuse(probe).via_field(field));
        }
    }
    errors
}

fn common(c: &Container, role: Role, volumes: &Volumes<'_>, features: &Features) -> FieldErrors {
    if semantically_equal(c, &Container::default()) {
        return missing_field(CURRENT_FIELD);
    }
    let mut errors = disallowed(c, &ALLOWED);
    if RESERVED_CONTAINER_NAMES.contains(&c.name.as_str()) {
        errors.also(FieldErrors::one(format!("{} is a reserved container name", quote(&c.name)), ["name"]));
    }
    for (index, variable) in c.env.iter().flatten().enumerate() {
        errors.also(env_var(variable, role, features).via_index(index).via_field("env"));
    }
    for (index, source) in c.env_from.iter().flatten().enumerate() {
        errors.also(env_from(source, index).via_field("envFrom"));
    }
    errors.also(image(c.image.as_deref().unwrap_or_default()));
    let ports = c.ports.as_deref().unwrap_or_default();
    errors.also(if role == Role::Init { init_ports(ports) } else { serving_ports(ports) }.via_field("ports"));
    if let Some(resources) = &c.resources {
        errors.also(disallowed(resources, &["limits", "requests"]).via_field("resources"));
    }
    if let Some(context) = &c.security_context {
        errors.also(security::container(context, features).via_field("securityContext"));
    }
    let policy = c.termination_message_policy.as_deref().unwrap_or_default();
    if !["", "File", "FallbackToLogsOnError"].contains(&policy) {
        errors.also(invalid_value(policy, "terminationMessagePolicy"));
    }
    let mounts = c.volume_mounts.as_deref().unwrap_or_default();
    errors.and(volume::mounts(mounts, volumes, features).via_field("volumeMounts"))
}

fn env_var(variable: &EnvVar, role: Role, features: &Features) -> FieldErrors {
    let mut errors = disallowed(variable, &["name", "value", "valueFrom"]);
    let may_have_port = role != Role::Serving;
    let reserved = RESERVED_ENV.contains(&variable.name.as_str()) && !(may_have_port && variable.name == "PORT");
    if variable.name.is_empty() {
        errors.also(missing_field("name"));
    } else if reserved {
        let message = format!("{} is a reserved environment variable", quote(&variable.name));
        errors.also(FieldErrors::one(message, ["name"]));
    }
    if let Some(source) = &variable.value_from {
        let mut allowed = vec!["configMapKeyRef", "secretKeyRef"];
        if features.pod_spec_field_ref != Flag::Disabled {
            allowed.extend(["fieldRef", "resourceFieldRef"]);
        }
        errors.also(disallowed(source, &allowed).via_field("valueFrom"));
    }
    errors
}

fn env_from(source: &EnvFromSource, index: usize) -> FieldErrors {
    let errors = disallowed(source, &["prefix", "configMapRef", "secretRef"]).via_index(index);
    match (&source.config_map_ref, &source.secret_ref) {
        (Some(_), Some(_)) => errors.and(multiple_one_of(["configMapRef", "secretRef"])),
        (None, None) => errors.and(missing_one_of(["configMapRef", "secretRef"])),
        _ => errors,
    }
}

fn image(image: &str) -> FieldErrors {
    if image.is_empty() {
        return missing_field("image");
    }
    if is_image_reference(image) {
        return FieldErrors::none();
    }
    let details = format!("image: {}, error: could not parse reference: {image}", quote(image));
    FieldErrors::one("Failed to parse image reference", ["image"]).with_details(details)
}

fn serving_ports(ports: &[ContainerPort]) -> FieldErrors {
    let Some(port) = ports.first() else { return FieldErrors::none() };
    let mut errors = container_port(port);
    if let Some(protocol) = port.protocol.as_deref().filter(|protocol| !["", "TCP"].contains(protocol)) {
        errors.also(invalid_value(protocol, "protocol"));
    }
    let name = port.name.as_deref().unwrap_or_default();
    if !["", "h2c", "http1"].contains(&name) {
        errors.also(
            FieldErrors::one(format!("Port name {name} is not allowed"), [CURRENT_FIELD])
                .with_details("Name must be empty, or one of: 'h2c', 'http1'"),
        );
    }
    errors
}

fn init_ports(ports: &[ContainerPort]) -> FieldErrors {
    ports.iter().map(container_port).fold(FieldErrors::none(), FieldErrors::and)
}

fn container_port(port: &ContainerPort) -> FieldErrors {
    let number = port.container_port;
    let mut errors = disallowed(port, &["containerPort", "name", "protocol"]);
    if RESERVED_PORTS.contains(&number) {
        errors.also(
            invalid_value(format!("{number} is a reserved port"), "containerPort")
                .with_details(format!("{number} is a reserved port, please use a different value")),
        );
    }
    if !(0..=65535).contains(&number) {
        errors.also(out_of_bounds(number, 0, 65535, "containerPort"));
    }
    errors
}
