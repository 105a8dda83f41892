//! Where a worker begins: with what an earlier process, or the object, has of the Pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster_sandbox::spec::{ContainerPhase, ContainerState as SpawnerContainer, PodState as SpawnerPod};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::{Kept, Worker};
use crate::node::names::ContainerTag;
use crate::node::pod_state::{Cell, Event, Eviction, Ground, LOST_ENDED, Lost, LostRun, Phase, Resumed, unknown_end};
use crate::node::pod_status::ended_of;
use crate::node::runtime;
use crate::objects::pods;

impl Worker {
    /// Looks at what is there: a Pod that ended before, one that the spawner runs, one whose sandbox has gone, or a new one.
    pub(super) async fn begin(&mut self, adopted: Option<SpawnerPod>) {
        let started = self.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        self.state.started_at = started.map_or(self.state.started_at, |time| time.0);
        // Known from the start, so that nothing is made for a Pod that is only to end.
        self.state.deletion = self.deletion();
        self.state.eviction = evicted(&self.pod);
        if self.is_terminal {
            self.state.sandbox = Ground::Gone;
            let statuses = self.known_statuses();
            for (cell, status) in self.state.cells.iter_mut().zip(statuses) {
                let terminated = status.and_then(|status| status.state?.terminated);
                cell.phase = Phase::Ended(
                    terminated.as_ref().map_or_else(|| unknown_end(self.state.started_at, LOST_ENDED), ended_of),
                );
            }
        } else {
            let is_taken_back = match adopted {
                Some(spawned) => self.adopt(spawned).await,
                None => false,
            };
            if !is_taken_back {
                let lost = self.known_statuses().into_iter().map(|status| status.map(lost_of)).collect();
                self.state.lose(lost, self.node.clock.now());
            }
        }
        let pod = Arc::clone(&self.pod);
        self.updated(Some(pod));
        self.step(Event::Tick);
        self.report();
    }

    /// The statuses of the containers in their order, as the object has them.
    fn known_statuses(&self) -> Vec<Option<k8s_openapi::api::core::v1::ContainerStatus>> {
        let status = self.pod.status.as_ref();
        let known = || {
            let inits = status.into_iter().flat_map(|status| status.init_container_statuses.iter().flatten());
            inits.chain(status.into_iter().flat_map(|status| status.container_statuses.iter().flatten()))
        };
        let of = |cell: &Cell| known().find(|status| status.name == cell.facts.name).cloned();
        self.state.cells.iter().map(of).collect()
    }

    /// Takes the Pod's sandbox and its runs back; answers whether that went well.
    async fn adopt(&mut self, spawned: SpawnerPod) -> bool {
        match runtime::adopt(&self.node, (&self.pod, &spawned.id), &self.outbox).await {
            Ok(runtime) => {
                self.state.ip = runtime.ip;
                self.state.sandbox = Ground::Ready;
                self.hold(Box::new(runtime));
            }
            Err(why) => {
                // A new one is made; making it removes what is there under its name.
                tracing::warn!(pod = self.uid, why, "a running pod could not be taken back");
                return false;
            }
        }
        let mut runs: BTreeMap<String, (ContainerTag, SpawnerContainer)> = BTreeMap::new();
        for container in spawned.containers {
            let Some(tag) = ContainerTag::parse(&container.tag) else { continue };
            let is_later = runs.get(&tag.container).is_none_or(|(known, _)| known.attempt < tag.attempt);
            if is_later {
                runs.insert(tag.container.clone(), (tag, container));
            }
        }
        let mut exits = Vec::new();
        for (at, status) in self.known_statuses().into_iter().enumerate() {
            let Some(name) = self.state.cells.get(at).map(|cell| cell.facts.name.clone()) else { continue };
            let Some((tag, container)) = runs.remove(&name) else {
                self.adopt_without_run(at, status);
                continue;
            };
            let lease = self.node.images.lease(&tag.image_id).await;
            self.kept.insert(at, Kept { _lease: lease, stop_signal: tag.stop_signal });
            self.resume(at, (&tag, &container), status);
            if let ContainerPhase::Exited(exit) = container.phase {
                exits.push((container.id, exit));
            }
        }
        // Only now, when it is known what else runs.
        for (container, exit) in exits {
            self.exited(&container, &exit);
        }
        true
    }

    fn resume(&mut self, at: usize, run: (&ContainerTag, &SpawnerContainer), status: Option<ContainerStatus>) {
        let (tag, container) = run;
        let last = status.as_ref().and_then(|status| status.last_state.as_ref()?.terminated.as_ref()).map(ended_of);
        let resumed = Resumed {
            attempt: tag.attempt,
            id: container.id.as_str().to_owned(),
            image_id: tag.image_id.clone(),
            since: container.started_at,
            last,
            is_started: status.as_ref().and_then(|status| status.started).unwrap_or(false),
            is_ready: status.as_ref().is_some_and(|status| status.ready),
        };
        for action in self.state.resume(at, resumed) {
            self.perform(action);
        }
    }

    /// A container of a sandbox that is there, of which the spawner has no run: a role of this process, or one that has not begun.
    fn adopt_without_run(&mut self, at: usize, status: Option<ContainerStatus>) {
        let Some(cell) = self.state.cells.get_mut(at) else { return };
        let Some(status) = status else { return };
        let is_role = self.runtime.as_ref().is_some_and(|runtime| runtime.roles.contains_key(&at));
        let Lost { attempt, run, last, .. } = lost_of(status);
        match run {
            LostRun::Ended(ended) if !cell.facts.restart.restarts(ended.code) => {
                cell.adopt_count(attempt, true, last);
                cell.phase = Phase::Ended(ended);
            }
            // A role that ran goes on in this process: that is no restart.
            LostRun::Ended(ended) => cell.adopt_count(attempt, true, Some(ended)),
            LostRun::Running => cell.adopt_count(attempt, !is_role, last),
            LostRun::None => cell.adopt_count(attempt, last.is_some(), last),
        }
    }
}

/// Why an earlier process has evicted the Pod, if it has.
fn evicted(pod: &Pod) -> Option<Eviction> {
    let status = pod.status.as_ref().filter(|_| pods::is_finished(pod))?;
    Eviction::told(status.reason.as_deref()?, status.message.as_deref()?)
}

/// What a status says of a container whose sandbox has gone.
fn lost_of(status: ContainerStatus) -> Lost {
    let state = status.state.unwrap_or_default();
    let run = match (&state.terminated, state.running) {
        (Some(terminated), _) => LostRun::Ended(ended_of(terminated)),
        (None, Some(_)) => LostRun::Running,
        (None, None) => LostRun::None,
    };
    Lost {
        attempt: u32::try_from(status.restart_count).unwrap_or_default(),
        image_id: status.image_id,
        run,
        last: status.last_state.and_then(|last| last.terminated).as_ref().map(ended_of),
    }
}
