//! config-autoscaler: how a revision's pods follow its traffic.

use super::reader::Reader;
use super::{ConfigError, ConfigMap};
use crate::annotations::{PANIC_WINDOW_PERCENTAGE_RANGE, TARGET_MIN, WINDOW_MAX, WINDOW_MIN};
use crate::autoscaling::KPA;
use crate::duration;
use crate::go_text::float;
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// The operator's settings of the autoscaler.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaler {
    /// Whether a revision without traffic loses its last pod.
    pub enable_scale_to_zero: bool,
    /// The share of the concurrency target that is aimed at, above 0 to 1.
    pub container_concurrency_target_fraction: f64,
    /// The concurrency target of a revision without a limit of its own.
    pub container_concurrency_target_default: f64,
    /// The share of the target that is aimed at, for other metrics.
    pub target_utilization: f64,
    /// The target of requests per second.
    pub rps_target_default: f64,
    /// How large a burst the pods should take without the activator; -1 keeps it in the path.
    pub target_burst_capacity: f64,
    /// How many requests one activator takes; sizes the group in front of a revision.
    pub activator_capacity: f64,
    /// Whether a revision may be ready without ever having had a pod.
    pub allow_zero_initial_scale: bool,
    /// The pods a revision must have had once to be ready.
    pub initial_scale: i32,
    /// The least pods.
    pub min_scale: i32,
    /// The most pods; 0 is no bound.
    pub max_scale: i32,
    /// The most that a revision may ask for; 0 is no bound.
    pub max_scale_limit: i32,
    /// How many times as many pods there may be after one decision.
    pub max_scale_up_rate: f64,
    /// By how much the pods may be divided in one decision.
    pub max_scale_down_rate: f64,
    /// The window of the average in stable mode.
    pub stable_window: SignedDuration,
    /// The panic window, in percent of the stable one.
    pub panic_window_percentage: f64,
    /// When panic begins, in percent of the current capacity.
    pub panic_threshold_percentage: f64,
    /// How long the network is given before the last pod goes.
    pub scale_to_zero_grace_period: SignedDuration,
    /// How long the last pod stays at least.
    pub scale_to_zero_pod_retention_period: SignedDuration,
    /// How long a smaller scale must last before it is applied.
    pub scale_down_delay: SignedDuration,
    /// Which autoscaler serves a revision that names none.
    pub pod_autoscaler_class: String,
}

impl Default for Autoscaler {
    fn default() -> Self {
        Self {
            enable_scale_to_zero: true,
            container_concurrency_target_fraction: 0.7,
            container_concurrency_target_default: 100.0,
            target_utilization: 0.7,
            rps_target_default: 200.0,
            target_burst_capacity: 211.0,
            activator_capacity: 100.0,
            allow_zero_initial_scale: false,
            initial_scale: 1,
            min_scale: 0,
            max_scale: 0,
            max_scale_limit: 0,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            stable_window: SignedDuration::from_secs(60),
            panic_window_percentage: 10.0,
            panic_threshold_percentage: 200.0,
            scale_to_zero_grace_period: SignedDuration::from_secs(30),
            scale_to_zero_pod_retention_period: SignedDuration::ZERO,
            scale_down_delay: SignedDuration::ZERO,
            pod_autoscaler_class: KPA.to_owned(),
        }
    }
}

impl ConfigMap for Autoscaler {
    const NAME: &'static str = "config-autoscaler";
    const KEYS: &'static [&'static str] = &[
        "activator-capacity",
        "allow-zero-initial-scale",
        "container-concurrency-target-default",
        "container-concurrency-target-percentage",
        "enable-scale-to-zero",
        "initial-scale",
        "max-scale",
        "max-scale-down-rate",
        "max-scale-limit",
        "max-scale-up-rate",
        "min-scale",
        "panic-threshold-percentage",
        "panic-window-percentage",
        "pod-autoscaler-class",
        "requests-per-second-target-default",
        "scale-down-delay",
        "scale-to-zero-grace-period",
        "scale-to-zero-pod-retention-period",
        "stable-window",
        "target-burst-capacity",
    ];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.read(Reader(data)).map_err(|error| ConfigError::Data(Box::new(error)))?;
        if config.container_concurrency_target_fraction > 1.0 {
            config.container_concurrency_target_fraction /= 100.0;
        }
        match config.problem() {
            Some(problem) => Err(ConfigError::Invalid(problem)),
            None => Ok(config),
        }
    }
}

