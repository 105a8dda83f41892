//! Traces and scenes from a seed. Nothing here depends on what is answered, so that a seed is the same questions everywhere.

use std::collections::BTreeMap;

use knative_apis::condition::ConditionStatus;
use knative_logic::scale::DeciderSpec;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::kwick::Applied;
use crate::scene::{Active, Scene};
use crate::trace::{Act, Decision, Report, Settings, Step, Trace};

const SECOND: i64 = 1000;
/// How often the autoscaler decides by itself.
const TICK_SECONDS: i64 = 2;

/// What an activation is given beyond its deadline.
const ACTIVATION_BUFFER_SECONDS: i64 = 30;

/// Keys of config-autoscaler and what is set: all that a decision looks at.
const CONFIG: &[(&str, &[&str])] = &[
    ("stable-window", &["6s", "7s", "10s", "30s", "90s", "5m"]),
    ("panic-window-percentage", &["1", "5", "12.5", "33.3", "50", "100"]),
    ("panic-threshold-percentage", &["50", "110", "150", "300", "1000"]),
    ("max-scale-up-rate", &["1.1", "1.5", "2", "3.3", "10"]),
    ("max-scale-down-rate", &["1.1", "1.5", "3.7", "10", "1000"]),
    ("container-concurrency-target-percentage", &["0.7", "1", "55", "80", "100"]),
    ("container-concurrency-target-default", &["1", "1.5", "10", "33", "1000"]),
    ("requests-per-second-target-default", &["0.01", "7.5", "10", "150"]),
    ("target-burst-capacity", &["-1", "0", "0.5", "10", "70", "1000"]),
    ("activator-capacity", &["1", "42.5", "1000"]),
    ("initial-scale", &["2", "5"]),
    ("min-scale", &["1", "2"]),
    ("max-scale", &["3", "50"]),
    ("scale-down-delay", &["0s", "1s", "2s", "5s", "30s", "2m"]),
];

/// Annotations and what is asked. Which is drawn first is spelled in either way.
const ANNOTATIONS: &[(&[&str], &[&str])] = &[
    (&["metric"], &["concurrency", "rps", "rps"]),
    (&["target"], &["0.01", "0.5", "1", "3.3", "10", "100"]),
    (&["target-utilization-percentage", "targetUtilizationPercentage"], &["1", "50", "70", "99.9", "100"]),
    (&["target-burst-capacity", "targetBurstCapacity"], &["-1", "0", "1.5", "20", "500"]),
    (&["window"], &["6s", "8s", "15s", "1m", "2m"]),
    (&["panic-window-percentage", "panicWindowPercentage"], &["1", "10", "25", "66.6", "100"]),
    (&["panic-threshold-percentage", "panicThresholdPercentage"], &["110", "125", "200", "500"]),
    (&["scale-down-delay", "scaleDownDelay"], &["0s", "1s", "3s", "10s", "1m"]),
    (&["activation-scale"], &["2", "3", "10"]),
    (&["initial-scale", "initialScale"], &["0", "1", "3", "8"]),
    (&["min-scale", "minScale"], &["0", "1", "4"]),
    (&["max-scale", "maxScale"], &["0", "6", "20"]),
    (AGGREGATION, &["linear", "weighted-exponential", "weightedExponential"]),
];

/// Keys of config-autoscaler that only the steps to zero look at.
const SCALE_TO_ZERO: &[(&str, &[&str])] = &[
    ("enable-scale-to-zero", &["true", "false"]),
    ("scale-to-zero-grace-period", &["3s", "30s", "90s"]),
    ("scale-to-zero-pod-retention-period", &["0s", "6s", "90s"]),
];

/// Annotations that only the steps to zero look at.
const SCALE_TO_ZERO_ANNOTATIONS: &[(&str, &[&str])] = &[
    ("autoscaling.knative.dev/scale-to-zero-pod-retention-period", &["0s", "3s", "60s"]),
    ("serving.knative.dev/progress-deadline", &["3s", "60s"]),
];

/// How samples are averaged cannot change: windows are made once, here and in Knative.
const AGGREGATION: &[&str] = &["metric-aggregation-algorithm", "metricAggregationAlgorithm"];

/// The trace of this number.
pub(crate) fn trace(seed: u64, number: u64) -> Trace {
    Generator::new(seed, number).trace()
}

