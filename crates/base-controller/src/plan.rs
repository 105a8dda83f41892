//! What a reconcile wants done, as a value: [`Plan`] and its [`Change`]s.
//!
//! A plan is made by a pure function from what was gathered, and carried out by [`crate::apply`] in a fixed order: finalizer added, changes,
//! status, finalizer removed. It can be printed (`serde_json::to_value(&plan)`), which golden tests, logs and `explain` do.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, PropagationPolicy};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::key::{GroupKind, Key, ObjectRef};
use crate::object::Object;
use crate::overlay::overlay;

/// What one reconcile of one key wants done. `S` is the kind's status; a status that serialises to null (`()`, `None`) is not written.
#[derive(Clone, Debug, Serialize)]
pub struct Plan<S> {
    /// What happens to this controller's finalizer on the object itself.
    pub finalizer: Finalizer,
    /// What happens to other objects (or to the rest of the object itself), in this order.
    pub changes: Vec<Change>,
    /// The whole new status. It is written once, after the changes, and only if it differs. A condition that is the same as the cached one
    /// but for its `lastTransitionTime` keeps that time.
    pub status: S,
    /// Kubernetes Events about the object, recorded once everything else is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<PlanEvent>,
    /// When to look again although nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<Duration>,
    /// Objects whose changes wake this key from now on, whether they exist or not. Replaces what the last plan said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub track: Vec<ObjectRef>,
}

impl<S> Plan<S> {
    /// A plan that only sets the status.
    pub fn new(status: S) -> Self {
        Self {
            finalizer: Finalizer::Keep,
            changes: Vec::new(),
            status,
            events: Vec::new(),
            again: None,
            track: Vec::new(),
        }
    }
}

impl<S: Default> Default for Plan<S> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

/// What happens to a finalizer of the object itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Finalizer {
    /// Nothing.
    #[default]
    Keep,
    /// It is there before any change is made.
    Add(&'static str),
    /// It goes after everything else has succeeded.
    Remove(&'static str),
}

/// A condition to set, in the words of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The condition's type, such as `ResourcesAvailable`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A CamelCase word for machines.
    pub reason: String,
    /// A sentence for people. In an [`OnRefusal`], `{error}` stands for the server's message.
    pub message: String,
}

/// What a refusal of a change means (any answer of the server that is neither a conflict nor an infrastructure failure).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnRefusal {
    /// The remaining changes are skipped and the status is written; the key fails and is retried with a growing delay.
    #[default]
    Retry,
    /// The remaining changes are skipped, this condition is set and the status is written; the key is retried with a growing delay.
    Set(Condition),
}

/// A Kubernetes Event to record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanEvent {
    /// A problem rather than news.
    pub is_warning: bool,
    /// A CamelCase word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl PlanEvent {
    /// News.
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { is_warning: false, reason: reason.into(), message: message.into() }
    }

    /// A problem.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { is_warning: true, reason: reason.into(), message: message.into() }
    }
}

/// One write to one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub(crate) resource: ApiResource,
    pub(crate) key: Key,
    pub(crate) action: Action,
    pub(crate) on_refusal: OnRefusal,
    pub(crate) done_event: Option<PlanEvent>,
    pub(crate) refused_event: Option<PlanEvent>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Create {
        object: Value,
    },
    Overlay {
        desired: Value,
        base: Value,
        subresource: Option<&'static str>,
    },
    /// A JSON merge patch on top of one version: for objects of which only the metadata is known.
    Merge {
        fields: Value,
    },
    Delete(Deletion),
    DeleteCollection,
    Post {
        subresource: &'static str,
        body: Value,
    },
    /// The object could not be turned into JSON: a defect of its type, reported when the plan is applied.
    Broken {
        reason: String,
    },
}

/// How an object is deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) uid: Option<String>,
    /// The version as cached, and whether it has to be that one.
    pub(crate) version: Option<String>,
    pub(crate) is_exact: bool,
    pub(crate) grace_period_s: Option<u32>,
    pub(crate) propagation: Option<PropagationPolicy>,
}

