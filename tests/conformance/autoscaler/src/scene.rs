//! One PodAutoscaler and all that its reconciliation looks at, and what comes of it: replicas, who stands in front of the pods, the status.
//!
//! Kwick's side is `knative_logic::scale` as the plan of the PodAutoscaler calls it.

use std::ops::Range;

use anyhow::Result;
use jiff::SignedDuration;
use knative_apis::autoscaling::{ACTIVE, PodAutoscaler};
use knative_apis::condition::{ConditionStatus, ConditionedStatus as _};
use knative_apis::networking::ServerlessServiceMode;
use knative_logic::scale::apply::{Facts, activators, scale, serverless_service_mode};
use knative_logic::scale::status::update;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::generate;
use crate::kwick::{Applied, time};
use crate::question::{Cause, Difference, Question, Sort};
use crate::trace::{Decision, Settings};

/// A PodAutoscaler and what it is judged by. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scene {
    pub(crate) settings: Settings,
    /// Of config-deployment.
    pub(crate) progress_deadline: i64,
    /// What it says, and for how long.
    pub(crate) active: Active,
    pub(crate) active_for: i64,
    pub(crate) initialized: bool,
    pub(crate) desired_scale: Option<i32>,
    pub(crate) service_name: &'static str,
    /// Of its ServerlessService, and for how long it has led to the activator, if it does.
    pub(crate) mode: &'static str,
    pub(crate) activators: i32,
    pub(crate) proxied_for: Option<i64>,
    pub(crate) service_ready: bool,
    /// Of its Deployment.
    pub(crate) replicas: i32,
    pub(crate) ready: i32,
    /// What the autoscaler has decided.
    pub(crate) decision: Decision,
    /// Whether the activator answers on the public Service.
    pub(crate) activator_answers: bool,
}

/// The condition of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Active {
    pub(crate) status: ConditionStatus,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    replicas: i32,
    mode: String,
    activators: i32,
    desired_scale: Option<i32>,
    actual_scale: Option<i32>,
    active: Active,
    initialized: bool,
}

impl Question for Scene {
    const NAME: &'static str = "scene";
    type Answer = Outcome;

    fn draw(seed: u64, number: u64) -> Self {
        generate::scene(seed, number)
    }

    fn compare(&self, theirs: &Outcome) -> Result<Vec<Difference>> {
        let applied = Applied::new(&self.settings)?;
        let mine = self.outcome(&applied)?;
        if mine == *theirs {
            return Ok(Vec::new());
        }
        let sort = match self.cause(&applied, &mine, theirs) {
            Some(cause) => Sort::Caused(cause),
            None => Sort::unexplained(format!("what is done: {}", differing(&mine, theirs))),
        };
        Ok(vec![Difference::new(sort, None, &mine, theirs)])
    }

    fn points(&self) -> usize {
        1
    }

    fn parts(&self) -> usize {
        self.settings.parts()
    }

    fn without(&self, parts: &Range<usize>) -> Self {
        let mut fewer = self.clone();
        fewer.settings.leave_out(parts, 0);
        fewer
    }
}

impl Scene {
    /// What Kwick does.
    fn outcome(&self, applied: &Applied) -> Result<Outcome> {
        let now = time(0);
        let mut autoscaler = self.autoscaler(applied)?;
        let before = ServerlessServiceMode::from(self.mode);
        let facts = Facts {
            config: &applied.config,
            progress_deadline: SignedDuration::from_secs(self.progress_deadline),
            proxy_for: SignedDuration::from_secs(self.proxied_for.unwrap_or(0)),
            is_proxied: before == ServerlessServiceMode::Proxy,
            activator_answers: self.activator_answers,
            replicas: self.replicas,
        };
        let decision = knative_logic::scale::Decision {
            desired: self.decision.desired,
            excess_burst_capacity: self.decision.excess_burst_capacity,
        };
        let done = scale(&autoscaler, decision.desired, &facts, now);
        let mode = serverless_service_mode(&autoscaler, done.want, &decision, &before);
        "revision".clone_into(&mut autoscaler.status.service_name);
        update(&mut autoscaler, done.want, self.ready, &applied.config, now);
        let status = &autoscaler.status;
        let active = status.condition(ACTIVE).map(|active| Active {
            status: active.status,
            reason: active.reason.clone(),
            message: active.message.clone(),
        });
        Ok(Outcome {
            replicas: done.replicas.unwrap_or(self.replicas),
            mode: mode.to_string(),
            activators: activators(self.ready, &applied.decider),
            desired_scale: status.desired_scale,
            actual_scale: status.actual_scale,
            active: active.unwrap_or_default(),
            initialized: status.is_scale_target_initialized(),
        })
    }

    fn autoscaler(&self, applied: &Applied) -> Result<PodAutoscaler> {
        let mut autoscaler = applied.autoscaler.clone();
        let since = time(-1000 * self.active_for).to_string();
        let initialized = if self.initialized { "True" } else { "Unknown" };
        autoscaler.status = serde_json::from_value(json!({
            "serviceName": self.service_name,
            "desiredScale": self.desired_scale,
            "conditions": [
                {
                    "type": "Active", "status": self.active.status, "reason": self.active.reason,
                    "message": self.active.message, "lastTransitionTime": since,
                },
                {"type": "ScaleTargetInitialized", "status": initialized, "lastTransitionTime": since},
            ],
        }))?;
        Ok(autoscaler)
    }

    /// What explains a difference, if anything does.
    fn cause(&self, applied: &Applied, mine: &Outcome, theirs: &Outcome) -> Option<Cause> {
        let is_held_at_initial_scale =
            !applied.decider.reachable && !self.initialized && applied.decider.initial_scale > 1;
        let is_kept = self.decision.desired < 0
            && self.active.status != ConditionStatus::False
            && mine.mode == self.mode
            && theirs.mode == "Proxy"
            && Outcome { mode: theirs.mode.clone(), ..mine.clone() } == *theirs;
        if is_kept {
            Some(Cause::ModeKept)
        } else if is_held_at_initial_scale {
            Some(Cause::UnreachableInitialScale)
        } else {
            None
        }
    }
}

/// The first field in which they differ.
fn differing(mine: &Outcome, theirs: &Outcome) -> &'static str {
    [
        ("replicas", mine.replicas != theirs.replicas),
        ("mode", mine.mode != theirs.mode),
        ("activators", mine.activators != theirs.activators),
        ("desired scale", mine.desired_scale != theirs.desired_scale),
        ("actual scale", mine.actual_scale != theirs.actual_scale),
        ("Active", mine.active != theirs.active),
    ]
    .into_iter()
    .find_map(|(name, is_other)| is_other.then_some(name))
    .unwrap_or("ScaleTargetInitialized")
}
