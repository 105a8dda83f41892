//! Probes and hooks of containers: what is tried, over which way, and when.
//!
//! A probe of a role of this process is a call, any other goes over a socket of the Pod's own network to the Pod's address. A probe that has
//! not succeeded yet is also tried at once whenever something in its Pod begins to listen, so that readiness does not wait for the period.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base_net::connect::{Connector, LocalHandler, SocketSupply, Target};
use base_net::probe::{HttpProbe, Probe, ProbeError};
use base_net::tls::{Trust, client_config};
use base_net::{Body, Request};
use base_rt::watch;
use base_rt::{Tasks, error_chain};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, HTTPHeader, LifecycleHandler, Probe as ProbeSpec, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::facts::seconds;
use super::pod_state::go_duration;
use super::worker::Message;

/// Who the node says it is.
const USER_AGENT: &str = "kube-probe/1.37";
/// A bound for an exchange whose specification names none.
const HOOK_TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes of an answer that are read.
const MAX_BODY: usize = 10 * 1024;

/// Runs commands in containers.
pub(crate) trait Execs: Send + Sync {
    /// Runs a command in the container's present run; ends well with exit code 0. A command that is not waited for any more is killed.
    fn run(&self, command: Vec<String>) -> BoxFuture<'_, Result<(), String>>;
}

/// How a container is reached.
#[derive(Clone)]
pub(crate) struct Way {
    /// The Pod's address.
    pub(crate) ip: IpAddr,
    /// Sockets of the Pod's network.
    pub(crate) sockets: Arc<dyn SocketSupply>,
    /// Ports of the Pod that roles of this process answer.
    pub(crate) handlers: BTreeMap<u16, Arc<dyn LocalHandler>>,
    /// Runs commands in the container.
    pub(crate) execs: Arc<dyn Execs>,
    /// The process's tasks.
    pub(crate) tasks: Tasks,
}

/// One thing to try.
#[derive(Clone)]
pub(crate) enum Attempt {
    /// A GET.
    Http(HTTPGetAction, u16),
    /// A connection.
    Tcp(TCPSocketAction, u16),
    /// A health check.
    Grpc(GRPCAction, u16),
    /// A command.
    Exec(ExecAction),
}

impl Attempt {
    /// What a probe tries; none if it names nothing.
    pub(crate) fn of_probe(probe: &ProbeSpec, container: &Container) -> Option<Self> {
        Self::of((&probe.http_get, &probe.tcp_socket, &probe.exec), container).or_else(|| {
            let grpc = probe.grpc.clone()?;
            let port = u16::try_from(grpc.port).ok()?;
            Some(Self::Grpc(grpc, port))
        })
    }

    /// What a hook does; none if it only sleeps.
    pub(crate) fn of_hook(hook: &LifecycleHandler, container: &Container) -> Option<Self> {
        Self::of((&hook.http_get, &hook.tcp_socket, &hook.exec), container)
    }

    fn of(
        actions: (&Option<HTTPGetAction>, &Option<TCPSocketAction>, &Option<ExecAction>),
        container: &Container,
    ) -> Option<Self> {
        match actions {
            (Some(http), _, _) => Some(Self::Http(http.clone(), port(&http.port, container)?)),
            (_, Some(tcp), _) => Some(Self::Tcp(tcp.clone(), port(&tcp.port, container)?)),
            (_, _, Some(exec)) => Some(Self::Exec(exec.clone())),
            _ => None,
        }
    }

