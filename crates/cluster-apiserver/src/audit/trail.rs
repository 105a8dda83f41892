//! The record of one request, from its arrival to the end of its answer.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_rt::{Clock, Timestamp};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, Response};
use serde_json::{Map, Value, json};

use super::PeerAddress;
use super::log::Log;
use super::policy::{Asked, Level, Recorded};
use crate::entropy::Entropy;
use crate::http::body::Body;
use crate::http::path::RequestPath;
use crate::http::service::RequestBody;
use crate::identity::Identity;
use crate::negotiate::decode;
use crate::proto;
use crate::strict;
use crate::value::str_at;

/// The header that names a request, in the question and in the answer.
const AUDIT_ID: &str = "audit-id";
/// So much of a client's name is kept.
const MAX_AGENT_BYTES: usize = 1024;
/// An answer that was compressed is looked into up to this size.
const MAX_BODY_BYTES: u64 = 64 << 20;

/// The record of one request that is under way.
pub(crate) struct Trail {
    rule: Recorded,
    log: Arc<Log>,
    clock: Clock,
    is_long: bool,
    /// Whether its answer may be a `Status` although it is done.
    is_deletion: bool,
    id: String,
    event: Mutex<Event>,
}

struct Event {
    fields: Map<String, Value>,
    annotations: BTreeMap<String, String>,
    is_complete: bool,
}

