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
        (json!({"configMap": {"name": "m"}}), Some((MountSource::Client("u/volumes/v".into()), true))),
        (json!({"secret": {"secretName": "s"}}), Some((MountSource::Client("u/volumes/v".into()), true))),
        (json!({"hostPath": {"path": "/h"}}), Some((MountSource::Host("/h".into()), false))),
        (json!({"nfs": {"path": "/p", "server": "s"}}), None),
    ];
    for (volume, expected) in rows {
        let pod = pod(volume.clone());
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let mounts = mounts(&pod, container, &[("A".to_owned(), "a".to_owned())].into());
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
    assert_eq!(all["c"], (b"3".to_vec(), MODE));
    let some = config_map_files(&pick(&items, false), Some(&map), MODE).unwrap();
    assert_eq!(some, [("x/y".to_owned(), (b"1".to_vec(), 0o400))].into());
    assert_eq!(config_map_files(&pick(&[], false), None, MODE).unwrap_err(), "configmap \"m\" not found");
    assert!(config_map_files(&pick(&[], true), None, MODE).unwrap().is_empty());
    for path in ["../x", "/x", "", "..data"] {
        let bad = vec![KeyToPath { key: "a".to_owned(), path: path.to_owned(), ..KeyToPath::default() }];
        assert!(config_map_files(&pick(&bad, false), Some(&map), MODE).is_err(), "{path}");
    }
}

#[test]
fn content_changes_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let files = |pairs: &[(&str, &str)]| -> Files {
        pairs.iter().map(|(path, text)| ((*path).to_owned(), (text.as_bytes().to_vec(), 0o640))).collect()
    };
    let read = |path: &str| fs::read_to_string(directory.path().join(path)).ok();
    write_volume(directory.path(), &files(&[("a", "1"), ("d/e", "2")])).unwrap();
    assert_eq!((read("a"), read("d/e")), (Some("1".to_owned()), Some("2".to_owned())));
    let first = fs::read_link(directory.path().join(DATA)).unwrap();
    write_volume(directory.path(), &files(&[("a", "1"), ("d/e", "2")])).unwrap();
    assert_eq!(fs::read_link(directory.path().join(DATA)).unwrap(), first, "the same is not written again");
    write_volume(directory.path(), &files(&[("a", "3")])).unwrap();
    assert_eq!((read("a"), read("d/e")), (Some("3".to_owned()), None));
    let mode = fs::metadata(directory.path().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(!directory.path().join(first).exists(), "the old content is gone");
}
