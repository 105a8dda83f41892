//! Streams into Pods, over every protocol that clients speak. The Pods are made up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster_apiserver::{
    AttachOptions, Dialing, ExecOptions, OutputStream, PodPorts, PodSession, PodStreams, StartingSession,
};
use futures::{FutureExt, SinkExt, StreamExt};
use http::Request;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{ADMIN_TOKEN, BOB_TOKEN, Harness, eventually};

const PODS: &str = "/api/v1/namespaces/default/pods";
const EXEC: &str = "/api/v1/namespaces/default/pods/p/exec?command=echo&stdin=true&stdout=true&stderr=true";
const FORWARD: &str = "/api/v1/namespaces/default/pods/p/portforward";
/// As kubectl opens the channels of a forwarded connection to port 80: written by moby/spdystream 0.5.1.
const OPENED: &str = concat!(
    "800300010000003d0000000100000000000078f9e3c6a7c202253a060606ce2248fc6482d22da30138e59514a526e6420b17d65450d0430aea2250a266b23000000000ffff",
    "800300010000001a00000003000000000000826a4515216410a8944a04000000ffff",
);

/// A Pod whose program says what it hears, and whose only port does so too.
#[derive(Default)]
struct Echo {
    port: Option<u16>,
    living: Arc<AtomicUsize>,
}

struct Living(Arc<AtomicUsize>);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn chunks(from: DuplexStream) -> OutputStream {
    Box::pin(futures::stream::unfold(from, |mut from| async move {
        let mut chunk = vec![0; 1024];
        let count = from.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        Some((Bytes::copy_from_slice(&chunk[..count]), from))
    }))
}

impl PodStreams for Echo {
    fn exec(&self, _: &str, pod: &str, options: ExecOptions) -> Result<StartingSession, String> {
        if pod == "still" {
            return Err(format!("container not found ({:?})", options.container));
        }
        self.living.fetch_add(1, Ordering::SeqCst);
        let living = Living(Arc::clone(&self.living));
        let starting = async move {
            if options.command == ["missing"] {
                return Err("exec: \"missing\": executable file not found in $PATH".to_owned());
            }
            // What is written comes back; the end of what is written is the end.
            let (stdin, mut heard) = tokio::io::duplex(4096);
            let (mut said, stdout) = tokio::io::duplex(4096);
            let ended = async move {
                let _living = living;
                let _ = tokio::io::copy(&mut heard, &mut said).await;
                Ok(3)
            };
            let stderr = Box::pin(futures::stream::iter([Bytes::from_static(b"complaint")]));
            let resize = options.has_terminal.then(|| -> Box<dyn Fn(u16, u16) + Send + Sync> { Box::new(|_, _| ()) });
            Ok(PodSession {
                stdin: Some(Box::new(stdin)),
                stdout: chunks(stdout),
                stderr: Some(stderr),
                resize,
                ended: ended.boxed(),
            })
        };
        Ok(starting.boxed())
    }

    fn attach(&self, _: &str, _: &str, options: AttachOptions) -> Result<StartingSession, String> {
        Err(format!("container not found ({:?})", options.container))
    }

    fn ports(&self, _: &str, _: &str) -> Result<Arc<dyn PodPorts>, String> {
        Ok(Arc::new(Ports(self.port)))
    }
}

struct Ports(Option<u16>);

impl PodPorts for Ports {
    fn dial(&self, port: u16) -> Dialing {
        let there = self.0.filter(|_| port == 80);
        async move {
            let there = there.ok_or_else(|| format!("nobody listens to {port}"))?;
            TcpStream::connect(("127.0.0.1", there)).await.map_err(|error| error.to_string())
        }
        .boxed()
    }
}

