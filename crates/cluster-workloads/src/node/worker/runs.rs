//! Runs of containers: started, probed, stopped, ended.

use std::sync::Arc;
use std::time::Duration;

use base_rt::{Phase as ShutdownPhase, Timestamp, error_chain};
use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{ContainerId, Exit};
use k8s_openapi::api::core::v1::Container;
use tokio::time::Instant;

use super::{Kept, Message, Worker};
use crate::node::facts::{ProbeKind, containers};
use crate::node::kubelet::Kubelet;
use crate::node::launch::{self, Launch, Launched};
use crate::node::names;
use crate::node::pod_state::{Cell, Ended, Event, Phase};
use crate::node::probes::{self, Attempt, Schedule};
use crate::node::runtime::{Aborts, Running};

/// The least time between a hook and the end by force, as the kubelet has it.
const GRACE_MIN: Duration = Duration::from_secs(2);

impl Worker {
    pub(super) fn start(&self, at: usize, attempt: u32) {
        let (Some(container), Some(runtime), Some(cell)) =
            (self.container(at), &self.runtime, self.state.cells.get(at))
        else {
            return;
        };
        let factory = runtime.roles.get(&at).map(Arc::clone);
        let ports = factory.as_ref().map(|factory| factory.ports(&container)).unwrap_or_default();
        let launch = Launch {
            node: Arc::clone(&self.node),
            pod: Arc::clone(&self.pod),
            role: cell.facts.role,
            attempt,
            ip: self.state.ip,
            factory,
            listeners: runtime.listeners_of(&ports),
            sockets: runtime.sockets.clone(),
            files: self.files.subscribe(),
            is_ending: self.is_ending.subscribe(),
            container,
        };
        self.spawn("node/start", async move { Message::Launched(at, attempt, Box::pin(launch.run()).await) });
    }

    pub(super) fn launched(&mut self, at: usize, attempt: u32, launched: Launched) {
        match launched {
            Launched::Refused { reason, message, backoff } => {
                self.step(Event::Refused { at, attempt, reason, message, backoff });
            }
            Launched::Dead(ended) => self.step(Event::Exited { at, attempt, ended }),
            Launched::Run(run) => {
                let launch::Run { image, stop_signal, id, since, role } = *run;
                let image_id = image.id.clone();
                self.kept.insert(at, Kept { _lease: Some(image.lease), stop_signal });
                if let Some(role) = role {
                    self.keep_role((at, attempt), role);
                }
                self.step(Event::Started { at, attempt, id, image_id, since });
            }
        }
    }

    fn keep_role(&mut self, run: (usize, u32), role: launch::RoleRun) {
        let (at, attempt) = run;
        let Some(runtime) = &mut self.runtime else { return };
        let launch::RoleRun { handle, shutdown, log } = role;
        let shutdown = Arc::new(shutdown);
        launch::follow_process(&self.node.tasks, &shutdown);
        let outbox = self.outbox.clone();
        let ended = handle.ended;
        let ending = self.node.tasks.spawn_transient("node/role", async move {
            let code = ended.await;
            // A worker that has ended needs no news.
            let _ = outbox.send(Message::RoleEnded(at, attempt, code)).await;
        });
        let mut tasks = vec![ending];
        if let Some(mut changed) = handle.changed {
            let outbox = self.outbox.clone();
            tasks.push(self.node.tasks.spawn_transient("node/role-changes", async move {
                while changed.changed().await.is_ok() && outbox.send(Message::Poke).await.is_ok() {}
            }));
        }
        runtime.sinks.insert(at, log);
        runtime.running.insert(at, Running { shutdown, handlers: handle.handlers, _tasks: Aborts(tasks) });
        runtime.poke();
    }

    pub(super) fn probe(&mut self, at: usize, attempt: u32, kind: ProbeKind) {
        let Some(container) = self.container(at) else { return };
        let id = ContainerId::try_new(names::container_id(&self.uid, &container.name, attempt));
        let (Some(runtime), Ok(id)) = (&mut self.runtime, id) else { return };
        let Some(spec) = kind.of(&container) else { return };
        let Some(attempted) = Attempt::of_probe(spec, &container) else { return };
        let (way, poke) = (runtime.way(&self.node, id), runtime.poke.subscribe());
        let (schedule, outbox) = (Schedule::of(spec), self.outbox.clone());
        let message =
            move |outcome, is_periodic| Message::State(Event::Probed { at, attempt, kind, outcome, is_periodic });
        let probing = probes::probe(attempted, schedule, (way, poke), (outbox, message));
        let task = self.node.tasks.spawn_transient("node/probe", probing);
        runtime.probes.entry(at).or_default().0.push(task);
    }

    /// Does what a run's `postStart` hook says, for as long as the run is to go on.
    pub(super) fn hook(&mut self, at: usize, attempt: u32) {
        let Some(container) = self.container(at) else { return };
        let id = ContainerId::try_new(names::container_id(&self.uid, &container.name, attempt));
        let (Some(runtime), Ok(id)) = (&self.runtime, id) else { return };
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
        let Some(hook) = hook else { return };
        let way = runtime.way(&self.node, id);
        let pod = self.state.facts.full_name();
        let task = self.spawn("node/hook", async move {
            let outcome = probes::hook(&hook, &container, &way, Duration::MAX).await;
            let outcome = outcome.map_err(|why| probes::hook_failed(&hook, (&container.name, &pod), &why));
            Message::State(Event::Hooked { at, attempt, outcome })
        });
        self.hooks.insert(at, Aborts(vec![task]));
    }

