//! `GET /kwick/explain`: why a Service is as it is. `GET /kwick/facts`: what controllers know of any object of theirs.
//!
//! Everybody who is known to the API may ask the first: everything is read in their own name, and what they may not read is not told. The
//! second tells what a controller has gathered, other objects included: only for whoever the rules let, which are administrators.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base_controller::Key;
use base_net::query;
use bytes::Bytes;
use cluster_apiserver::http::body::Body;
use cluster_apiserver::http::routes::{Route, RouteFuture, RouteHandler};
use cluster_apiserver::http::service::RequestBody;
use cluster_apiserver::{ApiServer, Identity};
use http::{Method, Request, Response, StatusCode, Uri, header};
use knative_apis::networking::Ingress;
use knative_proxy::Gateway;
use knative_serving::explain::Explainer;
use kube::api::Api;
use kwick::assembly::install::{EXPLAIN_PATH, FACTS_PATH};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::explain::{Answer, Fate, Request as Asked, next};

/// Explanations that are made at once; others wait.
const MAX_AT_ONCE: usize = 4;
/// How long one may take, the wait included.
const WITHIN: Duration = Duration::from_secs(20);

/// What can be asked, once Knative runs.
pub(super) struct Explaining {
    pub(super) api: ApiServer,
    pub(super) explainer: Explainer,
    pub(super) gateway: Arc<Gateway>,
}

/// Answers both; the API server has them before Knative runs.
pub(super) struct Explain {
    explaining: OnceLock<Explaining>,
    places: Semaphore,
}

impl Default for Explain {
    fn default() -> Self {
        Self { explaining: OnceLock::new(), places: Semaphore::new(MAX_AT_ONCE) }
    }
}

impl Explain {
    /// From now on there is something to explain.
    pub(super) fn set(&self, explaining: Explaining) {
        // Knative is started once.
        let _ = self.explaining.set(explaining);
    }

    /// The routes.
    pub(super) fn routes(self: &Arc<Self>) -> [Route; 2] {
        [EXPLAIN_PATH, FACTS_PATH]
            .map(|path| Route { prefix: path.to_owned(), handler: Arc::new(At { path, explain: Arc::clone(self) }) })
    }

    async fn answer(&self, path: &str, uri: Uri, identity: Identity) -> Result<Value, Refusal> {
        let explaining = self.explaining.get().ok_or_else(Refusal::not_running)?;
        let asked = query::pairs(uri.query().unwrap_or_default());
        let of = |name: &str| asked.get(name).cloned().unwrap_or_default();
        let key = Key::new(of("namespace"), of("name"));
        if path == FACTS_PATH {
            let kind = of("kind");
            let facts = explaining.explainer.facts(&kind, &key);
            return facts.ok_or_else(|| Refusal::new(404, format!("no controller knows a {kind} {key}")));
        }
        let url = asked.get("url").filter(|url| !url.is_empty());
        let answering = async {
            let _place = self.places.acquire().await;
            explaining.service(&identity, &key, url).await
        };
        let late = |_| Refusal::new(504, format!("{} seconds were not enough to explain {key}", WITHIN.as_secs()));
        let answer = tokio::time::timeout(WITHIN, answering).await.map_err(late)??;
        serde_json::to_value(answer).map_err(|error| Refusal::new(500, error.to_string()))
    }
}

impl Explaining {
    async fn service(&self, identity: &Identity, key: &Key, url: Option<&String>) -> Result<Answer, Refusal> {
        let client = self.api.client_as(identity);
        let explanation = self.explainer.service(&client, key).await?;
        let request = match url.or(explanation.url.as_ref()) {
            Some(url) => Some(self.request(&client, url).await?),
            None => None,
        };
        let next = next(&explanation, request.as_ref());
        Ok(Answer { explanation, request, next })
    }

    async fn request(&self, client: &kube::Client, url: &str) -> Result<Asked, Refusal> {
        let unusable = || Refusal::new(400, format!("{url:?} is not a URL such as http://hello.default.localhost/"));
        let uri: Uri = url.parse().map_err(|_| unusable())?;
        uri.host().ok_or_else(unusable)?;
        let fate = match self.gateway.explain(&uri) {
            None => Fate::Unknown,
            Some(found) => {
                let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &found.ingress.namespace);
                match ingresses.get_opt(&found.ingress.name).await {
                    Err(kube::Error::Api(status)) if status.code == 403 => Fate::Withheld,
                    read => read.map(|_| Fate::Routed(found))?,
                }
            }
        };
        Ok(Asked { url: url.to_owned(), fate })
    }
}

/// Why there is no answer, as the API says so.
struct Refusal {
    code: u16,
    status: Value,
}

impl Refusal {
    fn new(code: u16, message: String) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code,
        });
        Self { code, status }
    }

    fn not_running() -> Self {
        Self::new(503, "Knative does not run in this instance, or not yet".to_owned())
    }
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self { code: status.code, status: serde_json::to_value(&*status).unwrap_or_default() }
            }
            other => Self::new(500, base_rt::error_chain(&other).to_string()),
        }
    }
}

/// One of the routes.
struct At {
    path: &'static str,
    explain: Arc<Explain>,
}

impl RouteHandler for At {
    fn call(&self, request: Request<RequestBody>, identity: &Identity) -> RouteFuture {
        let (path, explain, identity) = (self.path, Arc::clone(&self.explain), identity.clone());
        Box::pin(async move {
            let answer = match *request.method() {
                Method::GET => explain.answer(path, request.uri().clone(), identity).await,
                _ => Err(Refusal::new(405, "it is only read".to_owned())),
            };
            match answer {
                Ok(answer) => respond(StatusCode::OK, &answer),
                Err(Refusal { code, status }) => {
                    respond(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &status)
                }
            }
        })
    }
}

fn respond(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
