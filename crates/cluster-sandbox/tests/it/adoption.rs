//! The client dies, the next one takes everything back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster_sandbox::launch;
use cluster_sandbox::spec::{ContainerPhase, ListenSpec, Place, Protocol};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::Pid;

use super::harness::{FIXTURE, Instance, PATIENCE, Stopped, container, eventually, listener_name, pod_id, run};

#[test]
fn pods_listeners_and_logs_survive_their_client() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["count", "2"]);
            spec.tag = "remember me".to_owned();
            let before = instance.start(&spec).await;
            let short = container("pod", "short", &["until-term", "9"]);
            instance.start(&short).await;
            let listen = ListenSpec {
                name: listener_name("l"),
                place: Place::Host,
                address: "127.0.0.1:0".parse().unwrap(),
                protocol: Protocol::Tcp,
                sockets: 1,
            };
            let listening = instance.sandbox.listen(&listen).await.unwrap();
            let address = listening.spec.address;
            eventually("some output", || {
                instance.said(&spec).lines().count() > 20 && instance.said(&short).contains("ready")
            })
            .await;
            let config = instance.config.clone();
            drop((instance, listening));
            // While nobody is there: a connection waits, a container ends.
            let mut waiting = TcpStream::connect(address).unwrap();
            waiting.write_all(b"anybody?").unwrap();
            let mut instance = Instance::connect(config).await;
            instance.sandbox.signal(&short.id, libc::SIGTERM).await.unwrap();
            assert_eq!(instance.exit(&short.id).await.code, 9);
            let pods = instance.sandbox.pods().await.unwrap();
            let states = &pods[0].containers;
            assert_eq!(
                (states[0].pid, states[0].tag.as_str(), &states[0].phase),
                (before.pid, "remember me", &ContainerPhase::Running)
            );
            assert!(matches!(&states[1].phase, ContainerPhase::Exited(exit) if exit.code == 9));
            let again = instance.sandbox.listen(&listen).await.unwrap();
            assert_eq!(again.spec.address, address);
            let listener = TcpListener::from(again.sockets.into_iter().next().unwrap());
            let mut said = [0; 8];
            listener.accept().unwrap().0.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"anybody?");
            let far = instance.said(&spec).lines().count() + 20;
            eventually("more output", || instance.said(&spec).lines().count() > far).await;
            let said = instance.said(&spec);
            assert!(
                said.lines().enumerate().all(|(number, line)| line == format!("count {number}")),
                "contiguous: {said}"
            );
            instance.sandbox.remove_pod(&pod_id("pod")).await.unwrap();
        },
    );
}

fn client(instance: &Instance) -> (Child, BufReader<std::process::ChildStdout>) {
    let socket = instance.config.socket_path();
    let mut child = Command::new(FIXTURE).arg("client").arg(socket).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Long enough for a busy machine to connect in, short enough to wait for.
const ORPHAN_WAIT: Duration = Duration::from_secs(8);

#[test]
fn a_killed_client_is_missed_only_after_a_while() {
    run(
        |config| config.orphan_wait_ms = ORPHAN_WAIT.as_millis() as u64,
        async |instance| {
            instance.isolated_pod("pod").await;
            instance.start(&container("pod", "a", &["sleep"])).await;
            let (mut child, mut output) = client(&instance);
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert_eq!(line, format!("connected to {}\n", instance.sandbox.facts().pid));
            let config = instance.config.clone();
            drop(instance);
            child.kill().unwrap();
            child.wait().unwrap();
            // Back in time.
            let instance = Instance::connect(config.clone()).await;
            assert_eq!(instance.sandbox.pods().await.unwrap().len(), 1);
            tokio::time::sleep(ORPHAN_WAIT + Duration::from_secs(1)).await;
            assert_eq!(instance.sandbox.pods().await.unwrap().len(), 1, "a connected client is not missed");
            // And never back again.
            drop(instance);
            eventually("the end of everything", || !launch::is_running(&config)).await;
        },
    );
}

#[test]
fn a_spawner_whose_starter_ends_before_it_connects_ends_too() {
    run(
        |_| {},
        async |instance| {
            let config = instance.config.clone();
            instance.sandbox.down(Duration::ZERO).await.unwrap();
            drop(instance);
            eventually("the end of the first spawner", || !launch::is_running(&config)).await;
            let text = serde_json::to_string(&config).unwrap();
            let started = Command::new(FIXTURE).args(["start-spawner", &text]).output().unwrap();
            assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stdout));
            eventually("the end of the second spawner", || !launch::is_running(&config)).await;
            let said = std::fs::read_to_string(&config.log_file).unwrap();
            assert!(said.contains("has ended without connecting"), "{said}");
        },
    );
}

