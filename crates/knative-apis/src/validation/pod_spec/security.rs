//! What is wrong, or merely unsafe, about security contexts.

use super::disallowed;
use crate::config::{Features, Flag};
use crate::field_error::{FieldErrors, Level, invalid_value, out_of_bounds};
use k8s_openapi::api::core::v1::{Capabilities, Container, PodSecurityContext, SeccompProfile, SecurityContext};

/// The largest user or group id.
const MAX_ID: i64 = i32::MAX as i64;

/// Whether the operator lets Knative fill in secure values.
fn has_secure_defaults(features: &Features) -> bool {
    matches!(features.secure_pod_defaults, Flag::Enabled | Flag::AllowRootBounded)
}

/// What is wrong with a Pod's context.
pub(super) fn pod(context: &PodSecurityContext, features: &Features) -> FieldErrors {
    let mut allowed = Vec::new();
    let is_plain = context.seccomp_profile.as_ref().is_none_or(|profile| {
        ["RuntimeDefault", "Unconfined"].contains(&profile.type_.as_str()) && profile.localhost_profile.is_none()
    });
    if has_secure_defaults(features) && is_plain {
        allowed.push("seccompProfile");
    }
    if features.pod_spec_security_context != Flag::Disabled {
        let gated = ["fsGroup", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile", "supplementalGroups"];
        allowed.extend(gated);
    }
    let mut errors = disallowed(context, &allowed)
        .and(id(context.run_as_user, "runAsUser"))
        .and(id(context.run_as_group, "runAsGroup"))
        .and(id(context.fs_group, "fsGroup"));
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        errors.also(id(Some(*group), "").via_field_index("supplementalGroups", index));
    }
    errors
}

/// What is wrong with a container's context.
pub(super) fn container(context: &SecurityContext, features: &Features) -> FieldErrors {
    let mut allowed = vec![
        "allowPrivilegeEscalation",
        "capabilities",
        "readOnlyRootFilesystem",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "seccompProfile",
    ];
    if context.privileged == Some(false) {
        allowed.push("privileged");
    }
    let mut errors = disallowed(context, &allowed);
    if let Some(asked) = &context.capabilities {
        errors.also(capabilities(asked, features).via_field("capabilities"));
    }
    errors.and(id(context.run_as_user, "runAsUser")).and(id(context.run_as_group, "runAsGroup"))
}

fn capabilities(asked: &Capabilities, features: &Features) -> FieldErrors {
    let only_low_ports = asked.add.as_ref().is_some_and(|add| *add == ["NET_BIND_SERVICE"]);
    let may_add =
        features.container_spec_add_capabilities == Flag::Enabled || (has_secure_defaults(features) && only_low_ports);
    disallowed(asked, if may_add { &["add", "drop"] } else { &["drop"] })
}

fn id(value: Option<i64>, path: &str) -> FieldErrors {
    match value {
        Some(id) if !(0..=MAX_ID).contains(&id) => out_of_bounds(id, 0, MAX_ID, path),
        _ => FieldErrors::none(),
    }
}

/// Warnings for values that Kubernetes leaves unsafe when nobody sets them.
pub(super) fn insecure_defaults(
    pod: Option<&PodSecurityContext>,
    container: &Container,
    features: &Features,
) -> FieldErrors {
    if has_secure_defaults(features) {
        return FieldErrors::none();
    }
    let own = container.security_context.as_ref();
    let mut unset = Vec::new();
    if pod.and_then(|p| p.run_as_non_root).is_none() && own.and_then(|c| c.run_as_non_root).is_none() {
        unset.push("runAsNonRoot");
    }
    if own.and_then(|c| c.allow_privilege_escalation).is_none() {
        unset.push("allowPrivilegeEscalation");
    }
    unset.extend(unset_seccomp(pod, own));
    let mut errors = FieldErrors::none();
    match own.and_then(|c| c.capabilities.as_ref()) {
        None => unset.push("capabilities"),
        Some(Capabilities { drop, .. }) if drop.as_ref().is_none_or(Vec::is_empty) => unset.push("capabilities.drop"),
        Some(Capabilities { drop: Some(drop), .. }) if drop.first().is_some_and(|first| first == "all") => {
            errors.also(invalid_value("all", "capabilities.drop").with_details("Must be spelled as 'ALL'"));
        }
        Some(_) => {}
    }
    if !unset.is_empty() {
        let message = "Kubernetes default value is insecure, Knative may default this to secure in a future release";
        errors.also(FieldErrors::one(message, unset));
    }
    errors.at(Level::Warning)
}

fn unset_seccomp(pod: Option<&PodSecurityContext>, own: Option<&SecurityContext>) -> Option<&'static str> {
    let profiles: Vec<&SeccompProfile> = pod
        .and_then(|p| p.seccomp_profile.as_ref())
        .into_iter()
        .chain(own.and_then(|c| c.seccomp_profile.as_ref()))
        .collect();
    match profiles.as_slice() {
        [] => Some("seccompProfile"),
        given if given.iter().all(|profile| profile.type_.is_empty()) => Some("seccompProfile.type"),
        _ => None,
    }
}
