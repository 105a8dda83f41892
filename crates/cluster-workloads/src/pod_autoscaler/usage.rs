//! How many replicas bring the use of a resource to its target: pure, as Kubernetes' replica calculator has it.
//!
//! The use is compared with the target over the Pods that can be believed. Those that cannot are counted so that they never make the change
//! larger: a Pod without a measurement uses nothing if more replicas are wanted, and all of what it may if fewer are; one that is not ready yet
//! uses nothing if more are wanted. If that turns the comparison round, everything stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::objects::pods;
use crate::objects::quantity::Milli;

/// So long after its start a Pod's use of the processor may still be that of its start.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A Pod that is not ready and became so only so soon after its start has never been ready.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What a Pod was measured to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// How much, in thousandths.
    pub(super) value: i64,
    /// The end of the measurement.
    pub(super) at: Timestamp,
    /// How long it took.
    pub(super) window: SignedDuration,
}

/// Samples by the Pods' names.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How far the use may be from its target, as a share of that: below it, and above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub(super) below: f64,
    pub(super) above: f64,
}

impl Tolerance {
    fn takes(self, ratio: f64) -> bool {
        (1.0 - self.below..=1.0 + self.above).contains(&ratio)
    }
}

/// What a resource is meant to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// So many hundredths of what Pods request.
    Utilization(i32),
    /// So much by each Pod, in thousandths.
    AverageValue(i64),
}

/// What is compared.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub(super) resource: &'a str,
    /// One container's use alone.
    pub(super) container: Option<&'a str>,
    pub(super) target: Target,
    pub(super) tolerance: Tolerance,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) samples: Samples,
    pub(super) replicas: i32,
    pub(super) now: Timestamp,
}

/// How many replicas there should be, and what the use is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// In hundredths of the requests, if those were looked at.
    pub(super) utilization: Option<i32>,
    /// By each Pod, in thousandths.
    pub(super) average: i64,
}

/// What the Pods are worth.
#[derive(Debug, Default)]
struct Groups<'a> {
    ready: usize,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    ignored: BTreeSet<&'a str>,
}

