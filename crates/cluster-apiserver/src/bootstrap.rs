//! What every cluster begins with: namespaces, the rules, the Service of the API itself.
//!
//! Created if absent, never overwritten.

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::authz::bootstrap::{cluster_role_bindings, cluster_roles};
use crate::core::Core;
use crate::identity::Caller;
use crate::server::StartError;
use crate::store::ObjectKey;
use crate::value::str_at;
use crate::writes::{self, Context};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing, side by side, so that one trip to the disk serves many.
pub(crate) async fn create(core: &Core) -> Result<(), StartError> {
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
    Ok(())
}

const RBAC: &str = "rbac.authorization.k8s.io";

async fn create_one(core: &Core, group: &str, plural: &str, object: Value) -> Result<(), StartError> {
    let Some(resource) = core.registry.builtin(group, plural) else { return Ok(()) };
    let (namespace, name) =
        (str_at(&object, &["metadata", "namespace"]).to_owned(), str_at(&object, &["metadata", "name"]).to_owned());
    if core.store.get(&resource.table, &ObjectKey::new(&namespace, &name)).is_some() {
        return Ok(());
    }
    let caller = Caller::server();
    let context = Context::of_server(core, &caller, resource, &namespace);
    let created = writes::create(&context, writes::Next::Changed(object)).await;
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