    /// The port that has to listen for it to succeed.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Http(_, port) | Self::Tcp(_, port) | Self::Grpc(_, port) => Some(*port),
            Self::Exec(_) => None,
        }
    }

    /// Tries once.
    pub(crate) async fn run(&self, way: &Way, timeout: Duration) -> Result<(), String> {
        self.attempt(way, timeout).await.map_err(|failure| failure.text)
    }

    async fn attempt(&self, way: &Way, timeout: Duration) -> Result<(), Failure> {
        let mut connector = Connector::new().with_supply(Arc::clone(&way.sockets));
        let probe = match self {
            Self::Exec(exec) => {
                let words = exec.command.clone().unwrap_or_default();
                let shown = words.join(" ");
                let said = tokio::time::timeout(timeout, way.execs.run(words)).await;
                let said = said.unwrap_or_else(|_| {
                    let timeout = SignedDuration::try_from(timeout).map(go_duration).unwrap_or_default();
                    Err(format!("command timed out: {shown:?} timed out after {timeout}"))
                });
                return Ok(said?);
            }
            Self::Tcp(tcp, port) => Probe::Tcp(Target::http1(address(tcp.host.as_deref(), *port, way)?)),
            Self::Grpc(grpc, port) => {
                let target = Target::http2(SocketAddr::new(way.ip, *port));
                Probe::Grpc { target, service: grpc.service.clone().unwrap_or_default() }
            }
            Self::Http(http, port) => {
                let headers = headers(http.http_headers.as_deref().unwrap_or_default())?;
                let path = http.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
                let is_own = http.host.as_deref().is_none_or(|host| host.is_empty() || host == way.ip.to_string());
                if let Some(handler) = way.handlers.get(port).filter(|_| is_own) {
                    return call(handler, (&path, headers, SocketAddr::new(way.ip, *port)), timeout).await;
                }
                let mut target = Target::http1(address(http.host.as_deref(), *port, way)?);
                if http.scheme.as_deref() == Some("HTTPS") {
                    target = target.with_tls(way.ip.into());
                    connector = connector.with_tls(tls()?);
                }
                Probe::Http(HttpProbe { target, path, headers })
            }
        };
        Ok(probe.run(&connector, &way.tasks, timeout).await?)
    }
}

/// Why a try came to nothing.
struct Failure {
    text: String,
    /// There was an answer by HTTP, which said no.
    is_answer: bool,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, is_answer: false }
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        Self { text: error_chain(&error), is_answer: matches!(error, ProbeError::Status(_)) }
    }
}

/// How HTTPS is spoken: whose the certificate is counts for nothing, as with a kubelet. Made when the first such probe is.
fn tls() -> Result<Arc<rustls::ClientConfig>, String> {
    static TLS: OnceLock<Result<Arc<rustls::ClientConfig>, String>> = OnceLock::new();
    TLS.get_or_init(|| client_config(Trust::Anybody, None).map_err(|error| error_chain(&error))).clone()
}

/// A GET to a role of this process.
async fn call(
    handler: &Arc<dyn LocalHandler>,
    what: (&str, HeaderMap, SocketAddr),
    timeout: Duration,
) -> Result<(), Failure> {
    let (path, headers, address) = what;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    *request.headers_mut() = headers;
    let host = HeaderValue::try_from(address.to_string()).map_err(|error| error.to_string())?;
    request.headers_mut().entry(http::header::HOST).or_insert(host);
    let asking = async {
        let response = handler.call(request).await.map_err(|error| error_chain(&*error))?;
        let status = response.status();
        let _ = response.into_body().read(MAX_BODY).await;
        if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(Failure::from(ProbeError::Status(status))) }
    };
    tokio::time::timeout(timeout, asking).await.unwrap_or_else(|_| Err(ProbeError::Timeout(timeout).into()))
}

fn headers(list: &[HTTPHeader]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in list {
        let name = HeaderName::try_from(header.name.as_str()).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(header.value.as_str()).map_err(|error| error.to_string())?;
        headers.append(name, value);
    }
    headers.entry(http::header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
    Ok(headers)
}

/// Where a probe goes: the Pod's address, or an address that it names.
fn address(host: Option<&str>, port: u16, way: &Way) -> Result<SocketAddr, String> {
    let Some(host) = host.filter(|host| !host.is_empty()) else { return Ok(SocketAddr::new(way.ip, port)) };
    match host {
        "localhost" => Ok(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)),
        _ => host.parse().map(|ip| SocketAddr::new(ip, port)).map_err(|_| format!("{host:?} is not an IP address")),
    }
}

/// The number of a port that may be named.
fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

