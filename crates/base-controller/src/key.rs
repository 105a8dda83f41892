//! How objects are named inside this process: a [`Key`] within a kind, an [`ObjectRef`] across kinds.
//!
//! Both are cheap to clone (shared strings), ordered, and printed as `namespace/name`, so that they serve as map keys, in queues and in logs.

use std::fmt;
use std::sync::Arc;

use kube::Resource;
use kube::api::ApiResource;
use serde::{Serialize, Serializer};

/// Namespace and name of an object within its kind. The namespace of a cluster-scoped object is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Key {
    /// The key of the object `name` in `namespace` (empty for a cluster-scoped object).
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of the cluster-scoped object `name`.
    pub fn cluster(name: impl Into<Arc<str>>) -> Self {
        Self::new("", name)
    }

    /// The key of `object`. An object that has no name yet (`generateName`) has an empty one.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }

    /// The namespace; empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A kind of any version: its group (empty for the core group) and kind. Printed as `Deployment.apps`, `Pod`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    group: Arc<str>,
    kind: Arc<str>,
}

impl GroupKind {
    /// The kind `kind` of `group` (empty for the core group).
    pub fn new(group: impl Into<Arc<str>>, kind: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }

    /// The kind of `K`.
    pub fn of<K: Resource<DynamicType: Default>>() -> Self {
        Self::of_with::<K>(&K::DynamicType::default())
    }

    /// The kind of `K` with the given run-time type.
    pub fn of_with<K: Resource>(dyntype: &K::DynamicType) -> Self {
        Self::new(&*K::group(dyntype), &*K::kind(dyntype))
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The kind, such as `Deployment`.
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

impl From<&ApiResource> for GroupKind {
    fn from(resource: &ApiResource) -> Self {
        Self::new(resource.group.as_str(), resource.kind.as_str())
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

impl fmt::Debug for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An object of any kind, whether it exists or not. Printed as `Deployment.apps default/hello`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The object's kind.
    pub kind: GroupKind,
    /// Its name within that kind.
    pub key: Key,
}

impl ObjectRef {
    /// The object of kind `K` with this key.
    pub fn new<K: Resource<DynamicType: Default>>(key: Key) -> Self {
        Self { kind: GroupKind::of::<K>(), key }
    }

    /// A reference to `object`.
    pub fn to<K: Resource<DynamicType: Default>>(object: &K) -> Self {
        Self::new::<K>(Key::of(object))
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ObjectRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;

    #[test]
    fn references_are_printed_as_people_write_them() {
        assert_eq!(
            ObjectRef::new::<Deployment>(Key::new("default", "hello")).to_string(),
            "Deployment.apps default/hello"
        );
        assert_eq!(ObjectRef::new::<Pod>(Key::cluster("x")).to_string(), "Pod x");
    }

    #[test]
    fn keys_are_ordered_by_namespace_first() {
        assert!(Key::new("a", "z") < Key::new("b", "a"));
    }
}