impl Change {
    /// Makes `object`. With a name, an object that is there already brings the key back (the cache will show it); with `generateName` the
    /// server names it.
    pub fn create<K: Object<DynamicType: Default>>(object: &K) -> Self {
        Self::create_of(ApiResource::erase::<K>(&K::DynamicType::default()), object)
    }

    /// As [`Change::create`], for a kind known only at run time.
    pub fn create_of<K: Object>(resource: ApiResource, object: &K) -> Self {
        let action = json(object).map(|object| Action::Create { object });
        Self::new(resource, Key::of(object), action)
    }

    /// Lays the fields that `desired` sets over `base`, the cached object; see [`crate::overlay`]. Nothing is sent when nothing changes.
    /// `status` is not part of it. A typed object sets its kind's required fields whether the maker means them or not: for some fields
    /// of somebody else's object use [`Change::overlay_fields`].
    pub fn overlay<K: Object<DynamicType: Default>>(base: &K, desired: &K) -> Self {
        Self::overlay_fields(base, json(desired).unwrap_or_else(Value::String))
    }

    /// As [`Change::overlay`], with the fields as JSON: a null removes a field.
    pub fn overlay_fields<K: Object<DynamicType: Default>>(base: &K, desired: Value) -> Self {
        Self::overlay_of(ApiResource::erase::<K>(&K::DynamicType::default()), base, desired)
    }

    /// As [`Change::overlay_fields`], for a kind known only at run time.
    pub fn overlay_of<K: Object>(resource: ApiResource, base: &K, desired: Value) -> Self {
        let action = match desired {
            Value::Object(_) => json(base).map(|base| Action::Overlay { desired, base, subresource: None }),
            other => Err(format!("desired is no object: {other}")),
        };
        Self::new(resource, Key::of(base), action)
    }

    /// Deletes `object`, exactly this one (by uid). That it is gone already is a success; that another has its name brings the key back.
    pub fn delete<K: Object<DynamicType: Default>>(object: &K) -> Self {
        Self::delete_of(ApiResource::erase::<K>(&K::DynamicType::default()), object)
    }

    /// As [`Change::delete`], for a kind known only at run time.
    pub fn delete_of<K: Object>(resource: ApiResource, object: &K) -> Self {
        let meta = object.meta();
        let deletion =
            Deletion { uid: meta.uid.clone(), version: meta.resource_version.clone(), ..Deletion::default() };
        Self::new(resource, Key::of(object), Ok(Action::Delete(deletion)))
    }

    /// Deletes every object of a kind in `namespace` (empty: everywhere). Nothing is waited for afterwards: who plans it again while the
    /// caches still show objects does no harm.
    pub fn delete_collection_of(resource: ApiResource, namespace: &str) -> Self {
        Self::new(resource, Key::new(namespace, ""), Ok(Action::DeleteCollection))
    }

    /// Merges `fields` into the object whose cached metadata is `base`, on top of exactly that version (a JSON merge patch). For objects that
    /// are not cached whole; whoever has the whole object overlays it.
    pub fn merge_of<K: Object>(resource: ApiResource, base: &K, fields: Value) -> Self {
        let meta = base.meta();
        let identity = serde_json::json!({"uid": meta.uid, "resourceVersion": meta.resource_version});
        let action = match fields {
            Value::Object(_) => {
                let fields = overlay(&fields, &serde_json::json!({ "metadata": identity }));
                Ok(Action::Merge { fields })
            }
            other => Err(format!("fields are no object: {other}")),
        };
        Self::new(resource, Key::of(base), action)
    }

    /// Posts `body` to a subresource of `object`, such as a Pod's `binding`.
    pub fn post<K: Object<DynamicType: Default>>(object: &K, subresource: &'static str, body: &impl Serialize) -> Self {
        let action = json(body).map(|body| Action::Post { subresource, body });
        Self::new(ApiResource::erase::<K>(&K::DynamicType::default()), Key::of(object), action)
    }

