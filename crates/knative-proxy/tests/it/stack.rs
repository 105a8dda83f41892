//! The whole stack: in one process without a hop, and cut at each seam. All ways answer the same.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base_controller::Key;
use base_net::connect::{LocalEntry, Target};
use base_net::serve::Peer;
use base_net::{Body, Request, Response};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use knative_apis::meta;
use knative_proxy::gateway::{Gateway, Side};
use knative_proxy::{Activator, Unanswered};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::rig::{Container, PATIENCE, Rig, ServeFn, environment, get, ingress, read, read_until, revision};

/// A gateway in front of a Pod. What is not in its process is reached over a socket.
struct Stack {
    /// What it is, for messages.
    name: &'static str,
    rig: Rig,
    public: SocketAddr,
    gateway: Arc<Gateway>,
    activator: Arc<Activator>,
    activator_addr: SocketAddr,
    is_http2: bool,
    _pod: (Container, Option<LocalEntry>),
}

/// Whether the activator and queue-proxy are in the gateway's process.
const CUTS: [(&str, bool, bool); 3] =
    [("whole", true, true), ("queue-proxy elsewhere", true, false), ("all elsewhere", false, false)];

impl Stack {
    /// Every cut, in front of the same user's container.
    fn all<F>(is_http2: bool, user: impl Fn(Request) -> F + Clone + Send + Sync + 'static) -> Vec<Self>
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let new = |(name, is_activator_here, is_queue_here)| {
            let rig = Rig::new();
            let user = rig.user(user.clone());
            Self::new(name, (rig, user), (is_activator_here, is_queue_here, is_http2))
        };
        CUTS.into_iter().map(new).collect()
    }

    fn new(
        name: &'static str,
        (rig, user): (Rig, SocketAddr),
        (is_activator_here, is_queue_here, is_http2): (bool, bool, bool),
    ) -> Self {
        // The Pod: found in the table, or on a socket of its own.
        let serving = pod(is_http2);
        let changes = [
            ("SERVING_POD_IP", if is_queue_here { "127.0.0.1" } else { "" }),
            ("QUEUE_SERVING_PORT", if is_http2 { "8013" } else { "8012" }),
        ];
        let container = rig.container(&environment(user, &changes), None);
        let activator = rig.activator(mpsc::channel(16).0);
        let answering = Arc::clone(&activator);
        let activator_addr = rig.serve(ServeFn(move |request| {
            let activator = Arc::clone(&answering);
            async move { activator.answer(request).await }
        }));
        let gateway = rig.gateway(is_activator_here.then(|| Arc::clone(&activator)));
        gateway.set_ingress(&Key::new("default", "a"), Some(&ingress("a", "a.example", "ExternalIP", "a-1")));
        gateway.swap();
        let public = rig.serve(gateway.service(Side::Public, &Peer::default()));
        let mut revision = revision("a-1", 0, 300);
        if is_http2 {
            revision.spec.pod.containers[0].ports =
                Some(vec![serde_json::from_value(json!({"name": "h2c", "containerPort": 8080})).unwrap()]);
        }
        activator.set_revision(&revision);
        let forwarded = (!is_queue_here).then(|| forward(&rig, serving, container.ports[&8012]));
        let stack =
            Self { name, rig, public, gateway, activator, activator_addr, is_http2, _pod: (container, forwarded) };
        stack.set_pods(true);
        stack
    }

    /// Whether the Revision has its Pod.
    fn set_pods(&self, are_there: bool) {
        let pod = self.endpoints(pod(self.is_http2));
        self.activator.set_endpoints(&meta::Key::new("default", "a-1-private"), are_there.then_some(&pod));
    }

    /// Whether requests go by the activator.
    fn set_proxied(&self, is_proxied: bool) {
        let to_activator = self.endpoints(self.activator_addr);
        self.gateway.set_activators(is_proxied.then_some(&to_activator));
        let to = if is_proxied { to_activator } else { self.endpoints(pod(self.is_http2)) };
        let service = serde_json::from_value(json!({"spec": {"ports": [{"name": self.port(), "port": 80}]}})).unwrap();
        self.gateway.set_backend(&Key::new("default", "a-1"), Some(&service), Some(&to));
        assert_eq!(self.gateway.leads_to_activator(&meta::Key::new("default", "a-1"), 80), is_proxied);
    }

