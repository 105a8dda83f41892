//! A short word that changes when a desired Deployment does.
//!
//! It stands on the Deployment as a label, so that a Deployment is written again only when what it should be has changed (a ConfigMap, a
//! newer version of the maker) and not because of what the server filled in. The number of replicas does not count: the autoscaler has it.
//! The algorithm is Knative's; the input is ours, so values differ.

use k8s_openapi::api::apps::v1::Deployment;
use knative_apis::meta::label;
use knative_logic::names;
use serde_json::{Value, json};

/// Sets the label.
pub(super) fn label_with_hash(deployment: &mut Deployment) {
    let labels = deployment.metadata.labels.get_or_insert_default();
    labels.remove(label::DEPLOYMENT_HASH);
    let mut spec = json!(deployment.spec);
    if let Value::Object(fields) = &mut spec {
        fields.remove("replicas");
    }
    let hashed = json!([spec, deployment.metadata.annotations, deployment.metadata.labels]).to_string();
    let hash = names::hash([hashed.as_bytes()]);
    deployment.metadata.labels.get_or_insert_default().insert(label::DEPLOYMENT_HASH.to_owned(), hash);
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::DeploymentSpec;

    fn hash_of(mut deployment: Deployment) -> String {
        label_with_hash(&mut deployment);
        deployment.metadata.labels.unwrap()[label::DEPLOYMENT_HASH].clone()
    }

    #[test]
    fn replicas_and_an_older_hash_do_not_count() {
        let with = |replicas, min_ready_seconds| Deployment {
            spec: DeploymentSpec { replicas, min_ready_seconds, ..DeploymentSpec::default() },
            ..Deployment::default()
        };
        let first = hash_of(with(Some(1), None));
        let mut again = with(Some(5), None);
        label_with_hash(&mut again);
        assert_eq!(hash_of(again), first);
        assert_ne!(hash_of(with(Some(1), Some(3))), first);
    }
}
