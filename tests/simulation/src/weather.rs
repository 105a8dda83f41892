//! What happens between controllers and the API: refusals, losses, delays and deaths, drawn from a seed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cluster_apiserver::http::service::ApiService;
use futures::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use kube::client::Body;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::Notify;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type ReplyBody = UnsyncBoxBody<Bytes, BoxError>;

/// How bad the weather is: chances, each from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Climate {
    /// A write is refused with 409 although nobody else wrote.
    pub conflict: f64,
    /// A request is refused with 500 and not carried out.
    pub refused: f64,
    /// A write is carried out and answered with 500.
    pub unanswered: f64,
    /// A request waits before, or its answer after.
    pub delay: f64,
    /// A watch ends soon.
    pub lost_watch: f64,
    /// A watch starts with 410.
    pub expired_watch: f64,
    /// An event of a watch waits.
    pub slow_event: f64,
    /// All controllers die before or after a write.
    pub death: f64,
}

impl Climate {
    /// Nothing happens.
    pub const CALM: Self = Self {
        conflict: 0.0,
        refused: 0.0,
        unanswered: 0.0,
        delay: 0.0,
        lost_watch: 0.0,
        expired_watch: 0.0,
        slow_event: 0.0,
        death: 0.0,
    };

    /// Everything happens now and then.
    pub const STORMY: Self = Self {
        conflict: 0.05,
        refused: 0.03,
        unanswered: 0.03,
        delay: 0.3,
        lost_watch: 0.3,
        expired_watch: 0.05,
        slow_event: 0.2,
        death: 0.004,
    };
}

/// The weather of one world. Clones are the same.
#[derive(Clone, Debug)]
pub struct Weather {
    sky: Arc<Mutex<Sky>>,
    death: Arc<Notify>,
}

#[derive(Debug)]
struct Sky {
    climate: Climate,
    random: SmallRng,
    counts: BTreeMap<&'static str, u64>,
}

/// Whether somebody is alive. Clones are the same life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life(Arc<AtomicBool>);

impl Life {
    /// Nothing of it reaches the API any more.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Fine,
    Conflict,
    Refused,
    Unanswered,
    DeathBefore,
    DeathAfter,
    Expired,
    Lost { after_ms: u64, events: usize },
}

impl Weather {
    pub(crate) fn new(seed: u64, climate: Climate) -> Self {
        let random = SmallRng::seed_from_u64(seed ^ 0x0077_6561_7468_6572);
        let sky = Sky { climate, random, counts: BTreeMap::new() };
        Self { sky: Arc::new(Mutex::new(sky)), death: Arc::default() }
    }

    /// From now on the weather is so.
    pub fn turn(&self, climate: Climate) {
        self.sky.lock().unwrap().climate = climate;
    }

    /// What has happened so far, and how often.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.sky.lock().unwrap().counts.clone()
    }

    /// Something else has happened.
    pub(crate) fn note(&self, what: &'static str) {
        *self.sky.lock().unwrap().counts.entry(what).or_default() += 1;
    }

    /// Waits until the controllers have died.
    pub(crate) async fn death(&self) {
        self.death.notified().await;
    }

    /// A client of somebody whose requests go through the weather.
    pub(crate) fn client(&self, service: ApiService, life: &Life) -> kube::Client {
        kube::Client::new(Outside { service, weather: self.clone(), life: life.clone() }, "default")
    }

    fn fate(&self, request: &Request<Body>) -> Fate {
        let mut sky = self.sky.lock().unwrap();
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let is_write = request.method() != Method::GET;
        let climate = sky.climate;
        let mut is = |what, chance: f64| {
            let is = chance > 0.0 && sky.random.random_bool(chance);
            if is {
                *sky.counts.entry(what).or_default() += 1;
            }
            is
        };
        if is("refused", climate.refused) {
            return Fate::Refused;
        }
        if is_watch && is("expired watch", climate.expired_watch) {
            return Fate::Expired;
        }
        if is_watch && is("lost watch", climate.lost_watch) {
            let after_ms = sky.random.random_range(0..20_000);
            return Fate::Lost { after_ms, events: sky.random.random_range(0..30) };
        }
        if is_write && is("death before", climate.death / 2.0) {
            return Fate::DeathBefore;
        }
        if is_write && is("death after", climate.death / 2.0) {
            return Fate::DeathAfter;
        }
        if is_write && request.method() != Method::POST && is("conflict", climate.conflict) {
            return Fate::Conflict;
        }
        if is_write && is("unanswered", climate.unanswered) {
            return Fate::Unanswered;
        }
        Fate::Fine
    }

    /// How long something waits.
    fn delay(&self, of_event: bool) -> Duration {
        let mut sky = self.sky.lock().unwrap();
        let (chance, most) = if of_event { (sky.climate.slow_event, 500) } else { (sky.climate.delay, 40) };
        if chance > 0.0 && sky.random.random_bool(chance) {
            Duration::from_millis(sky.random.random_range(1..most))
        } else {
            Duration::ZERO
        }
    }
}

