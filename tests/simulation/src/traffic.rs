//! Queue-proxies and an activator that measure the load which the script says there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base_controller::{Context, Scope};
use base_rt::Phase;
use k8s_openapi::api::core::v1::Pod;
use knative_apis::meta::{Key, label, label_value};
use knative_apis::stat::{Stat, StatMessage};
use kube::ResourceExt;
use tokio::sync::mpsc;

/// How often everybody reports.
const PERIOD: Duration = Duration::from_secs(1);

/// How many requests are in flight, by Revision. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads(Arc<Mutex<BTreeMap<(String, String), f64>>>);

impl Loads {
    pub(crate) fn set(&self, namespace: &str, revision: &str, concurrency: f64) {
        self.0.lock().unwrap().insert((namespace.to_owned(), revision.to_owned()), concurrency);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn present(&self) -> BTreeMap<(String, String), f64> {
        self.0.lock().unwrap().iter().filter(|(_, load)| **load > 0.0).map(|(key, load)| (key.clone(), *load)).collect()
    }
}

/// Starts the reports.
pub(crate) fn start(context: &Context, loads: &Loads, stats: mpsc::Sender<StatMessage>) {
    let pods = context.informers.get::<Pod>(Scope::all());
    let (loads, clock, shutdown) = (loads.clone(), context.clock, context.tasks.shutdown().clone());
    context.tasks.spawn("traffic", async move {
        loop {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => return Ok(()),
                () = tokio::time::sleep(PERIOD) => {}
            }
            let now = clock.now().as_second();
            for ((namespace, revision), load) in loads.present() {
                let of_revision = pods.list_in(&namespace).into_iter();
                let ready: Vec<_> = of_revision
                    .filter(|pod| {
                        label_value(&pod.metadata, label::REVISION) == Some(revision.as_str()) && is_ready(pod)
                    })
                    .map(|pod| pod.name_any())
                    .collect();
                let reporters = if ready.is_empty() { vec!["activator-0".to_owned()] } else { ready };
                #[expect(clippy::cast_precision_loss, reason = "a few Pods")]
                let share = load / reporters.len() as f64;
                for pod_name in reporters {
                    let key = Key::new(namespace.as_str(), revision.as_str());
                    let stat = Stat {
                        pod_name,
                        average_concurrent_requests: share,
                        request_count: share,
                        process_uptime: 100.0,
                        timestamp: now,
                        ..Stat::default()
                    };
                    // An autoscaler that is dead, or behind, gets the next ones.
                    let _ = stats.try_send(StatMessage { key, stat });
                }
            }
        }
    });
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}