    /// Ends a run: its hook, its signal, and force when its time is over.
    pub(super) fn stop(&mut self, at: usize, attempt: u32, grace: Duration) {
        let Some(container) = self.container(at) else { return };
        let id = ContainerId::try_new(names::container_id(&self.uid, &container.name, attempt));
        let (Some(runtime), Ok(id)) = (&self.runtime, id) else { return };
        self.hooks.remove(&at);
        let way = runtime.way(&self.node, id.clone());
        let role = runtime.running.get(&at).map(|role| Arc::clone(&role.shutdown));
        let signal = self.kept.get(&at).map_or(names::SIGTERM, |kept| kept.stop_signal);
        let (node, outbox) = (Arc::clone(&self.node), self.outbox.clone());
        let task = self.node.tasks.spawn_transient("node/stop", async move {
            let deadline = Instant::now() + grace;
            let hook = container
                .lifecycle
                .as_ref()
                .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
                .filter(|_| !grace.is_zero());
            if let Some(hook) = hook
                && let Err(why) = probes::hook(hook, &container, &way, grace).await
            {
                tracing::debug!(container = id.as_str(), why, "preStop hook failed");
            }
            if !grace.is_zero() {
                match &role {
                    Some(shutdown) => shutdown.advance(ShutdownPhase::Lame),
                    None => _ = node.sandbox.signal(&id, signal).await,
                }
                let least = if hook.is_some() { Instant::now() + GRACE_MIN } else { deadline };
                tokio::time::sleep_until(deadline.max(least)).await;
            }
            match &role {
                Some(shutdown) => {
                    shutdown.advance(ShutdownPhase::Stopped);
                    const KILLED: i32 = 137;
                    // A worker that has ended needs no news.
                    let _ = outbox.send(Message::RoleEnded(at, attempt, KILLED)).await;
                }
                None => kill(&node, &id).await,
            }
        });
        self.stops.entry(at).or_default().0.push(task);
    }

    pub(super) fn exited(&mut self, container: &ContainerId, exit: &Exit) {
        let found = self
            .state
            .cells
            .iter()
            .enumerate()
            .find(|(_, cell)| names::container_id(&self.uid, &cell.facts.name, cell.attempt) == container.as_str());
        let Some((at, cell)) = found else { return };
        let reason = match (exit.is_oom_killed, exit.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let (name, attempt) = (cell.facts.name.clone(), cell.attempt);
        let message = self.node.config.volumes_dir.join(names::message_path(&self.uid, &name, attempt));
        let log = self.node.config.logs_dir.join(names::log_path(&self.pod, &name, attempt));
        let words = containers(&self.pod)
            .nth(at)
            .and_then(|container| launch::last_words(container, (&message, &log), exit.code));
        let ended = Ended {
            code: exit.code,
            signal: exit.signal,
            reason: reason.to_owned(),
            message: words,
            // An end may overtake the news of its start: so soon it came.
            started_at: Some(since(cell).unwrap_or(exit.finished_at)),
            finished_at: exit.finished_at,
            id: container.as_str().to_owned(),
        };
        self.ended(at, attempt, ended);
    }

    pub(super) fn role_ended(&mut self, at: usize, attempt: u32, code: i32) {
        let Some(cell) = self.state.cells.get(at).filter(|cell| cell.attempt == attempt) else { return };
        let id = names::container_id(&self.uid, &cell.facts.name, attempt);
        let reason = if code == 0 { "Completed" } else { "Error" };
        let started_at = since(cell);
        let ended = Ended {
            code,
            signal: None,
            reason: reason.to_owned(),
            message: None,
            started_at,
            finished_at: self.node.clock.now(),
            id,
        };
        self.ended(at, attempt, ended);
    }

    fn ended(&mut self, at: usize, attempt: u32, ended: Ended) {
        if let Some(runtime) = &mut self.runtime {
            runtime.probes.remove(&at);
            runtime.running.remove(&at);
        }
        self.stops.remove(&at);
        self.hooks.remove(&at);
        self.step(Event::Exited { at, attempt, ended });
        self.poke();
    }

    fn container(&self, at: usize) -> Option<Container> {
        containers(&self.pod).nth(at).cloned()
    }
}

fn since(cell: &Cell) -> Option<Timestamp> {
    match &cell.phase {
        Phase::Running(running) => Some(running.since),
        _ => None,
    }
}

/// Kills a run; one that has ended is fine.
async fn kill(node: &Kubelet, id: &ContainerId) {
    if let Err(error) = node.sandbox.kill(id).await
        && !matches!(error.refusal(), Some(RefusalCode::NotFound | RefusalCode::Busy))
    {
        tracing::error!(container = id.as_str(), error = error_chain(&error), "container is not killed");
    }
}
