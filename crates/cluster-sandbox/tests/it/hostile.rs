//! Containers that try to leave, to act on the machine, or to look into others.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use cluster_sandbox::spec::{
    ContainerSpec, LayerName, Mount, MountSource, PodListener, PodSpec, PodVolume, Protocol, VolumeKind,
};
use cluster_sandbox::{ExecIo, NetworkConfig, RefusalCode};

use super::harness::{PATIENCE, container, eventually, exec, listener_name, mount, pod_id, refusal, run, volume_name};

/// With the layer `upper` on top, where a test puts what its image holds.
fn of_upper(mut spec: ContainerSpec) -> ContainerSpec {
    spec.layers.push(LayerName::try_new("upper").unwrap());
    spec
}

#[test]
fn calls_that_lead_out_are_refused() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let (said, exit) = instance.output(&container("pod", "a", &["try-calls"])).await;
            assert_eq!((exit.code, said.lines().count()), (0, 34), "{said}");
            for line in said.lines() {
                assert!(line.ends_with("=EPERM") || line.ends_with("=ENOSYS"), "{line}");
            }
        },
    );
}

#[test]
fn files_that_act_on_the_machine_cannot_be_written() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let paths = [
                "/proc/sysrq-trigger",
                "/proc/sys/kernel/core_pattern",
                "/proc/sys/kernel/modprobe",
                "/proc/sys/kernel/hotplug",
                "/proc/sys/vm/drop_caches",
                "/proc/sys/fs/binfmt_misc/register",
                "/proc/sys/net/ipv4/ip_forward",
                "/proc/irq/default_smp_affinity",
                "/proc/1/root/proc/sys/kernel/core_pattern",
                "/sys/kernel/uevent_helper",
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "/sys/power/state",
                "/sys/fs/cgroup/cgroup.procs",
                "/sys/fs/cgroup/release_agent",
                "/sys/fs/cgroup/memory/release_agent",
                "/sys/fs/cgroup/memory/notify_on_release",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/pids/pids.max",
                "/sys/fs/cgroup/pids.max",
                "/sys/fs/cgroup/devices/devices.allow",
            ];
            let words: Vec<&str> = ["try-writing"].into_iter().chain(paths).collect();
            let (said, _) = instance.output(&container("pod", "a", &words)).await;
            assert_eq!(said.lines().count(), paths.len(), "{said}");
            for line in said.lines() {
                assert!(line.contains("Read-only file system") || line.contains("No such file"), "{line}");
            }
            assert!(said.contains("core_pattern=Read-only"), "{said}");
        },
    );
}

/// CVE-2019-5736: an image whose program is whoever executes it.
#[test]
fn the_spawners_program_cannot_be_written_by_what_it_becomes() {
    run(
        |_| {},
        async |mut instance| {
            let layer = instance.config.layers_dir.join("upper/fs");
            symlink("/proc/self/exe", layer.join("self")).unwrap();
            instance.isolated_pod("pod").await;
            let before = fs::read(super::harness::FIXTURE).unwrap();
            let mut spec = of_upper(container("pod", "a", &[]));
            spec.command = ["/self", "try-writing", "/proc/self/exe"].map(str::to_owned).into();
            let (said, _) = instance.output(&spec).await;
            assert_eq!(said, "/proc/self/exe=Text file busy (os error 26)\n");
            assert!(fs::read(super::harness::FIXTURE).unwrap() == before);
            // It is not always busy: what counts is where it was executed from.
            let mut spec = of_upper(container("pod", "b", &[]));
            spec.command = ["/self", "mounted", "/proc/self/exe"].map(str::to_owned).into();
            assert_eq!(instance.output(&spec).await.0, "read-only\n");
            let own = container("pod", "c", &["mounted", "/proc/self/exe"]);
            assert_eq!(instance.output(&own).await.0, "writable\n", "an image's own program is its own");
        },
    );
}