impl Autoscaler {
    fn read(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        data.string("pod-autoscaler-class", &mut self.pod_autoscaler_class)?;
        data.bool("enable-scale-to-zero", &mut self.enable_scale_to_zero)?;
        data.bool("allow-zero-initial-scale", &mut self.allow_zero_initial_scale)?;
        data.float("max-scale-up-rate", &mut self.max_scale_up_rate)?;
        data.float("max-scale-down-rate", &mut self.max_scale_down_rate)?;
        data.float("container-concurrency-target-percentage", &mut self.container_concurrency_target_fraction)?;
        data.float("container-concurrency-target-default", &mut self.container_concurrency_target_default)?;
        data.float("requests-per-second-target-default", &mut self.rps_target_default)?;
        data.float("target-burst-capacity", &mut self.target_burst_capacity)?;
        data.float("panic-window-percentage", &mut self.panic_window_percentage)?;
        data.float("activator-capacity", &mut self.activator_capacity)?;
        data.float("panic-threshold-percentage", &mut self.panic_threshold_percentage)?;
        data.int("initial-scale", &mut self.initial_scale)?;
        data.int("min-scale", &mut self.min_scale)?;
        data.int("max-scale", &mut self.max_scale)?;
        data.int("max-scale-limit", &mut self.max_scale_limit)?;
        data.duration("stable-window", &mut self.stable_window)?;
        data.duration("scale-down-delay", &mut self.scale_down_delay)?;
        data.duration("scale-to-zero-grace-period", &mut self.scale_to_zero_grace_period)?;
        data.duration("scale-to-zero-pod-retention-period", &mut self.scale_to_zero_pod_retention_period)
    }

    fn problem(&self) -> Option<String> {
        self.time_problem()
            .or_else(|| self.target_problem())
            .or_else(|| self.window_problem())
            .or_else(|| self.scale_problem())
    }

    fn time_problem(&self) -> Option<String> {
        let shown = duration::format;
        let (grace, delay) = (self.scale_to_zero_grace_period, self.scale_down_delay);
        let retention = self.scale_to_zero_pod_retention_period;
        if grace <= SignedDuration::ZERO {
            Some(format!("scale-to-zero-grace-period must be positive, was: {}", shown(grace)))
        } else if delay < SignedDuration::ZERO {
            Some(format!("scale-down-delay cannot be negative, was: {}", shown(delay)))
        } else if !duration::is_whole_seconds(delay) {
            Some(format!("scale-down-delay = {}, must be specified with at most second precision", shown(delay)))
        } else if retention < SignedDuration::ZERO {
            Some(format!("scale-to-zero-pod-retention-period cannot be negative, was: {}", shown(retention)))
        } else {
            None
        }
    }

    fn target_problem(&self) -> Option<String> {
        let fraction = self.container_concurrency_target_fraction;
        let target = fraction * self.container_concurrency_target_default;
        let capacity = self.target_burst_capacity;
        let is_capacity = capacity >= 0.0 || capacity == -1.0;
        if !is_capacity {
            return Some(format!(
                "target-burst-capacity must be either non-negative or -1 (for unlimited), was: {capacity:.6}"
            ));
        }
        if fraction <= 0.0 || fraction > 1.0 {
            return Some(format!(
                "container-concurrency-target-percentage = {fraction:.6} is outside of valid range of (0, 100]"
            ));
        }
        if target < TARGET_MIN {
            return Some(format!(
                "container-concurrency-target-percentage and container-concurrency-target-default yield \
                 target concurrency of {}, can't be less than {}",
                float(target),
                float(TARGET_MIN)
            ));
        }
        if self.rps_target_default < TARGET_MIN {
            return Some(format!(
                "requests-per-second-target-default must be at least {}, was: {}",
                float(TARGET_MIN),
                float(self.rps_target_default)
            ));
        }
        self.rate_problem()
    }

    fn rate_problem(&self) -> Option<String> {
        if self.activator_capacity < 1.0 {
            return Some(format!("activator-capacity = {}, must be at least 1", float(self.activator_capacity)));
        }
        if self.max_scale_up_rate <= 1.0 {
            return Some(format!("max-scale-up-rate = {}, must be greater than 1.0", float(self.max_scale_up_rate)));
        }
        if self.max_scale_down_rate <= 1.0 {
            return Some(format!(
                "max-scale-down-rate = {}, must be greater than 1.0",
                float(self.max_scale_down_rate)
            ));
        }
        None
    }

