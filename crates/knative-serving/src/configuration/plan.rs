//! Which Revision there should be, and which one is ready.

use std::sync::Arc;

use base_controller::{Change, Condition, Key, ObjectRef, Plan, PlanEvent};
use jiff::Timestamp;
use knative_apis::condition::{Conditioned, ConditionedStatus, READY};
use knative_apis::go_text::quote;
use knative_apis::meta::{label, label_value, owner};
use knative_apis::serving::v1::{Configuration, ConfigurationStatus, Revision};
use knative_apis::validation::semantically_equal;
use kube::ResourceExt;

use super::observe::Observed;
use super::resources::{generation_label, make_revision, revision_name, template_name};
use super::status;
use crate::status::{begin, end};

/// The latest Revision, as far as it is there.
enum Latest {
    /// It is there.
    Made(Arc<Revision>),
    /// It has to be made.
    Missing,
    /// Its name belongs to something else.
    Taken(String),
}

/// Decides.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Plan<ConfigurationStatus> {
    let configuration = &*observed.configuration;
    let mut plan = Plan::new(begin(configuration, now));
    let name = revision_name(configuration);
    plan.track =
        vec![ObjectRef::new::<Revision>(Key::new(configuration.namespace().unwrap_or_default(), name.as_str()))];
    match latest(observed) {
        Latest::Made(revision) => follow(&mut plan, observed, &revision, now),
        Latest::Missing => {
            plan.changes.push(create(&make_revision(configuration, now), &name));
            plan.status.set_latest_created(&name, now);
            set_latest_ready(&mut plan, observed, None, now);
        }
        Latest::Taken(problem) => plan.status.mark_revision_creation_failed(&problem, now),
    }
    end(configuration, &mut plan.status);
    plan
}

/// Makes the Revision, with Knative's words for its refusal.
fn create(revision: &Revision, name: &str) -> Change {
    let refused = Condition {
        type_: READY.to_owned(),
        status: "False".to_owned(),
        reason: "RevisionFailed".to_owned(),
        message: "Revision creation failed with message: {error}.".to_owned(),
    };
    Change::create(revision)
        .or_condition(refused)
        .with_event(PlanEvent::normal("Created", format!("Created Revision {}", quote(name))))
        .or_event(PlanEvent::warning("CreationFailed", "Failed to create Revision: {error}"))
}

fn latest(observed: &Observed) -> Latest {
    let configuration = &*observed.configuration;
    match (&observed.named, template_name(configuration)) {
        (Some(named), Some(_)) if is_current(named, configuration) => Latest::Made(Arc::clone(named)),
        (Some(named), Some(_)) => Latest::Taken(already_exists(named)),
        (None, Some(_)) => Latest::Missing,
        (named, None) => match of_generation(observed, &generation_label(configuration)) {
            Some(revision) => Latest::Made(Arc::clone(revision)),
            None => named.as_ref().map_or(Latest::Missing, |named| Latest::Taken(already_exists(named))),
        },
    }
}

/// Whether a Revision that has the template's name is what the template means.
///
/// Its labels and annotations do not count: a user may have changed them since.
pub(crate) fn is_current(named: &Revision, configuration: &Configuration) -> bool {
    if !owner::is_controlled_by(&named.metadata, &configuration.metadata) {
        return false;
    }
    let generation = label_value(&named.metadata, label::CONFIGURATION_GENERATION);
    generation == Some(&generation_label(configuration))
        || semantically_equal(&configuration.spec.template.spec, &named.spec)
}

/// The words of an API server.
fn already_exists(revision: &Revision) -> String {
    format!("revisions.serving.knative.dev {} already exists", quote(&revision.name_any()))
}

fn of_generation<'a>(observed: &'a Observed, generation: &str) -> Option<&'a Arc<Revision>> {
    let is_meant = |revision: &&Arc<Revision>| {
        label_value(&revision.metadata, label::CONFIGURATION_GENERATION) == Some(generation)
    };
    observed.revisions.iter().find(is_meant)
}

/// The latest Revision is there: says how it is.
fn follow(plan: &mut Plan<ConfigurationStatus>, observed: &Observed, latest: &Revision, now: Timestamp) {
    let was_ready_once = !plan.status.latest_ready_revision_name.is_empty();
    plan.status.set_latest_created(&latest.name_any(), now);
    match latest.status.condition(READY) {
        Some(ready) if ready.is_true() && !was_ready_once => {
            plan.events.push(PlanEvent::normal("ConfigurationReady", "Configuration becomes ready"));
        }
        Some(ready) if ready.is_false() => {
            let statuses = (&observed.configuration.status, &mut plan.status);
            plan.events.extend(status::mark_failed(statuses, &latest.name_any(), &ready.message, now));
        }
        _ => {}
    }
    set_latest_ready(plan, observed, Some(latest), now);
}

/// Moves `latestReadyRevisionName` to the first ready candidate.
fn set_latest_ready(
    plan: &mut Plan<ConfigurationStatus>,
    observed: &Observed,
    latest: Option<&Revision>,
    now: Timestamp,
) {
    let candidates = candidates(observed, latest);
    let Some(ready) = candidates.iter().find(|revision| revision.is_ready()) else { return };
    let name = ready.name_any();
    if plan.status.latest_ready_revision_name != name {
        let message = format!("LatestReadyRevisionName updated to {}", quote(&name));
        plan.events.push(PlanEvent::normal("LatestReadyUpdate", message));
    }
    plan.status.set_latest_ready(&name, now);
}

/// The Revisions that may be the latest ready one: those from the last ready one's generation to the current, newest first; before all one
/// that the template names.
fn candidates(observed: &Observed, latest: Option<&Revision>) -> Vec<Arc<Revision>> {
    let configuration = &*observed.configuration;
    let chosen = template_name(configuration);
    let of_choice = latest.filter(|_| chosen.is_some()).and_then(generation);
    let from = observed
        .revisions
        .iter()
        .find(|revision| revision.name_any() == configuration.status.latest_ready_revision_name)
        .map(|revision| generation(revision).unwrap_or(configuration.generation()));
    let is_candidate = |revision: &&Arc<Revision>| match (from, generation(revision)) {
        (None, _) => true,
        (Some(from), Some(own)) => (from..=configuration.generation()).contains(&own) || of_choice == Some(own),
        (Some(_), None) => false,
    };
    let mut candidates: Vec<_> = observed.revisions.iter().filter(is_candidate).map(Arc::clone).collect();
    candidates.sort_by_key(|revision| {
        let is_chosen = chosen.is_some_and(|chosen| chosen == revision.name_any());
        (std::cmp::Reverse(is_chosen), std::cmp::Reverse(generation(revision)))
    });
    candidates
}

fn generation(revision: &Revision) -> Option<i64> {
    label_value(&revision.metadata, label::CONFIGURATION_GENERATION)?.parse().ok()
}