impl Question<'_> {
    /// The answer.
    ///
    /// # Errors
    /// Why there is none, in Kubernetes' words.
    pub(super) fn answer(mut self) -> Result<Proposal, String> {
        let pods = self.pods;
        if pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let Groups { ready, unready, missing, ignored } = self.groups(pods);
        self.samples.retain(|name, _| !ignored.contains(name.as_str()) && !unready.contains(name.as_str()));
        if self.samples.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        let requests = match self.target {
            Target::Utilization(_) => requests(pods, self.resource, self.container)?,
            Target::AverageValue(_) => BTreeMap::new(),
        };
        let (ratio, proposal) = self.compare(&requests)?;
        let rises_with_unready = !unready.is_empty() && ratio > 1.0;
        if !rises_with_unready && missing.is_empty() {
            let replicas = if self.tolerance.takes(ratio) { self.replicas } else { times(ratio, ready) };
            return Ok(Proposal { replicas, ..proposal });
        }
        for name in missing.iter().filter(|_| (ratio - 1.0).abs() > f64::EPSILON) {
            let full = match self.target {
                Target::Utilization(share) => {
                    requests.get(*name).copied().unwrap_or_default() * i64::from(share.max(100)) / 100
                }
                Target::AverageValue(value) => value,
            };
            self.suppose(name, if ratio < 1.0 { full } else { 0 });
        }
        if rises_with_unready {
            unready.iter().for_each(|name| self.suppose(name, 0));
        }
        let (supposed, _) = self.compare(&requests)?;
        let is_turned = (ratio < 1.0 && supposed > 1.0) || (ratio > 1.0 && supposed < 1.0);
        let replicas = times(supposed, self.samples.len());
        let is_opposite = (supposed < 1.0 && replicas > self.replicas) || (supposed > 1.0 && replicas < self.replicas);
        let stays = self.tolerance.takes(supposed) || is_turned || is_opposite;
        Ok(Proposal { replicas: if stays { self.replicas } else { replicas }, ..proposal })
    }

    fn suppose(&mut self, name: &str, value: i64) {
        self.samples.insert(name.to_owned(), Sample { value, at: self.now, window: SignedDuration::ZERO });
    }

    /// How the use is to its target, and what it is.
    fn compare(&self, requests: &BTreeMap<&str, i64>) -> Result<(f64, Proposal), String> {
        let total = |values: &mut dyn Iterator<Item = i64>| values.fold(0_i64, i64::saturating_add);
        let count = i64::try_from(self.samples.len()).unwrap_or(i64::MAX).max(1);
        match self.target {
            Target::AverageValue(target) => {
                let average = total(&mut self.samples.values().map(|sample| sample.value)) / count;
                let proposal = Proposal { replicas: self.replicas, utilization: None, average };
                Ok((ratio(average, target), proposal))
            }
            Target::Utilization(target) => {
                let known = || {
                    self.samples.iter().filter_map(|(name, sample)| Some((sample.value, *requests.get(name.as_str())?)))
                };
                let requested = total(&mut known().map(|(_, request)| request));
                if requested == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let used = total(&mut known().map(|(value, _)| value));
                let share = i128::from(used) * 100 / i128::from(requested);
                let share = i32::try_from(share).unwrap_or(i32::MAX);
                let average = used / i64::try_from(known().count()).unwrap_or(i64::MAX).max(1);
                let proposal = Proposal { replicas: self.replicas, utilization: Some(share), average };
                Ok((ratio(share.into(), target.into()), proposal))
            }
        }
    }

    fn groups<'a>(&self, pods: &'a [Arc<Pod>]) -> Groups<'a> {
        let mut groups = Groups::default();
        for pod in pods {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if pods::is_terminating(pod) || pods::phase(pod) == "Failed" {
                groups.ignored.insert(name);
            } else if pods::phase(pod) == "Pending" {
                groups.unready.insert(name);
            } else {
                match self.samples.get(name) {
                    None => _ = groups.missing.insert(name),
                    Some(sample) if self.resource == "cpu" && is_unready(pod, sample, self.now) => {
                        groups.unready.insert(name);
                    }
                    Some(_) => groups.ready += 1,
                }
            }
        }
        groups
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio need not be exact")]
fn ratio(is: i64, target: i64) -> f64 {
    is as f64 / target.max(1) as f64
}

/// So many replicas as many times, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "floats saturate; a replica count fits"
)]
fn times(ratio: f64, count: usize) -> i32 {
    (ratio * count as f64).ceil() as i32
}

/// Whether a Pod's use of the processor is not to be believed.
fn is_unready(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let (Some(ready), Some(started)) = (pods::condition(pod, pods::READY), started) else { return true };
    let since = ready.last_transition_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let is_over =
        |start: Timestamp, time: SignedDuration, at: Timestamp| start.checked_add(time).is_ok_and(|end| end <= at);
    if is_over(started, CPU_INITIALIZATION, now) {
        return ready.status == "False" && !is_over(started, INITIAL_READINESS, since);
    }
    // A whole measurement has to lie behind the change.
    ready.status == "False" || !is_over(since, sample.window, sample.at)
}

/// What Pods request, by their names.
fn requests<'a>(
    pods: &'a [Arc<Pod>],
    resource: &str,
    container: Option<&str>,
) -> Result<BTreeMap<&'a str, i64>, String> {
    let milli = |amount: Milli| i64::try_from(amount.0).unwrap_or(i64::MAX);
    let mut requests = BTreeMap::new();
    for pod in pods {
        let (name, spec) = (pod.metadata.name.as_deref().unwrap_or_default(), pod.spec.as_ref());
        let whole = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get(resource));
        if let Some(whole) = whole.and_then(Milli::parse).filter(|_| container.is_none()) {
            requests.insert(name, milli(whole));
            continue;
        }
        let sidecars = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let sidecars = sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
        let running = spec.iter().flat_map(|spec| &spec.containers).chain(sidecars);
        let mut sum = Milli::default();
        for of_pod in running.filter(|of_pod| container.is_none_or(|wanted| of_pod.name == wanted)) {
            let missing = || format!("missing request for {resource} in container {} of Pod {name}", of_pod.name);
            sum = sum.plus(request(of_pod, resource).ok_or_else(missing)?);
        }
        requests.insert(name, milli(sum));
    }
    Ok(requests)
}

