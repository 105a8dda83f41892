//! A quota's status follows what is there, and what goes can be taken again.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::api::DeleteParams;
use serde_json::json;
use testkit::objects::object;
use testkit::{Cluster, eventually};

async fn used(cluster: &Cluster) -> BTreeMap<String, String> {
    let quota = cluster.get::<ResourceQuota>("default", "q").await;
    let used = quota.and_then(|quota| quota.status?.used).unwrap_or_default();
    used.into_iter().map(|(name, amount)| (name, amount.0)).collect()
}

async fn is_used(cluster: &Cluster, want: &[(&str, &str)]) {
    eventually(&format!("{want:?} is used"), || async {
        let used = used(cluster).await;
        want.iter().all(|(name, amount)| used.get(*name).is_some_and(|used| used == amount))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_says_what_is_used_and_holds_a_deployment_back() {
    let cluster = Cluster::start(1).await;
    cluster
        .create::<ResourceQuota>(&object(json!({
            "metadata": {"name": "q", "namespace": "default"},
            "spec": {"hard": {"pods": "2", "requests.cpu": "1", "count/deployments.apps": "5"}},
        })))
        .await;
    is_used(&cluster, &[("pods", "0"), ("requests.cpu", "0"), ("count/deployments.apps", "0")]).await;
    let resources = json!({"requests": {"cpu": "100m"}});
    let deployment: Deployment = object(json!({
        "metadata": {"name": "d", "namespace": "default"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]},
            },
        },
    }));
    cluster.create(&deployment).await;
    is_used(&cluster, &[("pods", "2"), ("requests.cpu", "200m"), ("count/deployments.apps", "1")]).await;
    assert_eq!(cluster.list::<Pod>("default").await.len(), 2);
    cluster.merge::<ResourceQuota>("default", "q", &json!({"spec": {"hard": {"pods": "3"}}})).await;
    is_used(&cluster, &[("pods", "3"), ("requests.cpu", "300m")]).await;
    cluster.delete::<Deployment>("default", "d", &DeleteParams::default()).await;
    is_used(&cluster, &[("pods", "0"), ("requests.cpu", "0"), ("count/deployments.apps", "0")]).await;
}

#[tokio::test(start_paused = true)]
async fn kinds_of_which_only_the_number_counts_are_counted() {
    let cluster = Cluster::start(0).await;
    cluster
        .create::<ResourceQuota>(&object(json!({
            "metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"configmaps": "9", "resourcequotas": "2"}},
        })))
        .await;
    is_used(&cluster, &[("resourcequotas", "1")]).await;
    let before: usize = cluster.list::<ConfigMap>("default").await.len();
    let map: ConfigMap = object(json!({"metadata": {"name": "m", "namespace": "default"}}));
    cluster.create(&map).await;
    is_used(&cluster, &[("configmaps", &(before + 1).to_string())]).await;
    cluster.delete::<ConfigMap>("default", "m", &DeleteParams::default()).await;
    is_used(&cluster, &[("configmaps", &before.to_string())]).await;
}
