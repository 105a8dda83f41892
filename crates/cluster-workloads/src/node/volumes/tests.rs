use serde_json::{Value, json};

use super::*;

fn pod(volume: Value) -> Pod {
    let mut named = json!({"name": "v"});
    named.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
    let container = json!({"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(A)/b"}]});
    serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"volumes": [named], "containers": [container]}}))
        .unwrap()
}

#[test]
fn each_kind_is_mounted_as_what_it_is() {
    let rows = [
        (json!({"emptyDir": {}}), Some((MountSource::Volume(VolumeName::try_new("v").unwrap()), false))),
        (json!({}), Some((MountSource::Volume(VolumeName::try_new("v").unwrap()), false))),
        (json!({"configMap": {"name": "m"}}), Some((MountSource::Files(VolumeName::try_new("v").unwrap()), true))),
        (json!({"secret": {"secretName": "s"}}), Some((MountSource::Files(VolumeName::try_new("v").unwrap()), true))),
        (json!({"hostPath": {"path": "/h"}}), Some((MountSource::Host("/h".into()), false))),
        (json!({"nfs": {"path": "/p", "server": "s"}}), None),
    ];
    for (volume, expected) in rows {
        let pod = pod(volume.clone());
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let mounts = mounts(&pod, container, &[("A".to_owned(), "a".to_owned())].into(), &Claims::new());
        match expected {
            Some((source, is_read_only)) => {
                let expected =
                    Mount { target: "/v".to_owned(), source, sub_path: Some("a/b".to_owned()), is_read_only };
                assert_eq!(mounts.unwrap(), [expected], "{volume}");
            }
            None => assert!(mounts.unwrap_err().contains("does not support"), "{volume}"),
        }
    }
}

#[test]
fn a_volume_in_memory_is_bounded() {
    let pod = pod(json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}));
    assert_eq!(spawner_volumes(&pod)[0].kind, VolumeKind::Memory { max_bytes: 1 << 20 });
}

#[test]
fn keys_become_files() {
    let map: ConfigMap =
        serde_json::from_value(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "Mw=="}})).unwrap();
    let items =
        vec![KeyToPath { key: "a".to_owned(), path: "x/y".to_owned(), mode: Some(0o400), ..KeyToPath::default() }];
    let pick = |items: &[KeyToPath], is_optional| Pick { name: "m".to_owned(), items: items.to_vec(), is_optional };
    let all = config_map_files(&pick(&[], false), Some(&map), MODE).unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(all["c"], of_root(b"3".to_vec(), MODE));
    let some = config_map_files(&pick(&items, false), Some(&map), MODE).unwrap();
    assert_eq!(some, [("x/y".to_owned(), of_root(b"1".to_vec(), 0o400))].into());
    assert_eq!(config_map_files(&pick(&[], false), None, MODE).unwrap_err(), "configmap \"m\" not found");
    assert!(config_map_files(&pick(&[], true), None, MODE).unwrap().is_empty());
    for path in ["../x", "/x", "", "..data"] {
        let bad = vec![KeyToPath { key: "a".to_owned(), path: path.to_owned(), ..KeyToPath::default() }];
        assert!(config_map_files(&pick(&bad, false), Some(&map), MODE).is_err(), "{path}");
    }
}

/// A Pod with these security contexts, its own and those of its containers.
fn secured(own: Value, of_containers: &[Value]) -> Pod {
    let containers: Vec<_> =
        of_containers.iter().map(|context| json!({"name": "c", "securityContext": context})).collect();
    let spec = json!({"securityContext": own, "containers": containers});
    serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
}

#[test]
fn the_pods_group_owns_and_reads_every_file() {
    let files = || Files::from([("a".to_owned(), of_root(vec![], 0o400)), ("b".to_owned(), of_root(vec![], 0o644))]);
    let modes = |files: &PodFiles| files.files.values().map(|file| file.mode).collect::<Vec<_>>();
    let handed = pod_files(&secured(json!({}), &[json!({})]), "v", files()).unwrap();
    assert_eq!((handed.group, modes(&handed)), (None, vec![0o400, 0o644]));
    let handed = pod_files(&secured(json!({"fsGroup": 777}), &[json!({})]), "v", files()).unwrap();
    assert_eq!((handed.group, modes(&handed)), (Some(777), vec![0o440, 0o644]));
}

#[test]
fn a_token_is_its_users_or_its_groups() {
    let rows = [
        (json!({}), vec![json!({})], (0o644, 0)),
        (json!({"fsGroup": 777}), vec![json!({})], (0o600, 0)),
        (json!({"runAsUser": 1}), vec![json!({}), json!({"runAsUser": 1})], (0o600, 1)),
        (json!({}), vec![json!({"runAsUser": 2}), json!({"runAsUser": 2})], (0o600, 2)),
        (json!({}), vec![json!({"runAsUser": 2}), json!({"runAsUser": 3})], (0o644, 0)),
        (json!({}), vec![json!({"runAsUser": 2}), json!({})], (0o644, 0)),
    ];
    for (own, of_containers, expected) in rows {
        let files = token_file(&secured(own.clone(), &of_containers), "token", "t".to_owned(), MODE).unwrap();
        assert_eq!((files["token"].mode, files["token"].owner), expected, "{own} {of_containers:?}");
    }
    assert!(token_file(&secured(json!({}), &[]), "../token", "t".to_owned(), MODE).is_err());
}

#[test]
fn what_is_mounted_inside_a_volume_finds_its_place_and_comes_later() {
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let container = json!({"name": "c", "volumeMounts": [
        mount("empty", "/v/inner/deep"), mount("empty", "/vv"), mount("v", "/v/"), mount("empty", "/v/x"),
    ]});
    let volumes = json!([{"name": "v", "secret": {"secretName": "s"}}, {"name": "empty", "emptyDir": {}}]);
    let pod: Pod = serde_json::from_value(
        json!({"metadata": {"uid": "u"}, "spec": {"volumes": volumes, "containers": [container]}}),
    )
    .unwrap();
    let places = pod_files(&pod, "v", Files::new()).unwrap().mount_points;
    assert_eq!(places.iter().collect::<Vec<_>>(), ["inner/deep", "x"]);
    let mounts = mounts(&pod, &pod.spec.as_ref().unwrap().containers[0], &BTreeMap::new(), &Claims::new()).unwrap();
    let targets: Vec<_> = mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/vv", "/v/", "/v/x", "/v/inner/deep"]);
}
