//! What a container's program is, may see and may do.

use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{CapabilitySet, MountSource, Rlimit, RlimitKind, Seccomp, UserSpec};

use super::harness::{container, mount, refusal, run};

#[test]
fn root_in_a_container_has_the_default_capabilities_and_a_filter() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let facts = instance.described(&container("pod", "a", &["self"])).await;
            assert_eq!(facts["Uid"], "0 0 0 0");
            assert_eq!(facts["Groups"], "");
            for (set, bits) in [
                ("CapEff", 0xa804_25fb_u64),
                ("CapPrm", 0xa804_25fb),
                ("CapBnd", 0xa804_25fb),
                ("CapInh", 0),
                ("CapAmb", 0),
            ] {
                assert_eq!(u64::from_str_radix(&facts[set], 16).unwrap(), bits, "{set}");
            }
            assert_eq!((facts["Seccomp"].as_str(), facts["Seccomp_filters"].as_str()), ("2", "1"));
            assert_eq!(facts["NoNewPrivs"], "0");
            assert_eq!(
                (facts["SigIgn"].as_str(), facts["SigBlk"].as_str()),
                ("0000000000001000", "0000000000000000"),
                "only what Rust's runtime sets itself"
            );
        },
    );
}

#[test]
fn a_user_of_the_image_has_no_capabilities() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["self"]);
            spec.user = UserSpec { image_user: "web".into(), supplementary_groups: vec![77], ..UserSpec::default() };
            spec.security.no_new_privileges = true;
            let facts = instance.described(&spec).await;
            assert_eq!((facts["Uid"].as_str(), facts["Gid"].as_str()), ("4242 4242 4242 4242", "4343 4343 4343 4343"));
            assert_eq!(facts["Groups"], "77 4444");
            assert_eq!(facts["CapEff"], "0000000000000000");
            assert_eq!(facts["CapPrm"], "0000000000000000");
            assert_eq!(facts["CapBnd"], "00000000a80425fb");
            assert_eq!((facts["NoNewPrivs"].as_str(), facts["Seccomp"].as_str()), ("1", "2"));
            assert_eq!(facts["env.HOME"], "/srv");
            // It may open its own output.
            let mut spec = container("pod", "b", &["write", "/dev/stdout", "by path"]);
            spec.user.uid = Some(12345);
            let (said, exit) = instance.output(&spec).await;
            assert_eq!((said.as_str(), exit.code), ("by path\n", 0));
        },
    );
}

#[test]
fn capabilities_are_adjusted_within_the_bound() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["self"]);
            spec.security.capabilities = CapabilitySet::adjusted(&["NET_ADMIN".into()], &["ALL".into()]).unwrap();
            let facts = instance.described(&spec).await;
            assert_eq!(facts["CapEff"], "0000000000001000");
            assert_eq!(facts["CapBnd"], "0000000000001000");
            let one_more = CapabilitySet::adjusted(&["SYS_ADMIN".into()], &[]).unwrap();
            for (capabilities, words) in [(one_more, "SYS_ADMIN"), (CapabilitySet::ALL, "a privileged container")] {
                let mut spec = container("pod", "b", &["self"]);
                spec.security.capabilities = capabilities;
                let (code, message) = refusal(instance.sandbox.start_container(&spec).await);
                assert!(code == RefusalCode::Invalid && message.contains(words), "{message}");
            }
            let mut spec = container("pod", "c", &["self"]);
            spec.security.seccomp = Seccomp::Unconfined;
            assert_eq!(instance.described(&spec).await["Seccomp"], "0");
        },
    );
}

