//! Names of a small cluster, by table; and real questions over loopback, UDP and TCP, with a server of other names beside it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base_controller::Key;
use base_rt::metrics::Scope;
use cluster_sandbox::spec::Protocol;
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::forward::{parse, receive, send};
use super::zone::{Directory, Zone};
use super::{DnsConfig, Parts, Upstream, start};
use crate::service_ip::{Front, ServiceSockets, cluster_ips};
use crate::testing::{LoopbackSockets, context_of};

const ADDRESS: &str = "10.96.0.10";

/// The objects of a small cluster.
fn cluster() -> Vec<Value> {
    let service = |namespace: &str, name: &str, spec: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "spec": spec,
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1", "uid": format!("{namespace}-{name}")}})
    };
    let slice = |service: &str, index: usize, ports: Value, endpoints: Value| {
        let metadata = json!({"name": format!("{service}-{index}"), "namespace": "default", "resourceVersion": "1", "uid": format!("{service}-{index}"),
            "labels": {"kubernetes.io/service-name": service}});
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
            "ports": ports, "endpoints": endpoints})
    };
    let peer_ports = json!([{"name": "peer", "port": 7000, "protocol": "TCP"}]);
    let many: Vec<Value> = (1..=100).map(|n| json!({"addresses": [format!("10.1.1.{n}")]})).collect();
    vec![
        service("default", "kubernetes", json!({"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]})),
        service(
            "default",
            "web",
            json!({"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}),
        ),
        service(
            "default",
            "db",
            json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "peer", "port": 7000}]}),
        ),
        slice(
            "db",
            1,
            peer_ports,
            json!([
            {"addresses": ["10.1.0.1"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.1.0.3"], "hostname": "db-2", "conditions": {"ready": false}}]),
        ),
        service("default", "empty", json!({"clusterIP": "None", "ports": []})),
        service("default", "many", json!({"clusterIP": "None", "ports": []})),
        slice("many", 1, json!([]), json!(many)),
        service("default", "hello", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"})),
        service(
            "default",
            "chained",
            json!({"type": "ExternalName", "externalName": "hello.default.svc.cluster.local"}),
        ),
        service("default", "lost", json!({"type": "ExternalName", "externalName": "gone.default.svc.cluster.local"})),
        service("default", "loop", json!({"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"})),
        service("default", "outside", json!({"type": "ExternalName", "externalName": "www.example.com"})),
        service("default", "numeric", json!({"type": "ExternalName", "externalName": "192.0.2.9"})),
        service("other", "web", json!({"clusterIP": "10.96.0.8", "ports": []})),
    ]
}

struct Objects {
    services: Vec<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
    is_complete: bool,
}

impl Objects {
    fn new(objects: &[Value]) -> Self {
        let of = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind).cloned();
        Self {
            services: of("Service").map(|object| Arc::new(serde_json::from_value(object).unwrap())).collect(),
            slices: of("EndpointSlice").map(|object| Arc::new(serde_json::from_value(object).unwrap())).collect(),
            is_complete: true,
        }
    }
}

impl Directory for Objects {
    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn service(&self, key: &Key) -> Option<Arc<Service>> {
        self.services.iter().find(|service| Key::of(&***service) == *key).map(Arc::clone)
    }

    fn slices(&self, service: &Key) -> Vec<Arc<EndpointSlice>> {
        let is_of = |slice: &&Arc<EndpointSlice>| crate::endpoints::service_of(slice).as_ref() == Some(service);
        self.slices.iter().filter(is_of).map(Arc::clone).collect()
    }

    fn service_at(&self, ip: IpAddr) -> Option<Arc<Service>> {
        let is_at = |service: &&Arc<Service>| cluster_ips(service.spec.as_ref().unwrap()).contains(&ip);
        self.services.iter().find(is_at).map(Arc::clone)
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.services.iter().any(|service| service.metadata.namespace.as_deref() == Some(namespace))
    }
}

fn zone() -> Zone<Objects> {
    Zone::new("cluster.local", ADDRESS.parse().unwrap(), Objects::new(&cluster())).unwrap()
}

fn query(name: &str, kind: &str) -> Query {
    Query::query(Name::from_ascii(name).unwrap(), kind.parse().unwrap())
}

/// A record without its class and time.
fn text(record: &Record) -> String {
    format!("{} {} {}", record.name, record.record_type(), record.data)
}

/// What the zone says, in one line: code, answers, `| SOA` where it says who says so, `+` additional records, `> name` still to be resolved.
fn said(zone: &Zone<Objects>, name: &str, kind: &str) -> String {
    let Some(answer) = zone.answer(&query(name, kind)) else { return "not ours".to_owned() };
    let mut said = vec![answer.code.to_str().to_owned()];
    said.extend(answer.answers.iter().map(text));
    said.extend(answer.authorities.iter().map(|record| format!("| {}", record.record_type())));
    said.extend(answer.additionals.iter().map(|record| format!("+ {}", text(record))));
    said.extend(answer.alias.map(|alias| format!("> {alias}")));
    said.join(", ")
}

#[test]
fn names_have_the_records_of_the_specification() {
    let zone = zone();
    let rows = [
        ("kubernetes.default.svc.cluster.local.", "A", "No Error, kubernetes.default.svc.cluster.local. A 10.96.0.1"),
        ("WEB.Default.svc.CLUSTER.local.", "A", "No Error, WEB.Default.svc.CLUSTER.local. A 10.96.0.7"),
        ("web.default.svc.cluster.local.", "AAAA", "No Error, | SOA"),
        ("web.default.svc.cluster.local.", "MX", "No Error, | SOA"),
        ("web.other.svc.cluster.local.", "A", "No Error, web.other.svc.cluster.local. A 10.96.0.8"),
        ("web.nowhere.svc.cluster.local.", "A", "Non-Existent Domain, | SOA"),
        ("gone.default.svc.cluster.local.", "A", "Non-Existent Domain, | SOA"),
        ("kubernetes.default.svc.cluster.local.default.svc.cluster.local.", "A", "Non-Existent Domain, | SOA"),
        ("example.com.default.svc.cluster.local.", "A", "Non-Existent Domain, | SOA"),
        // Ports.
        (
            "_http._tcp.web.default.svc.cluster.local.",
            "SRV",
            "No Error, _http._tcp.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local., \
             + web.default.svc.cluster.local. A 10.96.0.7",
        ),
        ("_http._udp.web.default.svc.cluster.local.", "SRV", "Non-Existent Domain, | SOA"),
        ("_http._tcp.web.default.svc.cluster.local.", "A", "No Error, | SOA"),
        (
            "_peer._tcp.db.default.svc.cluster.local.",
            "SRV",
            "No Error, _peer._tcp.db.default.svc.cluster.local. SRV 0 50 7000 10-1-0-2.db.default.svc.cluster.local., \
             _peer._tcp.db.default.svc.cluster.local. SRV 0 50 7000 db-0.db.default.svc.cluster.local., \
             + 10-1-0-2.db.default.svc.cluster.local. A 10.1.0.2, + db-0.db.default.svc.cluster.local. A 10.1.0.1",
        ),
        // Endpoints of headless Services.
        ("db-0.db.default.svc.cluster.local.", "A", "No Error, db-0.db.default.svc.cluster.local. A 10.1.0.1"),
        ("10-1-0-2.db.default.svc.cluster.local.", "A", "No Error, 10-1-0-2.db.default.svc.cluster.local. A 10.1.0.2"),
        ("db-2.db.default.svc.cluster.local.", "A", "Non-Existent Domain, | SOA"),
        ("db-0.web.default.svc.cluster.local.", "A", "Non-Existent Domain, | SOA"),
        ("empty.default.svc.cluster.local.", "A", "No Error, | SOA"),
        // ExternalName.
        (
            "chained.default.svc.cluster.local.",
            "A",
            "No Error, chained.default.svc.cluster.local. CNAME hello.default.svc.cluster.local., \
             hello.default.svc.cluster.local. CNAME web.default.svc.cluster.local., web.default.svc.cluster.local. A 10.96.0.7",
        ),
        (
            "hello.default.svc.cluster.local.",
            "AAAA",
            "No Error, hello.default.svc.cluster.local. CNAME web.default.svc.cluster.local., | SOA",
        ),
        (
            "lost.default.svc.cluster.local.",
            "A",
            "Non-Existent Domain, lost.default.svc.cluster.local. CNAME gone.default.svc.cluster.local., | SOA",
        ),
        ("loop.default.svc.cluster.local.", "A", "Server Failure"),
        (
            "outside.default.svc.cluster.local.",
            "A",
            "No Error, outside.default.svc.cluster.local. CNAME www.example.com., > www.example.com.",
        ),
        (
            "outside.default.svc.cluster.local.",
            "CNAME",
            "No Error, outside.default.svc.cluster.local. CNAME www.example.com.",
        ),
        ("numeric.default.svc.cluster.local.", "A", "No Error, numeric.default.svc.cluster.local. A 192.0.2.9"),
        // The domain and what lies between.
        ("default.svc.cluster.local.", "A", "No Error, | SOA"),
        ("nowhere.svc.cluster.local.", "A", "Non-Existent Domain, | SOA"),
        ("svc.cluster.local.", "A", "No Error, | SOA"),
        ("ns.dns.cluster.local.", "A", "No Error, ns.dns.cluster.local. A 10.96.0.10"),
        ("cluster.local.", "NS", "No Error, cluster.local. NS ns.dns.cluster.local."),
        ("dns-version.cluster.local.", "TXT", "No Error, dns-version.cluster.local. TXT 1.1.0"),
        ("10-1-0-9.default.pod.cluster.local.", "A", "No Error, 10-1-0-9.default.pod.cluster.local. A 10.1.0.9"),
        // Addresses.
        ("7.0.96.10.in-addr.arpa.", "PTR", "No Error, 7.0.96.10.in-addr.arpa. PTR web.default.svc.cluster.local."),
        ("99.0.96.10.in-addr.arpa.", "PTR", "not ours"),
        // Others' names.
        ("www.example.com.", "A", "not ours"),
        ("web.default.svc.", "A", "not ours"),
        ("notcluster.local.", "A", "not ours"),
    ];
    for (name, kind, expected) in rows {
        assert_eq!(said(&zone, name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn addresses_of_a_headless_service_take_turns() {
    let zone = zone();
    let name = "db.default.svc.cluster.local.";
    let (one, two) = (format!("{name} A 10.1.0.1"), format!("{name} A 10.1.0.2"));
    assert_eq!(said(&zone, name, "A"), format!("No Error, {one}, {two}"));
    assert_eq!(said(&zone, name, "A"), format!("No Error, {two}, {one}"));
}

#[test]
fn until_everything_is_known_nothing_is_said_to_be_absent() {
    let objects = Objects { is_complete: false, ..Objects::new(&[]) };
    let zone = Zone::new("cluster.local", ADDRESS.parse().unwrap(), objects).unwrap();
    assert_eq!(said(&zone, "web.default.svc.cluster.local.", "A"), "Server Failure");
}

#[test]
fn the_machines_servers_are_read_from_its_file() {
    let text = "# comment\nsearch example.com\nnameserver 192.0.2.1\nnameserver\tfd00::1 # x\nnameserver fe80::1%eth0\noptions ndots:2\n";
    assert_eq!(parse(text), ["192.0.2.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    assert_eq!(parse("search a\n"), ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!(parse(&"nameserver 192.0.2.1\n".repeat(9)).len(), 3);
}

/// A server that knows `www.example.com` and refuses everything else, over both transports; each answer takes one question.
async fn upstream(tasks: &base_rt::Tasks) -> SocketAddr {
    let answer = |bytes: &[u8]| {
        let request = Message::from_vec(bytes).unwrap();
        let mut reply = Message::response(request.metadata.id, OpCode::Query);
        reply.add_queries(request.queries.iter().cloned());
        let name = request.queries[0].name().clone();
        if name.to_ascii() == "www.example.com." {
            reply.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 1].into()))));
        } else {
            reply.metadata.response_code = ResponseCode::Refused;
        }
        reply.to_vec().unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tasks.spawn_transient("test/upstream-udp", async move {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            // Somebody who guesses: another identifier.
            let mut forged = answer(&buffer[..length]);
            forged[0] ^= 1;
            socket.send_to(&forged, client).await.unwrap();
            socket.send_to(&answer(&buffer[..length]), client).await.unwrap();
        }
    });
    tasks.spawn_transient("test/upstream-tcp", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = receive(&mut stream).await.unwrap();
            send(&mut stream, &answer(&request)).await.unwrap();
        }
    });
    address
}

struct Rig {
    udp: SocketAddr,
    tcp: SocketAddr,
    _shutdown: base_rt::ShutdownHandle,
}

impl Rig {
    async fn start() -> Self {
        let (context, shutdown) = context_of(cluster());
        let upstream = upstream(&context.tasks).await;
        let sockets = Arc::new(LoopbackSockets::default());
        let kept: Arc<dyn ServiceSockets> = Arc::<LoopbackSockets>::clone(&sockets);
        let config = DnsConfig {
            domain: "cluster.local".to_owned(),
            address: ADDRESS.parse().unwrap(),
            upstream: Upstream::Servers(vec![upstream]),
        };
        start(&config, Parts { context, sockets: kept, metrics: Scope::root() }).unwrap().ready().await;
        let at = |protocol| sockets.at(Front { protocol, address: (ADDRESS.parse::<IpAddr>().unwrap(), 53).into() });
        Self { udp: at(Protocol::Udp), tcp: at(Protocol::Tcp), _shutdown: shutdown }
    }

    async fn by_udp(&self, bytes: &[u8]) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(bytes, self.udp).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn by_tcp(&self, bytes: &[u8]) -> Message {
        let mut stream = TcpStream::connect(self.tcp).await.unwrap();
        send(&mut stream, bytes).await.unwrap();
        Message::from_vec(&receive(&mut stream).await.unwrap()).unwrap()
    }
}

fn request(name: &str, kind: &str) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query(name, kind));
    message
}

fn outcome(reply: &Message) -> String {
    let answers: Vec<String> = reply.answers.iter().map(text).collect();
    format!("{} {}", reply.metadata.response_code, answers.join(", "))
}

#[tokio::test]
async fn questions_are_answered_over_both_transports() {
    let rig = Rig::start().await;
    let rows = [
        ("web.default.svc.cluster.local.", "No Error web.default.svc.cluster.local. A 10.96.0.7"),
        ("gone.default.svc.cluster.local.", "Non-Existent Domain "),
        ("www.example.com.", "No Error www.example.com. A 192.0.2.1"),
        (
            "outside.default.svc.cluster.local.",
            "No Error outside.default.svc.cluster.local. CNAME www.example.com., www.example.com. A 192.0.2.1",
        ),
        ("nobody.example.com.", "Query Refused "),
    ];
    for (name, expected) in rows {
        let request = request(name, "A");
        let bytes = request.to_vec().unwrap();
        for reply in [rig.by_udp(&bytes).await, rig.by_tcp(&bytes).await] {
            assert_eq!(outcome(&reply), expected);
            assert_eq!((reply.metadata.id, &reply.queries), (request.metadata.id, &request.queries));
            assert!(reply.metadata.recursion_available);
            assert_eq!(
                reply.metadata.authoritative,
                name.ends_with("svc.cluster.local.") && !name.starts_with("outside")
            );
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_is_had_by_tcp() {
    let rig = Rig::start().await;
    let mut request = request("many.default.svc.cluster.local.", "A");
    let bytes = request.to_vec().unwrap();
    let short = rig.by_udp(&bytes).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(rig.by_tcp(&bytes).await.answers.len(), 100);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    request.set_edns(edns);
    let reply = rig.by_udp(&request.to_vec().unwrap()).await;
    assert!(reply.metadata.truncation, "more than passes any link");
    assert_eq!(reply.edns.unwrap().max_payload(), 1232);
}

#[tokio::test]
async fn bad_messages_get_an_error_or_nothing() {
    let rig = Rig::start().await;
    let good = request("web.default.svc.cluster.local.", "A");
    let mut cut = good.to_vec().unwrap();
    cut.truncate(20);
    assert_eq!(rig.by_udp(&cut).await.metadata.response_code, ResponseCode::FormErr);
    let mut transfer = Message::query();
    transfer.add_query(Query::query(Name::from_ascii("cluster.local.").unwrap(), RecordType::AXFR));
    assert_eq!(rig.by_tcp(&transfer.to_vec().unwrap()).await.metadata.response_code, ResponseCode::Refused);
    let mut update = good.clone();
    update.metadata.op_code = OpCode::Status;
    assert_eq!(rig.by_udp(&update.to_vec().unwrap()).await.metadata.response_code, ResponseCode::NotImp);
    let mut empty = good.clone();
    empty.queries.clear();
    assert_eq!(rig.by_udp(&empty.to_vec().unwrap()).await.metadata.response_code, ResponseCode::FormErr);
    // Answers and scraps are not answered: the next question on the same socket gets the next answer.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let answer = Message::response(7, OpCode::Query);
    for ignored in [answer.to_vec().unwrap(), vec![1, 2, 3], Vec::new()] {
        socket.send_to(&ignored, rig.udp).await.unwrap();
    }
    socket.send_to(&good.to_vec().unwrap(), rig.udp).await.unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await.unwrap();
    assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.id, good.metadata.id);
}
