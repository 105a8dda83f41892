//! Whether the activator answers on a Revision's public Service: what must be certain before its last Pod goes.
//!
//! The service asks only for Revisions that are about to go to zero (inactive, with replicas), once a second until the activator answers;
//! then the fact stands until the Revision is active again or has no replicas. [`ActivatorProbe`] is the seam to the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_controller::{Context, Informer, Key};
use base_rt::Phase;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use knative_apis::autoscaling::{KPA, PodAutoscaler};
use knative_apis::meta::port;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::caches::Caches;
use crate::waker::Waker;

/// How often one Revision is asked about.
const PERIOD: Duration = Duration::from_secs(1);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_millis(900);
/// Questions that are asked at once.
const WORKERS: usize = 32;

/// Where the activator should answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeTarget {
    /// The namespace of the public Service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Its port.
    pub port: u16,
}

/// Asks `http://<service>.<namespace>.svc…:<port>/healthz` with `K-Network-Probe: activator`.
pub trait ActivatorProbe: Send + Sync + 'static {
    /// Whether the answer is 200 with the body `activator`. The caller bounds the time.
    fn is_activator<'a>(&'a self, target: &'a ProbeTarget) -> BoxFuture<'a, bool>;
}

/// Which Revisions the activator answers for. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeFacts(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// Revisions to ask about, and when.
    asking: BTreeMap<Key, ProbeTarget>,
    answered: BTreeSet<Key>,
}

impl ProbeFacts {
    /// Whether the activator has answered for the Revision of this PodAutoscaler.
    pub(crate) fn get(&self, key: &Key) -> bool {
        self.table().answered.contains(key)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the service: it follows `autoscalers`, writes `facts` and wakes the PodAutoscalers that they are about.
pub(crate) fn start(
    context: &Context,
    autoscalers: &Informer<PodAutoscaler>,
    caches: &Caches,
    (facts, waker): (&ProbeFacts, &Waker),
    probe: Arc<dyn ActivatorProbe>,
) {
    let changed = Arc::new(Notify::new());
    let (followed, caches, notify) = (facts.clone(), caches.clone(), Arc::clone(&changed));
    autoscalers.subscribe(move |delta| {
        let Some(latest) = delta.latest() else { return };
        let key = Key::of(&**latest);
        let target = delta.new.filter(|autoscaler| is_going(autoscaler, &caches)).map(|autoscaler| target(autoscaler));
        followed.follow(key, target);
        notify.notify_one();
    });
    let (facts, waker, shutdown) = (facts.clone(), waker.clone(), context.tasks.shutdown().clone());
    context.tasks.spawn("activator-probe", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = run(&facts, &waker, &changed, &*probe) => {}
        }
        Ok(())
    });
}

/// Whether a Revision's last Pod is to go, and only that.
fn is_going(autoscaler: &PodAutoscaler, caches: &Caches) -> bool {
    if autoscaler.class() != KPA || !autoscaler.status.is_inactive() || autoscaler.status.service_name.is_empty() {
        return false;
    }
    let target = autoscaler.spec.scale_target_ref.name.as_deref().unwrap_or_default();
    let deployment = Key::new(Key::of(autoscaler).namespace(), target);
    caches.deployments.get(&deployment).is_some_and(|deployment| deployment.spec.replicas != Some(0))
}

fn target(autoscaler: &PodAutoscaler) -> ProbeTarget {
    ProbeTarget {
        namespace: autoscaler.metadata.namespace.clone().unwrap_or_default(),
        service: autoscaler.status.service_name.clone(),
        port: u16::try_from(port::service_port(&autoscaler.spec.protocol_type)).unwrap_or_default(),
    }
}

impl ProbeFacts {
    fn follow(&self, key: Key, target: Option<ProbeTarget>) {
        let mut table = self.table();
        match target {
            Some(target) if !table.answered.contains(&key) => {
                table.asking.insert(key, target);
            }
            Some(_) => {}
            None => {
                table.asking.remove(&key);
                table.answered.remove(&key);
            }
        }
    }

    fn asking(&self) -> BTreeMap<Key, ProbeTarget> {
        self.table().asking.clone()
    }

    /// The activator answered for `target`; whether that still matters.
    fn answered(&self, key: &Key, target: &ProbeTarget) -> bool {
        let mut table = self.table();
        let matters = table.asking.get(key) == Some(target);
        if matters {
            table.asking.remove(key);
            table.answered.insert(key.clone());
        }
        matters
    }
}

async fn run(facts: &ProbeFacts, waker: &Waker, changed: &Notify, probe: &dyn ActivatorProbe) {
    loop {
        changed.notified().await;
        while !facts.asking().is_empty() {
            let round = Instant::now();
            ask_all(facts, waker, probe).await;
            if !facts.asking().is_empty() {
                tokio::time::sleep_until(round + PERIOD).await;
            }
        }
    }
}

/// Asks once about every Revision that is to be asked about.
async fn ask_all(facts: &ProbeFacts, waker: &Waker, probe: &dyn ActivatorProbe) {
    let mut waiting = facts.asking().into_iter();
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < WORKERS
            && let Some((key, target)) = waiting.next()
        {
            asked.push(async move {
                let answer = tokio::time::timeout(TIMEOUT, probe.is_activator(&target)).await;
                if answer.is_ok_and(|is_activator| is_activator) && facts.answered(&key, &target) {
                    waker.wake(&key);
                }
            });
        }
        if asked.next().await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// Answers from the n-th question on.
    struct Late(Mutex<usize>);

    impl ActivatorProbe for Late {
        fn is_activator<'a>(&'a self, _: &'a ProbeTarget) -> BoxFuture<'a, bool> {
            let mut left = self.0.lock().unwrap();
            *left = left.saturating_sub(1);
            futures::future::ready(*left == 0).boxed()
        }
    }

    fn a_target() -> ProbeTarget {
        ProbeTarget { namespace: "n".to_owned(), service: "s".to_owned(), port: 80 }
    }

    #[tokio::test(start_paused = true)]
    async fn it_asks_every_second_until_the_activator_answers() {
        let (facts, key, changed) = (ProbeFacts::default(), Key::new("n", "s"), Notify::new());
        facts.follow(key.clone(), Some(a_target()));
        changed.notify_one();
        let (waker, probe) = (Waker::default(), Late(Mutex::new(3)));
        let for_a_time = |seconds: u64| Duration::from_millis(seconds * 1000 + 500);
        let _ = tokio::time::timeout(for_a_time(1), run(&facts, &waker, &changed, &probe)).await;
        assert!(!facts.get(&key), "two questions were in vain");
        changed.notify_one();
        let _ = tokio::time::timeout(for_a_time(0), run(&facts, &waker, &changed, &probe)).await;
        assert!(facts.get(&key));
        facts.follow(key.clone(), None);
        assert!(!facts.get(&key), "the Revision is active again");
    }
}
