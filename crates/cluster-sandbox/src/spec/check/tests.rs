//! Requests an enemy could write.

use std::path::PathBuf;

use super::super::{ContainerId, LayerName, ListenerName, PodFile, PodId, Protocol, VolumeName};
use super::*;

fn container() -> ContainerSpec {
    ContainerSpec::new(
        PodId::try_new("pod").unwrap(),
        ContainerId::try_new("pod-a-0").unwrap(),
        vec![LayerName::try_new("base").unwrap()],
        vec!["/server".to_owned()],
    )
}

fn mount(target: &str, source: MountSource) -> Mount {
    Mount { target: target.to_owned(), source, sub_path: None, is_read_only: false }
}

fn refused(change: impl FnOnce(&mut ContainerSpec)) -> &'static str {
    let mut spec = container();
    change(&mut spec);
    spec.check().unwrap_err().field
}

#[test]
fn a_plain_container_and_pod_pass() {
    container().check().unwrap();
    PodSpec::new(PodId::try_new("pod").unwrap()).check().unwrap();
}

#[test]
fn containers_are_bounded() {
    assert_eq!(refused(|spec| spec.layers.clear()), "layers");
    assert_eq!(refused(|spec| spec.layers = vec![LayerName::try_new("a").unwrap(); 128]), "layers");
    assert_eq!(refused(|spec| spec.command.clear()), "command");
    assert_eq!(refused(|spec| spec.command = vec![String::new()]), "command");
    assert_eq!(refused(|spec| spec.command.push("a\0b".to_owned())), "command");
    assert_eq!(refused(|spec| spec.command.push("x".repeat(2 << 20))), "command");
    assert_eq!(refused(|spec| spec.env.push(("A=B".to_owned(), String::new()))), "env");
    assert_eq!(refused(|spec| spec.working_dir = "relative".to_owned()), "working_dir");
    assert_eq!(refused(|spec| spec.oom_score_adj = Some(1001)), "oom_score_adj");
    assert_eq!(refused(|spec| spec.stop_signal = 0), "stop_signal");
    assert_eq!(refused(|spec| spec.limits.pids = Some(0)), "limits.pids");
    assert_eq!(refused(|spec| spec.limits.memory_bytes = Some(1)), "limits.memory_bytes");
    for id in [ID_MAX + 1, u32::MAX] {
        assert_eq!(refused(|spec| spec.user.uid = Some(id)), "user.uid");
        assert_eq!(refused(|spec| spec.user.gid = Some(id)), "user.gid");
        assert_eq!(refused(|spec| spec.user.supplementary_groups = vec![1, id]), "user.supplementary_groups");
    }
    assert_eq!(refused(|spec| spec.tag = "x".repeat(TAG_MAX_BYTES + 1)), "tag");
}

#[test]
fn paths_stay_where_they_belong() {
    for path in ["/etc/passwd", "../x", "a/../../x", "", ".", "a\0"] {
        assert_eq!(refused(|spec| spec.log.path = PathBuf::from(path)), "log.path", "{path:?}");
        let source = MountSource::Client(PathBuf::from(path));
        assert_eq!(refused(|spec| spec.mounts.push(mount("/data", source))), "mounts.source", "{path:?}");
    }
    for target in ["", "/", "//", "data", "/proc", "/proc/sys", "//proc/1", "/sys/fs", "/a/../proc", "/./sys"] {
        let refusal = refused(|spec| spec.mounts.push(mount(target, MountSource::Memory { max_bytes: 4096 })));
        assert_eq!(refusal, "mounts.target", "{target:?}");
    }
    let mut escaping = mount("/data", MountSource::Memory { max_bytes: 4096 });
    escaping.sub_path = Some("../..".to_owned());
    assert_eq!(refused(|spec| spec.mounts.push(escaping)), "mounts.sub_path");
}

#[test]
fn capabilities_beyond_the_bound_are_named() {
    let mut spec = container();
    spec.security.capabilities = CapabilitySet::parse(&["SYS_ADMIN".to_owned(), "KILL".to_owned()]).unwrap();
    let refusal = spec.check_capabilities(CapabilitySet::contained()).unwrap_err();
    assert_eq!(refusal.field, "security.capabilities");
    assert!(refusal.reason.contains("SYS_ADMIN") && !refusal.reason.contains("KILL"), "{refusal}");
}

#[test]
fn files_written_from_a_pod_get_no_extra_lines() {
    let mut spec = PodSpec::new(PodId::try_new("pod").unwrap());
    spec.dns.searches.push("a\nnameserver 1.1.1.1".to_owned());
    assert_eq!(spec.check().unwrap_err().field, "dns.searches");
    spec.dns.searches.clear();
    spec.host_aliases.push(super::super::HostAlias { ip: [10, 0, 0, 1].into(), names: vec!["a\nb".to_owned()] });
    assert_eq!(spec.check().unwrap_err().field, "host_aliases");
    spec.host_aliases.clear();
    spec.hostname = "a\nb".to_owned();
    assert_eq!(spec.check().unwrap_err().field, "hostname");
}

#[test]
fn files_are_bounded_and_stay_where_they_belong() {
    let file = PodFile { content: b"x".to_vec(), mode: 0o777, owner: 0 };
    let plain = PodFiles {
        pod: PodId::try_new("pod").unwrap(),
        name: VolumeName::try_new("v").unwrap(),
        group: Some(1),
        files: [("a/..b".to_owned(), file.clone())].into(),
        mount_points: ["c".to_owned()].into(),
    };
    plain.check().unwrap();
    let refused = |change: &dyn Fn(&mut PodFiles)| {
        let mut files = plain.clone();
        change(&mut files);
        files.check().unwrap_err().field
    };
    let deep = "d/".repeat(FILE_DEPTH_MAX) + "e";
    for path in ["", "/a", "../a", "a/../b", "..data", "..", "a\0", &deep] {
        assert_eq!(refused(&|files| _ = files.files.insert(path.to_owned(), file.clone())), "files", "{path:?}");
        assert_eq!(refused(&|files| _ = files.mount_points.insert(path.to_owned())), "mount_points", "{path:?}");
    }
    let of = |change: fn(&mut PodFile)| {
        let mut file = file.clone();
        change(&mut file);
        refused(&|files| _ = files.files.insert("f".to_owned(), file.clone()))
    };
    assert_eq!(of(|file| file.mode = 0o4755), "files.mode");
    assert_eq!(of(|file| file.owner = u32::MAX), "files.owner");
    assert_eq!(of(|file| file.content = vec![0; FILES_MAX_BYTES + 1]), "files");
    assert_eq!(refused(&|files| files.group = Some(u32::MAX)), "group");
    let many = || (0..=FILES_MAX).map(|number| (number.to_string(), file.clone())).collect();
    assert_eq!(refused(&|files| files.files = many()), "files");
}

#[test]
fn the_instance_has_no_wildcard_listener() {
    let mut spec = ListenSpec {
        name: ListenerName::try_new("dns").unwrap(),
        place: Place::Instance,
        address: "0.0.0.0:53".parse().unwrap(),
        protocol: Protocol::Udp,
        sockets: 1,
    };
    assert_eq!(spec.check().unwrap_err().field, "address");
    spec.place = Place::Host;
    spec.check().unwrap();
    spec.sockets = 0;
    assert_eq!(spec.check().unwrap_err().field, "sockets");
}
