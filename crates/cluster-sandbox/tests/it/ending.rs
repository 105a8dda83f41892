//! Down leaves nothing.

use std::path::Path;
use std::time::Duration;

use cluster_sandbox::spec::{
    PodListener, PodNetwork, PodSpec, PodStorage, PodVolume, Protocol, StorageName, UnpackSpec, VolumeKind,
};
use cluster_sandbox::{NetworkConfig, RefusalCode, cleanup, launch};

use super::harness::{
    Instance, Machine, PATIENCE, container, eventually, listener_name, pod_id, refusal, run, volume_name,
};

async fn populate(instance: &Instance) -> (String, Vec<i32>) {
    for name in ["one", "two"] {
        let mut spec = PodSpec::new(pod_id(name));
        spec.shared_memory = true;
        spec.sockets = 2;
        spec.listeners = vec![PodListener { name: listener_name("http"), port: 80, protocol: Protocol::Tcp }];
        let kind = VolumeKind::Memory { max_bytes: 1 << 20 };
        spec.volumes = vec![PodVolume { name: volume_name("v"), kind, group: None }];
        instance.sandbox.create_pod(&spec).await.unwrap();
    }
    let polite = container("one", "polite", &["until-term", "0"]);
    let deaf = container("two", "deaf", &["children", "2"]);
    let pids = vec![instance.start(&polite).await.pid, instance.start(&deaf).await.pid, instance.sandbox.facts().pid];
    eventually("their readiness", || {
        instance.said(&polite).contains("ready") && instance.said(&deaf).contains("started")
    })
    .await;
    (instance.sandbox.facts().network.as_ref().unwrap().link.clone(), pids)
}

fn is_alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn down_ends_everything() {
    run(
        |config| config.network = Some(NetworkConfig::default()),
        async |instance| {
            let (link, pids) = populate(&instance).await;
            // The polite one has as long as it needs, and the deaf one no longer than that.
            let patient = instance.sandbox.down(PATIENCE);
            let impatient = async {
                let log = instance.config.logs_dir.join("polite.log");
                let is_over = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("terminated"));
                eventually("the polite one's end", is_over).await;
                instance.sandbox.down(Duration::ZERO).await
            };
            let (patient, impatient) = tokio::join!(patient, impatient);
            patient.and(impatient).unwrap();
            assert!(!Machine::look().knows_link(&link));
            eventually("the last process's end", || !pids.iter().any(|pid| is_alive(*pid))).await;
            assert!(!launch::is_running(&instance.config) && !instance.config.run_dir.exists());
            // The polite one was asked, the deaf one was killed; both logs stay.
            assert!(["polite.log", "deaf.log"].iter().all(|log| instance.config.logs_dir.join(log).exists()));
            assert_eq!(std::fs::read_dir(&instance.config.pods_dir).unwrap().count(), 0);
        },
    );
}

#[test]
fn a_pod_has_its_own_time_at_the_end() {
    run(
        |_| {},
        async |instance| {
            let mut spec = PodSpec::new(pod_id("pod"));
            spec.network = PodNetwork::Isolated;
            spec.grace_ms = Some(100);
            instance.sandbox.create_pod(&spec).await.unwrap();
            let deaf = container("pod", "deaf", &["children", "2"]);
            instance.start(&deaf).await;
            eventually("its readiness", || instance.said(&deaf).contains("started")).await;
            // Nothing but the pod's own time ends it.
            tokio::time::timeout(PATIENCE, instance.sandbox.down(PATIENCE * 10)).await.unwrap().unwrap();
        },
    );
}

