//! The end: of pods whose client is gone for too long, of everything when told so.
//!
//! ```text
//! down, or nobody came back in time, or a signal
//!   └─ every container gets its stop signal ─▶ grace ─▶ every container is killed ─▶ pods removed ─▶ trees removed
//!        └─ network, cgroups, socket, run directory gone ─▶ those who asked are answered ─▶ the process ends
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions};

use super::answers::{Reply, Said};
use super::containers::send;
use super::server::{Spawner, exit_code};
use crate::cgroup::remove_instance;
use crate::network::pod::PodLink;
use crate::spec::{PodId, PodSpec};
use crate::sys::time::Moment;
use crate::wire::{Answer, Refusal, RefusalCode};

/// An end that has begun.
#[derive(Debug)]
pub(super) struct Ending {
    begun: Moment,
    /// When every pod is killed that has not ended.
    kill_at: Moment,
    killed: BTreeSet<PodId>,
    replies: Vec<Reply>,
}

/// How long containers may take to end if nobody said otherwise.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// How often what lingers is looked at.
const LINGER_TICK: Duration = Duration::from_millis(20);
/// How long the last processes may take to leave their cgroups.
const LEAVE: Duration = Duration::from_secs(5);
/// How long a client that is a child may take to end, once everything else has.
const CHILD_ENDS: Duration = Duration::from_secs(15);

impl Ending {
    /// When a pod's containers are killed; none once they have been.
    fn kill_at(&self, pod: &PodSpec) -> Option<Moment> {
        let own = pod.grace_ms.map(|grace| self.begun.after(Duration::from_millis(grace)));
        (!self.killed.contains(&pod.id)).then(|| own.map_or(self.kill_at, |own| own.min(self.kill_at)))
    }
}

impl Spawner {
    /// Begins the end, or joins those who wait for it. An earlier deadline than the present one counts.
    pub(super) fn end(&mut self, grace: Duration, reply: Option<Reply>) {
        let begun = Moment::now();
        let kill_at = begun.after(grace);
        match &mut self.ending {
            Some(ending) => {
                ending.kill_at = ending.kill_at.min(kill_at);
                ending.replies.extend(reply);
            }
            None => {
                tracing::info!(grace_ms = grace.as_millis() as u64, "ending every pod");
                let replies = reply.into_iter().collect();
                self.ending = Some(Ending { begun, kill_at, killed: BTreeSet::new(), replies });
                self.listeners.clear();
                self.unpark(None);
                self.cancel_jobs();
                self.stop_all_containers();
            }
        }
    }

    /// Refuses what would begin while everything ends.
    pub(super) fn require_open(&self) -> Result<(), Refusal> {
        match self.ending {
            Some(_) => Err(Refusal::new(RefusalCode::Busy, "the spawner is ending")),
            None => Ok(()),
        }
    }

    /// How long the event loop may sleep.
    pub(super) fn patience(&self) -> Option<Duration> {
        let lingers = !self.lingering_groups.is_empty() || self.jobs.has_discarded();
        let ticks = lingers.then_some(LINGER_TICK);
        let kills =
            self.ending.iter().flat_map(|ending| self.pods.values().filter_map(|pod| ending.kill_at(&pod.spec)));
        let kill = kills.min().map(Moment::remaining);
        let orphan = self.orphan_at.map(Moment::remaining);
        let link = self.lingering_links.front().map(|(at, _)| at.remaining());
        let park = self.pool.due().filter(|_| self.ending.is_none()).map(Moment::remaining);
        [ticks, kill, orphan, link, park].into_iter().flatten().min()
    }

    /// Does what has become due.
    pub(super) fn tick(&mut self) {
        self.lingering_groups.retain(|group| group.remove().is_err());
        while let Some((_, link)) = self.lingering_links.pop_front_if(|(at, _)| at.is_past()) {
            self.settle(link);
        }
        if self.orphan_at.is_some_and(Moment::is_past) {
            self.orphan_at = None;
            tracing::warn!(waited_ms = self.config.orphan_wait_ms, "no client came back");
            self.end(GRACE, None);
        }
        if self.ending.is_some() {
            self.advance_end();
        }
    }

