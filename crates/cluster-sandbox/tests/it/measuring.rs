//! What pods take of the disk.

use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{MountSource, PodNetwork, PodSpec, PodStorage, PodVolume, StorageName, VolumeKind};

use super::harness::{container, eventually, mount, pod_id, refusal, run, volume_name};

const MEBIBYTE: u64 = 1 << 20;

fn is_about_a_mebibyte(bytes: u64) -> bool {
    (MEBIBYTE..MEBIBYTE + (64 << 10)).contains(&bytes)
}

#[test]
fn what_containers_and_volumes_take_is_told() {
    run(
        |_| {},
        async |mut instance| {
            let mut pod = PodSpec::new(pod_id("pod"));
            pod.network = PodNetwork::Isolated;
            let kinds = [("disk", VolumeKind::Disk), ("memory", VolumeKind::Memory { max_bytes: 2 << 20 })];
            pod.volumes = kinds
                .map(|(name, kind)| PodVolume { name: volume_name(name), kind, group: None })
                .into_iter()
                .collect();
            instance.sandbox.create_pod(&pod).await.unwrap();
            let storage = StorageName::try_new("kept").unwrap();
            let wanted = PodStorage {
                pod: pod_id("pod"),
                name: volume_name("kept"),
                storage,
                group: None,
                is_group_enforced: false,
            };
            instance.sandbox.use_storage(wanted).await.unwrap();
            let mut spec = container("pod", "c", &["hold", "/own", "/disk/file", "/memory/file", "/kept/file"]);
            for name in ["disk", "memory", "kept"] {
                spec.mounts.push(mount(&format!("/{name}"), MountSource::Volume(volume_name(name))));
            }
            instance.start(&spec).await;
            eventually("its files", || instance.said(&spec) == "filled\n").await;
            let usage = instance.sandbox.disk_usage(&pod_id("pod")).await.unwrap();
            assert!(usage.is_whole);
            let [(own, bytes)] = usage.containers.as_slice() else { panic!("{usage:?}") };
            assert!(*own == spec.id && is_about_a_mebibyte(*bytes), "{usage:?}");
            let [(disk, bytes)] = usage.volumes.as_slice() else { panic!("{usage:?}") };
            assert!(*disk == volume_name("disk") && is_about_a_mebibyte(*bytes), "{usage:?}");
            instance.sandbox.kill(&spec.id).await.unwrap();
            instance.exit(&spec.id).await;
            let usage = instance.sandbox.disk_usage(&pod_id("pod")).await.unwrap();
            assert!(usage.containers.is_empty(), "what it has written went with it");
            instance.sandbox.remove_pod(&pod_id("pod")).await.unwrap();
            let none = refusal(instance.sandbox.disk_usage(&pod_id("pod")).await);
            assert_eq!(none.0, RefusalCode::NotFound);
        },
    );
}
