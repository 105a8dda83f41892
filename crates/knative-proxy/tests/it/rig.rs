//! What the tests share: a process's parts, user containers made of a closure, queue-proxies in front of them, a client.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base_net::connect::{Connector, LocalTable, Target};
use base_net::listen::Listener;
use base_net::serve::{HttpService, Server, ServerConfig};
use base_net::{Body, Request, Response};
use base_rt::metrics::Scope;
use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use knative_apis::networking::Ingress;
use knative_apis::serving::v1::Revision;
use knative_apis::stat::StatMessage;
use knative_proxy::queue::{self, Queue, QueueParts};
use knative_proxy::{Activator, ActivatorParts, Gateway, GatewayParts, InternalTls, LogSink, Upstream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read at most.
const LIMIT: usize = 1 << 20;

pub(crate) struct Rig {
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Scope,
    pub(crate) local: LocalTable,
    _shutdown: ShutdownHandle,
}

/// A queue-proxy and the end of its container.
pub(crate) struct Container {
    pub(crate) queue: Queue,
    pub(crate) end: ShutdownHandle,
    pub(crate) ports: BTreeMap<u16, SocketAddr>,
}

/// Variables of a queue-proxy, as a Revision's Deployment has them.
pub(crate) fn environment(user: SocketAddr, changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let (port, probe) = (user.port().to_string(), json!({"tcpSocket": {"port": user.port()}}).to_string());
    let variables = [
        ("SERVING_NAMESPACE", "default"),
        ("SERVING_SERVICE", "hello"),
        ("SERVING_CONFIGURATION", "hello"),
        ("SERVING_REVISION", "hello-00001"),
        ("QUEUE_SERVING_PORT", "8012"),
        ("QUEUE_SERVING_TLS_PORT", "8112"),
        ("CONTAINER_CONCURRENCY", "0"),
        ("REVISION_TIMEOUT_SECONDS", "300"),
        ("SERVING_POD", "hello-00001-deployment-abc"),
        ("SERVING_POD_IP", "10.1.0.1"),
        ("SERVING_LOGGING_CONFIG", ""),
        ("SERVING_LOGGING_LEVEL", ""),
        ("USER_PORT", port.as_str()),
        ("SERVING_READINESS_PROBE", probe.as_str()),
    ];
    let all = variables.iter().chain(changes);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl Rig {
    pub(crate) fn new() -> Self {
        let (shutdown, observer) = Shutdown::new();
        let local = LocalTable::default();
        Self { tasks: Tasks::new(observer), metrics: Scope::root(), local, _shutdown: shutdown }
    }

    /// A user's container.
    pub(crate) fn user<F>(&self, answer: impl Fn(Request) -> F + Clone + Send + Sync + 'static) -> SocketAddr
    where
        F: Future<Output = Response> + Send + 'static,
    {
        self.serve(ServeFn(answer))
    }

    pub(crate) fn serve<S: HttpService + Sync>(&self, service: S) -> SocketAddr {
        let listener = Listener::tcp(loopback()).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server::new(ServerConfig::new("test"), &self.tasks, &Scope::root());
        server.start(listener, move |_peer| service.clone()).unwrap();
        addr
    }

    pub(crate) fn upstream(&self) -> Upstream {
        Upstream::new(self.local.clone(), Connector::new(), 0, (&self.tasks, &self.metrics))
    }

    /// A queue-proxy that this process calls at `10.1.0.1:8012` and others reach on its ports.
    pub(crate) fn container(
        &self,
        environment: &BTreeMap<String, String>,
        stats: Option<mpsc::Sender<StatMessage>>,
    ) -> Container {
        self.container_with(environment, stats, (Arc::new(|_path: &str| None), Arc::new(|_lines: &[u8]| {})))
    }

    /// The same with files and a log.
    pub(crate) fn container_with(
        &self,
        environment: &BTreeMap<String, String>,
        stats: Option<mpsc::Sender<StatMessage>>,
        (files, log): (Arc<dyn queue::Files>, Arc<dyn LogSink>),
    ) -> Container {
        let (end, shutdown) = Shutdown::new();
        let bound = [8012_u16, 8022, 8112, 9090, 9091].map(|port| (port, TcpListener::bind(loopback()).unwrap()));
        let ports = bound.iter().map(|(port, listener)| (*port, listener.local_addr().unwrap())).collect();
        let parts = QueueParts {
            config: queue::Config::from_env(environment).unwrap(),
            listeners: bound.into_iter().collect(),
            files,
            connector: Connector::new(),
            local: Some(self.local.clone()),
            stats,
            workers: 0,
            quiet: Duration::from_millis(20),
            clock: Clock::system(),
            tasks: self.tasks.clone(),
            shutdown,
            log,
        };
        Container { queue: queue::start(parts).unwrap(), end, ports }
    }

    pub(crate) fn activator(&self, stats: mpsc::Sender<StatMessage>) -> Arc<Activator> {
        Activator::try_new(ActivatorParts {
            upstream: self.upstream(),
            internal_tls: InternalTls::default(),
            system_namespace: "knative-serving".to_owned(),
            stats,
            pod_name: "activator".to_owned(),
            pod_ip: None,
            clock: Clock::system(),
            tasks: self.tasks.clone(),
            metrics: self.metrics.sub("activator"),
        })
        .unwrap()
    }

    pub(crate) fn gateway(&self, activator: Option<Arc<Activator>>) -> Arc<Gateway> {
        Gateway::try_new(GatewayParts {
            upstream: self.upstream(),
            activator,
            ingress_class: "kwick".to_owned(),
            system_namespace: "knative-serving".to_owned(),
            external_tls_port: 8443,
            served: Arc::new(|_: &base_controller::Key, _: Option<&str>| {}),
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
        })
        .unwrap()
    }

    /// Asks whoever listens at `addr`.
    pub(crate) async fn ask(&self, addr: SocketAddr, request: Request) -> (u16, String) {
        let response = self.response(addr, request).await;
        let status = response.status().as_u16();
        (status, read(response).await)
    }

    pub(crate) async fn response(&self, addr: SocketAddr, request: Request) -> Response {
        let answering = async { self.upstream().send(&Target::http1(addr), request).await };
        tokio::time::timeout(PATIENCE, answering).await.expect("an answer in time").unwrap()
    }
}

pub(crate) async fn read(response: Response) -> String {
    let bytes = response.into_body().read(LIMIT).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn get(host: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = http::Request::builder().uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// What somebody answers to bytes of which the last ask to close the connection.
pub(crate) async fn say(addr: SocketAddr, text: &str) -> String {
    let talking = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(PATIENCE, talking).await.expect("an answer in time")
}

/// Reads until what came ends like this.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        while !all.ends_with(end.as_bytes()) {
            all.push(stream.read_u8().await.unwrap());
        }
    };
    if tokio::time::timeout(PATIENCE, reading).await.is_err() {
        panic!("{end:?} never came, but {:?}", String::from_utf8_lossy(&all));
    }
    String::from_utf8(all).unwrap()
}

/// A service of a closure.
#[derive(Clone)]
pub(crate) struct ServeFn<A>(pub(crate) A);

impl<A, F> tower_service::Service<Request> for ServeFn<A>
where
    A: Fn(Request) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// Waits for a level.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub(crate) fn revision(name: &str, concurrency: i64, timeout_seconds: i64) -> Revision {
    serde_json::from_value(json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "containerConcurrency": concurrency, "timeoutSeconds": timeout_seconds,
            "containers": [{"name": "user-container", "image": "hello"}],
        },
    }))
    .unwrap()
}

