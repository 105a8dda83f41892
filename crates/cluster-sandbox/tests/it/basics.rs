//! A program starts, says something, ends; or does not start, and says why.

use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{ContainerPhase, HostAlias, LayerName, PodNetwork, PodSpec};

use super::harness::{container, container_id, eventually, pod_id, refusal, run};

#[test]
fn a_program_runs_and_its_output_and_exit_are_kept() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let spec = container("pod", "a", &["echo", "hello", "world"]);
            let state = instance.start(&spec).await;
            assert_eq!(state.phase, ContainerPhase::Running);
            let exit = instance.exit(&spec.id).await;
            assert_eq!((exit.code, exit.signal, exit.is_oom_killed), (0, None, false));
            assert_eq!(instance.said(&spec), "hello world\n");
            let spec = container("pod", "b", &["exit", "7"]);
            instance.start(&spec).await;
            assert_eq!(instance.exit(&spec.id).await.code, 7);
            let pods = instance.sandbox.pods().await.unwrap();
            assert_eq!(pods.len(), 1);
            assert!(pods[0].containers.iter().all(|container| matches!(container.phase, ContainerPhase::Exited(_))));
            instance.sandbox.remove_container(&spec.id).await.unwrap();
            assert_eq!(instance.sandbox.pods().await.unwrap()[0].containers.len(), 1);
            instance.sandbox.remove_pod(&pod_id("pod")).await.unwrap();
            assert!(instance.sandbox.pods().await.unwrap().is_empty());
        },
    );
}

#[test]
fn streams_are_told_apart() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let spec = container("pod", "a", &["complain", "oh"]);
            instance.output(&spec).await;
            let log = std::fs::read_to_string(instance.config.logs_dir.join(&spec.log.path)).unwrap();
            assert!(log.contains("Z stderr F oh\n"), "{log}");
        },
    );
}

#[test]
fn a_program_finds_what_the_image_and_the_pod_promise() {
    run(
        |_| {},
        async |mut instance| {
            let mut pod = PodSpec::new(pod_id("pod"));
            pod.network = PodNetwork::Isolated;
            pod.hostname = "the-host".to_owned();
            pod.dns.nameservers.push([10, 0, 0, 10].into());
            pod.dns.searches.push("svc.cluster.local".to_owned());
            pod.dns.options.push("ndots:5".to_owned());
            pod.host_aliases.push(HostAlias { ip: [10, 1, 1, 1].into(), names: vec!["one".into(), "eins".into()] });
            instance.sandbox.create_pod(&pod).await.unwrap();
            let mut spec = container("pod", "a", &["self"]);
            spec.layers.push(LayerName::try_new("upper").unwrap());
            spec.env = vec![("GREETING".into(), "hi there".into())];
            spec.working_dir = "/new/dir".to_owned();
            let facts = instance.described(&spec).await;
            let fact = |name: &str| facts.get(name).map_or("", String::as_str);
            assert_eq!(fact("hostname"), "the-host");
            assert_eq!(fact("cwd"), "/new/dir");
            assert_eq!(fact("env.GREETING"), "hi there");
            assert_eq!(fact("env.HOME"), "/root");
            assert!(fact("env.PATH").contains("/usr/local/bin"));
            assert_eq!(
                facts.keys().filter(|name| name.starts_with("env.")).count(),
                3,
                "nothing of the spawner's environment"
            );
            assert_eq!(fact("NSpid"), "1", "alone in its PID namespace");
            assert_eq!(fact("descriptors"), "3", "nothing leaked");
            assert!(!fact("cgroup").contains("kwick"), "its cgroup namespace hides where it is: {}", fact("cgroup"));
            let mut spec = container(
                "pod",
                "b",
                &["read", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/which", "/proc/self/comm"],
            );
            spec.layers.push(LayerName::try_new("upper").unwrap());
            let (said, _) = instance.output(&spec).await;
            assert_eq!(
                said,
                "/etc/hosts=127.0.0.1\tlocalhost|::1\tlocalhost ip6-localhost ip6-loopback|10.1.1.1\tone\teins\n\
             /etc/resolv.conf=nameserver 10.0.0.10|search svc.cluster.local|options ndots:5\n\
             /etc/hostname=the-host\n/which=upper\n/proc/self/comm=fixture\n"
            );
        },
    );
}

#[test]
fn a_program_that_cannot_start_is_refused_with_the_reason() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            let start = async |change: &dyn Fn(&mut cluster_sandbox::spec::ContainerSpec)| {
                let mut spec = container("pod", "a", &["exit", "0"]);
                change(&mut spec);
                refusal(instance.sandbox.start_container(&spec).await)
            };
            let (code, message) = start(&|spec| spec.command = vec!["missing".into()]).await;
            assert_eq!(
                (code, message.as_str()),
                (RefusalCode::CommandNotFound, "exec: \"missing\": executable file not found in $PATH")
            );
            let (code, message) = start(&|spec| spec.command = vec!["/missing".into()]).await;
            assert_eq!(
                (code, message.as_str()),
                (RefusalCode::CommandNotFound, "exec: \"/missing\": stat /missing: no such file or directory")
            );
            let (code, message) = start(&|spec| spec.command = vec!["/etc/passwd".into()]).await;
            assert_eq!(
                (code, message.as_str()),
                (RefusalCode::CommandNotExecutable, "exec: \"/etc/passwd\": permission denied")
            );
            let (code, message) = start(&|spec| spec.command = vec!["/bin/text".into()]).await;
            assert!(code == RefusalCode::CommandNotExecutable && message.contains("exec format error"), "{message}");
            let (code, message) = start(&|spec| spec.user.image_user = "nobody".into()).await;
            assert_eq!(
                (code, message.as_str()),
                (RefusalCode::BadUser, "unable to find user nobody: no matching entries in passwd file")
            );
            let (code, _) = start(&|spec| spec.user.must_not_be_root = true).await;
            assert_eq!(code, RefusalCode::BadUser);
            let (code, message) = start(&|spec| spec.layers = vec![LayerName::try_new("absent").unwrap()]).await;
            assert!(code == RefusalCode::Failed && message.contains("finding a layer"), "{message}");
            let (code, message) = start(&|spec| spec.pod = pod_id("other")).await;
            assert_eq!((code, message.as_str()), (RefusalCode::NotFound, "there is no pod other"));
            let (code, _) = start(&|spec| spec.working_dir = "relative".into()).await;
            assert_eq!(code, RefusalCode::Invalid);
            // Nothing is left of any of them: the name is free.
            let spec = container("pod", "a", &["exit", "0"]);
            instance.start(&spec).await;
        },
    );
}

