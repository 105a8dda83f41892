//! How a write goes over the wire: an object as JSON out, its metadata back, and what an error means.

use std::borrow::Cow;
use std::future::Future;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::WRITE_TIMEOUT;

/// An object on its way: all of it when sent, only its metadata when it comes back (nobody reads more).
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

    pub(super) fn into_body(self) -> Value {
        self.body
    }

    pub(super) fn into_meta(self) -> ObjectMeta {
        self.meta
    }
}

impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Received {
            #[serde(default)]
            metadata: ObjectMeta,
        }
        let Received { metadata } = Received::deserialize(deserializer)?;
        Ok(Self { body: Value::Null, meta: metadata })
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
    /// Another version, or already there.
    Conflict,
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
        409 => Failure::Conflict,
        404 => Failure::Missing(status.message),
        // A watch's or webhook's trouble, too many requests, or credentials that are being renewed.
        401 | 408 | 410 | 429 | 500.. => Failure::Infrastructure(Box::new(kube::Error::Api(status))),
        _ => Failure::Refused(status.message),
    }
}
