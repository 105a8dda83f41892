//! Programs beside a container's own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use cluster_sandbox::spec::{ExecId, ExecSpec, Input};
use cluster_sandbox::{Attachment, Event, ExecHandle, ExecIo, RefusalCode, Terminal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::{Instance, PATIENCE, container, container_id, eventually, exec, refusal, run};

/// The ends of its pipes: input if there is one, and output.
fn pipes(handle: ExecHandle) -> (Option<OwnedFd>, File) {
    match handle.io {
        ExecIo::Pipes { stdin, stdout, .. } => (stdin, stdout.into()),
        ExecIo::Terminal(_) => panic!("it has a terminal"),
    }
}

async fn ended(instance: &mut Instance, wanted: &str) -> i32 {
    loop {
        match tokio::time::timeout(PATIENCE, instance.events.next()).await.unwrap().unwrap() {
            Event::ExecExited { exec, exit } if exec.as_str() == wanted => return exit.code,
            _ => {}
        }
    }
}

#[test]
fn a_program_joins_a_container() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["sleep"]);
            spec.user.image_user = "web".into();
            spec.env = vec![("A".into(), "b".into())];
            instance.start(&spec).await;
            let handle = instance.sandbox.exec(&exec("a", "one", &["/bin/fixture", "self"])).await.unwrap();
            let mut said = String::new();
            pipes(handle).1.read_to_string(&mut said).unwrap();
            assert_eq!(ended(&mut instance, "one").await, 0);
            let facts: std::collections::BTreeMap<_, _> =
                said.lines().filter_map(|line| line.split_once('=')).collect();
            assert_eq!(facts["Uid"], "4242 4242 4242 4242");
            assert_eq!(facts["NSpid"], "2", "the second process of the container");
            assert_eq!((facts["Seccomp"], facts["CapEff"], facts["env.A"]), ("2", "0000000000000000", "b"));
            assert_eq!(facts["descriptors"], "3");
            let (code, _) = refusal(instance.sandbox.exec(&exec("a", "two", &["missing"])).await);
            assert_eq!(code, RefusalCode::CommandNotFound);
            instance.sandbox.exec(&exec("a", "three", &["/bin/fixture", "exit", "5"])).await.unwrap();
            assert_eq!(ended(&mut instance, "three").await, 5);
            assert_eq!(refusal(instance.sandbox.exec(&exec("b", "four", &["x"])).await).0, RefusalCode::NotFound);
        },
    );
}

#[test]
fn it_can_be_talked_to_and_signalled_and_ends_with_its_container() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            instance.start(&container("pod", "a", &["sleep"])).await;
            let mut spec = exec("a", "cat", &["/bin/fixture", "read", "/proc/self/fd/0"]);
            spec.with_stdin = true;
            let handle = instance.sandbox.exec(&spec).await.unwrap();
            let (stdin, mut stdout) = pipes(handle);
            File::from(stdin.unwrap()).write_all(b"input").unwrap();
            let mut said = String::new();
            stdout.read_to_string(&mut said).unwrap();
            assert_eq!(said, "/proc/self/fd/0=input\n");
            assert_eq!(ended(&mut instance, "cat").await, 0);
            instance.sandbox.exec(&exec("a", "sleeping", &["/bin/fixture", "sleep"])).await.unwrap();
            instance.sandbox.signal_exec(&ExecId::try_new("sleeping").unwrap(), libc::SIGTERM).await.unwrap();
            assert_eq!(ended(&mut instance, "sleeping").await, 143);
            instance.sandbox.exec(&exec("a", "last", &["/bin/fixture", "sleep"])).await.unwrap();
            instance.sandbox.kill(&container_id("a")).await.unwrap();
            assert_eq!(ended(&mut instance, "last").await, 137);
        },
    );
}

