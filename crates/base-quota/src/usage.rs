//! What an object counts for in a quota.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::amounts::Amounts;
use crate::json::{at, list, text};
use crate::pod::{Bound, states_whole, taken};
use crate::quantity::Quantity;

/// Resources of a Pod that a quota names as they are, or by what is requested or limited.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";
const LIMITS: &str = "limits.";
const STORAGE: &str = "requests.storage";
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// Kinds that a quota may name without `count/`.
const ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// A kind whose objects are counted, by its group and plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted<'a> {
    /// The API group; the core group is empty.
    pub group: &'a str,
    /// The plural name of the resource.
    pub plural: &'a str,
}

impl<'a> Counted<'a> {
    /// Pods.
    pub const PODS: Counted<'static> = Counted { group: "", plural: "pods" };
    /// Services.
    pub const SERVICES: Counted<'static> = Counted { group: "", plural: "services" };
    /// PersistentVolumeClaims.
    pub const CLAIMS: Counted<'static> = Counted { group: "", plural: "persistentvolumeclaims" };

    /// The kind that a quota's resource only counts the objects of: `count/deployments.apps`, `secrets`.
    pub fn by_number(resource: &'a str) -> Option<Self> {
        if ALIASES.contains(&resource) {
            return Some(Self { group: "", plural: resource });
        }
        let qualified = resource.strip_prefix("count/")?;
        let (plural, group) = qualified.split_once('.').unwrap_or((qualified, ""));
        Some(Self { group, plural })
    }

    /// Whether objects of the kind count for the resource of a quota.
    pub fn is_for(self, resource: &str) -> bool {
        if Counted::by_number(resource) == Some(self) {
            return true;
        }
        match self {
            Self::PODS => is_of_pods(resource),
            Self::SERVICES => matches!(resource, "services" | "services.nodeports" | "services.loadbalancers"),
            Self::CLAIMS => is_of_claims(resource),
            _ => false,
        }
    }

    /// What an object counts for at a time.
    pub fn usage(self, object: &Value, now: Timestamp) -> Amounts {
        let mut usage = match self {
            Self::PODS if is_over(object, now) => Amounts::default(),
            Self::PODS => of_pod(&taken(object, Bound::Requests), &taken(object, Bound::Limits)),
            Self::SERVICES => of_service(object),
            Self::CLAIMS => of_claim(object),
            _ => Amounts::default(),
        };
        let suffix = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        usage.set(format!("count/{}{suffix}", self.plural), one());
        if self.group.is_empty() && ALIASES.contains(&self.plural) {
            usage.set(self.plural, one());
        }
        usage
    }
}

fn one() -> Quantity {
    Quantity::from_units(1)
}

fn is_of_pods(resource: &str) -> bool {
    let (bound, name) = match (resource.strip_prefix(REQUESTS), resource.strip_prefix(LIMITS)) {
        (Some(name), _) => (REQUESTS, name),
        (_, Some(name)) => (LIMITS, name),
        _ => ("", resource),
    };
    let is_extended = bound == REQUESTS && name.contains('/') && !name.contains("kubernetes.io/");
    resource == "pods" || COMPUTE.contains(&name) || (bound != LIMITS && name.starts_with(HUGE_PAGES)) || is_extended
}

fn is_of_claims(resource: &str) -> bool {
    let name = resource.split_once(BY_CLASS).map_or(resource, |(_, name)| name);
    matches!(name, "persistentvolumeclaims" | STORAGE)
}

/// What something with these requests and limits counts for.
fn of_pod(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::default();
    usage.set("pods", one());
    for (name, amount) in requests.iter() {
        if COMPUTE.contains(&name) || name.starts_with(HUGE_PAGES) {
            usage.set(name, amount.clone());
            usage.set(format!("{REQUESTS}{name}"), amount.clone());
        } else if name.contains('/') {
            usage.set(format!("{REQUESTS}{name}"), amount.clone());
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| COMPUTE.contains(name)) {
        usage.set(format!("{LIMITS}{name}"), amount.clone());
    }
    usage
}

/// Whether the Pod has come to its end, or should have: then it takes nothing.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed") || overdue_at(pod).is_some_and(|at| at < now)
}

/// When a Pod that is being deleted stops counting, gone or not.
pub fn overdue_at(pod: &Value) -> Option<Timestamp> {
    let deleted: Timestamp = text(pod, &["metadata", "deletionTimestamp"]).parse().ok()?;
    let grace = at(pod, &["metadata", "deletionGracePeriodSeconds"]).as_i64()?;
    deleted.checked_add(SignedDuration::from_secs(grace)).ok()
}

fn of_service(service: &Value) -> Amounts {
    let ports = list(service, &["spec", "ports"]);
    let kind = text(service, &["spec", "type"]);
    let is_balanced = kind == "LoadBalancer";
    let takes_ports = at(service, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false);
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if takes_ports => ports.len(),
        "LoadBalancer" => ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or_default() != 0).count(),
        _ => 0,
    };
    let number = |count: usize| Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX));
    [("services", 1), ("services.loadbalancers", usize::from(is_balanced)), ("services.nodeports", node_ports)]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), number(count)))
        .collect()
}

