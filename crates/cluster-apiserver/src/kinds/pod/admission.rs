//! What Kubernetes' built-in admission plug-ins do to a new Pod.
//!
//! In their order: limit ranges give resources, a service account is chosen and its token mounted, tolerations
//! for a lost node are added, a runtime class gives its overhead, a priority class gives its number.

use serde_json::{Value, json};

use crate::{
    kinds::{Admission, Denied, Operation, limits},
    value::{as_object, at, bool_at, child_mut, i64_at, list_at, list_at_mut, object_at, set_default, str_at},
};

const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const LOST_NODE_TOLERATION_S: i64 = 300;
/// An hour and a few seconds, by which Kubernetes tells its own volumes from others'.
const TOKEN_EXPIRATION_S: i64 = 3607;

pub(super) fn admit(pod: &mut Value, admission: &Admission<'_>) -> Result<(), Denied> {
    if admission.operation == Operation::Update {
        // Whoever replaces the list, as an apply does, has not meant these.
        tolerate_lost_nodes(pod);
        return Ok(());
    }
    limits::give_defaults(pod, admission.cluster);
    service_account(pod, admission)?;
    tolerate_lost_nodes(pod);
    runtime_class(pod, admission)?;
    priority(pod, admission)
}

fn denied(message: String) -> Denied {
    Denied { message }
}

fn service_account(pod: &mut Value, admission: &Admission<'_>) -> Result<(), Denied> {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    if at(pod, &["metadata", "annotations", MIRROR]).is_some() {
        return Ok(());
    }
    let namespace = str_at(pod, &["metadata", "namespace"]).to_owned();
    let spec = child_mut(pod, "spec");
    if str_at(spec, &["serviceAccountName"]).is_empty() {
        as_object(spec).insert("serviceAccountName".to_owned(), Value::from("default"));
        as_object(spec).insert("serviceAccount".to_owned(), Value::from("default"));
    }
    let name = str_at(spec, &["serviceAccountName"]).to_owned();
    let account = admission.cluster.get("", "serviceaccounts", &namespace, &name).ok_or_else(|| {
        denied(format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"))
    })?;
    let mounts = bool_at(spec, &["automountServiceAccountToken"])
        .or_else(|| bool_at(&account, &["automountServiceAccountToken"]))
        .unwrap_or(true);
    if mounts {
        mount_token(spec, admission.random);
    }
    let secrets = list_at(&account, &["imagePullSecrets"]);
    if list_at(spec, &["imagePullSecrets"]).is_empty() && !secrets.is_empty() {
        as_object(spec).insert("imagePullSecrets".to_owned(), json!(secrets));
    }
    Ok(())
}

/// Gives every container without one a mount of the token, from a volume made for that.
fn mount_token(spec: &mut Value, random: u64) {
    const PREFIX: &str = "kube-api-access-";
    let existing = list_at(spec, &["volumes"]).iter().map(|volume| str_at(volume, &["name"]));
    let existing = existing.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).next();
    let has_volume = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{PREFIX}{}", suffix(random)));
    let mut is_used = false;
    for list in ["initContainers", "containers"] {
        for container in list_at_mut(spec, &[list]) {
            let mounts = list_at(container, &["volumeMounts"]);
            if mounts.iter().any(|mount| str_at(mount, &["mountPath"]) == TOKEN_MOUNT) {
                continue;
            }
            is_used = true;
            let mount = json!({"name": name, "readOnly": true, "mountPath": TOKEN_MOUNT});
            push(container, "volumeMounts", mount);
        }
    }
    if is_used && !has_volume {
        push(spec, "volumes", token_volume(&name));
    }
}

fn push(object: &mut Value, list: &str, item: Value) {
    let entry = as_object(object).entry(list).or_insert(Value::Null);
    match entry {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_EXPIRATION_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    })
}

/// Five characters as generated names end in.
fn suffix(mut random: u64) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut out = String::with_capacity(5);
    for _ in 0..5 {
        let index = usize::try_from(random % ALPHABET.len() as u64).unwrap_or_default();
        out.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'b')));
        random /= ALPHABET.len() as u64;
    }
    out
}

/// A Pod stays a while on a node that is not ready or not reachable.
fn tolerate_lost_nodes(pod: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let is_tolerated = list_at(pod, &["spec", "tolerations"]).iter().any(|toleration| {
            let own = str_at(toleration, &["key"]);
            let effect = str_at(toleration, &["effect"]);
            (own == key || own.is_empty()) && matches!(effect, "NoExecute" | "")
        });
        if !is_tolerated {
            let toleration = json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_TOLERATION_S,
            });
            push(child_mut(pod, "spec"), "tolerations", toleration);
        }
    }
}

