//! Containers that take all there is of something. Nobody else is disturbed.

use std::fs;

use cluster_sandbox::spec::{MountSource, PodSpec, PodVolume, VolumeKind};

use super::harness::{Instance, container, eventually, exec, mount, pod_id, run, volume_name};

/// That another container of the instance can do what it always can.
async fn others_go_on(instance: &mut Instance, name: &str) {
    let (said, exit) = instance.output(&container("pod", name, &["children-that-end", "20"])).await;
    assert_eq!((said.as_str(), exit.code), ("20 ended\n", 0));
}

#[test]
fn a_fork_bomb_is_its_own_containers_trouble() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut bomb = container("pod", "bomb", &["fork-bomb"]);
            bomb.limits.pids = Some(64);
            bomb.limits.cpu_limit_millis = Some(500);
            instance.start(&bomb).await;
            eventually("the bound", || instance.said(&bomb).contains("refused")).await;
            others_go_on(&mut instance, "b").await;
            instance.kill(&bomb).await;
            let mut zombies = container("pod", "zombies", &["hoard-zombies"]);
            zombies.limits.pids = Some(64);
            instance.start(&zombies).await;
            eventually("the bound", || instance.said(&zombies).contains("zombies=")).await;
            others_go_on(&mut instance, "c").await;
            instance.kill(&zombies).await;
        },
    );
}

#[test]
fn terminals_and_descriptors_are_bounded_for_each_container() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let hoarders = ["t", "u"].map(|name| container("pod", name, &["hoard-terminals"]));
            for hoarder in &hoarders {
                instance.start(hoarder).await;
                eventually("the bound", || instance.said(hoarder).contains("terminals=")).await;
                let said = instance.said(hoarder);
                assert!(said.starts_with("terminals=256 No space left"), "{said}");
            }
            let descriptors = container("pod", "d", &["hoard-descriptors"]);
            instance.start(&descriptors).await;
            eventually("the bound", || instance.said(&descriptors).contains("Too many open files")).await;
            others_go_on(&mut instance, "b").await;
            let calm = container("pod", "calm", &["sleep"]);
            instance.start(&calm).await;
            let mut joining = exec("calm", "calm-exec", &["/bin/fixture", "self"]);
            joining.has_terminal = true;
            assert!(instance.sandbox.exec(&joining).await.is_ok(), "others have terminals");
            let mut joining = exec("t", "t-exec", &["/bin/fixture", "self"]);
            joining.has_terminal = true;
            assert!(instance.sandbox.exec(&joining).await.is_err(), "who has them all gets no more");
        },
    );
}

#[test]
fn memory_that_looks_like_disk_is_bounded() {
    run(
        |_| {},
        async |mut instance| {
            let mut spec = PodSpec::new(pod_id("pod"));
            spec.network = cluster_sandbox::spec::PodNetwork::Isolated;
            let kind = VolumeKind::Memory { max_bytes: 4 << 20 };
            spec.volumes = vec![PodVolume { name: volume_name("v"), kind, group: None }];
            instance.sandbox.create_pod(&spec).await.unwrap();
            let mounts =
                [("/v", MountSource::Volume(volume_name("v"))), ("/m", MountSource::Memory { max_bytes: 4 << 20 })];
            for (number, (path, most)) in
                [("/v/f", 4), ("/m/f", 4), ("/dev/f", 0), ("/dev/shm/f", 64)].into_iter().enumerate()
            {
                let mut spec = container("pod", &format!("a{number}"), &["fill", path, "100"]);
                spec.mounts.extend(mounts.clone().map(|(target, source)| mount(target, source)));
                let (said, _) = instance.output(&spec).await;
                let full = format!("full after {most}: No space left on device");
                assert!(said.starts_with(&full), "{path}: {said}");
            }
            // Whoever has a limit pays for what it keeps there.
            let mut spec = container("pod", "limited", &["fill", "/dev/shm/f", "60"]);
            spec.limits.memory_bytes = Some(20 << 20);
            let (said, exit) = instance.output(&spec).await;
            assert!(exit.is_oom_killed, "{said}");
        },
    );
}

#[test]
fn a_line_without_an_end_is_cut_and_kept_within_its_files() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let before = instance.sandbox.usage(&[]).await.unwrap().1.pss_bytes.unwrap();
            let mut spec = container("pod", "a", &["flood", "64"]);
            spec.log.path = "flood/a.log".into();
            spec.log.max_bytes = 1 << 20;
            spec.log.max_files = 3;
            let (_, exit) = instance.output(&spec).await;
            assert_eq!(exit.code, 0);
            let after = instance.sandbox.usage(&[]).await.unwrap().1.pss_bytes.unwrap();
            assert!(after < before + (8 << 20), "{before} {after}");
            let files = fs::read_dir(instance.config.logs_dir.join("flood")).unwrap();
            let sizes: Vec<u64> = files.map(|file| file.unwrap().metadata().unwrap().len()).collect();
            let slack = 128 << 10;
            assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= (1 << 20) + slack), "{sizes:?}");
        },
    );
}
