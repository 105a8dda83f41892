//! What is written into the API before any controller runs: kinds, namespaces, accounts, rules, ConfigMaps, Services, the
//! Deployments of Knative's parts.
//!
//! An object that is absent is created. One that is there is left as it is, so that what an operator changed stays, with one exception: when
//! this program installs something else than what was installed last (the record is a ConfigMap in `kube-system`), what the program owns,
//! which is all but the ConfigMaps and the StorageClass, is merged over what is there. The record is written last, so an interrupted upgrade is done again.

use std::collections::BTreeMap;

use base_image::Digest;
use cluster_apiserver::identity::AUTHENTICATED;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_serving::manifests::{Installation, Manifests, manifests};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

/// The namespace of what Kwick itself runs beside Knative's parts: gateway, registry.
pub const KWICK_NAMESPACE: &str = "kwick-system";
/// Where the API server answers why a Service is as it is.
pub const EXPLAIN_PATH: &str = "/kwick/explain";
/// Where it answers what controllers know of an object: nobody's but administrators'.
pub const FACTS_PATH: &str = "/kwick/facts";
/// The role of who may ask there.
const ASKING_WHY: &str = "kwick:explain";
/// The record of what was installed last.
const RECORD: &str = "kwick-installation";

/// Why something was not installed.
#[derive(Debug, thiserror::Error)]
#[error("install {what}")]
pub struct InstallError {
    /// The object's kind and name.
    pub what: String,
    /// What the API answered.
    #[source]
    pub source: kube::Error,
}

/// Objects to install, in the order of dependence.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// Namespaces and kinds: what the others need to be accepted.
    first: Vec<Item>,
    then: Vec<Item>,
}

#[derive(Clone, Debug)]
struct Item {
    resource: ApiResource,
    object: Value,
    /// Whether it is the operator's from its creation on.
    is_operators: bool,
}

impl Bundle {
    /// What the controllers of the cluster house need.
    pub fn of_cluster() -> Self {
        let installation = cluster_workloads::rbac::installation();
        let mut bundle = Self::default();
        bundle.then.extend(ours(&installation.service_accounts));
        bundle.then.extend(ours(&installation.cluster_roles));
        bundle.then.extend(ours(&installation.cluster_role_bindings));
        let classes = [cluster_workloads::persistent_claim::standard_class()];
        bundle.then.extend(ours(&classes).map(|item| Item { is_operators: true, ..item }));
        bundle
    }

    /// What the Knative house needs.
    pub fn of_knative(installation: &Installation) -> Self {
        let Manifests {
            namespaces,
            service_accounts,
            cluster_roles,
            cluster_role_bindings,
            config_maps,
            services,
            deployments,
        } = manifests(installation);
        let mut bundle = Self::default();
        bundle.first.extend(ours(&namespaces));
        bundle.first.extend(knative_apis::crds::crds().into_iter().map(definition));
        bundle.then.extend(ours(&service_accounts));
        bundle.then.extend(ours(&cluster_roles).chain(ours(&[asking_why()])));
        bundle.then.extend(ours(&cluster_role_bindings).chain(ours(&[everybody_may_ask_why()])));
        bundle.then.extend(ours(&services));
        bundle.then.extend(ours(&deployments));
        bundle.then.extend(ours(&config_maps).map(|item| Item { is_operators: true, ..item }));
        bundle
    }

    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.first.extend(other.first);
        self.then.extend(other.then);
        self
    }

    /// Installs everything that is not there, and renews what another version installed.
    ///
    /// # Errors
    /// The API refuses an object; what came before it is installed.
    pub async fn install(&self, client: &Client) -> Result<(), InstallError> {
        if self.first.is_empty() && self.then.is_empty() {
            return Ok(());
        }
        let fingerprint = self.fingerprint();
        let is_renewed = read_record(client).await? != Some(fingerprint.clone());
        for items in [&self.first, &self.then] {
            try_join_all(items.iter().map(|item| item.install(client, is_renewed))).await?;
        }
        if is_renewed { write_record(client, fingerprint).await } else { Ok(()) }
    }

    /// The names of the kinds among the objects.
    pub(super) fn definitions(&self) -> Vec<&str> {
        let plural = CustomResourceDefinition::plural(&());
        let definitions = self.first.iter().filter(|item| item.resource.plural == plural);
        definitions.filter_map(|item| item.object.pointer("/metadata/name").and_then(Value::as_str)).collect()
    }

    /// Differs if anything that the program owns differs.
    fn fingerprint(&self) -> String {
        let items = self.first.iter().chain(&self.then).filter(|item| !item.is_operators);
        let text: String = items.map(|item| format!("{}\n", item.object)).collect();
        Digest::of(text.as_bytes()).to_string()
    }
}

