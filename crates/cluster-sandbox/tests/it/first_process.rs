//! As the first process of a PID namespace the spawner is the parent of its client: signals go to the client, its end is everybody's.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use cluster_sandbox::{ChildCommand, launch};

use super::harness::{FIXTURE, Ground, Machine, eventually, is_root};

#[test]
fn the_first_process_starts_its_client_and_ends_with_it() {
    if !is_root() {
        return;
    }
    let mut ground = Ground::new();
    let socket = ground.config.socket_path().display().to_string();
    ground.config.child = Some(ChildCommand { command: vec![FIXTURE.into(), "client".into(), socket], env: vec![] });
    let file = ground.config.layers_dir.join("config.json");
    std::fs::write(&file, serde_json::to_vec(&ground.config).unwrap()).unwrap();
    let before = Machine::look();
    let mut namespace = Command::new("unshare");
    namespace.args(["--pid", "--fork", "--kill-child", "--mount-proc", FIXTURE, "first-process"]).arg(&file);
    let mut namespace = namespace.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(namespace.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "connected to 1\n", "the spawner is the first process");
    assert!(launch::is_running(&ground.config));
    let id = namespace.id();
    let first = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let first = rustix::process::Pid::from_raw(first.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::TERM).unwrap();
    let status = namespace.wait().unwrap();
    assert_eq!(status.code(), Some(143), "the client was told, ended by it, and its end is the exit code");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(eventually("the spawner's end", || !launch::is_running(&ground.config)));
    Machine::look().assert_same(&before, &ground.config.instance);
}
