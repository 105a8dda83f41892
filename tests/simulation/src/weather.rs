//! What happens between controllers and the API: refusals, losses, delays and deaths, drawn from a seed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use base_rt::watch;
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

use crate::at_work;

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
    /// An event of a watch waits a moment.
    pub slow_event: f64,
    /// An event of a watch waits for seconds, longer than anybody waits to see what they wrote.
    pub stuck_event: f64,
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
        stuck_event: 0.0,
        death: 0.0,
    };

    /// Everything happens now and then.
    pub const STORMY: Self = Self {
        conflict: 0.05,
        refused: 0.03,
        unanswered: 0.03,
        delay: 0.3,
        lost_watch: 0.3,
        expired_watch: 0.3,
        slow_event: 0.2,
        stuck_event: 0.02,
        death: 0.01,
    };
}

/// How often what has happened to whom: a controller by its name, else the resource that was asked for.
pub type Faults = BTreeMap<(&'static str, String), u64>;

/// Serving's controllers, each the victim of some seeds: what can happen to its writes does so soon.
pub const CONTROLLERS: [&str; 11] = [
    "configuration",
    "domainmapping",
    "gc",
    "ingress",
    "labeler",
    "metric",
    "podautoscaler",
    "revision",
    "route",
    "serverlessservice",
    "service",
];
/// The one that writes least is the victim of some more.
const RAREST: &str = "gc";
const TURNS_OF_RAREST: u64 = 2;
/// The chance of what has not happened yet to the writes of a seed's victim. Some write a few times in a run.
const OF_VICTIM: f64 = 0.5;

/// The weather of one world. Clones are the same.
#[derive(Clone, Debug)]
pub struct Weather {
    sky: Arc<Mutex<Sky>>,
}

#[derive(Debug)]
struct Sky {
    climate: Climate,
    random: SmallRng,
    victim: &'static str,
    faults: Faults,
    trace: Trace,
}

impl Sky {
    /// With this chance, up to so many milliseconds.
    fn wait(&mut self, chance: f64, most_ms: u64) -> Duration {
        let waits = chance > 0.0 && self.random.random_bool(chance);
        if waits { Duration::from_millis(self.random.random_range(1..most_ms)) } else { Duration::ZERO }
    }
}

/// A hash of everything that has passed, in its order: equal for two runs that were the same.
#[derive(Debug)]
struct Trace(u64);

impl Trace {
    const BEGINNING: Self = Self(0xcbf2_9ce4_8422_2325);

    fn record(&mut self, bytes: &[u8]) {
        let of_byte = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = bytes.iter().fold(self.0, of_byte);
    }
}

/// Whether somebody is alive. Clones are the same life.
#[derive(Clone, Debug)]
pub(crate) struct Life(Arc<watch::Sender<bool>>);

impl Life {
    pub(crate) fn begin() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }

    /// Nothing of it reaches the API any more.
    pub(crate) fn end(&self) {
        self.0.send_replace(false);
    }

    fn is_over(&self) -> bool {
        !*self.0.borrow()
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self) {
        let _ = self.0.subscribe().wait_for(|is_alive| !is_alive).await;
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
        let turns = CONTROLLERS.len() as u64 + TURNS_OF_RAREST;
        let turn = usize::try_from(seed % turns).unwrap_or_default();
        let victim = CONTROLLERS.get(turn).copied().unwrap_or(RAREST);
        let sky = Sky { climate, random, victim, faults: Faults::new(), trace: Trace::BEGINNING };
        Self { sky: Arc::new(Mutex::new(sky)) }
    }

    /// From now on the weather is so.
    pub fn turn(&self, climate: Climate) {
        self.sky.lock().unwrap().climate = climate;
    }

    /// What has happened so far.
    pub fn faults(&self) -> Faults {
        self.sky.lock().unwrap().faults.clone()
    }

    /// A hash of all requests, answers and events so far, and of what became of them. A seed gives the same in every run.
    pub fn trace(&self) -> u64 {
        self.sky.lock().unwrap().trace.0
    }

    fn record(&self, what: &str, bytes: &[u8]) {
        let mut sky = self.sky.lock().unwrap();
        sky.trace.record(what.as_bytes());
        sky.trace.record(bytes);
        tracing::trace!(target: "simulation::trace", hash = sky.trace.0, what, bytes = %String::from_utf8_lossy(bytes));
    }

    /// Something has happened to somebody.
    pub(crate) fn note(&self, what: &'static str, whom: &str) {
        *self.sky.lock().unwrap().faults.entry((what, whom.to_owned())).or_default() += 1;
    }

    /// A client of somebody whose requests go through the weather.
    pub(crate) fn client(&self, service: ApiService, life: &Life) -> kube::Client {
        kube::Client::new(Outside { service, weather: self.clone(), life: life.clone() }, "default")
    }

    fn fate(&self, request: &Request<Body>, whom: &str) -> Fate {
        let mut sky = self.sky.lock().unwrap();
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let is_write = request.method() != Method::GET;
        let climate = sky.climate;
        let mut is = |what, chance: f64| {
            let is_due = whom == sky.victim && is_write && !sky.faults.contains_key(&(what, whom.to_owned()));
            let is = chance > 0.0 && sky.random.random_bool(if is_due { OF_VICTIM } else { chance });
            if is {
                *sky.faults.entry((what, whom.to_owned())).or_default() += 1;
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

    /// How long a request, or its answer, waits.
    fn delay(&self) -> Duration {
        let mut sky = self.sky.lock().unwrap();
        let chance = sky.climate.delay;
        sky.wait(chance, 40)
    }

    /// How long an event waits for whom.
    fn event_delay(&self, whom: &str) -> Duration {
        let mut sky = self.sky.lock().unwrap();
        let Climate { slow_event, stuck_event, .. } = sky.climate;
        let stuck = sky.wait(stuck_event, 10_000);
        if stuck.is_zero() {
            return sky.wait(slow_event, 500);
        }
        drop(sky);
        self.note("stuck event", whom);
        stuck
    }
}

/// A watch: what is recorded of it, and whom it is for.
struct Watch {
    what: String,
    whom: String,
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
        wait(self.weather.delay()).await;
        self.check()?;
        let whom = at_work::name().unwrap_or_else(|| resource_of(request.uri().path()).to_owned());
        let fate = self.weather.fate(&request, &whom);
        let what = format!("{} {} {fate:?}", request.method(), request.uri());
        self.weather.record(&what, &[]);
        match fate {
            Fate::Refused => return Ok(status(500, "InternalError", "the weather refuses it")),
            Fate::Conflict => return Ok(status(409, "Conflict", "the weather says that somebody else was faster")),
            Fate::Expired => return Ok(expired()),
            Fate::DeathBefore => return Err(self.die()),
            _ => {}
        }
        let response = tower_service::Service::call(&mut self.service, request).await?;
        wait(self.weather.delay()).await;
        match fate {
            Fate::DeathAfter => return Err(self.die()),
            Fate::Unanswered => return Ok(status(500, "InternalError", "the weather took the answer")),
            _ => {}
        }
        self.check()?;
        let (head, body) = response.into_parts();
        if !body_has_end(&body) {
            return Ok(Response::from_parts(head, self.stream(body, fate, Watch { what, whom })));
        }
        let bytes = body.collect().await?.to_bytes();
        self.weather.record(&what, &bytes);
        Ok(Response::from_parts(head, whole(bytes)))
    }

    /// A watch's events, late, until they end or the watcher does.
    fn stream<B>(self, body: B, fate: Fate, watch: Watch) -> ReplyBody
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
        let late = stream::unfold((frames, self, watch), move |(mut frames, this, watch)| async move {
            let frame: Result<Frame<Bytes>, BoxError> =
                tokio::time::timeout_at(ends, frames.next()).await.ok().flatten()?;
            wait(this.weather.event_delay(&watch.whom)).await;
            if this.life.is_over() {
                return None;
            }
            let bytes = frame.as_ref().ok().and_then(Frame::data_ref).map_or(&[][..], |bytes| bytes);
            this.weather.record(&watch.what, bytes);
            Some((frame, (frames, this, watch)))
        });
        StreamBody::new(late.take(events)).boxed_unsync()
    }

    fn check(&self) -> Result<(), BoxError> {
        if self.life.is_over() { Err("dead".into()) } else { Ok(()) }
    }

    fn die(&self) -> BoxError {
        self.life.end();
        "it died".into()
    }
}

/// The resource that a path is about: its plural, which stands after the version and the namespace.
fn resource_of(path: &str) -> &str {
    let mut parts = path.trim_start_matches('/').split('/');
    let is_core = parts.next() == Some("api");
    let mut parts = parts.skip(if is_core { 1 } else { 2 });
    match parts.next() {
        Some("namespaces") => parts.nth(1).unwrap_or("namespaces"),
        other => other.unwrap_or_default(),
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
    Response::builder().status(code).header("content-type", "application/json").body(whole(text.into())).unwrap()
}

fn whole(bytes: Bytes) -> ReplyBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
