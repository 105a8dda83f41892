//! Pods: what they say, programs in them, their ports, where they may run and how they go.

use std::io::{Cursor, Read};

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufReadExt, SinkExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{
    Api, AttachParams, AttachedProcess, DeleteParams, EvictParams, ListParams, LogParams, PostParams, ResourceExt,
    TerminalSize,
};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::{Ground, NAMESPACE};

/// More than queues and pipes hold.
const LARGE: usize = 4 << 20;

fn pods(on: &Ground) -> Api<Pod> {
    Api::namespaced(on.client.clone(), NAMESPACE)
}

async fn create(on: &Ground, name: &str, program: &str) -> Result<()> {
    let container = json!({
        "name": "c", "image": on.image, "imagePullPolicy": "IfNotPresent", "args": ["-c", program], "stdin": true,
    });
    let spec = json!({"terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": [container]});
    let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
    pods(on).create(&PostParams::default(), &pod).await?;
    Ok(())
}

async fn run(on: &Ground, name: &str, program: &str) -> Result<()> {
    create(on, name, program).await?;
    await_condition(pods(on), name, conditions::is_pod_running()).await?;
    Ok(())
}

pub async fn log(on: &Ground) -> Result<()> {
    run(on, "shell", "echo started; exec /busybox sleep 100000").await?;
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods(on).log_stream("shell", &follow).await?.lines();
    ensure!(lines.try_next().await?.as_deref() == Some("started"));
    let timed = LogParams { timestamps: true, tail_lines: Some(1), ..LogParams::default() };
    let said = pods(on).logs("shell", &timed).await?;
    ensure!(said.ends_with("Z started\n"), "{said:?}");
    Ok(())
}

/// Everything that comes, in text.
async fn text(from: Option<impl AsyncRead + Unpin>) -> Result<String> {
    let mut said = String::new();
    from.context("nothing is read")?.read_to_string(&mut said).await?;
    Ok(said)
}

/// What a program says, and how it ends.
async fn outcome(mut attached: AttachedProcess) -> Result<(String, String, String)> {
    let ended = attached.take_status().context("no status")?;
    let (stdout, stderr) = tokio::try_join!(text(attached.stdout()), text(attached.stderr()))?;
    let status = ended.await.context("it ended without a status")?;
    attached.join().await?;
    Ok((stdout, stderr, status.reason.or(status.status).unwrap_or_default()))
}

pub async fn exec(on: &Ground) -> Result<()> {
    let both = AttachParams::default();
    let said = outcome(pods(on).exec("shell", ["sh", "-c", "echo out; echo err >&2"], &both).await?).await?;
    ensure!(said == ("out\n".to_owned(), "err\n".to_owned(), "Success".to_owned()), "{said:?}");
    // The input ends; what is said then still comes.
    let input = AttachParams::default().stdin(true);
    let mut counting = pods(on).exec("shell", ["sh", "-c", "/busybox wc -c; exit 5"], &input).await?;
    let mut stdin = counting.stdin().context("no input")?;
    stdin.write_all(&vec![b'x'; LARGE]).await?;
    stdin.shutdown().await?;
    let said = outcome(counting).await?;
    ensure!(said == (format!("{LARGE}\n"), String::new(), "NonZeroExitCode".to_owned()), "{said:?}");
    let mut terminal = pods(on).exec("shell", ["sh"], &AttachParams::interactive_tty()).await?;
    let mut sizes = terminal.terminal_size().context("no terminal")?;
    sizes.send(TerminalSize { width: 99, height: 33 }).await?;
    let (mut stdin, mut stdout) = (terminal.stdin().context("no input")?, terminal.stdout());
    let ended = terminal.take_status().context("no status")?;
    stdin
        .write_all(
            b"while [ \"$(/busybox stty size)\" != '33 99' ]; do /busybox sleep 0.1; done; echo size is set; exit\n",
        )
        .await?;
    let said = text(stdout.take()).await?;
    ensure!(said.contains("\nsize is set"), "{said:?}");
    ensure!(ended.await.and_then(|status| status.status).as_deref() == Some("Success"));
    Ok(())
}

