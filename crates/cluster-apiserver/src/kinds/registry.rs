//! The table of built-in kinds.
//!
//! One row per kind and version, grouped as discovery shows them. A row is data; what a kind *does* is its strategy.

use std::sync::LazyLock;

use serde_json::Value;

use super::{
    Kind, Scope, SelectableField, Storage, Strategy, Subresource, autoscaling, batch, config, event, extensions, lease,
    limits, namespace, networking, node, plain::Plain, pod, rbac, scheduling, service, storage, webhook, workloads,
};
use crate::value::{at, str_at};

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const READ: &[&str] = &["get", "list"];
const CREATE: &[&str] = &["create"];
const READ_WRITE: &[&str] = &["get", "patch", "update"];
const STREAM: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// Every built-in kind, in the order of discovery.
pub fn builtins() -> &'static [Kind] {
    static TABLE: LazyLock<Vec<Kind>> = LazyLock::new(table);
    &TABLE
}

/// The kinds of what is measured, for a server that has somebody who does it.
pub fn measured() -> &'static [Kind] {
    static TABLE: LazyLock<Vec<Kind>> = LazyLock::new(|| {
        let metrics = Group::of("metrics.k8s.io", "v1beta1");
        let measured = |kind: Kind| Kind { verbs: READ, storage: Storage::Measured, ..kind };
        vec![
            measured(metrics.kind("NodeMetrics", "nodes", "", &Plain)).cluster(),
            measured(metrics.kind("PodMetrics", "pods", "", &Plain)),
        ]
    });
    &TABLE
}

/// A group and a version whose kinds follow.
#[derive(Clone, Copy)]
struct Group {
    group: &'static str,
    version: &'static str,
}

const CORE: Group = Group { group: "", version: "v1" };

impl Group {
    const fn of(group: &'static str, version: &'static str) -> Self {
        Self { group, version }
    }

    /// A stored kind in a namespace, with all verbs and no subresource.
    fn kind(
        self,
        kind: &'static str,
        plural: &'static str,
        singular: &'static str,
        strategy: &'static dyn Strategy,
    ) -> Kind {
        Kind {
            group: self.group,
            version: self.version,
            kind,
            plural,
            singular,
            short_names: &[],
            categories: &[],
            scope: Scope::Namespaced,
            verbs: ALL_VERBS,
            subresources: &[],
            storage: Storage::Own,
            selectable_fields: &[],
            strategy,
        }
    }

    /// A kind of which only a create exists, answered and forgotten.
    fn review(self, kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
        Kind { verbs: CREATE, storage: Storage::Virtual, ..self.kind(kind, plural, singular, &Plain) }
    }
}

impl Kind {
    fn short(self, short_names: &'static [&'static str]) -> Self {
        Self { short_names, ..self }
    }

    fn in_all(self) -> Self {
        Self { categories: &["all"], ..self }
    }

    fn api_extension(self) -> Self {
        Self { categories: &["api-extensions"], ..self }
    }

    fn cluster(self) -> Self {
        Self { scope: Scope::Cluster, ..self }
    }

    fn sub(self, subresources: &'static [Subresource]) -> Self {
        Self { subresources, ..self }
    }

    fn shared(
        self,
        stored: (&'static str, &'static str),
        to_stored: fn(&Value) -> Value,
        from_stored: fn(&Value) -> Value,
    ) -> Self {
        Self { storage: Storage::Shared { group: stored.0, version: stored.1, to_stored, from_stored }, ..self }
    }

    fn select(self, selectable_fields: &'static [SelectableField]) -> Self {
        Self { selectable_fields, ..self }
    }
}

const fn sub(
    name: &'static str,
    of: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, group: of.0, version: of.1, kind: of.2, verbs }
}

const SCALE: Subresource = sub("scale", ("autoscaling", "v1", "Scale"), READ_WRITE);

/// The status subresource of a kind, which carries the kind itself.
macro_rules! status {
    ($group:literal, $version:literal, $kind:literal) => {
        const { &[sub("status", ($group, $version, $kind), READ_WRITE)] }
    };
}

