//! Operations from a seed. Nothing here depends on what a server answers, so that a seed is the same run everywhere.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use crate::catalogue::{Catalogue, Kind};
use crate::operation::{Act, Ask, Body, Key, On, Operation, STALE};

/// How many generated names of a collection are used again.
const REMEMBERED: usize = 2;
const NAMESPACES: usize = 2;
const NAMES: [&str; 4] = ["o1", "o2", "o3", "o4"];
const MOST_WATCHES: usize = 4;
const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

#[derive(Clone, Copy)]
enum Verb {
    Create,
    Get,
    List,
    Update,
    JsonPatch,
    MergePatch,
    StrategicPatch,
    Apply,
    Status,
    Scale,
    Delete,
    DeleteCollection,
    Watch,
}

/// How often each is drawn.
const VERBS: [(Verb, u32); 13] = [
    (Verb::Create, 20),
    (Verb::Get, 4),
    (Verb::List, 8),
    (Verb::Update, 13),
    (Verb::JsonPatch, 9),
    (Verb::MergePatch, 10),
    (Verb::StrategicPatch, 8),
    (Verb::Apply, 14),
    (Verb::Status, 8),
    (Verb::Scale, 4),
    (Verb::Delete, 8),
    (Verb::DeleteCollection, 1),
    (Verb::Watch, 2),
];

