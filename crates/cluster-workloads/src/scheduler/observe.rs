//! What a decision about a Pod may look at: the Pod, and what the nodes say to it.

use std::sync::Arc;

use base_controller::{Change, Informer, Key};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use super::claims::{self, Claims};
use super::fit::{self, Misfit, Verdict};
use super::ledger::Ledger;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) pods: Informer<Pod>,
    pub(super) nodes: Informer<Node>,
    pub(super) ledger: Ledger,
    pub(super) claims: claims::Caches,
}

/// The facts about one waiting Pod.
#[derive(Debug, Serialize)]
pub(super) struct Observed {
    /// The Pod.
    pub(super) pod: Arc<Pod>,
    /// Where it goes. If that is a node, the ledger keeps the room for it.
    pub(super) verdict: Verdict,
    /// What the Pod's claims have to be told first; nothing if none waits for the Pod.
    pub(super) to_tell: Option<Vec<Change>>,
}

impl Caches {
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let pod = self.pods.get(key).filter(|pod| super::is_waiting(pod))?;
        let nodes = self.nodes.list();
        let mut verdict = Verdict { nodes: nodes.len(), ..Verdict::default() };
        let claims = match self.claims.of(&pod) {
            Ok(claims) => claims,
            Err(reason) => {
                verdict.refuse_everywhere(reason);
                return Some(Observed { pod, verdict, to_tell: None });
            }
        };
        for node in &nodes {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let fits = fit::judge(&pod, node, &self.ledger.used_by_others(&pod, name));
            match fits.and_then(|()| claims.judge(node)).and_then(|()| self.may_share(&pod, &claims)) {
                Err(misfit) => verdict.refuse(misfit),
                Ok(()) => {
                    self.ledger.claim(&pod, name);
                    verdict.node = Some(name.to_owned());
                    break;
                }
            }
        }
        let to_tell = verdict.node.as_deref().and_then(|node| claims.told(node));
        Some(Observed { pod, verdict, to_tell })
    }

    fn may_share(&self, pod: &Pod, claims: &Claims) -> Result<(), Misfit> {
        if !claims.exclusive.iter().any(|claim| self.ledger.is_used_by_others(pod, claim)) {
            return Ok(());
        }
        let reason = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use \
                      by another pod";
        Err(Misfit { reasons: vec![reason.to_owned()], is_lack_of_room: true })
    }
}
