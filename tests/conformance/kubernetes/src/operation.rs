//! One operation, as both servers get it. What only a server can know (a resourceVersion, a uid, a generated name) stands as a word that is
//! replaced by what that server said before.

use serde_json::Value;

/// The object's newest resourceVersion, the one before, its uid.
pub(crate) const REVISION: &str = "$rv";
pub(crate) const STALE: &str = "$stale";
pub(crate) const UID: &str = "$uid";
/// The collection's resourceVersion and continue token of the last list.
pub(crate) const LIST_REVISION: &str = "$listrv";
pub(crate) const CONTINUE: &str = "$continue";
/// The namespace's name.
pub(crate) const NAMESPACE: &str = "$ns";

/// An object: its kind's and its namespace's number, and its name; a generated one goes by the base of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: usize,
    pub(crate) namespace: usize,
    pub(crate) name: String,
}

/// One step of a run.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) index: usize,
    pub(crate) key: Key,
    pub(crate) version: usize,
    pub(crate) act: Act,
}

/// What is done.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Ask(Ask),
    Watch(Vec<(String, String)>),
    /// Ends the watch that the operation of this number opened.
    Close(usize),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) on: On,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Body,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Object(&'static str),
    Collection,
    /// The collection of all namespaces.
    Everywhere,
}

/// What a request brings.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Nothing,
    Json(Value),
    Text(String),
    /// The object as it was seen last, changed by this merge patch.
    Seen(Value),
}

impl Ask {
    /// Whether nothing is kept of it.
    pub(crate) fn is_dry_run(&self) -> bool {
        let in_body = matches!(&self.body, Body::Json(body) if body.get("dryRun").is_some());
        in_body || self.query.iter().any(|(name, _)| name == "dryRun")
    }

    /// Whether it asks for a state that is not older than one, of which servers may choose another.
    pub(crate) fn may_be_newer(&self) -> bool {
        let has = |name: &str| self.query.iter().any(|(known, value)| known == name && value != "Exact");
        has("resourceVersion") && !self.query.iter().any(|(_, value)| value == "Exact")
    }

    /// Whether it can change an object.
    pub(crate) fn writes(&self) -> bool {
        self.method != "GET"
    }
}
