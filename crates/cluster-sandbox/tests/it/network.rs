//! Pods that reach each other, the host and their services, and nothing else.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster_sandbox::spec::{ListenSpec, Place, PodListener, PodNetwork, PodSpec, Protocol};
use cluster_sandbox::{NetworkConfig, PodHandle, RefusalCode, SpawnerConfig, listening};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::harness::{Ground, Instance, Machine, PATIENCE, container, eventually, listener_name, pod_id, refusal, run};

fn networked(config: &mut SpawnerConfig) {
    config.network = Some(NetworkConfig::default());
}

async fn pod(instance: &Instance, name: &str, change: impl FnOnce(&mut PodSpec)) -> PodHandle {
    let mut spec = PodSpec::new(pod_id(name));
    change(&mut spec);
    instance.sandbox.create_pod(&spec).await.unwrap_or_else(|error| panic!("{}", base_rt::error_chain(&error)))
}

fn ip(handle: &PodHandle) -> Ipv4Addr {
    handle.state.ip.unwrap()
}

fn get(address: impl Into<SocketAddr>) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address.into(), Duration::from_secs(5))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Answers one connection on a listener that was handed over.
fn answer_one(listener: OwnedFd, text: &'static str) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(false).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        connection.set_nonblocking(false).unwrap();
        let mut request = [0; 100];
        let _ = connection.read(&mut request).unwrap();
        connection.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{text}").as_bytes()).unwrap();
    })
}

fn instance_listener(name: &str, address: impl Into<SocketAddr>, protocol: Protocol) -> ListenSpec {
    ListenSpec { name: listener_name(name), place: Place::Instance, address: address.into(), protocol, sockets: 1 }
}

#[test]
fn pods_are_reached_from_the_host_and_from_each_other() {
    run(networked, async |mut instance| {
        let server = pod(&instance, "server", |_| {}).await;
        instance.start(&container("server", "a", &["serve", "80"])).await;
        let address = SocketAddrV4::new(ip(&server), 80);
        let inside = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
        tokio::time::timeout(PATIENCE, listening::wait(server.diag.as_ref().unwrap().as_fd(), inside))
            .await
            .unwrap()
            .unwrap();
        assert!(get(address).unwrap().ends_with("hello"));
        let client = pod(&instance, "client", |_| {}).await;
        assert_ne!(ip(&client), ip(&server));
        let (said, _) = instance.output(&container("client", "b", &["get", &address.to_string()])).await;
        assert_eq!(said, "hello\n");
        assert_eq!(server.listeners.len() + server.sockets.len(), 0);
    });
}

#[test]
fn a_first_connection_is_never_lost() {
    run(networked, async |instance| {
        for number in 0..30 {
            let name = format!("pod{number}");
            let handle = pod(&instance, &name, |spec| {
                spec.listeners = vec![PodListener { name: listener_name("http"), port: 80, protocol: Protocol::Tcp }];
            })
            .await;
            let [listener] = <[OwnedFd; 1]>::try_from(handle.listeners).unwrap();
            let answering = answer_one(listener, "first");
            // A lost SYN is repeated after a second.
            let address = SocketAddr::from((handle.state.ip.unwrap(), 80));
            let connected = TcpStream::connect_timeout(&address, Duration::from_millis(900));
            let mut connection = connected.unwrap_or_else(|error| panic!("pod {number}: {error}"));
            connection.write_all(b"x").unwrap();
            answering.join().unwrap();
            if number % 3 == 0 {
                instance.sandbox.remove_pod(&pod_id(&name)).await.unwrap();
            }
        }
    });
}