#[test]
fn nothing_new_begins_while_everything_ends() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            instance.start(&container("pod", "deaf", &["sleep"])).await;
            // Requests of one task are carried out in their order: these two find the end begun, however slow the machine is.
            let (pod, late) = (PodSpec::new(pod_id("late")), container("pod", "b", &["sleep"]));
            let digest = base_image::Digest::of(b"none");
            let layer =
                UnpackSpec { blob: "none".into(), digest, size: 4, diff_id: digest, chain_id: digest, below: vec![] };
            let storage = PodStorage {
                pod: pod_id("pod"),
                name: volume_name("v"),
                storage: StorageName::try_new("late").unwrap(),
                group: None,
                is_group_enforced: false,
            };
            let measured = pod_id("pod");
            let (down, pod, late, layer, storage, measured) = tokio::join!(
                instance.sandbox.down(Duration::from_millis(500)),
                instance.sandbox.create_pod(&pod),
                instance.sandbox.start_container(&late),
                instance.sandbox.unpack(&layer),
                instance.sandbox.use_storage(storage),
                instance.sandbox.disk_usage(&measured),
            );
            down.unwrap();
            let codes = [refusal(pod), refusal(late), refusal(layer), refusal(storage), refusal(measured)];
            assert!(codes.iter().all(|(code, _)| *code == RefusalCode::Busy), "{codes:?}");
        },
    );
}

#[test]
fn who_comes_while_everything_ends_is_told_so() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            let deaf = container("pod", "deaf", &["sleep"]);
            instance.start(&deaf).await;
            assert!(!instance.sandbox.facts().is_ending);
            let down = instance.sandbox.down(PATIENCE);
            let late = async {
                // Both are in the same task: the end is asked for before this connects.
                let late = Instance::connect(instance.config.clone()).await;
                let is_ending = late.sandbox.facts().is_ending;
                late.sandbox.kill(&deaf.id).await.unwrap();
                is_ending
            };
            let (down, is_ending) = tokio::join!(down, late);
            down.unwrap();
            assert!(is_ending);
        },
    );
}

#[test]
fn a_killed_spawners_leftovers_are_removed() {
    run(
        |config| config.network = Some(NetworkConfig::default()),
        async |instance| {
            let (link, pids) = populate(&instance).await;
            let spawner = rustix::process::Pid::from_raw(instance.sandbox.facts().pid).unwrap();
            rustix::process::kill_process(spawner, rustix::process::Signal::KILL).unwrap();
            eventually("its end", || !is_alive(spawner.as_raw_pid())).await;
            cleanup::leftovers(&instance.config).unwrap();
            eventually("the containers' end", || !pids.iter().any(|pid| is_alive(*pid))).await;
            assert!(!Machine::look().knows_link(&link));
            assert!(!instance.config.run_dir.exists() && !instance.config.pods_dir.exists());
            cleanup::leftovers(&instance.config).unwrap();
        },
    );
}

#[test]
fn only_one_spawner_per_instance() {
    run(
        |_| {},
        async |instance| {
            let again = launch::start(Path::new(super::harness::FIXTURE), &instance.config);
            assert!(matches!(again, Err(launch::LaunchError::AlreadyRunning(_))), "{again:?}");
            assert!(instance.sandbox.pods().await.is_ok());
        },
    );
}

#[test]
fn a_spawner_that_cannot_start_says_why() {
    run(
        |_| {},
        async |instance| {
            let mut config = instance.config.clone();
            config.instance = cluster_sandbox::spec::InstanceId::try_new(format!("{}-x", config.instance)).unwrap();
            config.run_dir = instance.config.run_dir.join("x".repeat(100));
            let error = launch::start(Path::new(super::harness::FIXTURE), &config).unwrap_err();
            assert!(base_rt::error_chain(&error).contains("107 bytes"), "{error}");
            config.run_dir = format!("/run/{}", config.instance).into();
            config.logs_dir = "/proc/version".into();
            let error = launch::start(Path::new(super::harness::FIXTURE), &config).unwrap_err();
            assert!(base_rt::error_chain(&error).contains("/proc/version"), "{error}");
            cleanup::leftovers(&config).unwrap();
        },
    );
}
