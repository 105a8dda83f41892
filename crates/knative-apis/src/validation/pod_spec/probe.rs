//! What is wrong with a probe.

use super::{ServingPort, disallowed};
use crate::field_error::{
    FieldErrors, disallowed_fields, invalid_value, missing_one_of, multiple_one_of, out_of_bounds,
};
use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];

/// Whose probe it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prober<'a> {
    /// The serving container's: a named port is the serving one.
    Serving(&'a ServingPort),
    /// A sidecar's: the port must be said.
    Sidecar,
}

/// That a probe is not accepted at all: every part of it that is set is named.
pub(super) fn refuse(probe: &Probe) -> FieldErrors {
    let mut fields: Vec<String> = Vec::new();
    for error in disallowed(probe, &[]).merged() {
        // The handler is embedded in the probe, and so has the probe's own path.
        fields.extend(error.paths.into_iter().map(|p| if HANDLERS.contains(&&*p) { String::new() } else { p }));
    }
    if fields.is_empty() { FieldErrors::none() } else { disallowed_fields(fields) }
}

/// What is wrong with a liveness or startup probe.
pub(super) fn probe(probe: &Probe, prober: Prober<'_>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut handlers = Vec::new();
    if let Some(http) = &probe.http_get {
        handlers.push("httpGet");
        errors.also(port(&http.port, "httpGet.port", prober));
    }
    if let Some(tcp) = &probe.tcp_socket {
        handlers.push("tcpSocket");
        errors.also(port(&tcp.port, "tcpSocket.port", prober));
    }
    if probe.exec.is_some() {
        handlers.push("exec");
    }
    if probe.grpc.is_some() {
        handlers.push("gRPC");
    }
    errors.and(match handlers.len() {
        0 => missing_one_of(["httpGet", "tcpSocket", "exec", "grpc"]),
        1 => FieldErrors::none(),
        _ => multiple_one_of(handlers),
    })
}

fn port(port: &IntOrString, path: &str, prober: Prober<'_>) -> FieldErrors {
    match (port, prober) {
        (IntOrString::String(name), Prober::Serving(serving)) if !name.is_empty() && *name != serving.name => {
            invalid_value(name, path).with_details("Probe port must match container port")
        }
        (IntOrString::Int(0), Prober::Sidecar) => invalid_value(0, path).with_details("Probe port must be specified"),
        (IntOrString::String(name), Prober::Sidecar) if name.is_empty() => {
            invalid_value("", path).with_details("Probe port must be specified")
        }
        _ => FieldErrors::none(),
    }
}

/// What is wrong with a readiness probe. A period of 0 asks for Knative's own fast probing, which
/// has neither a time limit nor a threshold of its own.
pub(super) fn readiness_probe(readiness: &Probe, prober: Prober<'_>) -> FieldErrors {
    let mut errors = probe(readiness, prober);
    let at_least = |value: Option<i32>, least: i32, path: &str| {
        let value = value.unwrap_or_default();
        if value < least { out_of_bounds(value, least, i32::MAX, path) } else { FieldErrors::none() }
    };
    errors.also(at_least(readiness.period_seconds, 0, "periodSeconds"));
    errors.also(at_least(readiness.initial_delay_seconds, 0, "initialDelaySeconds"));
    errors.also(at_least(readiness.success_threshold, 1, "successThreshold"));
    if readiness.period_seconds.unwrap_or_default() != 0 {
        return errors.and(at_least(readiness.timeout_seconds, 1, "timeoutSeconds")).and(at_least(
            readiness.failure_threshold,
            1,
            "failureThreshold",
        ));
    }
    for (value, field) in
        [(readiness.failure_threshold, "failureThreshold"), (readiness.timeout_seconds, "timeoutSeconds")]
    {
        if value.unwrap_or_default() != 0 {
            errors.also(FieldErrors::one(format!("{field} is disallowed when periodSeconds is zero"), [field]));
        }
    }
    errors
}
