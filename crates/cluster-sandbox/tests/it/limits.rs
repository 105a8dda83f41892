//! Memory, processes, processor time.

use cluster_sandbox::spec::Limits;

use super::harness::{container, eventually, run};

#[test]
fn too_much_memory_is_told_as_such() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["allocate", "200"]);
            spec.limits.memory_bytes = Some(40 << 20);
            let (said, exit) = instance.output(&spec).await;
            assert_eq!((exit.code, exit.signal, exit.is_oom_killed), (137, Some(9), true), "{said}");
            let mut spec = container("pod", "b", &["allocate", "10"]);
            spec.limits.memory_bytes = Some(40 << 20);
            let (said, exit) = instance.output(&spec).await;
            assert_eq!((said.as_str(), exit.code, exit.is_oom_killed), ("allocated 10\n", 0, false));
        },
    );
}

#[test]
fn processes_are_counted() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["children", "20"]);
            spec.limits.pids = Some(8);
            instance.start(&spec).await;
            eventually("the refusal", || instance.said(&spec).contains("started")).await;
            let said = instance.said(&spec);
            assert!(said.contains("refused after") && !said.contains("started 20"), "{said}");
            let (usage, spawner) = instance.sandbox.usage(&[spec.id.clone()]).await.unwrap();
            let usage = &usage[0].1;
            assert!(usage.pids.is_some_and(|pids| (2..=8).contains(&pids)), "{usage:?}");
            assert!(
                usage.cpu_usec > Some(0)
                    && usage.memory_bytes > Some(0)
                    && usage.working_set_bytes <= usage.memory_bytes,
                "{usage:?}"
            );
            assert!(spawner.pss_bytes.is_some_and(|bytes| bytes > 0) && spawner.descriptors > 3);
        },
    );
}

#[test]
fn processes_without_end_come_to_one() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let (said, exit) = instance.output(&container("pod", "a", &["threads", "20000"])).await;
            assert_eq!(exit.code, 0, "{said}");
            let made = said.trim().strip_prefix("refused after ").and_then(|count| count.parse::<u32>().ok());
            assert!(made.is_some_and(|count| (4000..4096).contains(&count)), "{said}");
        },
    );
}

#[test]
fn a_container_sees_its_own_limits() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let files = [
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us",
                "/sys/fs/cgroup/cpu.max",
            ];
            let words: Vec<&str> = ["read"].into_iter().chain(files).collect();
            let mut spec = container("pod", "a", &words);
            spec.limits = Limits {
                memory_bytes: Some(64 << 20),
                cpu_limit_millis: Some(250),
                cpu_request_millis: Some(100),
                pids: Some(100),
            };
            let (said, _) = instance.output(&spec).await;
            assert!(said.contains("=67108864\n"), "{said}");
            assert!(said.contains("=25000\n") || said.contains("=25000 100000\n"), "{said}");
        },
    );
}
