//! What every cluster begins with: namespaces, the rules, the Service of the API itself, the APIService of what is measured.
//!
//! Created if absent, never overwritten.

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::authz::bootstrap::{cluster_role_bindings, cluster_roles};
use crate::core::{Core, time_text};
use crate::identity::Caller;
use crate::server::StartError;
use crate::status::Result;
use crate::store::ObjectKey;
use crate::value::{at, list_at, str_at};
use crate::writes::{self, Context, DeleteOptions, Next};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing, side by side, so that one trip to the disk serves many.
pub(crate) async fn create(core: &Core) -> std::result::Result<(), StartError> {
    let namespace = |name| create_one(core, "", "namespaces", json!({"metadata": {"name": name}}));
    try_join_all(NAMESPACES.map(namespace)).await?;
    let roles = cluster_roles().into_iter().map(|role| (RBAC, "clusterroles", role));
    let bindings = cluster_role_bindings().into_iter().map(|binding| (RBAC, "clusterrolebindings", binding));
    let others = [
        ("scheduling.k8s.io", "priorityclasses", priority_class("system-cluster-critical", 2_000_000_000)),
        ("scheduling.k8s.io", "priorityclasses", priority_class("system-node-critical", 2_000_001_000)),
        ("", "services", api_service(core)),
    ];
    let all = roles.chain(bindings).chain(others);
    try_join_all(all.map(|(group, plural, object)| create_one(core, group, plural, object))).await?;
    let failed = |source| StartError::Bootstrap { what: format!("apiservices {METRICS_SERVICE}"), source };
    metrics_service(core).await.map_err(failed)
}

/// By which clients look for `metrics.k8s.io`.
const METRICS_SERVICE: &str = "v1beta1.metrics.k8s.io";
/// The label of APIServices that the server itself makes when it starts.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Tells that `metrics.k8s.io` is served, and that it is by this server, as long as somebody measures. An APIService that somebody else has made
/// is left alone.
async fn metrics_service(core: &Core) -> Result<()> {
    let Some(resource) = core.registry.builtin("apiregistration.k8s.io", "apiservices") else { return Ok(()) };
    let caller = Caller::server();
    let context = Context::of_server(core, &caller, resource, "");
    let find = || core.store.get(&resource.table, &ObjectKey::from(METRICS_SERVICE));
    if find().is_none() && core.measures.is_some() {
        let service = json!({
            "metadata": {"name": METRICS_SERVICE, "labels": {AUTOMANAGED: "onstart"}},
            "spec": {
                "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            },
        });
        writes::create(&context, Next::Changed(service)).await?;
    }
    let Some(stored) = find() else { return Ok(()) };
    let service = context.load(&stored).await?;
    if at(&service, &["metadata", "labels", AUTOMANAGED]).is_none() {
        return Ok(());
    }
    if core.measures.is_none() {
        return writes::delete(&context, METRICS_SERVICE, &DeleteOptions::default()).await.map(drop);
    }
    let context = Context { subresource: "status", ..context };
    let since = time_text(core.clock.now());
    let mut set = |old: &Value| {
        let mut new = old.clone();
        if list_at(old, &["status", "conditions"]).is_empty() {
            new["status"]["conditions"] = json!([{
                "type": "Available", "status": "True", "lastTransitionTime": since, "reason": "Local",
                "message": "Local APIServices are always available",
            }]);
        }
        Ok(Next::Changed(new))
    };
    writes::update(&context, METRICS_SERVICE, &mut set).await.map(drop)
}

const RBAC: &str = "rbac.authorization.k8s.io";

async fn create_one(core: &Core, group: &str, plural: &str, object: Value) -> std::result::Result<(), StartError> {
    let Some(resource) = core.registry.builtin(group, plural) else { return Ok(()) };
    let (namespace, name) =
        (str_at(&object, &["metadata", "namespace"]).to_owned(), str_at(&object, &["metadata", "name"]).to_owned());
    if core.store.get(&resource.table, &ObjectKey::new(&namespace, &name)).is_some() {
        return Ok(());
    }
    let caller = Caller::server();
    let context = Context::of_server(core, &caller, resource, &namespace);
    let created = writes::create(&context, Next::Changed(object)).await;
    created.map(|_| ()).map_err(|source| StartError::Bootstrap { what: format!("{plural} {name}"), source })
}

fn priority_class(name: &str, value: i64) -> Value {
    json!({
        "metadata": {"name": name}, "value": value, "globalDefault": false, "preemptionPolicy": "PreemptLowerPriority",
        "description": "Used for system critical pods that must not be moved from their current node.",
    })
}

/// The Service by which Pods reach the API. Its endpoints are the node's business.
fn api_service(core: &Core) -> Value {
    let port: u16 = core.discovery.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(6443);
    json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": core.service_ips.range().api_address().to_string(), "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
    })
}
