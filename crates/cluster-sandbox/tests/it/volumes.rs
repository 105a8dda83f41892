//! What is mounted into containers, and what is not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use cluster_sandbox::spec::{ContainerSpec, Mount, MountSource, PodNetwork, PodSpec, PodVolume, VolumeKind};

use super::harness::{Instance, container, mount, pod_id, refusal, run, volume_name};

async fn pod(instance: &Instance, volumes: &[(&str, VolumeKind, Option<u32>)]) {
    let mut pod = PodSpec::new(pod_id("pod"));
    pod.network = PodNetwork::Isolated;
    pod.shared_memory = true;
    for (name, kind, group) in volumes {
        pod.volumes.push(PodVolume { name: volume_name(name), kind: *kind, group: *group });
    }
    instance.sandbox.create_pod(&pod).await.unwrap();
}

fn with(mut spec: ContainerSpec, mount: Mount) -> ContainerSpec {
    spec.mounts.push(mount);
    spec
}

#[test]
fn containers_of_a_pod_share_volumes_and_memory() {
    run(
        |_| {},
        async |mut instance| {
            pod(
                &instance,
                &[("disk", VolumeKind::Disk, Some(777)), ("mem", VolumeKind::Memory { max_bytes: 1 << 20 }, None)],
            )
            .await;
            for (number, (source, path)) in
                [("disk", "/v/file"), ("mem", "/v/file"), ("disk", "/dev/shm/file")].into_iter().enumerate()
            {
                let volume = || mount("/v", MountSource::Volume(volume_name(source)));
                let writer = with(container("pod", &format!("w{number}"), &["write", path, "shared"]), volume());
                assert_eq!(instance.output(&writer).await.1.code, 0);
                let reader = with(container("pod", &format!("r{number}"), &["read", path]), volume());
                assert_eq!(instance.output(&reader).await.0, format!("{path}=shared\n"));
            }
            let mut read_only = mount("/v", MountSource::Volume(volume_name("disk")));
            read_only.is_read_only = true;
            let (said, _) = instance.output(&with(container("pod", "ro", &["write", "/v/x", "x"]), read_only)).await;
            assert!(said.contains("Read-only file system"), "{said}");
        },
    );
}

#[test]
fn a_volume_and_parts_of_it_belong_to_its_group() {
    run(
        |_| {},
        async |mut instance| {
            let memory = VolumeKind::Memory { max_bytes: 1 << 20 };
            let volumes = [
                ("disk", VolumeKind::Disk, Some(777)),
                ("open", VolumeKind::Disk, None),
                ("mem", memory, Some(777)),
                ("shared", memory, None),
            ];
            pod(&instance, &volumes).await;
            for (name, expected) in
                [("disk", "2777 0 777"), ("open", "777 0 0"), ("mem", "3777 0 777"), ("shared", "1777 0 0")]
            {
                for (number, sub_path) in [None, Some("part/of/it".to_owned())].into_iter().enumerate() {
                    let volume = Mount { sub_path, ..mount("/v", MountSource::Volume(volume_name(name))) };
                    let mut spec = with(container("pod", &format!("{name}-{number}"), &["stat", "/v"]), volume.clone());
                    spec.user.uid = Some(4242);
                    assert_eq!(instance.output(&spec).await.0, format!("{expected}\n"), "{name}");
                    let mut spec =
                        with(container("pod", &format!("w-{name}-{number}"), &["write", "/v/file", "x"]), volume);
                    spec.user.uid = Some(4242);
                    assert_eq!(instance.output(&spec).await.1.code, 0, "{name}: anybody writes there");
                }
            }
        },
    );
}

