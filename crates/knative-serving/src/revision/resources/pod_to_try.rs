//! The Pod of a Revision that is not made: only asked whether the cluster would take it.
//!
//! It has the user's containers as they would be deployed, without the sidecar: what is wrong with it is the user's.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::config::Features;
use knative_apis::serving::v1::Revision;

use super::containers::make_user_containers;

const NAME_PREFIX: &str = "dry-run-validation";

/// The Pod of a Revision that has a namespace and no name.
pub(crate) fn make_pod_to_try(revision: &Revision) -> Pod {
    let metadata = ObjectMeta {
        generate_name: Some(NAME_PREFIX.to_owned()),
        namespace: revision.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    let spec = PodSpec {
        containers: make_user_containers(revision, &Features::default()),
        termination_grace_period_seconds: revision.spec.timeout_seconds,
        ..revision.spec.pod.clone()
    };
    Pod { metadata, spec: Some(spec), status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knative_apis::serving::v1::RevisionSpec;
    use serde_json::json;

    #[test]
    fn it_is_what_would_be_deployed_without_the_sidecar() {
        let spec = json!({"containers": [{"name": "&wrong", "image": "an/image"}], "timeoutSeconds": 7, "serviceAccountName": "a"});
        let metadata = ObjectMeta { namespace: Some("here".to_owned()), ..ObjectMeta::default() };
        let spec: RevisionSpec = serde_json::from_value(spec).expect("a spec");
        let pod = make_pod_to_try(&Revision { metadata, spec, ..Revision::default() });
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("dry-run-validation"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("here"));
        let spec = pod.spec.expect("a spec");
        assert_eq!(spec.containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>(), ["&wrong"]);
        assert!(spec.containers.iter().all(|container| container.lifecycle.is_some()), "as deployed");
        assert_eq!((spec.termination_grace_period_seconds, spec.service_account_name.as_deref()), (Some(7), Some("a")));
    }
}
