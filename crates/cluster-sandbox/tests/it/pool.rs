//! Pods that are parked ahead: there in quiet moments, taken by who asks next, and then like any other.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use cluster_sandbox::spec::{Limits, PodNetwork, PodSpec, SpawnerUsage};
use cluster_sandbox::{NetworkConfig, PodHandle, SpawnerConfig, cleanup, launch};
use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Ground, Instance, Machine, PATIENCE, container, eventually, is_root, pod_id, run};

fn parking(count: u8) -> impl FnOnce(&mut SpawnerConfig) {
    move |config| {
        config.network = Some(NetworkConfig::default());
        config.parked_pods = count;
    }
}

async fn usage(instance: &Instance) -> SpawnerUsage {
    instance.sandbox.usage(&[]).await.unwrap().1
}

async fn until_parked(instance: &Instance, count: u64) {
    let all_parked = async {
        loop {
            let parked = usage(instance).await.parked_pods;
            assert!(parked <= count, "{parked} are parked, {count} were asked for");
            if parked == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_parked).await.expect("pods are parked");
}

async fn pod(instance: &Instance, name: &str, change: impl FnOnce(&mut PodSpec)) -> PodHandle {
    let mut spec = PodSpec::new(pod_id(name));
    spec.hostname = "the-host".to_owned();
    change(&mut spec);
    instance.sandbox.create_pod(&spec).await.unwrap_or_else(|error| panic!("{}", base_rt::error_chain(&error)))
}

/// What a container can find out about where it is.
const SEEN: [&str; 30] = [
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc/self/cgroup",
    "/proc/self/gid_map",
    "/proc/self/limits",
    "/proc/self/mountinfo",
    "/proc/self/uid_map",
    "/proc/net/arp",
    "/proc/net/if_inet6",
    "/proc/net/route",
    "/proc/net/tcp",
    "/proc/net/udp",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/msgmax",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/net/ipv4/conf/all/accept_redirects",
    "/proc/sys/net/ipv4/conf/eth0/rp_filter",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/net/ipv4/ping_group_range",
    "/proc/sys/net/ipv6/conf/eth0/disable_ipv6",
    "/sys/class/net/eth0/mtu",
    "/sys/class/net/eth0/operstate",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.shares",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/pids/pids.max",
];
/// What differs from process to process.
const COUNTED: [&str; 5] = ["Vm", "Rss", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches", "SigQ"];

/// All that, with what is the pod's own made the same.
async fn seen(instance: &mut Instance, name: &str, ip: Ipv4Addr) -> BTreeMap<String, String> {
    let limits =
        Limits { memory_bytes: Some(64 << 20), cpu_limit_millis: Some(500), cpu_request_millis: Some(50), pids: None };
    let words: Vec<&str> = ["read"].into_iter().chain(SEEN).collect();
    let mut reads = container(name, &format!("{name}-reads"), &words);
    let mut itself = container(name, &format!("{name}-self"), &["self"]);
    (reads.limits, itself.limits) = (limits, limits);
    let (said, _) = instance.output(&reads).await;
    let mut facts: BTreeMap<String, String> = said
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(path, content)| (path.to_owned(), content.to_owned()))
        .collect();
    let itself = instance.described(&itself).await;
    facts.extend(itself.into_iter().filter(|(name, _)| !COUNTED.iter().any(|counted| name.starts_with(counted))));
    let [.., third, fourth] = ip.octets();
    for (path, content) in &mut facts {
        *content = content.replace(&ip.to_string(), "IP").replace(name, "NAME");
        // The ends of a link are called by the address, too.
        *content = content.replace(&format!(":{third:02x}:{fourth:02x}"), ":MAC");
        if path.ends_with("mountinfo") {
            // Numbers of mounts and of file systems are the machine's.
            *content = content.split(|c: char| c.is_ascii_digit()).collect();
        }
    }
    facts
}

#[test]
fn a_taken_pod_is_like_one_made_then_and_there() {
    run(parking(1), async |mut instance| {
        until_parked(&instance, 1).await;
        // At once, so that no other is parked in between.
        let (taken, made, after) = tokio::join!(
            pod(&instance, "parked-before", |spec| spec.sockets = 2),
            pod(&instance, "made-now", |spec| spec.sockets = 2),
            usage(&instance)
        );
        assert_eq!(after.taken_pods, 1, "one was parked");
        assert_eq!((taken.sockets.len(), made.sockets.len()), (2, 2));
        let of_taken = seen(&mut instance, "parked-before", taken.state.ip.unwrap()).await;
        let of_made = seen(&mut instance, "made-now", made.state.ip.unwrap()).await;
        assert_eq!(of_taken.get("/proc/sys/kernel/hostname").map(String::as_str), Some("the-host"));
        assert!(of_made.len() > SEEN.len(), "{of_made:?}");
        for (what, content) in &of_made {
            assert_eq!(of_taken.get(what), Some(content), "{what}");
        }
        assert_eq!(of_taken.len(), of_made.len());
    });
}

#[test]
fn there_are_never_more_than_asked_for_and_soon_as_many_again() {
    run(parking(2), async |instance| {
        until_parked(&instance, 2).await;
        let (.., after) = tokio::join!(
            pod(&instance, "one", |_| {}),
            pod(&instance, "two", |_| {}),
            pod(&instance, "three", |_| {}),
            usage(&instance)
        );
        assert_eq!((after.parked_pods, after.taken_pods), (0, 2), "a start waits for none");
        until_parked(&instance, 2).await;
        assert_eq!(instance.sandbox.pods().await.unwrap().len(), 3, "nobody is told of them");
    });
}

#[test]
fn what_a_parked_pod_does_not_suit_is_made() {
    run(parking(1), async |instance| {
        until_parked(&instance, 1).await;
        pod(&instance, "alone", |spec| spec.network = PodNetwork::Isolated).await;
        pod(&instance, "users", |spec| spec.has_own_users = true).await;
        let held = pod(&instance, "held", |spec| spec.network = PodNetwork::Instance).await;
        assert_eq!(usage(&instance).await.taken_pods, 0);
        // The addresses follow each other: the parked pod has the first one, those made now the next.
        let first = Ipv4Addr::from_bits(held.state.ip.unwrap().to_bits() - 2);
        let asked = pod(&instance, "asked", |spec| (spec.network, spec.ip) = (PodNetwork::Instance, Some(first))).await;
        assert_eq!(asked.state.ip, Some(first), "a parked pod keeps no address from who asks for it");
        let after = usage(&instance).await;
        assert_eq!((after.parked_pods, after.taken_pods), (0, 0));
    });
}

#[test]
fn who_asks_for_the_address_of_a_parked_pod_takes_it() {
    run(parking(1), async |instance| {
        until_parked(&instance, 1).await;
        let next = pod(&instance, "next", |spec| spec.network = PodNetwork::Instance).await.state.ip.unwrap();
        let first = Ipv4Addr::from_bits(next.to_bits() - 1);
        let taken = pod(&instance, "pod", |spec| spec.ip = Some(first)).await;
        assert_eq!(taken.state.ip, Some(first));
        assert_eq!(usage(&instance).await.taken_pods, 1);
    });
}

#[test]
fn nothing_of_them_is_left_when_the_spawner_is_killed() {
    if !is_root() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ground = Ground::new();
        parking(2)(&mut ground.config);
        let before = Machine::look();
        ground.launch();
        let instance = Instance::connect(ground.config.clone()).await;
        until_parked(&instance, 2).await;
        let (spawner, link) = {
            let facts = instance.sandbox.facts();
            (Pid::from_raw(facts.pid).unwrap(), facts.network.as_ref().unwrap().link.clone())
        };
        kill_process(spawner, Signal::KILL).unwrap();
        eventually("the spawner's end", || !launch::is_running(&ground.config)).await;
        cleanup::leftovers(&ground.config).unwrap();
        Machine::look().assert_same(&before, &ground.config.instance);
        eventually("the link's end", || !Machine::look().knows_link(&link)).await;
    });
}