/// CVE-2024-21626: a working directory by a descriptor that the runtime has left open.
#[test]
fn a_working_directory_is_in_the_container() {
    run(
        |_| {},
        async |mut instance| {
            let layer = instance.config.layers_dir.join("upper/fs");
            for number in 3..40 {
                symlink(format!("/proc/self/fd/{number}"), layer.join(format!("fd{number}"))).unwrap();
            }
            instance.isolated_pod("pod").await;
            let mut wanted: Vec<String> = (3..40).map(|number| format!("/fd{number}")).collect();
            wanted.extend((3..40).map(|number| format!("/proc/self/fd/{number}")));
            symlink("/", layer.join("stays")).unwrap();
            wanted.extend(["/proc/1/cwd", "/stays"].map(str::to_owned));
            for up in ["/proc/self/fd/3/../../..", "/tmp/../../.."] {
                let mut spec = of_upper(container("pod", "up", &["list", "."]));
                spec.working_dir = up.to_owned();
                assert_eq!(refusal(instance.sandbox.start_container(&spec).await).0, RefusalCode::Invalid, "{up}");
            }
            let mut entered = Vec::new();
            for (number, directory) in wanted.into_iter().enumerate() {
                let mut spec = of_upper(container("pod", &format!("a{number}"), &["list", "."]));
                spec.working_dir = directory.clone();
                let started = instance.sandbox.start_container(&spec).await;
                if started.is_err() {
                    let (code, message) = refusal(started);
                    let is_the_reason = message.contains(&format!("the working directory {directory:?}: "));
                    assert!(code == RefusalCode::Failed && is_the_reason, "{directory}: {message}");
                    continue;
                }
                let exit = instance.exit(&spec.id).await;
                let said = instance.said(&spec);
                assert!(exit.code == 0 && is_own_root(&said), "{directory}: {said}");
                entered.push(directory);
            }
            assert_eq!(entered, ["/stays"], "what leads out leads nowhere, what stays in is entered");
            // A directory that is changed while the container runs, for who comes later.
            let mut spec = of_upper(container("pod", "running", &["sleep"]));
            spec.working_dir = "/tmp/work".into();
            let state = instance.start(&spec).await;
            let root = format!("/proc/{}/root", state.pid);
            fs::remove_dir(format!("{root}/tmp/work")).unwrap();
            let descriptors = (3..40).map(|number| format!("/proc/self/fd/{number}"));
            for (number, target) in ["/".to_owned()].into_iter().chain(descriptors).enumerate() {
                symlink(&target, format!("{root}/tmp/work")).unwrap();
                let joining = exec("running", &format!("e{number}"), &["/bin/fixture", "list", "."]);
                match instance.sandbox.exec(&joining).await {
                    Ok(handle) => {
                        let ExecIo::Pipes { stdout, .. } = handle.io else { panic!("it has a terminal") };
                        let said = std::io::read_to_string(fs::File::from(stdout)).unwrap();
                        assert!(is_own_root(&said), "{target}: {said}");
                        entered.push(target);
                    }
                    refused => {
                        let (code, message) = refusal(refused);
                        let is_the_reason = message.starts_with("entering the working directory \"/tmp/work\": ");
                        assert!(code == RefusalCode::Failed && is_the_reason, "{target}: {message}");
                    }
                }
                fs::remove_file(format!("{root}/tmp/work")).unwrap();
            }
            assert!(entered.contains(&"/".to_owned()), "who joins enters what stays in: {entered:?}");
        },
    );
}

/// Whether a listing is of the root that a test's image has.
fn is_own_root(listing: &str) -> bool {
    ["bin", "fd3", "which"].iter().all(|name| listing.split_whitespace().any(|listed| listed == *name))
}

