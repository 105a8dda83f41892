//! How a write goes over the wire: an object as JSON out and back, and what an error means.

use std::borrow::Cow;
use std::future::Future;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::WRITE_TIMEOUT;

/// An object on its way: as it is sent, or as the server answers.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    body: Value,
    meta: ObjectMeta,
}

impl Sent {
    /// `body` as an object of `resource`; its `apiVersion` and `kind` are set.
    pub(super) fn new(resource: &ApiResource, mut body: Value) -> Self {
        if let Value::Object(fields) = &mut body {
            fields.insert("apiVersion".to_owned(), Value::from(resource.api_version.as_str()));
            fields.insert("kind".to_owned(), Value::from(resource.kind.as_str()));
        }
        Self { body, meta: ObjectMeta::default() }
    }

    /// `body` as an object of the kind that it says.
    pub(super) fn as_it_is(body: Value) -> Self {
        Self { body, meta: ObjectMeta::default() }
    }

    pub(super) fn into_body(self) -> Value {
        self.body
    }
}

impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut body = Value::deserialize(deserializer)?;
        let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
        // As in the caches: a PUT without them keeps the server's.
        let metadata = metadata.map(|metadata| {
            metadata.remove("managedFields");
            ObjectMeta::deserialize(&*metadata)
        });
        let meta = metadata.transpose().map_err(D::Error::custom)?.unwrap_or_default();
        Ok(Self { body, meta })
    }
}

impl Resource for Sent {
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

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// What a failed write means.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another version, or already there; the server's words.
    Conflict(String),
    /// Not found; the server's words.
    Missing(String),
    /// Understood and denied; the server's words.
    Refused(String),
    /// No answer in time.
    Timeout,
    /// No answer, or one that says nothing about the write itself.
    Infrastructure(Box<kube::Error>),
}

/// Runs one write with a bound on its time, and judges what comes back.
pub(super) async fn bounded<T>(write: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(WRITE_TIMEOUT, write).await {
        Ok(answer) => answer.map_err(judge),
        Err(_elapsed) => Err(Failure::Timeout),
    }
}

fn judge(error: kube::Error) -> Failure {
    let kube::Error::Api(status) = error else { return Failure::Infrastructure(Box::new(error)) };
    match status.code {
        409 => Failure::Conflict(status.message),
        404 => Failure::Missing(status.message),
        // A watch's or webhook's trouble, too many requests, or credentials that are being renewed.
        401 | 408 | 410 | 429 | 500.. => Failure::Infrastructure(Box::new(kube::Error::Api(status))),
        _ => Failure::Refused(status.message),
    }
}