fn of_claim(claim: &Value) -> Amounts {
    let mut usage = Amounts::default();
    usage.set("persistentvolumeclaims", one());
    let requested = Amounts::of(at(claim, &["spec", "resources", "requests"])).get("storage").cloned();
    let allocated = Amounts::of(at(claim, &["status", "allocatedResources"])).get("storage").cloned();
    let storage = requested.map(|requested| allocated.into_iter().fold(requested, Ord::max));
    if let Some(storage) = storage {
        usage.set(STORAGE, storage.round_up_to_units());
    }
    let annotated = text(claim, &["metadata", "annotations", CLASS_ANNOTATION]);
    let class = if annotated.is_empty() { text(claim, &["spec", "storageClassName"]) } else { annotated };
    if !class.is_empty() {
        let by_class: Amounts =
            usage.iter().map(|(name, amount)| (format!("{class}{BY_CLASS}{name}"), amount.clone())).collect();
        usage.add(&by_class);
    }
    usage
}

/// What a Pod's containers do not say and have to, as soon as a quota counts it: `limits.cpu for: a,b; …`. Empty if nothing is missing.
pub fn unstated<'a>(pod: &Value, resources: impl IntoIterator<Item = &'a str>) -> String {
    if states_whole(pod) {
        return String::new();
    }
    let containers: Vec<&Value> =
        ["containers", "initContainers"].iter().flat_map(|name| list(pod, &["spec", name])).collect();
    let mut missing = Vec::new();
    for resource in resources.into_iter().filter(|resource| is_required(resource)) {
        let lacks = |container: &&&Value| {
            let [requests, limits] =
                ["requests", "limits"].map(|name| Amounts::of(at(container, &["resources", name])));
            of_pod(&requests, &limits).get(resource).is_none()
        };
        let mut names: Vec<&str> =
            containers.iter().filter(lacks).map(|container| text(container, &["name"])).collect();
        names.sort_unstable();
        if !names.is_empty() {
            missing.push(format!("{resource} for: {}", names.join(",")));
        }
    }
    missing.join("; ")
}

/// Whether containers have to state the resource. Kubernetes calls that a mistake that no other resource is to repeat.
fn is_required(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_count_as_kubernetes_has_them() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("time");
        let resources = json!({"requests": {"cpu": "100m", "hugepages-2Mi": "2Mi", "x.io/gpu": "1"},
            "limits": {"cpu": "1", "memory": "1Gi"}});
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        let mut over = pod.clone();
        over["status"] = json!({"phase": "Failed"});
        let mut going = pod.clone();
        going["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
        let service = |kind: &str| json!({"spec": {"type": kind, "ports": [{"nodePort": 30000}, {}]}});
        let mut few = service("LoadBalancer");
        few["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
        let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}}});
        let rows = [
            (
                Counted::PODS,
                &pod,
                "count/pods=1,cpu=100m,hugepages-2Mi=2Mi,limits.cpu=1,limits.memory=1Gi,pods=1,requests.cpu=100m,\
                 requests.hugepages-2Mi=2Mi,requests.x.io/gpu=1",
            ),
            (Counted::PODS, &over, "count/pods=1"),
            (Counted::PODS, &going, "count/pods=1"),
            (
                Counted::SERVICES,
                &service("ClusterIP"),
                "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0",
            ),
            (
                Counted::SERVICES,
                &service("LoadBalancer"),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
            ),
            (Counted::SERVICES, &few, "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"),
            (
                Counted::CLAIMS,
                &claim,
                "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
                 gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2",
            ),
            (Counted { group: "", plural: "secrets" }, &json!({}), "count/secrets=1,secrets=1"),
            (Counted { group: "apps", plural: "deployments" }, &json!({}), "count/deployments.apps=1"),
        ];
        for (counted, object, want) in rows {
            let usage = counted.usage(object, now);
            assert_eq!(usage.to_string(), want, "{object}");
            assert!(usage.names().all(|name| counted.is_for(name)), "{usage}");
        }
        assert!(!Counted::PODS.is_for("services") && !Counted::SERVICES.is_for("pods"));
        assert!(!Counted::PODS.is_for("requests.storage") && !Counted::CLAIMS.is_for("count/pods"));
    }

    #[test]
    fn what_is_not_stated_is_named_by_container() {
        let pod = json!({"spec": {
            "containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "1"}}}],
        }});
        assert_eq!(
            unstated(&pod, ["limits.cpu", "pods", "requests.cpu", "requests.ephemeral-storage"]),
            "limits.cpu for: a,b; requests.cpu for: b,i"
        );
        let whole = json!({"spec": {"resources": {"limits": {"cpu": "1"}}, "containers": [{"name": "b"}]}});
        assert_eq!(unstated(&whole, ["limits.cpu"]), "");
    }
}
