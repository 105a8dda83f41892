//! Conditions: what an object says about itself, and how `Ready` follows from the rest.
//!
//! A [`ConditionSet`] names the *dependents*, the conditions that together make `Ready`. Marking a
//! dependent recomputes `Ready`; any other condition is information (severity `Info`) and leaves
//! it alone. The rules are those of Knative's living condition set:
//!
//! ```text
//! mark_false(dependent)    dependent False, Ready False with the same reason and message
//! mark_unknown(dependent)  dependent Unknown; Ready the same, unless a dependent is False
//! mark_true(dependent)     Ready follows the latest False dependent, else an Unknown one, else True
//! ```
//!
//! Invariants: conditions are sorted by type; a condition that says the same keeps its
//! `lastTransitionTime`, so marking twice writes nothing. Times have whole seconds, as the API
//! stores them: a status computed again equals the stored one.

mod manager;
mod set;
#[cfg(test)]
mod tests;

pub use manager::ConditionManager;
pub use set::ConditionSet;

use crate::serde_util::{is_default, null_default};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_core::Resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The condition that sums up an object.
pub const READY: &str = "Ready";

/// The reason of `Ready` while a new generation has not been reconciled to the end.
pub const NEW_GENERATION_REASON: &str = "NewObservedGenFailure";
const NEW_GENERATION_MESSAGE: &str = "unsuccessfully observed a new generation";

/// One aspect of an object's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["status", "type"]))]
pub struct Condition {
    /// Type of condition.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub type_: String,
    /// Status of the condition, one of True, False, Unknown.
    #[serde(deserialize_with = "null_default")]
    pub status: ConditionStatus,
    /// How to read a condition that is not True: empty is an error, otherwise Warning or Info.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub severity: Severity,
    /// When the condition last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub last_transition_time: Option<Time>,
    /// Why, as one word.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, for people.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold, and will not by waiting.
    False,
    /// It is being worked on.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How much a condition matters when it does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// The object is not ready without it; written as nothing.
    #[default]
    #[serde(rename = "")]
    Error,
    /// Something a person should look at.
    Warning,
    /// Information only.
    #[serde(other)]
    Info,
}

// In the API both are plain strings: a schema with an enum would refuse what a newer version says.
macro_rules! schema_as_string {
    ($($type:ty),+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                String::schema_name()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                String::json_schema(generator)
            }
            fn inline_schema() -> bool {
                true
            }
        }
    )+};
}
schema_as_string!(ConditionStatus, Severity);

impl Condition {
    /// Whether the condition holds.
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }

    /// Whether the condition does not hold.
    pub fn is_false(&self) -> bool {
        self.status == ConditionStatus::False
    }

    /// Whether the condition is neither true nor false.
    pub fn is_unknown(&self) -> bool {
        self.status == ConditionStatus::Unknown
    }

    /// When it last changed, if it says so.
    pub fn since(&self) -> Option<Timestamp> {
        self.last_transition_time.as_ref().map(|time| time.0)
    }

    /// Whether two conditions say the same, whenever they began to.
    fn says_the_same(&self, other: &Self) -> bool {
        self.type_ == other.type_
            && self.status == other.status
            && self.severity == other.severity
            && self.reason == other.reason
            && self.message == other.message
    }
}

/// A status that carries conditions.
pub trait ConditionedStatus {
    /// Which of its conditions make `Ready`.
    const CONDITION_SET: ConditionSet;

    /// The conditions, sorted by type.
    fn conditions(&self) -> &[Condition];
    /// The conditions, to be changed by a [`ConditionManager`].
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
    /// The generation that was last reconciled; 0 before the first.
    fn observed_generation(&self) -> i64;
    /// Says that a generation was reconciled.
    fn set_observed_generation(&mut self, generation: i64);

    /// The condition of a type, if it is there.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions().iter().find(|condition| condition.type_ == type_)
    }

    /// Whether the condition is there and True.
    fn is_true(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(Condition::is_true)
    }

    /// Whether the condition is there and False.
    fn is_false(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(Condition::is_false)
    }

    /// Whether the condition is there and Unknown.
    fn is_unknown(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(Condition::is_unknown)
    }

    /// Changes conditions as of `now`.
    fn manage(&mut self, now: Timestamp) -> ConditionManager<'_> {
        ConditionManager::new(Self::CONDITION_SET, self.conditions_mut(), now)
    }

    /// Begins a reconcile of `generation`: every dependent has a value, and `Ready` is Unknown
    /// until this generation has been looked at.
    fn begin(&mut self, generation: i64, now: Timestamp) {
        self.manage(now).initialize();
        if self.observed_generation() != generation {
            let happy = Self::CONDITION_SET.happy();
            self.manage(now).mark_unknown(happy, NEW_GENERATION_REASON, NEW_GENERATION_MESSAGE);
        }
    }
}

/// A kind whose status carries conditions.
pub trait Conditioned: Resource {
    /// The type of its status.
    type Status: ConditionedStatus;

    /// The status.
    fn status(&self) -> &Self::Status;
    /// The status, to be changed.
    fn status_mut(&mut self) -> &mut Self::Status;

    /// The generation of the spec; 0 for an object that was never stored.
    fn generation(&self) -> i64 {
        self.meta().generation.unwrap_or_default()
    }

    /// Whether its status is about the current spec.
    fn is_observed(&self) -> bool {
        self.status().observed_generation() == self.generation()
    }

    /// Whether it is ready, as of the current spec.
    fn is_ready(&self) -> bool {
        self.is_observed() && self.status().is_true(READY)
    }

    /// Whether it failed, as of the current spec.
    fn is_failed(&self) -> bool {
        self.is_observed() && self.status().is_false(READY)
    }
}