#[test]
fn sockets_of_a_pod_reach_its_loopback_and_its_listeners_are_kept() {
    run(networked, async |instance| {
        let listeners = vec![
            PodListener { name: listener_name("http"), port: 8012, protocol: Protocol::Tcp },
            PodListener { name: listener_name("dns"), port: 53, protocol: Protocol::Udp },
        ];
        let handle = pod(&instance, "pod", |spec| {
            spec.listeners = listeners;
            spec.sockets = 3;
        })
        .await;
        assert_eq!((handle.listeners.len(), handle.sockets.len()), (2, 3));
        let diag = handle.diag.as_ref().unwrap();
        assert!(listening::listens(diag.as_fd(), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8012)).unwrap());
        assert!(!listening::listens(diag.as_fd(), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080)).unwrap());
        instance.start(&container("pod", "a", &["serve", "8080"])).await;
        let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080);
        tokio::time::timeout(PATIENCE, listening::wait(diag.as_fd(), target)).await.unwrap().unwrap();
        let mut sockets = handle.sockets;
        sockets.extend(instance.sandbox.sockets(&pod_id("pod"), 2).await.unwrap());
        assert_eq!(sockets.len(), 5);
        for socket in sockets {
            rustix::io::ioctl_fionbio(&socket, false).unwrap();
            rustix::net::connect(&socket, &target).unwrap();
            let mut connection = TcpStream::from(socket);
            connection.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("hello"));
        }
        // The listener of the adopted pod is the same socket.
        let adopted = instance.sandbox.adopt_pod(&pod_id("pod"), 1).await.unwrap();
        assert_eq!(
            (adopted.listeners.len(), adopted.sockets.len(), adopted.state.listeners[1].as_str()),
            (2, 1, "dns")
        );
        let cookie = |fd: &OwnedFd| rustix::net::sockopt::socket_cookie(fd).unwrap();
        assert_eq!(cookie(&adopted.listeners[0]), cookie(&handle.listeners[0]));
        let taken = container("pod", "b", &["serve", "8012"]);
        let mut instance = instance;
        assert!(instance.output(&taken).await.0.contains("Address already in use"));
    });
}