    fn new(resource: ApiResource, key: Key, action: Result<Action, String>) -> Self {
        let action = action.unwrap_or_else(|reason| Action::Broken { reason });
        Self { resource, key, action, on_refusal: OnRefusal::Retry, done_event: None, refused_event: None }
    }

    /// Records this Event about the plan's object once the change is done. `{name}` in its message stands for the written object's name,
    /// which the server may have made up.
    #[must_use]
    pub fn with_event(mut self, event: PlanEvent) -> Self {
        self.done_event = Some(event);
        self
    }

    /// Records this Event about the plan's object if the change is refused. `{error}` in its message stands for the server's words.
    #[must_use]
    pub fn or_event(mut self, event: PlanEvent) -> Self {
        self.refused_event = Some(event);
        self
    }

    /// Deletes the object only in the very version that was cached; another version is a conflict.
    #[must_use]
    pub fn as_cached(mut self) -> Self {
        if let Action::Delete(deletion) = &mut self.action {
            deletion.is_exact = true;
        }
        self
    }

    /// Sets the condition that a refusal of this change means.
    #[must_use]
    pub fn or_condition(mut self, condition: Condition) -> Self {
        self.on_refusal = OnRefusal::Set(condition);
        self
    }

    /// Removes a map entry or field along with an overlay: the names from the object's root to it.
    #[must_use]
    pub fn removing(mut self, path: &[&str]) -> Self {
        if let Action::Overlay { desired, .. } = &mut self.action {
            set_null(desired, path);
        }
        self
    }

    /// Sends an overlay to a subresource (`status`, `finalize`, `scale`) instead of the object itself. Towards `status` only the status is sent;
    /// the base of an overlay of `scale` is the `Scale`.
    #[must_use]
    pub fn to_subresource(mut self, name: &'static str) -> Self {
        if let Action::Overlay { subresource, .. } = &mut self.action {
            *subresource = Some(name);
        }
        self
    }

    /// Sets how long a deleted Pod may take to end, in seconds; 0 removes it at once.
    #[must_use]
    pub fn with_grace_period_s(mut self, seconds: u32) -> Self {
        if let Action::Delete(deletion) = &mut self.action {
            deletion.grace_period_s = Some(seconds);
        }
        self
    }

    /// Sets what a deletion does to the objects that this one owns.
    #[must_use]
    pub fn with_propagation(mut self, policy: PropagationPolicy) -> Self {
        if let Action::Delete(deletion) = &mut self.action {
            deletion.propagation = Some(policy);
        }
        self
    }

    /// The object that is written. Its name is empty when the server makes it up.
    pub fn target(&self) -> ObjectRef {
        ObjectRef { kind: GroupKind::from(&self.resource), key: self.key.clone() }
    }
}

fn json(object: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(object).map_err(|error| error.to_string())
}

/// An object as it may be shown to people: what a Secret holds stays out.
pub(crate) fn shown<'v>(resource: &ApiResource, object: &'v Value) -> Cow<'v, Value> {
    if !resource.group.is_empty() || resource.kind != "Secret" {
        return Cow::Borrowed(object);
    }
    let mut shown = object.clone();
    for field in ["data", "stringData"] {
        let held = shown.get_mut(field).and_then(Value::as_object_mut);
        held.into_iter().flat_map(|held| held.values_mut()).for_each(|value| *value = Value::from("(secret)"));
    }
    Cow::Owned(shown)
}

