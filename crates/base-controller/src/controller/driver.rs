//! The loop behind a controller: takes keys, gathers, plans, applies, and says when a key comes back.
//!
//! One task drives up to `workers` keys at once, in the order in which the queue gives them. So the order of everything depends only on
//! the order of events: under a paused clock on one thread, a seed gives one trace. A panic while planning harms only its key.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Phase, error_chain};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use kube::Resource;
use kube::api::ApiResource;
use serde_json::json;
use tokio::time::Instant;
use tracing::Instrument;

use super::outcomes::{LastOutcome, Outcomes};
use super::reconciler::Reconciler;
use crate::apply::{Applied, Applier, ApplyError, Outcome, Subject, Written};
use crate::context::Context;
use crate::informer::Informer;
use crate::key::Key;
use crate::metrics::ControllerMetrics;
use crate::plan::{self, Change, Finalizer, Plan, PlanEvent};
use crate::queue::{Lane, Next, Queue};
use crate::tracker::Tracker;
use crate::writers::What;

/// A refused change is tried again after this long at first: what refused it is rarely gone sooner.
const FIRST_REFUSED_RETRY: Duration = Duration::from_secs(1);
/// After a write that may have happened, the caches get this long to show it, lest a generated name is made twice.
const UNSURE_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Driver<R: Reconciler> {
    pub(super) name: &'static str,
    pub(super) applier: Applier,
    pub(super) metrics: ControllerMetrics,
    pub(super) resource: ApiResource,
    pub(super) outcomes: Arc<Outcomes>,
    pub(super) reconciler: Arc<R>,
    pub(super) primary: Informer<R::Object>,
    pub(super) context: Context,
    pub(super) queue: Arc<Queue>,
    pub(super) tracker: Arc<Tracker>,
    pub(super) workers: usize,
}

/// How the work on a key ended.
struct End {
    label: &'static str,
    next: Next,
    writes: Vec<Written>,
}

impl End {
    fn new(label: &'static str, next: Next) -> Self {
        Self { label, next, writes: Vec::new() }
    }
}