/// A selectable field that is a string at its own path.
macro_rules! text_field {
    ($name:literal, $($segment:literal),+) => {
        SelectableField { name: $name, value: |object| str_at(object, &[$($segment),+]).to_owned() }
    };
}

fn bool_text(object: &Value, path: &[&str]) -> String {
    at(object, path).and_then(Value::as_bool).unwrap_or_default().to_string()
}

fn table() -> Vec<Kind> {
    let mut kinds = core();
    kinds.extend(workloads());
    kinds.extend(cluster_services());
    kinds.extend(extensions());
    kinds.extend(reviews());
    kinds
}

fn core() -> Vec<Kind> {
    vec![
        CORE.review("Binding", "bindings", "binding"),
        CORE.kind("ConfigMap", "configmaps", "configmap", &config::ConfigMap).short(&["cm"]),
        CORE.kind("Endpoints", "endpoints", "endpoints", &service::Endpoints).short(&["ep"]),
        CORE.kind("Event", "events", "event", &event::CoreEvent).short(&["ev"]).select(CORE_EVENT_FIELDS),
        CORE.kind("LimitRange", "limitranges", "limitrange", &limits::LimitRange).short(&["limits"]),
        Kind { verbs: NAMESPACE_VERBS, ..CORE.kind("Namespace", "namespaces", "namespace", &namespace::Namespace) }
            .cluster()
            .short(&["ns"])
            .sub(const { &[
                sub("finalize", ("", "v1", "Namespace"), &["update"]),
                sub("status", ("", "v1", "Namespace"), READ_WRITE),
            ] })
            .select(const { &[text_field!("status.phase", "status", "phase")] }),
        CORE.kind("Node", "nodes", "node", &node::Node).cluster().short(&["no"]).sub(status!("", "v1", "Node")).select(const { &[
            SelectableField { name: "spec.unschedulable", value: |o| bool_text(o, &["spec", "unschedulable"]) },
        ] }),
        CORE.kind("PersistentVolume", "persistentvolumes", "persistentvolume", &storage::Volume)
            .cluster()
            .short(&["pv"])
            .sub(status!("", "v1", "PersistentVolume")),
        CORE.kind("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", &storage::Claim)
            .short(&["pvc"])
            .sub(status!("", "v1", "PersistentVolumeClaim")),
        CORE.kind("Pod", "pods", "pod", &pod::Pod).in_all().short(&["po"]).sub(POD_SUBRESOURCES).select(POD_FIELDS),
        CORE.kind("PodTemplate", "podtemplates", "podtemplate", &workloads::PodTemplate),
        CORE.kind("ReplicationController", "replicationcontrollers", "replicationcontroller", &workloads::ReplicationController)
            .in_all()
            .short(&["rc"])
            .sub(const { &[SCALE, sub("status", ("", "v1", "ReplicationController"), READ_WRITE)] })
            .select(const { &[REPLICAS_FIELD] }),
        CORE.kind("ResourceQuota", "resourcequotas", "resourcequota", &limits::ResourceQuota)
            .short(&["quota"])
            .sub(status!("", "v1", "ResourceQuota")),
        CORE.kind("Secret", "secrets", "secret", &config::Secret).select(const { &[text_field!("type", "type")] }),
        CORE.kind("Service", "services", "service", &service::Service)
            .in_all()
            .short(&["svc"])
            .sub(const { &[
                sub("proxy", ("", "v1", "ServiceProxyOptions"), PROXY),
                sub("status", ("", "v1", "Service"), READ_WRITE),
            ] })
            .select(const { &[
                text_field!("spec.clusterIP", "spec", "clusterIP"),
                text_field!("spec.type", "spec", "type"),
            ] }),
        CORE.kind("ServiceAccount", "serviceaccounts", "serviceaccount", &config::ServiceAccount)
            .short(&["sa"])
            .sub(const { &[sub("token", ("authentication.k8s.io", "v1", "TokenRequest"), CREATE)] }),
    ]
}

