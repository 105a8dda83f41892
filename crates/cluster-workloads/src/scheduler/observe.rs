//! What a decision about a Pod may look at: the Pod, and what the nodes say to it.

use std::sync::Arc;

use base_controller::{Change, Informer, Key};
use base_rt::{Clock, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use super::claims::{self, Claims};
use super::fit::{self, Misfit, Verdict};
use super::ledger::{Hold, Ledger};

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) pods: Informer<Pod>,
    pub(super) nodes: Informer<Node>,
    pub(super) ledger: Ledger,
    pub(super) claims: claims::Caches,
    pub(super) clock: Clock,
}

/// The facts about one waiting Pod.
#[derive(Debug, Serialize)]
pub(super) struct Observed {
    /// The Pod.
    pub(super) pod: Arc<Pod>,
    /// Where it goes. If that is a node, the ledger keeps the room for it, or holds it as long as it waits.
    pub(super) verdict: Verdict,
    /// What the Pod's claims have to be told first, and how long it may wait for them; nothing if none waits for the Pod.
    pub(super) waits: Option<(Vec<Change>, Hold)>,
    /// When a room becomes free by itself.
    pub(super) free_at: Option<Timestamp>,
}

impl Caches {
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let pod = self.pods.get(key).filter(|pod| super::is_waiting(pod))?;
        let (nodes, now) = (self.nodes.list(), self.clock.now());
        let mut verdict = Verdict { nodes: nodes.len(), ..Verdict::default() };
        let mut waits = None;
        match self.claims.of(&pod) {
            Ok(claims) => waits = self.judge(&pod, &claims, &nodes, (&mut verdict, now)),
            Err(reason) => verdict.refuse_everywhere(reason),
        }
        if verdict.node.is_none() {
            self.ledger.leave(&pod);
        }
        Some(Observed { pod, verdict, waits, free_at: self.ledger.next_end(now) })
    }

    /// Gives the Pod its room on the first node that takes it; what its claims have to be told first.
    fn judge(
        &self,
        pod: &Pod,
        claims: &Claims,
        nodes: &[Arc<Node>],
        (verdict, now): (&mut Verdict, Timestamp),
    ) -> Option<(Vec<Change>, Hold)> {
        for node in nodes {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let fits = fit::judge(pod, node, &self.ledger.used_by_others(pod, name, now));
            match fits.and_then(|()| claims.judge(node)).and_then(|()| self.may_share(pod, claims, now)) {
                Err(misfit) => verdict.refuse(misfit),
                Ok(()) => {
                    verdict.node = Some(name.to_owned());
                    let to_tell = claims.told(name);
                    if to_tell.is_none() {
                        self.ledger.claim(pod, name);
                    }
                    return to_tell.map(|to_tell| (to_tell, self.ledger.hold(pod, name, now)));
                }
            }
        }
        None
    }

    fn may_share(&self, pod: &Pod, claims: &Claims, now: Timestamp) -> Result<(), Misfit> {
        if !claims.exclusive.iter().any(|claim| self.ledger.is_used_by_others(pod, claim, now)) {
            return Ok(());
        }
        let reason = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use \
                      by another pod";
        Err(Misfit { reasons: vec![reason.to_owned()], is_lack_of_room: true })
    }
}
