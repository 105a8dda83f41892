//! What the API has acknowledged to the user, and whether it is still there after the machine has died.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Map, Value};

/// `apiVersion`, kind and name of an object.
pub(crate) type Id = (String, String, String);

/// The user's writes. Clones of the objects are not kept, only what the user asked for.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    entries: BTreeMap<Id, Entry>,
    /// The highest revision that the user has been shown.
    revision: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// What was answered with a 2xx.
    acknowledged: Option<Wish>,
    /// What was asked for last and has not been answered.
    pending: Option<Wish>,
}

/// What a user wants of an object.
#[derive(Clone, Debug)]
enum Wish {
    /// That it has these fields.
    Fields(Value),
    /// That it is gone.
    Gone,
}

impl Wish {
    fn is_granted(&self, object: Option<&Value>) -> bool {
        match (self, object) {
            (Self::Fields(fields), Some(object)) => contains(object, fields),
            (Self::Fields(_), None) => false,
            (Self::Gone, object) => object.is_none_or(|object| !object["metadata"]["deletionTimestamp"].is_null()),
        }
    }
}

impl Ledger {
    /// The user is about to ask for these fields on top of what was asked for before.
    pub(crate) fn wants(&self, id: &Id, fields: &Value) {
        self.begin(id, |before| {
            let mut all = match before {
                Some(Wish::Fields(before)) => before.clone(),
                _ => Value::Object(Map::new()),
            };
            merge(&mut all, fields);
            Wish::Fields(all)
        });
    }

    /// The user is about to ask for the object's end.
    pub(crate) fn wants_gone(&self, id: &Id) {
        self.begin(id, |_| Wish::Gone);
    }

    fn begin(&self, id: &Id, wish: impl FnOnce(Option<&Wish>) -> Wish) {
        let mut book = self.0.lock().unwrap();
        let entry = book.entries.entry(id.clone()).or_default();
        entry.pending = Some(wish(entry.acknowledged.as_ref()));
    }

    /// The API has granted what was asked for last.
    pub(crate) fn granted(&self, id: &Id) {
        if let Some(entry) = self.0.lock().unwrap().entries.get_mut(id) {
            entry.acknowledged = entry.pending.take().or(entry.acknowledged.take());
        }
    }

    /// The user has been shown this revision.
    pub(crate) fn shown(&self, revision: &str) {
        let mut book = self.0.lock().unwrap();
        book.revision = book.revision.max(revision.parse().unwrap_or_default());
    }

    /// The objects that the user has written.
    pub(crate) fn ids(&self) -> Vec<Id> {
        self.0.lock().unwrap().entries.keys().cloned().collect()
    }

    /// What of it is lost although it was acknowledged; empty if nothing is.
    pub(crate) fn losses(&self, revision: u64, find: impl Fn(&Id) -> Option<Value>) -> String {
        let book = self.0.lock().unwrap();
        let mut text = String::new();
        if revision < book.revision {
            text.push_str(&format!("the revision went back from {} to {revision}\n", book.revision));
        }
        for (id, entry) in &book.entries {
            let Some(acknowledged) = &entry.acknowledged else { continue };
            let found = find(id);
            let is_granted = |wish: &Wish| wish.is_granted(found.as_ref());
            if !is_granted(acknowledged) && !entry.pending.as_ref().is_some_and(is_granted) {
                text.push_str(&format!("{id:?}: {acknowledged:?} was acknowledged, there is {found:?}\n"));
            }
        }
        text
    }
}

/// A JSON merge patch.
fn merge(object: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(patch)) = (&mut *object, patch) else {
        object.clone_from(patch);
        return;
    };
    for (name, value) in patch {
        merge(fields.entry(name.as_str()).or_insert(Value::Null), value);
    }
}

/// Whether `object` has all of `fields`, perhaps with defaults in between.
fn contains(object: &Value, fields: &Value) -> bool {
    match (object, fields) {
        (Value::Object(object), Value::Object(fields)) => {
            fields.iter().all(|(name, field)| object.get(name).is_some_and(|value| contains(value, field)))
        }
        (Value::Array(object), Value::Array(fields)) => {
            object.len() == fields.len() && object.iter().zip(fields).all(|(value, field)| contains(value, field))
        }
        (object, fields) => object == fields,
    }
}
