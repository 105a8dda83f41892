//! Defaults of RBAC, storage, scheduling, webhooks and custom resource definitions.

use serde_json::{Map, Value, json};

use super::Hook;
use crate::value::{as_object, is_absent, set_default, set_default_str};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn hook(name: &str) -> Option<Hook> {
    const ADMISSION: &str = "api.admissionregistration.v1.";
    if let Some(name) = name.strip_prefix(ADMISSION) {
        return webhook_hook(name);
    }
    Some(match name {
        "api.rbac.v1.RoleRef" => |role| set_default_str(role, "apiGroup", RBAC),
        "api.rbac.v1.Subject" => subject,
        "api.scheduling.v1.PriorityClass" => |class| set_default(class, "preemptionPolicy", "PreemptLowerPriority"),
        "api.storage.v1.StorageClass" => storage_class,
        "api.storage.v1.CSIDriverSpec" => csi_driver,
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition" => definition,
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.ServiceReference"
        | "kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference" => |service| set_default(service, "port", 443),
        _ => return None,
    })
}

fn webhook_hook(name: &str) -> Option<Hook> {
    Some(match name {
        "ValidatingWebhook" => webhook,
        "MutatingWebhook" => |hook| {
            webhook(hook);
            set_default(hook, "reinvocationPolicy", "Never");
        },
        "RuleWithOperations" => |rule| set_default(rule, "scope", "*"),
        "ServiceReference" => |service| set_default(service, "port", 443),
        _ => return None,
    })
}

fn webhook(hook: &mut Map<String, Value>) {
    set_default(hook, "failurePolicy", "Fail");
    set_default(hook, "matchPolicy", "Equivalent");
    set_default(hook, "namespaceSelector", json!({}));
    set_default(hook, "objectSelector", json!({}));
    set_default(hook, "timeoutSeconds", 10);
}

fn subject(subject: &mut Map<String, Value>) {
    if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
        set_default_str(subject, "apiGroup", RBAC);
    }
}

fn storage_class(class: &mut Map<String, Value>) {
    set_default(class, "reclaimPolicy", "Delete");
    set_default(class, "volumeBindingMode", "Immediate");
}

fn csi_driver(spec: &mut Map<String, Value>) {
    set_default(spec, "attachRequired", true);
    for name in
        ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount", "preventPodSchedulingIfMissing"]
    {
        set_default(spec, name, false);
    }
    set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set_default(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

fn definition(definition: &mut Map<String, Value>) {
    let spec = as_object(definition.entry("spec").or_insert(Value::Null));
    let stored = crate::value::list_at(spec.get("versions").unwrap_or(&Value::Null), &[])
        .iter()
        .find(|version| version["storage"].as_bool() == Some(true))
        .map(|version| version["name"].clone());
    let names = as_object(spec.entry("names").or_insert(Value::Null));
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !kind.is_empty() {
        set_default_str(names, "singular", &kind.to_lowercase());
        set_default_str(names, "listKind", &format!("{kind}List"));
    }
    set_default(spec, "conversion", json!({"strategy": "None"}));
    let status = as_object(definition.entry("status").or_insert(Value::Null));
    let has_stored = status.get("storedVersions").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if let Some(stored) = stored.filter(|_| !has_stored) {
        status.insert("storedVersions".to_owned(), json!([stored]));
    }
    set_default(status, "conditions", Value::Null);
    if is_absent(status.get("acceptedNames")) {
        status.insert("acceptedNames".to_owned(), json!({"plural": "", "kind": ""}));
    }
}
