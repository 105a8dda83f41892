//! Replicas follow what Pods use.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::{v1, v2};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use testkit::objects::object;
use testkit::{Cluster, Load, eventually_every};

/// Autoscalers are looked at every 15 s.
const STEP: Duration = Duration::from_secs(1);

async fn has_replicas(cluster: &Cluster, want: i32) {
    eventually_every(STEP, &format!("there are {want} replicas"), || async {
        let deployment = cluster.get::<Deployment>("default", "d").await.unwrap();
        deployment.status.is_some_and(|status| status.ready_replicas == Some(want) && status.replicas == Some(want))
    })
    .await;
}

/// The reason of a condition once the status says so many replicas are wanted.
async fn reason(cluster: &Cluster, desired: i32, type_: &str) -> (String, String) {
    let status = async || cluster.get::<v2::HorizontalPodAutoscaler>("default", "h").await.unwrap().status;
    let settled = |status: &v2::HorizontalPodAutoscalerStatus| {
        status.desired_replicas == desired && status.current_replicas == Some(desired)
    };
    eventually_every(STEP, "its status says so", || async { status().await.is_some_and(|status| settled(&status)) })
        .await;
    let conditions = status().await.unwrap().conditions.unwrap_or_default();
    let condition = conditions.into_iter().find(|condition| condition.type_ == type_).unwrap();
    (condition.status, condition.reason.unwrap_or_default())
}

fn autoscaler() -> v2::HorizontalPodAutoscaler {
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    let window = json!({"stabilizationWindowSeconds": 60});
    object(json!({
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "minReplicas": 1, "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "behavior": {"scaleDown": window},
        },
    }))
}

#[tokio::test(start_paused = true)]
async fn a_deployment_grows_and_shrinks_with_its_load() {
    let load = Load::default();
    let cluster = Cluster::start_under(&load, 1).await;
    let requests = json!({"requests": {"cpu": "1"}});
    cluster
        .create::<Deployment>(&object(json!({
            "metadata": {"name": "d", "namespace": "default"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "d"}},
                "template": {
                    "metadata": {"labels": {"app": "d"}},
                    "spec": {"containers": [{"name": "c", "image": "i", "resources": requests}]},
                },
            },
        })))
        .await;
    load.set(900);
    cluster.create(&autoscaler()).await;
    has_replicas(&cluster, 2).await;
    assert_eq!(reason(&cluster, 2, "ScalingActive").await, ("True".to_owned(), "ValidMetricFound".to_owned()));
    load.set(4000);
    has_replicas(&cluster, 5).await;
    assert_eq!(reason(&cluster, 5, "ScalingLimited").await, ("True".to_owned(), "TooManyReplicas".to_owned()));
    let old = cluster.get::<v1::HorizontalPodAutoscaler>("default", "h").await.unwrap();
    assert_eq!(old.spec.target_cpu_utilization_percentage, Some(50));
    assert!(old.status.unwrap().current_cpu_utilization_percentage.is_some_and(|share| share >= 80));
    load.set(100);
    has_replicas(&cluster, 1).await;
    assert_eq!(reason(&cluster, 1, "AbleToScale").await.0, "True");
    assert_eq!(cluster.list::<Pod>("default").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_scaled_is_said() {
    let cluster = Cluster::start_under(&Load::default(), 1).await;
    cluster.create(&autoscaler()).await;
    eventually_every(STEP, "it says why", || async {
        let status = cluster.get::<v2::HorizontalPodAutoscaler>("default", "h").await.unwrap().status;
        let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.reason.as_deref() == Some("FailedGetScale"))
    })
    .await;
}