#[test]
fn the_kernel_is_out_of_reach() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let paths = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/version"];
            let words: Vec<&str> = ["read"].into_iter().chain(paths).collect();
            let (said, _) = instance.output(&container("pod", "masked", &words)).await;
            for path in &paths[..4] {
                assert!(
                    said.contains(&format!("{path}=\n")) || said.contains(&format!("{path}=error: No such file")),
                    "{said}"
                );
            }
            assert!(said.contains("/proc/version=Linux"), "{said}");
            for (name, path) in [
                ("sysctl", "/proc/sys/kernel/hostname"),
                ("sysrq", "/proc/sysrq-trigger"),
                ("sysfs", "/sys/kernel/rcu_expedited"),
            ] {
                let (said, exit) = instance.output(&container("pod", name, &["write", path, "x"])).await;
                // Kernels without the trigger have nothing to protect.
                let is_refused = said.contains("Read-only file system") || said.contains("No such file");
                assert!(exit.code == 99 && is_refused, "{path}: {said}");
            }
            let (said, _) = instance.output(&container("pod", "firmware", &["list", "/sys/firmware"])).await;
            assert_eq!(said, "\n");
            let mut bare = container("pod", "bare", &["list", "/sys/firmware"]);
            bare.security.is_proc_masked = false;
            let (said, _) = instance.output(&bare).await;
            assert_ne!(said, "\n");
            let (said, _) = instance.output(&container("pod", "mounts", &["read", "/proc/mounts"])).await;
            assert!(said.contains("|proc /proc/sys proc ro,"), "{said}");
            let (said, _) = instance.output(&container("pod", "mount", &["mount"])).await;
            assert!(said.contains("mount: Err(Os { code: 1"), "{said}");
            let (said, _) =
                instance.output(&container("pod", "cgroup", &["write", "/sys/fs/cgroup/cgroup.procs", "1"])).await;
            assert!(said.contains("Read-only file system"), "{said}");
        },
    );
}

#[test]
fn device_nodes_open_nothing() {
    run(
        |_| {},
        async |mut instance| {
            let mut pod = cluster_sandbox::spec::PodSpec::new(super::harness::pod_id("pod"));
            pod.network = cluster_sandbox::spec::PodNetwork::Isolated;
            let volume = super::harness::volume_name("v");
            let kind = cluster_sandbox::spec::VolumeKind::Disk;
            pod.volumes.push(cluster_sandbox::spec::PodVolume { name: volume.clone(), kind, group: None });
            instance.sandbox.create_pod(&pod).await.unwrap();
            for (number, path) in
                ["/mem", "/dev/mem", "/dev/shm/mem", "/data/mem", "/memory/mem"].into_iter().enumerate()
            {
                // 1:1 is the machine's memory.
                let mut spec = container("pod", &format!("a{number}"), &["open-device", path, "1", "1"]);
                spec.mounts.push(mount("/data", MountSource::Volume(volume.clone())));
                spec.mounts.push(mount("/memory", MountSource::Memory { max_bytes: 1 << 20 }));
                let (said, exit) = instance.output(&spec).await;
                assert!(exit.code == 0 && said.contains("open: error: Permission denied"), "{path}: {said}");
            }
            let (said, _) = instance.output(&container("pod", "usual", &["list", "/dev"])).await;
            assert_eq!(said, "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n");
            let (said, exit) = instance.output(&container("pod", "null", &["write", "/dev/null", "x"])).await;
            assert_eq!((said.as_str(), exit.code), ("", 0));
        },
    );
}

#[test]
fn a_read_only_root_has_writable_mounts() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let start = |name: &str, path: &str| {
                let mut spec = container("pod", name, &["write", path, "x"]);
                spec.security.is_root_read_only = true;
                spec.mounts.push(mount("/scratch", MountSource::Memory { max_bytes: 1 << 20 }));
                spec
            };
            let (said, _) = instance.output(&start("a", "/file")).await;
            assert!(said.contains("Read-only file system"), "{said}");
            assert_eq!(instance.output(&start("b", "/scratch/file")).await.1.code, 0);
            assert_eq!(instance.output(&start("c", "/dev/shm/file")).await.1.code, 0);
        },
    );
}

#[test]
fn process_limits_are_set_as_far_as_the_machine_allows() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["self"]);
            spec.rlimits = vec![Rlimit { kind: RlimitKind::OpenFiles, soft: 100, hard: 200 }];
            spec.oom_score_adj = Some(1000);
            let facts = instance.described(&spec).await;
            assert_eq!((facts["nofile"].as_str(), facts["oom_score_adj"].as_str()), ("100 200 files", "1000"));
            let mut spec = container("pod", "b", &["self"]);
            spec.rlimits = vec![Rlimit { kind: RlimitKind::OpenFiles, soft: u64::MAX / 2, hard: u64::MAX / 2 }];
            spec.oom_score_adj = Some(-997);
            // Whether or not this machine allows them, the container starts.
            instance.described(&spec).await;
        },
    );
}
