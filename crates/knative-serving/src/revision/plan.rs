//! What there should be of a Revision, and what its conditions say.

use base_controller::{Change, Key, ObjectRef, Plan, PlanEvent};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::condition::{Conditioned, ConditionedStatus, READY};
use knative_apis::go_text::quote;
use knative_apis::meta::internal_tls::SERVING_CERTIFICATE;
use knative_apis::meta::{AUTOSCALING_GROUP, annotations, label, label_value, owner};
use knative_apis::serving::not_owned_message;
use knative_apis::serving::v1::revision::{
    REASON_CONTAINER_MISSING, REASON_DEPLOYING, REASON_NOT_OWNED, REASON_RESOLVING_DIGESTS, RESOURCES_AVAILABLE,
};
use knative_apis::serving::v1::{Revision, RevisionStatus};
use knative_logic::names;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::observe::Observed;
use super::resources::{Configs, make_deployment, make_image, make_pod_autoscaler};
use super::status;
use crate::digest::Resolution;
use crate::json;
use crate::status::{begin, creation_failed, end, update_failed};

/// Annotations that a PodAutoscaler has by default, whatever its Revision says.
const DEFAULTED_ANNOTATIONS: [&str; 2] = ["autoscaling.knative.dev/class", "autoscaling.knative.dev/metric"];

/// Whether the rest can be done now.
#[derive(PartialEq)]
enum Go {
    On,
    Stop,
}

/// A plan in the making. The Revision carries the status as it will be: its children are made from the digests in it.
struct Draft<'a> {
    plan: Plan<()>,
    revision: Revision,
    observed: &'a Observed,
    configs: &'a Configs,
    now: Timestamp,
}

/// Decides.
pub(super) fn plan(observed: &Observed, configs: &Configs, now: Timestamp) -> Plan<RevisionStatus> {
    let mut revision = (*observed.revision).clone();
    revision.status = begin(&revision, now);
    let mut draft = Draft { plan: Plan::new(()), revision, observed, configs, now };
    draft.track();
    draft.set_log_url();
    if draft.resolve() == Go::On && draft.deploy() == Go::On {
        draft.autoscale();
        draft.cache_images();
    }
    draft.finish()
}