/// Endpoints with ready addresses (of which each is a Pod's at its own port) and unready ones.
pub(crate) fn endpoints(ready: &[IpAddr], unready: &[IpAddr], port: u16) -> Endpoints {
    let of = |ips: &[IpAddr]| ips.iter().map(|ip| json!({"ip": ip.to_string()})).collect::<Vec<_>>();
    serde_json::from_value(json!({"subsets": [{
        "addresses": of(ready), "notReadyAddresses": of(unready), "ports": [{"name": "http", "port": port}],
    }]}))
    .unwrap()
}

pub(crate) fn service() -> Service {
    serde_json::from_value(json!({"spec": {"ports": [{"name": "http", "port": 80}]}})).unwrap()
}

/// An Ingress that sends `host` to the Service of a Revision.
pub(crate) fn ingress(name: &str, host: &str, visibility: &str, revision: &str) -> Ingress {
    let split = json!({
        "serviceNamespace": "default", "serviceName": revision, "servicePort": 80, "percent": 100,
        "appendHeaders": {"Knative-Serving-Revision": revision, "Knative-Serving-Namespace": "default"},
    });
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": name, "annotations": {"networking.knative.dev/ingress.class": "kwick"}},
        "spec": {"rules": [{"hosts": [host], "visibility": visibility, "http": {"paths": [{"splits": [split]}]}}]},
    }))
    .unwrap()
}
