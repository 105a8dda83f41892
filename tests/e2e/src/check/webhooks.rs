//! Webhooks that run as a pod behind a Service: they admit, refuse and convert what is written to the API.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::instance::{Instance, ensure};
use crate::ksvc::{self, PODS};
use crate::until::until;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/hooks.example.com";
/// The pod's, as its program has it.
const PORT: u16 = 8080;

/// Admission and conversion by a pod behind a Service; without the pod, what must be asked fails.
pub(super) fn behind_a_service(kwick: &Instance<'_>) -> Result<String> {
    let api = &kwick.api;
    let client = start(kwick)?;
    let hook = json!({
        "name": "pod.hooks.example.com", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "objectSelector": {"matchLabels": {"hooked": "yes"}},
        "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    });
    api.create(MUTATING, &json!({"metadata": {"name": "pod"}, "webhooks": [hook]}))?;
    until("the webhook's label", ksvc::PATIENCE, || {
        let made = api.create(CONFIG_MAPS, &config_map("admitted", json!({"hooked": "yes"})))?;
        ensure(made["metadata"]["labels"]["admitted"] == "yes", || format!("it is {}", made["metadata"]["labels"]))?;
        Ok(Some(()))
    })?;
    let refused = config_map("refused", json!({"hooked": "yes", "refused": "yes"}));
    let (code, answer) = api.send("POST", CONFIG_MAPS, "application/json", refused.to_string().as_bytes())?;
    let wanted = "admission webhook \"pod.hooks.example.com\" denied the request: said the pod";
    ensure(code == 403 && answer["message"] == wanted, || format!("it answered {code} {}", answer["message"]))?;
    conversion(kwick, &client)?;
    api.delete(&format!("{PODS}/webhook"))?;
    let again = config_map("admitted", json!({"hooked": "yes"})).to_string();
    until("a failure without the pod", ksvc::PATIENCE, || {
        let path = format!("{CONFIG_MAPS}/admitted");
        let (code, answer) = api.send("PUT", &path, "application/json", again.as_bytes())?;
        let message = answer["message"].as_str().unwrap_or_default();
        Ok((code == 500 && message.contains("failed calling webhook \"pod.hooks.example.com\"")).then_some(()))
    })?;
    for path in [format!("{MUTATING}/pod"), format!("{CONFIG_MAPS}/admitted"), format!("{SERVICES}/webhook")] {
        api.delete(&path)?;
    }
    Ok("changed, refused and converted by a pod".to_owned())
}

/// The pod, its Service and the `clientConfig` that leads to it.
fn start(kwick: &Instance<'_>) -> Result<Value> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["webhook.default.svc".to_owned()])?.signed_by(&key, &authority)?;
    kwick.pack("e2e-webhook", "webhook")?;
    let container = json!({
        "name": "c", "image": "webhook", "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "CERTIFICATE", "value": certificate.pem()}, {"name": "KEY", "value": key.serialize_pem()}],
        "readinessProbe": {"tcpSocket": {"port": PORT}},
    });
    kwick.api.create(
        PODS,
        &json!({"metadata": {"name": "webhook", "labels": {"app": "webhook"}}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [container],
        }}),
    )?;
    let ports = json!([{"port": 443, "targetPort": PORT}]);
    let service = json!({"metadata": {"name": "webhook"}, "spec": {"selector": {"app": "webhook"}, "ports": ports}});
    kwick.api.create(SERVICES, &service)?;
    until("the webhook's pod", ksvc::PATIENCE, || {
        let pod = kwick.api.get(&format!("{PODS}/webhook"))?.context("it is not there")?;
        Ok((ksvc::condition(&pod, "Ready").0 == "True").then_some(()))
    })?;
    let service = json!({"namespace": "default", "name": "webhook", "path": "/review"});
    Ok(json!({"service": service, "caBundle": STANDARD.encode(authority.pem())}))
}

/// What is written in v1 is kept in v2, and both show their own field.
fn conversion(kwick: &Instance<'_>, client: &Value) -> Result<()> {
    let api = &kwick.api;
    let version = |name: &str, field: &str| {
        let spec = json!({"type": "object", "properties": {field: {"type": "string"}}});
        json!({
            "name": name, "served": true, "storage": name == "v2",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
        })
    };
    let webhook = json!({"clientConfig": client, "conversionReviewVersions": ["v1"]});
    api.create(
        CRDS,
        &json!({"metadata": {"name": "widgets.hooks.example.com"}, "spec": {
            "group": "hooks.example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", "old"), version("v2", "new")],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        }}),
    )?;
    let path = |version: &str| format!("{WIDGETS}/{version}/namespaces/default/widgets");
    until("the custom resource", ksvc::PATIENCE, || Ok(api.get(&path("v1"))?.map(drop)))?;
    let widget = json!({
        "apiVersion": "hooks.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"old": "x"},
    });
    let made = api.create(&path("v1"), &widget)?;
    let other = api.get(&format!("{}/w", path("v2")))?.context("it is not there")?;
    let shown = (&made["spec"], &other["spec"]);
    ensure(shown == (&json!({"old": "x"}), &json!({"new": "x"})), || format!("versions show {shown:?}"))?;
    api.delete(&format!("{CRDS}/widgets.hooks.example.com"))?;
    Ok(())
}

fn config_map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}})
}