#[test]
fn it_can_have_a_terminal_of_the_container() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["sleep"]);
            spec.user.image_user = "web".into();
            instance.start(&spec).await;
            let mut spec = exec("a", "talk", &["/bin/fixture", "converse"]);
            spec.has_terminal = true;
            let handle = instance.sandbox.exec(&spec).await.unwrap();
            let ExecIo::Terminal(mut terminal) = handle.io else { panic!("it has pipes") };
            let mut said = String::new();
            terminal.resize(132, 43).unwrap();
            until_said(&mut terminal, &mut said, "input=/dev/pts/0 ?").await;
            terminal.write_all(b"size\n").await.unwrap();
            until_said(&mut terminal, &mut said, "size=132x43").await;
            // What ends a line's input: Ctrl-D.
            terminal.write_all(b"\x04").await.unwrap();
            terminal.read_to_string(&mut said).await.unwrap();
            assert!(said.ends_with("end of input\r\n"), "{said:?}");
            assert_eq!(ended(&mut instance, "talk").await, 0);
            let mut facts = exec("a", "facts", &["/bin/fixture", "self"]);
            facts.has_terminal = true;
            let ExecIo::Terminal(mut terminal) = instance.sandbox.exec(&facts).await.unwrap().io else { panic!() };
            let mut said = String::new();
            terminal.read_to_string(&mut said).await.unwrap();
            assert!(said.contains("env.TERM=xterm\r\n") && said.contains("Uid=4242 4242"), "{said:?}");
            assert!(said.contains("descriptors=3\r\n"), "{said:?}");
            assert_eq!(ended(&mut instance, "facts").await, 0);
        },
    );
}

#[test]
fn who_hangs_up_ends_what_has_the_terminal() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            instance.start(&container("pod", "a", &["sleep"])).await;
            let mut spec = exec("a", "talk", &["/bin/fixture", "converse"]);
            spec.has_terminal = true;
            let handle = instance.sandbox.exec(&spec).await.unwrap();
            drop(handle);
            assert_eq!(ended(&mut instance, "talk").await, 128 + libc::SIGHUP);
        },
    );
}

#[test]
fn it_ends_with_its_client_if_it_should() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            instance.start(&container("pod", "a", &["sleep"])).await;
            let other = Instance::connect(instance.config.clone()).await;
            let mut handles = Vec::new();
            for (id, ends_with_client) in [("staying", false), ("ending", true)] {
                let spec = ExecSpec { ends_with_client, ..exec("a", id, &["/bin/fixture", "sleep"]) };
                handles.push(other.sandbox.exec(&spec).await.unwrap());
            }
            drop(other);
            assert_eq!(ended(&mut instance, "ending").await, 137);
            instance.sandbox.signal_exec(&ExecId::try_new("staying").unwrap(), libc::SIGTERM).await.unwrap();
            assert_eq!(ended(&mut instance, "staying").await, 143);
        },
    );
}

#[test]
fn a_container_that_has_an_input_or_a_terminal_is_attached_to() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut kept = container("pod", "kept", &["converse"]);
            kept.input = Input::Kept;
            instance.start(&kept).await;
            for word in ["one", "two"] {
                let Attachment::Input(input) = instance.sandbox.attach(&kept.id).await.unwrap() else { panic!() };
                File::from(input).write_all(format!("{word}\n").as_bytes()).unwrap();
            }
            eventually("both lines", || instance.said(&kept).contains("heard two")).await;
            let mut once = container("pod", "once", &["converse"]);
            once.input = Input::Once;
            instance.start(&once).await;
            let Attachment::Input(input) = instance.sandbox.attach(&once.id).await.unwrap() else { panic!() };
            assert!(matches!(instance.sandbox.attach(&once.id).await.unwrap(), Attachment::Nothing));
            File::from(input).write_all(b"last").unwrap();
            assert_eq!(instance.exit(&once.id).await.code, 0);
            assert_eq!(instance.said(&once), "input=no terminal ?\nheard last\nend of input\n");
            let mut terminal = container("pod", "terminal", &["converse"]);
            terminal.has_terminal = true;
            instance.start(&terminal).await;
            let Attachment::Terminal(mut end) = instance.sandbox.attach(&terminal.id).await.unwrap() else { panic!() };
            end.resize(100, 50).unwrap();
            end.write_all(b"size\n\x04").await.unwrap();
            assert_eq!(instance.exit(&terminal.id).await.code, 0);
            let said = instance.said(&terminal);
            assert!(said.contains("input=/dev/pts/0 ?\n") && said.contains("size=100x50\n"), "{said:?}");
            instance.start(&container("pod", "deaf", &["sleep"])).await;
            let deaf = instance.sandbox.attach(&container_id("deaf")).await.unwrap();
            assert!(matches!(deaf, Attachment::Nothing));
        },
    );
}

async fn until_said(terminal: &mut Terminal, said: &mut String, wanted: &str) {
    while !said.contains(wanted) {
        let mut chunk = [0; 1024];
        let count = tokio::time::timeout(PATIENCE, terminal.read(&mut chunk)).await.unwrap().unwrap();
        assert!(count > 0, "it ended: {said:?}");
        said.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
    }
}