/// The scene of this number.
pub(crate) fn scene(seed: u64, number: u64) -> Scene {
    Generator::new(seed, number).scene()
}

/// One question in the making.
struct Generator {
    rng: StdRng,
    steps: Vec<Step>,
    /// The second that is filled next.
    second: i64,
}

/// How one part of a trace goes.
struct Part {
    /// How much there is of the metric, a second.
    load: f64,
    /// Whether loads are whole multiples.
    is_even: bool,
    /// The share of it that comes through the activator.
    proxied: f64,
    /// Whether pods without requests say so.
    is_scraped: bool,
    /// How many reports a second.
    reports: usize,
}

impl Generator {
    fn new(seed: u64, number: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number));
        Self { rng, steps: Vec::new(), second: 0 }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T], otherwise: T) -> T {
        from.choose(&mut self.rng).copied().unwrap_or(otherwise)
    }

    fn trace(&mut self) -> Trace {
        let settings = self.settings();
        let begin = self.rng.random_range(0..4 * SECOND);
        let ready = if self.chance(50) { self.rng.random_range(0..3) } else { self.rng.random_range(0..20) };
        // Knative refuses no settings that Kwick takes, which is for the oracle to say; of these targets follow.
        let spec = Applied::new(&settings).map(|applied| applied.decider);
        self.second = begin / SECOND + 1;
        let phase = self.rng.random_range(0..SECOND);
        let tick_at = self.rng.random_range(0..TICK_SECONDS);
        let (mut current, mut pods) = (settings.clone(), ready);
        if let Ok(spec) = spec {
            for _ in 0..self.rng.random_range(1..8) {
                self.part(&spec, &mut current, &mut pods, (phase, tick_at));
            }
        }
        let mut steps = std::mem::take(&mut self.steps);
        steps.sort_by_key(|step| step.at);
        Trace { settings, begin, ready, steps }
    }

    fn scene(&mut self) -> Scene {
        let mut settings = self.settings();
        for (key, values) in SCALE_TO_ZERO {
            if self.chance(25) {
                settings.config.insert((*key).to_owned(), self.pick(values, "").to_owned());
            }
        }
        for (key, values) in SCALE_TO_ZERO_ANNOTATIONS {
            if self.chance(25) {
                settings.annotations.insert((*key).to_owned(), self.pick(values, "").to_owned());
            }
        }
        let progress_deadline = self.pick(&[60, 120, 600], 0);
        let asked = asked_to_last(&settings, progress_deadline);
        let statuses = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
        let status = self.pick(&statuses, ConditionStatus::Unknown);
        let said = |text: &str| if status == ConditionStatus::True { String::new() } else { text.to_owned() };
        let service_name = self.pick(&["revision", "revision", "revision", ""], "");
        // Nobody is asked on a Service without a name.
        let activator_answers = !service_name.is_empty() && self.chance(60);
        let mode = self.pick(&["Serve", "Proxy", "Proxy"], "");
        Scene {
            settings,
            progress_deadline,
            active: Active { status, reason: said("Before"), message: said("It was so before.") },
            active_for: self.age(&asked),
            initialized: self.chance(70),
            desired_scale: self.pick(&[None, Some(-1), Some(0), Some(1), Some(7)], None),
            service_name,
            mode,
            activators: self.rng.random_range(2..5),
            proxied_for: if mode == "Proxy" && self.chance(70) { Some(self.age(&asked)) } else { None },
            service_ready: self.chance(70),
            replicas: self.pick(&[0, 1, 2, 5, 20], 0),
            ready: self.pick(&[0, 0, 1, 2, 3, 8], 0),
            decision: Decision {
                desired: self.pick(&[-1, 0, 0, 0, 0, 0, 1, 2, 4, 9, 60], 0),
                excess_burst_capacity: self.pick(&[-211, -1, 0, 30], 0),
            },
            activator_answers,
        }
    }

    /// How long something has lasted, in seconds: mostly as long as something is asked to last, or about so.
    fn age(&mut self, asked: &[i64]) -> i64 {
        let about = if self.chance(80) { self.pick(asked, 0) } else { self.rng.random_range(0..700) };
        (about + self.pick(&[0, 0, 0, -1, 1], 0)).max(0)
    }

    fn settings(&mut self) -> Settings {
        let mut settings = Settings {
            annotations: self.annotations(None),
            config: self.config(),
            container_concurrency: self.pick(&[0, 0, 0, 1, 10, 100], 0),
            reachability: "",
        };
        settings.reachability = self.reachability();
        settings
    }

    fn reachability(&mut self) -> &'static str {
        self.pick(&["Reachable", "Reachable", "Reachable", "", "Unreachable"], "")
    }

    fn config(&mut self) -> BTreeMap<String, String> {
        let mut config = BTreeMap::new();
        for (key, values) in CONFIG {
            if self.chance(20) {
                config.insert((*key).to_owned(), self.pick(values, "").to_owned());
            }
        }
        if self.chance(30) {
            config.insert("allow-zero-initial-scale".to_owned(), "true".to_owned());
        }
        config
    }

    /// Annotations, with those about aggregation as they are in `before`, if there is one.
    fn annotations(&mut self, before: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
        let name = |key: &str| format!("autoscaling.knative.dev/{key}");
        let mut annotations = BTreeMap::new();
        for (keys, values) in ANNOTATIONS {
            if self.chance(20) {
                annotations.insert(name(self.pick(keys, "")), self.pick(values, "").to_owned());
            }
        }
        if let Some(before) = before {
            for key in AGGREGATION.iter().map(|key| name(key)) {
                annotations.remove(&key);
                annotations.extend(before.get(&key).map(|value| (key.clone(), value.clone())));
            }
        }
        annotations
    }

    /// Some seconds of about the same load, and what happens before them.
    fn part(&mut self, spec: &DeciderSpec, settings: &mut Settings, pods: &mut i32, beat: (i64, i64)) {
        let window = spec.stable_window.as_secs().max(1);
        if self.chance(15) {
            self.second += self.rng.random_range(1..=3 * window);
        }
        let part = self.draw_part(spec, *pods);
        if self.chance(60) {
            *pods = self.draw_pods(spec, &part, *pods);
            let at = self.moment();
            self.steps.push(Step { at, act: Act::Ready(*pods) });
        }
        if self.chance(25) {
            self.change(settings);
            let at = self.moment();
            self.steps.push(Step { at, act: Act::Update(settings.clone()) });
        }
        let most = window.clamp(4, 40);
        for _ in 0..self.rng.random_range(2..=most) {
            self.one_second(&part, *pods, beat);
            self.second += 1;
        }
    }

    fn change(&mut self, settings: &mut Settings) {
        match self.rng.random_range(0..3) {
            0 => settings.config = self.config(),
            1 => settings.annotations = self.annotations(Some(&settings.annotations)),
            _ => settings.reachability = self.reachability(),
        }
    }

    fn draw_part(&mut self, spec: &DeciderSpec, pods: i32) -> Part {
        let pods = f64::from(pods.max(1));
        let load = match self.rng.random_range(0..10) {
            0..3 => 0.0,
            3 => 0.1,
            4 => spec.target_value,
            5 => spec.target_value * pods,
            6 => spec.total_value * pods,
            7 => spec.target_value * pods * spec.panic_threshold,
            8 => spec.target_value * pods * self.rng.random_range(0.0..2.0),
            _ => spec.target_value * pods * self.rng.random_range(1.0..20.0),
        };
        Part {
            load,
            is_even: self.chance(60),
            proxied: self.pick(&[0.0, 0.0, 0.25, 0.5, 1.0], 0.0),
            is_scraped: self.chance(70),
            reports: self.rng.random_range(1..3),
        }
    }

    fn draw_pods(&mut self, spec: &DeciderSpec, part: &Part, pods: i32) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
        let enough = (part.load / spec.target_value).ceil().min(500.0) as i32;
        match self.rng.random_range(0..6) {
            0 => 0,
            1 => 1,
            2 => enough,
            3 => (enough + pods) / 2,
            4 => (pods + self.rng.random_range(-2..3)).max(0),
            _ => self.rng.random_range(0..30),
        }
    }

    /// A moment of the second.
    fn moment(&mut self) -> i64 {
        self.second * SECOND + self.rng.random_range(0..SECOND)
    }

    fn one_second(&mut self, part: &Part, pods: i32, (phase, tick_at): (i64, i64)) {
        if part.load > 0.0 {
            for _ in 0..part.reports {
                let act = Act::Stat(self.report(part));
                let at = self.moment();
                self.steps.push(Step { at, act });
            }
        }
        if part.is_scraped && pods > 0 && self.chance(95) {
            let at = self.moment();
            self.steps.push(Step { at, act: Act::Silence {} });
        }
        let is_time = self.second % TICK_SECONDS == tick_at;
        let ticks = match self.rng.random_range(0..100) {
            0..4 => 0,
            4..8 => 2,
            _ => 1,
        };
        for _ in 0..if is_time { ticks } else { 0 } {
            self.steps.push(Step { at: self.second * SECOND + phase, act: Act::Tick {} });
        }
        if self.chance(3) {
            let at = self.moment();
            self.steps.push(Step { at, act: Act::Tick {} });
        }
    }

    /// One of several reports of a second: with all others it makes about the load.
    fn report(&mut self, part: &Part) -> Report {
        #[expect(clippy::cast_precision_loss, reason = "they are few")]
        let mut load = part.load / part.reports as f64;
        if !part.is_even {
            load *= self.rng.random_range(0.5..1.5);
        }
        let late = match self.rng.random_range(0..100) {
            0..3 => self.rng.random_range(0..5 * SECOND),
            3 => self.rng.random_range(0..100 * SECOND),
            _ => 0,
        };
        // What the activator reports is the proxied part of what the pods report.
        let is_activator = self.chance(30);
        let proxied = if is_activator { 0.0 } else { part.proxied };
        let requests = if part.is_even { load.round() } else { load };
        Report {
            concurrency: load / (1.0 - proxied * 0.5),
            proxied_concurrency: load * proxied,
            requests,
            proxied_requests: (requests * proxied).floor(),
            late,
        }
    }
}

