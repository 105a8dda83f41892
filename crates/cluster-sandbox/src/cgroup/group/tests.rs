//! Groups in plain directories: which files are written, on machines other than this one. (Real groups are in the integration tests.)

use super::super::layout::{Hierarchy, Unified};
use super::*;

fn instance() -> InstanceId {
    InstanceId::try_new("one").unwrap()
}

fn limits() -> Limits {
    Limits { memory_bytes: Some(1 << 20), cpu_limit_millis: Some(500), cpu_request_millis: None, pids: Some(9) }
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_unified_host_gets_everything_in_one_tree() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("cgroup.subtree_control"), "memory\n").unwrap();
    let controllers = ["memory", "cpu", "pids"].map(str::to_owned).to_vec();
    let layout = Layout { v1: vec![], v2: Some(Unified { mount: tree.path().into(), controllers }) };
    let mut notices = Vec::new();
    let root = Root::create(&layout, &instance(), &mut notices).unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let group = root.group(&ContainerId::try_new("a").unwrap(), &limits()).unwrap();
    let directory = tree.path().join("kwick-one/c-a");
    assert_eq!(read(directory.join("memory.max")), "1048576");
    assert_eq!(read(directory.join("cpu.max")), "50000 100000");
    assert_eq!(read(directory.join("pids.max")), "9");
    assert_eq!(group.views(), [(String::new(), directory)]);
    assert!(group.birth_place().unwrap().is_some());
    assert!(root.group(&ContainerId::try_new("a").unwrap(), &limits()).is_err(), "the name is taken");
}

#[test]
fn a_hybrid_host_gets_limits_in_v1_and_a_birth_place_in_v2() {
    let machine = tempfile::tempdir().unwrap();
    let mount = |name: &str| {
        let path = machine.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let hierarchy =
        |name: &str| Hierarchy { mount: mount(name), controllers: name.split(',').map(str::to_owned).collect() };
    let layout = Layout {
        v1: vec![hierarchy("memory"), hierarchy("cpu,cpuacct")],
        v2: Some(Unified { mount: mount("unified"), controllers: vec![] }),
    };
    let mut notices = Vec::new();
    let root = Root::create(&layout, &instance(), &mut notices).unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("\"pids\""));
    let group = root.group(&ContainerId::try_new("a").unwrap(), &limits()).unwrap();
    assert_eq!(read(machine.path().join("memory/kwick-one/c-a/memory.limit_in_bytes")), "1048576");
    assert_eq!(read(machine.path().join("cpu,cpuacct/kwick-one/c-a/cpu.cfs_quota_us")), "50000");
    let names: Vec<_> = group.views().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["unified", "memory", "cpu,cpuacct"]);
    group.enter(true).unwrap();
    assert_eq!(read(machine.path().join("memory/kwick-one/c-a/cgroup.procs")), "0");
    assert!(!machine.path().join("unified/kwick-one/c-a/cgroup.procs").exists());
    assert_eq!(group.directory_of(Controller::Cpu).map(|(_, is_v2)| is_v2), Some(false));
    assert_eq!(group.directory_of(Controller::Pids), None);
}
