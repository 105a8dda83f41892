//! What the tests share: a process's parts, servers made of a closure, raw connections.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base_net::connect::{Connector, Target};
use base_net::listen::Listener;
use base_net::pool::{Pool, PoolConfig, PoolMetrics, SendError};
use base_net::serve::{Server, ServerConfig, ServerHandle};
use base_net::{Body, Request, Response};
use base_rt::metrics::Scope;
use base_rt::{Shutdown, ShutdownHandle, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: ShutdownHandle,
    pub(crate) metrics: Scope,
}

pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl Rig {
    pub(crate) fn new() -> Self {
        let (shutdown, observer) = Shutdown::new();
        Self { tasks: Tasks::new(observer), shutdown, metrics: Scope::root() }
    }

    /// A server of `answer`, and its address.
    pub(crate) fn serve<F>(
        &self,
        config: ServerConfig,
        answer: impl Fn(Request) -> F + Clone + Send + Sync + 'static,
    ) -> (SocketAddr, ServerHandle)
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let listener = Listener::tcp(loopback()).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server::new(config, &self.tasks, &self.metrics);
        (addr, server.start(listener, move |_peer| service(answer.clone())).unwrap())
    }

    pub(crate) fn pool(&self) -> Pool {
        self.pool_of(Connector::new(), PoolConfig::default())
    }

    pub(crate) fn pool_of(&self, connector: Connector, config: PoolConfig) -> Pool {
        Pool::new(connector, config, &self.tasks, &PoolMetrics::new(&self.metrics))
    }

    /// The value of a metric line that begins with `name`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
    }
}

/// A tower service of a closure.
pub(crate) fn service<F>(answer: impl Fn(Request) -> F + Clone + Send + 'static) -> impl base_net::serve::HttpService
where
    F: Future<Output = Response> + Send + 'static,
{
    tower::service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    })
}

/// Answers with the request's method, path and body.
pub(crate) async fn echo(request: Request) -> Response {
    let head = format!("{} {} ", request.method(), request.uri().path());
    let body = request.into_body().read(1 << 20).await.unwrap();
    Response::new(Body::from([head.as_bytes(), &body].concat()))
}

pub(crate) fn get(path: &str) -> Request {
    http::Request::builder().uri(path).header("host", "test").body(Body::empty()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request {
    http::Request::builder().method("POST").uri(path).header("host", "test").body(body.into()).unwrap()
}

pub(crate) async fn text(response: Result<Response, SendError>) -> String {
    let body = response.unwrap().into_body().read(1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

pub(crate) async fn ask(pool: &Pool, target: &Target, path: &str) -> String {
    text(pool.send(target, get(path)).await).await
}

/// A raw connection, written and read as text.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until what was read ends with `end`.
    pub(crate) async fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        let reading = async {
            while !heard.ends_with(end.as_bytes()) {
                heard.push(self.0.read_u8().await.unwrap());
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reading).await;
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(in_time.is_ok(), "heard only {heard:?}");
        heard
    }

    /// Reads until the other end closes.
    pub(crate) async fn hear_all(&mut self) -> String {
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut heard)).await.expect("the other end closes");
        String::from_utf8_lossy(&heard).into_owned()
    }
}

/// A raw server: hands each connection, with its number, to `handle`.
pub(crate) async fn raw_server<F>(
    rig: &Rig,
    handle: impl Fn(usize, Raw) -> F + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let (count, tasks) = (Arc::clone(&accepted), rig.tasks.clone());
    rig.tasks.spawn_transient("raw", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst);
            tasks.spawn_transient("raw/connection", handle(number, Raw(stream)));
        }
    });
    (addr, accepted)
}

/// Waits for a level. What never comes fails the test.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}
