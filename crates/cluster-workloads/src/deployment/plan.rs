//! Decides the next step of a Deployment.

use base_controller::{Change, Condition, Plan, PlanEvent};
use base_rt::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::observe::Observed;
use super::rollout::Resized;
use super::sets::{self, Sets};
use super::size::Bounds;
use super::{resources, revision, rollout, scale, status};
use crate::objects::claim;
use crate::objects::labels::Matcher;

type DeploymentPlan = Plan<Option<DeploymentStatus>>;

/// The next step. Whatever other steps would have to look at afterwards ends the step: the next pass sees it in the caches.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> DeploymentPlan {
    let deployment = &*observed.deployment;
    let selector = Matcher::new(&deployment.spec.selector);
    if selector.is_void() {
        return selecting_all(deployment);
    }
    let claimed = claim::all(deployment, &selector, &observed.replica_sets);
    if !claimed.changes.is_empty() {
        return only(claimed.changes);
    }
    let is_ending = deployment.metadata.deletion_timestamp.is_some();
    if let Some(status) = status::paused_or_resumed(deployment, now).filter(|_| !is_ending) {
        return Plan::new(Some(status));
    }
    let sets = Sets::split(deployment, &claimed.objects);
    let status = deployment.status.clone().unwrap_or_default();
    let mut step = Step { deployment, sets, status, is_following: false, changes: Vec::new(), now };
    if let Some(new) = step.sets.new {
        if let Some(change) = revision::update_set(deployment, new, revision::next(&step.sets)) {
            return only(vec![change]);
        }
        step.follow(new);
    }
    if is_ending {
        return step.counted();
    }
    if resources::is_paused(deployment) || scale::is_due(deployment, &step.sets) {
        return step.scale();
    }
    if resources::is_recreating(deployment) { step.recreate(observed) } else { step.roll(observed) }
}

fn only(changes: Vec<Change>) -> DeploymentPlan {
    Plan { changes, ..Plan::new(None) }
}

fn selecting_all(deployment: &Deployment) -> DeploymentPlan {
    let mut status = deployment.status.clone().unwrap_or_default();
    status.observed_generation = deployment.metadata.generation;
    let message = "This deployment is selecting all pods. A non-empty selector is required.";
    Plan { events: vec![PlanEvent::warning("SelectingAll", message)], ..Plan::new(Some(status)) }
}

/// A step in the making.
struct Step<'a> {
    deployment: &'a Deployment,
    sets: Sets<'a>,
    /// The status on which the step's one is built.
    status: DeploymentStatus,
    /// The Deployment itself is written; what its sets make of it is counted in the next pass.
    is_following: bool,
    changes: Vec<Change>,
    now: Timestamp,
}