    fn window_problem(&self) -> Option<String> {
        let window = duration::format(self.stable_window);
        let (low, high) = PANIC_WINDOW_PERCENTAGE_RANGE;
        if self.stable_window < WINDOW_MIN || self.stable_window > WINDOW_MAX {
            let (least, most) = (duration::format(WINDOW_MIN), duration::format(WINDOW_MAX));
            Some(format!("stable-window = {window}, must be in [{least}; {most}] range"))
        } else if !duration::is_whole_seconds(self.stable_window) {
            Some(format!("stable-window = {window}, must be specified with at most second precision"))
        } else if self.panic_window_percentage < low || self.panic_window_percentage > high {
            let percentage = float(self.panic_window_percentage);
            Some(format!(
                "panic-window-percentage = {percentage}, must be in [{}, {}] interval",
                float(low),
                float(high)
            ))
        } else {
            None
        }
    }

    fn scale_problem(&self) -> Option<String> {
        let (min, max, limit) = (self.min_scale, self.max_scale, self.max_scale_limit);
        let least_max = i32::from(limit > 0);
        if self.initial_scale < 0 || (self.initial_scale == 0 && !self.allow_zero_initial_scale) {
            Some(format!(
                "initial-scale = {}, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)",
                self.initial_scale
            ))
        } else if min < 0 {
            Some(format!("min-scale = {min}, must be at least 0"))
        } else if max < least_max || (limit > 0 && max > limit) {
            Some(format!("max-scale = {max}, must be in [{least_max}, max-scale-limit({limit})] range"))
        } else if limit < 0 {
            Some(format!("max-scale-limit = {limit}, must be at least 0"))
        } else if max > 0 && min > max {
            Some(format!("min-scale ({min}) must be less than max-scale ({max})"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Autoscaler, String> {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Autoscaler::parse(&data).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read() {
        let config = parse(&[
            ("container-concurrency-target-percentage", "55"),
            ("stable-window", "5m"),
            ("target-burst-capacity", "-1"),
            ("max-scale", "3"),
        ])
        .expect("good values");
        assert!((config.container_concurrency_target_fraction - 0.55).abs() < 1e-9);
        assert_eq!(config.stable_window, SignedDuration::from_secs(300));
        assert_eq!(config.max_scale, 3);
        assert_eq!(parse(&[]).expect("nothing"), Autoscaler::default());
    }

    #[test]
    fn wrong_values_are_refused_in_knatives_words() {
        for (key, value, message) in [
            (
                "max-scale-up-rate",
                "not a float",
                "failed to parse data: failed to parse \"max-scale-up-rate\": strconv.ParseFloat: parsing \"not a float\": invalid syntax",
            ),
            ("max-scale-up-rate", "1", "max-scale-up-rate = 1, must be greater than 1.0"),
            ("max-scale", "-5", "max-scale = -5, must be in [0, max-scale-limit(0)] range"),
            (
                "initial-scale",
                "0",
                "initial-scale = 0, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)",
            ),
            (
                "initial-scale",
                "99999999999",
                "failed to parse data: failed to parse \"initial-scale\": strconv.ParseInt: parsing \"99999999999\": value out of range",
            ),
            ("stable-window", "5s", "stable-window = 5s, must be in [6s; 1h0m0s] range"),
            ("stable-window", "60.5s", "stable-window = 1m0.5s, must be specified with at most second precision"),
            ("scale-to-zero-grace-period", "-4s", "scale-to-zero-grace-period must be positive, was: -4s"),
            ("panic-window-percentage", "110", "panic-window-percentage = 110, must be in [1, 100] interval"),
            (
                "target-burst-capacity",
                "-11",
                "target-burst-capacity must be either non-negative or -1 (for unlimited), was: -11.000000",
            ),
            (
                "container-concurrency-target-percentage",
                "0",
                "container-concurrency-target-percentage = 0.000000 is outside of valid range of (0, 100]",
            ),
            (
                "requests-per-second-target-default",
                "-5.25",
                "requests-per-second-target-default must be at least 0.01, was: -5.25",
            ),
            (
                "enable-scale-to-zero",
                "maybe",
                "failed to parse data: failed to parse \"enable-scale-to-zero\": strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "target-burst-capacity",
                "NaN",
                "failed to parse data: failed to parse \"target-burst-capacity\": strconv.ParseFloat: parsing \"NaN\": invalid syntax",
            ),
        ] {
            assert_eq!(parse(&[(key, value)]).expect_err(key), message);
        }
        assert_eq!(
            parse(&[("max-scale-limit", "10")]).expect_err("no max-scale"),
            "max-scale = 0, must be in [1, max-scale-limit(10)] range"
        );
    }

    #[test]
    fn every_key_is_listed() {
        for key in Autoscaler::KEYS {
            let data = BTreeMap::from([((*key).to_owned(), "\u{0}".to_owned())]);
            let accepts_any_text = *key == "pod-autoscaler-class";
            assert_eq!(Autoscaler::parse(&data).is_ok(), accepts_any_text, "{key}");
        }
    }
}
