//! Whether a Pod fits a node, and if not, why, in kube-scheduler's words.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use super::requests::{Amounts, PODS};
use crate::objects::affinity;

/// Why a Pod does not fit a node: reasons of the first kind that there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Misfit {
    pub(super) reasons: Vec<String>,
    /// Whether other Pods' going would help.
    pub(super) is_lack_of_room: bool,
}

/// Where a Pod goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    /// The node that takes it.
    pub(super) node: Option<String>,
    /// How many nodes there are.
    pub(super) nodes: usize,
    /// How many nodes do not take it, by reason.
    pub(super) reasons: BTreeMap<String, usize>,
    /// How many nodes would not take it were they empty.
    pub(super) hopeless: usize,
    /// Why it goes nowhere, whichever nodes there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
}

/// Whether the Pod may run on the node, of which `used` is in use.
pub(super) fn judge(pod: &Pod, node: &Node, used: &Amounts) -> Result<(), Misfit> {
    let never = |reason: &str| Err(Misfit { reasons: vec![reason.to_owned()], is_lack_of_room: false });
    if !affinity::tolerates_cordon(pod, node) {
        return never("node(s) were unschedulable");
    }
    if !affinity::tolerates(pod, node) {
        return never("node(s) had untolerated taint(s)");
    }
    if !affinity::takes_node(pod, node) {
        return never("node(s) didn't match Pod's node affinity/selector");
    }
    let offered = Amounts::allocatable(node);
    let lacking = Amounts::requested(pod);
    let lacking =
        lacking.iter().filter(|(name, amount)| amount.0 > 0 && used.get(name).plus(*amount) > offered.get(name));
    let reasons: Vec<String> = lacking.map(|(name, _)| lack_of(name)).collect();
    if reasons.is_empty() { Ok(()) } else { Err(Misfit { reasons, is_lack_of_room: true }) }
}

fn lack_of(resource: &str) -> String {
    if resource == PODS { "Too many pods".to_owned() } else { format!("Insufficient {resource}") }
}

impl Verdict {
    /// Notes that no node takes the Pod.
    pub(super) fn refuse_everywhere(&mut self, reason: String) {
        self.hopeless = self.nodes;
        self.refusal = Some(reason);
    }

    /// Notes that a node does not take the Pod.
    pub(super) fn refuse(&mut self, misfit: Misfit) {
        self.hopeless += usize::from(!misfit.is_lack_of_room);
        for reason in misfit.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Why the Pod goes nowhere.
    pub(super) fn message(&self) -> String {
        let nodes = self.nodes;
        if nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut reasons: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        let reasons = self.refusal.clone().unwrap_or_else(|| reasons.join(", "));
        let available = format!("0/{nodes} nodes are available");
        format!("{available}: {reasons}. preemption: {available}: {}.", self.preemption())
    }

    fn preemption(&self) -> String {
        let full = self.nodes - self.hopeless.min(self.nodes);
        let mut parts = Vec::new();
        if full > 0 {
            parts.push(format!("{full} No preemption victims found for incoming pod"));
        }
        if self.hopeless > 0 {
            parts.push(format!("{} Preemption is not helpful for scheduling", self.hopeless));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_kube_schedulers() {
        let mut verdict = Verdict { nodes: 1, ..Verdict::default() };
        assert_eq!(Verdict::default().message(), "no nodes available to schedule pods");
        let reasons = vec!["Insufficient memory".to_owned(), "Insufficient cpu".to_owned()];
        verdict.refuse(Misfit { reasons, is_lack_of_room: true });
        assert_eq!(
            verdict.message(),
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. \
             preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        );
        let mut verdict = Verdict { nodes: 2, ..Verdict::default() };
        verdict.refuse_everywhere("pod has unbound immediate PersistentVolumeClaims".to_owned());
        assert_eq!(
            verdict.message(),
            "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. \
             preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        );
        let mut verdict = Verdict { nodes: 1, ..Verdict::default() };
        verdict.refuse(Misfit { reasons: vec!["node(s) were unschedulable".to_owned()], is_lack_of_room: false });
        assert_eq!(
            verdict.message(),
            "0/1 nodes are available: 1 node(s) were unschedulable. \
             preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        );
    }
}