/// What the steps to zero wait for, in seconds.
fn asked_to_last(settings: &Settings, progress_deadline: i64) -> Vec<i64> {
    let Ok(Applied { config, autoscaler, decider, .. }) = Applied::new(settings) else { return Vec::new() };
    let asked = autoscaler.annotations();
    let retention = asked.scale_to_zero_pod_retention.unwrap_or(config.scale_to_zero_pod_retention_period);
    let deadline = asked.progress_deadline.map_or(progress_deadline, |deadline| deadline.as_secs());
    let grace = config.scale_to_zero_grace_period.as_secs();
    vec![decider.stable_window.as_secs(), grace, retention.as_secs(), deadline + ACTIVATION_BUFFER_SECONDS]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_questions() {
        assert_eq!(trace(1, 7), trace(1, 7));
        assert_ne!(trace(1, 7), trace(1, 8));
        assert_ne!(trace(1, 7), trace(2, 7));
        assert_eq!(scene(1, 7), scene(1, 7));
        assert_ne!(scene(1, 7), scene(1, 8));
    }

    #[test]
    fn settings_are_good_and_steps_are_in_order() {
        for number in 0..200 {
            let trace = trace(1, number);
            assert!(Applied::new(&trace.settings).is_ok(), "{:?}", trace.settings);
            assert!(trace.steps.first().is_none_or(|step| step.at >= trace.begin), "trace {number}");
            assert!(trace.steps.is_sorted_by_key(|step| step.at), "trace {number}");
        }
    }

    #[test]
    fn every_setting_and_every_act_is_drawn() {
        let traces: Vec<Trace> = (0..500).map(|number| trace(1, number)).collect();
        for (key, _) in CONFIG {
            assert!(traces.iter().any(|trace| trace.settings.config.contains_key(*key)), "{key}");
        }
        for key in ANNOTATIONS.iter().flat_map(|(keys, _)| *keys) {
            let key = format!("autoscaling.knative.dev/{key}");
            assert!(traces.iter().any(|trace| trace.settings.annotations.contains_key(&key)), "{key}");
        }
        let acts = || traces.iter().flat_map(|trace| &trace.steps).map(|step| &step.act);
        assert!(acts().any(|act| matches!(act, Act::Stat(_))));
        assert!(acts().any(|act| matches!(act, Act::Silence {})));
        assert!(acts().any(|act| matches!(act, Act::Ready(_))));
        assert!(acts().any(|act| matches!(act, Act::Update(_))));
        assert!(acts().any(|act| matches!(act, Act::Tick {})));
    }
}
