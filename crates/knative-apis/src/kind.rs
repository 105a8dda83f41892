//! Makes a struct of `metadata`, `spec` and `status` a Kubernetes kind.
//!
//! The struct stays plain; what is written here once is what every kind shares: its name in the
//! API, and that `apiVersion` and `kind` are written although they are not stored.

/// Implements [`kube_core::Resource`] and `Serialize` for a struct with the named parts.
///
/// `knative_kind!(Service, "serving.knative.dev", "v1", "services", Namespaced, [spec, status])`
macro_rules! knative_kind {
    ($kind:ident, $group:literal, $version:literal, $plural:literal, $scope:ident, [$($part:ident),+]) => {
        impl kube_core::Resource for $kind {
            type DynamicType = ();
            type Scope = $crate::kind::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let fields = 3 $(+ { let _ = stringify!($part); 1 })+;
                let mut out = serializer.serialize_struct(stringify!($kind), fields)?;
                out.serialize_field("apiVersion", concat!($group, "/", $version))?;
                out.serialize_field("kind", stringify!($kind))?;
                out.serialize_field("metadata", &self.metadata)?;
                $(out.serialize_field(stringify!($part), &self.$part)?;)+
                out.end()
            }
        }
    };
}

/// Implements [`crate::condition::ConditionedStatus`] for a status with `conditions` and
/// `observed_generation`, and [`crate::condition::Conditioned`] for its kind.
macro_rules! conditioned {
    ($kind:ident, $status:ident, $dependents:expr) => {
        impl $crate::condition::ConditionedStatus for $status {
            const CONDITION_SET: $crate::condition::ConditionSet = $crate::condition::ConditionSet::living($dependents);

            fn conditions(&self) -> &[$crate::condition::Condition] {
                &self.conditions
            }
            fn conditions_mut(&mut self) -> &mut Vec<$crate::condition::Condition> {
                &mut self.conditions
            }
            fn observed_generation(&self) -> i64 {
                self.observed_generation
            }
            fn set_observed_generation(&mut self, generation: i64) {
                self.observed_generation = generation;
            }
        }

        impl $crate::condition::Conditioned for $kind {
            type Status = $status;

            fn status(&self) -> &$status {
                &self.status
            }
            fn status_mut(&mut self) -> &mut $status {
                &mut self.status
            }
        }
    };
}

pub(crate) use conditioned;
pub(crate) use knative_kind;

pub(crate) type Namespaced = kube_core::NamespaceResourceScope;
pub(crate) type Cluster = kube_core::ClusterResourceScope;
