//! Pods whose users are their own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use cluster_sandbox::spec::{
    ContainerSpec, MountSource, PodFile, PodFiles, PodNetwork, PodSpec, PodVolume, VolumeKind,
};
use cluster_sandbox::{ExecIo, NetworkConfig};

use super::harness::{Instance, container, eventually, exec, mount, pod_id, run, volume_name};

/// One whom no file of the image names.
const USER: u32 = 5000;
const GROUP: u32 = 777;

async fn pod(instance: &Instance, name: &str, change: impl FnOnce(&mut PodSpec)) {
    let mut spec = PodSpec::new(pod_id(name));
    spec.network = PodNetwork::Isolated;
    spec.has_own_users = true;
    change(&mut spec);
    instance.sandbox.create_pod(&spec).await.unwrap_or_else(|error| panic!("{}", base_rt::error_chain(&error)));
}

/// The user and the group of a process, as the machine has them.
fn outside(pid: i32) -> [u32; 2] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["Uid:", "Gid:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let ids: BTreeSet<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(ids.len(), 1, "{line}");
        *ids.first().unwrap()
    })
}

fn of_user(mut spec: ContainerSpec) -> ContainerSpec {
    spec.user.uid = Some(USER);
    spec
}

#[test]
fn root_inside_is_nobody_outside() {
    run(
        |_| {},
        async |mut instance| {
            let mut firsts = BTreeSet::new();
            for name in ["one", "two"] {
                pod(&instance, name, |_| {}).await;
                let root = container(name, &format!("{name}-root"), &["sleep"]);
                let user = of_user(container(name, &format!("{name}-user"), &["sleep"]));
                let (root_pid, user_pid) = (instance.start(&root).await.pid, instance.start(&user).await.pid);
                let [first, group] = outside(root_pid);
                assert!(first >= PodSpec::OWN_USERS && first == group, "{first} {group}");
                assert_eq!(outside(user_pid), [first + USER, first]);
                firsts.insert(first);
                // Who joins is the same one.
                let joining = exec(root.id.as_str(), &format!("{name}-exec"), &["/bin/fixture", "self"]);
                let ExecIo::Pipes { stdout, .. } = instance.sandbox.exec(&joining).await.unwrap().io else { panic!() };
                let said = std::io::read_to_string(fs::File::from(stdout)).unwrap();
                assert!(said.contains("Uid=0 0 0 0\n") && said.contains("descriptors=3\n"), "{said}");
            }
            assert_eq!(firsts.len(), 2, "each pod has users of its own");
            let facts = instance.described(&container("one", "facts", &["self"])).await;
            assert_eq!((facts["Uid"].as_str(), facts["Groups"].as_str()), ("0 0 0 0", ""));
            for (set, bits) in [("CapEff", 0xa804_25fb_u64), ("CapPrm", 0xa804_25fb), ("CapBnd", 0xa804_25fb)] {
                assert_eq!(u64::from_str_radix(&facts[set], 16).unwrap(), bits, "{set}");
            }
            let (said, _) = instance.output(&container("one", "calls", &["try-calls"])).await;
            for line in said.lines() {
                assert!(line.ends_with("=EPERM") || line.ends_with("=ENOSYS"), "{line}");
            }
            let paths = ["try-writing", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"];
            let (said, _) = instance.output(&container("one", "writing", &paths)).await;
            assert!(!said.contains("opened"), "{said}");
            // Users go back with their pod.
            for name in ["one", "two"] {
                instance.sandbox.remove_pod(&pod_id(name)).await.unwrap();
            }
            pod(&instance, "three", |_| {}).await;
            let again = instance.start(&container("three", "three", &["sleep"])).await.pid;
            assert!(firsts.contains(&outside(again)[0]));
        },
    );
}

#[test]
fn what_is_theirs_inside_is_as_others_have_it_on_the_disk() {
    run(
        |_| {},
        async |mut instance| {
            let kinds = [("disk", VolumeKind::Disk), ("memory", VolumeKind::Memory { max_bytes: 1 << 20 })];
            pod(&instance, "pod", |spec| {
                spec.shared_memory = true;
                let volume = |(name, kind)| PodVolume { name: volume_name(name), kind, group: Some(GROUP) };
                spec.volumes = kinds.map(volume).into();
            })
            .await;
            let secret = PodFile { content: b"x".to_vec(), mode: 0o400, owner: USER };
            let files = [("secret".to_owned(), secret)].into();
            let name = volume_name("files");
            let wanted = PodFiles { pod: pod_id("pod"), name, group: None, files, mount_points: [].into() };
            instance.sandbox.write_files(wanted).await.unwrap();
            let mut number = 0;
            let mut say = async |words: &[&str], is_root: bool| {
                number += 1;
                let spec = container("pod", &format!("a{number}"), words);
                let mut spec = if is_root { spec } else { of_user(spec) };
                for name in ["disk", "memory"] {
                    spec.mounts.push(mount(&format!("/{name}"), MountSource::Volume(volume_name(name))));
                }
                // Inside of what shows other users than the disk has.
                for (path, name) in [("/disk/deep", "memory"), ("/dev/deep", "disk")] {
                    spec.mounts.push(mount(path, MountSource::Volume(volume_name(name))));
                }
                spec.mounts.push(mount("/files", MountSource::Files(volume_name("files"))));
                spec.working_dir = "/made/here".to_owned();
                instance.output(&spec).await.0
            };
            for (path, owners) in [
                ("/bin/fixture", "755 0 0"),
                ("/tmp", "1777 0 0"),
                ("/made/here", "755 0 0"),
                ("/etc/hosts", "644 0 0"),
                ("/dev", "755 0 0"),
                ("/disk", "2777 0 777"),
                ("/memory", "3777 0 777"),
                ("/disk/deep", "3777 0 777"),
                ("/dev/deep", "2777 0 777"),
                ("/files/secret", "400 5000 0"),
            ] {
                assert_eq!(say(&["stat", path], true).await, format!("{owners}\n"), "{path}");
            }
            for path in ["/file", "/made/here/file", "/etc/hosts", "/dev/shm/file", "/disk/root", "/memory/file"] {
                assert_eq!(say(&["write", path, "x"], true).await, "", "{path}");
            }
            for path in ["/tmp/file", "/disk/user"] {
                assert_eq!(say(&["write", path, "x"], false).await, "", "{path}");
            }
            assert!(say(&["write", "/file", "x"], false).await.contains("Permission denied"));
            assert_eq!(say(&["read", "/files/secret"], false).await, "/files/secret=x\n");
            let data = instance.config.pods_dir.join("pod/volume-disk");
            for (name, owner) in [("root", 0), ("user", USER)] {
                let found = fs::metadata(data.join(name)).unwrap();
                assert_eq!((found.uid(), found.gid()), (owner, GROUP), "{name}");
            }
        },
    );
}

#[test]
fn they_have_a_network_and_terminals() {
    run(
        |config| config.network = Some(NetworkConfig::default()),
        async |mut instance| {
            pod(&instance, "server", |spec| spec.network = PodNetwork::Own).await;
            instance.sandbox.create_pod(&PodSpec::new(pod_id("client"))).await.unwrap();
            let pods = instance.sandbox.pods().await.unwrap();
            let ip = pods.iter().find(|pod| pod.id == pod_id("server")).unwrap().ip.unwrap();
            instance.start(&of_user(container("server", "s", &["serve", "80"]))).await;
            let mut number = 0;
            loop {
                number += 1;
                let asking = container("client", &format!("c{number}"), &["get", &format!("{ip}:80")]);
                match instance.output(&asking).await {
                    (said, exit) if exit.code == 0 => break assert_eq!(said, "hello\n"),
                    (said, _) => assert!(said.contains("Connection refused"), "{said}"),
                }
            }
            let mut terminal = container("server", "t", &["converse"]);
            terminal.has_terminal = true;
            instance.start(&terminal).await;
            eventually("its word", || instance.said(&terminal).contains("input=/dev/pts/0 ?")).await;
        },
    );
}