/// What an image says about users, and what it puts where the kernel's file systems belong.
#[test]
fn a_hostile_root_is_no_more_than_a_bad_one() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let layer = instance.config.layers_dir.join("upper/fs");
            let passwd = layer.join("etc/passwd");
            fs::create_dir_all(layer.join("etc")).unwrap();
            let mut number = 0;
            let mut try_user = async |user: &str| {
                number += 1;
                let mut spec = of_upper(container("pod", &format!("u{number}"), &["self"]));
                spec.user.image_user = user.into();
                match instance.sandbox.start_container(&spec).await {
                    Err(error) => Err(base_rt::error_chain(&error)),
                    Ok(_) => {
                        let exit = instance.exit(&spec.id).await;
                        assert_eq!(exit.code, 0);
                        let said = instance.said(&spec);
                        Ok(said.lines().find(|line| line.starts_with("Uid=")).unwrap().to_owned())
                    }
                }
            };
            // Nobody writes into this pipe: whoever waited would wait for ever.
            rustix::fs::mknodat(rustix::fs::CWD, &passwd, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
            assert!(try_user("web").await.unwrap_err().contains("unable to find user web"));
            fs::remove_file(&passwd).unwrap();
            for target in ["/proc/self/environ", "/dev/zero", "/etc/passwd", "../../../../etc/passwd"] {
                symlink(target, &passwd).unwrap();
                assert!(try_user("daemon").await.is_err(), "{target}");
                fs::remove_file(&passwd).unwrap();
            }
            let endless = fs::File::create(&passwd).unwrap();
            endless.set_len(1 << 40).unwrap();
            assert!(try_user("web").await.is_err());
            let lies = "a:x:4294967295:0::/:\nb:x:-1:0::/:\nc:x:99999999999999999999:0::/:\nd:x\n:::::\ne:x:7:8::/:\n";
            fs::write(&passwd, lies).unwrap();
            for user in ["a", "b", "c", "d"] {
                assert!(try_user(user).await.is_err(), "{user}");
            }
            assert_eq!(try_user("e").await.unwrap(), "Uid=7 7 7 7");
            assert!(try_user("4294967295").await.is_err());
            for (place, target) in [("proc", "/tmp"), ("sys", "/"), ("dev", "/../../dev")] {
                symlink(target, layer.join(place)).unwrap();
                let spec = of_upper(container("pod", &format!("p-{place}"), &["try-writing", "/proc/sysrq-trigger"]));
                // It starts in a strange root or not at all.
                if instance.sandbox.start_container(&spec).await.is_ok() {
                    instance.exit(&spec.id).await;
                    assert!(!instance.said(&spec).contains("opened"), "{place}");
                }
                fs::remove_file(layer.join(place)).unwrap();
            }
        },
    );
}

/// CVE-2017-1002101, CVE-2021-25741: what is a directory when it is looked at is a link when it is mounted.
#[test]
fn a_part_of_a_volume_that_moves_shows_nothing_else() {
    run(
        |_| {},
        async |mut instance| {
            let mut spec = PodSpec::new(pod_id("pod"));
            spec.network = cluster_sandbox::spec::PodNetwork::Isolated;
            spec.volumes = vec![PodVolume { name: volume_name("v"), kind: VolumeKind::Disk, group: None }];
            instance.sandbox.create_pod(&spec).await.unwrap();
            let volume = || mount("/v", MountSource::Volume(volume_name("v")));
            let mut flipping = container("pod", "flipping", &["flip", "/v"]);
            flipping.mounts.push(volume());
            instance.start(&flipping).await;
            eventually("the flipping", || instance.said(&flipping).contains("flipping")).await;
            // What keeps still is the one or the other; what does not is one of them each time.
            let data = instance.config.pods_dir.join("pod/volume-v");
            fs::create_dir_all(data.join("directory/inside")).unwrap();
            symlink("/", data.join("link")).unwrap();
            let mut show = async |number: usize, path: &str| {
                let mut spec = container("pod", &format!("r{number}"), &["list", "/v"]);
                spec.mounts.push(Mount { sub_path: Some(path.into()), ..volume() });
                let started = instance.sandbox.start_container(&spec).await;
                if started.is_err() {
                    return refusal(started).1;
                }
                instance.exit(&spec.id).await;
                instance.said(&spec)
            };
            let (shown, refused) = (show(0, "directory").await, show(1, "link").await);
            assert_eq!(shown, "inside\n");
            assert!(refused.starts_with("mounting /v: source: "), "{refused}");
            for number in 2..60 {
                let met = show(number, "name").await;
                assert!(met == shown || met == refused, "{met}");
            }
            for path in ["..", "name/../..", "../../../../etc"] {
                let mut spec = container("pod", "up", &["list", "/v"]);
                spec.mounts.push(Mount { sub_path: Some(path.into()), ..volume() });
                assert_eq!(refusal(instance.sandbox.start_container(&spec).await).0, RefusalCode::Invalid, "{path}");
            }
            instance.kill(&flipping).await;
        },
    );
}