impl Draft<'_> {
    /// Children's names wake the Revision also while they are somebody else's.
    fn track(&mut self) {
        let key = Key::of(&self.revision);
        let deployment = Key::new(key.namespace(), names::deployment(key.name()));
        let certificate = Key::new(key.namespace(), SERVING_CERTIFICATE);
        self.plan.track = vec![ObjectRef::new::<Deployment>(deployment), ObjectRef::new::<PodAutoscaler>(key)];
        if self.configs.network.system_internal_tls {
            self.plan.track.push(ObjectRef::new::<Secret>(certificate));
        }
    }

    fn set_log_url(&mut self) {
        let template = &self.configs.observability.logging_url_template;
        self.revision.status.log_url = template.replace("${REVISION_UID}", &self.revision.uid().unwrap_or_default());
    }

    /// Takes the digests over, once they are known.
    fn resolve(&mut self) -> Go {
        let now = self.now;
        let (spec, status) = (&self.revision.spec.pod, &mut self.revision.status);
        let wanted = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
        if status.container_statuses.len() + status.init_container_statuses.len() == wanted {
            return Go::On;
        }
        match &self.observed.digests {
            Resolution::Pending => {
                status.mark_resources_unknown(REASON_RESOLVING_DIGESTS, "", now);
                Go::Stop
            }
            Resolution::Failed { message } => {
                status.mark_container_unhealthy(REASON_CONTAINER_MISSING, message, now);
                Go::Stop
            }
            Resolution::Resolved { containers, init_containers } => {
                status.container_statuses.clone_from(containers);
                status.init_container_statuses.clone_from(init_containers);
                Go::On
            }
        }
    }

    fn deploy(&mut self) -> Go {
        let now = self.now;
        let desired = make_deployment(&self.revision, self.configs);
        let name = desired.name_any();
        let what = format!("Deployment {}", quote(&name));
        // Pods would wait for it, and longer than for the news of it.
        let must_wait = self.configs.network.system_internal_tls && !self.observed.has_certificate;
        let Some(existing) = self.observed.deployment.as_deref() else {
            if must_wait {
                let namespace = self.revision.namespace().unwrap_or_default();
                let message = format!("secret {namespace}/{SERVING_CERTIFICATE} is not ready yet");
                self.revision.status.mark_resources_unknown(REASON_DEPLOYING, &message, now);
                return Go::Stop;
            }
            let refused = creation_failed(RESOURCES_AVAILABLE, &what);
            self.plan.changes.push(Change::create(&desired).or_condition(refused));
            self.revision.status.mark_resources_unknown(REASON_DEPLOYING, "", now);
            self.revision.status.mark_container_unknown(REASON_DEPLOYING, "", now);
            return Go::On;
        };
        if !owner::is_controlled_by(&existing.metadata, &self.revision.metadata) {
            let message = not_owned_message("Deployment", &name);
            self.revision.status.mark_resources_unavailable(REASON_NOT_OWNED, &message, now);
            return Go::Stop;
        }
        let hash =
            |deployment: &Deployment| label_value(&deployment.metadata, label::DEPLOYMENT_HASH).map(str::to_owned);
        if hash(existing) != hash(&desired) && !must_wait {
            let refused = update_failed(RESOURCES_AVAILABLE, &what);
            self.plan.changes.push(redeploy(existing, desired).or_condition(refused));
        }
        status::propagate_deployment(&mut self.revision.status, existing, now);
        status::diagnose(&mut self.revision.status, self.observed, self.configs, now);
        Go::On
    }

    fn cache_images(&mut self) {
        let spec = &self.revision.spec.pod;
        let status = &self.revision.status;
        let of_containers = spec.containers.iter().zip(&status.container_statuses);
        let of_init = spec.init_containers.iter().flatten().zip(&status.init_container_statuses);
        for (container, status) in of_containers.chain(of_init) {
            let name = names::image_cache(&self.revision.name_any(), &container.name);
            if self.observed.images.contains(&name) {
                continue;
            }
            let as_written = container.image.as_deref().unwrap_or_default();
            let image = if status.image_digest.is_empty() { as_written } else { &status.image_digest };
            self.plan.changes.push(Change::create(&make_image(&self.revision, &container.name, image)));
        }
    }

    fn autoscale(&mut self) {
        let now = self.now;
        let deployment = self.observed.deployment.as_deref();
        let name = self.revision.name_any();
        let what = format!("PodAutoscaler {}", quote(&name));
        let Some(existing) = self.observed.pod_autoscaler.as_deref() else {
            let desired = make_pod_autoscaler(&self.revision, &self.revision.status, deployment);
            let refused = creation_failed(RESOURCES_AVAILABLE, &what);
            self.plan.changes.push(Change::create(&desired).or_condition(refused));
            self.revision.status.propagate_autoscaler(&desired.status, now);
            return;
        };
        if !owner::is_controlled_by(&existing.metadata, &self.revision.metadata) {
            let message = not_owned_message("PodAutoscaler", &name);
            self.revision.status.mark_resources_unavailable(REASON_NOT_OWNED, &message, now);
            return;
        }
        self.revision.status.propagate_autoscaler(&existing.status, now);
        status::keep_cause(&mut self.revision.status, &self.observed.revision.status, now);
        let desired = make_pod_autoscaler(&self.revision, &self.revision.status, deployment);
        let refused = update_failed(RESOURCES_AVAILABLE, &what);
        self.plan.changes.extend(rescale(existing, &desired).map(|change| change.or_condition(refused)));
    }

    fn finish(self) -> Plan<RevisionStatus> {
        let Self { plan, mut revision, observed, now, .. } = self;
        status::explain(&mut revision.status, observed.pod.as_deref(), now);
        if !observed.revision.is_ready() && revision.status.is_true(READY) {
            // The generation of a Revision changes only by a user's hand, so this is told once.
            let news = PlanEvent::normal("RevisionReady", "Revision becomes ready upon all resources being ready");
            return finished(plan, &mut revision, Some(news));
        }
        finished(plan, &mut revision, None)
    }
}

fn finished(plan: Plan<()>, revision: &mut Revision, news: Option<PlanEvent>) -> Plan<RevisionStatus> {
    let mut status = std::mem::take(&mut revision.status);
    end(revision, &mut status);
    let Plan { finalizer, changes, mut events, again, track, status: () } = plan;
    events.extend(news);
    Plan { finalizer, changes, status, events, again, track }
}

/// The Pod's template becomes wholly the desired one; the scale and the selector stay.
fn redeploy(existing: &Deployment, mut desired: Deployment) -> Change {
    desired.spec.replicas = None;
    desired.spec.selector = existing.spec.selector.clone();
    Change::overlay_fields(existing, json::replacing(existing, &desired, &[&["spec", "template", "spec"]]))
}

/// The spec and the annotations about scale become those of the Revision; what was defaulted stays.
fn rescale(existing: &PodAutoscaler, desired: &PodAutoscaler) -> Option<Change> {
    let wanted = annotations(&desired.metadata);
    let is_stale = |key: &&String| {
        let is_about_scale = key.starts_with(AUTOSCALING_GROUP) && !DEFAULTED_ANNOTATIONS.contains(&key.as_str());
        is_about_scale && !wanted.contains_key(*key)
    };
    let stale = annotations(&existing.metadata).keys().filter(is_stale).map(|key| (key.clone(), Value::Null));
    let kept = wanted.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    let fields = json!({
        "metadata": { "annotations": stale.chain(kept).collect::<Map<_, _>>() },
        "spec": desired.spec,
    });
    json::change(existing, json::replacing(existing, &fields, &[&["spec"]]))
}
