//! Hands what Pods use to the API server, which is there before the node is.

use std::sync::OnceLock;

use cluster_apiserver::{Measurement, Measuring, PodUse, Use};
use cluster_workloads::node::{self, Node};

/// What the Pods on this machine use.
#[derive(Default)]
pub(super) struct Measures(OnceLock<Node>);

impl Measures {
    /// From now on there is something to measure.
    pub(super) fn set(&self, node: Node) {
        // There is one node.
        let _ = self.0.set(node);
    }
}

impl cluster_apiserver::Measures for Measures {
    fn measure(&self) -> Measuring {
        let node = self.0.get().cloned();
        Box::pin(async move {
            let node = node.ok_or_else(|| "the node is starting; try again in a moment".to_owned())?;
            let measured = node.measure().await?;
            Ok(translated(node.name(), &measured))
        })
    }
}

fn translated(node: &str, measured: &node::Measurement) -> Measurement {
    let used = |used: node::Use| Use { cpu_nanos: used.cpu_nanos, memory_bytes: used.memory_bytes };
    let pod = |pod: &node::PodUse| PodUse {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        containers: pod.containers.iter().map(|(name, of)| (name.clone(), used(*of))).collect(),
    };
    Measurement {
        at: measured.at,
        window_ms: u64::try_from(measured.window.as_millis()).unwrap_or(u64::MAX),
        nodes: vec![(node.to_owned(), used(measured.machine))],
        pods: measured.pods.iter().map(pod).collect(),
    }
}