#[derive(Clone)]
struct Outside {
    service: ApiService,
    weather: Weather,
    life: Life,
}

impl tower_service::Service<Request<Body>> for Outside {
    type Response = Response<ReplyBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(this.ask(request))
    }
}

impl Outside {
    async fn ask(mut self, request: Request<Body>) -> Result<Response<ReplyBody>, BoxError> {
        wait(self.weather.delay(false)).await;
        self.check()?;
        let fate = self.weather.fate(&request);
        match fate {
            Fate::Refused => return Ok(status(500, "InternalError", "the weather refuses it")),
            Fate::Conflict => return Ok(status(409, "Conflict", "the weather says that somebody else was faster")),
            Fate::Expired => return Ok(expired()),
            Fate::DeathBefore => return Err(self.die()),
            _ => {}
        }
        let response = tower_service::Service::call(&mut self.service, request).await?;
        wait(self.weather.delay(false)).await;
        match fate {
            Fate::DeathAfter => return Err(self.die()),
            Fate::Unanswered => return Ok(status(500, "InternalError", "the weather took the answer")),
            _ => {}
        }
        self.check()?;
        let (head, body) = response.into_parts();
        let is_stream = !body_has_end(&body);
        let body = if is_stream { self.stream(body, fate) } else { body.map_err(Into::into).boxed_unsync() };
        Ok(Response::from_parts(head, body))
    }

    /// A watch's events, late, until they end or the watcher does.
    fn stream<B>(self, body: B, fate: Fate) -> ReplyBody
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let (end, events) = match fate {
            Fate::Lost { after_ms, events } => (Duration::from_millis(after_ms), events),
            _ => (Duration::from_secs(1 << 30), usize::MAX),
        };
        let ends = tokio::time::Instant::now() + end;
        let frames = BodyStream::new(body).map(|frame| frame.map_err(Into::into)).boxed();
        let late = stream::unfold((frames, self), move |(mut frames, this)| async move {
            let frame: Result<Frame<Bytes>, BoxError> =
                tokio::time::timeout_at(ends, frames.next()).await.ok().flatten()?;
            wait(this.weather.delay(true)).await;
            (!this.life.is_over()).then_some((frame, (frames, this)))
        });
        StreamBody::new(late.take(events)).boxed_unsync()
    }

    fn check(&self) -> Result<(), BoxError> {
        if self.life.is_over() { Err("dead".into()) } else { Ok(()) }
    }

    fn die(&self) -> BoxError {
        self.life.end();
        self.weather.death.notify_one();
        "it died".into()
    }
}

/// Whether a body is known to end: anything but a watch.
fn body_has_end(body: &impl http_body::Body) -> bool {
    body.size_hint().exact().is_some()
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn status(code: u16, reason: &str, message: &str) -> Response<ReplyBody> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    reply(code, status.to_string())
}

fn expired() -> Response<ReplyBody> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version",
    });
    reply(200, format!("{}\n", json!({"type": "ERROR", "object": status})))
}

fn reply(code: u16, text: String) -> Response<ReplyBody> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