/// Draws one operation after another.
pub(crate) struct Generator<'a> {
    catalogue: &'a Catalogue,
    rng: StdRng,
    index: usize,
    /// Open watches and when they end.
    watches: Vec<(usize, Key)>,
    generated: BTreeMap<(usize, usize), VecDeque<String>>,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(catalogue: &'a Catalogue, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { catalogue, rng, index: 0, watches: Vec::new(), generated: BTreeMap::new() }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        from.choose(&mut self.rng)
    }

    fn kind(&self, key: &Key) -> &'a Kind {
        &self.catalogue.kinds[key.kind]
    }

    /// One of the fixed names, now and then a generated one.
    fn key(&mut self) -> Key {
        let kind = self.rng.random_range(0..self.catalogue.kinds.len());
        let namespace = self.rng.random_range(0..NAMESPACES);
        let generated = self.generated.get(&(kind, namespace)).and_then(|names| names.front()).cloned();
        let name = match generated {
            Some(name) if self.chance(10) => name,
            _ => (*self.pick(&NAMES).unwrap_or(&NAMES[0])).to_owned(),
        };
        Key { kind, namespace, name }
    }

    /// Merge patches laid over one another: a few right ones, now and then a wrong one.
    fn changes(&mut self, kind: &Kind, wrong: u32) -> Value {
        let mut all = json!({});
        for _ in 0..self.rng.random_range(1..=3) {
            let from = if self.chance(30) { &self.catalogue.common.valid } else { &kind.valid };
            overlay(&mut all, self.pick(from));
        }
        if self.chance(wrong) {
            let from = if self.chance(25) { &self.catalogue.common.invalid } else { &kind.invalid };
            overlay(&mut all, self.pick(from));
        }
        all
    }

    /// A whole object.
    fn object(&mut self, key: &Key, version: usize, wrong: u32) -> Value {
        let kind = self.kind(key);
        let mut object = kind.base.clone();
        object["metadata"] = json!({"name": key.name});
        set_version(&mut object, &kind.versions[version]);
        if self.chance(70) {
            let changes = self.changes(kind, wrong);
            json_patch::merge(&mut object, &changes);
        }
        object
    }

    /// Options of a write.
    fn write_options(&mut self) -> Vec<(String, String)> {
        let mut query = Vec::new();
        let mut add = |name: &str, value: &str| query.push((name.to_owned(), value.to_owned()));
        if self.chance(6) {
            add("dryRun", self.pick(&["All", "All", "All", "Some"]).unwrap_or(&"All"));
        }
        if self.chance(35) {
            add("fieldValidation", self.pick(&["Strict", "Strict", "Warn", "Ignore", "Never"]).unwrap_or(&"Strict"));
        }
        if self.chance(30) {
            add("fieldManager", self.pick(&["m1", "m2", "m3", "conformance"]).unwrap_or(&"m1"));
        }
        query
    }

    fn ask(&mut self, method: &'static str, on: On, content_type: &'static str, body: Body) -> Act {
        let query = self.write_options();
        let (mut content_type, mut body) = (content_type, body);
        if self.chance(1) {
            body = Body::Text(self.pick(&self.catalogue.common.text).cloned().unwrap_or_default());
        }
        if self.chance(1) {
            content_type = self.pick(&["text/plain", JSON, MERGE_PATCH, "application/yaml", ""]).unwrap_or(&JSON);
        }
        Act::Ask(Ask { method, on, query, content_type, body })
    }

    /// The next operation.
    pub(crate) fn next(&mut self) -> Operation {
        let index = self.index;
        self.index += 1;
        let ends = self.watches.len() >= MOST_WATCHES || (!self.watches.is_empty() && self.chance(2));
        if ends {
            let (opened, key) = self.watches.remove(0);
            return Operation { index, key, version: 0, act: Act::Close(opened) };
        }
        let mut key = self.key();
        let version = self.rng.random_range(0..self.kind(&key).versions.len());
        let verb = VERBS.choose_weighted(&mut self.rng, |verb| verb.1).map_or(Verb::Get, |verb| verb.0);
        let act = self.act(verb, &mut key, version, index);
        if matches!(act, Act::Watch(_)) {
            self.watches.push((index, key.clone()));
        }
        Operation { index, key, version, act }
    }

    fn act(&mut self, verb: Verb, key: &mut Key, version: usize, index: usize) -> Act {
        let kind = self.kind(key);
        match verb {
            Verb::Create => self.create(key, version, index),
            Verb::Get => self.get(),
            Verb::List => self.list(kind),
            Verb::Update => {
                let body = self.changed(kind);
                self.ask("PUT", On::Object(""), JSON, body)
            }
            Verb::JsonPatch => {
                let from = if self.chance(40) { &self.catalogue.common.json } else { &kind.json };
                let patch = self.pick(from).cloned().unwrap_or_default();
                self.ask("PATCH", On::Object(""), JSON_PATCH, Body::Json(patch))
            }
            Verb::MergePatch => {
                let patch = self.changes(kind, 20);
                self.ask("PATCH", On::Object(""), MERGE_PATCH, Body::Json(patch))
            }
            Verb::StrategicPatch => {
                let special = self.chance(60);
                let patch = if special { self.pick(&kind.strategic).cloned() } else { None };
                let patch = patch.unwrap_or_else(|| self.changes(kind, 15));
                self.ask("PATCH", On::Object(""), STRATEGIC_PATCH, Body::Json(patch))
            }
            Verb::Apply => self.apply(key, version, ""),
            Verb::Status => self.status(key, version),
            Verb::Scale => self.scale(kind, key),
            Verb::Delete => self.delete(On::Object("")),
            Verb::DeleteCollection => self.delete(On::Collection),
            Verb::Watch => {
                let query = self.pick(&self.catalogue.common.watch).map(pairs).unwrap_or_default();
                Act::Watch(query)
            }
        }
    }

    fn create(&mut self, key: &mut Key, version: usize, index: usize) -> Act {
        let mut object = self.object(key, version, 20);
        if self.chance(12) {
            key.name = format!("g{index:05}-");
            object["metadata"]["generateName"] = key.name.clone().into();
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("name");
            }
            let names = self.generated.entry((key.kind, key.namespace)).or_default();
            names.push_back(key.name.clone());
            if names.len() > REMEMBERED {
                names.pop_front();
            }
        }
        self.ask("POST", On::Collection, JSON, Body::Json(object))
    }

    fn get(&mut self) -> Act {
        let versions: [&[(&str, &str)]; 4] =
            [&[], &[("resourceVersion", "$rv")], &[("resourceVersion", "nonsense")], &[("resourceVersion", "$stale")]];
        let query = self.pick(&versions).copied().unwrap_or_default();
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Act::Ask(Ask { method: "GET", on: On::Object(""), query, content_type: "", body: Body::Nothing })
    }

    fn list(&mut self, kind: &Kind) -> Act {
        let from = if self.chance(20) && !kind.list.is_empty() { &kind.list } else { &self.catalogue.common.list };
        let mut query = self.pick(from).map(pairs).unwrap_or_default();
        let mut on = On::Collection;
        if self.chance(8) {
            on = On::Everywhere;
            query.retain(|(name, _)| name == "labelSelector" || name == "limit");
            query.push(("fieldSelector".into(), "metadata.namespace=$ns".into()));
        }
        Act::Ask(Ask { method: "GET", on, query, content_type: "", body: Body::Nothing })
    }

    /// The object as it was seen last, changed; mostly with the resourceVersion that it had.
    fn changed(&mut self, kind: &Kind) -> Body {
        let mut changes = self.changes(kind, 15);
        let revision = match self.rng.random_range(0..10) {
            0 => Some(json!(STALE)),
            1 => Some(Value::Null),
            2 => Some(json!("1")),
            _ => None,
        };
        if let Some(revision) = revision {
            json_patch::merge(&mut changes, &json!({"metadata": {"resourceVersion": revision}}));
        }
        if self.chance(3) {
            json_patch::merge(&mut changes, &json!({"metadata": {"managedFields": []}}));
        }
        Body::Seen(changes)
    }

    fn apply(&mut self, key: &Key, version: usize, subresource: &'static str) -> Act {
        let kind = self.kind(key);
        let mut object = if self.chance(60) { kind.base.clone() } else { json!({}) };
        object["metadata"] = json!({"name": key.name});
        let changes =
            if subresource.is_empty() { self.changes(kind, 15) } else { self.status_change(kind).unwrap_or_default() };
        json_patch::merge(&mut object, &changes);
        for field in ["apiVersion", "kind"] {
            if object.get(field).is_none() && !self.chance(2) {
                object[field] = kind.base[field].clone();
            }
        }
        set_version(&mut object, &kind.versions[version]);
        if self.chance(4) {
            object["metadata"]["resourceVersion"] = json!(STALE);
        }
        let Act::Ask(mut ask) = self.ask("PATCH", On::Object(subresource), APPLY_PATCH, Body::Json(object)) else {
            return Act::Close(0);
        };
        ask.query.retain(|(name, _)| name != "fieldManager");
        if !self.chance(2) {
            let manager = (*self.pick(&["m1", "m2", "m3"]).unwrap_or(&"m1")).to_owned();
            ask.query.push(("fieldManager".into(), manager));
        }
        if self.chance(50) {
            let force = *self.pick(&["true", "true", "false"]).unwrap_or(&"true");
            ask.query.push(("force".into(), force.into()));
        }
        Act::Ask(ask)
    }

    fn status_change(&mut self, kind: &Kind) -> Option<Value> {
        self.pick(&kind.status).cloned()
    }

    fn status(&mut self, key: &Key, version: usize) -> Act {
        let kind = self.kind(key);
        let Some(change) = self.status_change(kind) else { return self.get() };
        let on = On::Object("status");
        match self.rng.random_range(0..10) {
            0 => Act::Ask(Ask { method: "GET", on, query: vec![], content_type: "", body: Body::Nothing }),
            1..=3 => self.ask("PUT", on, JSON, Body::Seen(change)),
            4 | 5 => self.apply(key, version, "status"),
            6 => {
                let patch = json!([{"op": "add", "path": "/status", "value": change["status"]}]);
                self.ask("PATCH", on, JSON_PATCH, Body::Json(patch))
            }
            7 if kind.scale => self.ask("PATCH", on, STRATEGIC_PATCH, Body::Json(change)),
            _ => self.ask("PATCH", on, MERGE_PATCH, Body::Json(change)),
        }
    }

    fn scale(&mut self, kind: &Kind, key: &Key) -> Act {
        if !kind.scale && !self.chance(10) {
            return self.get();
        }
        let on = On::Object("scale");
        let replicas = self.pick(&[json!(0), json!(1), json!(7), json!(-1), json!("x"), Value::Null]).cloned();
        let mut scale = json!({"spec": {"replicas": replicas}});
        match self.rng.random_range(0..5) {
            0 | 1 => Act::Ask(Ask { method: "GET", on, query: vec![], content_type: "", body: Body::Nothing }),
            2 => self.ask("PATCH", on, MERGE_PATCH, Body::Json(scale)),
            method => {
                scale["apiVersion"] = json!("autoscaling/v1");
                scale["kind"] = json!("Scale");
                scale["metadata"] = json!({"name": key.name, "namespace": "$ns"});
                if let Some(revision) = self.pick(&[None, Some("$rv"), Some("$stale")]).copied().flatten() {
                    scale["metadata"]["resourceVersion"] = json!(revision);
                }
                if method == 3 {
                    return self.ask("PUT", on, JSON, Body::Json(scale));
                }
                let Act::Ask(mut ask) = self.ask("PATCH", on, APPLY_PATCH, Body::Json(scale)) else {
                    return Act::Close(0);
                };
                ask.query.retain(|(name, _)| name != "fieldManager");
                ask.query.push(("fieldManager".into(), "scaler".into()));
                Act::Ask(ask)
            }
        }
    }

    fn delete(&mut self, on: On) -> Act {
        let mut query = Vec::new();
        if on == On::Collection && self.chance(60) {
            query.push(("labelSelector".to_owned(), "app=a".to_owned()));
        }
        if self.chance(10) {
            let options = [("propagationPolicy", "Orphan"), ("gracePeriodSeconds", "0"), ("dryRun", "All")];
            query.extend(self.pick(&options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        }
        let body = match self.pick(&self.catalogue.common.delete) {
            Some(options) if self.chance(50) => Body::Json(options.clone()),
            _ => Body::Nothing,
        };
        Act::Ask(Ask { method: "DELETE", on, query, content_type: JSON, body })
    }
}

fn overlay(all: &mut Value, change: Option<&Value>) {
    // Not a merge: what a patch takes away must stay in it.
    match (all, change) {
        (Value::Object(all), Some(Value::Object(change))) => {
            for (name, value) in change {
                let mine = all.entry(name.clone()).or_insert(Value::Null);
                if mine.is_object() && value.is_object() {
                    overlay(mine, Some(value));
                } else {
                    *mine = value.clone();
                }
            }
        }
        (all, Some(change)) => *all = change.clone(),
        (_, None) => {}
    }
}

fn set_version(object: &mut Value, version: &str) {
    if let Some(Value::String(text)) = object.get_mut("apiVersion")
        && let Some((group, _)) = text.split_once('/')
        && group == "conformance.kwick.dev"
    {
        *text = format!("{group}/{version}");
    }
}

fn pairs(options: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    options.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_run() {
        let catalogue = Catalogue::load().unwrap();
        let run = |seed| {
            let mut generator = Generator::new(&catalogue, seed);
            (0..2000).map(|_| format!("{:?}", generator.next())).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
