//! A small API server as a tower service: list, watch, get, create, replace, merge-patch and delete of any kind, with knobs for bad weather.
//!
//! It stands in for the real one where a test needs the weather: withheld watch events, cut watches, forgotten history, refusals, delays.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use serde_json::{Value, json};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Result<Value, Failure>;

/// An error status: code, reason, message.
#[derive(Clone, Debug)]
pub(crate) struct Failure(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    revision: u64,
    named: u64,
    objects: BTreeMap<Place, Value>,
    log: Vec<Event>,
    watchers: Vec<Watcher>,
    /// Up to which revision events have been handed out.
    sent: u64,
    is_withholding: bool,
    failures: VecDeque<(&'static str, Failure)>,
    lost: VecDeque<&'static str>,
    admissions: VecDeque<fn(&mut Value)>,
    requests: Vec<String>,
    delay: Option<Box<dyn FnMut() -> Duration + Send>>,
}

/// Collection, namespace, name.
type Place = (String, String, String);

#[derive(Clone)]
struct Event {
    revision: u64,
    kind: &'static str,
    place: Place,
    object: Value,
}

struct Watcher {
    selection: Selection,
    sender: mpsc::UnboundedSender<Bytes>,
}

struct Selection {
    collection: String,
    namespace: String,
    labels: Vec<(String, String)>,
}

impl Selection {
    fn takes(&self, place: &Place, object: &Value) -> bool {
        place.0 == self.collection
            && (self.namespace.is_empty() || self.namespace == place.1)
            && self.labels.iter().all(|(name, value)| object["metadata"]["labels"][name] == *value)
    }
}

/// A request's path, taken apart.
struct Target {
    collection: String,
    namespace: String,
    name: String,
    subresource: String,
}

impl Target {
    fn parse(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (prefix, rest) = parts.split_at(if parts[0] == "api" { 2 } else { 3 });
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        Self {
            collection: format!("{}/{}", prefix.join("/"), part(0)),
            namespace: namespace.to_owned(),
            name: part(1),
            subresource: part(2),
        }
    }

    fn place(&self) -> Place {
        (self.collection.clone(), self.namespace.clone(), self.name.clone())
    }
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<kube::client::Body>| {
                let api = api.clone();
                async move { Ok::<_, Infallible>(api.handle(request).await) }
            }),
            "default",
        )
    }

    /// Watch events are kept back until [`FakeApi::release`].
    pub(crate) fn withhold(&self) {
        self.state().is_withholding = true;
    }

    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.is_withholding = false;
        state.publish();
    }

    /// Ends every watch.
    pub(crate) fn cut_watches(&self) {
        self.state().watchers.clear();
    }

    /// Forgets the history, so that a watch that resumes gets 410.
    pub(crate) fn forget_history(&self) {
        self.state().log.clear();
    }

    /// The next request that contains `part` (as `METHOD path`) fails.
    pub(crate) fn fail(&self, part: &'static str, failure: Failure) {
        self.state().failures.push_back((part, failure));
    }

    /// The next request that contains `part` is carried out, but its answer is lost.
    pub(crate) fn lose_answer(&self, part: &'static str) {
        self.state().lost.push_back(part);
    }

    /// The next object that replaces one is changed on its way in.
    pub(crate) fn admit(&self, change: fn(&mut Value)) {
        self.state().admissions.push_back(change);
    }

    /// Each request waits for what `delay` draws, before and after it is carried out.
    pub(crate) fn delay(&self, delay: impl FnMut() -> Duration + Send + 'static) {
        self.state().delay = Some(Box::new(delay));
    }

    /// The writes so far, as `METHOD path`, forgotten by being read.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    /// The objects of a collection, such as `api/v1/pods`, in order.
    pub(crate) fn objects(&self, collection: &str) -> Vec<Value> {
        let state = self.state();
        let here = state.objects.iter().filter(|((name, ..), _)| name == collection);
        here.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn object(&self, collection: &str, name: &str) -> Option<Value> {
        self.objects(collection).into_iter().find(|object| object["metadata"]["name"] == name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn pause(&self) {
        let delay = self.state().delay.as_mut().map(|draw| draw());
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
    }

    async fn handle(&self, request: Request<kube::client::Body>) -> Response<Body> {
        self.pause().await;
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query: BTreeMap<String, String> = parts.uri.query().map(parse_query).unwrap_or_default();
        let target = Target::parse(parts.uri.path());
        let answer = {
            let mut state = self.state();
            let line = format!("{} {}", parts.method, parts.uri.path());
            if parts.method != Method::GET {
                state.requests.push(line.clone());
            }
            if let Some(failure) = state.planned_failure(&line) {
                Err(failure)
            } else if query.contains_key("watch") {
                return state.watch(&target, &query);
            } else {
                let answer = state.answer(&parts.method, &target, &query, body);
                state.publish();
                if state.is_lost(&line) { Err(Failure(504, "Timeout", "nobody knows".into())) } else { answer }
            }
        };
        self.pause().await;
        respond(answer)
    }
}

impl State {
    fn planned_failure(&mut self, line: &str) -> Option<Failure> {
        let index = self.failures.iter().position(|(part, _)| line.contains(part))?;
        self.failures.remove(index).map(|(_, failure)| failure)
    }

    fn is_lost(&mut self, line: &str) -> bool {
        let index = self.lost.iter().position(|part| line.contains(part));
        index.is_some_and(|index| self.lost.remove(index).is_some())
    }

    fn answer(&mut self, method: &Method, target: &Target, query: &BTreeMap<String, String>, body: Value) -> Answer {
        match *method {
            Method::GET if target.name.is_empty() => Ok(self.list(target, query)),
            Method::GET => self.get(&target.place()),
            Method::POST => self.create(target, body),
            Method::PUT => self.replace(target, body),
            Method::PATCH => {
                let mut object = self.get(&target.place())?;
                merge(&mut object, &body);
                self.replace(target, object)
            }
            Method::DELETE if target.name.is_empty() => Ok(self.delete_all(target, query, &body)),
            Method::DELETE => self.delete(target, &body),
            _ => Err(Failure(405, "MethodNotAllowed", "no such method".into())),
        }
    }

    fn list(&self, target: &Target, query: &BTreeMap<String, String>) -> Value {
        let selection = selection(target, query);
        let items: Vec<&Value> =
            self.objects.iter().filter(|(place, object)| selection.takes(place, object)).map(|(_, o)| o).collect();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": self.revision.to_string()}, "items": items})
    }

    fn get(&self, place: &Place) -> Answer {
        let missing = || Failure(404, "NotFound", format!("{} {:?} not found", place.0, place.2));
        self.objects.get(place).cloned().ok_or_else(missing)
    }

    fn create(&mut self, target: &Target, mut object: Value) -> Answer {
        if !target.subresource.is_empty() {
            return Ok(json!({"kind": "Status", "status": "Success"}));
        }
        self.named += 1;
        let meta = &mut object["metadata"];
        if meta["name"].is_null() {
            meta["name"] = json!(format!("{}{:04}", meta["generateName"].as_str().unwrap(), self.named));
        }
        if !target.namespace.is_empty() {
            meta["namespace"] = json!(target.namespace);
        }
        meta["uid"] = json!(format!("uid-{}", self.named));
        let place = (target.collection.clone(), target.namespace.clone(), meta["name"].as_str().unwrap().to_owned());
        if self.objects.contains_key(&place) {
            return Err(Failure(409, "AlreadyExists", format!("{:?} already exists", place.2)));
        }
        Ok(self.commit("ADDED", place, object))
    }

    fn replace(&mut self, target: &Target, new: Value) -> Answer {
        let place = target.place();
        let old = self.get(&place)?;
        let version = &new["metadata"]["resourceVersion"];
        if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
            return Err(Failure(409, "Conflict", format!("{:?} has been modified", place.2)));
        }
        let mut merged = if target.subresource.is_empty() { new.clone() } else { old.clone() };
        match target.subresource.as_str() {
            "" => set(&mut merged, "status", old.get("status")),
            "scale" if new["kind"] != "Scale" => return Err(Failure(400, "BadRequest", "it is no Scale".into())),
            "scale" => merged["spec"]["replicas"] = new["spec"]["replicas"].clone(),
            name => set(&mut merged, name, new.get(name)),
        }
        if let Some(change) = self.admissions.pop_front() {
            change(&mut merged);
        }
        merged["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        if merged == old {
            return Ok(old);
        }
        let is_gone = !merged["metadata"]["deletionTimestamp"].is_null() && has_no_finalizer(&merged);
        Ok(self.commit(if is_gone { "DELETED" } else { "MODIFIED" }, place, merged))
    }

    fn delete(&mut self, target: &Target, options: &Value) -> Answer {
        let place = target.place();
        let mut object = self.get(&place)?;
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return Err(Failure(409, "Conflict", "the UID in the precondition is another".into()));
        }
        let version = &options["preconditions"]["resourceVersion"];
        if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
            return Err(Failure(409, "Conflict", "the version in the precondition is another".into()));
        }
        if has_no_finalizer(&object) {
            self.commit("DELETED", place, object);
            return Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}));
        }
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        Ok(self.commit("MODIFIED", place, object))
    }

    fn delete_all(&mut self, target: &Target, query: &BTreeMap<String, String>, options: &Value) -> Value {
        let list = self.list(target, query);
        for object in list["items"].as_array().unwrap() {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let one = Target { name, ..Target::parse(&format!("/{}/x", target.collection)) };
            let one = Target { namespace: target.namespace.clone(), ..one };
            self.delete(&one, options).unwrap();
        }
        list
    }

    fn commit(&mut self, kind: &'static str, place: Place, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        if kind == "DELETED" {
            self.objects.remove(&place);
        } else {
            self.objects.insert(place.clone(), object.clone());
        }
        self.log.push(Event { revision: self.revision, kind, place, object: object.clone() });
        object
    }

    fn watch(&mut self, target: &Target, query: &BTreeMap<String, String>) -> Response<Body> {
        let (sender, receiver) = mpsc::unbounded();
        let since: u64 = query["resourceVersion"].parse().unwrap();
        let oldest = self.log.first().map_or(self.revision, |event| event.revision - 1);
        if since < oldest {
            let gone =
                json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
            sender.unbounded_send(line("ERROR", &gone)).unwrap();
        } else {
            let watcher = Watcher { selection: selection(target, query), sender };
            let sent = self.log.iter().filter(|event| event.revision > since && event.revision <= self.sent);
            sent.for_each(|event| watcher.send(event));
            self.watchers.push(watcher);
        }
        let frames = receiver.map(|line| Ok(http_body::Frame::data(line)));
        Response::new(UnsyncBoxBody::new(StreamBody::new(frames)))
    }

    fn publish(&mut self) {
        if self.is_withholding {
            return;
        }
        for event in self.log.iter().filter(|event| event.revision > self.sent) {
            self.watchers.iter().for_each(|watcher| watcher.send(event));
        }
        self.sent = self.revision;
    }
}

