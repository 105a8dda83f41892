//! What happens to one revision, and what is answered, as `tools/autoscaler-oracle` reads and writes it.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::question::{Difference, Question};
use crate::{compare, generate};

/// What happens to one revision. Times are in milliseconds since a full minute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Trace {
    pub(crate) settings: Settings,
    /// When it is seen first.
    pub(crate) begin: i64,
    /// How many of its pods are ready then.
    pub(crate) ready: i32,
    pub(crate) steps: Vec<Step>,
}

impl Question for Trace {
    const NAME: &'static str = "trace";
    type Answer = Answer;

    fn draw(seed: u64, number: u64) -> Self {
        generate::trace(seed, number)
    }

    fn compare(&self, answer: &Answer) -> anyhow::Result<Vec<Difference>> {
        compare::compare(self, answer)
    }

    fn points(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.act, Act::Tick {})).count()
    }

    fn parts(&self) -> usize {
        let of_step = |step: &Step| if let Act::Update(settings) = &step.act { settings.parts() } else { 0 };
        self.settings.parts() + self.steps.iter().map(|step| 1 + of_step(step)).sum::<usize>()
    }

    fn without(&self, parts: &Range<usize>) -> Self {
        let mut fewer = self.clone();
        let mut at = fewer.settings.leave_out(parts, 0);
        fewer.steps.retain_mut(|step| {
            let is_kept = !parts.contains(&at);
            at += 1;
            if let Act::Update(settings) = &mut step.act {
                at = settings.leave_out(parts, at);
            }
            is_kept
        });
        fewer
    }
}

impl Settings {
    /// How many parts of them can be left out.
    pub(crate) fn parts(&self) -> usize {
        self.config.len() + self.annotations.len()
    }

    /// Leaves out those of these numbers, of which theirs begin with `at`; the number after theirs.
    pub(crate) fn leave_out(&mut self, parts: &Range<usize>, mut at: usize) -> usize {
        for map in [&mut self.config, &mut self.annotations] {
            map.retain(|_, _| {
                at += 1;
                !parts.contains(&(at - 1))
            });
        }
        at
    }
}

/// What the operator and the revision ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    /// The data of config-autoscaler.
    pub(crate) config: BTreeMap<String, String>,
    /// All of them.
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) container_concurrency: i64,
    pub(crate) reachability: &'static str,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Step {
    pub(crate) at: i64,
    #[serde(flatten)]
    pub(crate) act: Act,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Act {
    /// Pods or activator report.
    Stat(Report),
    /// Ready pods are found to have nothing to report.
    Silence {},
    /// So many pods are ready now.
    Ready(i32),
    /// The settings change.
    Update(Settings),
    /// It is time to decide.
    Tick {},
}

/// What is reported, `late` by some milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) concurrency: f64,
    pub(crate) proxied_concurrency: f64,
    pub(crate) requests: f64,
    pub(crate) proxied_requests: f64,
    pub(crate) late: i64,
}

/// What is made of a trace.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Answer {
    /// Of the settings at the beginning and after each update.
    pub(crate) specs: Vec<Spec>,
    /// What is assumed before anything is measured.
    pub(crate) unknown: Decision,
    /// One for each tick.
    pub(crate) ticks: Vec<Tick>,
}

/// What follows from settings alone. Durations are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) metric: String,
    pub(crate) target: f64,
    pub(crate) total: f64,
    pub(crate) target_burst_capacity: f64,
    pub(crate) activator_capacity: f64,
    pub(crate) panic_threshold: f64,
    pub(crate) max_scale_up_rate: f64,
    pub(crate) max_scale_down_rate: f64,
    pub(crate) stable_window: i64,
    pub(crate) panic_window: i64,
    pub(crate) scale_down_delay: i64,
    pub(crate) initial_scale: i32,
    pub(crate) activation_scale: i32,
    pub(crate) reachable: bool,
    pub(crate) min_scale: i32,
    pub(crate) max_scale: i32,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision {
    pub(crate) desired: i32,
    pub(crate) excess_burst_capacity: i32,
}

/// What is measured and decided at one time; nothing where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Tick {
    pub(crate) averages: Option<Averages>,
    pub(crate) decision: Option<Decision>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(crate) struct Averages {
    pub(crate) stable: f64,
    pub(crate) panic: f64,
}
