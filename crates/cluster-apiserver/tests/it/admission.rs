//! In-process admission: it changes, refuses, and is told who writes what.

use std::sync::Arc;

use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{Admission, AdmissionRequest, Consultation, Denied, Operation, Warnings};
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Harness, config_map};

/// Stamps ConfigMaps with their writer and refuses bad ones.
struct Stamp;

impl Admission for Stamp {
    fn handles(&self, group: &str, resource: &str) -> bool {
        group.is_empty() && resource == "configmaps"
    }

    fn mutate(&self, request: &mut AdmissionRequest) -> Result<Warnings, Denied> {
        if request.operation == Operation::Create {
            request.object["metadata"]["annotations"]["creator"] = json!(request.user.username);
        }
        Ok(vec![format!("seen in {}", request.namespace)])
    }

    fn validate(&self, request: &AdmissionRequest) -> Result<Warnings, Denied> {
        let deny = |message: String| Err(denied(message));
        if request.operation == Operation::Delete && request.old_object["data"]["keep"] == "true" {
            return deny(format!("{} is kept", request.name));
        }
        match request.object["data"]["bad"] {
            Value::Null => Ok(Warnings::new()),
            _ => deny("validation failed: must not be bad: data.bad".to_owned()),
        }
    }

    fn consult<'a>(&'a self, request: &'a AdmissionRequest) -> Option<Consultation<'a>> {
        let asked = request.object["data"]["ask"].as_str()?;
        Some(Box::pin(async move {
            tokio::task::yield_now().await;
            Err(denied(format!("{asked} says no (dry run: {})", request.is_dry_run)))
        }))
    }
}

fn denied(message: String) -> Denied {
    Denied { webhook: "validation.webhook.example.dev".to_owned(), code: 400, reason: "BadRequest", message }
}

#[tokio::test(start_paused = true)]
async fn it_changes_warns_and_refuses_in_a_webhook_s_words() {
    let harness = Harness::start_with(MemoryDisk::new(), vec![Arc::new(Stamp)]).await;
    let raw = harness.raw();
    let made = raw.post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(made.json()["metadata"]["annotations"]["creator"], "admin");
    assert_eq!(made.headers["warning"], "299 - \"seen in default\"");
    let mut bad = config_map("b");
    bad["data"]["bad"] = json!("1");
    let refused = raw.post(CONFIG_MAPS, &bad).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["reason"], "BadRequest");
    assert_eq!(
        refused.message(),
        "admission webhook \"validation.webhook.example.dev\" denied the request: validation failed: must not be bad: data.bad"
    );
    let mut asked = config_map("c");
    asked["data"]["ask"] = json!("somebody");
    let refused = raw.post(&format!("{CONFIG_MAPS}?dryRun=All"), &asked).await;
    assert_eq!(
        refused.message(),
        "admission webhook \"validation.webhook.example.dev\" denied the request: somebody says no (dry run: true)"
    );
    let path = format!("{CONFIG_MAPS}/a");
    raw.merge(&path, &json!({"data": {"keep": "true"}})).await;
    assert_eq!(raw.delete(&path, &Value::Null).await.status, 400);
    raw.merge(&path, &json!({"data": {"keep": null}})).await;
    assert_eq!(raw.delete(&path, &Value::Null).await.status, 200);
}