impl<R: Reconciler> Driver<R> {
    /// Works until the process has drained, and then finishes the keys in hand.
    pub(super) async fn run(&self) {
        let shutdown = self.context.tasks.shutdown().clone();
        let leadership = self.context.leader.leadership(self.name);
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => return,
            () = self.ready() => {}
        }
        let mut in_hand = FuturesUnordered::new();
        let mut is_stopping = false;
        while !is_stopping || !in_hand.is_empty() {
            while !is_stopping && leadership.is_held() && in_hand.len() < self.workers {
                let Some(key) = self.queue.take() else { break };
                in_hand.push(self.work(key));
            }
            // While all hands are full nothing is taken, so a delayed key that is due would be due again and again.
            let has_free_hand = in_hand.len() < self.workers;
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Stopped), if is_stopping => return,
                () = shutdown.reached(Phase::Drained), if !is_stopping => is_stopping = true,
                Some(()) = in_hand.next() => {}
                () = leadership.changed() => {}
                () = self.queue.changed(), if has_free_hand && !is_stopping && leadership.is_held() => {}
            }
        }
    }

    async fn ready(&self) {
        for sight in self.queue.sights() {
            // An informer lives as long as its sight, so waiting cannot fail.
            let _ = sight.synced().wait_for(|synced| *synced).await;
        }
    }

    async fn work(&self, key: Key) {
        let started = Instant::now();
        let span = tracing::debug_span!("reconcile", controller = self.name, %key);
        let end = match AssertUnwindSafe(self.reconcile(&key)).catch_unwind().instrument(span).await {
            Ok(end) => end,
            Err(_panic) => {
                tracing::error!(controller = self.name, %key, "reconcile panicked");
                End::new("panic", Next::Retry(FIRST_REFUSED_RETRY))
            }
        };
        self.metrics.reconciled(end.label, started.elapsed());
        self.queue.finish(&key, end.next, end.writes);
    }

    async fn reconcile(&self, key: &Key) -> End {
        let since = self.tracker.now();
        let now = self.context.clock.now();
        let Some(observed) = self.reconciler.gather(key) else {
            self.tracker.forget(key);
            self.outcomes.forget(key);
            return End::new("gone", Next::Forget);
        };
        let mut plan = self.reconciler.plan(&observed, now);
        if self.tracker.track(key, std::mem::take(&mut plan.track), since) {
            self.queue.add(key, Lane::Fresh);
        }
        if let Some(target) = self.undeclared(&plan) {
            tracing::error!(controller = self.name, %key, target, "the controller does not declare this write");
            return End::new("undeclared", Next::Retry(FIRST_REFUSED_RETRY));
        }
        tracing::debug!(changes = ?plan::summary(&plan.changes), finalizer = ?plan.finalizer, again = ?plan.again, "planned");
        let object = self.reconciler.object(&observed).map(Arc::clone);
        let events = std::mem::take(&mut plan.events);
        let applied = self.apply(object.as_deref(), plan).await;
        self.record(key, object.as_deref(), &applied.events);
        if applied.outcome.as_ref().is_ok_and(|outcome| *outcome != Outcome::Conflict) {
            self.record(key, object.as_deref(), &events);
        }
        self.end(key, applied)
    }

    async fn apply(&self, object: Option<&R::Object>, plan: Plan<R::Status>) -> Applied {
        let subject = match object.map(|object| Subject::try_new(&self.resource, object)).transpose() {
            Ok(subject) => subject,
            Err(error) => {
                return Applied { outcome: Err(error), writes: Vec::new(), refused: None, events: Vec::new() };
            }
        };
        let now = self.context.clock.now();
        let refuse = |status: &mut R::Status, condition: &_| self.reconciler.mark_refused(status, condition, now);
        self.applier.apply(subject, plan, refuse).await
    }

    /// What the plan would write although the reconciler does not declare it.
    fn undeclared(&self, plan: &Plan<R::Status>) -> Option<String> {
        if let Finalizer::Add(name) | Finalizer::Remove(name) = plan.finalizer
            && !R::WRITES.iter().any(|write| write.what == What::Finalizer(name))
        {
            return Some(format!("finalizer {name}"));
        }
        let is_declared = |change: &Change| R::WRITES.iter().any(|write| write.is_of(&change.target().kind));
        plan.changes.iter().find(|change| !is_declared(change)).map(|change| change.target().to_string())
    }

    fn record(&self, key: &Key, object: Option<&R::Object>, events: &[PlanEvent]) {
        let uid = object.and_then(|object| object.meta().uid.as_deref());
        for event in events {
            self.context.events.record(plan::reference(&self.resource, key, uid), event.clone());
        }
    }

    fn end(&self, key: &Key, applied: Applied) -> End {
        let Applied { outcome, writes, refused, events: _ } = applied;
        let is_refused = refused.is_some();
        let (label, next) = match &outcome {
            Ok(Outcome::Conflict) => ("conflict", Next::Retry(Duration::ZERO)),
            Ok(_) if is_refused => ("refused", Next::Retry(FIRST_REFUSED_RETRY)),
            Ok(Outcome::Done) => ("done", Next::Rest),
            Ok(Outcome::Again(after)) => ("again", Next::Again(*after)),
            Err(error) => ("error", Next::Retry(if error.is_unsure() { UNSURE_RETRY } else { Duration::ZERO })),
        };
        let text = match &outcome {
            Ok(Outcome::Again(after)) => format!("again in {after:?}"),
            Ok(_) => label.to_owned(),
            Err(error) => self.failed(key, error),
        };
        let last = LastOutcome { at: self.context.clock.now(), outcome: text, writes: writes.len(), refused };
        self.outcomes.set(key, last);
        tracing::debug!(outcome = label, writes = writes.len(), "reconciled");
        End { label, next, writes }
    }

    fn failed(&self, key: &Key, error: &ApplyError) -> String {
        let text = error_chain(error);
        tracing::warn!(controller = self.name, %key, error = text, "reconcile failed");
        text
    }

    /// Lets the admin endpoint ask about a key.
    pub(super) fn explain(self: &Arc<Self>) {
        let driver = Arc::clone(self);
        self.context.explain.register(self.name, self.primary.kind(), move |key| {
            let observed = driver.reconciler.gather(key)?;
            let plan = driver.reconciler.plan(&observed, driver.context.clock.now());
            Some(json!({ "observed": observed, "plan": plan, "last": driver.outcomes.get(key) }))
        });
    }
}