/// When a probe is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Not before.
    pub(crate) delay: Duration,
    /// From try to try.
    pub(crate) period: Duration,
    /// How long one may take.
    pub(crate) timeout: Duration,
}

impl Schedule {
    /// A probe's schedule.
    pub(crate) fn of(probe: &ProbeSpec) -> Self {
        let time = |number: Option<i32>, default: i64| seconds(number.map_or(default, i64::from).max(0));
        let at_least = Duration::from_secs(1);
        Self {
            delay: time(probe.initial_delay_seconds, 0),
            period: time(probe.period_seconds, 10).max(at_least),
            timeout: time(probe.timeout_seconds, 1).max(at_least),
        }
    }
}

/// Tries for ever, once a period. `poke` changes when something in the Pod may have changed: a probe that is not content is then tried at
/// once, too. One that needs a port is first tried when that happens, or after a period. `message` gets the outcome and whether the period
/// was over.
pub(crate) async fn probe(
    attempt: Attempt,
    schedule: Schedule,
    (way, mut poke): (Way, watch::Receiver<u64>),
    (outbox, message): (mpsc::Sender<Message>, impl Fn(Result<(), String>, bool) -> Message),
) {
    tokio::time::sleep(schedule.delay).await;
    let mut due = Instant::now();
    if attempt.port().is_some() && schedule.delay.is_zero() {
        due += schedule.period;
        if *poke.borrow() > 0 {
            // What it needs may listen already.
            poke.mark_changed();
        }
    }
    let mut is_content = false;
    loop {
        let is_periodic = if is_content {
            tokio::time::sleep_until(due).await;
            true
        } else {
            is_due(due, &mut poke).await
        };
        if is_periodic {
            due = Instant::now() + schedule.period;
        }
        poke.mark_unchanged();
        let outcome = attempt.run(&way, schedule.timeout).await;
        is_content = outcome.is_ok();
        if outbox.send(message(outcome, is_periodic)).await.is_err() {
            return;
        }
    }
}

/// Waits until `due`, or for a poke; answers which it was.
async fn is_due(due: Instant, poke: &mut watch::Receiver<u64>) -> bool {
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(due) => true,
        () = async {
            if poke.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        } => false,
    }
}

/// Does what a container's `preStop` or `postStart` hook says, within `bound`.
pub(crate) async fn hook(
    hook: &LifecycleHandler,
    container: &Container,
    way: &Way,
    bound: Duration,
) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(seconds(sleep.seconds).min(bound)).await;
        return Ok(());
    }
    match Attempt::of_hook(hook, container) {
        Some(attempt) => match attempt.attempt(way, bound.min(HOOK_TIMEOUT)).await {
            // Whoever is asked by HTTP has been told, whatever is answered.
            Err(Failure { is_answer: true, .. }) => Ok(()),
            outcome => outcome.map_err(|failure| failure.text),
        },
        None => Ok(()),
    }
}

