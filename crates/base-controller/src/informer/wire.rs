//! An object of a watch as kube's `watcher` sees it: its text, and what the watch itself needs of it.
//!
//! The watcher is compiled once for all kinds, and an object is parsed once into its type, by whoever knows that. One that does not fit its
//! type is told from the others that way too.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object addressed by an [`ApiResource`]; with `METADATA` its metadata alone are asked for.
#[derive(Clone, Debug)]
pub(super) struct Wire<const METADATA: bool> {
    /// Name, namespace and resourceVersion; nothing else.
    meta: ObjectMeta,
    text: Box<RawValue>,
}

/// An object that does not fit its type.
pub(super) struct Undecodable {
    /// Its name, namespace and resourceVersion.
    pub(super) meta: ObjectMeta,
    pub(super) reason: String,
}

impl<const METADATA: bool> Wire<METADATA> {
    /// The object in its type.
    pub(super) fn parse<K: DeserializeOwned>(self) -> Result<K, Box<Undecodable>> {
        let parsed = serde_json::from_str(self.text.get());
        parsed.map_err(|error| Box::new(Undecodable { meta: self.meta, reason: error.to_string() }))
    }
}

/// What a watch reads of an object.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Identity,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
}

impl<'de, const METADATA: bool> Deserialize<'de> for Wire<METADATA> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Servers write an event's type before its object; were it the other way round, there would be no text any more here.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Head { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        let Identity { name, namespace, resource_version } = metadata;
        Ok(Self { meta: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() }, text })
    }
}

impl<const METADATA: bool> Resource for Wire<METADATA> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn metadata_api() -> bool {
        METADATA
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