const POD_SUBRESOURCES: &[Subresource] = &[
    sub("attach", ("", "v1", "PodAttachOptions"), STREAM),
    sub("binding", ("", "v1", "Binding"), CREATE),
    sub("ephemeralcontainers", ("", "v1", "Pod"), READ_WRITE),
    sub("eviction", ("policy", "v1", "Eviction"), CREATE),
    sub("exec", ("", "v1", "PodExecOptions"), STREAM),
    sub("log", ("", "v1", "Pod"), &["get"]),
    sub("portforward", ("", "v1", "PodPortForwardOptions"), STREAM),
    sub("proxy", ("", "v1", "PodProxyOptions"), PROXY),
    sub("resize", ("", "v1", "Pod"), READ_WRITE),
    sub("status", ("", "v1", "Pod"), READ_WRITE),
];

const POD_FIELDS: &[SelectableField] = &[
    text_field!("spec.nodeName", "spec", "nodeName"),
    text_field!("spec.restartPolicy", "spec", "restartPolicy"),
    text_field!("spec.schedulerName", "spec", "schedulerName"),
    text_field!("spec.serviceAccountName", "spec", "serviceAccountName"),
    SelectableField { name: "spec.hostNetwork", value: |o| bool_text(o, &["spec", "hostNetwork"]) },
    text_field!("status.phase", "status", "phase"),
    text_field!("status.podIP", "status", "podIP"),
    text_field!("status.podIPs", "status", "podIP"),
    text_field!("status.nominatedNodeName", "status", "nominatedNodeName"),
];

const REPLICAS_FIELD: SelectableField = SelectableField {
    name: "status.replicas",
    value: |object| at(object, &["status", "replicas"]).and_then(Value::as_i64).unwrap_or_default().to_string(),
};

const CORE_EVENT_FIELDS: &[SelectableField] = &[
    text_field!("involvedObject.kind", "involvedObject", "kind"),
    text_field!("involvedObject.namespace", "involvedObject", "namespace"),
    text_field!("involvedObject.name", "involvedObject", "name"),
    text_field!("involvedObject.uid", "involvedObject", "uid"),
    text_field!("involvedObject.apiVersion", "involvedObject", "apiVersion"),
    text_field!("involvedObject.resourceVersion", "involvedObject", "resourceVersion"),
    text_field!("involvedObject.fieldPath", "involvedObject", "fieldPath"),
    text_field!("reason", "reason"),
    text_field!("reportingComponent", "reportingComponent"),
    SelectableField { name: "source", value: event_source },
    text_field!("type", "type"),
];

const EVENTS_EVENT_FIELDS: &[SelectableField] = &[
    text_field!("regarding.kind", "regarding", "kind"),
    text_field!("regarding.namespace", "regarding", "namespace"),
    text_field!("regarding.name", "regarding", "name"),
    text_field!("regarding.uid", "regarding", "uid"),
    text_field!("regarding.apiVersion", "regarding", "apiVersion"),
    text_field!("regarding.resourceVersion", "regarding", "resourceVersion"),
    text_field!("regarding.fieldPath", "regarding", "fieldPath"),
    text_field!("reason", "reason"),
    text_field!("reportingController", "reportingController"),
    text_field!("type", "type"),
];

/// Who reported an event; new events say it in `reportingComponent`.
fn event_source(event: &Value) -> String {
    let source = str_at(event, &["source", "component"]);
    if source.is_empty() { str_at(event, &["reportingComponent"]).to_owned() } else { source.to_owned() }
}

