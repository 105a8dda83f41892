//! Asks the cluster whether it would take the Pod of a Revision that nobody makes (`dryRun=All`).

use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use k8s_openapi::api::core::v1::Pod;
use knative_apis::serving::v1::Revision;

use crate::revision::resources::make_pod_to_try;

/// How a cluster says that one of its webhooks cannot be asked without consequences; then nothing is known about the Pod.
const CANNOT_TRY: &str = "does not support dry run";

/// Tries the Pod of `revision`, which has a namespace and no name.
///
/// # Errors
/// What the cluster says if it would not take it.
pub async fn try_pod(client: Client, revision: &Revision) -> Result<(), String> {
    let namespace = revision.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    #[expect(clippy::disallowed_methods, reason = "nothing is written")]
    let tried = pods.create(&parameters, &make_pod_to_try(revision)).await;
    match tried {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = match error {
                kube::Error::Api(status) => status.message,
                error => base_rt::error_chain(&error),
            };
            if reason.contains(CANNOT_TRY) {
                tracing::warn!(reason, "a Pod was not tried, because a webhook does not support it");
                return Ok(());
            }
            Err(reason)
        }
    }
}