#[test]
fn service_addresses_are_reached_from_host_and_pods() {
    run(networked, async |mut instance| {
        let facts = instance.sandbox.facts().network.clone().unwrap();
        pod(&instance, "pod", |_| {}).await;
        let service = Ipv4Addr::from_bits(facts.ranges.services.0.to_bits() + 10);
        let spec = instance_listener("svc", (service, 80), Protocol::Tcp);
        let made = instance.sandbox.listen(&spec).await.unwrap();
        let again = instance.sandbox.listen(&spec).await.unwrap();
        assert_eq!(made.spec, again.spec);
        let [one] = <[OwnedFd; 1]>::try_from(made.sockets).unwrap();
        let answering = answer_one(one, "from host");
        assert!(get((service, 80)).unwrap().ends_with("from host"));
        answering.join().unwrap();
        let [other] = <[OwnedFd; 1]>::try_from(again.sockets).unwrap();
        let answering = answer_one(other, "from pod");
        let (said, _) = instance.output(&container("pod", "a", &["get", &format!("{service}:80")])).await;
        assert_eq!(said, "from pod\n");
        answering.join().unwrap();
        let dns = instance_listener("dns", (facts.bridge_ip, 53), Protocol::Udp);
        let dns = instance.sandbox.listen(&dns).await.unwrap().sockets.pop().unwrap();
        let answering = std::thread::spawn(move || {
            let socket = UdpSocket::from(dns);
            socket.set_nonblocking(false).unwrap();
            let mut question = [0; 100];
            let (count, peer) = socket.recv_from(&mut question).unwrap();
            socket.send_to(&question[..count], peer).unwrap();
            peer
        });
        let (said, _) = instance.output(&container("pod", "b", &["ask", &format!("{}:53", facts.bridge_ip)])).await;
        assert_eq!(said, "question\n");
        assert!(answering.join().unwrap().is_ipv4());
        // Nobody listens there: refused at once, not after a timeout.
        let other = Ipv4Addr::from_bits(service.to_bits() + 1);
        assert_eq!(get((other, 80)).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        let mut clash = instance_listener("other", (service, 80), Protocol::Tcp);
        assert_eq!(refusal(instance.sandbox.listen(&clash).await).0, RefusalCode::Exists);
        clash.name = listener_name("svc");
        clash.address = (service, 81).into();
        assert_eq!(refusal(instance.sandbox.listen(&clash).await).0, RefusalCode::Exists);
        assert_eq!(instance.sandbox.listeners().await.unwrap().len(), 2);
        instance.sandbox.unlisten(&listener_name("svc")).await.unwrap();
        instance.sandbox.listen(&clash).await.unwrap();
    });
}

#[test]
fn a_listener_in_a_pod_ends_with_it() {
    run(networked, async |instance| {
        pod(&instance, "pod", |_| {}).await;
        let place = Place::Pod(pod_id("pod"));
        let spec = ListenSpec { place, ..instance_listener("l", (Ipv4Addr::LOCALHOST, 80), Protocol::Tcp) };
        instance.sandbox.listen(&spec).await.unwrap();
        instance.sandbox.listen(&instance_listener("other", (Ipv4Addr::LOCALHOST, 80), Protocol::Tcp)).await.unwrap();
        instance.sandbox.remove_pod(&pod_id("pod")).await.unwrap();
        let left = instance.sandbox.listeners().await.unwrap();
        assert_eq!(left.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>(), ["other"]);
        pod(&instance, "pod", |_| {}).await;
        instance.sandbox.listen(&spec).await.expect("the name is free for the next one");
    });
}

#[test]
fn sockets_can_share_an_address_of_the_host() {
    run(
        |_| {},
        async |instance| {
            let probe = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = probe.local_addr().unwrap();
            drop(probe);
            let spec = ListenSpec {
                name: listener_name("gw"),
                place: Place::Host,
                address,
                protocol: Protocol::Tcp,
                sockets: 4,
            };
            let made = instance.sandbox.listen(&spec).await.unwrap();
            assert_eq!((made.sockets.len(), made.spec.address), (4, address));
            assert!(TcpStream::connect(address).is_ok());
            let any = ListenSpec {
                name: listener_name("any"),
                address: "127.0.0.1:0".parse().unwrap(),
                sockets: 1,
                ..spec.clone()
            };
            assert_ne!(instance.sandbox.listen(&any).await.unwrap().spec.address.port(), 0);
            assert_eq!(
                instance.sandbox.listen(&any).await.unwrap().sockets.len(),
                1,
                "asked with port 0 again, it is the same one"
            );
            let nowhere = ListenSpec { name: listener_name("i"), place: Place::Instance, ..any };
            assert_eq!(refusal(instance.sandbox.listen(&nowhere).await).0, RefusalCode::Invalid);
        },
    );
}

#[test]
fn a_pod_of_the_instance_has_an_address_and_runs_nothing() {
    run(networked, async |mut instance| {
        let listeners = vec![PodListener { name: listener_name("http"), port: 8012, protocol: Protocol::Tcp }];
        let built_in = pod(&instance, "built-in", |spec| {
            spec.network = PodNetwork::Instance;
            spec.listeners = listeners;
            spec.sockets = 1;
        })
        .await;
        assert!(built_in.diag.is_none());
        assert_eq!(built_in.sockets.len(), 1);
        let address = format!("{}:8012", ip(&built_in));
        pod(&instance, "pod", |_| {}).await;
        let [listener] = <[OwnedFd; 1]>::try_from(built_in.listeners).unwrap();
        let answering = answer_one(listener, "built in");
        let (said, _) = instance.output(&container("pod", "a", &["get", &address])).await;
        assert_eq!(said, "built in\n");
        answering.join().unwrap();
        let adopted = instance.sandbox.adopt_pod(&pod_id("built-in"), 3).await.unwrap();
        assert_eq!(adopted.sockets.len(), 3);
        let [listener] = <[OwnedFd; 1]>::try_from(adopted.listeners).unwrap();
        let answering = answer_one(listener, "again");
        let [socket] =
            <[OwnedFd; 1]>::try_from(instance.sandbox.sockets(&pod_id("built-in"), 1).await.unwrap()).unwrap();
        rustix::io::ioctl_fionbio(&socket, false).unwrap();
        rustix::net::connect(&socket, &address.parse::<SocketAddr>().unwrap()).unwrap();
        TcpStream::from(socket).write_all(b"x").unwrap();
        answering.join().unwrap();
        let (code, _) = refusal(instance.sandbox.start_container(&container("built-in", "b", &["sleep"])).await);
        assert_eq!(code, RefusalCode::Invalid);
        instance.sandbox.remove_pod(&pod_id("built-in")).await.unwrap();
        assert!(get(address.parse::<SocketAddr>().unwrap()).is_err());
    });
}

#[test]
fn addresses_can_be_asked_for() {
    run(networked, async |instance| {
        let range = instance.sandbox.facts().network.as_ref().unwrap().ranges.pods.0;
        let wanted = Ipv4Addr::from_bits(range.to_bits() + 99);
        let handle = pod(&instance, "a", |spec| spec.ip = Some(wanted)).await;
        assert_eq!(ip(&handle), wanted);
        let mut taken = PodSpec::new(pod_id("b"));
        taken.ip = Some(wanted);
        assert_eq!(refusal(instance.sandbox.create_pod(&taken).await).0, RefusalCode::Exists);
        taken.ip = Some(Ipv4Addr::new(8, 8, 8, 8));
        assert_eq!(refusal(instance.sandbox.create_pod(&taken).await).0, RefusalCode::Exists);
        instance.sandbox.remove_pod(&pod_id("a")).await.unwrap();
        drop(handle);
        taken.ip = Some(wanted);
        let handle = instance.sandbox.create_pod(&taken).await.unwrap();
        assert_eq!(ip(&handle), wanted);
    });
}

#[test]
fn two_instances_live_side_by_side_and_leave_no_link() {
    run(networked, async |mut one| {
        let mut ground = Ground::new();
        networked(&mut ground.config);
        ground.launch();
        let other = Instance::connect(ground.config.clone()).await;
        let (mine, theirs) =
            (one.sandbox.facts().network.clone().unwrap(), other.sandbox.facts().network.clone().unwrap());
        assert!(
            mine.link != theirs.link
                && mine.ranges.pods != theirs.ranges.pods
                && mine.ranges.link != theirs.ranges.link
        );
        let machine = Machine::look();
        assert!(machine.knows_link(&mine.link) && machine.knows_link(&theirs.link));
        let server = pod(&other, "server", |_| {}).await;
        other.start(&container("server", "a", &["serve", "80"])).await;
        let diag = server.diag.as_ref().unwrap().as_fd();
        tokio::time::timeout(PATIENCE, listening::wait(diag, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80)))
            .await
            .unwrap()
            .unwrap();
        assert!(get((ip(&server), 80)).unwrap().ends_with("hello"));
        if mine.is_host_shielded {
            pod(&one, "client", |_| {}).await;
            let (said, exit) = one.output(&container("client", "c", &["get", &format!("{}:80", ip(&server))])).await;
            assert_eq!(exit.code, 99, "pods of one instance do not reach another: {said}");
        }
        drop(server);
        ground.end().await;
        eventually("the link's end", || !Machine::look().knows_link(&theirs.link)).await;
        assert!(Machine::look().knows_link(&mine.link));
    });
}