#[test]
fn the_clients_own_files_are_mounted_by_their_relative_path() {
    run(
        |_| {},
        async |mut instance| {
            pod(&instance, &[]).await;
            let volumes = instance.config.volumes_dir.clone();
            fs::create_dir_all(volumes.join("config/..data")).unwrap();
            fs::write(volumes.join("config/..data/key"), "value").unwrap();
            symlink("..data/key", volumes.join("config/key")).unwrap();
            symlink("/etc", volumes.join("stolen")).unwrap();
            symlink("/etc", volumes.join("config/etc")).unwrap();
            let config = || MountSource::Client(PathBuf::from("config"));
            let (said, _) =
                instance.output(&with(container("pod", "dir", &["read", "/c/key"]), mount("/c", config()))).await;
            assert_eq!(said, "/c/key=value\n");
            let mut file = mount("/etc/app.conf", config());
            file.sub_path = Some("key".into());
            let (said, _) = instance.output(&with(container("pod", "file", &["read", "/etc/app.conf"]), file)).await;
            assert_eq!(said, "/etc/app.conf=value\n");
            let stolen = with(
                container("pod", "stolen", &["read", "/c/passwd"]),
                mount("/c", MountSource::Client("stolen".into())),
            );
            assert!(refusal(instance.sandbox.start_container(&stolen).await).1.contains("source"));
            let mut escaping = mount("/c", config());
            escaping.sub_path = Some("etc".into());
            let escaping = with(container("pod", "escaping", &["list", "/c"]), escaping);
            assert!(refusal(instance.sandbox.start_container(&escaping).await).1.contains("source"));
            let missing =
                with(container("pod", "missing", &["list", "/c"]), mount("/c", MountSource::Client("absent".into())));
            assert!(refusal(instance.sandbox.start_container(&missing).await).1.contains("No such file"));
        },
    );
}

#[test]
fn paths_of_the_machine_are_mounted_only_where_allowed() {
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("file"), "of the machine").unwrap();
    let allowed = shared.path().to_owned();
    run(
        |config| config.host_paths = vec![allowed.clone()],
        async |mut instance| {
            pod(&instance, &[]).await;
            let source = MountSource::Host(allowed.clone());
            let (said, _) =
                instance.output(&with(container("pod", "a", &["read", "/h/file"]), mount("/h", source))).await;
            assert_eq!(said, "/h/file=of the machine\n");
            let root = with(container("pod", "b", &["list", "/h"]), mount("/h", MountSource::Host("/".into())));
            assert!(refusal(instance.sandbox.start_container(&root).await).1.contains("(hostPath)"));
        },
    );
}

#[test]
fn an_image_cannot_lead_a_mount_outside() {
    run(
        |_| {},
        async |instance| {
            pod(&instance, &[("v", VolumeKind::Disk, None)]).await;
            let layer = instance.config.layers_dir.join("upper/fs");
            let outside = tempfile::tempdir().unwrap();
            symlink(outside.path(), layer.join("out")).unwrap();
            symlink("/proc", layer.join("kernel")).unwrap();
            let mut spec = with(
                container("pod", "a", &["write", "/out/new/x", "x"]),
                mount("/out/new", MountSource::Volume(volume_name("v"))),
            );
            spec.layers.push(cluster_sandbox::spec::LayerName::try_new("upper").unwrap());
            // The link is followed inside the image, where nothing is at its end.
            assert!(instance.sandbox.start_container(&spec).await.is_err());
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
            let mut spec =
                with(container("pod", "b", &["self"]), mount("/kernel/sys", MountSource::Volume(volume_name("v"))));
            spec.layers.push(cluster_sandbox::spec::LayerName::try_new("upper").unwrap());
            assert!(refusal(instance.sandbox.start_container(&spec).await).1.contains("/proc"));
        },
    );
}

#[test]
fn volumes_end_with_their_pod() {
    run(
        |_| {},
        async |mut instance| {
            pod(&instance, &[("v", VolumeKind::Disk, None)]).await;
            let source = || mount("/v", MountSource::Volume(volume_name("v")));
            let writer = with(container("pod", "a", &["write", "/v/file", "x"]), source());
            assert_eq!(instance.output(&writer).await.1.code, 0);
            instance.sandbox.remove_pod(&pod_id("pod")).await.unwrap();
            pod(&instance, &[("v", VolumeKind::Disk, None)]).await;
            let (said, _) = instance.output(&with(container("pod", "b", &["list", "/v"]), source())).await;
            assert_eq!(said, "\n");
            let pods_dir = instance.config.pods_dir.clone();
            super::harness::eventually("the old trees' removal", || fs::read_dir(&pods_dir).unwrap().count() == 2)
                .await;
        },
    );
}
