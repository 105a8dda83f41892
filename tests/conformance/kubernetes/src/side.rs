//! What one server has said so far, and how an operation becomes a request to it.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::catalogue::Catalogue;
use crate::client::{Answer, Wire};
use crate::operation::{Ask, Body, CONTINUE, Key, LIST_REVISION, NAMESPACE, On, Operation, REVISION, STALE, UID};

/// How many resourceVersions of an object are remembered.
const REMEMBERED: usize = 4;

/// One server's side of a run.
#[derive(Default)]
pub(crate) struct Side {
    seen: BTreeMap<Key, Value>,
    revisions: BTreeMap<Key, Vec<String>>,
    uids: BTreeMap<Key, String>,
    generated: BTreeMap<Key, String>,
    /// Of collections: resourceVersion and continue token.
    lists: BTreeMap<(usize, usize), (String, String)>,
}

/// What is the same for both sides of a run.
pub(crate) struct Place<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) namespaces: [String; 2],
}

impl Place<'_> {
    fn collection(&self, key: &Key, version: usize, everywhere: bool) -> String {
        let kind = &self.catalogue.kinds[key.kind];
        let namespace =
            if everywhere { String::new() } else { format!("namespaces/{}/", self.namespaces[key.namespace]) };
        format!("{}/{}/{namespace}{}", kind.group, kind.versions[version], kind.plural)
    }
}

impl Side {
    /// The request that an operation is here.
    pub(crate) fn wire(&self, place: &Place<'_>, operation: &Operation, ask: &Ask) -> Wire {
        let key = &operation.key;
        let path = match ask.on {
            On::Collection => place.collection(key, operation.version, false),
            On::Everywhere => place.collection(key, operation.version, true),
            On::Object(subresource) => {
                let of = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
                format!("{}/{}{of}", place.collection(key, operation.version, false), self.name(key))
            }
        };
        let body = match &ask.body {
            Body::Nothing => None,
            Body::Text(text) => Some(text.clone()),
            Body::Json(body) => Some(self.filled(place, key, body).to_string()),
            Body::Seen(change) => Some(self.changed(place, key, change).to_string()),
        };
        let path = format!("{path}{}", self.query(place, key, &ask.query));
        Wire { method: ask.method, path, content_type: if body.is_some() { ask.content_type } else { "" }, body }
    }

    /// The request that opens a watch.
    pub(crate) fn watch(&self, place: &Place<'_>, operation: &Operation, query: &[(String, String)]) -> Wire {
        let path = place.collection(&operation.key, operation.version, false);
        let mut query = query.to_vec();
        query.push(("watch".into(), "true".into()));
        let path = format!("{path}{}", self.query(place, &operation.key, &query));
        Wire { method: "GET", path, content_type: "", body: None }
    }

    /// The request about an object whatever it is.
    pub(crate) fn about(&self, place: &Place<'_>, key: &Key, method: &'static str, body: &Value) -> Wire {
        let on_object = method != "POST";
        let name = if on_object { format!("/{}", self.name(key)) } else { String::new() };
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let path = format!("{}{name}", place.collection(key, 0, false));
        Wire { method, path, content_type, body: (!body.is_null()).then(|| body.to_string()) }
    }

    fn name(&self, key: &Key) -> String {
        // A generated name that was not given yet: nobody has it.
        let base = key.name.strip_suffix('-').map_or_else(|| key.name.clone(), |base| format!("{base}-none"));
        self.generated.get(key).cloned().unwrap_or(base)
    }