    fn settle(&mut self, link: PodLink) {
        let is_left = self.machine.network.as_mut().is_some_and(|network| network.delete_if_left(link));
        if is_left {
            tracing::warn!(ip = %link.ip, "somebody still held a socket of a removed pod; its link was deleted");
        }
    }

    fn advance_end(&mut self) {
        let Some(ending) = &mut self.ending else { return };
        let is_due = |pod: &PodSpec| ending.kill_at(pod).is_some_and(Moment::is_past);
        let due: Vec<PodId> =
            self.pods.values().map(|pod| &pod.spec).filter(|pod| is_due(pod)).map(|pod| pod.id.clone()).collect();
        ending.killed.extend(due.iter().cloned());
        let living: Vec<_> = due.iter().flat_map(|pod| self.containers_of(pod)).collect();
        living.iter().for_each(|container| self.kill_container(container));
        let over: Vec<PodId> = self.pods.keys().filter(|pod| self.are_over(pod)).cloned().collect();
        for pod in over {
            // It exists: it was just listed.
            let _ = self.remove_pod(&pod, None);
        }
        self.run_jobs();
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_some() && self.pods.is_empty() && self.execs.is_empty() && !self.has_jobs()
    }

    /// The last act: takes down what the machine was prepared with, and answers those who asked for the end. Returns the exit code.
    pub(super) fn take_down(mut self) -> u8 {
        let mut replies = self.ending.take().map(|ending| ending.replies).unwrap_or_default();
        if let Some(network) = self.machine.network.take() {
            network.destroy();
        }
        if let Some(child) = self.child {
            // It waits for its answer, and has to be gone before its cgroup can go.
            replies.drain(..).for_each(|reply| self.answer(reply, Ok(Said::plain(Answer::Done))));
            self.await_child(child);
        }
        // The spawner itself sits in one of the groups, so it goes back to the root before it removes them.
        self.leave_own_groups();
        let deadline = Moment::now().after(LEAVE);
        while !remove_instance(&self.machine.layout, &self.config.instance, false) {
            if deadline.is_past() {
                tracing::warn!("the instance's cgroups could not be removed: somebody else's process is in them");
                break;
            }
            self.pause(LINGER_TICK);
        }
        for path in [self.config.socket_path(), self.machine.base.clone(), self.config.run_dir.clone()] {
            if let Err(error) = crate::removal::remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "could not be removed");
            }
        }
        replies.into_iter().for_each(|reply| self.answer(reply, Ok(Said::plain(Answer::Done))));
        tracing::info!("ended");
        self.child_exit.unwrap_or(0)
    }

    fn await_child(&mut self, child: Pid) {
        let deadline = Moment::now().after(CHILD_ENDS);
        loop {
            match rustix::process::waitpid(Some(child), WaitOptions::NOHANG) {
                Ok(None) => {}
                Ok(Some((_, status))) => return self.child_exit = Some(exit_code(status)),
                Err(error) => return tracing::warn!(%error, "the client cannot be waited for"),
            }
            if deadline.is_past() {
                // It may just have ended; the next look tells.
                let _ = send(child, libc::SIGKILL);
            }
            self.pause(LINGER_TICK);
        }
    }

    fn leave_own_groups(&self) {
        let v1 = self.machine.layout.v1.iter().map(|hierarchy| &hierarchy.mount);
        let v2 = self.machine.layout.v2.iter().map(|unified| &unified.mount);
        for mount in v1.chain(v2) {
            let own = mount.join(format!("kwick-{}", self.config.instance)).join("spawner");
            if own.exists()
                && let Err(error) = fs::write(mount.join("cgroup.procs"), "0")
            {
                tracing::warn!(mount = %mount.display(), %error, "the spawner could not leave its cgroup");
            }
        }
    }

    /// Waits for time to pass, deaf to everything else.
    fn pause(&self, duration: Duration) {
        let request = rustix::time::Timespec { tv_sec: 0, tv_nsec: duration.subsec_nanos().into() };
        let _ = rustix::thread::nanosleep(&request);
    }
}
