//! Somebody with a kubeconfig: writes objects as JSON, looks at them, and tries again when the API is just away.

use std::time::Duration;

use base_rt::error_chain;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;
use tokio::time::Instant;

use crate::world::{SYSTEM, World};

/// How long something may take to become so, in virtual time.
const LIMIT: Duration = Duration::from_secs(900);
const STEP: Duration = Duration::from_millis(200);
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A user.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    world: &'a World,
}

impl<'a> User<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world }
    }

    /// Creates an object in the namespace `default` (a ConfigMap: in Knative's own).
    pub async fn create(&self, object: Value) {
        let fields = object.clone();
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let name = object.metadata.name.clone().expect("a name");
        let kind = object.types.clone().expect("a type");
        let id = (kind.api_version.clone(), kind.kind.clone(), name.clone());
        self.world.ledger.wants(&id, &fields);
        self.insist(&format!("create {} {name}", kind.kind), || async {
            match self.api(&kind.api_version, &kind.kind).await.create(&PostParams::default(), &object).await {
                // An answer was lost.
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                other => other.map(|object| self.sees(&object)),
            }
        })
        .await;
        self.world.ledger.granted(&id);
    }

    /// What the API says against an object.
    pub async fn refusal(&self, object: Value) -> kube::core::Status {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let kind = object.types.clone().expect("a type");
        match self.api(&kind.api_version, &kind.kind).await.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) => *status,
            other => panic!("it was not refused: {other:?}"),
        }
    }

    /// Applies a merge patch.
    pub async fn merge(&self, api_version: &str, kind: &str, name: &str, patch: &Value) {
        let id = (api_version.to_owned(), kind.to_owned(), name.to_owned());
        self.world.ledger.wants(&id, patch);
        self.insist(&format!("patch {kind} {name}"), || async {
            let api = self.api(api_version, kind).await;
            let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
            patched.map(|object| self.sees(&object))
        })
        .await;
        self.world.ledger.granted(&id);
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, api_version: &str, kind: &str, name: &str) {
        let id = (api_version.to_owned(), kind.to_owned(), name.to_owned());
        self.world.ledger.wants_gone(&id);
        self.insist(&format!("delete {kind} {name}"), || async {
            match self.api(api_version, kind).await.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                other => other.map(drop),
            }
        })
        .await;
        self.world.ledger.granted(&id);
    }

    /// An object as it is, if it is there.
    pub async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        let mut found = None;
        self.insist(&format!("get {kind} {name}"), || async { self.api(api_version, kind).await.get_opt(name).await })
            .await
            .inspect(|object| found = Some(serde_json::to_value(object).expect("JSON")));
        found
    }

    /// The objects of a kind in the namespace `default`.
    pub async fn list(&self, api_version: &str, kind: &str) -> Vec<Value> {
        let list = self
            .insist(&format!("list {kind}"), || async {
                self.api(api_version, kind).await.list(&ListParams::default()).await
            })
            .await;
        list.items.iter().map(|object| serde_json::to_value(object).expect("JSON")).collect()
    }

    fn sees(&self, object: &DynamicObject) {
        self.world.ledger.shown(object.metadata.resource_version.as_deref().unwrap_or_default());
    }

    /// Waits until an object (`Null` while it is not there) is so. Fails the test when that never happens.
    pub async fn until(
        &self,
        (api_version, kind, name): (&str, &str, &str),
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) {
        let ends = Instant::now() + LIMIT;
        loop {
            let object = self.get(api_version, kind, name).await.unwrap_or_default();
            if is_so(&object) {
                return;
            }
            assert!(
                Instant::now() < ends,
                "seed {}: {kind} {name} never became {what}:\n{}\n{}",
                self.world.seed,
                serde_json::to_string_pretty(&object["spec"]).unwrap_or_default(),
                serde_json::to_string_pretty(&object["status"]).unwrap_or_default(),
            );
            tokio::time::sleep(STEP).await;
        }
    }

    async fn api(&self, api_version: &str, kind: &str) -> kube::Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let plural = match kind {
            "Endpoints" => "endpoints".to_owned(),
            kind if kind.ends_with("ss") => format!("{}es", kind.to_ascii_lowercase()),
            kind => format!("{}s", kind.to_ascii_lowercase()),
        };
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural);
        // Its ConfigMaps are all that a user touches of Knative's own.
        let namespace = if kind == "ConfigMap" { SYSTEM } else { "default" };
        kube::Api::namespaced_with(self.world.client().await, namespace, &resource)
    }

    /// Tries until the API is there. What it refuses fails the test.
    async fn insist<T, F: Future<Output = kube::Result<T>>>(&self, what: &str, ask: impl Fn() -> F) -> T {
        let ends = Instant::now() + LIMIT;
        loop {
            let why = match tokio::time::timeout(TIMEOUT, ask()).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(kube::Error::Api(status))) if status.code != 500 && status.code != 409 => {
                    panic!("seed {}: {what}: {status:?}", self.world.seed)
                }
                Ok(Err(error)) => error_chain(&error),
                Err(_) => "no answer".to_owned(),
            };
            assert!(Instant::now() < ends, "seed {}: {what}: {why}", self.world.seed);
            tokio::time::sleep(STEP).await;
        }
    }
}
