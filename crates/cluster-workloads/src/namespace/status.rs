//! A namespace's conditions while it is being deleted.

use base_controller::Condition;
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observe::{Content, Observed};

const DISCOVERY_FAILURE: &str = "NamespaceDeletionDiscoveryFailure";
const PARSING_FAILURE: &str = "NamespaceDeletionGroupVersionParsingFailure";
/// Tells that something could not be deleted.
pub(super) const CONTENT_FAILURE: &str = "NamespaceDeletionContentFailure";
const CONTENT_REMAINING: &str = "NamespaceContentRemaining";
const FINALIZERS_REMAINING: &str = "NamespaceFinalizersRemaining";

/// The status that the facts make.
pub(super) fn status(observed: &Observed, now: Timestamp) -> NamespaceStatus {
    let before = observed.namespace.status.clone().unwrap_or_default();
    let mut status = NamespaceStatus { phase: Some("Terminating".to_owned()), ..before };
    for condition in conditions(observed) {
        set(&mut status, &condition, now);
    }
    status
}

fn conditions(observed: &Observed) -> [Condition; 5] {
    let discovery = observed.failure.as_ref().map(|failure| ("DiscoveryFailed", failure.clone()));
    let remaining = list(&observed.content, resources_left).map(|list| ("SomeResourcesRemain", list));
    let finalizers = list(&observed.content, finalizers_left).map(|list| ("SomeFinalizersRemain", list));
    [
        told(DISCOVERY_FAILURE, discovery, ("ResourcesDiscovered", "All resources successfully discovered")),
        told(PARSING_FAILURE, None, ("ParsedGroupVersions", "All legacy kube types successfully parsed")),
        told(
            CONTENT_FAILURE,
            None,
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        told(
            CONTENT_REMAINING,
            remaining.map(|(reason, list)| (reason, format!("Some resources are remaining: {list}"))),
            ("ContentRemoved", "All content successfully removed"),
        ),
        told(
            FINALIZERS_REMAINING,
            finalizers.map(|(reason, list)| {
                (reason, format!("Some content in the namespace has finalizers remaining: {list}"))
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
}

/// A condition that is true for a reason, or false for want of one.
fn told(type_: &str, trouble: Option<(&str, String)>, fine: (&str, &str)) -> Condition {
    let is_trouble = trouble.is_some();
    let (reason, message) = trouble.unwrap_or((fine.0, fine.1.to_owned()));
    let status = if is_trouble { "True" } else { "False" };
    Condition { type_: type_.to_owned(), status: status.to_owned(), reason: reason.to_owned(), message }
}

/// What the kinds have to tell, if any has.
fn list(content: &[Content], tell: fn(&Content) -> Vec<String>) -> Option<String> {
    let told: Vec<String> = content.iter().flat_map(tell).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn resources_left(content: &Content) -> Vec<String> {
    let resource = &content.kind.resource;
    let count = content.count.filter(|count| *count > 0);
    count
        .map(|count| format!("{}.{} has {count} resource instances", resource.plural, resource.group))
        .into_iter()
        .collect()
}

fn finalizers_left(content: &Content) -> Vec<String> {
    content.finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect()
}

/// Sets a condition; its time is that of the last transition.
pub(super) fn set(status: &mut NamespaceStatus, condition: &Condition, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let new = NamespaceCondition {
        type_: condition.type_.clone(),
        status: condition.status.clone(),
        reason: Some(condition.reason.clone()),
        message: Some(condition.message.clone()),
        last_transition_time: Some(Time(now)),
    };
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        None => conditions.push(new),
        Some(known) if known.status == new.status => {
            *known = NamespaceCondition { last_transition_time: known.last_transition_time.clone(), ..new };
        }
        Some(known) => *known = new,
    }
}

/// Whether two statuses say the same, whenever they began to.
pub(super) fn is_same(a: &NamespaceStatus, b: &NamespaceStatus) -> bool {
    let timeless = |status: &NamespaceStatus| {
        let mut status = status.clone();
        status.conditions.iter_mut().flatten().for_each(|condition| condition.last_transition_time = None);
        status
    };
    timeless(a) == timeless(b)
}
