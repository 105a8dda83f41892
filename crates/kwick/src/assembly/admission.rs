//! What Knative's webhooks do, inside the API server: `knative_apis::admission` behind the API server's seam.
//!
//! The operator's settings are followed from the ConfigMaps of the system namespace, so a setting takes effect a moment after it is written, as
//! it does with Knative's webhook. A ConfigMap that does not parse is refused here; should one be there all the same (written before an upgrade,
//! for example), the last good settings stay.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use base_controller::{Context, Delta, Scope};
use cluster_apiserver::{Admission, AdmissionRequest, Consultation, Denied, Operation, Warnings};
use k8s_openapi::api::core::v1::ConfigMap;
use knative_apis::admission as knative;
use knative_apis::config::{Autoscaler, ConfigMap as Typed, Configs, Defaults, Features};
use knative_apis::meta::{AUTOSCALING_INTERNAL_GROUP, NETWORKING_INTERNAL_GROUP, SERVING_GROUP};
use knative_serving::dry_run::try_pod;
use kube::Client;

/// The code and the reason of every refusal, as Knative's webhooks give them.
const CODE: u16 = 400;
const REASON: &str = "BadRequest";

/// Knative's webhooks as an admission of the API server.
pub struct KnativeAdmission {
    system_namespace: String,
    configs: Arc<RwLock<Arc<Configs>>>,
    client: OnceLock<Client>,
}

impl fmt::Debug for KnativeAdmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnativeAdmission").field("system_namespace", &self.system_namespace).finish_non_exhaustive()
    }
}

impl KnativeAdmission {
    /// The admission of an installation whose ConfigMaps are in `system_namespace`; with default settings until it [follows](Self::follow).
    pub fn new(system_namespace: &str) -> Self {
        Self { system_namespace: system_namespace.to_owned(), configs: Arc::default(), client: OnceLock::new() }
    }

    /// From now on, the ConfigMaps decide, and Pods of dry runs are tried. Returns when the ConfigMaps that exist have been read.
    pub async fn follow(&self, context: &Context, cluster_domain: &str) {
        self.client.get_or_init(|| context.client.clone());
        let current = Arc::clone(&self.configs);
        update(&current, |configs| cluster_domain.clone_into(&mut configs.cluster_domain));
        let maps = context.informers.get::<ConfigMap>(Scope::namespace(self.system_namespace.as_str()));
        maps.subscribe(move |delta| read(&current, delta));
        maps.synced().await;
    }

    fn context<'a>(&self, request: &'a AdmissionRequest, configs: &'a Configs) -> knative::Context<'a> {
        let operation = match request.operation {
            Operation::Create => knative::Operation::Create,
            Operation::Update | Operation::Delete => knative::Operation::Update,
        };
        knative::Context { configs, operation, subresource: &request.subresource, user: &request.user.username }
    }