fn workloads() -> Vec<Kind> {
    let apps = Group::of("apps", "v1");
    let batch = Group::of("batch", "v1");
    vec![
        apps.kind("ControllerRevision", "controllerrevisions", "controllerrevision", &workloads::ControllerRevision),
        apps.kind("DaemonSet", "daemonsets", "daemonset", &workloads::DaemonSet).in_all().short(&["ds"]).sub(status!(
            "apps",
            "v1",
            "DaemonSet"
        )),
        apps.kind("Deployment", "deployments", "deployment", &workloads::Deployment)
            .in_all()
            .short(&["deploy"])
            .sub(const { &[SCALE, sub("status", ("apps", "v1", "Deployment"), READ_WRITE)] }),
        apps.kind("ReplicaSet", "replicasets", "replicaset", &workloads::ReplicaSet)
            .in_all()
            .short(&["rs"])
            .sub(const { &[SCALE, sub("status", ("apps", "v1", "ReplicaSet"), READ_WRITE)] })
            .select(const { &[REPLICAS_FIELD] }),
        apps.kind("StatefulSet", "statefulsets", "statefulset", &workloads::StatefulSet)
            .in_all()
            .short(&["sts"])
            .sub(const { &[SCALE, sub("status", ("apps", "v1", "StatefulSet"), READ_WRITE)] }),
        Group::of("autoscaling", "v2")
            .kind(
                "HorizontalPodAutoscaler",
                "horizontalpodautoscalers",
                "horizontalpodautoscaler",
                &autoscaling::Autoscaler,
            )
            .in_all()
            .short(&["hpa"])
            .sub(status!("autoscaling", "v2", "HorizontalPodAutoscaler")),
        Group::of("autoscaling", "v1")
            .kind(
                "HorizontalPodAutoscaler",
                "horizontalpodautoscalers",
                "horizontalpodautoscaler",
                &autoscaling::AutoscalerV1,
            )
            .in_all()
            .short(&["hpa"])
            .sub(status!("autoscaling", "v1", "HorizontalPodAutoscaler"))
            .shared(("autoscaling", "v2"), autoscaling::to_v2, autoscaling::from_v2),
        batch
            .kind("CronJob", "cronjobs", "cronjob", &batch::CronJob)
            .in_all()
            .short(&["cj"])
            .sub(status!("batch", "v1", "CronJob")),
        batch.kind("Job", "jobs", "job", &batch::Job).in_all().sub(status!("batch", "v1", "Job")).select(
            const {
                &[SelectableField {
                    name: "status.successful",
                    value: |o| at(o, &["status", "succeeded"]).and_then(Value::as_i64).unwrap_or_default().to_string(),
                }]
            },
        ),
    ]
}

fn cluster_services() -> Vec<Kind> {
    let networking = Group::of("networking.k8s.io", "v1");
    let rbac = Group::of("rbac.authorization.k8s.io", "v1");
    let storage = Group::of("storage.k8s.io", "v1");
    vec![
        Group::of("events.k8s.io", "v1")
            .kind("Event", "events", "event", &event::EventsEvent)
            .short(&["ev"])
            .select(EVENTS_EVENT_FIELDS)
            .shared(("", "v1"), event::to_core, event::from_core),
        Group::of("coordination.k8s.io", "v1").kind("Lease", "leases", "lease", &lease::Lease),
        Group::of("discovery.k8s.io", "v1").kind(
            "EndpointSlice",
            "endpointslices",
            "endpointslice",
            &networking::EndpointSlice,
        ),
        networking.kind("Ingress", "ingresses", "ingress", &networking::Ingress).short(&["ing"]).sub(status!(
            "networking.k8s.io",
            "v1",
            "Ingress"
        )),
        networking.kind("IngressClass", "ingressclasses", "ingressclass", &networking::IngressClass).cluster(),
        networking
            .kind("NetworkPolicy", "networkpolicies", "networkpolicy", &networking::NetworkPolicy)
            .short(&["netpol"]),
        Group::of("node.k8s.io", "v1")
            .kind("RuntimeClass", "runtimeclasses", "runtimeclass", &scheduling::RuntimeClass)
            .cluster(),
        Group::of("policy", "v1")
            .kind("PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", &autoscaling::DisruptionBudget)
            .short(&["pdb"])
            .sub(status!("policy", "v1", "PodDisruptionBudget")),
        rbac.kind("ClusterRole", "clusterroles", "clusterrole", &rbac::Role { is_namespaced: false }).cluster(),
        rbac.kind(
            "ClusterRoleBinding",
            "clusterrolebindings",
            "clusterrolebinding",
            &rbac::RoleBinding { is_namespaced: false },
        )
        .cluster(),
        rbac.kind("Role", "roles", "role", &rbac::Role { is_namespaced: true }),
        rbac.kind("RoleBinding", "rolebindings", "rolebinding", &rbac::RoleBinding { is_namespaced: true }),
        Group::of("scheduling.k8s.io", "v1")
            .kind("PriorityClass", "priorityclasses", "priorityclass", &scheduling::PriorityClass)
            .cluster()
            .short(&["pc"]),
        storage.kind("CSIDriver", "csidrivers", "csidriver", &storage::CsiDriver).cluster(),
        storage.kind("StorageClass", "storageclasses", "storageclass", &storage::StorageClass).cluster().short(&["sc"]),
    ]
}

