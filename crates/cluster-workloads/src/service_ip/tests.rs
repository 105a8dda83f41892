//! Forwarders between loopback sockets: clients, fronts and endpoints are all of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base_controller::Key;
use base_rt::metrics::Scope;
use base_rt::{Shutdown, ShutdownHandle, Tasks};
use cluster_sandbox::spec::Protocol;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;

use super::keeper::{Keeper, Round};
use super::metrics::Metrics;
use super::picker::Picker;
use super::table::{self, Wanted};
use super::{Front, Parts, ServiceIpConfig, ServiceSockets, start};
use crate::testing::{LoopbackSockets, context_of};

struct Bench {
    keeper: Keeper,
    sockets: Arc<LoopbackSockets>,
    tasks: Tasks,
    _shutdown: ShutdownHandle,
}

impl Bench {
    fn new() -> Self {
        let (handle, shutdown) = Shutdown::new();
        let (tasks, sockets) = (Tasks::new(shutdown), Arc::new(LoopbackSockets::default()));
        let kept: Arc<dyn ServiceSockets> = Arc::<LoopbackSockets>::clone(&sockets);
        let keeper = Keeper::new(kept, tasks.clone(), Metrics::new(&Scope::root()));
        Self { keeper, sockets, tasks, _shutdown: handle }
    }

    /// An endpoint that tells its name and then, once the client has finished, how much it has read.
    async fn endpoint(&self, name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.tasks.spawn_transient("test/endpoint", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(name.as_bytes()).await.unwrap();
                let mut read = Vec::new();
                stream.read_to_end(&mut read).await.unwrap();
                stream.write_all(read.len().to_string().as_bytes()).await.unwrap();
            }
        });
        address
    }

    async fn datagram_endpoint(&self, name: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        self.tasks.spawn_transient("test/endpoint", async move {
            let mut buffer = [0; 100];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let answer = [name.as_bytes(), &buffer[..length]].concat();
                socket.send_to(&answer, client).await.unwrap();
            }
        });
        address
    }

    async fn round(&mut self, key: &str, fronts: &[(Front, &[SocketAddr])]) -> BTreeSet<Key> {
        self.keeper.round(Round::from([(Key::new("default", key), wanted(fronts))])).await
    }
}

fn wanted(fronts: &[(Front, &[SocketAddr])]) -> BTreeMap<Front, Wanted> {
    let of = |endpoints: &[SocketAddr]| Wanted { endpoints: endpoints.to_vec(), affinity: None };
    fronts.iter().map(|(front, endpoints)| (*front, of(endpoints))).collect()
}

fn tcp(address: &str) -> Front {
    Front { protocol: Protocol::Tcp, address: address.parse().unwrap() }
}

fn udp(address: &str) -> Front {
    Front { protocol: Protocol::Udp, address: address.parse().unwrap() }
}

/// An address of this machine at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Sends `sent`, finishes, and reads all there is.
async fn talk(address: SocketAddr, sent: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(sent).await?;
    stream.shutdown().await?;
    let mut read = String::new();
    stream.read_to_string(&mut read).await?;
    Ok(read)
}

#[tokio::test]
async fn connections_go_to_each_endpoint_in_turn_and_ends_pass_one_by_one() {
    let mut bench = Bench::new();
    let endpoints = [bench.endpoint("a").await, bench.endpoint("b").await];
    let front = tcp("10.96.0.7:80");
    assert!(bench.round("web", &[(front, &endpoints)]).await.is_empty());
    let address = bench.sockets.at(front);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(talk(address, &[b'x'; 100_000]).await.unwrap());
    }
    assert_eq!(answers, ["a100000", "b100000", "a100000", "b100000"]);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_followed_by_the_next() {
    let mut bench = Bench::new();
    let endpoints = [nobody().await, bench.endpoint("b").await];
    let front = tcp("10.96.0.7:80");
    bench.round("web", &[(front, &endpoints)]).await;
    for _ in 0..3 {
        assert_eq!(talk(bench.sockets.at(front), b"12").await.unwrap(), "b2");
    }
}

#[tokio::test]
async fn without_endpoints_a_connection_is_reset() {
    let mut bench = Bench::new();
    let front = tcp("10.96.0.7:80");
    bench.round("web", &[(front, &[])]).await;
    let mut stream = TcpStream::connect(bench.sockets.at(front)).await.unwrap();
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_front_that_is_not_wanted_is_closed_and_its_connections_last() {
    let mut bench = Bench::new();
    let endpoint = bench.endpoint("a").await;
    let front = tcp("10.96.0.7:80");
    bench.round("web", &[(front, &[endpoint])]).await;
    let address = bench.sockets.at(front);
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'a');

    bench.round("web", &[]).await;
    assert!(bench.sockets.kept().await.unwrap().is_empty());
    assert_eq!(talk(address, b"").await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    stream.write_all(b"123").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'3');
}

