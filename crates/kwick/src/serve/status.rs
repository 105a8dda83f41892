//! `GET /kwick/status`: the process's own facts, for whoever the rules let.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use cluster_apiserver::Identity;
use cluster_apiserver::http::body::Body;
use cluster_apiserver::http::routes::{Route, RouteFuture, RouteHandler};
use cluster_apiserver::http::service::RequestBody;
use cluster_sandbox::spec::SpawnerFacts;
use http::{Method, Request, Response, StatusCode, header};
use kwick::assembly::Level;
use serde_json::{Value, json};

use crate::instance::record::Record;

/// The size of a page as `/proc` counts.
const PAGE_BYTES: u64 = 4096;

/// The route.
pub(super) fn route(record: &Record, level: Level, spawner: &SpawnerFacts) -> Route {
    let addresses = json!({
        "api": record.api,
        "registry": record.registry.filter(|_| level >= Level::Cluster),
        "gateway": record.gateway.filter(|_| level >= Level::All),
        "gatewayTls": record.gateway_tls.filter(|_| level >= Level::All),
    });
    let (spawner_pid, notices) = (spawner.pid, spawner.notices.clone());
    Route { prefix: "/kwick/status".to_owned(), handler: Arc::new(StatusRoute { addresses, spawner_pid, notices }) }
}

struct StatusRoute {
    addresses: Value,
    spawner_pid: i32,
    /// What this machine does not offer.
    notices: Vec<String>,
}

impl RouteHandler for StatusRoute {
    fn call(&self, request: Request<RequestBody>, _: &Identity) -> RouteFuture {
        let response = if request.method() == Method::GET { self.answer() } else { refusal() };
        Box::pin(std::future::ready(response))
    }
}

impl StatusRoute {
    fn answer(&self) -> Response<Body> {
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "spawnerPid": self.spawner_pid,
            "addresses": self.addresses,
            "notices": self.notices,
            "memory": {"kwickBytes": own_memory(), "spawnerBytes": resident(self.spawner_pid)},
        });
        let mut response = Response::new(Body::from(Bytes::from(status.to_string())));
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }
}

fn refusal() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// The proportional set size of this process, in bytes.
fn own_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// The resident set size of another process, in bytes: only root may know its proportional one.
fn resident(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE_BYTES)
}