/// A server with Pods: `p` runs, `still` does not, `homeless` is on no node, `two` has two containers.
async fn ground(echo: Echo) -> (Harness, Arc<AtomicUsize>) {
    let living = Arc::clone(&echo.living);
    let harness = Harness::start_running(Arc::new(echo)).await;
    let raw = harness.raw();
    let pod = |name: &str, node: &str, containers: &[&str]| {
        let containers: Vec<_> = containers.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": containers}});
        if !node.is_empty() {
            pod["spec"]["nodeName"] = json!(node);
        }
        pod
    };
    let account = json!({"metadata": {"name": "default"}});
    raw.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    for pod in
        [pod("p", "n", &["c"]), pod("still", "n", &["c"]), pod("homeless", "", &["c"]), pod("two", "n", &["a", "b"])]
    {
        assert_eq!(raw.post(PODS, &pod).await.status, 201);
    }
    (harness, living)
}

/// A connection to the server.
fn connect(harness: &Harness) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 << 10);
    let service = TowerToHyperService::new(harness.server.service());
    harness.tasks.spawn_transient("test/connection", async move {
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
        let _ = serving.with_upgrades().await;
    });
    client
}

async fn websocket(
    harness: &Harness,
    path: &str,
    protocol: &str,
    token: &str,
) -> Result<WebSocketStream<DuplexStream>, u16> {
    let request = Request::builder()
        .uri(format!("ws://test{path}"))
        .header("host", "test")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", protocol)
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .unwrap();
    match tokio_tungstenite::client_async(request, connect(harness)).await {
        Ok((socket, response)) => {
            assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
            Ok(socket)
        }
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// Messages until the server takes its leave, put together by channel.
async fn all(mut socket: WebSocketStream<DuplexStream>) -> Vec<Vec<u8>> {
    let (mut channels, mut leave) = (vec![Vec::new(); 5], None);
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(bytes) => channels[usize::from(bytes[0])].extend(&bytes[1..]),
            Message::Close(frame) => leave = frame.map(|frame| frame.code),
            other => panic!("{other}"),
        }
    }
    assert_eq!(leave, Some(CloseCode::Normal));
    channels
}

#[tokio::test]
async fn a_program_over_a_websocket() {
    let (harness, living) = ground(Echo::default()).await;
    let mut socket = websocket(&harness, EXEC, "v5.channel.k8s.io", ADMIN_TOKEN).await.unwrap();
    for message in [b"\0one ".as_slice(), b"\0", b"\0two", b"\xff\0"] {
        socket.send(Message::binary(message.to_vec())).await.unwrap();
    }
    let channels = all(socket).await;
    assert_eq!((channels[1].as_slice(), channels[2].as_slice()), (b"one two".as_slice(), b"complaint".as_slice()));
    let status: Value = serde_json::from_slice(&channels[3]).unwrap();
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
    // Python's client speaks in texts; who goes away ends the program.
    let mut socket = websocket(&harness, EXEC, "v4.channel.k8s.io", ADMIN_TOKEN).await.unwrap();
    socket.send(Message::text("\u{0}three")).await.unwrap();
    while socket.next().await.unwrap().unwrap() != Message::binary(b"\x01three".to_vec()) {}
    assert_eq!(living.load(Ordering::SeqCst), 1);
    drop(socket);
    eventually("the program's end", || async { living.load(Ordering::SeqCst) == 0 }).await;
    let missing = websocket(&harness, &EXEC.replace("echo", "missing"), "v5.channel.k8s.io", ADMIN_TOKEN).await;
    let status: Value = serde_json::from_slice(&all(missing.unwrap()).await[3]).unwrap();
    let why = "error executing command in container: exec: \"missing\": executable file not found in $PATH";
    assert_eq!(status["message"], format!("Internal error occurred: {why}"));
}