#[tokio::test]
async fn an_address_moves_from_one_service_to_another_within_a_round() {
    let mut bench = Bench::new();
    let (a, b) = (bench.endpoint("a").await, bench.endpoint("b").await);
    let front = tcp("10.96.0.7:80");
    bench.round("z", &[(front, &[a])]).await;
    let both = [(Key::new("default", "a"), wanted(&[(front, &[b])])), (Key::new("default", "z"), wanted(&[]))];
    assert!(bench.keeper.round(both.into()).await.is_empty());
    assert_eq!(talk(bench.sockets.at(front), b"").await.unwrap(), "b0");
    let taken = bench.round("z", &[(front, &[a])]).await;
    assert_eq!(taken, BTreeSet::from([Key::new("default", "z")]), "it is another's now");
}

#[tokio::test]
async fn what_cannot_be_opened_is_said_and_can_be_tried_again() {
    let mut bench = Bench::new();
    let endpoint = bench.endpoint("a").await;
    let (broken, whole) = (tcp("10.96.0.7:80"), tcp("10.96.0.7:81"));
    bench.sockets.set_broken(broken, true);
    let failed = bench.round("web", &[(broken, &[endpoint]), (whole, &[endpoint])]).await;
    assert_eq!(failed, BTreeSet::from([Key::new("default", "web")]));
    assert_eq!(talk(bench.sockets.at(whole), b"").await.unwrap(), "a0", "the other one is served");
    bench.sockets.set_broken(broken, false);
    assert!(bench.round("web", &[(broken, &[endpoint]), (whole, &[endpoint])]).await.is_empty());
    assert_eq!(talk(bench.sockets.at(broken), b"").await.unwrap(), "a0");
}

#[tokio::test]
async fn datagrams_keep_to_their_session_until_its_endpoint_goes() {
    let mut bench = Bench::new();
    let endpoints = [bench.datagram_endpoint("a").await, bench.datagram_endpoint("b").await];
    let front = udp("10.96.0.10:53");
    bench.round("dns", &[(front, &endpoints)]).await;
    let address = bench.sockets.at(front);
    let clients = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    let ask = async |client: usize, text: &str| {
        clients[client].send_to(text.as_bytes(), address).await.unwrap();
        let mut buffer = [0; 100];
        let (length, from) = clients[client].recv_from(&mut buffer).await.unwrap();
        assert_eq!(from, address, "the answer comes from where the question went");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!((ask(0, "1").await, ask(1, "1").await), ("a1".to_owned(), "b1".to_owned()));
    assert_eq!((ask(0, "2").await, ask(1, "2").await), ("a2".to_owned(), "b2".to_owned()));
    bench.round("dns", &[(front, &endpoints[1..])]).await;
    assert_eq!(ask(0, "3").await, "b3");
}

#[tokio::test(start_paused = true)]
async fn a_client_with_affinity_stays_as_long_as_its_time_and_endpoint_last() {
    let [a, b, c]: [SocketAddr; 3] = [1, 2, 3].map(|n| ([10, 1, 0, n], 80).into());
    let client = [10, 9, 0, 1].into();
    let wanted =
        |endpoints: &[SocketAddr]| Wanted { endpoints: endpoints.to_vec(), affinity: Some(Duration::from_secs(10)) };
    let picker = Picker::default();
    picker.update(wanted(&[a, b, c]));
    assert_eq!(picker.candidates(client, Instant::now()), [a, b, c]);
    picker.took(client, a, Instant::now());
    assert_eq!(picker.candidates(client, Instant::now()), [a, b, c]);
    assert_eq!(picker.candidates([10, 9, 0, 2].into(), Instant::now()), [c, a, b], "others go on in turn");
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(picker.candidates(client, Instant::now())[0], a);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(picker.candidates(client, Instant::now())[0], b, "its time is over");
    picker.took(client, c, Instant::now());
    picker.update(wanted(&[a, b]));
    assert_ne!(picker.candidates(client, Instant::now())[0], c);
}

/// What stands behind each front of a Service, as text.
fn behind(config: &ServiceIpConfig, spec: Value, slices: &[Value]) -> Vec<String> {
    let service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    let slices: Vec<_> = slices.iter().map(|slice| Arc::new(serde_json::from_value(slice.clone()).unwrap())).collect();
    let fronts = table::fronts(config, &serde_json::from_value(service).unwrap(), &slices);
    fronts.iter().map(|(front, wanted)| format!("{front} {:?}", wanted.endpoints)).collect()
}

fn endpoint(ip: &str, ready: bool, serving: bool) -> Value {
    json!({"addresses": [ip], "conditions": {"ready": ready, "serving": serving, "terminating": !ready && serving}})
}

fn slice(ports: Value, endpoints: &[Value]) -> Value {
    json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}, "namespace": "default", "name": "web-1"},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints})
}

