//! Storages outlive pods and spawners, are their pods' groups', and go when nobody has them.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{ContainerSpec, MountSource, PodStorage, StorageName};

use super::harness::{Ground, Instance, container, eventually, is_root, mount, pod_id, refusal, run, volume_name};

const USER: u32 = 4242;

fn name(text: &str) -> StorageName {
    StorageName::try_new(text).unwrap()
}

fn wanted(pod: &str, storage: &str, group: Option<u32>) -> PodStorage {
    PodStorage { pod: pod_id(pod), name: volume_name("data"), storage: name(storage), group, is_group_enforced: false }
}

/// A container of an unprivileged user that has the storage at `/data`.
fn user(pod: &str, words: &[&str]) -> ContainerSpec {
    let mut spec = container(pod, &format!("{pod}-{}", words.len()), words);
    spec.user.uid = Some(USER);
    spec.mounts.push(mount("/data", MountSource::Volume(volume_name("data"))));
    spec
}

#[test]
fn a_storage_is_kept_until_nobody_has_it() {
    run(
        |_| {},
        async |mut instance| {
            let storage = instance.config.storage_dir.join("kept");
            instance.isolated_pod("one").await;
            instance.sandbox.use_storage(wanted("one", "kept", Some(777))).await.unwrap();
            instance.sandbox.use_storage(wanted("one", "kept", Some(777))).await.unwrap();
            let other = refusal(instance.sandbox.use_storage(wanted("one", "other", None)).await);
            assert_eq!(other.0, RefusalCode::Exists);
            let nobody = refusal(instance.sandbox.use_storage(wanted("nobody", "kept", None)).await);
            assert_eq!(nobody.0, RefusalCode::NotFound);
            let (said, _) = instance.output(&user("one", &["stat", "/data"])).await;
            assert_eq!(said, "2777 0 777\n");
            fs::write(storage.join("file"), "x").unwrap();
            symlink("/etc/passwd", storage.join("link")).unwrap();
            let passwd = fs::metadata("/etc/passwd").unwrap();
            // Another pod's group gets what is there, and no more.
            instance.isolated_pod("two").await;
            instance.sandbox.use_storage(wanted("two", "kept", Some(888))).await.unwrap();
            let (said, _) = instance.output(&user("two", &["stat", "/data/file"])).await;
            assert_eq!(said, "664 0 888\n");
            let now = fs::metadata("/etc/passwd").unwrap();
            assert_eq!(format!("{:?}", now.permissions()), format!("{:?}", passwd.permissions()));
            // It goes when the last pod has gone.
            instance.sandbox.remove_pod(&pod_id("one")).await.unwrap();
            assert_eq!(refusal(instance.sandbox.remove_storage(&name("kept")).await).0, RefusalCode::Busy);
            instance.sandbox.remove_pod(&pod_id("two")).await.unwrap();
            assert_eq!(fs::read_to_string(storage.join("file")).unwrap(), "x");
            instance.sandbox.remove_storage(&name("kept")).await.unwrap();
            assert!(!storage.exists());
            instance.sandbox.remove_storage(&name("kept")).await.unwrap();
            let directory = instance.config.storage_dir.clone();
            eventually("its content goes", || fs::read_dir(&directory).unwrap().count() == 0).await;
        },
    );
}

#[test]
fn a_storage_outlives_its_spawner_and_what_is_half_done_does_not() {
    if !is_root() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ground = Ground::new();
        let storage = ground.config.storage_dir.join("kept");
        for content in [None, Some("x".to_owned())] {
            ground.launch();
            let instance = Instance::connect(ground.config.clone()).await;
            instance.isolated_pod("pod").await;
            instance.sandbox.use_storage(wanted("pod", "kept", None)).await.unwrap();
            assert_eq!(fs::read_to_string(storage.join("file")).ok(), content);
            let half_done = || [".fresh-1", ".dead-1"].map(|name| ground.config.storage_dir.join(name));
            eventually("what was half done goes", || half_done().iter().all(|path| !path.exists())).await;
            fs::write(storage.join("file"), "x").unwrap();
            half_done().iter().for_each(|path| fs::create_dir(path).unwrap());
            ground.end().await;
        }
    });
}

/// Storages that are there, and belong to no group yet.
fn old_storages(instance: &Instance, names: &[&str]) {
    names.iter().for_each(|name| fs::create_dir(instance.config.storage_dir.join(name)).unwrap());
}

#[test]
fn what_happens_while_a_storage_is_given_is_minded() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            old_storages(&instance, &["one", "two"]);
            let stopped = instance.stop();
            let (one, two, ()) = tokio::join!(
                instance.sandbox.use_storage(wanted("pod", "one", Some(777))),
                instance.sandbox.use_storage(wanted("pod", "two", Some(777))),
                async { drop(stopped) },
            );
            let other = [one, two].into_iter().filter(Result::is_err).map(refusal);
            let other: Vec<_> = other.map(|(code, _)| code).collect();
            assert_eq!(other, [RefusalCode::Exists], "only one of them is the pod's volume of that name");
        },
    );
}

#[test]
fn giving_a_storage_ends_with_the_spawner() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            old_storages(&instance, &["one"]);
            let stopped = instance.stop();
            let (given, down, ()) = tokio::join!(
                instance.sandbox.use_storage(wanted("pod", "one", Some(777))),
                instance.sandbox.down(Duration::ZERO),
                async { drop(stopped) },
            );
            down.unwrap();
            assert_eq!(refusal(given), (RefusalCode::Busy, "the spawner is ending".to_owned()));
        },
    );
}

#[test]
fn two_pods_may_ask_for_the_same_new_storage_at_once() {
    run(
        |_| {},
        async |mut instance| {
            for name in ["one", "two"] {
                instance.isolated_pod(name).await;
            }
            let stopped = instance.stop();
            let (one, two, ()) = tokio::join!(
                instance.sandbox.use_storage(wanted("one", "kept", Some(777))),
                instance.sandbox.use_storage(wanted("two", "kept", Some(777))),
                async { drop(stopped) },
            );
            one.and(two).unwrap();
            assert_eq!(instance.output(&user("one", &["write", "/data/file", "x"])).await.1.code, 0);
            assert_eq!(instance.output(&user("two", &["read", "/data/file"])).await.0, "/data/file=x\n");
            let left = fs::read_dir(&instance.config.storage_dir).unwrap().count();
            assert_eq!(left, 1, "nothing is left of the one that came second");
        },
    );
}
