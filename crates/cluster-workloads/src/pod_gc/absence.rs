//! Since when nodes are not there, as far as this process can know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base_controller::Informer;
use base_rt::{Clock, Timestamp};
use k8s_openapi::api::core::v1::Node;

/// Nodes whose going is remembered.
const MAX_NODES: usize = 1000;

/// When nodes went.
#[derive(Clone, Debug)]
pub(super) struct Absence {
    started: Timestamp,
    gone: Arc<Mutex<BTreeMap<String, Timestamp>>>,
}

impl Absence {
    /// Follows a cache of nodes.
    pub(super) fn follow(nodes: &Informer<Node>, clock: Clock) -> Self {
        let absence = Self { started: clock.now(), gone: Arc::default() };
        let gone = Arc::clone(&absence.gone);
        nodes.subscribe(move |delta| {
            let Some(name) = delta.latest().and_then(|node| node.metadata.name.clone()) else { return };
            let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
            if delta.new.is_some() {
                gone.remove(&name);
            } else if gone.len() < MAX_NODES {
                gone.insert(name, clock.now());
            }
        });
        absence
    }

    /// Since when the node is not there; if nobody has seen it go, since this process started.
    pub(super) fn since(&self, node: &str) -> Timestamp {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).get(node).copied().unwrap_or(self.started)
    }
}