    fn configs(&self) -> Arc<Configs> {
        Arc::clone(&self.configs.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_config(&self, request: &AdmissionRequest) -> bool {
        request.group.is_empty() && request.resource == "configmaps" && request.namespace == self.system_namespace
    }
}

/// Whether Knative's webhooks are registered for this write: creates and updates of objects and of their status.
fn is_asked(request: &AdmissionRequest) -> bool {
    request.operation != Operation::Delete && matches!(request.subresource.as_str(), "" | "status")
}

fn as_knatives<'a>(request: &'a AdmissionRequest, context: knative::Context<'a>) -> knative::Request<'a> {
    let old = Some(&request.old_object).filter(|old| !old.is_null());
    let AdmissionRequest { group, version, kind, object, .. } = request;
    knative::Request { group, version, kind, object, old, context }
}

fn denied(denied: knative::Denied) -> Denied {
    Denied { webhook: denied.webhook.to_owned(), code: CODE, reason: REASON, message: denied.problem }
}

impl Admission for KnativeAdmission {
    fn handles(&self, group: &str, resource: &str) -> bool {
        match group {
            "" => resource == "configmaps",
            SERVING_GROUP | AUTOSCALING_INTERNAL_GROUP | NETWORKING_INTERNAL_GROUP => true,
            _ => false,
        }
    }

    fn mutate(&self, request: &mut AdmissionRequest) -> Result<Warnings, Denied> {
        if !is_asked(request) || !knative::handles(&request.group, &request.version, &request.kind) {
            return Ok(Warnings::new());
        }
        let configs = self.configs();
        let object = knative::mutate(&as_knatives(request, self.context(request, &configs))).map_err(denied)?;
        request.object = object;
        Ok(Warnings::new())
    }

    fn validate(&self, request: &AdmissionRequest) -> Result<Warnings, Denied> {
        if !is_asked(request) {
            return Ok(Warnings::new());
        }
        if self.is_config(request) {
            return knative::validate_config_map(&request.name, &request.object)
                .map(|()| Warnings::new())
                .map_err(denied);
        }
        let configs = self.configs();
        knative::validate(&as_knatives(request, self.context(request, &configs))).map_err(denied)
    }

    fn consult<'a>(&'a self, request: &'a AdmissionRequest) -> Option<Consultation<'a>> {
        if !request.is_dry_run || !is_asked(request) {
            return None;
        }
        let configs = self.configs();
        let revision = knative::revision_to_try(&as_knatives(request, self.context(request, &configs)))?;
        let client = self.client.get()?.clone();
        Some(Box::pin(async move {
            try_pod(client, &revision).await.map_err(|reason| denied(knative::pod_refused(&reason)))
        }))
    }
}

/// Takes in one ConfigMap, if it is one of those that admission looks at.
fn read(current: &RwLock<Arc<Configs>>, delta: &Delta<'_, ConfigMap>) {
    let Some(name) = delta.latest().and_then(|map| map.metadata.name.as_deref()) else { return };
    let empty = BTreeMap::new();
    let data = delta.new.and_then(|map| map.data.as_ref()).unwrap_or(&empty);
    match name {
        Defaults::NAME => take(data, |defaults| update(current, |configs| configs.defaults = defaults)),
        Features::NAME => take(data, |features| update(current, |configs| configs.features = features)),
        Autoscaler::NAME => take(data, |autoscaler| update(current, |configs| configs.autoscaler = autoscaler)),
        _ => {}
    }
}

fn take<C: Typed>(data: &BTreeMap<String, String>, set: impl FnOnce(C)) {
    match C::parse(data) {
        Ok(config) => set(config),
        Err(error) => {
            tracing::error!(
                config_map = C::NAME,
                error = base_rt::error_chain(&error),
                "configuration does not parse; admission keeps the last good one"
            );
        }
    }
}

fn update(current: &RwLock<Arc<Configs>>, change: impl FnOnce(&mut Configs)) {
    let mut configs = current.write().unwrap_or_else(PoisonError::into_inner);
    change(Arc::make_mut(&mut configs));
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_apiserver::Identity;
    use serde_json::{Value, json};

    fn request(operation: Operation, object: Value, old: Value) -> AdmissionRequest {
        AdmissionRequest {
            operation,
            group: SERVING_GROUP.to_owned(),
            version: "v1".to_owned(),
            kind: "Service".to_owned(),
            resource: "services".to_owned(),
            subresource: String::new(),
            namespace: "default".to_owned(),
            name: "hello".to_owned(),
            object,
            old_object: old,
            user: Identity::master("alice"),
            is_dry_run: false,
        }
    }

    fn service(image: &str) -> Value {
        json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "hello", "namespace": "default"},
            "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
        })
    }

    #[test]
    fn it_fills_in_and_says_who_did_it() {
        let admission = KnativeAdmission::new("knative-serving");
        assert!(admission.handles(SERVING_GROUP, "services") && admission.handles("", "configmaps"));
        assert!(!admission.handles("apps", "deployments"));
        let mut request = request(Operation::Create, service("an/image"), Value::Null);
        assert_eq!(admission.mutate(&mut request), Ok(Vec::new()));
        assert_eq!(request.object["metadata"]["annotations"]["serving.knative.dev/creator"], "alice");
        assert_eq!(request.object["spec"]["template"]["spec"]["timeoutSeconds"], 300);
        let warnings = admission.validate(&request).unwrap();
        assert!(warnings[0].starts_with("Kubernetes default value is insecure"), "{warnings:?}");
    }

    #[test]
    fn a_refusal_is_that_of_knatives_webhook() {
        let admission = KnativeAdmission::new("knative-serving");
        let mut request = request(Operation::Create, service(""), Value::Null);
        admission.mutate(&mut request).unwrap();
        let denied = admission.validate(&request).unwrap_err();
        assert_eq!((denied.code, denied.reason), (400, "BadRequest"));
        assert_eq!(denied.webhook, "validation.webhook.serving.knative.dev");
        assert!(denied.message.starts_with("validation failed: "), "{}", denied.message);
    }

    #[test]
    fn deletions_and_other_subresources_are_not_asked_about() {
        let admission = KnativeAdmission::new("knative-serving");
        let mut deletion = request(Operation::Delete, Value::Null, service(""));
        assert_eq!(admission.mutate(&mut deletion), Ok(Vec::new()));
        assert_eq!(admission.validate(&deletion), Ok(Vec::new()));
    }

    #[test]
    fn only_the_system_namespaces_config_maps_are_settings() {
        let admission = KnativeAdmission::new("knative-serving");
        let mut map = request(Operation::Create, json!({"data": {"stable-window": "3s"}}), Value::Null);
        (map.group, map.kind, map.resource) = (String::new(), "ConfigMap".to_owned(), "configmaps".to_owned());
        "config-autoscaler".clone_into(&mut map.name);
        assert_eq!(admission.validate(&map), Ok(Vec::new()), "somebody's own map of the same name");
        "knative-serving".clone_into(&mut map.namespace);
        assert_eq!(admission.validate(&map).unwrap_err().webhook, "config.webhook.serving.knative.dev");
    }

    #[test]
    fn a_bad_setting_leaves_the_last_good_one() {
        let admission = KnativeAdmission::new("knative-serving");
        let map = |value: &str| {
            let map = json!({"metadata": {"name": "config-defaults"}, "data": {"revision-timeout-seconds": value}});
            Arc::new(serde_json::from_value::<ConfigMap>(map).unwrap())
        };
        let see = |map: Option<&Arc<ConfigMap>>, old: Option<&Arc<ConfigMap>>| {
            read(&admission.configs, &Delta { old, new: map, is_initial: false });
            admission.configs().defaults.revision_timeout_seconds
        };
        let (good, bad) = (map("123"), map("soon"));
        assert_eq!(see(Some(&good), None), 123);
        assert_eq!(see(Some(&bad), Some(&good)), 123);
        assert_eq!(see(None, Some(&bad)), 300);
    }
}