impl Step<'_> {
    /// The Deployment carries its new set's number, and has begun to progress.
    fn follow(&mut self, new: &ReplicaSet) {
        let number = revision::of(new).to_string();
        self.changes.extend(revision::update_deployment(self.deployment, &number));
        if status::has_deadline(self.deployment) && status::condition(&self.status, status::PROGRESSING).is_none() {
            let name = new.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Found new replica set \"{name}\"");
            status::set_condition(&mut self.status, status::progressing("FoundNewReplicaSet", message, self.now));
            self.is_following = true;
        }
        self.is_following |= !self.changes.is_empty();
    }

    fn resize(&mut self, sizes: Vec<Resized<'_>>) {
        let changes = sizes.into_iter().filter_map(|(set, size)| resources::resize(self.deployment, set, size));
        self.changes.extend(changes);
    }

    /// Paused or resized: the sets get their sizes, nothing rolls.
    fn scale(mut self) -> DeploymentPlan {
        self.resize(scale::sizes(self.deployment, &self.sets));
        if resources::is_paused(self.deployment) {
            self.changes.extend(revision::forget(self.deployment, &self.sets));
        }
        self.counted()
    }

    fn roll(mut self, observed: &Observed) -> DeploymentPlan {
        let Some(new) = self.sets.new else { return self.make_new(observed) };
        let size = rollout::new_size(&Bounds::of(self.deployment), &self.sets);
        if size == sets::replicas(new) {
            self.resize(rollout::shrink_old(self.deployment, &self.sets));
            self.forget_if_complete();
        } else {
            self.resize(vec![(new, size)]);
        }
        self.judged()
    }

    fn recreate(mut self, observed: &Observed) -> DeploymentPlan {
        let stopping = rollout::stop_old(&self.sets);
        if !stopping.is_empty() {
            self.resize(stopping);
            return self.judged();
        }
        if self.are_old_pods_running(observed) {
            return self.judged();
        }
        let Some(new) = self.sets.new else { return self.make_new(observed) };
        let wanted = resources::replicas(self.deployment);
        if sets::replicas(new) == wanted {
            self.forget_if_complete();
        } else {
            self.resize(vec![(new, wanted)]);
        }
        self.judged()
    }

    fn are_old_pods_running(&self, observed: &Observed) -> bool {
        let new_uid = self.sets.new.and_then(|new| new.metadata.uid.as_ref());
        self.sets.old.iter().any(|set| sets::status(set).replicas > 0)
            || observed.running_pods.keys().any(|uid| Some(uid) != new_uid)
    }

    /// The set of a template that has none yet. Another object of that name means a collision: the next hash will be another one.
    fn make_new(mut self, observed: &Observed) -> DeploymentPlan {
        if observed.namesake.is_some() {
            self.status.collision_count = Some(self.status.collision_count.unwrap_or_default() + 1);
            return Plan::new(Some(self.status));
        }
        let bounds = Bounds::of(self.deployment);
        let size = if resources::is_recreating(self.deployment) {
            bounds.replicas
        } else {
            rollout::new_size(&bounds, &self.sets)
        };
        let number = revision::next(&self.sets);
        let set = resources::make_replica_set(self.deployment, size, number);
        let name = set.metadata.name.clone().unwrap_or_default();
        self.changes.push(self.creation(&set, &name, size));
        self.changes.extend(revision::update_deployment(self.deployment, &number.to_string()));
        if status::has_deadline(self.deployment) {
            let message = format!("Created new replica set \"{name}\"");
            status::set_condition(&mut self.status, status::progressing("NewReplicaSetCreated", message, self.now));
        }
        Plan { changes: self.changes, ..Plan::new(Some(self.status)) }
    }

    fn creation(&self, set: &ReplicaSet, name: &str, size: i32) -> Change {
        let failed = format!("Failed to create new replica set \"{name}\": {{error}}");
        let mut change = Change::create(set).or_event(PlanEvent::warning("ReplicaSetCreateError", failed.clone()));
        if size > 0 {
            change = change.with_event(resources::scaled(name, 0, size));
        }
        if !status::has_deadline(self.deployment) {
            return change;
        }
        change.or_condition(Condition {
            type_: status::PROGRESSING.to_owned(),
            status: "False".to_owned(),
            reason: "ReplicaSetCreateError".to_owned(),
            message: failed,
        })
    }

    fn forget_if_complete(&mut self) {
        let is_complete =
            self.deployment.status.as_ref().is_some_and(|status| status::is_complete(self.deployment, status));
        if self.changes.is_empty() && is_complete {
            self.changes.extend(revision::forget(self.deployment, &self.sets));
        }
    }

    /// Ends the step with counts alone.
    fn counted(self) -> DeploymentPlan {
        if self.is_following {
            return Plan { changes: self.changes, ..Plan::new(Some(self.status)) };
        }
        let status = status::counted(self.deployment, &self.sets, self.status, self.now);
        Plan { changes: self.changes, ..Plan::new(Some(status)) }
    }

    /// Ends the step with counts and a judgement of the progress.
    fn judged(self) -> DeploymentPlan {
        if self.is_following {
            return Plan { changes: self.changes, ..Plan::new(Some(self.status)) };
        }
        let status = status::judged(self.deployment, &self.sets, self.status, self.now);
        let again = status::again(self.deployment, &status, self.now);
        Plan { changes: self.changes, again, ..Plan::new(Some(status)) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{Row, Rows};

    #[test]
    fn rows() {
        Rows::load("src/deployment/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
    }

    fn planned(row: &Row) -> DeploymentPlan {
        let running: BTreeMap<String, usize> = serde_json::from_value(row.config.clone()).unwrap_or_default();
        let deployment = row.one::<Deployment>();
        let name = resources::replica_set_name(&deployment);
        let sets = row.all::<ReplicaSet>();
        let namesake = sets.iter().find(|set| set.metadata.name.as_ref() == Some(&name)).cloned();
        plan(&Observed { deployment, replica_sets: sets, namesake, running_pods: running }, row.now)
    }
}
