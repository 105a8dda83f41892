//! What a worker tells: the status, which ports matter, and which run has which log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base_rt::error_chain;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Message, Worker};
use crate::node::facts::{ProbeKind, containers};
use crate::node::kubelet::{Kubelet, PodView};
use crate::node::logs::RunView;
use crate::node::pod_state::{Phase, Running};
use crate::node::pod_status::make_status;
use crate::node::probes::Attempt;
use crate::objects::pods;

/// How long a status waits for more to come, unless it changes whether the Pod takes traffic.
const COALESCE: Duration = Duration::from_millis(20);
/// How long a status waits that could not be written.
const WRITE_AGAIN: Duration = Duration::from_millis(500);

impl Worker {
    /// Tells whoever watches ports and reads logs, and writes the status if it has changed.
    pub(super) fn report(&mut self) {
        self.want_ports();
        self.show_runs();
        if self.is_gone || self.is_terminal || self.is_writing {
            return;
        }
        let status = self.status();
        if self.written.as_ref() == Some(&status) {
            self.write_at = None;
            return;
        }
        let due = *self.write_at.get_or_insert_with(|| Instant::now() + COALESCE);
        let is_urgent = is_ready(Some(&status)) != is_ready(self.written.as_ref());
        let is_paused = self.pause_until.is_some_and(|until| until > Instant::now());
        if !is_paused && (is_urgent || due <= Instant::now()) {
            self.write_at = None;
            self.is_writing = true;
            let writing = write_status(Arc::clone(&self.node), Arc::clone(&self.pod), self.written.clone(), status);
            self.spawn("node/status", writing);
        }
    }

    pub(super) fn status(&self) -> PodStatus {
        let previous = self.written.as_ref().or(self.pod.status.as_ref());
        make_status(&self.pod, &self.state, previous, (self.node.config.ip, self.node.clock.now()))
    }

    pub(super) fn was_written(&mut self, status: PodStatus, outcome: Result<(), String>) {
        self.is_writing = false;
        match outcome {
            Ok(()) => self.written = Some(status),
            Err(why) => {
                tracing::debug!(pod = self.uid, why, "the status is written again later");
                self.pause_until = Some(Instant::now() + WRITE_AGAIN);
                self.write_at = self.pause_until;
            }
        }
    }

    /// The ports whose beginning to listen matters: those of probes, or else the first one that a container declares.
    fn want_ports(&self) {
        let Some(runtime) = &self.runtime else { return };
        let mut wanted = BTreeSet::new();
        for (at, (cell, container)) in self.state.cells.iter().zip(containers(&self.pod)).enumerate() {
            let Phase::Running(running) = &cell.phase else { continue };
            if running.is_stopping || running.hook.is_some() || runtime.roles.contains_key(&at) {
                continue;
            }
            let probes = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness]
                .into_iter()
                .filter_map(|kind| kind.of(container));
            let mut ports: BTreeSet<u16> =
                probes.filter_map(|probe| Attempt::of_probe(probe, container)?.port()).collect();
            if ports.is_empty() {
                let declared = container.ports.iter().flatten().filter(|port| port.protocol.as_deref() != Some("UDP"));
                ports.extend(declared.filter_map(|port| u16::try_from(port.container_port).ok()).take(1));
            }
            wanted.extend(ports.into_iter().map(|port| (at, cell.attempt, port)));
        }
        runtime.wanted.send_if_modified(|present| {
            let is_other = *present != wanted;
            if is_other {
                *present = wanted;
            }
            is_other
        });
    }

    fn show_runs(&self) {
        let sinks = self.runtime.as_ref().map(|runtime| &runtime.sinks);
        let runs = self.state.cells.iter().enumerate().map(|(at, cell)| {
            let before = cell.attempt.checked_sub(1);
            let (shown, previous, waiting) = match &cell.phase {
                Phase::Starting { reason, .. } | Phase::Running(Running { hook: Some((reason, _)), .. }) => {
                    (before, before, reason.clone())
                }
                Phase::Running(_) | Phase::Ended(_) => (Some(cell.attempt), before, String::new()),
                // A run that is to follow has no number yet.
                Phase::Waiting { reason, .. } => {
                    let last = cell.last.is_some().then_some(cell.attempt);
                    (last, last, reason.clone())
                }
            };
            let is_running = matches!(&cell.phase, Phase::Running(running) if running.hook.is_none());
            let sink = sinks.and_then(|sinks| sinks.get(&at).cloned());
            (cell.facts.name.clone(), RunView { shown, previous, is_running, waiting, sink })
        });
        let ports = self.runtime.as_ref().map(|runtime| runtime.ports());
        self.node.show(self.name(), PodView { uid: self.uid.clone(), runs: runs.collect(), ports });
    }
}

fn is_ready(status: Option<&PodStatus>) -> bool {
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == pods::READY).any(|condition| condition.status == "True")
}

/// Writes a status: a merge patch of what the node decides, for this uid only.
pub(super) async fn write_status(
    node: Arc<Kubelet>,
    pod: Arc<Pod>,
    previous: Option<PodStatus>,
    status: PodStatus,
) -> Message {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(node.client.clone(), namespace);
    let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": merge(previous.as_ref(), &status) });
    #[expect(clippy::disallowed_methods, reason = "the node's pod status is outside of any plan (ARCHITECTURE.md)")]
    let written = api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await;
    let outcome = match written {
        // Gone, or another Pod of this name: there is nothing to say any more.
        Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => Ok(()),
        written => written.map(drop).map_err(|error| error_chain(&error)),
    };
    Message::Written(Box::new(status), outcome)
}

/// The fields of `status`, and `null` for those that only `previous` has.
fn merge(previous: Option<&PodStatus>, status: &PodStatus) -> Value {
    let value = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
    let mut merged = value(status);
    let old = previous.map(value).unwrap_or_default();
    if let (Some(merged), Some(old)) = (merged.as_object_mut(), old.as_object()) {
        for key in ["podIP", "podIPs", "message", "reason", "initContainerStatuses"] {
            if old.contains_key(key) && !merged.contains_key(key) {
                merged.insert(key.to_owned(), Value::Null);
            }
        }
    }
    merged
}
