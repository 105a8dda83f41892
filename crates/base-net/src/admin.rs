//! The admin endpoint of a process: is it alive, is it ready, its metrics, its log level, and whatever else is mounted.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz`, `/livez` | 200 as long as the process answers |
//! | `/readyz`, `/ready` | 200, or 503 with what is not ready; 503 from the beginning of the end of the process |
//! | `/metrics` | OpenMetrics |
//! | `/loglevel` | the filter; `PUT` sets it |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use base_rt::metrics::Scope;
use base_rt::{Phase, Shutdown};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};

use crate::body::{Body, Request, Response};
use crate::query;

/// Bytes that a log filter may have.
const MAX_FILTER: usize = 4096;

/// A question that is answered at a path of one's own, given the query's pairs. None is "not found".
type Question = Box<dyn Fn(&BTreeMap<String, String>) -> Option<Answer> + Send + Sync>;
type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What a mounted question answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The media type.
    pub content_type: &'static str,
    /// The text.
    pub text: String,
}

/// Reads and sets the log filter.
pub trait LogLevel: Send + Sync {
    /// The filter in force.
    fn get(&self) -> String;
    /// Puts another one in force.
    ///
    /// # Errors
    /// It does not parse; the text says where.
    fn set(&self, filter: &str) -> Result<(), String>;
}

/// The endpoint as a service: made by adding to it, then cloned for each request.
#[derive(Clone)]
pub struct Admin(Arc<Parts>);

struct Parts {
    shutdown: Shutdown,
    metrics: Scope,
    log_level: Option<Box<dyn LogLevel>>,
    checks: Vec<(&'static str, Check)>,
    questions: BTreeMap<&'static str, Question>,
}

/// An [`Admin`] being put together.
pub struct AdminBuilder(Parts);

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("questions", &self.0.questions.keys()).finish_non_exhaustive()
    }
}

impl fmt::Debug for AdminBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBuilder").finish_non_exhaustive()
    }
}

impl AdminBuilder {
    /// Tells what `check` finds, by name, at the readiness paths. It must be quick.
    #[must_use]
    pub fn with_check(
        mut self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.0.checks.push((name, Box::new(check)));
        self
    }

    /// Lets the log filter be read and set.
    #[must_use]
    pub fn with_log_level(mut self, level: impl LogLevel + 'static) -> Self {
        self.0.log_level = Some(Box::new(level));
        self
    }

    /// Answers `GET path`.
    #[must_use]
    pub fn with_question(
        mut self,
        path: &'static str,
        question: impl Fn(&BTreeMap<String, String>) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        self.0.questions.insert(path, Box::new(question));
        self
    }

    /// The endpoint.
    pub fn build(self) -> Admin {
        Admin(Arc::new(self.0))
    }
}

impl Admin {
    /// An endpoint that tells `metrics`, and is ready until `shutdown` begins.
    pub fn builder(shutdown: &Shutdown, metrics: &Scope) -> AdminBuilder {
        AdminBuilder(Parts {
            shutdown: shutdown.clone(),
            metrics: metrics.clone(),
            log_level: None,
            checks: Vec::new(),
            questions: BTreeMap::new(),
        })
    }

    fn get(&self, path: &str, query: &str) -> Response {
        match path {
            "/healthz" | "/livez" => text(StatusCode::OK, "ok".to_owned()),
            "/readyz" | "/ready" => self.readiness(),
            "/metrics" => {
                let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                answer(StatusCode::OK, Answer { content_type, text: self.0.metrics.encode() })
            }
            "/loglevel" => match &self.0.log_level {
                Some(level) => text(StatusCode::OK, level.get()),
                None => not_found(),
            },
            path => match self.0.questions.get(path).and_then(|question| question(&query::pairs(query))) {
                Some(told) => answer(StatusCode::OK, told),
                None => not_found(),
            },
        }
    }

    fn readiness(&self) -> Response {
        let mut troubles: Vec<String> = self
            .0
            .checks
            .iter()
            .filter_map(|(name, check)| check().err().map(|trouble| format!("{name}: {trouble}")))
            .collect();
        if self.0.shutdown.phase() >= Phase::Lame {
            troubles.push("the process is ending".to_owned());
        }
        if troubles.is_empty() {
            text(StatusCode::OK, "ok".to_owned())
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n"))
        }
    }

