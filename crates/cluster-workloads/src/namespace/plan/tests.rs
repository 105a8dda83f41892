//! The steps of a namespace's deletion.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::ApiResource;
use serde_json::{Value, json};

use super::*;
use crate::catalog::Kind;

const NOW: &str = "2026-01-01T00:00:00Z";

fn kind(plural: &str, name: &str) -> Arc<Kind> {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: name.into(),
        plural: plural.into(),
    };
    Arc::new(Kind::for_tests(resource, &["list", "watch", "delete"]))
}

fn content(plural: &str, name: &str, count: Option<usize>, untouched: usize) -> Content {
    Content { kind: kind(plural, name), count, untouched, singly: Vec::new(), finalizers: BTreeMap::new() }
}

fn observed(content: Vec<Content>, status: Value) -> Observed {
    let namespace = json!({
        "metadata": {"name": "tmp1", "deletionTimestamp": NOW},
        "spec": {"finalizers": ["kubernetes"]}, "status": status,
    });
    Observed {
        namespace: Arc::new(serde_json::from_value(namespace).unwrap()),
        content,
        is_complete: true,
        failure: None,
    }
}

fn planned(observed: &Observed) -> Value {
    serde_json::to_value(plan(observed, NOW.parse().unwrap())).unwrap()
}

fn told(plan: &Value) -> Vec<String> {
    let conditions = plan["status"]["conditions"].as_array().unwrap();
    conditions.iter().map(|c| format!("{}={} {}", c["type"], c["status"], c["message"]).replace('"', "")).collect()
}

#[test]
fn what_is_left_is_deleted_and_told() {
    let mut pods = content("pods", "Pod", Some(2), 1);
    pods.finalizers = BTreeMap::from([("x/y".to_owned(), 1)]);
    let maps = content("configmaps", "ConfigMap", Some(1), 0);
    let plan =
        planned(&observed(vec![pods, maps, content("events", "Event", None, 0)], json!({"phase": "Terminating"})));
    assert_eq!(plan["changes"].as_array().unwrap().len(), 1, "the maps are going already");
    assert_eq!(plan["changes"][0]["deleteCollection"], "Pod tmp1/");
    let told = told(&plan);
    assert_eq!(told[0], "NamespaceDeletionDiscoveryFailure=False All resources successfully discovered");
    assert_eq!(
        told[3],
        "NamespaceContentRemaining=True Some resources are remaining: \
         pods. has 2 resource instances, configmaps. has 1 resource instances"
    );
    assert_eq!(
        told[4],
        "NamespaceFinalizersRemaining=True Some content in the namespace has finalizers remaining: x/y in 1 resource instances"
    );
}

#[test]
fn an_empty_namespace_says_so_and_is_then_let_go() {
    let empty = || vec![content("pods", "Pod", Some(0), 0), content("events", "Event", None, 0)];
    let first = planned(&observed(empty(), json!({"phase": "Terminating"})));
    assert_eq!(first["changes"][0]["deleteCollection"], "Event tmp1/");
    assert_eq!(told(&first)[3], "NamespaceContentRemaining=False All content successfully removed");
    let second = planned(&observed(empty(), first["status"].clone()));
    assert_eq!(second["changes"][0]["subresource"], "finalize");
    assert_eq!(second["changes"][0]["fields"]["spec"]["finalizers"], json!([]));
    assert_eq!(second["status"], Value::Null);
}

#[test]
fn a_namespace_stays_while_a_kind_is_unknown() {
    let told_before = planned(&observed(vec![], json!({"phase": "Terminating"})))["status"].clone();
    let mut unknown = observed(vec![], told_before);
    unknown.is_complete = false;
    unknown.failure = Some("no answer".into());
    let plan = planned(&unknown);
    assert_eq!(plan["changes"], json!([]));
    assert_eq!(told(&plan)[0], "NamespaceDeletionDiscoveryFailure=True no answer");
}

#[test]
fn a_namespace_of_other_finalizers_only_is_none_of_our_business() {
    let mut observed = observed(vec![content("pods", "Pod", Some(1), 1)], json!({}));
    Arc::get_mut(&mut observed.namespace).unwrap().spec = None;
    assert_eq!(planned(&observed)["changes"], json!([]));
}
