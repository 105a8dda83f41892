//! What was decided for each Revision, and what there is of it, by the names under which Prometheus finds Knative's. Nothing is kept: it is
//! read when somebody asks.

use base_controller::Key;
use base_rt::metrics::{Labels, Reading, Scope};
use knative_apis::autoscaling::{METRIC_RPS, PodAutoscaler};
use knative_apis::meta::{label, label_value};

use super::facts::{DecisionFact, DecisionFacts};
use crate::caches::{Caches, index_value};
use crate::pods;

/// One Revision, read once.
struct Read {
    labels: Labels,
    fact: DecisionFact,
    is_rps: bool,
    requested: Option<i32>,
    pods: pods::Counts,
}

/// A family: its name, its help, and its value for a Revision that has one.
type Family = (&'static str, &'static str, fn(&Read) -> Option<f64>);

const FAMILIES: [Family; 14] = [
    ("kn_revision_pods_desired", "Number of pods the autoscaler wants to allocate", |r| {
        Some(r.fact.decision.desired.into())
    }),
    ("kn_revision_pods_requested", "Number of pods autoscaler requested from Kubernetes", |r| {
        r.requested.map(f64::from)
    }),
    ("kn_revision_pods_count", "Number of pods that are allocated currently", |r| Some(r.pods.ready.into())),
    ("kn_revision_pods_not_ready_count", "Number of pods that are not ready currently", |r| {
        Some(r.pods.not_ready.into())
    }),
    ("kn_revision_pods_pending_count", "Number of pods that are pending currently", |r| Some(r.pods.pending.into())),
    ("kn_revision_pods_terminating_count", "Number of pods that are terminating currently", |r| {
        Some(r.pods.terminating.into())
    }),
    ("kn_revision_capacity_excess", "Excess burst capacity observed over the stable window", |r| {
        Some(r.fact.decision.excess_burst_capacity.into())
    }),
    ("kn_revision_panic_mode", "If greater than 0 the autoscaler is in panic mode", |r| {
        Some(f64::from(u8::from(r.fact.is_panicking)))
    }),
    ("kn_revision_concurrency_stable", "Average of requests in flight over the stable window", |r| {
        (!r.is_rps).then_some(r.fact.stable)
    }),
    ("kn_revision_concurrency_panic", "Average of requests in flight over the panic window", |r| {
        (!r.is_rps).then_some(r.fact.panic)
    }),
    ("kn_revision_concurrency_target", "The desired concurrent requests for each pod", |r| {
        (!r.is_rps).then_some(r.fact.target)
    }),
    ("kn_revision_rps_stable_per_second", "Average of requests per second over the stable window", |r| {
        r.is_rps.then_some(r.fact.stable)
    }),
    ("kn_revision_rps_panic_per_second", "Average of requests per second over the panic window", |r| {
        r.is_rps.then_some(r.fact.panic)
    }),
    ("kn_revision_rps_target_per_second", "The desired requests per second for each pod", |r| {
        r.is_rps.then_some(r.fact.target)
    }),
];

/// Registers the families, in `scope`'s registry.
pub(super) fn register(scope: &Scope, decisions: DecisionFacts, caches: Caches) {
    scope.unprefixed().register_readings(move || readings(&decisions, &caches));
}

fn readings(decisions: &DecisionFacts, caches: &Caches) -> Vec<Reading> {
    let read = |(key, fact)| {
        let autoscaler = caches.pod_autoscalers.get(&key)?;
        let pods = pods::counts(&caches.pods_of_revision.get(&index_value(&key)));
        let requested = autoscaler.status.desired_scale.filter(|scale| *scale >= 0);
        let is_rps = autoscaler.metric() == METRIC_RPS;
        Some(Read { labels: labels(&key, &autoscaler), fact, is_rps, requested, pods })
    };
    let all: Vec<Read> = decisions.all().into_iter().filter_map(read).collect();
    let families = FAMILIES.iter().map(|(name, help, value)| {
        let gauges = all.iter().filter_map(|read| Some((read.labels.clone(), value(read)?))).collect();
        Reading { name, help, gauges }
    });
    families.collect()
}

fn labels(key: &Key, autoscaler: &PodAutoscaler) -> Labels {
    let label = |key| label_value(&autoscaler.metadata, key).unwrap_or_default().to_owned();
    vec![
        ("k8s_namespace_name", key.namespace().to_owned()),
        ("kn_revision_name", key.name().to_owned()),
        ("kn_service_name", label(label::SERVICE)),
        ("kn_configuration_name", label(label::CONFIGURATION)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use knative_logic::scale::Decision;
    use serde_json::{Value, json};

    fn read(name: &str, metric: &str) -> String {
        let autoscaler = json!({
            "apiVersion": "autoscaling.internal.knative.dev/v1alpha1", "kind": "PodAutoscaler",
            "metadata": {
                "name": name, "namespace": "n", "annotations": {"autoscaling.knative.dev/metric": metric},
                "labels": {"serving.knative.dev/service": "s", "serving.knative.dev/configuration": "c"},
            },
            "status": {"desiredScale": 3},
        });
        let pod = |number: u8, ready: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("p{number}"), "namespace": "n", "labels": {"serving.knative.dev/revision": name}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
            })
        };
        let objects: Vec<Value> = vec![autoscaler, pod(1, "True"), pod(2, "False")];
        let decisions = DecisionFacts::default();
        let decision = Decision { desired: 4, excess_burst_capacity: -7 };
        let at = Timestamp::UNIX_EPOCH;
        let (stable, panic, target) = (1.5, 2.5, 70.0);
        let fact = DecisionFact { decision, at, stable, panic, target, ready: 1, is_panicking: true, is_held: false };
        decisions.set(&Key::new("n", name), fact.clone());
        decisions.set(&Key::new("n", "gone"), fact);
        let scope = Scope::root();
        register(&scope.sub("serving"), decisions, Caches::fixed(&objects));
        let labels = format!(
            "{{k8s_namespace_name=\"n\",kn_revision_name=\"{name}\",kn_service_name=\"s\",kn_configuration_name=\"c\"}}"
        );
        scope.encode().replace(&labels, "").lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_revision_is_read_by_its_metric() {
        let common = "kn_revision_pods_desired 4.0\nkn_revision_pods_requested 3.0\nkn_revision_pods_count 1.0\n\
                      kn_revision_pods_not_ready_count 1.0\nkn_revision_pods_pending_count 0.0\n\
                      kn_revision_pods_terminating_count 0.0\nkn_revision_capacity_excess -7.0\n\
                      kn_revision_panic_mode 1.0\n";
        let concurrency = "kn_revision_concurrency_stable 1.5\nkn_revision_concurrency_panic 2.5\n\
                           kn_revision_concurrency_target 70.0";
        assert_eq!(read("a", "concurrency"), format!("{common}{concurrency}"));
        let rps = "kn_revision_rps_stable_per_second 1.5\nkn_revision_rps_panic_per_second 2.5\n\
                   kn_revision_rps_target_per_second 70.0";
        assert_eq!(read("b", "rps"), format!("{common}{rps}"));
    }
}