#[test]
fn names_are_unique() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            let mut pod = PodSpec::new(pod_id("pod"));
            pod.network = PodNetwork::Isolated;
            assert_eq!(refusal(instance.sandbox.create_pod(&pod).await).0, RefusalCode::Exists);
            let spec = container("pod", "a", &["sleep"]);
            instance.start(&spec).await;
            assert_eq!(refusal(instance.sandbox.start_container(&spec).await).0, RefusalCode::Exists);
            assert_eq!(refusal(instance.sandbox.remove_container(&spec.id).await).0, RefusalCode::Busy);
            assert_eq!(refusal(instance.sandbox.signal(&container_id("b"), 15).await).0, RefusalCode::NotFound);
        },
    );
}

#[test]
fn signals_end_a_container() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let polite = container("pod", "polite", &["until-term", "3"]);
            instance.start(&polite).await;
            eventually("its readiness", || instance.said(&polite).contains("ready")).await;
            instance.sandbox.signal(&polite.id, libc::SIGTERM).await.unwrap();
            let exit = instance.exit(&polite.id).await;
            assert_eq!((exit.code, exit.signal), (3, None));
            assert_eq!(instance.said(&polite), "ready\nterminated\n");
            let killed = container("pod", "killed", &["children", "3"]);
            instance.start(&killed).await;
            eventually("its children", || instance.said(&killed).contains("started 3")).await;
            instance.sandbox.kill(&killed.id).await.unwrap();
            let exit = instance.exit(&killed.id).await;
            assert_eq!((exit.code, exit.signal, exit.is_oom_killed), (137, Some(9), false));
            assert_eq!(refusal(instance.sandbox.signal(&killed.id, 15).await).0, RefusalCode::Busy);
        },
    );
}

#[test]
fn what_a_program_leaves_running_ends_with_it() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let spec = container("pod", "a", &["orphan", "/proc/self/fd/1"]);
            let (_, exit) = instance.output(&spec).await;
            assert_eq!(exit.code, 0);
            eventually("the cgroup's end", || {
                let name = format!("kwick-{}/c-a", instance.config.instance);
                !std::path::Path::new("/sys/fs/cgroup/memory").join(&name).exists()
                    && !std::path::Path::new("/sys/fs/cgroup").join(&name).exists()
            })
            .await;
        },
    );
}
