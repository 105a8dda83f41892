//! Kind → (default, validate).

use super::{Context, Operation, Request, decode};
use crate::autoscaling::{Metric, PodAutoscaler};
use crate::field_error::FieldErrors;
use crate::networking::{Certificate, Ingress, ServerlessService};
use crate::serving::v1::{Configuration, Revision, Route, Service};
use crate::serving::v1beta1::DomainMapping;
use kube_core::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is done with objects of one kind. The errors are texts about their shape.
pub(super) struct Entry {
    pub(super) mutate: fn(&Request<'_>) -> Result<Value, String>,
    pub(super) validate: fn(&Request<'_>) -> Result<FieldErrors, String>,
}

/// A kind that is looked at.
trait Admitted: Resource<DynamicType = ()> + Serialize + DeserializeOwned {
    fn default_object(&mut self, old: Option<&Self>, context: &Context<'_>);
    fn validate_object(&self, old: Option<&Self>, context: &Context<'_>) -> FieldErrors;
}

macro_rules! admitted {
    ($($kind:ty: |$object:ident, $old:ident, $context:ident| $default:expr, $validate:expr;)+) => {
        $(impl Admitted for $kind {
            fn default_object(&mut self, $old: Option<&Self>, $context: &Context<'_>) {
                let ($object, _, _) = (self, $old, $context);
                let _ = &$object;
                $default
            }
            fn validate_object(&self, $old: Option<&Self>, $context: &Context<'_>) -> FieldErrors {
                let ($object, _, _) = (self, $old, $context);
                $validate
            }
        })+

        /// The entry of a kind, if it has one.
        pub(super) fn find(group: &str, version: &str, kind: &str) -> Option<Entry> {
            $(if is::<$kind>(group, version, kind) {
                return Some(Entry { mutate: mutate::<$kind>, validate: validate::<$kind> });
            })+
            None
        }
    };
}

admitted! {
    Service: |o, old, cx| o.set_defaults(old, cx), o.validate(old, cx);
    Configuration: |o, old, cx| o.set_defaults(old, cx), o.validate(old, cx);
    Revision: |o, old, cx| o.set_defaults(cx), o.validate(old, cx);
    Route: |o, old, cx| o.set_defaults(old, cx), o.validate(old, cx);
    DomainMapping: |o, old, cx| o.set_defaults(old, cx), o.validate(old, cx);
    PodAutoscaler: |o, old, cx| o.set_defaults(cx.configs), o.validate(cx.configs);
    Metric: |o, old, cx| {}, o.validate(cx.configs);
    Certificate: |o, old, cx| {}, o.validate();
    Ingress: |o, old, cx| o.set_defaults(), o.validate();
    ServerlessService: |o, old, cx| {}, o.validate();
}

fn is<K: Resource<DynamicType = ()>>(group: &str, version: &str, kind: &str) -> bool {
    K::kind(&()) == kind && K::group(&()) == group && K::version(&()) == version
}

fn mutate<K: Admitted>(request: &Request<'_>) -> Result<Value, String> {
    let mut object: K = decode::object(request.object, "new")?;
    let mut old: Option<K> = request.old.map(|old| decode::object(old, "old")).transpose()?;
    if let Some(old) = &mut old {
        // What was stored under older defaults is compared as if it were written now.
        old.default_object(None, &Context { operation: Operation::Read, user: "", ..request.context });
    }
    object.default_object(old.as_ref(), &request.context);
    serde_json::to_value(&object).map_err(|error| error.to_string())
}

fn validate<K: Admitted>(request: &Request<'_>) -> Result<FieldErrors, String> {
    let object: K = decode::object(request.object, "new")?;
    let old: Option<K> = request.old.map(|old| decode::object(old, "old")).transpose()?;
    Ok(object.validate_object(old.as_ref(), &request.context))
}