    async fn set_log_level(self, request: Request) -> Response {
        let Some(level) = &self.0.log_level else { return not_found() };
        let Ok(filter) = request.into_body().read(MAX_FILTER).await else {
            return text(StatusCode::BAD_REQUEST, format!("a filter has at most {MAX_FILTER} bytes"));
        };
        let set =
            std::str::from_utf8(&filter).map_err(|error| error.to_string()).and_then(|filter| level.set(filter.trim()));
        match set {
            Ok(()) => text(StatusCode::OK, level.get()),
            Err(trouble) => text(StatusCode::BAD_REQUEST, trouble),
        }
    }
}

impl tower_service::Service<Request> for Admin {
    type Response = Response;
    type Error = Infallible;
    type Future =
        futures::future::Either<Ready<Result<Response, Infallible>>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let response = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, path) => self.get(path, request.uri().query().unwrap_or_default()),
            (&Method::PUT, "/loglevel") => {
                return futures::future::Either::Right(self.clone().set_log_level(request).map(Ok).boxed());
            }
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned()),
        };
        futures::future::Either::Left(std::future::ready(Ok(response)))
    }
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "not found".to_owned())
}

fn text(status: StatusCode, text: String) -> Response {
    answer(status, Answer { content_type: "text/plain; charset=utf-8", text })
}

fn answer(status: StatusCode, Answer { content_type, text }: Answer) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tower_service::Service;

    struct Level(Mutex<String>);

    impl LogLevel for Level {
        fn get(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn set(&self, filter: &str) -> Result<(), String> {
            if filter.contains('!') {
                return Err("no such level".to_owned());
            }
            *self.0.lock().unwrap() = filter.to_owned();
            Ok(())
        }
    }

    async fn ask(admin: &Admin, method: Method, uri: &str, body: &'static str) -> (u16, String) {
        let request = http::Request::builder().method(method).uri(uri).body(Body::from(body)).unwrap();
        let response = admin.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        let text = response.into_body().read(100_000).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    async fn get(admin: &Admin, uri: &str) -> (u16, String) {
        ask(admin, Method::GET, uri, "").await
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing_and_ends_with_the_process() {
        let (handle, shutdown) = Shutdown::new();
        let is_synced = Arc::new(AtomicBool::new(false));
        let check = {
            let is_synced = Arc::clone(&is_synced);
            move || if is_synced.load(Ordering::Relaxed) { Ok(()) } else { Err("not synced".to_owned()) }
        };
        let admin = Admin::builder(&shutdown, &Scope::root()).with_check("caches", check).build();
        assert_eq!(get(&admin, "/readyz").await, (503, "caches: not synced".into()));
        is_synced.store(true, Ordering::Relaxed);
        assert_eq!(get(&admin, "/readyz").await.0, 200);
        handle.advance(Phase::Lame);
        assert_eq!(get(&admin, "/readyz").await, (503, "the process is ending".into()));
        assert_eq!(get(&admin, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn the_log_level_is_read_and_set() {
        let (_handle, shutdown) = Shutdown::new();
        let admin = Admin::builder(&shutdown, &Scope::root()).with_log_level(Level(Mutex::new("info".into()))).build();
        assert_eq!(get(&admin, "/loglevel").await, (200, "info".into()));
        assert_eq!(ask(&admin, Method::PUT, "/loglevel", "debug\n").await, (200, "debug".into()));
        assert_eq!(ask(&admin, Method::PUT, "/loglevel", "!").await, (400, "no such level".into()));
        assert_eq!(ask(&admin, Method::POST, "/loglevel", "").await.0, 405);
    }

    #[tokio::test]
    async fn questions_get_the_query_and_metrics_are_told() {
        let (_handle, shutdown) = Shutdown::new();
        let metrics = Scope::root();
        metrics.register("things", "Things", base_rt::metrics::Counter::<u64>::default());
        let admin = Admin::builder(&shutdown, &metrics)
            .with_question("/explain", |query| {
                Some(Answer { content_type: "application/json", text: format!("{:?}", query.get("key")?) })
            })
            .build();
        assert_eq!(get(&admin, "/explain?kind=Route&key=n%2Fr").await, (200, "\"n/r\"".into()));
        assert_eq!(get(&admin, "/explain").await.0, 404);
        assert!(get(&admin, "/metrics").await.1.contains("things_total 0"));
        assert_eq!(get(&admin, "/else").await.0, 404);
    }
}
