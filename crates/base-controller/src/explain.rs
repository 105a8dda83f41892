//! Why is this object as it is: a registry of functions that gather and plan a key, without doing anything.
//!
//! Each controller registers itself; the admin endpoint asks. Plans are pure, so asking changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::key::{GroupKind, Key};

type Explainer = Arc<dyn Fn(&Key) -> Option<Value> + Send + Sync>;

/// The process's explainers, by kind and controller. Clones share them.
#[derive(Clone, Default)]
pub struct Explain(Arc<Mutex<BTreeMap<GroupKind, BTreeMap<&'static str, Explainer>>>>);

impl std::fmt::Debug for Explain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Explain").field(&self.kinds()).finish()
    }
}

impl Explain {
    /// Has `explainer` asked about objects of `kind`, under the controller's name.
    pub fn register(
        &self,
        controller: &'static str,
        kind: &GroupKind,
        explainer: impl Fn(&Key) -> Option<Value> + Send + Sync + 'static,
    ) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.entry(kind.clone()).or_default().insert(controller, Arc::new(explainer));
    }

    /// The kinds that can be asked about.
    pub fn kinds(&self) -> Vec<GroupKind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What each controller of `kind` (in any case; `Kind.group`, or the kind alone where that is clear) has gathered for `key`, would do
    /// now, and did last: `{controller: {observed, plan, last}}`. None if nobody knows the object.
    pub fn explain(&self, kind: &str, key: &Key) -> Option<Value> {
        let explainers = self.of(kind);
        let answers: Map<String, Value> = explainers
            .into_iter()
            .filter_map(|(controller, explainer)| Some((controller.to_owned(), explainer(key)?)))
            .collect();
        (!answers.is_empty()).then_some(Value::Object(answers))
    }

    fn of(&self, kind: &str) -> Vec<(&'static str, Explainer)> {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant =
            |known: &GroupKind| known.to_string().eq_ignore_ascii_case(kind) || known.kind().eq_ignore_ascii_case(kind);
        let meant = kinds.iter().filter(|(known, _)| is_meant(known));
        meant
            .flat_map(|(_, explainers)| explainers.iter().map(|(name, explainer)| (*name, Arc::clone(explainer))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn controllers_are_asked_by_kind() {
        let explain = Explain::default();
        let kind = GroupKind::new("serving.knative.dev", "Route");
        explain.register("route", &kind, |key| (key.name() == "r").then(|| json!({"seen": key})));
        let key = Key::new("n", "r");
        assert_eq!(explain.explain("route", &key), Some(json!({"route": {"seen": "n/r"}})));
        assert_eq!(explain.explain("Route.serving.knative.dev", &key), Some(json!({"route": {"seen": "n/r"}})));
        assert_eq!(explain.explain("route", &Key::new("n", "unknown")), None);
        assert_eq!(explain.explain("service", &key), None);
    }
}