/// What is said of a `postStart` hook that has failed, as the kubelet says it; the names are the container's and the Pod's.
pub(crate) fn hook_failed(hook: &LifecycleHandler, names: (&str, &str), why: &str) -> String {
    let (container, pod) = names;
    let what = match (&hook.exec, &hook.http_get) {
        (Some(exec), _) => format!("Exec lifecycle hook ([{}])", exec.command.clone().unwrap_or_default().join(" ")),
        (None, Some(http)) => format!("HTTP lifecycle hook ({})", http.path.as_deref().unwrap_or_default()),
        (None, None) => "Lifecycle hook".to_owned(),
    };
    format!("{what} for Container {container:?} in Pod {pod:?} failed - error: {why}")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::OwnedFd;

    use base_net::Response;
    use base_net::listen::Listener;
    use base_net::serve::{Server, ServerConfig, Transport};
    use base_net::tls::{Certificates, ClientAuth, certified_key, server_config};
    use base_rt::Shutdown;
    use base_rt::metrics::Scope;
    use futures::FutureExt;
    use http::StatusCode;

    use super::super::facts::ProbeKind;
    use super::super::pod_state::Event;
    use super::*;

    struct Nothing;

    impl SocketSupply for Nothing {
        fn take(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<OwnedFd>> {
            async { Err(io::Error::from(io::ErrorKind::NotConnected)) }.boxed()
        }
    }

    impl Execs for Nothing {
        fn run(&self, _: Vec<String>) -> BoxFuture<'_, Result<(), String>> {
            async { Ok(()) }.boxed()
        }
    }

    struct Here;

    impl SocketSupply for Here {
        fn take(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<OwnedFd>> {
            async move {
                socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None).map(OwnedFd::from)
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn https_is_spoken_with_whoever_answers() {
        let (_handle, shutdown) = Shutdown::new();
        let (tasks, ip) = (Tasks::new(shutdown), IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        let own = rcgen::generate_simple_self_signed(vec!["somebody.else".to_owned()]).unwrap();
        let certificates = Certificates::default();
        let key = certified_key(own.cert.pem().as_bytes(), own.signing_key.serialize_pem().as_bytes()).unwrap();
        certificates.replace(BTreeMap::new(), Some(key));
        let transport = Transport::Tls(server_config(&certificates, ClientAuth::None).unwrap());
        let server = Server::new(ServerConfig { transport, ..ServerConfig::new("probed") }, &tasks, &Scope::root());
        let listener = Listener::tcp((ip, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = |_peer: &_| {
            tower::service_fn(|request: Request| {
                let is_asked = request.uri().path() == "/healthz";
                let mut response = Response::new(Body::empty());
                *response.status_mut() = if is_asked { StatusCode::OK } else { StatusCode::NOT_FOUND };
                std::future::ready(Ok::<_, std::convert::Infallible>(response))
            })
        };
        server.start(listener, answer).unwrap();
        let way = Way { ip, sockets: Arc::new(Here), handlers: BTreeMap::new(), execs: Arc::new(Nothing), tasks };
        let get = |path: &str| HTTPGetAction {
            path: Some(path.to_owned()),
            scheme: Some("HTTPS".to_owned()),
            ..HTTPGetAction::default()
        };
        let ask = async |path| Attempt::Http(get(path), port).run(&way, Duration::from_secs(60)).await;
        assert_eq!(ask("/healthz").await, Ok(()));
        assert!(ask("/other").await.unwrap_err().contains("404"));
    }

    #[tokio::test(start_paused = true)]
    async fn pokes_do_not_move_the_periods() {
        let (_handle, shutdown) = Shutdown::new();
        let unready = |_request: Request| {
            async {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                Ok(response)
            }
            .boxed()
        };
        let way = Way {
            ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            sockets: Arc::new(Nothing),
            handlers: BTreeMap::from([(80, Arc::new(unready) as Arc<dyn LocalHandler>)]),
            execs: Arc::new(Nothing),
            tasks: Tasks::new(shutdown),
        };
        let get = HTTPGetAction { port: IntOrString::Int(80), ..HTTPGetAction::default() };
        let seconds = Duration::from_secs;
        let schedule = Schedule { delay: Duration::ZERO, period: seconds(10), timeout: seconds(1) };
        let poke = watch::Sender::new(0_u64);
        let (outbox, mut inbox) = mpsc::channel(8);
        let message = |outcome, is_periodic| {
            Message::State(Event::Probed { at: 0, attempt: 0, kind: ProbeKind::Readiness, outcome, is_periodic })
        };
        let mut probing =
            std::pin::pin!(probe(Attempt::Http(get, 80), schedule, (way, poke.subscribe()), (outbox, message)));
        let begun = Instant::now();
        let mut next = async || {
            let message = tokio::select! {
                biased;
                () = &mut probing => None,
                message = inbox.recv() => message,
            };
            let Some(Message::State(Event::Probed { is_periodic, .. })) = message else { panic!("no outcome") };
            (begun.elapsed().as_secs(), is_periodic)
        };
        assert_eq!(next().await, (10, true), "nothing listens: it is not tried before");
        poke.send_modify(|count| *count += 1);
        assert_eq!(next().await, (10, false), "at once");
        assert_eq!(next().await, (20, true));
    }
}