impl Watcher {
    fn send(&self, event: &Event) {
        if self.selection.takes(&event.place, &event.object) {
            let _ = self.sender.unbounded_send(line(event.kind, &event.object));
        }
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    // The type comes first, as from every server.
    format!("{{\"type\":{},\"object\":{object}}}\n", json!(kind)).into()
}

fn set(object: &mut Value, field: &str, value: Option<&Value>) {
    let fields = object.as_object_mut().unwrap();
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value.clone())),
        None => drop(fields.remove(field)),
    }
}

fn has_no_finalizer(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

fn selection(target: &Target, query: &BTreeMap<String, String>) -> Selection {
    let labels = query.get("labelSelector").map(String::as_str).unwrap_or_default();
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    Selection {
        collection: target.collection.clone(),
        namespace: target.namespace.clone(),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.replace("%3D", "=").replace("%2C", ","))).collect()
}

fn respond(answer: Answer) -> Response<Body> {
    let (code, body) = match answer {
        Ok(body) => (200, body),
        Err(Failure(code, reason, message)) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": code, "reason": reason, "message": message,
            });
            (code, status)
        }
    };
    let mut response = Response::new(UnsyncBoxBody::new(Full::new(Bytes::from(body.to_string()))));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// A JSON merge patch.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => {
                object.as_object_mut().unwrap().remove(name);
            }
            Value::Object(_) if object[name].is_object() => merge(&mut object[name], value),
            value => object[name] = value.clone(),
        }
    }
}
