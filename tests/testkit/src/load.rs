//! Work that Pods share: what they would be measured to use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base_rt::Clock;
use cluster_apiserver::{Measurement, Measures, Measuring, PodUse, Use};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};

/// How long a measurement is said to take, in milliseconds.
const WINDOW_MS: u64 = 15_000;

/// So much work, spread evenly over the Pods that run. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Load(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    milli: AtomicU64,
    cluster: OnceLock<Cluster>,
}

struct Cluster {
    client: Client,
    clock: Clock,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Load {
    /// From now on Pods use this much of processors together, in thousandths.
    pub fn set(&self, milli: u64) {
        self.0.milli.store(milli, Ordering::Relaxed);
    }

    pub(crate) fn follow(&self, client: Client, clock: Clock) {
        let known = self.0.cluster.set(Cluster { client, clock });
        assert!(known.is_ok(), "a load is of one cluster");
    }
}

impl Measures for Load {
    fn measure(&self) -> Measuring {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let Cluster { client, clock } = shared.cluster.get().ok_or("there is no cluster yet")?;
            let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await;
            let mut pods = pods.map_err(|error| error.to_string())?.items;
            let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
            pods.retain(|pod| phase(pod).as_deref() == Some("Running"));
            let nanos = shared.milli.load(Ordering::Relaxed) * 1_000_000;
            let used = Use { cpu_nanos: nanos / (pods.len() as u64).max(1), memory_bytes: 1 << 20 };
            let pods = pods.into_iter().map(|pod| {
                let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                let containers = containers.map(|container| (container.name.clone(), used)).collect();
                let text = |text: Option<String>| text.unwrap_or_default();
                PodUse { namespace: text(pod.metadata.namespace), name: text(pod.metadata.name), containers }
            });
            Ok(Measurement { at: clock.now(), window_ms: WINDOW_MS, nodes: Vec::new(), pods: pods.collect() })
        })
    }
}