fn request(container: &Container, resource: &str) -> Option<Milli> {
    Milli::parse(container.resources.as_ref()?.requests.as_ref()?.get(resource)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// Pods that request a processor each: how each is, and what it was measured to use.
    fn question(pods: &[(&str, Option<i64>)], target: Target, replicas: i32) -> Result<i32, String> {
        let named = |(at, (how, _)): (usize, &(&str, Option<i64>))| {
            let (phase, ready) = match *how {
                "pending" => ("Pending", "False"),
                "starting" => ("Running", "False"),
                "failed" => ("Failed", "False"),
                _ => ("Running", "True"),
            };
            let started = if *how == "starting" { "2026-01-01T00:59:30Z" } else { "2026-01-01T00:00:00Z" };
            let ready = json!({"type": "Ready", "status": ready, "lastTransitionTime": started});
            let requests = json!({"requests": {"cpu": "1"}});
            let pod = json!({"metadata": {"name": format!("p{at}")},
                "spec": {"containers": [{"name": "c", "resources": requests}]},
                "status": {"phase": phase, "startTime": started, "conditions": [ready]}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let all: Vec<Arc<Pod>> = pods.iter().enumerate().map(named).collect();
        let sample = |(at, (_, value)): (usize, &(&str, Option<i64>))| {
            Some((format!("p{at}"), Sample { value: (*value)?, at: now(), window: SignedDuration::from_secs(15) }))
        };
        let question = Question {
            resource: "cpu",
            container: None,
            target,
            tolerance: Tolerance { below: 0.1, above: 0.1 },
            pods: &all,
            samples: pods.iter().enumerate().filter_map(sample).collect(),
            replicas,
            now: now(),
        };
        question.answer().map(|proposal| proposal.replicas)
    }

    #[test]
    fn the_use_of_pods_is_brought_to_its_target() {
        let well = |value| ("well", Some(value));
        let half = Target::Utilization(50);
        let rows: [(&[_], _, _); 11] = [
            (&[well(500), well(500)], 2, "as it should be"),
            (&[well(540), well(540)], 2, "within the tolerance"),
            (&[well(800), well(800)], 4, "rounded up"),
            (&[well(100), well(100), well(100)], 1, "fewer"),
            (&[well(1000), ("well", None)], 2, "without the missing one it would be more"),
            (&[well(2000), ("well", None)], 4, "the missing one uses nothing"),
            (&[well(100), ("well", None)], 2, "the missing one uses all that it may"),
            (&[well(2000), ("pending", None)], 4, "one that comes uses nothing"),
            (&[well(100), well(100), ("pending", None)], 1, "one that comes is none of those"),
            (&[well(1000), ("starting", Some(4000))], 2, "a start says nothing"),
            (&[well(1000), ("failed", Some(4000))], 2, "nor does an end"),
        ];
        for (pods, expected, why) in rows {
            let replicas = i32::try_from(pods.len()).unwrap();
            assert_eq!(question(pods, half, replicas), Ok(expected), "{why}");
        }
    }

    #[test]
    fn an_average_needs_no_requests() {
        let rows =
            [(vec![("well", Some(300)), ("well", Some(300))], 6), (vec![("well", Some(100)), ("well", None)], 2)];
        for (pods, expected) in rows {
            assert_eq!(question(&pods, Target::AverageValue(100), 2), Ok(expected));
        }
    }

    #[test]
    fn without_facts_there_is_no_answer() {
        let half = Target::Utilization(50);
        assert!(question(&[], half, 1).unwrap_err().contains("no pods returned by selector"));
        assert!(question(&[("pending", None)], half, 1).unwrap_err().contains("pods might be unready"));
        let bare: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}))
                .unwrap();
        let why = requests(&[Arc::new(bare)], "cpu", None).unwrap_err();
        assert_eq!(why, "missing request for cpu in container c of Pod p");
    }
}
