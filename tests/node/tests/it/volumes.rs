//! What Pods are given as files and variables, and that files follow their objects.

use cluster_workloads::node::builtin::Builtins;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::harness::{IMAGE, NODE, get, ip, is_ready, run, until};

#[test]
fn files_and_variables_come_from_objects_and_files_follow_them() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let maps: Api<ConfigMap> = Api::namespaced(ground.client(), "default");
        let secrets: Api<Secret> = Api::namespaced(ground.client(), "default");
        let map = json!({"metadata": {"name": "m"}, "data": {"KEY": "map"}});
        maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
        let secret = json!({"metadata": {"name": "s"}, "stringData": {"KEY": "secret"}});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        let labels = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]);
        let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
        ground
            .create(json!({"metadata": {"name": "reader", "labels": {"a": "1"}}, "spec": {
                "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "8080"],
                    "readinessProbe": {"tcpSocket": {"port": 8080}},
                    "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "M_"}, {"secretRef": {"name": "s"}, "prefix": "S_"}],
                    "volumeMounts": [mount("secret"), mount("downward"), mount("all")],
                }],
                "volumes": [
                    {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "KEY", "path": "deep/key"}]}},
                    {"name": "downward", "downwardAPI": {"items": labels}},
                    {"name": "all", "projected": {"sources": [
                        {"configMap": {"name": "m"}},
                        {"secret": {"name": "s", "items": [{"key": "KEY", "path": "secret"}]}},
                        {"downwardAPI": {"items": labels}},
                        {"secret": {"name": "none", "optional": true}},
                    ]}},
                ],
            }}))
            .await;
        let reader = ground.eventually("reader", "readiness", is_ready).await;
        let shows = |path: &str| get(&ip(&reader), 8080, path);
        for (path, content) in [
            ("/env/M_KEY", "map"),
            ("/env/S_KEY", "secret"),
            ("/file/secret/deep/key", "secret"),
            ("/file/downward/labels", "a=\"1\"\n"),
            ("/file/all/KEY", "map"),
            ("/file/all/secret", "secret"),
            ("/file/all/labels", "a=\"1\"\n"),
        ] {
            assert_eq!(shows(path).trim_end(), content.trim_end(), "{path}");
        }
        let change = |value: serde_json::Value| (PatchParams::default(), Patch::Merge(value));
        let (params, patch) = change(json!({"data": {"KEY": "new map"}}));
        maps.patch("m", &params, &patch).await.unwrap();
        let (params, patch) = change(json!({"stringData": {"KEY": "new secret"}}));
        secrets.patch("s", &params, &patch).await.unwrap();
        let (params, patch) = change(json!({"metadata": {"labels": {"a": "2"}}}));
        ground.pods().patch("reader", &params, &patch).await.unwrap();
        for (path, content) in [
            ("/file/secret/deep/key", "new secret"),
            ("/file/downward/labels", "a=\"2\""),
            ("/file/all/KEY", "new map"),
            ("/file/all/secret", "new secret"),
            ("/file/all/labels", "a=\"2\""),
        ] {
            until(path, async || (shows(path).trim_end() == content).then_some(())).await;
        }
        assert_eq!(shows("/env/M_KEY"), "map", "variables are of the start");
        ground.delete("reader").await;
        node.stop().await;
        ground
    });
}
