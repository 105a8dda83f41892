//! The HPA class: the cluster's own autoscaler decides.
//!
//! ```text
//! PodAutoscaler ──► HorizontalPodAutoscaler ──► (the cluster) ──► Deployment's replicas
//!       │   ◄─────── how many there are and should be
//!       └──► ServerlessService: always Serve
//! ```
//! Such a Revision is always active: it never goes to zero, and nobody measures its requests, so it has no Metric. Specified by Knative's
//! `pkg/reconciler/autoscaling/hpa`.

use base_controller::Change;
use knative_apis::condition::Conditioned;
use knative_apis::go_text::quote;
use knative_apis::meta::owner;
use knative_apis::networking::ServerlessServiceMode;
use knative_logic::scale::bounds::active_threshold;
use kube::ResourceExt;
use serde_json::json;

use super::plan::{Draft, Go};
use super::resources::make_horizontal_pod_autoscaler;
use crate::json;

/// In front of Pods that are not there yet may be any activator.
const ALL_ACTIVATORS: i32 = 0;

impl Draft<'_> {
    /// Has the cluster scale, and says what it says.
    pub(super) fn delegate(&mut self) {
        if self.keep_horizontal() == Go::Stop
            || self.keep_service(ServerlessServiceMode::Serve, ALL_ACTIVATORS) == Go::Stop
        {
            return;
        }
        let threshold = active_threshold(&self.autoscaler, &self.configs.autoscaler);
        let horizontal = self.observed.horizontal.as_deref().and_then(|horizontal| horizontal.status.as_ref());
        let current = horizontal.and_then(|status| status.current_replicas).unwrap_or_default();
        let desired = horizontal.map(|status| status.desired_replicas).unwrap_or_default();
        let sks = self.observed.serverless_service.as_deref();
        let (status, now) = (&mut self.autoscaler.status, self.now);
        if let Some(sks) = sks {
            status.service_name.clone_from(&sks.status.service_name);
            status.metrics_service_name.clone_from(&sks.status.private_service_name);
        }
        if sks.is_some_and(Conditioned::is_ready) {
            status.mark_sks_ready(now);
            if current >= threshold {
                status.mark_scale_target_initialized(now);
            }
        } else {
            status.mark_sks_not_ready("SKS Services are not ready yet", now);
        }
        status.mark_active(now);
        (status.desired_scale, status.actual_scale) = (Some(desired), Some(current));
    }

    fn keep_horizontal(&mut self) -> Go {
        let desired = make_horizontal_pod_autoscaler(&self.autoscaler, &self.configs.autoscaler);
        let name = desired.name_any();
        match self.observed.horizontal.as_deref() {
            None => {
                let refused = self.failed_creation("HorizontalPodAutoscaler", &name);
                self.plan.changes.push(Change::create(&desired).or_condition(refused));
            }
            Some(existing) if !owner::is_controlled_by(&existing.metadata, &self.autoscaler.metadata) => {
                self.autoscaler.status.mark_resource_not_owned("HorizontalPodAutoscaler", &name, self.now);
                return Go::Stop;
            }
            Some(existing) => {
                let mut fields = json!({ "spec": desired.spec });
                // Without a window, none; what the cluster fills in beside one stays.
                fields["spec"]["behavior"] = json!(desired.spec.behavior);
                let what = format!("HorizontalPodAutoscaler {}", quote(&name));
                self.change(json::change(existing, fields), &what);
            }
        }
        Go::On
    }
}