fn runtime_class(pod: &mut Value, admission: &Admission<'_>) -> Result<(), Denied> {
    let Some(name) = at(pod, &["spec", "runtimeClassName"]).and_then(Value::as_str).map(str::to_owned) else {
        return Ok(());
    };
    let class = admission
        .cluster
        .get("node.k8s.io", "runtimeclasses", "", &name)
        .ok_or_else(|| denied(format!("pod rejected: RuntimeClass \"{name}\" not found")))?;
    if let Some(overhead) = at(&class, &["overhead", "podFixed"]) {
        set_default(object_at(pod, &["spec"]), "overhead", overhead.clone());
    }
    Ok(())
}

/// The number of the priority class, the default class, or 0.
fn priority(pod: &mut Value, admission: &Admission<'_>) -> Result<(), Denied> {
    const GROUP: &str = "scheduling.k8s.io";
    let name = str_at(pod, &["spec", "priorityClassName"]).to_owned();
    let built_in = match name.as_str() {
        "system-cluster-critical" => Some(2_000_000_000),
        "system-node-critical" => Some(2_000_001_000),
        _ => None,
    };
    let class = if name.is_empty() {
        let classes = admission.cluster.list(GROUP, "priorityclasses", "");
        let defaults = classes.into_iter().filter(|class| bool_at(class, &["globalDefault"]) == Some(true));
        defaults.min_by_key(|class| i64_at(class, &["value"]).unwrap_or_default())
    } else {
        admission.cluster.get(GROUP, "priorityclasses", "", &name)
    };
    if !name.is_empty() && class.is_none() && built_in.is_none() {
        return Err(denied(format!("no PriorityClass with name {name} was found")));
    }
    let value = class.as_ref().and_then(|class| i64_at(class, &["value"])).or(built_in).unwrap_or_default();
    let policy = class.as_ref().map(|class| str_at(class, &["preemptionPolicy"])).filter(|policy| !policy.is_empty());
    let policy = policy.unwrap_or("PreemptLowerPriority").to_owned();
    if let Some(own) = i64_at(pod, &["spec", "priority"]).filter(|own| *own != value) {
        return Err(denied(format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    let spec = object_at(pod, &["spec"]);
    if let (true, Some(class)) = (name.is_empty(), &class) {
        spec.insert("priorityClassName".to_owned(), class["metadata"]["name"].clone());
    }
    spec.insert("priority".to_owned(), Value::from(value));
    set_default(spec, "preemptionPolicy", policy);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kinds::Lookup;

    struct Cluster(Vec<(&'static str, Value)>);

    impl Lookup for Cluster {
        fn get(&self, _group: &str, plural: &str, _namespace: &str, name: &str) -> Option<Arc<Value>> {
            let found = self.0.iter().find(|(kind, object)| *kind == plural && object["metadata"]["name"] == name);
            found.map(|(_, object)| Arc::new(object.clone()))
        }

        fn list(&self, _group: &str, plural: &str, _namespace: &str) -> Vec<Arc<Value>> {
            let all = self.0.iter().filter(|(kind, _)| *kind == plural);
            all.map(|(_, object)| Arc::new(object.clone())).collect()
        }
    }

    fn run(pod: &mut Value, cluster: &Cluster) -> Result<(), Denied> {
        admit(pod, &Admission { operation: Operation::Create, old: None, cluster, random: 7 })
    }

    #[test]
    fn a_pod_gets_an_account_tolerations_and_a_priority() {
        let cluster = Cluster(vec![("serviceaccounts", json!({"metadata": {"name": "default"}}))]);
        let mut pod = json!({"metadata": {"namespace": "n"}, "spec": {"containers": [{"name": "c"}]}});
        run(&mut pod, &cluster).expect("admitted");
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(pod["spec"]["volumes"][0]["name"], pod["spec"]["containers"][0]["volumeMounts"][0]["name"]);
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
        assert_eq!(pod["spec"]["priority"], 0);
        assert_eq!(pod["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    }

    #[test]
    fn automount_may_be_refused() {
        let account = json!({"metadata": {"name": "sa"}, "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "s"}]});
        let cluster = Cluster(vec![("serviceaccounts", account)]);
        let mut pod = json!({"metadata": {"namespace": "n"}, "spec": {"serviceAccountName": "sa", "containers": [{}]}});
        run(&mut pod, &cluster).expect("admitted");
        assert!(pod["spec"].get("volumes").is_none());
        assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "s"}]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let cluster = Cluster(Vec::new());
        let mut pod = json!({"metadata": {"namespace": "n"}, "spec": {"containers": [{}]}});
        let error = run(&mut pod, &cluster).expect_err("no account");
        assert_eq!(
            error.to_string(),
            "error looking up service account n/default: serviceaccount \"default\" not found"
        );
        let cluster = Cluster(vec![("serviceaccounts", json!({"metadata": {"name": "default"}}))]);
        let mut pod =
            json!({"metadata": {"namespace": "n"}, "spec": {"priorityClassName": "high", "containers": [{}]}});
        assert_eq!(
            run(&mut pod, &cluster).expect_err("no class").to_string(),
            "no PriorityClass with name high was found"
        );
    }
}
