//! What people do in containers that run: run programs, attach, reach ports.

use std::time::Duration;

use cluster_workloads::node::builtin::Builtins;
use cluster_workloads::node::{AttachOptions, ExecOptions, Session};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{Ground, IMAGE, NODE, PATIENCE, Running, is_ready, run, until};

fn pod(name: &str, container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("c");
    container["image"] = json!(IMAGE);
    container["imagePullPolicy"] = json!("IfNotPresent");
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container],
    }})
}

fn options(words: &[&str]) -> ExecOptions {
    let command = ["/fixture"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    ExecOptions { container: "c".to_owned(), command, ..ExecOptions::default() }
}

async fn begin(running: &Running, pod: &str, options: ExecOptions) -> Session {
    running.node.exec("default", pod, options).unwrap().await.unwrap()
}

async fn started(ground: &Ground, container: Value) -> Running {
    let running = ground.node(Builtins::default()).await;
    ground.create(pod("p", container)).await;
    ground.eventually("p", "the start", is_ready).await;
    running
}

/// What comes until `wanted` has.
async fn read_until(session: &mut Session, wanted: &str) -> String {
    let mut said = String::new();
    while !said.contains(wanted) {
        let chunk = tokio::time::timeout(PATIENCE, session.stdout.next()).await.expect("an answer");
        said.push_str(std::str::from_utf8(&chunk.expect("it goes on")).unwrap());
    }
    said
}

async fn all(from: impl futures::Stream<Item = impl AsRef<[u8]>> + Unpin) -> String {
    let chunks: Vec<_> = from.collect().await;
    String::from_utf8(chunks.iter().flat_map(|chunk| chunk.as_ref().to_vec()).collect()).unwrap()
}

#[test]
fn a_program_is_run_and_talked_with() {
    run(async |ground| {
        let running = started(&ground, json!({"args": ["stay"]})).await;
        let mut options = options(&["converse", "5"]);
        options.has_stdin = true;
        let mut session = begin(&running, "p", options.clone()).await;
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"one\n").await.unwrap();
        assert_eq!(read_until(&mut session, "one\n").await, "heard one\n");
        drop(stdin);
        let (stdout, stderr) = tokio::join!(all(session.stdout), all(session.stderr.take().unwrap()));
        assert_eq!((stdout.as_str(), stderr.as_str()), ("end of input\n", "complains of one\n"));
        assert_eq!(session.ended.await, Ok(5));
        options.has_terminal = true;
        let mut session = begin(&running, "p", options).await;
        session.resize.as_ref().unwrap()(100, 40);
        session.stdin.as_mut().unwrap().write_all(b"two\n\x04").await.unwrap();
        let said = read_until(&mut session, "end of input").await;
        assert!(said.contains("complains of two\r\nheard two\r\n"), "{said:?}");
        assert_eq!(session.ended.await, Ok(5));
        let missing = ExecOptions { container: "c".into(), command: vec!["nope".into()], ..ExecOptions::default() };
        let why = running.node.exec("default", "p", missing.clone()).unwrap().await.unwrap_err();
        assert_eq!(why, "exec: \"nope\": executable file not found in $PATH");
        let elsewhere = running.node.exec("default", "q", missing).err().unwrap();
        assert_eq!(elsewhere.to_string(), "container not found (\"c\")");
        ground.delete("p").await;
        running.stop().await;
        ground
    });
}

#[test]
fn who_goes_away_ends_what_was_run() {
    run(async |ground| {
        let running = started(&ground, json!({"args": ["stay"]})).await;
        let count = async || {
            let session = begin(&running, "p", options(&["processes"])).await;
            all(session.stdout).await.trim().to_owned()
        };
        let alone = count().await;
        for has_terminal in [false, true] {
            let mut options = options(&["stay"]);
            options.has_terminal = has_terminal;
            let mut session = begin(&running, "p", options).await;
            read_until(&mut session, "here").await;
            assert_ne!(count().await, alone);
            drop(session);
            until("its end", async || (count().await == alone).then_some(())).await;
        }
        ground.delete("p").await;
        running.stop().await;
        ground
    });
}

#[test]
fn who_goes_away_during_the_start_ends_what_was_run() {
    run(async |ground| {
        let running = started(&ground, json!({"args": ["stay"]})).await;
        let count = async || {
            let session = begin(&running, "p", options(&["processes"])).await;
            all(session.stdout).await.trim().to_owned()
        };
        let alone = count().await;
        let starting = running.node.exec("default", "p", options(&["stay"])).unwrap();
        assert!(starting.now_or_never().is_none(), "it is asked for, and not there yet");
        // The spawner has been asked for the first before it is asked for another.
        until("its end", async || (count().await == alone).then_some(())).await;
        ground.delete("p").await;
        running.stop().await;
        ground
    });
}

#[test]
fn a_container_is_attached_to() {
    run(async |ground| {
        let running = started(&ground, json!({"args": ["converse", "0"], "stdin": true, "stdinOnce": true})).await;
        let attach = AttachOptions { container: "c".to_owned(), has_stdin: true, has_terminal: false };
        let listening = AttachOptions { has_stdin: false, ..attach.clone() };
        let mut listener = running.node.attach("default", "p", listening).unwrap().await.unwrap();
        assert!(listener.stdin.is_none());
        let mut session = running.node.attach("default", "p", attach.clone()).unwrap().await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"first\n").await.unwrap();
        assert_eq!(read_until(&mut session, "heard first").await, "heard first\n");
        stdin.shutdown().await.unwrap();
        drop(stdin);
        assert_eq!(all(session.stdout).await, "end of input\n");
        assert_eq!(all(session.stderr.take().unwrap()).await, "complains of first\n");
        assert_eq!(session.ended.await, Ok(0));
        assert_eq!(all(listener.stdout).await, "heard first\nend of input\n");
        assert_eq!(all(listener.stderr.take().unwrap()).await, "complains of first\n");
        let over = until("its end", async || running.node.attach("default", "p", attach.clone()).err()).await;
        assert_eq!(over.to_string(), "container not found (\"c\")");
        ground.delete("p").await;
        running.stop().await;
        ground
    });
}

#[test]
fn a_port_for_the_pod_alone_is_reached() {
    run(async |ground| {
        let running = started(&ground, json!({"args": ["serve-itself", "8080"]})).await;
        let ports = running.node.ports("default", "p").unwrap();
        let mut stream = until("a connection", async || ports.dial(8080).await.ok()).await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
        let why = ports.dial(8081).await.unwrap_err();
        assert!(why.contains("failed to connect to localhost:8081") && why.contains("refused"), "{why}");
        assert!(running.node.ports("default", "q").is_err());
        drop(stream);
        ground.delete("p").await;
        running.stop().await;
        ground
    });
}