#[test]
fn fronts_follow_from_service_and_slices() {
    let none = ServiceIpConfig::default();
    let spec = json!({"clusterIP": "10.96.0.7", "ports": [
        {"name": "http", "port": 80, "targetPort": "web"}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "s", "port": 9, "protocol": "SCTP"}]});
    let slices = [
        slice(
            json!([{"name": "http", "port": 8080, "protocol": "TCP"}]),
            &[endpoint("10.1.0.1", true, true), endpoint("10.1.0.2", false, false)],
        ),
        slice(
            json!([{"name": "http", "port": 9090}, {"name": "dns", "port": 5353, "protocol": "UDP"}]),
            &[endpoint("10.1.0.3", true, true)],
        ),
    ];
    assert_eq!(
        behind(&none, spec.clone(), &slices),
        ["10.96.0.7:80/tcp [10.1.0.1:8080, 10.1.0.3:9090]", "10.96.0.7:53/udp [10.1.0.3:5353]"]
    );
    let config = ServiceIpConfig {
        pinned: [((Key::new("default", "web"), 80), "127.0.0.1:5000".parse().unwrap())].into(),
        ..ServiceIpConfig::default()
    };
    assert_eq!(behind(&config, spec.clone(), &[]), ["10.96.0.7:80/tcp [127.0.0.1:5000]", "10.96.0.7:53/udp []"]);
    let config = ServiceIpConfig { elsewhere: ["10.96.0.7".parse().unwrap()].into(), ..ServiceIpConfig::default() };
    assert!(behind(&config, spec, &slices).is_empty());
}

#[test]
fn endpoints_that_end_are_the_last_resort() {
    let spec = json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]});
    let ports = json!([{"name": "", "port": 8080, "protocol": "TCP"}]);
    let ending = [endpoint("10.1.0.1", false, true), endpoint("10.1.0.2", false, false)];
    let config = ServiceIpConfig::default();
    let last = behind(&config, spec.clone(), &[slice(ports.clone(), &ending)]);
    assert_eq!(last, ["10.96.0.7:80/tcp [10.1.0.1:8080]"]);
    let [first, second] = ending;
    let both = behind(&config, spec, &[slice(ports, &[first, second, endpoint("10.1.0.3", true, true)])]);
    assert_eq!(both, ["10.96.0.7:80/tcp [10.1.0.3:8080]"]);
}

#[test]
fn headless_and_external_services_have_no_front() {
    let config = ServiceIpConfig::default();
    let ports = json!([{"port": 80}]);
    assert!(behind(&config, json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": ports}), &[]).is_empty());
    assert!(behind(&config, json!({"type": "ExternalName", "externalName": "a.b", "ports": ports}), &[]).is_empty());
    assert!(behind(&config, json!({"ports": ports}), &[]).is_empty(), "not given one yet");
}

#[tokio::test]
async fn what_the_api_says_is_served_and_what_an_earlier_process_left_is_closed() {
    let endpoint_at = Bench::new().endpoint("a").await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1", "uid": "u"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}});
    let mut slice = slice(
        json!([{"name": "", "port": endpoint_at.port(), "protocol": "TCP"}]),
        &[endpoint("127.0.0.1", true, true)],
    );
    slice["kind"] = "EndpointSlice".into();
    slice["apiVersion"] = "discovery.k8s.io/v1".into();
    let (context, _shutdown) = context_of(vec![service, slice]);
    let sockets = Arc::new(LoopbackSockets::default());
    for left in ["10.96.0.9:80", "10.96.0.10:53"] {
        sockets.listen_tcp(left.parse().unwrap()).await.unwrap();
    }
    let config = ServiceIpConfig { elsewhere: ["10.96.0.10".parse().unwrap()].into(), ..ServiceIpConfig::default() };
    let kept: Arc<dyn ServiceSockets> = Arc::<LoopbackSockets>::clone(&sockets);
    start(config, Parts { context, sockets: kept, metrics: Scope::root() }).ready().await;
    assert_eq!(sockets.kept().await.unwrap(), [tcp("10.96.0.7:80"), tcp("10.96.0.10:53")]);
    assert_eq!(talk(sockets.at(tcp("10.96.0.7:80")), b"1").await.unwrap(), "a1");
}