fn set_null(value: &mut Value, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    if let Value::Object(fields) = value {
        let field = fields.entry(*first).or_insert(Value::Null);
        if rest.is_empty() {
            *field = Value::Null;
        } else {
            if !field.is_object() {
                *field = Value::Object(serde_json::Map::new());
            }
            set_null(field, rest);
        }
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let target = self.target();
        match &self.action {
            Action::Create { object } => {
                map.serialize_entry("create", &target)?;
                map.serialize_entry("object", &*shown(&self.resource, object))?;
            }
            Action::Overlay { desired, subresource, .. } => {
                map.serialize_entry("overlay", &target)?;
                if let Some(subresource) = subresource {
                    map.serialize_entry("subresource", subresource)?;
                }
                map.serialize_entry("fields", &*shown(&self.resource, desired))?;
            }
            Action::Merge { fields } => {
                map.serialize_entry("merge", &target)?;
                map.serialize_entry("fields", &*shown(&self.resource, fields))?;
            }
            Action::Delete(deletion) => {
                map.serialize_entry("delete", &target)?;
                if let Some(seconds) = deletion.grace_period_s {
                    map.serialize_entry("gracePeriodSeconds", &seconds)?;
                }
                if let Some(policy) = &deletion.propagation {
                    map.serialize_entry("propagationPolicy", policy)?;
                }
            }
            Action::DeleteCollection => map.serialize_entry("deleteCollection", &target)?,
            Action::Post { subresource, body } => {
                map.serialize_entry("post", &target)?;
                map.serialize_entry("subresource", subresource)?;
                map.serialize_entry("body", body)?;
            }
            Action::Broken { reason } => {
                map.serialize_entry("broken", &target)?;
                map.serialize_entry("reason", reason)?;
            }
        }
        if let OnRefusal::Set(condition) = &self.on_refusal {
            map.serialize_entry("orCondition", condition)?;
        }
        if let Some(event) = &self.done_event {
            map.serialize_entry("event", event)?;
        }
        if let Some(event) = &self.refused_event {
            map.serialize_entry("orEvent", event)?;
        }
        map.end()
    }
}

/// Where Events about the object go: its reference.
pub(crate) fn reference(resource: &ApiResource, key: &Key, uid: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some(resource.api_version.clone()),
        kind: Some(resource.kind.clone()),
        name: Some(key.name().to_owned()),
        namespace: Some(key.namespace().to_owned()).filter(|namespace| !namespace.is_empty()),
        uid: uid.map(str::to_owned),
        ..ObjectReference::default()
    }
}

/// How many changes of each sort a plan has, for one log line.
pub(crate) fn summary(changes: &[Change]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for change in changes {
        let sort = match change.action {
            Action::Create { .. } => "create",
            Action::Overlay { .. } => "overlay",
            Action::Merge { .. } => "merge",
            Action::Delete(_) => "delete",
            Action::DeleteCollection => "deleteCollection",
            Action::Post { .. } => "post",
            Action::Broken { .. } => "broken",
        };
        *counts.entry(sort).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    #[test]
    fn what_a_secret_holds_is_not_printed() {
        let data = json!({"data": {"tls.key": "cHJpdmF0ZQ=="}, "stringData": {"password": "private"}});
        let secret: Secret = serde_json::from_value(data.clone()).unwrap();
        let changes = [Change::create(&secret), Change::overlay_fields(&secret, data.clone())];
        let printed = serde_json::to_string(&changes).unwrap();
        assert!(printed.contains("tls.key") && printed.contains("password"), "{printed}");
        assert!(!printed.contains("private") && !printed.contains("cHJpdmF0ZQ"), "{printed}");
        let map = ApiResource::erase::<ConfigMap>(&());
        assert_eq!(*shown(&map, &data), data);
    }

    #[test]
    fn a_plan_is_printed_for_golden_files() {
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some("c".into()), namespace: Some("n".into()), ..ObjectMeta::default() },
            ..ConfigMap::default()
        };
        let mut plan = Plan::<()>::default();
        plan.changes.push(Change::overlay(&map, &map).removing(&["metadata", "labels", "old"]));
        plan.changes.push(Change::delete(&map).with_grace_period_s(0));
        assert_eq!(
            serde_json::to_value(&plan).unwrap(),
            json!({
                "finalizer": "keep",
                "changes": [
                    {"overlay": "ConfigMap n/c", "fields": {
                        "apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": "c", "namespace": "n", "labels": {"old": null}},
                    }},
                    {"delete": "ConfigMap n/c", "gracePeriodSeconds": 0},
                ],
                "status": null,
            })
        );
    }
}