fn extensions() -> Vec<Kind> {
    let admission = Group::of("admissionregistration.k8s.io", "v1");
    vec![
        admission
            .kind(
                "MutatingWebhookConfiguration",
                "mutatingwebhookconfigurations",
                "mutatingwebhookconfiguration",
                &webhook::Webhooks { is_mutating: true },
            )
            .cluster()
            .api_extension(),
        admission
            .kind(
                "ValidatingWebhookConfiguration",
                "validatingwebhookconfigurations",
                "validatingwebhookconfiguration",
                &webhook::Webhooks { is_mutating: false },
            )
            .cluster()
            .api_extension(),
        Group::of("apiextensions.k8s.io", "v1")
            .kind(
                "CustomResourceDefinition",
                "customresourcedefinitions",
                "customresourcedefinition",
                &extensions::Definition,
            )
            .cluster()
            .api_extension()
            .short(&["crd", "crds"])
            .sub(status!("apiextensions.k8s.io", "v1", "CustomResourceDefinition")),
        Group::of("apiregistration.k8s.io", "v1")
            .kind("APIService", "apiservices", "apiservice", &extensions::ApiService)
            .cluster()
            .api_extension()
            .sub(status!("apiregistration.k8s.io", "v1", "APIService")),
    ]
}

fn reviews() -> Vec<Kind> {
    let authentication = Group::of("authentication.k8s.io", "v1");
    let authorization = Group::of("authorization.k8s.io", "v1");
    vec![
        authentication.review("SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview").cluster(),
        authentication.review("TokenReview", "tokenreviews", "tokenreview").cluster(),
        authorization.review("LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview"),
        authorization
            .review("SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview")
            .cluster(),
        authorization.review("SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview").cluster(),
        authorization.review("SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview").cluster(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{find, find_by_kind};

    #[test]
    fn names_are_unique_and_verbs_sorted() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in builtins() {
            assert!(seen.insert((kind.group, kind.version, kind.plural)), "{} twice", kind.plural);
            assert!(kind.verbs.is_sorted(), "{}", kind.plural);
            assert!(kind.subresources.is_sorted_by_key(|s| s.name), "{}", kind.plural);
            assert!(std::ptr::eq(kind, find(kind.group, kind.version, kind.plural).expect("by plural")));
            assert!(std::ptr::eq(kind, find_by_kind(kind.group, kind.version, kind.kind).expect("by kind")));
        }
    }

    #[test]
    fn a_field_selector_reads_fields() {
        let pods = find("", "v1", "pods").expect("pods");
        let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "x"}});
        assert_eq!(pods.field_value("spec.nodeName", &pod).as_deref(), Some("x"));
        assert_eq!(pods.field_value("spec.hostNetwork", &pod).as_deref(), Some("false"));
        assert_eq!(pods.field_value("metadata.name", &pod).as_deref(), Some("p"));
        assert_eq!(pods.field_value("spec.foo", &pod), None);
        assert_eq!(pods.qualified_plural(), "pods");
        assert_eq!(find("apps", "v1", "deployments").expect("deployments").qualified_plural(), "deployments.apps");
    }
}
