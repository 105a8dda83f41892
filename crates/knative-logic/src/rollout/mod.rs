//! Gradual rollout: a new revision gets one percent, and when that works the rest step by step.
//!
//! Only targets that follow a Configuration's latest revision roll out. The state is kept in an
//! annotation of the Route's Ingress, in Knative's form, so that nothing is lost between two looks.
//!
//! ```text
//! goal (from the Route) + previous (from the annotation) ─step─► what to serve now, and when to look again
//!                         previous ─observe_ready─► how large and how long the steps are
//! ```
//!
//! The first percent is given when the revision appears. How long the network took to serve it
//! says how short a step can be. Each step takes from the newest of the older revisions first;
//! several revisions can be on their way at once. The shares of a target always sum to its own.

mod step;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

const NANOS: f64 = 1e9;

/// The state of all targets of a Route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollout {
    /// Sorted by tag, then by Configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configurations: Vec<ConfigurationRollout>,
}

/// The state of one Configuration under one tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigurationRollout {
    /// The Configuration.
    pub configuration_name: String,
    /// The tag; empty for the Route's own host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// Its share of the traffic.
    pub percent: i64,
    /// Its revisions, oldest first; one if nothing rolls out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionRollout>,
    /// How it rolls out.
    pub step_params: StepParams,
}

/// A revision and its share of the Route's traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RevisionRollout {
    /// The revision.
    pub revision_name: String,
    /// Its share.
    pub percent: i64,
}

/// When the next step is, and how large. Times are nanoseconds since the Unix epoch; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StepParams {
    /// When the first percent was given.
    #[serde(rename = "starttime", skip_serializing_if = "is_zero")]
    pub start_time_ns: i64,
    /// When the next step is due.
    #[serde(rename = "nextStepTime", skip_serializing_if = "is_zero")]
    pub next_step_time_ns: i64,
    /// How long a step lasts.
    #[serde(rename = "stepDuration", skip_serializing_if = "is_zero")]
    pub step_duration_ns: i64,
    /// How many percent move in a step.
    #[serde(skip_serializing_if = "is_zero")]
    pub step_size: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl ConfigurationRollout {
    /// Whether all traffic has arrived.
    pub fn is_done(&self) -> bool {
        self.revisions.len() < 2
    }

    fn key(&self) -> (&str, &str) {
        (&self.tag, &self.configuration_name)
    }

    /// Whether the shares add up. A step may be larger than the share: the share may have been
    /// made smaller since the step was computed (Knative then forgets the rollout).
    fn is_valid(&self) -> bool {
        let sum = self.revisions.iter().try_fold(0_i64, |sum, revision| sum.checked_add(revision.percent));
        let each = self.revisions.iter().all(|revision| (0..=100).contains(&revision.percent));
        (0..=100).contains(&self.percent) && self.step_params.step_size >= 0 && each && sum == Some(self.percent)
    }
}

impl Rollout {
    /// Reads the annotation; `None` if it is absent, broken or does not add up.
    pub fn from_annotation(text: &str) -> Option<Self> {
        let rollout: Self = serde_json::from_str(text).ok()?;
        rollout.configurations.iter().all(ConfigurationRollout::is_valid).then_some(rollout)
    }

    /// The text for the annotation.
    pub fn to_annotation(&self) -> String {
        // Strings and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether all traffic has arrived everywhere.
    pub fn is_done(&self) -> bool {
        self.configurations.iter().all(ConfigurationRollout::is_done)
    }

    /// The state of a Configuration under a tag.
    pub fn find(&self, tag: &str, configuration: &str) -> Option<&ConfigurationRollout> {
        self.configurations.iter().find(|held| held.key() == (tag, configuration))
    }

    /// The network serves the first percent: what begins now gets its steps. `duration` is how long
    /// the whole is to take.
    pub fn observe_ready(&mut self, duration: SignedDuration, now: Timestamp) {
        for rollout in &mut self.configurations {
            if rollout.step_params.step_duration_ns == 0 && rollout.step_params.start_time_ns > 0 {
                rollout.set_steps(duration.as_secs_f64(), now);
            }
        }
    }

    /// What is served now and when to look again, from what is to be served in the end (`self`) and
    /// what was served before.
    pub fn step(self, previous: Option<&Self>, now: Timestamp) -> (Self, Option<Timestamp>) {
        let Some(previous) = previous.filter(|previous| !previous.configurations.is_empty()) else {
            return (self, None);
        };
        let now_ns = nanos(now);
        let stepped = |goal: ConfigurationRollout| {
            let held = previous.find(&goal.tag, &goal.configuration_name).cloned();
            match held {
                Some(held) if goal.percent > 1 => step::step(goal, held, now_ns),
                _ => goal,
            }
        };
        let configurations: Vec<_> =
            self.configurations.into_iter().filter(|goal| goal.percent > 0).map(stepped).collect();
        let next = configurations.iter().map(|c| c.step_params.next_step_time_ns).filter(|time| *time > 0).min();
        let next = next.and_then(|time| Timestamp::from_nanosecond(i128::from(time)).ok());
        (Self { configurations }, next)
    }
}

fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
