//! Answers of Knative's own Go code (v1.23) to many objects, and what goes around them.
//!
//! `testdata/admission.json` holds each object, how it was written, and what Knative's webhooks
//! made of it: the stored object, the errors, the warnings. Ours must be the same texts.

use super::*;
use crate::config::{Autoscaler, ConfigMap, Defaults, Features};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    object: Value,
    old: Option<Value>,
    #[serde(default)]
    sub: String,
    user: String,
    #[serde(default)]
    features: BTreeMap<String, String>,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    want: Want,
}

#[derive(Deserialize)]
struct Want {
    object: Option<Value>,
    errors: Option<String>,
    warnings: Option<Vec<String>>,
}

/// Differences are shown of Go values there and of JSON here: where more than scalars differ, only
/// the first line is the same.
const SHOWN_OTHERWISE: [&str; 2] = ["byo env and annotations changed", "revision update more containers"];

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../testdata/admission.json")).expect("cases")
}

/// Runs both webhooks.
fn admit(case: &Case) -> (Value, Result<Vec<String>, String>) {
    let configs = Configs {
        features: Features::parse(&case.features).expect("features"),
        defaults: Defaults::parse(&case.defaults).expect("defaults"),
        autoscaler: Autoscaler::default(),
        ..Configs::default()
    };
    let operation = if case.old.is_some() { Operation::Update } else { Operation::Create };
    let context = Context { configs: &configs, operation, subresource: &case.sub, user: &case.user };
    let (group, version) = case.object["apiVersion"].as_str().expect("apiVersion").split_once('/').expect("a group");
    let request = Request { group, version, kind: &case.kind, object: &case.object, old: case.old.as_ref(), context };
    assert!(handles(group, version, &case.kind));
    let mutated = mutate(&request).unwrap_or_else(|denied| panic!("{}: {denied}", case.name));
    let validated = validate(&Request { object: &mutated, ..request });
    (mutated, validated.map_err(|denied| denied.to_string()))
}

/// Without nulls and empty lists, which Go writes in some places and we do not.
fn tidy(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(tidy).collect(),
        Value::Object(fields) => {
            let says = |v: &Value| !v.is_null() && v.as_array().is_none_or(|items| !items.is_empty());
            let fields = fields.iter().filter(|(_, value)| says(value));
            Value::Object(fields.map(|(name, value)| (name.clone(), tidy(value))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn everything_is_answered_as_knative_answers() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (mutated, validated) = admit(&case);
        if let Some(want) = &case.want.object
            && tidy(&mutated) != tidy(want)
        {
            wrong.push(format!("{}: object\n  want {}\n  got  {}", case.name, tidy(want), tidy(&mutated)));
        }
        let got = match &validated {
            Ok(_) => None,
            Err(text) => {
                let prefix = "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: \
                              validation failed: ";
                Some(text.strip_prefix(prefix).unwrap_or(text))
            }
        };
        let shown = |text: Option<&str>| match text {
            Some(text) if SHOWN_OTHERWISE.contains(&case.name.as_str()) => text.lines().next().map(str::to_owned),
            other => other.map(str::to_owned),
        };
        let (got, want) = (shown(got), shown(case.want.errors.as_deref()));
        if got != want {
            wrong.push(format!("{}: errors\n  want {want:?}\n  got  {got:?}", case.name));
        }
        if let (Some(want), Ok(warnings)) = (&case.want.warnings, &validated)
            && warnings != want
        {
            wrong.push(format!("{}: warnings\n  want {want:?}\n  got  {warnings:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_has_been_filled_in_is_left_alone() {
    for mut case in cases().into_iter().filter(|case| case.want.errors.is_none() && case.old.is_none()) {
        let (once, _) = admit(&case);
        case.old = Some(once.clone());
        case.object = once.clone();
        "somebody else".clone_into(&mut case.user);
        let (twice, _) = admit(&case);
        assert_eq!(twice, once, "{}", case.name);
    }
}

#[test]
fn a_wrong_shape_is_told_by_the_defaulting_webhook() {
    let amount = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    for (spec, want) in [
        (
            json!({"containers": [{"image": "a", "env": [{"name": "A", "value": 1}]}]}),
            "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type \
             string",
        ),
        (json!({"containers": [{"image": "a", "resources": {"limits": {"cpu": "much"}}}]}), amount),
        (json!({"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "large"}}]}), amount),
    ] {
        let template = json!({"metadata": {"annotations": {"divisor": "no amount"}}, "spec": spec});
        let object = json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "hello"},
            "spec": {"template": template},
        });
        let configs = Configs::default();
        let context = Context { configs: &configs, operation: Operation::Create, subresource: "", user: "alice" };
        let (group, version, kind) = ("serving.knative.dev", "v1", "Service");
        let request = Request { group, version, kind, object: &object, old: None, context };
        let refused = mutate(&request).expect_err("a wrong shape").to_string();
        assert_eq!(
            refused,
            format!(
                "admission webhook \"webhook.serving.knative.dev\" denied the request: mutation failed: cannot decode \
                 incoming new object: {want}"
            )
        );
    }
}

#[test]
fn other_kinds_pass() {
    let object = json!({"apiVersion": "v1", "kind": "Pod"});
    let configs = Configs::default();
    let context = Context { configs: &configs, operation: Operation::Create, subresource: "", user: "" };
    let request = Request { group: "", version: "v1", kind: "Pod", object: &object, old: None, context };
    assert_eq!(mutate(&request), Ok(object.clone()));
    assert_eq!(validate(&request), Ok(Vec::new()));
}

#[test]
fn a_pod_is_tried_of_what_makes_revisions() {
    let spec = json!({"template": {"spec": {"containers": [{"image": "an/image"}], "timeoutSeconds": 7}}});
    let tried = |kind: &str, labels: Value| {
        let metadata = json!({"name": "hello", "namespace": "here", "labels": labels});
        let object = json!({"apiVersion": "serving.knative.dev/v1", "kind": kind, "metadata": metadata, "spec": spec});
        let context = Context { configs: &Configs::default(), operation: Operation::Create, subresource: "", user: "" };
        let request =
            Request { group: "serving.knative.dev", version: "v1", kind, object: &object, old: None, context };
        revision_to_try(&request)
    };
    let service = tried("Service", json!({})).expect("a Service's");
    assert_eq!((service.metadata.namespace.as_deref(), service.metadata.name.as_deref()), (Some("here"), None));
    assert_eq!((service.spec.timeout_seconds, service.spec.pod.containers.len()), (Some(7), 1));
    assert_eq!(tried("Configuration", json!({})), Some(service));
    let owned = json!({"serving.knative.dev/service": "hello"});
    assert_eq!(tried("Configuration", owned), None, "its Service has been asked about");
    assert_eq!(tried("Route", json!({})), None);
    assert_eq!(
        pod_refused("Pod \"p\" is invalid").to_string(),
        "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: \
         validation callback failed: dry run failed with Pod \"p\" is invalid: spec.template"
    );
}
