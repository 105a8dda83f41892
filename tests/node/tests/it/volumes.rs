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

/// A Pod whose one container is a user that is not root, with a Secret that only its owner may read, a token, and room to write.
fn unprivileged(name: &str, fs_group: Option<u32>) -> serde_json::Value {
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let part = json!({"name": "disk", "mountPath": "/part", "subPath": "some/part"});
    let inside = json!({"name": "memory", "mountPath": "/secret/inside"});
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsUser": 4242, "runAsGroup": 4343, "fsGroup": fs_group},
        "containers": [{
            "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "8080"],
            "readinessProbe": {"tcpSocket": {"port": 8080}},
            "volumeMounts": [mount("secret"), mount("token"), mount("disk"), mount("memory"), part, inside],
        }],
        "volumes": [
            {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o400}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
    }})
}

#[test]
fn volumes_are_the_pods_groups_as_the_kubelet_has_them() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let secrets: Api<Secret> = Api::namespaced(ground.client(), "default");
        let secret = json!({"metadata": {"name": "s"}, "stringData": {"KEY": "secret"}});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        ground.create(unprivileged("member", Some(777))).await;
        ground.create(unprivileged("stranger", None)).await;
        let member = ip(&ground.eventually("member", "readiness", is_ready).await);
        let stranger = ip(&ground.eventually("stranger", "readiness", is_ready).await);
        let denied = "Permission denied (os error 13)";
        for (path, of_member, of_stranger) in [
            ("/file/secret/KEY", "secret", denied),
            ("/stat/secret/KEY", "440 0 777", "400 0 0"),
            ("/stat/secret", "2755 0 777", "755 0 0"),
            ("/stat/token/token", "640 4242 777", "600 4242 0"),
            ("/write/secret/new", "Read-only file system (os error 30)", "Read-only file system (os error 30)"),
            ("/stat/disk", "2777 0 777", "777 0 0"),
            ("/write/disk/file", "written", "written"),
            ("/stat/disk/file", "644 4242 777", "644 4242 4343"),
            ("/stat/part", "2777 0 777", "777 0 0"),
            ("/write/part/file", "written", "written"),
            ("/file/disk/some/part/file", "mine", "mine"),
            ("/stat/memory", "3777 0 777", "1777 0 0"),
            ("/write/memory/file", "written", "written"),
            ("/file/secret/inside/file", "mine", "mine"),
        ] {
            assert_eq!(get(&member, 8080, path), of_member, "{path}");
            assert_eq!(get(&stranger, 8080, path), of_stranger, "{path}");
        }
        for pod in [&member, &stranger] {
            assert_eq!(get(pod, 8080, "/file/token/token").split('.').count(), 3, "its user reads the token");
        }
        // Also once another process has taken the Pods back.
        node.stop().await;
        let node = ground.node(Builtins::default()).await;
        let change = Patch::Merge(json!({"stringData": {"KEY": "new secret"}}));
        secrets.patch("s", &PatchParams::default(), &change).await.unwrap();
        let has_changed = async || (get(&member, 8080, "/file/secret/KEY") == "new secret").then_some(());
        until("the new secret", has_changed).await;
        assert_eq!(get(&member, 8080, "/stat/secret/KEY"), "440 0 777");
        assert_eq!(get(&stranger, 8080, "/file/secret/KEY"), denied);
        for name in ["member", "stranger"] {
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}