/// Whoever attaches to a program says something to it, and hears both its outputs until it ends.
pub async fn attach(on: &Ground) -> Result<()> {
    run(on, "attached", "read word; echo \"out $word\"; echo err >&2; exit 3").await?;
    let mut attached = pods(on).attach("attached", &AttachParams::default().stdin(true)).await?;
    attached.stdin().context("no input")?.write_all(b"of it\n").await?;
    let said = outcome(attached).await?;
    // How the program ended is in the Pod: attaching went well.
    ensure!(said == ("out of it\n".to_owned(), "err\n".to_owned(), "Success".to_owned()), "{said:?}");
    Ok(())
}

fn archive(data: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "copied", data)?;
    Ok(builder.into_inner()?)
}

pub async fn copy(on: &Ground) -> Result<()> {
    let data: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    let mut unpacking =
        pods(on).exec("shell", ["tar", "xf", "-", "-C", "/"], &AttachParams::default().stdin(true)).await?;
    let mut stdin = unpacking.stdin().context("no input")?;
    stdin.write_all(&archive(&data)?).await?;
    stdin.shutdown().await?;
    let said = outcome(unpacking).await?;
    ensure!(said.2 == "Success", "{said:?}");
    let mut packing =
        pods(on).exec("shell", ["tar", "cf", "-", "-C", "/", "copied"], &AttachParams::default().stderr(false)).await?;
    let mut packed = Vec::new();
    packing.stdout().context("no output")?.read_to_end(&mut packed).await?;
    packing.join().await?;
    let mut archive = tar::Archive::new(Cursor::new(packed));
    let mut back = Vec::new();
    archive.entries()?.next().context("an empty archive")??.read_to_end(&mut back)?;
    ensure!(back == data, "{} of {LARGE} bytes came back", back.len());
    Ok(())
}

pub async fn forward(on: &Ground) -> Result<()> {
    let serve = "/busybox mkdir /www; echo hello >/www/index.html; exec /busybox httpd -f -p 9000 -h /www";
    run(on, "web", serve).await?;
    // Whether it listens already is seen by asking.
    loop {
        let mut forwarder = pods(on).portforward("web", &[9000, 9001]).await?;
        let nobody = forwarder.take_error(9001).context("no errors")?;
        let why = nobody.await.context("no error of a port to which nobody listens")?;
        ensure!(why.contains("9001"), "{why}");
        let mut stream = forwarder.take_stream(9000).context("no stream")?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let (mut answer, mut some) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"hello\n") {
            match stream.read(&mut some).await? {
                0 => break,
                count => answer.extend_from_slice(&some[..count]),
            }
        }
        if answer.is_empty() {
            continue;
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
        // This side ends first. When the Pod does, a kubelet takes its leave of the websocket, and kube-rs 5.0 answers with a second one, which
        // its own library refuses: `join` then says "Sending after closing is not allowed", of whichever server.
        drop(stream);
        return Ok(forwarder.join().await?);
    }
}

/// No Pod comes to a node that is cordoned; an evicted one goes.
pub async fn cordon_and_evict(on: &Ground) -> Result<()> {
    let nodes: Api<Node> = Api::all(on.client.clone());
    let node = nodes.list(&ListParams::default()).await?.items.first().context("there is no node")?.name_any();
    nodes.cordon(&node).await?;
    create(on, "waiting", "exec /busybox sleep 100000").await?;
    let is_refused = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|one| one.reason.as_deref() == Some("Unschedulable"))
    };
    await_condition(pods(on), "waiting", is_refused).await?;
    nodes.uncordon(&node).await?;
    await_condition(pods(on), "waiting", conditions::is_pod_running()).await?;
    let uid = pods(on).get("waiting").await?.uid().context("no uid")?;
    pods(on).evict("waiting", &EvictParams::default()).await?;
    await_condition(pods(on), "waiting", conditions::is_deleted(&uid)).await?;
    pods(on).delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    Ok(())
}