    fn word(&self, place: &Place<'_>, key: &Key, word: &str) -> Option<String> {
        let revision = |before: usize| {
            let known = self.revisions.get(key).map(Vec::as_slice).unwrap_or_default();
            known.iter().rev().nth(before).cloned().unwrap_or_default()
        };
        let list = self.lists.get(&(key.kind, key.namespace));
        Some(match word {
            REVISION => revision(0),
            STALE => revision(1),
            UID => self.uids.get(key).cloned().unwrap_or_default(),
            LIST_REVISION => list.map(|list| list.0.clone()).unwrap_or_default(),
            CONTINUE => list.map(|list| list.1.clone()).unwrap_or_default(),
            _ if word.contains(NAMESPACE) => word.replace(NAMESPACE, &place.namespaces[key.namespace]),
            _ if key.name.ends_with('-') && word == key.name => self.name(key),
            _ => return None,
        })
    }

    fn query(&self, place: &Place<'_>, key: &Key, query: &[(String, String)]) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let one = |(name, value): &(String, String)| {
            let value = self.word(place, key, value).unwrap_or_else(|| value.clone());
            format!("{}={}", encode(name), encode(&value))
        };
        let all: Vec<String> = query.iter().map(one).collect();
        if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
    }

    fn filled(&self, place: &Place<'_>, key: &Key, body: &Value) -> Value {
        match body {
            Value::String(text) => Value::String(self.word(place, key, text).unwrap_or_else(|| text.clone())),
            Value::Array(items) => items.iter().map(|item| self.filled(place, key, item)).collect(),
            // What an object is called when it is made is not what it is called then.
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| {
                    let value = if name == "generateName" { value.clone() } else { self.filled(place, key, value) };
                    (name.clone(), value)
                })
                .collect(),
            other => other.clone(),
        }
    }

    fn changed(&self, place: &Place<'_>, key: &Key, change: &Value) -> Value {
        let kind = &place.catalogue.kinds[key.kind];
        let mut object = self.seen.get(key).cloned().unwrap_or_else(|| {
            let mut object = kind.base.clone();
            object["metadata"] = json!({"name": self.name(key)});
            object
        });
        json_patch::merge(&mut object, &self.filled(place, key, change));
        object
    }

    /// Remembers what an answer says of the object and its collection.
    pub(crate) fn learn(&mut self, place: &Place<'_>, operation: &Operation, ask: &Ask, answer: &Answer) {
        let key = &operation.key;
        if ask.method == "GET" && matches!(ask.on, On::Collection) && answer.is_success() {
            // The sides may have chosen different states.
            if !ask.may_be_newer() {
                let text = |field: &str| answer.body["metadata"][field].as_str().unwrap_or_default().to_owned();
                self.lists.insert((key.kind, key.namespace), (text("resourceVersion"), text("continue")));
            }
            return;
        }
        if ask.is_dry_run() || !answer.is_success() {
            return;
        }
        let metadata = &answer.body["metadata"];
        if let (Some(name), true) = (metadata["name"].as_str(), key.name.ends_with('-') && ask.method == "POST") {
            self.generated.insert(key.clone(), name.to_owned());
        }
        if metadata["name"].as_str() != Some(&self.name(key)) {
            if ask.method == "DELETE" {
                self.seen.remove(key);
            }
            return;
        }
        if let Some(uid) = metadata["uid"].as_str() {
            self.uids.insert(key.clone(), uid.to_owned());
        }
        if let Some(revision) = metadata["resourceVersion"].as_str() {
            let known = self.revisions.entry(key.clone()).or_default();
            if known.last().map(String::as_str) != Some(revision) {
                known.push(revision.to_owned());
            }
            if known.len() > REMEMBERED {
                known.remove(0);
            }
        }
        if answer.body["kind"] == place.catalogue.kinds[key.kind].base["kind"] {
            self.seen.insert(key.clone(), answer.body.clone());
        }
    }

    /// Whether the object was there when it was seen last.
    pub(crate) fn has_seen(&self, key: &Key) -> bool {
        self.seen.contains_key(key)
    }

    /// The object is gone.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
    }

    /// Both servers' history of a kind differs: nothing is asked of a revision before now.
    pub(crate) fn forget_revisions(&mut self, kind: usize) {
        self.revisions.retain(|key, _| key.kind != kind);
        self.lists.retain(|list, _| list.0 != kind);
    }
}
