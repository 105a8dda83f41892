//! Pods that run, fail, end and go.

use cluster_workloads::node::LogOptions;
use cluster_workloads::node::builtin::Builtins;
use serde_json::json;

use super::harness::{IMAGE, NODE, condition, get, ip, is_ready, run, status, until};

#[test]
fn a_pod_runs_answers_and_goes() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"KEY": "from the map"}});
        let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(ground.client(), "default");
        maps.create(&kube::api::PostParams::default(), &serde_json::from_value(config).unwrap()).await.unwrap();
        ground
            .create(json!({"metadata": {"name": "web"}, "spec": {
                "nodeName": NODE,
                "automountServiceAccountToken": false,
                "initContainers": [{"name": "first", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["exit", "0"]}],
                "containers": [{
                    "name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["serve", "$(PORT)"],
                    "env": [
                        {"name": "PORT", "value": "8080"},
                        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "KEY"}}},
                    ],
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 10},
                    "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
                    "volumeMounts": [{"name": "c", "mountPath": "/etc/c"}, {"name": "d", "mountPath": "/d"}],
                }],
                "volumes": [{"name": "c", "configMap": {"name": "c"}}, {"name": "d", "emptyDir": {}}],
            }}))
            .await;
        let pod = ground.eventually("web", "readiness", is_ready).await;
        for type_ in ["PodReadyToStartContainers", "Initialized", "ContainersReady", "PodScheduled"] {
            assert_eq!(condition(&pod, type_), "True", "{type_}");
        }
        assert_eq!(pod.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
        let first = pod.status.as_ref().unwrap().init_container_statuses.as_ref().unwrap()[0].clone();
        assert_eq!(first.state.unwrap().terminated.unwrap().reason.as_deref(), Some("Completed"));
        let web = status(&pod, 0);
        assert!(web.ready && web.restart_count == 0 && web.image_id.contains("@sha256:"), "{web:?}");
        let ip = ip(&pod);
        assert_eq!(get(&ip, 8080, "/"), "hello");
        assert_eq!(get(&ip, 8080, "/env/IP"), ip);
        assert_eq!(get(&ip, 8080, "/env/KEY"), "from the map");
        assert_eq!(get(&ip, 8080, "/env/FROM_IMAGE"), "yes");
        assert_eq!(get(&ip, 8080, "/env/KUBERNETES_SERVICE_PORT"), "443");
        assert_eq!(get(&ip, 8080, "/file/etc/c/KEY"), "from the map");
        assert!(get(&ip, 8080, "/file/etc/resolv.conf").contains("search default.svc.cluster.local"));
        assert!(get(&ip, 8080, "/file/etc/hosts").contains(&format!("{ip}\tweb")));
        let options = LogOptions { container: "web".to_owned(), ..LogOptions::default() };
        assert_eq!(node.logs("web", options).await, "listening on 8080\n");
        ground.delete("web").await;
        node.stop().await;
        ground
    });
}

#[test]
fn a_job_like_pod_ends() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let pod = |name: &str, code: &str| {
            json!({"metadata": {"name": name}, "spec": {
                "nodeName": NODE, "restartPolicy": "Never", "automountServiceAccountToken": false,
                "containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["say", "some words", code]}],
            }})
        };
        for (name, code, phase) in [("good", "0", "Succeeded"), ("bad", "3", "Failed")] {
            ground.create(pod(name, code)).await;
            let pod = ground
                .eventually(name, phase, |pod| {
                    pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some(phase))
                })
                .await;
            let ended = status(&pod, 0).state.unwrap().terminated.unwrap();
            assert_eq!((ended.exit_code.to_string().as_str(), ended.message.as_deref()), (code, Some("some words")));
            assert!(!is_ready(&pod));
            let options = LogOptions { container: "c".to_owned(), has_timestamps: true, ..LogOptions::default() };
            assert!(node.logs(name, options).await.ends_with("Z some words\n"));
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}

#[test]
fn two_runs_of_a_container_have_logs_and_a_pod_that_is_gone_has_none() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        ground
            .create(json!({"metadata": {"name": "again"}, "spec": {
                "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["say", "some words", "3"]}],
            }}))
            .await;
        let is_third = |pod: &k8s_openapi::api::core::v1::Pod| {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            statuses.and_then(|statuses| statuses.first()).is_some_and(|status| status.restart_count == 2)
        };
        let pod = ground.eventually("again", "its third run", is_third).await;
        let logs = ground.config.logs_dir.clone();
        let own = logs.join(format!("default_again_{}", pod.metadata.uid.unwrap())).join("c");
        until("the logs of two runs", async || {
            let mut names: Vec<_> = std::fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            (names == ["1.log", "2.log"]).then_some(())
        })
        .await;
        let previous = LogOptions { container: "c".to_owned(), is_previous: true, ..LogOptions::default() };
        assert_eq!(node.logs("again", previous).await, "some words\n");
        ground.delete("again").await;
        until("the end of its logs", async || (std::fs::read_dir(&logs).unwrap().count() == 0).then_some(())).await;
        node.stop().await;
        ground
    });
}

#[test]
fn what_cannot_start_says_why() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let container = |name: &str, more: serde_json::Value| {
            let mut container = json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never"});
            container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            container
        };
        ground
            .create(json!({"metadata": {"name": "ill"}, "spec": {
                "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "containers": [
                    container("absent", json!({"image": "test.example/absent:1"})),
                    container("nameless", json!({"image": "Upper"})),
                    container("mapless", json!({"envFrom": [{"configMapRef": {"name": "no-such"}}]})),
                    container("crashing", json!({"args": ["exit", "7"]})),
                ],
            }}))
            .await;
        let reason = |pod: &k8s_openapi::api::core::v1::Pod, at| {
            status(pod, at).state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason).unwrap_or_default()
        };
        let expected = ["ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CrashLoopBackOff"];
        let pod = ground
            .eventually("ill", "every reason", |pod| {
                let has_statuses = pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some());
                has_statuses && expected.iter().enumerate().all(|(at, expected)| reason(pod, at) == *expected)
            })
            .await;
        let message = status(&pod, 2).state.unwrap().waiting.unwrap().message.unwrap();
        assert_eq!(message, "configmap \"no-such\" not found");
        let crashing = status(&pod, 3);
        assert_eq!((crashing.restart_count, crashing.last_state.unwrap().terminated.unwrap().exit_code), (1, 7));
        ground.delete("ill").await;
        node.stop().await;
        ground
    });
}