    fn port(&self) -> &'static str {
        if self.is_http2 { "http2" } else { "http" }
    }

    fn endpoints(&self, addr: SocketAddr) -> k8s_openapi::api::core::v1::Endpoints {
        let subset = json!({"addresses": [{"ip": addr.ip()}], "ports": [{"name": self.port(), "port": addr.port()}]});
        serde_json::from_value(json!({"subsets": [subset]})).unwrap()
    }

    async fn send(&self, request: Request) -> Result<Response, Unanswered> {
        let target = if self.is_http2 { Target::http2(self.public) } else { Target::http1(self.public) };
        let upstream = self.rig.upstream();
        let sending = upstream.send(&target, request);
        tokio::time::timeout(PATIENCE, sending).await.unwrap_or_else(|_| panic!("{}: no answer", self.name))
    }
}

/// Where the Pod is, as the Endpoints say.
fn pod(is_http2: bool) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), if is_http2 { 8013 } else { 8012 })
}

/// Pods serve on 8012 and 8013, of which a test's machine has one each: a call to it that goes on over a socket to where the Pod is.
fn forward(rig: &Rig, from: SocketAddr, to: SocketAddr) -> LocalEntry {
    let upstream = rig.upstream();
    let handler = move |request: Request| -> futures::future::BoxFuture<'static, _> {
        let upstream = upstream.clone();
        Box::pin(async move {
            let target = if from.port() == 8013 { Target::http2(to) } else { Target::http1(to) };
            upstream.send(&target, request).await.map_err(|unanswered| unanswered.cause)
        })
    };
    rig.local.insert(from, Arc::new(handler))
}

/// Every cut, by the activator and then straight to the Pod.
fn ways(stacks: &[Stack]) -> impl Iterator<Item = (String, &Stack)> {
    let all = stacks.iter().flat_map(|stack| [true, false].map(|is_proxied| (stack, is_proxied)));
    all.map(|(stack, is_proxied)| {
        stack.set_proxied(is_proxied);
        (format!("{}, {}", stack.name, if is_proxied { "by the activator" } else { "straight" }), stack)
    })
}

async fn user(request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if path == "/missing" {
        let mut response = Response::new(Body::from("nothing here"));
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        return response;
    }
    let host = request.headers()["host"].to_str().unwrap().to_owned();
    let body = request.into_body().read(1 << 23).await.unwrap();
    Response::new(Body::from(format!("{method} {host}{path} {}", String::from_utf8_lossy(&body))))
}

fn post(body: impl Into<Body>) -> Request {
    let mut post = get("a.example", "/post", &[]);
    (*post.method_mut(), *post.body_mut()) = (Method::POST, body.into());
    post
}

#[tokio::test]
async fn requests_and_bodies_of_any_length() {
    let long = "x".repeat(3 << 20);
    for (way, stack) in ways(&Stack::all(false, user)) {
        for (request, status, expected) in [
            (get("a.example", "/", &[]), 200, "GET a.example/ ".to_owned()),
            (get("a.example", "/missing", &[]), 404, "nothing here".to_owned()),
            (get("b.example", "/", &[]), 404, String::new()),
            (post(long.clone()), 200, format!("POST a.example/post {long}")),
        ] {
            let answer = stack.send(request).await.unwrap();
            assert_eq!(answer.status(), status, "{way}");
            let body = answer.into_body().read(1 << 23).await.unwrap();
            assert!(body == expected, "{way}: {} bytes for {}", body.len(), expected.len());
        }
    }
}

#[tokio::test]
async fn by_the_activator_it_is_said_so() {
    let by = |request: Request| async move {
        Response::new(Body::from(request.headers().contains_key("k-proxy-request").to_string()))
    };
    for stack in Stack::all(false, by) {
        for is_proxied in [true, false] {
            stack.set_proxied(is_proxied);
            let answer = stack.send(get("a.example", "/", &[])).await.unwrap();
            assert_eq!(read(answer).await, is_proxied.to_string(), "{}", stack.name);
        }
    }
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let head = |_request| async {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("content-length", HeaderValue::from_static("12"));
        response
    };
    for (way, stack) in ways(&Stack::all(false, head)) {
        let mut client = TcpStream::connect(stack.public).await.unwrap();
        // The second answer shows that nothing followed the first.
        for _ in 0..2 {
            client.write_all(b"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
            let head = read_until(&mut client, "\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 12"), "{way}: {head}");
        }
    }
}