/// A network namespace of a test's own; it goes with the process that keeps it.
struct Namespace {
    keeper: Child,
    file: File,
}

impl Namespace {
    fn new() -> Self {
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "sh", "-c", "echo made; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().unwrap();
        let mut said = [0; 5];
        keeper.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"made\n");
        let file = File::open(format!("/proc/{}/ns/net", keeper.id())).unwrap();
        Self { keeper, file }
    }

    /// Moves this thread into it.
    fn enter(&self) {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Does something in it.
    fn visit<R>(&self, work: impl FnOnce() -> R) -> R {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        self.enter();
        let result = work();
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        result
    }

    fn ip(&self, words: &str) {
        let status = self.visit(|| Command::new("ip").args(words.split(' ')).status().unwrap());
        assert!(status.success(), "ip {words}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A host, and its neighbour on the network by which it reaches the world.
fn host_and_neighbour() -> (Namespace, Namespace) {
    let (host, neighbour) = (Namespace::new(), Namespace::new());
    host.ip(&format!("link add up0 type veth peer name eth0 netns {}", neighbour.keeper.id()));
    for (namespace, link, address, other) in
        [(&host, "up0", "192.0.2.1/24", "192.0.2.2"), (&neighbour, "eth0", "192.0.2.2/24", "192.0.2.1")]
    {
        namespace.ip("link set lo up");
        namespace.ip(&format!("addr add {address} dev {link}"));
        namespace.ip(&format!("link set {link} up"));
        namespace.ip(&format!("route add default via {other}"));
    }
    (host, neighbour)
}

#[test]
fn a_neighbour_of_the_host_is_reached_and_reaches_nothing() {
    let namespaces = OnceCell::new();
    let configure = |config: &mut SpawnerConfig| {
        let (host, neighbour) = host_and_neighbour();
        // This test's thread, and the spawner with it, are in a host of their own.
        host.enter();
        namespaces.set((host, neighbour)).ok().unwrap();
        config.network = Some(NetworkConfig { previous: None, has_egress: true });
    };
    run(configure, async |mut instance| {
        let (_, neighbour) = namespaces.get().unwrap();
        let facts = instance.sandbox.facts().network.clone().unwrap();
        if !facts.is_host_shielded {
            println!("skipped: nft is not usable here");
            return;
        }
        assert!(facts.has_egress);
        let outside = neighbour.visit(|| TcpListener::bind("192.0.2.2:80").unwrap());
        let answering = answer_one(outside.into(), "outside");
        let server = pod(&instance, "server", |_| {}).await;
        let (said, _) = instance.output(&container("server", "out", &["get", "192.0.2.2:80"])).await;
        assert_eq!(said, "outside\n");
        answering.join().unwrap();
        instance.start(&container("server", "in", &["serve", "80"])).await;
        let inside = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
        let listening = listening::wait(server.diag.as_ref().unwrap().as_fd(), inside);
        tokio::time::timeout(PATIENCE, listening).await.unwrap().unwrap();
        let service = Ipv4Addr::from_bits(facts.ranges.services.0.to_bits() + 10);
        let mut held = Vec::new();
        for (name, address) in [("service", service), ("bridge", facts.bridge_ip)] {
            let spec = instance_listener(name, (address, 80), Protocol::Tcp);
            held.push(instance.sandbox.listen(&spec).await.unwrap());
        }
        for address in [ip(&server), service, facts.bridge_ip] {
            let connect = || TcpStream::connect_timeout(&(address, 80).into(), Duration::from_secs(3));
            assert!(connect().is_ok(), "the host itself reaches {address}");
            let refused = neighbour.visit(connect).expect_err("a neighbour reaches an address of the instance");
            assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut, "{address}");
        }
    });
}

#[test]
fn the_hosts_wildcard_listeners_are_shut_to_pods() {
    run(networked, async |mut instance| {
        let facts = instance.sandbox.facts().network.clone().unwrap();
        if !facts.is_host_shielded {
            println!("skipped: nft is not usable here");
            return;
        }
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        pod(&instance, "pod", |_| {}).await;
        let (said, exit) =
            instance.output(&container("pod", "a", &["get", &format!("{}:{port}", facts.host_ip)])).await;
        assert_eq!(exit.code, 99, "{said}");
        assert!(TcpStream::connect((facts.host_ip, port)).is_ok(), "the host itself reaches it");
    });
}
