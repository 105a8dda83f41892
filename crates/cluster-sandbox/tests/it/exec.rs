//! Programs beside a container's own.

use std::fs::File;
use std::io::{Read, Write};

use cluster_sandbox::spec::{ExecId, ExecSpec};
use cluster_sandbox::{Event, RefusalCode};

use super::harness::{Instance, PATIENCE, container, container_id, refusal, run};

fn exec(container: &str, id: &str, words: &[&str]) -> ExecSpec {
    ExecSpec {
        container: container_id(container),
        id: ExecId::try_new(id).unwrap(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        with_stdin: false,
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
            File::from(handle.stdout).read_to_string(&mut said).unwrap();
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
            File::from(handle.stdin.unwrap()).write_all(b"input").unwrap();
            let mut said = String::new();
            File::from(handle.stdout).read_to_string(&mut said).unwrap();
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
