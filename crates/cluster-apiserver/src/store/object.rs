//! An object as the store keeps it: serialised JSON and the little that lists and watches select by.
//!
//! The body is the object's JSON *without* `apiVersion` and `kind`: those depend on the version that a client asked for and are put in front
//! when an object is sent. It does contain `metadata.resourceVersion`. Parsed trees are several times larger and are made only for a moment.

use std::sync::Arc;

use bytes::Bytes;

use super::key::{ObjectKey, Revision};

/// One version of one object. Shared by the table, the history and the answers under way; never changed.
#[derive(Debug)]
pub struct Stored {
    /// Where it lives.
    pub key: ObjectKey,
    /// The write that made this version.
    pub revision: Revision,
    /// Identifies the version that the body is of, and the schema that it was pruned and defaulted by; 0 for built-in kinds.
    pub shape: u64,
    /// The object's labels.
    pub labels: Labels,
    /// JSON text, without type meta.
    pub body: Bytes,
}

/// Labels in one compact string, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Option<Box<str>>);

const KEY_END: char = '\u{1f}';
const VALUE_END: char = '\u{1e}';

impl Labels {
    /// Packs labels given in key order. Separators cannot occur in valid labels and are dropped.
    pub fn pack<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut packed = String::new();
        for (key, value) in labels {
            packed.extend(key.chars().filter(|c| !matches!(*c, KEY_END | VALUE_END)));
            packed.push(KEY_END);
            packed.extend(value.chars().filter(|c| !matches!(*c, KEY_END | VALUE_END)));
            packed.push(VALUE_END);
        }
        if packed.is_empty() { Self(None) } else { Self(Some(packed.into())) }
    }

    /// The labels of a JSON object.
    pub fn of(object: &serde_json::Value) -> Self {
        let labels = object.pointer("/metadata/labels").and_then(serde_json::Value::as_object);
        Self::pack(labels.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))))
    }

    /// The labels of a serialised JSON object; none if it does not parse.
    pub fn of_body(body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Object {
            metadata: Option<Meta>,
        }
        #[derive(serde::Deserialize)]
        struct Meta {
            labels: Option<std::collections::BTreeMap<String, String>>,
        }
        let labels = serde_json::from_slice::<Object>(body).ok().and_then(|object| object.metadata?.labels);
        Self::pack(labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// The pairs, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.as_deref().unwrap_or_default().split(VALUE_END).filter_map(|pair| pair.split_once(KEY_END))
    }

    /// The value of one label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(candidate, _)| *candidate == key).map(|(_, value)| value)
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came into being.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One committed write, as watches see it.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// The object after the write; for [`Change::Deleted`] its last state under the revision of the deletion.
    pub object: Arc<Stored>,
    /// The object before the write.
    pub previous: Option<Arc<Stored>>,
}

impl Event {
    /// The revision of the write.
    pub fn revision(&self) -> Revision {
        self.object.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_packing() {
        let object = serde_json::json!({"metadata": {"labels": {"b": "2", "a": "", "app.kubernetes.io/name": "x"}}});
        let labels = Labels::of(&object);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", ""), ("app.kubernetes.io/name", "x"), ("b", "2")]);
        assert_eq!(labels.get("a"), Some(""));
        assert_eq!(labels.get("c"), None);
        assert_eq!(Labels::of_body(object.to_string().as_bytes()), labels);
        assert_eq!(Labels::of_body(b"{}").iter().count(), 0);
    }
}