/// A packet to the spawner, and the one that it answers with.
fn asked(socket: &OwnedFd, id: u64, request: &str) -> String {
    send(socket, id, request);
    let mut answer = vec![0; 64 << 10];
    let (_, count) = rustix::net::recv(socket, answer.as_mut_slice(), RecvFlags::empty()).unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

fn send(socket: &OwnedFd, id: u64, request: &str) {
    let packet = format!("J{{\"id\":{id},\"request\":{request}}}");
    rustix::net::send(socket, packet.as_bytes(), SendFlags::empty()).unwrap();
}

#[test]
fn a_starter_may_end_while_the_client_says_its_first_word() {
    run(
        |_| {},
        async |instance| {
            let config = instance.config.clone();
            instance.sandbox.down(Duration::ZERO).await.unwrap();
            drop(instance);
            eventually("the end of the first spawner", || !launch::is_running(&config)).await;
            let text = serde_json::to_string(&config).unwrap();
            let mut starter = Command::new(FIXTURE);
            let mut starter = starter.args(["start-spawner-and-stay", &text]).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(starter.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let spawner = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
            rustix::net::connect(&socket, &SocketAddrUnix::new(config.socket_path()).unwrap()).unwrap();
            let answer = asked(&socket, 1, "\"Pods\"");
            assert!(answer.contains("must be hello"), "it is connected, and not greeted: {answer}");
            // The spawner finds both at once, the word first.
            let stopped = Stopped::new(spawner);
            send(&socket, 2, r#"{"Hello":{"oldest":1,"newest":1}}"#);
            starter.kill().unwrap();
            starter.wait().unwrap();
            drop(stopped);
            let instance = Instance::connect(config.clone()).await;
            assert!(!instance.sandbox.facts().is_ending);
            let said = std::fs::read_to_string(&config.log_file).unwrap();
            assert!(!said.contains("has ended without connecting"), "{said}");
        },
    );
}

#[test]
fn a_client_at_its_limit_of_files_is_refused_and_goes_on() {
    run(
        |_| {},
        async |instance| {
            let socket = instance.config.socket_path();
            let starved = Command::new(FIXTURE).arg("starved-client").arg(socket).output().unwrap();
            let said = String::from_utf8(starved.stdout).unwrap();
            assert_eq!(said, "Err(NoRoom) Err(NoRoom), then 2\n");
        },
    );
}

#[test]
fn clients_are_told_when_the_spawner_dies() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let state = instance.start(&container("pod", "a", &["sleep"])).await;
            let spawner = rustix::process::Pid::from_raw(instance.sandbox.facts().pid).unwrap();
            rustix::process::kill_process(spawner, rustix::process::Signal::KILL).unwrap();
            let event = tokio::time::timeout(PATIENCE, instance.events.next()).await.unwrap();
            assert_eq!(event, None);
            assert!(instance.sandbox.pods().await.is_err());
            let proc = format!("/proc/{}", state.pid);
            eventually("the container's end with its spawner", || !std::path::Path::new(&proc).exists()).await;
            // A new one starts in its place and finds nothing in the way.
            launch::start(std::path::Path::new(FIXTURE), &instance.config).unwrap();
            let instance = Instance::connect(instance.config.clone()).await;
            assert!(instance.sandbox.pods().await.unwrap().is_empty());
            instance.isolated_pod("pod").await;
            instance.start(&container("pod", "a", &["sleep"])).await;
        },
    );
}

#[test]
fn who_does_not_hold_the_lock_is_turned_away() {
    let lock = tempfile::NamedTempFile::new().unwrap();
    let path = lock.path().to_owned();
    run(
        // The nobody of this test: an owner who is not root.
        |config| {
            config.owner.uid = 54321;
            config.lock_file = Some(path);
        },
        async |instance| {
            // Root may always; another user may not, and the owner only with the lock.
            assert!(instance.sandbox.pods().await.unwrap().is_empty());
            let socket = instance.config.socket_path();
            let as_user = |uid: u32, lock: Option<&std::path::Path>| {
                let copy = instance.config.layers_dir.parent().unwrap().join("fixture");
                let mut command = Command::new("/usr/bin/env");
                if let Some(lock) = lock {
                    command = Command::new("flock");
                    command.arg("--no-fork").arg(lock);
                }
                use std::os::unix::process::CommandExt;
                std::fs::copy(FIXTURE, &copy).unwrap();
                command.arg(FIXTURE).arg("client").arg(&socket).uid(uid).stdout(Stdio::piped());
                command
            };
            let mut stranger = as_user(54322, None).spawn().unwrap();
            assert_ne!(stranger.wait().unwrap().code(), Some(0));
            let mut lockless = as_user(54321, None).spawn().unwrap();
            assert_ne!(lockless.wait().unwrap().code(), Some(0));
            std::os::unix::fs::chown(lock.path(), Some(54321), None).unwrap();
            let mut holder = as_user(54321, Some(lock.path())).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
            holder.kill().unwrap();
            holder.wait().unwrap();
            assert_eq!(line, format!("connected to {}\n", instance.sandbox.facts().pid));
        },
    );
}