#[tokio::test]
async fn what_is_refused_is_refused_before_the_upgrade() {
    let (harness, _) = ground(Echo::default()).await;
    let raw = harness.raw();
    let message = async |path: &str| {
        let answer = raw.get(path).await;
        (answer.status.as_u16(), answer.message())
    };
    let exec = |pod: &str| format!("{PODS}/{pod}/exec?command=x&stdout=true");
    assert_eq!(message(&exec("nobody")).await, (404, "pods \"nobody\" not found".to_owned()));
    assert_eq!(message(&exec("homeless")).await, (400, "pod homeless does not have a host assigned".to_owned()));
    let choose = "a container name must be specified for pod two, choose one of: [a b]";
    assert_eq!(message(&exec("two")).await, (400, choose.to_owned()));
    let wrong = format!("{}&container=z", exec("two"));
    assert_eq!(message(&wrong).await, (400, "container z is not valid for pod two".to_owned()));
    assert_eq!(message(&exec("p")).await, (400, "Upgrade request required".to_owned()));
    let refused = async |path: &str, protocol: &str, token: &str| {
        websocket(&harness, path, protocol, token).await.map(drop).unwrap_err()
    };
    assert_eq!(refused(&exec("still"), "v5.channel.k8s.io", ADMIN_TOKEN).await, 500);
    assert_eq!(refused(&exec("p"), "v9.channel.k8s.io", ADMIN_TOKEN).await, 403);
    assert_eq!(refused(&format!("{PODS}/p/exec?command=x"), "v5.channel.k8s.io", ADMIN_TOKEN).await, 400);
    assert_eq!(refused(&format!("{FORWARD}?ports=0"), "v5.channel.k8s.io", ADMIN_TOKEN).await, 400);
    assert_eq!(refused(FORWARD, "v5.channel.k8s.io", ADMIN_TOKEN).await, 400);
    assert_eq!(refused(&exec("p"), "v5.channel.k8s.io", BOB_TOKEN).await, 403);
}

#[tokio::test]
async fn who_may_only_get_may_not_exec() {
    let (harness, _) = ground(Echo::default()).await;
    let raw = harness.raw();
    let role = |verbs: &[&str]| json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]});
    let rules = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    assert_eq!(raw.post(&format!("{rules}/roles"), &role(&["get"])).await.status, 201);
    assert_eq!(raw.post(&format!("{rules}/rolebindings"), &binding).await.status, 201);
    let bob = async || websocket(&harness, EXEC, "v5.channel.k8s.io", BOB_TOKEN).await.map(drop);
    assert_eq!(bob().await, Err(403));
    assert_eq!(raw.put(&format!("{rules}/roles/r"), &role(&["get", "create"])).await.status, 200);
    assert_eq!(bob().await, Ok(()));
}

#[tokio::test]
async fn sessions_are_bounded() {
    let (harness, living) = ground(Echo::default()).await;
    let mut sessions = Vec::new();
    for _ in 0..cluster_apiserver::http::limits::MAX_SESSIONS {
        sessions.push(websocket(&harness, EXEC, "v5.channel.k8s.io", ADMIN_TOKEN).await.unwrap());
    }
    assert_eq!(websocket(&harness, EXEC, "v5.channel.k8s.io", ADMIN_TOKEN).await.map(drop), Err(429));
    sessions.clear();
    eventually("their end", || async { living.load(Ordering::SeqCst) == 0 }).await;
    eventually("room", || async { websocket(&harness, EXEC, "v5.channel.k8s.io", ADMIN_TOKEN).await.is_ok() }).await;
}

/// A TCP server that says what it hears.
async fn echo_server(harness: &Harness) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = harness.tasks.clone();
    harness.tasks.spawn_transient("test/echo", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tasks.spawn_transient("test/echo", async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    port
}

async fn forwarding() -> Harness {
    let bare = Harness::start().await;
    let port = echo_server(&bare).await;
    let (harness, _) = ground(Echo { port: Some(port), ..Echo::default() }).await;
    // The server's tasks are its own.
    std::mem::forget(bare);
    harness
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn data(stream: u8, flags: u8, bytes: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, stream, flags, 0, 0, bytes.len() as u8], bytes].concat()
}

/// What a client says over SPDY, and what it then hears: data by stream, until both have ended.
async fn converse(mut read: impl AsyncReadExt + Unpin, mut write: impl AsyncWriteExt + Unpin) -> [Vec<u8>; 2] {
    let ping = hex("800300060000000400000001");
    write
        .write_all(&[hex(OPENED), ping, data(1, 1, b""), data(3, 0, b"hel"), data(3, 1, b"lo")].concat())
        .await
        .unwrap();
    write.flush().await.unwrap();
    let (mut heard, mut ended, mut is_alive) = ([Vec::new(), Vec::new()], 0, false);
    while ended < 2 {
        let mut head = [0; 8];
        read.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(u16::from_be_bytes([head[6], head[7]]))];
        read.read_exact(&mut payload).await.unwrap();
        match head {
            [0, 0, 0, stream, flags, ..] => {
                heard[usize::from(stream / 2)].extend(payload);
                ended += flags;
            }
            [0x80, 3, 0, 6, ..] => is_alive = payload == [0, 0, 0, 1],
            _ => assert_eq!(head[..4], [0x80, 3, 0, 2], "the streams are accepted"),
        }
    }
    assert!(is_alive);
    heard
}