#[test]
fn sockets_of_the_machine_and_of_neighbours_are_not_there() {
    run(
        |config| config.network = Some(NetworkConfig::default()),
        async |mut instance| {
            let name = format!("hostile-{}", std::process::id());
            let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
            let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = loopback.local_addr().unwrap().port();
            instance.sandbox.create_pod(&PodSpec::new(pod_id("pod"))).await.unwrap();
            let (said, _) = instance.output(&container("pod", "abstract", &["call-abstract", &name])).await;
            assert_eq!(said, "call: Connection refused (os error 111)\n");
            let (_, exit) = instance.output(&container("pod", "tcp", &["get", &format!("127.0.0.1:{port}")])).await;
            assert_eq!(exit.code, 99);
            let socket = instance.config.socket_path();
            let (said, _) = instance.output(&container("pod", "stat", &["stat", socket.to_str().unwrap()])).await;
            assert!(said.contains("No such file"), "{said}");
            let (said, _) = instance.output(&container("pod", "unix", &["read", "/proc/net/unix"])).await;
            assert!(!said.contains(&name) && !said.contains("/run/"), "{said}");
        },
    );
}

#[test]
fn a_neighbours_address_cannot_be_taken() {
    run(
        |config| config.network = Some(NetworkConfig::default()),
        async |mut instance| {
            let victim = instance.sandbox.create_pod(&PodSpec::new(pod_id("victim"))).await.unwrap();
            let ip = victim.state.ip.unwrap().to_string();
            for name in ["client", "attacker"] {
                instance.sandbox.create_pod(&PodSpec::new(pod_id(name))).await.unwrap();
            }
            instance.start(&container("victim", "server", &["serve", "80"])).await;
            let attacker = container("attacker", "attacker", &["impersonate", &ip]);
            instance.start(&attacker).await;
            eventually("the attack", || instance.said(&attacker).contains("impersonating")).await;
            for number in 0..20 {
                let asking = container("client", &format!("c{number}"), &["get", &format!("{ip}:80")]);
                assert_eq!(instance.output(&asking).await.0, "hello\n");
            }
            let said = instance.said(&attacker);
            assert_eq!(said, "impersonating\n", "it hears nothing that is not for it");
            // The instance itself is not led astray either.
            let bridge = instance.sandbox.facts().network.clone().unwrap().bridge_ip;
            let asking = container("client", "last", &["get", &format!("{bridge}:80")]);
            let asked = tokio::time::timeout(PATIENCE, instance.output(&asking)).await.unwrap();
            assert_eq!(asked.1.code, 99, "nobody listens there");
            instance.sandbox.down(Duration::ZERO).await.unwrap();
        },
    );
}

#[test]
fn nobody_sends_in_anothers_name() {
    run(
        |config| config.network = Some(NetworkConfig::default()),
        async |mut instance| {
            let mut spec = PodSpec::new(pod_id("target"));
            spec.listeners = vec![PodListener { name: listener_name("l"), port: 53, protocol: Protocol::Udp }];
            let mut target = instance.sandbox.create_pod(&spec).await.unwrap();
            let neighbour = instance.sandbox.create_pod(&PodSpec::new(pod_id("neighbour"))).await.unwrap();
            let forger = instance.sandbox.create_pod(&PodSpec::new(pod_id("forger"))).await.unwrap();
            let facts = instance.sandbox.facts().network.clone().unwrap();
            let service = Ipv4Addr::from_bits(facts.ranges.services.0.to_bits() + 10);
            let nobody = Ipv4Addr::from_bits(facts.ranges.pods.0.to_bits() + 999);
            let outside = Ipv4Addr::new(192, 0, 2, 1);
            let own = forger.state.ip.unwrap();
            let others = [neighbour.state.ip.unwrap(), target.state.ip.unwrap(), facts.bridge_ip, facts.host_ip];
            let heard = UdpSocket::from(target.listeners.remove(0));
            heard.set_nonblocking(false).unwrap();
            heard.set_read_timeout(Some(PATIENCE)).unwrap();
            let hear = || {
                let mut text = [0; 100];
                let (count, sender) = heard.recv_from(&mut text).unwrap();
                (String::from_utf8_lossy(&text[..count]).into_owned(), sender.ip())
            };
            // In its own name it may send as it likes.
            let senders = others.into_iter().chain([service, nobody, outside, own]).map(|ip| ip.to_string());
            let senders: Vec<String> = senders.collect();
            let to = format!("{}:53", target.state.ip.unwrap());
            let words: Vec<&str> = ["forge", &to].into_iter().chain(senders.iter().map(String::as_str)).collect();
            let (said, exit) = instance.output(&container("forger", "a", &words)).await;
            assert_eq!(exit.code, 0, "{said}");
            assert_eq!(hear(), (own.to_string(), own.into()));
            assert_eq!(hear(), ("itself".to_owned(), own.into()));
        },
    );
}
