//! HorizontalPodAutoscaler: gives a workload as many replicas as keep the use of a resource at its target.
//!
//! ```text
//! every 15 s, each autoscaler: the target's `scale` ─┐
//!                              its Pods              ├─► recommendation (`usage`) ─► what may be done of it (`steps`) ─► `scale`, status
//!                              what they use         ┘
//! ```
//! Any kind with the subresource `scale` can be a target. What Pods use is read from `metrics.k8s.io`; metrics of the custom and external
//! metrics APIs are not served here, so an autoscaler that follows one says so. What was recommended and done lately is remembered by this
//! process alone: after a restart the first recommendation is what there is.
//!
//! Who else writes: users `spec`. It looks at nothing that a cache could tell of in time, so it has no queue. Specified by
//! `k8s.io/kubernetes/pkg/controller/podautoscaler`.

mod measured;
mod metric;
mod plan;
mod status;
mod steps;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base_controller::apply::{Applier, Outcome, Subject};
use base_controller::events::Recorder;
use base_controller::{Context, GroupKind, Informer, Key, Scope};
use base_rt::{Clock, Phase, error_chain};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, HorizontalPodAutoscaler};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};

use crate::catalog::Catalog;
use measured::Measured;
use plan::{Observed, Planned, Target};
use steps::Memory;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "horizontal-pod-autoscaler";

/// How often each autoscaler is looked at.
const PERIOD: Duration = Duration::from_secs(15);
/// How many are looked at together.
const AT_ONCE: usize = 8;

/// What the round works with.
struct Autoscalers {
    autoscalers: Informer<HorizontalPodAutoscaler>,
    catalog: Catalog,
    client: Client,
    applier: Applier,
    events: Recorder,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, catalog: &Catalog) {
    let autoscalers = Autoscalers {
        autoscalers: context.informers.get::<HorizontalPodAutoscaler>(Scope::all()),
        catalog: catalog.clone(),
        client: context.client.clone(),
        applier: Applier::new(context.client.clone()),
        events: context.events.clone(),
        clock: context.clock,
    };
    let shutdown = context.tasks.shutdown().clone();
    context.tasks.spawn(format!("controller/{NAME}"), async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = autoscalers.run() => {}
        }
        Ok(())
    });
}

impl Autoscalers {
    async fn run(&self) {
        let mut memories: BTreeMap<String, Memory> = BTreeMap::new();
        loop {
            tokio::time::sleep(PERIOD).await;
            let all = self.autoscalers.list();
            let known = all.iter().map(|autoscaler| (Arc::clone(autoscaler), memories.remove(uid(autoscaler))));
            let known: Vec<_> = known.map(|(autoscaler, memory)| (autoscaler, memory.unwrap_or_default())).collect();
            // What is left is of autoscalers that are gone.
            memories = stream::iter(known)
                .map(|(autoscaler, memory)| self.look(autoscaler, memory, &all))
                .buffered(AT_ONCE)
                .collect()
                .await;
        }
    }

    async fn look(
        &self,
        autoscaler: Arc<HorizontalPodAutoscaler>,
        mut memory: Memory,
        all: &[Arc<HorizontalPodAutoscaler>],
    ) -> (String, Memory) {
        let is_rival = |other: &&Arc<HorizontalPodAutoscaler>| {
            uid(other) != uid(&autoscaler)
                && other.metadata.namespace == autoscaler.metadata.namespace
                && other.spec.scale_target_ref == autoscaler.spec.scale_target_ref
        };
        let rivals = all.iter().filter(is_rival).map(|other| Key::of(&**other).to_string());
        let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
        let target = self.target(namespace, &autoscaler.spec.scale_target_ref).await;
        let observed = Observed { autoscaler: Arc::clone(&autoscaler), target, rivals: rivals.collect() };
        let planned = plan::plan(&observed, &mut memory, self.clock.now());
        if let Some((from, to)) = self.carry_out(&autoscaler, planned).await {
            memory.changed(from, to, self.clock.now());
        }
        (uid(&autoscaler).to_owned(), memory)
    }

    /// Carries out a plan; between which sizes the target was scaled, if it was.
    async fn carry_out(&self, autoscaler: &Arc<HorizontalPodAutoscaler>, planned: Planned) -> Option<(i32, i32)> {
        let resource = ApiResource::erase::<HorizontalPodAutoscaler>(&());
        let Planned { mut plan, rescale } = planned;
        let events = std::mem::take(&mut plan.events);
        let subject = Subject::try_new(&resource, &**autoscaler).ok()?;
        let now = self.clock.now();
        let applied = self
            .applier
            .apply(Some(subject), plan, |status, refused| {
                status.last_scale_time = autoscaler.status.as_ref().and_then(|status| status.last_scale_time.clone());
                status::set(status, (&refused.type_, &refused.status), (&refused.reason, &refused.message), now);
            })
            .await;
        if let Err(error) = &applied.outcome {
            tracing::warn!(autoscaler = %Key::of(&**autoscaler), error = error_chain(error), "nothing is scaled");
        }
        let is_done = matches!(applied.outcome, Ok(Outcome::Done | Outcome::Again(_))) && applied.refused.is_none();
        for event in events.into_iter().chain(applied.events) {
            self.events.record(reference(autoscaler), event);
        }
        rescale.filter(|_| is_done)
    }

    /// The target's size, its Pods and what they use.
    async fn target(&self, namespace: &str, of: &CrossVersionObjectReference) -> Result<Target, String> {
        let group = of.api_version.as_deref().unwrap_or_default().split_once('/').map_or("", |(group, _version)| group);
        let kind = self.catalog.get(&GroupKind::new(group, of.kind.as_str()));
        let kind = kind.ok_or_else(|| format!("no matches for kind {:?} in group {group:?}", of.kind))?.kind;
        let scaled: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.resource);
        let scale = scaled.get_scale(&of.name).await.map_err(|error| error_chain(&error))?;
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        let (pods, measured) = if selector.is_empty() {
            (Ok(Vec::new()), Ok(BTreeMap::new()))
        } else {
            let selected = ListParams::default().labels(&selector);
            futures::join!(self.pods(namespace, &selected), self.measured(namespace, &selected))
        };
        Ok(Target { resource: kind.resource.clone(), scale, pods, measured })
    }

    async fn pods(&self, namespace: &str, selected: &ListParams) -> Result<Vec<Arc<Pod>>, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = pods.list(selected).await.map_err(|error| error_chain(&error))?;
        Ok(pods.items.into_iter().map(Arc::new).collect())
    }

    async fn measured(&self, namespace: &str, selected: &ListParams) -> Result<BTreeMap<String, Measured>, String> {
        let metrics: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &measured::resource());
        let listed = metrics.list(selected).await.map_err(|error| error_chain(&error))?;
        let of = |object: DynamicObject| {
            let measured = serde_json::from_value(object.data).map_err(|error| error.to_string())?;
            Ok((object.metadata.name.unwrap_or_default(), measured))
        };
        listed.items.into_iter().map(of).collect()
    }
}

fn uid(autoscaler: &HorizontalPodAutoscaler) -> &str {
    autoscaler.metadata.uid.as_deref().unwrap_or_default()
}

fn reference(autoscaler: &HorizontalPodAutoscaler) -> ObjectReference {
    let meta = &autoscaler.metadata;
    ObjectReference {
        api_version: Some("autoscaling/v2".to_owned()),
        kind: Some("HorizontalPodAutoscaler".to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}
