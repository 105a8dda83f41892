//! queue-proxy in front of a user's container.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base_net::connect::{Connector, LocalTable, Target};
use base_net::pki::{Authority, Subject};
use base_net::tls::{Trust, client_config};
use base_net::{Body, Request, Response};
use base_rt::Phase;
use futures::future::join_all;
use knative_proxy::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};

use crate::rig::{PATIENCE, Rig, environment, eventually, get, read};

/// Says what the container sees.
async fn show(request: Request) -> Response {
    let mut lines: Vec<_> = request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    lines.sort();
    Response::new(Body::from(lines.join("\n")))
}

#[tokio::test]
async fn the_container_sees_where_a_request_came_from() {
    let rig = Rig::new();
    let container = rig.container(&environment(rig.user(show), &[]), None);
    let headers = [
        ("k-original-host", "hello.example"),
        ("knative-serving-revision", "x"),
        ("knative-serving-namespace", "y"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "http"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ];
    let (status, seen) = rig.ask(container.ports[&8012], get("10.1.0.1:8012", "/", &headers)).await;
    assert_eq!(status, 200);
    assert!(seen.contains("host: hello.example"), "{seen}");
    assert!(seen.contains("forwarded: for=1.2.3.4;proto=http"), "{seen}");
    assert!(seen.contains("traceparent: 00-"), "{seen}");
    assert!(!seen.contains("knative-serving") && !seen.contains("x-hop"), "{seen}");
}

#[tokio::test]
async fn http2_stays_http2() {
    let rig = Rig::new();
    let user = rig.user(|request| async move { Response::new(Body::from(format!("{:?}", request.version()))) });
    for (port, expected) in [("8012", "HTTP/1.1"), ("8013", "HTTP/2.0")] {
        let container = rig.container(&environment(user, &[("QUEUE_SERVING_PORT", port)]), None);
        let target = Target::http2(container.ports[&8012]);
        let response = rig.upstream().send(&target, get("a.example", "/", &[])).await.unwrap();
        assert_eq!(read(response).await, expected);
    }
}

#[tokio::test]
async fn tls_is_served_by_the_certificate_that_is_mounted() {
    let (rig, now) = (Rig::new(), base_rt::Clock::system().now());
    let authority = Authority::generate("ca", now, 1).unwrap();
    let made = authority.issue(("", Subject::Server(&["kn-user-default".to_owned()])), now, 1).unwrap();
    let files = move |path: &str| match path.rsplit_once('/')?.1 {
        "tls.crt" => Some(made.certificate_pem.clone().into_bytes()),
        _ => Some(made.key_pem.clone().into_bytes()),
    };
    let lines: Arc<std::sync::Mutex<String>> = Arc::default();
    let log = Arc::clone(&lines);
    let log = move |line: &[u8]| log.lock().unwrap().push_str(std::str::from_utf8(line).unwrap());
    let observability =
        r#"{"enableRequestLog": true, "requestLogTemplate": "{{.Request.RequestURI}} {{.Request.TLS}}"}"#;
    let variables = environment(rig.user(show), &[("OBSERVABILITY_CONFIG", observability)]);
    let container = rig.container_with(&variables, None, (Arc::new(files), Arc::new(log)));
    let tls = client_config(Trust::Authorities(authority.credentials().certificate_pem.as_bytes()), None).unwrap();
    let connector = Connector::new().with_tls(tls);
    let upstream = Upstream::new(LocalTable::default(), connector, 0, (&rig.tasks, &rig.metrics));
    for (name, is_answered) in [("kn-user-default", true), ("kn-user-other", false)] {
        let target = Target::http2(container.ports[&8112]).with_tls(name.try_into().unwrap());
        let answer = upstream.send(&target, get("a.example", "/secured", &[])).await;
        assert_eq!(answer.is_ok(), is_answered, "{name}");
    }
    assert_eq!(rig.ask(container.ports[&8012], get("a.example", "/plain", &[])).await.0, 200);
    eventually("both requests in the log", || lines.lock().unwrap().contains("/plain <nil>\n")).await;
    let lines = lines.lock().unwrap().clone();
    assert!(lines.contains("/secured {772 true false "), "{lines}");
    let plain = rig.container(&variables, None);
    let target = Target::http1(plain.ports[&8112]).with_tls("kn-user-default".try_into().unwrap());
    assert!(upstream.send(&target, get("a.example", "/", &[])).await.is_err(), "nothing is mounted");
}

#[tokio::test]
async fn health_probes() {
    let rig = Rig::new();
    let container = rig.container(&environment(rig.user(show), &[]), None);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let probe = format!(r#"{{"tcpSocket":{{"port":{}}},"periodSeconds":10}}"#, nobody.port());
    let starting = rig.container(&environment(nobody, &[("SERVING_READINESS_PROBE", &probe)]), None);
    let asked = |agent, probe| [("user-agent", agent), ("k-network-probe", probe)];
    for (container, headers, expected) in [
        (&container, asked("kube-probe/1.34", "queue"), (200, "queue")),
        (&container, asked("Knative-Activator-Probe", "queue"), (200, "queue")),
        (&container, asked("kube-probe/1.34", "activator"), (400, "unexpected probe header value: activator")),
        (&starting, asked("kube-probe/1.34", "queue"), (503, "")),
    ] {
        let (status, body) = rig.ask(container.ports[&8012], get("h", "/healthz", &headers)).await;
        assert_eq!((status, body.as_str()), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn at_most_as_many_as_the_container_takes() {
    let rig = Rig::new();
    let (now, most, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counting, highest, waiting) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&gate));
    let user = rig.user(move |_request| {
        let (now, most, gate) = (Arc::clone(&counting), Arc::clone(&highest), Arc::clone(&waiting));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
            Response::new(Body::from("done"))
        }
    });
    let container = rig.container(&environment(user, &[("CONTAINER_CONCURRENCY", "2")]), None);
    let addr = container.ports[&8012];
    // 2 in the container, 20 in line, the others are refused.
    let asking = join_all((0..30).map(|_| rig.ask(addr, get("h", "/", &[]))));
    let answering = async {
        eventually("the container is full", || now.load(Ordering::SeqCst) == 2).await;
        gate.add_permits(30);
    };
    let (answers, ()) = tokio::join!(asking, answering);
    let full =
        answers.iter().filter(|(status, body)| (*status, body.as_str()) == (503, "pending request queue full")).count();
    let done = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(done + full, 30);
    assert!(done >= 22, "{done} were answered");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_response_that_does_not_come_is_504() {
    let rig = Rig::new();
    let user = rig.user(|_request| std::future::pending());
    let container = rig.container(&environment(user, &[("REVISION_RESPONSE_START_TIMEOUT_SECONDS", "1")]), None);
    let answer = rig.ask(container.ports[&8012], get("h", "/", &[])).await;
    assert_eq!(answer, (504, "request timeout".to_owned()));
}

#[tokio::test]
async fn a_response_streams() {
    let rig = Rig::new();
    let (give, take) = mpsc::channel::<Body>(1);
    let take = Arc::new(tokio::sync::Mutex::new(take));
    let user = rig.user(move |_request| {
        let take = Arc::clone(&take);
        async move { Response::new(take.lock().await.recv().await.unwrap()) }
    });
    let container = rig.container(&environment(user, &[]), None);
    let (sender, body) = Body::channel(1);
    give.send(body).await.unwrap();
    sender.send("first ").await.unwrap();
    let response = rig.response(container.ports[&8012], get("h", "/", &[])).await;
    // The head is here before the end is sent.
    sender.send("last").await.unwrap();
    sender.finish().await.unwrap();
    assert_eq!(read(response).await, "first last");
}

#[tokio::test]
async fn what_is_in_flight_ends_before_the_container_does() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    let (waiting, arrived) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let arriving = Arc::clone(&arrived);
    let user = rig.user(move |_request| {
        let (gate, arrived) = (Arc::clone(&waiting), Arc::clone(&arriving));
        async move {
            arrived.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            Response::new(Body::from("done"))
        }
    });
    let container = rig.container(&environment(user, &[]), None);
    let addr = container.ports[&8012];
    let asking = rig.ask(addr, get("h", "/", &[]));
    let ending = async {
        eventually("the request is in the container", || arrived.load(Ordering::SeqCst) == 1).await;
        container.end.advance(Phase::Lame);
        let probe = [("user-agent", "kube-probe/1.34"), ("k-network-probe", "queue")];
        // Probes fail as soon as the end has begun; calls reach it until it has ended.
        let draining = async {
            while rig.ask("10.1.0.1:8012".parse().unwrap(), get("h", "/", &probe)).await.0 != 503 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, draining).await.unwrap();
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(asking, ending);
    assert_eq!(answer, (200, "done".to_owned()));
    tokio::time::timeout(PATIENCE, container.queue.ended()).await.unwrap();
    assert!(rig.local.get(&"10.1.0.1:8012".parse().unwrap()).is_none());
}

#[tokio::test]
async fn the_users_container_ends_after_what_is_in_flight() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let user = rig.user(move |_request| {
        let gate = Arc::clone(&waiting);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(Body::from("done"))
        }
    });
    let container = rig.container(&environment(user, &[]), None);
    let (pod, upstream) = (Target::http1("10.1.0.1:8012".parse().unwrap()), rig.upstream());
    let asking = rig.ask(container.ports[&8012], get("h", "/", &[]));
    let hook = rig.ask(container.ports[&8022], get("h", "/wait-for-drain", &[]));
    let (mut asking, mut hook) = (Box::pin(asking), Box::pin(hook));
    let draining = async {
        container.end.advance(Phase::Lame);
        // Once nothing comes any more, a call gets its request back to go elsewhere.
        loop {
            let probe = [("user-agent", "kube-probe/1.34"), ("k-network-probe", "queue")];
            match upstream.send(&pod, get("h", "/late", &probe)).await {
                // Not yet; the drain goes on meanwhile.
                Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(unanswered) => return unanswered.into_request().unwrap(),
            }
        }
    };
    let request = tokio::select! {
        biased;
        _ = &mut asking => panic!("nobody let the request go on"),
        answer = &mut hook => panic!("a request is in flight, and the hook was answered {answer:?}"),
        request = tokio::time::timeout(PATIENCE, draining) => request.unwrap(),
    };
    assert_eq!(request.uri().path(), "/late");
    gate.add_permits(1);
    assert_eq!(asking.await, (200, "done".to_owned()));
    assert_eq!(hook.await.0, 200);
}

#[tokio::test]
async fn what_the_container_does_not_take_is_handed_back() {
    let rig = Rig::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let container = rig.container(&environment(nobody, &[]), None);
    let mut post = get("h", "/x", &[]);
    (*post.method_mut(), *post.body_mut()) = (http::Method::POST, Body::from("body"));
    let pod = Target::http1("10.1.0.1:8012".parse().unwrap());
    let unanswered = rig.upstream().send(&pod, post).await.unwrap_err();
    let request = unanswered.into_request().expect("nothing of it was sent");
    assert_eq!((request.method(), request.uri().path()), (&http::Method::POST, "/x"));
    assert_eq!(request.into_body().read(10).await.unwrap(), "body");
    // Over a socket there is no way back.
    assert_eq!(rig.ask(container.ports[&8012], get("h", "/", &[])).await.0, 502);
}

#[tokio::test]
async fn the_users_container_waits_for_the_drain() {
    let rig = Rig::new();
    let container = rig.container(&environment(rig.user(show), &[]), None);
    assert_eq!(rig.ask(container.ports[&8022], get("h", "/", &[])).await.0, 404);
    let probe = [("user-agent", "kube-probe/1.34"), ("k-network-probe", "queue")];
    let addr = container.ports[&8012];
    let draining = async { while rig.ask(addr, get("h", "/", &probe)).await != (503, "shutting down".to_owned()) {} };
    let (hook, ()) = tokio::join!(rig.ask(container.ports[&8022], get("h", "/wait-for-drain", &[])), draining);
    assert_eq!(hook.0, 200);
    // The container did not end after all.
    assert_eq!(rig.ask(addr, get("h", "/", &probe)).await, (200, "queue".to_owned()));
}

#[tokio::test]
async fn statistics_are_sent_and_shown() {
    let rig = Rig::new();
    let (sender, mut stats) = mpsc::channel(16);
    let container = rig.container(&environment(rig.user(show), &[]), Some(sender));
    let addr = container.ports[&8012];
    rig.ask(addr, get("h", "/", &[])).await;
    rig.ask(addr, get("h", "/", &[("k-proxy-request", "activator")])).await;
    let counted = async {
        let mut total = (0.0, 0.0);
        while total.0 < 2.0 {
            let message = stats.recv().await.unwrap();
            assert_eq!(
                (message.key.to_string().as_str(), message.stat.pod_name.as_str()),
                ("default/hello-00001", "hello-00001-deployment-abc")
            );
            total = (total.0 + message.stat.request_count, total.1 + message.stat.proxied_request_count);
        }
        total
    };
    assert_eq!(tokio::time::timeout(PATIENCE, counted).await.unwrap(), (2.0, 1.0));
    let shown = rig.response(container.ports[&9090], get("h", "/metrics", &[])).await;
    assert_eq!(shown.headers()["content-type"], "application/protobuf");
    let bytes = shown.into_body().read(1000).await.unwrap();
    assert!(bytes.windows(26).any(|part| part == b"hello-00001-deployment-abc"));
    assert_eq!(rig.ask(container.ports[&9091], get("h", "/metrics", &[])).await.0, 404, "nobody wanted them");
}

#[tokio::test]
async fn an_upgraded_connection_passes_and_ends_with_the_timeout() {
    let rig = Rig::new();
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let user = echo.local_addr().unwrap();
    rig.tasks.spawn_transient("user", async move {
        let (mut stream, _) = echo.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            .await
            .unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let changes = [("REVISION_TIMEOUT_SECONDS", "1"), ("SERVING_READINESS_PROBE", "")];
    let container = rig.container(&environment(user, &changes), None);
    let mut client = tokio::net::TcpStream::connect(container.ports[&8012]).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello").await.unwrap();
    let mut all = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, client.read_to_end(&mut all));
    reading.await.expect("the connection ends with the timeout").unwrap();
    let text = String::from_utf8(all).unwrap();
    assert!(text.starts_with("HTTP/1.1 101") && text.ends_with("hello"), "{text}");
}
