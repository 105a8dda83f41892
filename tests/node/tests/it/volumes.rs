//! What Pods are given as files and variables, and that files follow their objects.

use cluster_workloads::node::builtin::Builtins;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::harness::{Ground, IMAGE, NODE, get, ip, is_ready, run, until};

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

const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// A claim and its volume, as the binder leaves them. The volume's content is a storage of this name.
async fn bound_claim(ground: &Ground, name: &str) -> Api<PersistentVolume> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(ground.client(), "default");
    let volumes: Api<PersistentVolume> = Api::all(ground.client());
    let claim = json!({
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": name,
            "storageClassName": "",
        },
    });
    let claim = claims.create(&PostParams::default(), &serde_json::from_value(claim).unwrap()).await.unwrap();
    let volume = json!({
        "metadata": {"name": name, "finalizers": [FINALIZER]},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"kind": "PersistentVolumeClaim", "name": name, "namespace": "default", "uid": claim.metadata.uid},
            "csi": {"driver": "local.kwick.dev", "volumeHandle": name},
        },
    });
    volumes.create(&PostParams::default(), &serde_json::from_value(volume).unwrap()).await.unwrap();
    volumes
}

/// A Pod whose one container is a user that is not root, with a claim.
fn claimant(name: &str, claim: &str, fs_group: Option<u32>) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsUser": 4242, "runAsGroup": 4343, "fsGroup": fs_group},
        "containers": [{
            "name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "8080"],
            "readinessProbe": {"tcpSocket": {"port": 8080}},
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/part", "subPath": "some/part"},
                {"name": "read", "mountPath": "/read"},
            ],
        }],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "read", "persistentVolumeClaim": {"claimName": claim, "readOnly": true}},
        ],
    }})
}

#[test]
fn what_a_claim_holds_outlives_pods_and_nodes_and_goes_with_its_volume() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let volumes = bound_claim(&ground, "kept").await;
        let content = ground.config.storage_dir.join("kept");
        ground.create(claimant("first", "kept", Some(777))).await;
        let first = ip(&ground.eventually("first", "readiness", is_ready).await);
        for (path, expected) in [
            ("/stat/data", "2777 0 777"),
            ("/write/data/file", "written"),
            ("/write/part/file", "written"),
            ("/stat/data/some/part/file", "644 4242 777"),
            ("/file/read/file", "mine"),
            ("/write/read/new", "Read-only file system (os error 30)"),
        ] {
            assert_eq!(get(&first, 8080, path), expected, "{path}");
        }
        ground.delete("first").await;
        // Another group gets everything that is there; a Pod without one leaves it as it is.
        ground.create(claimant("second", "kept", Some(888))).await;
        let second = ip(&ground.eventually("second", "readiness", is_ready).await);
        assert_eq!(get(&second, 8080, "/file/data/file"), "mine");
        assert_eq!(get(&second, 8080, "/stat/data/some/part/file"), "664 4242 888");
        assert_eq!(get(&second, 8080, "/stat/data"), "2777 0 888");
        ground.create(claimant("third", "kept", None)).await;
        let third = ip(&ground.eventually("third", "readiness", is_ready).await);
        assert_eq!(get(&third, 8080, "/stat/data/file"), "664 4242 888");
        ground.delete("third").await;
        // Its volume is deleted while a Pod has it: what is used stays, also when another process has taken the Pod back.
        volumes.delete("kept", &DeleteParams::default()).await.unwrap();
        let protection = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER]}}));
        volumes.patch("kept", &PatchParams::default(), &protection).await.unwrap();
        node.stop().await;
        let node = ground.node(Builtins::default()).await;
        assert_eq!(get(&second, 8080, "/file/data/file"), "mine");
        assert!(content.is_dir());
        ground.delete("second").await;
        until("the volume to go", async || volumes.get_opt("kept").await.unwrap().is_none().then_some(())).await;
        assert!(!content.exists());
        node.stop().await;
        ground
    });
}

#[test]
fn a_claim_leads_nowhere_but_into_its_own_storage() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let volumes = bound_claim(&ground, "astray").await;
        volumes.delete("astray", &DeleteParams::default()).await.unwrap();
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        volumes.patch("astray", &PatchParams::default(), &free).await.unwrap();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(ground.client(), "default");
        let uid = claims.get("astray").await.unwrap().metadata.uid;
        for (number, source) in [
            json!({"csi": {"driver": "local.kwick.dev", "volumeHandle": "../pods"}}),
            json!({"hostPath": {"path": "/etc"}}),
        ]
        .into_iter()
        .enumerate()
        {
            let mut spec = json!({
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "claimRef": {"name": "astray", "namespace": "default", "uid": uid},
            });
            spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            let volume = json!({"metadata": {"name": "astray"}, "spec": spec});
            volumes.create(&PostParams::default(), &serde_json::from_value(volume).unwrap()).await.unwrap();
            let pod = format!("astray-{number}");
            ground.create(claimant(&pod, "astray", None)).await;
            let expected = ["is not a name", "does not give it to containers (hostPath)"][number];
            until(expected, async || ground.events(&pod).await.contains(expected).then_some(())).await;
            ground.delete(&pod).await;
            volumes.delete("astray", &DeleteParams::default()).await.unwrap();
            volumes.patch("astray", &PatchParams::default(), &free).await.unwrap();
            until("the volume to go", async || volumes.get_opt("astray").await.unwrap().is_none().then_some(())).await;
        }
        node.stop().await;
        ground
    });
}
