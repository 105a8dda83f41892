//! Label selectors of workloads and of Services, and what they take.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Index, Informer, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{Selector, SelectorExt};

/// The label by which a Deployment's ReplicaSets and their Pods are told apart.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// A selector, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    selector: Option<Selector>,
}

impl Matcher {
    /// What a workload's `spec.selector` takes. An empty or invalid one takes nothing: a controller never takes everything.
    pub(crate) fn new(selector: &LabelSelector) -> Self {
        let is_empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
        Self { selector: if is_empty { None } else { Selector::try_from(selector.clone()).ok() } }
    }

    /// What a selector takes that may be meant for everything: an empty one is, none and an invalid one take nothing.
    pub(crate) fn for_all(selector: Option<&LabelSelector>) -> Self {
        Self { selector: selector.and_then(|selector| Selector::try_from(selector.clone()).ok()) }
    }

    /// Whether nothing is taken, whatever its labels.
    pub(crate) fn is_void(&self) -> bool {
        self.selector.is_none()
    }

    /// Whether an object with this metadata is taken.
    pub(crate) fn takes(&self, meta: &ObjectMeta) -> bool {
        let no_labels = BTreeMap::new();
        let labels = meta.labels.as_ref().unwrap_or(&no_labels);
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Objects by their labels: whoever selects some does not look at a whole namespace.
#[derive(Clone, Debug)]
pub(crate) struct ByLabel<K: Object> {
    objects: Informer<K>,
    index: Index<K>,
}

impl<K: Object> ByLabel<K> {
    pub(crate) fn new(objects: &Informer<K>) -> Self {
        let index = objects.index("label", |object| {
            let meta = object.meta();
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            meta.labels.iter().flatten().map(|(name, value)| label(namespace, name, value)).collect()
        });
        Self { objects: objects.clone(), index }
    }

    /// The objects of a namespace that a selector takes, in the order of their names. An empty one takes all of them, none takes nothing.
    pub(crate) fn selected(&self, namespace: &str, selector: Option<&LabelSelector>) -> Vec<Arc<K>> {
        let matcher = Matcher::for_all(selector);
        if matcher.is_void() {
            return Vec::new();
        }
        let labels = selector.and_then(|selector| selector.match_labels.as_ref());
        self.taken(namespace, labels, |meta| matcher.takes(meta))
    }

    /// The objects of a namespace that a Service's selector takes, in the order of their names.
    pub(crate) fn selected_by_map(&self, namespace: &str, selector: &BTreeMap<String, String>) -> Vec<Arc<K>> {
        if selector.is_empty() {
            return Vec::new();
        }
        self.taken(namespace, Some(selector), |meta| map_takes(selector, meta))
    }

    /// Of the objects with the first of these labels, or all if there is none, those that are taken.
    fn taken(
        &self,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
        takes: impl Fn(&ObjectMeta) -> bool,
    ) -> Vec<Arc<K>> {
        let mut objects = match labels.and_then(BTreeMap::first_key_value) {
            Some((name, value)) => self.index.get(&label(namespace, name, value)),
            None => self.objects.list_in(namespace),
        };
        objects.retain(|object| takes(object.meta()));
        objects
    }
}

fn label(namespace: &str, name: &str, value: &str) -> String {
    format!("{namespace}/{name}={value}")
}

/// Whether a Service's selector, a plain map, takes an object. An empty one takes nothing.
pub(crate) fn map_takes(selector: &BTreeMap<String, String>, meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    !selector.is_empty()
        && selector.iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context_of;
    use base_controller::Scope;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    fn takes(selector: serde_json::Value, labels: serde_json::Value) -> bool {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let labels = serde_json::from_value(labels).unwrap();
        Matcher::new(&selector).takes(&ObjectMeta { labels: Some(labels), ..ObjectMeta::default() })
    }

    #[test]
    fn labels_and_expressions_are_all_required() {
        let selector = json!({
            "matchLabels": {"app": "a"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}],
        });
        assert!(takes(selector.clone(), json!({"app": "a", "tier": "y", "more": "1"})));
        assert!(!takes(selector.clone(), json!({"app": "a"})));
        assert!(!takes(selector, json!({"app": "b", "tier": "x"})));
        assert!(takes(json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), json!({"app": "a"})));
    }

    #[test]
    fn an_empty_selector_takes_nothing() {
        assert!(!takes(json!({}), json!({"app": "a"})));
        assert!(Matcher::for_all(Some(&LabelSelector::default())).takes(&ObjectMeta::default()), "unless it may");
        assert!(!Matcher::for_all(None).takes(&ObjectMeta::default()));
        assert!(!map_takes(&BTreeMap::new(), &ObjectMeta::default()));
    }

    #[tokio::test]
    async fn objects_are_found_by_what_selects_them() {
        let pod = |namespace: &str, name: &str, app: &str| {
            let labels = json!({"app": app, "tier": "x"});
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
                "namespace": namespace, "name": name, "resourceVersion": "1", "labels": labels,
            }})
        };
        let pods = vec![pod("n", "a", "a"), pod("n", "b", "b"), pod("m", "c", "a")];
        let (context, _shutdown) = context_of(pods);
        let pods = context.informers.get::<Pod>(Scope::all());
        let by_label = ByLabel::new(&pods);
        pods.synced().await;
        let names = |pods: Vec<Arc<Pod>>| pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<String>();
        let selected = |selector: serde_json::Value| {
            let selector: LabelSelector = serde_json::from_value(selector).unwrap();
            names(by_label.selected("n", Some(&selector)))
        };
        assert_eq!(selected(json!({"matchLabels": {"app": "a"}})), "a");
        assert_eq!(selected(json!({"matchLabels": {"app": "a", "tier": "y"}})), "", "all of them are required");
        assert_eq!(selected(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]})), "b");
        assert_eq!(selected(json!({})), "ab");
        assert_eq!(names(by_label.selected("n", None)), "");
        let map = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned())]);
        assert_eq!(names(by_label.selected_by_map("m", &map("a"))), "c");
        assert_eq!(names(by_label.selected_by_map("m", &BTreeMap::new())), "");
    }
}