#[tokio::test]
async fn who_expects_to_be_told_to_continue_is() {
    for (way, stack) in ways(&Stack::all(false, user)) {
        let mut client = TcpStream::connect(stack.public).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let told = read_until(&mut client, "\r\n\r\n").await;
        assert!(told.starts_with("HTTP/1.1 100"), "{way}: {told}");
        client.write_all(b"hello").await.unwrap();
        let answer = read_until(&mut client, "POST a.example/ hello").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{way}: {answer}");
    }
}

#[tokio::test]
async fn both_ways_at_once() {
    let echo = |request: Request| async { Response::new(request.into_body()) };
    for is_http2 in [false, true] {
        for (way, stack) in ways(&Stack::all(is_http2, echo)) {
            let (sender, body) = Body::channel(1);
            sender.send("one ").await.unwrap();
            let mut answer = stack.send(post(body)).await.unwrap().into_body();
            for next in ["two ", "three"] {
                // It comes before the end is sent.
                let part = tokio::time::timeout(PATIENCE, answer.frame()).await.unwrap().unwrap().unwrap();
                assert!(part.into_data().is_ok_and(|data| !data.is_empty()), "{way}");
                sender.send(next).await.unwrap();
            }
            sender.finish().await.unwrap();
            assert_eq!(answer.read(100).await.unwrap(), "three", "{way}");
        }
    }
}

#[tokio::test]
async fn grpc_has_its_trailers() {
    let grpc = |request: Request| async move {
        let wants = request.headers().get("te").is_some_and(|te| te == "trailers");
        let body = request.into_body().read(100).await.unwrap();
        let (sender, answer) = Body::channel(2);
        let status = if wants && body == "ask" { "0" } else { "2" };
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))]);
        sender.send("answer").await.unwrap();
        sender.finish_with(trailers).await.unwrap();
        Response::new(answer)
    };
    for (way, stack) in ways(&Stack::all(true, grpc)) {
        let mut call = post("ask");
        call.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        let answer = stack.send(call).await.unwrap().into_body().collect().await.unwrap();
        let trailers = answer.trailers().cloned().expect("trailers");
        assert_eq!((trailers["grpc-status"].as_bytes(), &*answer.to_bytes()), (&b"0"[..], &b"answer"[..]), "{way}");
    }
}

#[tokio::test]
async fn a_websocket_passes() {
    for (name, is_activator_here, is_queue_here) in CUTS {
        let rig = Rig::new();
        let user = echo_server(&rig).await;
        let stack = Stack::new(name, (rig, user), (is_activator_here, is_queue_here, false));
        for is_proxied in [true, false] {
            stack.set_proxied(is_proxied);
            let mut client = TcpStream::connect(stack.public).await.unwrap();
            let head =
                "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
            client.write_all(head.as_bytes()).await.unwrap();
            let answer = read_until(&mut client, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 101"), "{name} {is_proxied}: {answer}");
            for text in ["hello", "again"] {
                client.write_all(text.as_bytes()).await.unwrap();
                assert_eq!(read_until(&mut client, text).await, text);
            }
        }
    }
}

/// Switches protocols, and then says what it hears.
async fn echo_server(rig: &Rig) -> SocketAddr {
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = echo.local_addr().unwrap();
    let tasks = rig.tasks.clone();
    rig.tasks.spawn_transient("user", async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tasks.spawn_transient("user", async move {
                read_until(&mut stream, "\r\n\r\n").await;
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn nobody_comes_in_time() {
    for stack in Stack::all(false, user) {
        stack.set_proxied(true);
        stack.set_pods(false);
        stack.activator.set_revision(&revision("a-1", 0, 1));
        let answer = stack.send(get("a.example", "/", &[])).await.unwrap();
        assert_eq!(answer.status(), 504, "{}", stack.name);
        assert_eq!(read(answer).await, "activator request timeout");
        let load = stack.activator.load_of(&meta::Key::new("default", "a-1"));
        assert_eq!(load, Some((0, 0)), "nobody waits any more");
    }
}

#[tokio::test]
async fn who_waits_is_answered_when_a_pod_comes() {
    for stack in Stack::all(false, user) {
        stack.set_proxied(true);
        stack.set_pods(false);
        let revision = meta::Key::new("default", "a-1");
        let coming = async {
            while stack.activator.load_of(&revision) != Some((1, 0)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stack.set_pods(true);
        };
        let both = async { tokio::join!(stack.send(post("long waited for")), coming).0 };
        let answer = tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap();
        assert_eq!(read(answer).await, "POST a.example/post long waited for", "{}", stack.name);
    }
}