impl Item {
    async fn install(&self, client: &Client, is_renewed: bool) -> Result<(), InstallError> {
        let outcome = self.try_install(client, is_renewed).await;
        let name = self.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        outcome.map_err(|source| InstallError { what: format!("{} {name}", self.resource.kind), source })
    }

    #[expect(clippy::disallowed_methods, reason = "an installer writes before any controller plans")]
    async fn try_install(&self, client: &Client, is_renewed: bool) -> kube::Result<()> {
        let object: DynamicObject = serde_json::from_value(self.object.clone()).map_err(kube::Error::SerdeError)?;
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        };
        let name = object.name_any();
        if api.get_opt(&name).await?.is_none() {
            return match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                other => other.map(drop),
            };
        }
        if is_renewed && !self.is_operators {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&self.object)).await?;
        }
        Ok(())
    }
}

/// Who may ask [`EXPLAIN_PATH`]: what is answered is only what they may read by themselves.
fn asking_why() -> ClusterRole {
    let rule = PolicyRule {
        non_resource_urls: Some(vec![EXPLAIN_PATH.to_owned()]),
        verbs: vec!["get".to_owned()],
        ..PolicyRule::default()
    };
    ClusterRole { metadata: named(ASKING_WHY), rules: Some(vec![rule]), aggregation_rule: None }
}

fn everybody_may_ask_why() -> ClusterRoleBinding {
    let group = "rbac.authorization.k8s.io".to_owned();
    ClusterRoleBinding {
        metadata: named(ASKING_WHY),
        role_ref: RoleRef {
            api_group: Some(group.clone()),
            kind: "ClusterRole".to_owned(),
            name: ASKING_WHY.to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some(group),
            kind: "Group".to_owned(),
            name: AUTHENTICATED.to_owned(),
            namespace: None,
        }]),
    }
}

fn ours<K: Resource<DynamicType = ()> + Serialize>(objects: &[K]) -> impl Iterator<Item = Item> {
    let resource = ApiResource::erase::<K>(&());
    objects.iter().map(move |object| Item {
        object: with_type(serde_json::to_value(object).unwrap_or_default(), &resource),
        resource: resource.clone(),
        is_operators: false,
    })
}

fn definition(object: Value) -> Item {
    Item { resource: ApiResource::erase::<CustomResourceDefinition>(&()), object, is_operators: false }
}

fn with_type(mut object: Value, resource: &ApiResource) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), json!(resource.api_version));
        fields.insert("kind".to_owned(), json!(resource.kind));
    }
    object
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

const FINGERPRINT: &str = "fingerprint";
/// Where the record is: a namespace that every cluster has, so that it can be written whatever is installed.
const RECORD_NAMESPACE: &str = "kube-system";

fn records(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), RECORD_NAMESPACE)
}

fn of_record(source: kube::Error) -> InstallError {
    InstallError { what: format!("ConfigMap {RECORD}"), source }
}

async fn read_record(client: &Client) -> Result<Option<String>, InstallError> {
    let record = records(client).get_opt(RECORD).await.map_err(of_record)?;
    Ok(record.and_then(|record| record.data?.remove(FINGERPRINT)))
}

#[expect(clippy::disallowed_methods, reason = "an installer writes before any controller plans")]
async fn write_record(client: &Client, fingerprint: String) -> Result<(), InstallError> {
    let data = BTreeMap::from([
        (FINGERPRINT.to_owned(), fingerprint),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    let record = ConfigMap { metadata: named(RECORD), data: Some(data), ..ConfigMap::default() };
    let written = match records(client).create(&PostParams::default(), &record).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            records(client).patch(RECORD, &PatchParams::default(), &Patch::Merge(&record)).await
        }
        other => other,
    };
    written.map(drop).map_err(of_record)
}

#[cfg(test)]
mod tests;
