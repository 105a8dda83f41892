//! Whether the user's containers are ready, asked by the readiness probes that the Revision has.
//!
//! A probe without a period is asked aggressively: again and again until it succeeds often enough, or patience is over. The pauses grow with
//! the time that the container takes (a tenth of it), so that a fast one is seen at once and a slow one costs little. Who asks while an
//! answer is on its way gets that answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base_net::connect::{Connector, Target};
use base_net::probe::{HttpProbe, Probe};
use base_rt::Tasks;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use http::header::{HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use k8s_openapi::api::core::v1::{HTTPGetAction, Probe as Spec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config::ConfigError;

/// How long an aggressive probe goes on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one of its attempts may take.
const ATTEMPT: Duration = Duration::from_millis(100);
/// The shortest and longest pause between its attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

struct UserProbe {
    probe: Probe,
    /// None: aggressively.
    timeout: Option<Duration>,
    successes: u32,
}

type Asking = Shared<BoxFuture<'static, bool>>;

/// Asks the user's containers.
pub(super) struct Readiness {
    inner: Arc<Inner>,
    asking: Mutex<Option<Asking>>,
}

struct Inner {
    probes: Vec<UserProbe>,
    connector: Connector,
    tasks: Tasks,
}

impl Readiness {
    pub(super) fn try_new(specs: &[Spec], connector: Connector, tasks: &Tasks) -> Result<Self, ConfigError> {
        let probes = specs.iter().map(user_probe).collect::<Result<_, _>>()?;
        let inner = Arc::new(Inner { probes, connector, tasks: tasks.clone() });
        Ok(Self { inner, asking: Mutex::default() })
    }

    /// Whether all containers are ready.
    pub(super) async fn is_ready(&self) -> bool {
        if self.inner.probes.is_empty() {
            return true;
        }
        let asking = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            match asking.as_ref().filter(|asking| asking.peek().is_none()) {
                Some(asking) => asking.clone(),
                None => {
                    let inner = Arc::clone(&self.inner);
                    let new = async move { inner.ask().await }.boxed().shared();
                    *asking = Some(new.clone());
                    new
                }
            }
        };
        asking.await
    }
}

impl Inner {
    async fn ask(&self) -> bool {
        join_all(self.probes.iter().map(|probe| self.ask_one(probe))).await.into_iter().all(|is_ready| is_ready)
    }

    async fn ask_one(&self, probe: &UserProbe) -> bool {
        match probe.timeout {
            Some(timeout) => self.attempt(probe, timeout).await,
            None => tokio::time::timeout(PATIENCE, self.ask_until(probe)).await.is_ok(),
        }
    }

    async fn ask_until(&self, probe: &UserProbe) {
        let begun = tokio::time::Instant::now();
        let mut successes = 0;
        loop {
            successes = if self.attempt(probe, ATTEMPT).await { successes + 1 } else { 0 };
            if successes >= probe.successes {
                return;
            }
            tokio::time::sleep((begun.elapsed() / 10).clamp(PAUSES.0, PAUSES.1)).await;
        }
    }

    async fn attempt(&self, probe: &UserProbe, timeout: Duration) -> bool {
        match probe.probe.run(&self.connector, &self.tasks, timeout).await {
            Ok(()) => true,
            Err(error) => {
                tracing::trace!(error = base_rt::error_chain(&error), "the user's container is not ready");
                false
            }
        }
    }
}

fn user_probe(spec: &Spec) -> Result<UserProbe, ConfigError> {
    let is_aggressive = spec.period_seconds.unwrap_or_default() == 0;
    let timeout = u64::try_from(spec.timeout_seconds.unwrap_or_default()).unwrap_or_default().max(1);
    Ok(UserProbe {
        probe: action(spec)?,
        timeout: (!is_aggressive).then(|| Duration::from_secs(timeout)),
        successes: u32::try_from(spec.success_threshold.unwrap_or_default()).unwrap_or_default().max(1),
    })
}

fn action(spec: &Spec) -> Result<Probe, ConfigError> {
    if let Some(http) = &spec.http_get {
        let addr = address(http.host.as_deref(), &http.port)?;
        // Whether its certificate is trusted does not matter to a probe; that it answers does.
        let is_tls = http.scheme.as_deref() == Some("HTTPS");
        return Ok(if is_tls { Probe::Tcp(Target::http1(addr)) } else { Probe::Http(http_probe(http, addr)) });
    }
    if let Some(tcp) = &spec.tcp_socket {
        return Ok(Probe::Tcp(Target::http1(address(tcp.host.as_deref(), &tcp.port)?)));
    }
    let grpc = spec.grpc.as_ref().ok_or(ConfigError::ProbeAction)?;
    let addr = address(None, &IntOrString::Int(grpc.port))?;
    Ok(Probe::Grpc { target: Target::http2(addr), service: grpc.service.clone().unwrap_or_default() })
}

fn http_probe(http: &HTTPGetAction, addr: SocketAddr) -> HttpProbe {
    let mut headers = HeaderMap::new();
    for header in http.http_headers.iter().flatten() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(&header.name), HeaderValue::try_from(&header.value)) {
            headers.append(name, value);
        }
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("kube-probe/kwick"));
    HttpProbe { target: Target::http1(addr), path: http.path.clone().unwrap_or_else(|| "/".to_owned()), headers }
}

fn address(host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, ConfigError> {
    let IntOrString::Int(port) = port else { return Err(ConfigError::ProbeAction) };
    let port = u16::try_from(*port).ok().filter(|port| *port > 0).ok_or(ConfigError::ProbeAction)?;
    let ip = host.and_then(|host| host.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn probes_of_a_revision() {
        for (spec, expected) in [
            (
                json!({"httpGet": {"host": "127.0.0.1", "port": 8080, "path": "/healthz", "scheme": "HTTP"}}),
                Some("http 127.0.0.1:8080/healthz"),
            ),
            (json!({"httpGet": {"port": 8080, "scheme": "HTTPS"}}), Some("tcp 127.0.0.1:8080")),
            (json!({"tcpSocket": {"host": "127.0.0.1", "port": 8080}}), Some("tcp 127.0.0.1:8080")),
            (json!({"grpc": {"port": 90, "service": "x"}}), Some("grpc 127.0.0.1:90 \"x\"")),
            (json!({"tcpSocket": {"port": "http"}}), None),
            (json!({"exec": {"command": ["true"]}}), None),
        ] {
            let spec: Spec = serde_json::from_value(spec).unwrap();
            assert_eq!(action(&spec).ok().map(|probe| format!("{probe:?}")).as_deref(), expected, "{spec:?}");
        }
    }

    #[test]
    fn a_probe_without_a_period_is_aggressive() {
        for (period, timeout, expected) in [(0, 0, None), (0, 5, None), (10, 0, Some(1)), (10, 5, Some(5))] {
            let spec = json!({"periodSeconds": period, "timeoutSeconds": timeout, "tcpSocket": {"port": 1}});
            let probe = user_probe(&serde_json::from_value(spec).unwrap()).unwrap();
            assert_eq!(probe.timeout, expected.map(Duration::from_secs));
        }
    }
}
