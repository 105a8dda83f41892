//! What a decision about a Pod may look at: the Pod, and what the nodes say to it.

use std::sync::Arc;

use base_controller::{Informer, Key};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use super::fit::{self, Verdict};
use super::ledger::Ledger;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) pods: Informer<Pod>,
    pub(super) nodes: Informer<Node>,
    pub(super) ledger: Ledger,
}

/// The facts about one waiting Pod.
#[derive(Debug, Serialize)]
pub(super) struct Observed {
    /// The Pod.
    pub(super) pod: Arc<Pod>,
    /// Where it goes. If that is a node, the ledger keeps the room for it.
    pub(super) verdict: Verdict,
}

impl Caches {
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let pod = self.pods.get(key).filter(|pod| super::is_waiting(pod))?;
        let nodes = self.nodes.list();
        let mut verdict = Verdict { nodes: nodes.len(), ..Verdict::default() };
        for node in &nodes {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            match fit::judge(&pod, node, &self.ledger.used_by_others(&pod, name)) {
                Err(misfit) => verdict.refuse(misfit),
                Ok(()) => {
                    self.ledger.claim(&pod, name);
                    verdict.node = Some(name.to_owned());
                    break;
                }
            }
        }
        Some(Observed { pod, verdict })
    }
}