/// Records the end of an answer when it is dropped: it has been sent, or given up.
pub(crate) struct Closing(Arc<Trail>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.complete();
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Trail {
    pub(super) fn begin(
        request: &Request<RequestBody>,
        asked: &Asked<'_>,
        rule: Recorded,
        log: Arc<Log>,
        clock: Clock,
        entropy: &Entropy,
    ) -> Self {
        let headers = request.headers();
        let given = headers.get(AUDIT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        let id = given.map_or_else(|| entropy.uid(), str::to_owned);
        let now = time_text(clock.now());
        let mut fields = Map::new();
        for (name, value) in [
            ("kind", Value::from("Event")),
            ("apiVersion", Value::from("audit.k8s.io/v1")),
            ("level", Value::from(rule.level.as_str())),
            ("auditID", Value::from(id.as_str())),
            ("stage", Value::Null),
            ("requestURI", Value::from(request.uri().path_and_query().map_or("/", |uri| uri.as_str()))),
            ("verb", Value::from(asked.verb)),
            ("user", asked.who.map_or_else(|| json!({}), Identity::to_value)),
            ("sourceIPs", Value::from(sources(request))),
        ] {
            fields.insert(name.to_owned(), value);
        }
        if let Some(agent) = headers.get(USER_AGENT) {
            let agent = String::from_utf8_lossy(agent.as_bytes());
            let kept: String = agent.chars().take(MAX_AGENT_BYTES).collect();
            let more = if kept.len() < agent.len() { "...TRUNCATED" } else { "" };
            fields.insert("userAgent".to_owned(), format!("{kept}{more}").into());
        }
        if let RequestPath::Resource(path) = asked.of {
            let mut of = Map::new();
            for (name, text) in [
                ("resource", &path.plural),
                ("namespace", &path.namespace),
                ("name", &path.name),
                ("apiGroup", &path.group),
                ("apiVersion", &path.version),
                ("subresource", &path.subresource),
            ] {
                if !text.is_empty() {
                    of.insert(name.to_owned(), text.as_str().into());
                }
            }
            fields.insert("objectRef".to_owned(), of.into());
        }
        fields.insert("requestReceivedTimestamp".to_owned(), now.as_str().into());
        let is_long = match asked.of {
            RequestPath::Other => false,
            RequestPath::Resource(path) => {
                asked.verb == "watch"
                    || matches!(path.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy")
            }
        };
        let event = Mutex::new(Event { fields, annotations: BTreeMap::new(), is_complete: false });
        let is_deletion = asked.verb.starts_with("delete");
        let trail = Self { rule, log, clock, is_long, is_deletion, id, event };
        trail.tell("RequestReceived", &mut trail.lock(), now);
        trail
    }

    fn lock(&self) -> MutexGuard<'_, Event> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what somebody on the way has to say of the request.
    pub(crate) fn annotate(&self, key: impl Into<String>, text: impl Into<String>) {
        // What was said first stays.
        self.lock().annotations.entry(key.into()).or_insert_with(|| text.into());
    }

    /// Whom the request is made as, if that is somebody else.
    pub(crate) fn impersonates(&self, who: &Identity) {
        self.lock().fields.insert("impersonatedUser".to_owned(), who.to_value());
    }

    /// The body of the request.
    pub(crate) fn asked(&self, content_type: &str, body: &Bytes) {
        // Of metadata only the object's name is wanted, which a path may lack.
        if body.is_empty() {
            return;
        }
        let Some(mut object) = read(content_type, body) else { return };
        let mut event = self.lock();
        if let Some(of) = event.fields.get_mut("objectRef").and_then(Value::as_object_mut) {
            for name in ["name", "namespace", "uid", "resourceVersion"] {
                let text = str_at(&object, &["metadata", name]);
                if !text.is_empty() && !of.contains_key(name) {
                    of.insert(name.to_owned(), text.into());
                }
            }
        }
        if self.rule.level >= Level::Request {
            self.strip(&mut object);
            event.fields.insert("requestObject".to_owned(), object);
        }
    }

    /// Records the answer; of one that goes on, its end is recorded when that comes.
    pub(crate) fn answered(self: Arc<Self>, mut response: Response<Body>) -> Response<Body> {
        if let Ok(id) = HeaderValue::try_from(self.id.as_str()) {
            response.headers_mut().insert(AUDIT_ID, id);
        }
        let code = response.status().as_u16();
        // What nobody wants to know is not looked at.
        let is_looked_at = code >= 400 || self.is_deletion || self.rule.level >= Level::RequestResponse;
        let body = if is_looked_at { response.body().whole() } else { None };
        let object = body.and_then(|body| answer(response.headers(), &body));
        let mut status = json!({"metadata": {}, "code": code});
        let mut event = self.lock();
        if let Some(object) = &object
            && (str_at(object, &["kind"]), str_at(object, &["apiVersion"])) == ("Status", "v1")
        {
            for name in ["status", "message", "reason", "details"] {
                if let Some(value) = object.get(name) {
                    status[name] = value.clone();
                }
            }
        }
        event.fields.insert("responseStatus".to_owned(), status);
        if let Some(mut object) = object.filter(|_| self.rule.level >= Level::RequestResponse) {
            self.strip(&mut object);
            event.fields.insert("responseObject".to_owned(), object);
        }
        if self.is_long {
            self.tell("ResponseStarted", &mut event, time_text(self.clock.now()));
        }
        drop(event);
        // The session behind an upgraded connection says itself when it is over.
        if code == 101 { response } else { response.map(|body| body.holding(Closing(self))) }
    }

    /// What records the end of the answer.
    pub(crate) fn closing(self: &Arc<Self>) -> Closing {
        Closing(Arc::clone(self))
    }

    fn complete(&self) {
        let mut event = self.lock();
        if !std::mem::replace(&mut event.is_complete, true) {
            self.tell("ResponseComplete", &mut event, time_text(self.clock.now()));
        }
    }

    fn tell(&self, stage: &str, event: &mut Event, time: String) {
        if self.rule.omitted_stages.iter().any(|omitted| omitted == stage) {
            return;
        }
        event.fields.insert("stage".to_owned(), stage.into());
        event.fields.insert("stageTimestamp".to_owned(), time.into());
        if !event.annotations.is_empty() {
            event.fields.insert("annotations".to_owned(), json!(event.annotations));
        }
        // A map of JSON values has a text.
        if let Ok(mut line) = serde_json::to_vec(&event.fields) {
            line.push(b'\n');
            self.log.put(line);
        }
    }

    /// Takes away whose fields are, if that is not wanted.
    fn strip(&self, object: &mut Value) {
        if !self.rule.omits_managed_fields {
            return;
        }
        let forget = |object: &mut Value| {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
        };
        forget(object);
        for list in ["items", "rows"] {
            for item in object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                forget(item);
                item.get_mut("object").into_iter().for_each(forget);
            }
        }
    }
}

/// Where a request comes from: what it says of its way, and the other end of the connection.
fn sources(request: &Request<RequestBody>) -> Vec<String> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut found: Vec<IpAddr> = text("x-forwarded-for").split(',').filter_map(address).collect();
    found.extend(address(text("x-real-ip")).filter(|ip| !found.contains(ip)));
    let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    found.extend(peer.filter(|peer| found.last() != Some(peer)));
    found.iter().map(ToString::to_string).collect()
}

/// The object in a body, whatever form it came in.
fn read(content_type: &str, body: &[u8]) -> Option<Value> {
    if body.starts_with(&proto::MAGIC) {
        return proto::decode(body).ok();
    }
    if decode::media_type(content_type).contains("yaml") {
        return strict::parse_yaml(body).ok().map(|decoded| decoded.value);
    }
    serde_json::from_slice(body).ok()
}

/// The object in an answer.
fn answer(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    if !content_type.contains("json") && !content_type.contains("yaml") {
        return None;
    }
    if headers.contains_key(CONTENT_ENCODING) {
        let mut plain = Vec::new();
        GzDecoder::new(body).take(MAX_BODY_BYTES).read_to_end(&mut plain).ok()?;
        return read(content_type, &plain);
    }
    read(content_type, body)
}

fn time_text(time: Timestamp) -> String {
    strict::format_micro_time(time)
}