#[tokio::test]
async fn ports_over_spdy() {
    let harness = forwarding().await;
    let mut client = connect(&harness);
    let head = format!(
        "POST {FORWARD} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_TOKEN}\r\nconnection: Upgrade\r\n\
         upgrade: SPDY/3.1\r\nx-stream-protocol-version: portforward.k8s.io\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(client.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("x-stream-protocol-version: portforward.k8s.io"));
    let (reader, writer) = tokio::io::split(client);
    assert_eq!(converse(reader, writer).await, [b"".to_vec(), b"hello".to_vec()]);
}

#[tokio::test]
async fn ports_over_spdy_in_a_websocket() {
    let harness = forwarding().await;
    let socket = websocket(&harness, FORWARD, "SPDY/3.1+portforward.k8s.io", ADMIN_TOKEN).await.unwrap();
    let (sink, stream) = socket.split();
    let bytes = stream.filter_map(async |message| match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        _ => None::<std::io::Result<Bytes>>,
    });
    // However it is cut, and with nothing between.
    let pieces = sink.sink_map_err(std::io::Error::other).with_flat_map(|bytes: Bytes| {
        let pieces: Vec<_> = bytes.chunks(5).flat_map(|piece| [Bytes::copy_from_slice(piece), Bytes::new()]).collect();
        futures::stream::iter(pieces.into_iter().map(|piece| Ok(Message::Binary(piece))))
    });
    let reader = tokio_util::io::StreamReader::new(Box::pin(bytes));
    let writer = tokio_util::io::SinkWriter::new(tokio_util::io::CopyToBytes::new(Box::pin(pieces)));
    let heard = tokio::time::timeout(Duration::from_secs(10), converse(reader, writer)).await.unwrap();
    assert_eq!(heard, [b"".to_vec(), b"hello".to_vec()]);
}

#[tokio::test]
async fn ports_over_numbered_channels() {
    let harness = forwarding().await;
    let path = format!("{FORWARD}?ports=80&ports=81");
    let mut socket = websocket(&harness, &path, "v4.channel.k8s.io", ADMIN_TOKEN).await.unwrap();
    socket.send(Message::binary(b"\0hello".to_vec())).await.unwrap();
    let (mut heard, mut wanted) = (vec![Vec::<u8>::new(); 4], 4 * 2 + 5 + "nobody listens to 81".len());
    while wanted > 0 {
        if let Message::Binary(bytes) = socket.next().await.unwrap().unwrap() {
            heard[usize::from(bytes[0])].extend(&bytes[1..]);
            wanted -= bytes.len() - 1;
        }
    }
    assert_eq!(
        heard,
        [b"\x50\0hello".to_vec(), b"\x50\0".to_vec(), b"\x51\0".to_vec(), b"\x51\0nobody listens to 81".to_vec()]
    );
    // Once all of the Pod's ends are over, so is the session.
    let path = format!("{FORWARD}?ports=81");
    let channels = all(websocket(&harness, &path, "v4.channel.k8s.io", ADMIN_TOKEN).await.unwrap()).await;
    assert_eq!(channels[..2], [b"\x51\0".to_vec(), b"\x51\0nobody listens to 81".to_vec()]);
}

#[tokio::test]
async fn no_upgrade_within_the_process() {
    let (harness, _) = ground(Echo::default()).await;
    let request = Request::builder()
        .method("POST")
        .uri(FORWARD)
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .header("x-stream-protocol-version", "portforward.k8s.io")
        .body(Full::default())
        .unwrap();
    let answer = harness.raw().send(request).await;
    assert_eq!((answer.status.as_u16(), answer.message().as_str()), (400, "Upgrade request required"));
}
