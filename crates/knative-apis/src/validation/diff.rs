//! What changed between two versions of an object, in the form Knative shows it.
//!
//! ```text
//! {v1.RevisionSpec}.PodSpec.Containers[0].Image:
//!     -: "hello:1"
//!     +: "hello:2"
//! ```
//!
//! Knative walks Go values, and so names fields as Go does. Here JSON is walked and names are
//! derived: the first letter large, Kubernetes' abbreviations and embedded structs by a table. A
//! list or map with items on one side only is shown item by item.

use super::semantic::MAPS;
use serde_json::{Map, Value};
use std::fmt::Write;

/// JSON names whose Go names are not just capitalised.
const GO_NAMES: [(&str, &str); 24] = [
    ("metadata", "ObjectMeta"),
    ("httpGet", "ProbeHandler.HTTPGet"),
    ("tcpSocket", "ProbeHandler.TCPSocket"),
    ("exec", "ProbeHandler.Exec"),
    ("grpc", "ProbeHandler.GRPC"),
    ("httpHeaders", "HTTPHeaders"),
    ("dnsPolicy", "DNSPolicy"),
    ("dnsConfig", "DNSConfig"),
    ("hostIPC", "HostIPC"),
    ("hostPID", "HostPID"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("url", "URL"),
    ("downwardAPI", "DownwardAPI"),
    ("secret", "VolumeSource.Secret"),
    ("configMap", "VolumeSource.ConfigMap"),
    ("projected", "VolumeSource.Projected"),
    ("emptyDir", "VolumeSource.EmptyDir"),
    ("hostPath", "VolumeSource.HostPath"),
    ("csi", "VolumeSource.CSI"),
    ("ephemeral", "VolumeSource.Ephemeral"),
    ("persistentVolumeClaim", "VolumeSource.PersistentVolumeClaim"),
    ("seLinuxOptions", "SELinuxOptions"),
    ("fsGroup", "FSGroup"),
];

/// Fields of a revision's spec that are Knative's own; the others are the Pod's.
const REVISION_OWN: [&str; 4] =
    ["containerConcurrency", "timeoutSeconds", "idleTimeoutSeconds", "responseStartTimeoutSeconds"];

/// Fields that are pointers in Go: what they point to is shown with a star.
const POINTERS: [&str; 18] = [
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "containerConcurrency",
    "defaultMode",
    "enableServiceLinks",
    "expirationSeconds",
    "fsGroup",
    "idleTimeoutSeconds",
    "mode",
    "optional",
    "privileged",
    "readOnlyRootFilesystem",
    "responseStartTimeoutSeconds",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "runtimeClassName",
    "shareProcessNamespace",
];

/// The differences, empty if there are none. `root` is the Go type that both are values of.
pub fn short_diff(root: &str, old: &Value, new: &Value) -> String {
    let mut out = String::new();
    walk(&format!("{{{root}}}"), root.ends_with("RevisionSpec"), false, old, new, &mut out);
    out
}

fn walk(path: &str, is_revision_spec: bool, is_map: bool, old: &Value, new: &Value, out: &mut String) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(a), Value::Object(b)) => objects(path, is_revision_spec, is_map, a, b, out),
        (Value::Array(a), Value::Array(b)) => arrays(path, a, b, out),
        _ => report(path, old, new, out),
    }
}

fn objects(
    path: &str,
    is_revision_spec: bool,
    is_map: bool,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    out: &mut String,
) {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let step = if is_map {
            format!("{path}[{}]", crate::go_text::quote(name))
        } else {
            let is_own = is_revision_spec && REVISION_OWN.contains(&name.as_str());
            let embedded = if is_revision_spec && !is_own { ".PodSpec" } else { "" };
            let both = old.contains_key(name) && new.contains_key(name);
            let star = if both && (is_own || POINTERS.contains(&name.as_str())) { "*" } else { "" };
            format!("{star}{path}{embedded}.{}", go_name(name))
        };
        let of = |side: &Map<String, Value>| side.get(name).cloned().unwrap_or(Value::Null);
        let is_template_spec = name == "spec" && path.ends_with("RevisionTemplateSpec}");
        walk(&step, is_template_spec, MAPS.contains(&name.as_str()), &of(old), &of(new), out);
    }
}

fn arrays(path: &str, old: &[Value], new: &[Value], out: &mut String) {
    for index in 0..old.len().max(new.len()) {
        let of = |side: &[Value]| side.get(index).cloned().unwrap_or(Value::Null);
        let step = match (index < old.len(), index < new.len()) {
            (true, false) => format!("{path}[{index}->?]"),
            (false, true) => format!("{path}[?->{index}]"),
            _ => format!("{path}[{index}]"),
        };
        walk(&step, false, false, &of(old), &of(new), out);
    }
}

fn report(path: &str, old: &Value, new: &Value, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{path}:");
    let is_text = old.is_string() || new.is_string();
    for (sign, value) in [('-', old), ('+', new)] {
        match value {
            Value::Null if is_text => {
                let _ = writeln!(out, "\t{sign}: \"\"");
            }
            Value::Null => {}
            Value::String(text) => {
                let _ = writeln!(out, "\t{sign}: \"{text}\"");
            }
            value => {
                let _ = writeln!(out, "\t{sign}: \"{value}\"");
            }
        }
    }
}

fn go_name(json: &str) -> String {
    if let Some((_, name)) = GO_NAMES.iter().find(|(known, _)| *known == json) {
        return (*name).to_owned();
    }
    let mut chars = json.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shows_what_changed_in_knatives_form() {
        let old =
            json!({"containers": [{"image": "hello:1", "env": [{"name": "A", "value": "1"}]}], "timeoutSeconds": 5});
        let new = json!({"containers": [{"image": "hello:2"}], "timeoutSeconds": 6});
        assert_eq!(
            short_diff("v1.RevisionSpec", &old, &new),
            "{v1.RevisionSpec}.PodSpec.Containers[0].Env:\n\t-: \"[{\"name\":\"A\",\"value\":\"1\"}]\"\n\
             {v1.RevisionSpec}.PodSpec.Containers[0].Image:\n\t-: \"hello:1\"\n\t+: \"hello:2\"\n\
             *{v1.RevisionSpec}.TimeoutSeconds:\n\t-: \"5\"\n\t+: \"6\"\n"
        );
        assert_eq!(short_diff("v1.RevisionSpec", &old, &old), "");
    }

    #[test]
    fn templates_maps_and_longer_lists() {
        let old = json!({"metadata": {"annotations": {"a": "1"}}, "spec": {"containers": [{}]}});
        let new = json!({"metadata": {"annotations": {"a": "2"}}, "spec": {"containers": [{}, {"image": "b"}]}});
        assert_eq!(
            short_diff("v1.RevisionTemplateSpec", &old, &new),
            "{v1.RevisionTemplateSpec}.ObjectMeta.Annotations[\"a\"]:\n\t-: \"1\"\n\t+: \"2\"\n\
             {v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[?->1]:\n\t+: \"{\"image\":\"b\"}\"\n"
        );
    }
}
