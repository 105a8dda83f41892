//! Defaults of Pods, their templates and everything inside.

use serde_json::{Map, Value, json};

use super::Hook;
use crate::value::{as_object, is_absent, list_at_mut, set_default, set_default_str};

const VOLUME_MODE: i64 = 0o644;
const TOKEN_EXPIRATION_S: i64 = 3600;
const GRACE_PERIOD_S: i64 = 30;

pub(super) fn hook(name: &str) -> Option<Hook> {
    Some(match name {
        "Pod" => pod,
        "PodSpec" => pod_spec,
        "PodStatus" => pod_status,
        "Container" | "EphemeralContainer" => container,
        "Probe" => probe,
        "HTTPGetAction" => http_get,
        "Volume" => volume,
        "SecretVolumeSource" | "ConfigMapVolumeSource" | "DownwardAPIVolumeSource" | "ProjectedVolumeSource" => {
            |source| set_default(source, "defaultMode", VOLUME_MODE)
        }
        "ServiceAccountTokenProjection" => |source| set_default(source, "expirationSeconds", TOKEN_EXPIRATION_S),
        "ObjectFieldSelector" => |selector| set_default_str(selector, "apiVersion", "v1"),
        "HostPathVolumeSource" => |source| set_default(source, "type", ""),
        _ => return None,
    })
}

fn pod(pod: &mut Map<String, Value>) {
    let Some(spec) = pod.get_mut("spec") else { return };
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        as_object(spec).insert("terminationGracePeriodSeconds".to_owned(), Value::from(1));
    }
    set_default(as_object(spec), "enableServiceLinks", true);
    let is_host_network = spec["hostNetwork"].as_bool() == Some(true);
    for list in ["containers", "initContainers"] {
        for container in list_at_mut(spec, &[list]) {
            request_limits(container);
            if is_host_network {
                host_ports(container);
            }
        }
    }
}

/// What a container may use at most it also asks for, unless it says otherwise.
fn request_limits(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else { return };
    let requests = as_object(crate::value::child_mut(crate::value::child_mut(container, "resources"), "requests"));
    for (name, amount) in limits {
        requests.entry(name).or_insert(amount);
    }
}

/// In the host's network a container's port is the host's.
fn host_ports(container: &mut Value) {
    for port in list_at_mut(container, &["ports"]) {
        if port["hostPort"].as_i64().unwrap_or_default() == 0 {
            let number = port["containerPort"].clone();
            as_object(port).insert("hostPort".to_owned(), number);
        }
    }
}

fn pod_spec(spec: &mut Map<String, Value>) {
    // `serviceAccount` is the old name of `serviceAccountName`; both are kept the same.
    let text =
        |spec: &Map<String, Value>, name: &str| spec.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut account = text(spec, "serviceAccountName");
    if account.is_empty() {
        account = text(spec, "serviceAccount");
    }
    if !account.is_empty() {
        spec.insert("serviceAccountName".to_owned(), Value::from(account.clone()));
        spec.insert("serviceAccount".to_owned(), Value::from(account));
    }
    set_default_str(spec, "dnsPolicy", "ClusterFirst");
    set_default_str(spec, "restartPolicy", "Always");
    set_default(spec, "securityContext", json!({}));
    set_default(spec, "terminationGracePeriodSeconds", GRACE_PERIOD_S);
    set_default_str(spec, "schedulerName", "default-scheduler");
}

/// `podIP` is the first of `podIPs`.
fn pod_status(status: &mut Map<String, Value>) {
    let ip = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = status.get("podIPs").and_then(|ips| ips.get(0)).map(|first| first["ip"].clone());
    match first {
        Some(first) if ip.is_empty() => {
            status.insert("podIP".to_owned(), first);
        }
        Some(first) if first == ip.as_str() => {}
        None if ip.is_empty() => {}
        _ => {
            status.insert("podIPs".to_owned(), json!([{"ip": ip}]));
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    set_default_str_owned(container, "imagePullPolicy", pull_policy(image));
    set_default_str(container, "terminationMessagePath", "/dev/termination-log");
    set_default_str(container, "terminationMessagePolicy", "File");
}

fn set_default_str_owned(map: &mut Map<String, Value>, name: &str, value: &'static str) {
    set_default_str(map, name, value);
}

/// An image that may move is pulled each time.
fn pull_policy(image: &str) -> &'static str {
    if tag_of(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag of an image reference: `latest` if it has neither tag nor digest, `None` for a digest or no reference.
fn tag_of(image: &str) -> Option<&str> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last_segment = name.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match name.get(last_segment..).and_then(|segment| segment.rfind(':')) {
        Some(colon) => (name.get(..last_segment + colon)?, name.get(last_segment + colon + 1..)),
        None => (name, None),
    };
    if !is_repository(path) || tag.is_some_and(str::is_empty) {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => None,
        (None, None) => Some("latest"),
    }
}

/// Whether a reference's path has the form of one: lower case segments, after an optional registry.
fn is_repository(path: &str) -> bool {
    let mut segments: Vec<&str> = path.split('/').collect();
    let first = segments.first().copied().unwrap_or_default();
    let is_registry =
        segments.len() > 1 && (first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase());
    if is_registry {
        segments.remove(0);
    }
    segments.iter().all(|segment| {
        let bytes = segment.as_bytes();
        let is_end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let is_inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(is_inner)
    })
}

fn probe(probe: &mut Map<String, Value>) {
    for (name, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(name).and_then(Value::as_i64).unwrap_or_default() == 0 {
            probe.insert(name.to_owned(), Value::from(value));
        }
    }
}

fn http_get(action: &mut Map<String, Value>) {
    set_default_str(action, "path", "/");
    set_default_str(action, "scheme", "HTTP");
}

fn volume(volume: &mut Map<String, Value>) {
    let has_source = volume.iter().any(|(name, source)| name != "name" && !source.is_null());
    if !has_source {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(image) = volume.get_mut("image").filter(|image| !image.is_null()) {
        let policy = pull_policy(image["reference"].as_str().unwrap_or_default());
        if is_absent(image.get("pullPolicy")) {
            set_default_str(as_object(image), "pullPolicy", policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_image_that_moves_is_always_pulled() {
        for (image, tag) in [
            ("nginx", Some("latest")),
            ("nginx:latest", Some("latest")),
            ("nginx:1.2", Some("1.2")),
            ("127.0.0.1:5000/a/b", Some("latest")),
            ("127.0.0.1:5000/a/b:v1", Some("v1")),
            ("a@sha256:0000000000000000000000000000000000000000000000000000000000000000", None),
            ("a:t@sha256:0000000000000000000000000000000000000000000000000000000000000000", Some("t")),
            ("", None),
            ("Nginx", None),
            ("a/B", None),
        ] {
            assert_eq!(tag_of(image), tag, "{image}");
        }
    }
}
