//! A server over a journal in memory, and raw requests to it.

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks};
use bytes::Bytes;
use cluster_apiserver::http::routes::Route;
use cluster_apiserver::http::service::ApiService;
use cluster_apiserver::store::Journal;
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{
    Admission, ApiServer, ApiServerConfig, Entropy, Identity, Measures, PodStreams, ServiceAccountKey, ServiceRange,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::ServiceExt as _;

/// The token of a user in `system:masters`.
pub(crate) const ADMIN_TOKEN: &str = "admin-token";
/// The token of a user who may read and write ConfigMaps where a test's rules say so.
pub(crate) const CAROL_TOKEN: &str = "carol-token";
/// The token of a user without rules.
pub(crate) const BOB_TOKEN: &str = "bob-token";

static KEY: LazyLock<String> = LazyLock::new(|| ServiceAccountKey::generate_pem().expect("key"));

/// A running server; it ends with this value.
pub(crate) struct Harness {
    pub(crate) server: ApiServer,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: ShutdownHandle,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_with(MemoryDisk::new(), Vec::new()).await
    }

    pub(crate) async fn start_with(disk: MemoryDisk, admissions: Vec<Arc<dyn Admission>>) -> Self {
        Self::start_as(disk, |config| ApiServerConfig { admissions, ..config }).await
    }

    pub(crate) async fn start_routing(routes: Vec<Route>) -> Self {
        Self::start_as(MemoryDisk::new(), |config| ApiServerConfig { routes, ..config }).await
    }

    /// Over Pods that run somewhere.
    pub(crate) async fn start_running(streams: Arc<dyn PodStreams>) -> Self {
        Self::start_as(MemoryDisk::new(), |config| ApiServerConfig { streams: Some(streams), ..config }).await
    }

    /// With somebody who measures.
    pub(crate) async fn start_measuring(measures: Arc<dyn Measures>) -> Self {
        Self::start_as(MemoryDisk::new(), |config| ApiServerConfig { measures: Some(measures), ..config }).await
    }

    /// With Services in a range of addresses.
    pub(crate) async fn start_with_services(services: ServiceRange) -> Self {
        Self::start_as(MemoryDisk::new(), |config| ApiServerConfig { services, ..config }).await
    }

    /// As it would be on a disk of the test's own.
    pub(crate) async fn start_on(journal: Box<dyn Journal>) -> Self {
        Self::start_as(MemoryDisk::new(), |config| ApiServerConfig { journal, ..config }).await
    }

    pub(crate) async fn start_as(disk: MemoryDisk, change: impl FnOnce(ApiServerConfig) -> ApiServerConfig) -> Self {
        let (shutdown, observer) = Shutdown::new();
        let tasks = Tasks::new(observer);
        let clock = Clock::starting_at("2024-01-01T00:00:00Z".parse().expect("time"));
        let key = ServiceAccountKey::from_pem(&KEY).expect("key");
        let config = ApiServerConfig {
            entropy: Entropy::seeded(1),
            tokens: vec![
                (ADMIN_TOKEN.to_owned(), Identity::master("admin")),
                (BOB_TOKEN.to_owned(), Identity::user("bob", [] as [&str; 0])),
                (CAROL_TOKEN.to_owned(), Identity::user("carol", [] as [&str; 0])),
            ],
            address: format!("{}:6443", Ipv4Addr::LOCALHOST),
            ..ApiServerConfig::new(disk.journal(), clock, tasks.clone(), key)
        };
        let server = ApiServer::start(change(config)).await.expect("start");
        Self { server, tasks, shutdown }
    }

    /// A client of this process that may do everything.
    pub(crate) fn client(&self) -> kube::Client {
        self.server.client_as(&Identity::master("test"))
    }

    /// Requests of a user with a token; empty for none.
    pub(crate) fn with_token(&self, token: &str) -> Raw {
        Raw { service: self.server.service(), token: token.to_owned() }
    }

    /// Requests of the administrator.
    pub(crate) fn raw(&self) -> Raw {
        self.with_token(ADMIN_TOKEN)
    }
}

/// Sends raw requests.
pub(crate) struct Raw {
    service: ApiService,
    token: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.bytes))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Raw {
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = self.open(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) async fn open(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> http::Response<cluster_apiserver::http::body::Body> {
        if !self.token.is_empty() {
            request.headers_mut().insert("authorization", format!("Bearer {}", self.token).parse().expect("header"));
        }
        match self.service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    pub(crate) async fn request(&self, method: Method, path: &str, content_type: &str, body: &Value) -> Answer {
        let mut builder = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            builder = builder.header("content-type", content_type);
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.send(builder.body(Full::new(body)).expect("request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, "", &Value::Null).await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let request = Request::builder().uri(path).header("accept", accept).body(Full::default()).expect("request");
        self.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path, "application/json", body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::PUT, path, "application/json", body).await
    }

    pub(crate) async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::PATCH, path, "application/merge-patch+json", body).await
    }

    pub(crate) async fn delete(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::DELETE, path, "application/json", body).await
    }
}

/// Where ConfigMaps of the default namespace are.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A ConfigMap.
pub(crate) fn config_map(name: &str) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
}

/// Asks again until the answer is as wanted; under paused time this takes no time.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..2000 {
        if check().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
