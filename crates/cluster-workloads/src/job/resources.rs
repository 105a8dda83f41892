//! The Pod that a Job makes from its template.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::failure_policy::{self, Treatment};
use super::spec::{self, COMPLETION_INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES, TRACKING};
use crate::objects::{names, pods};

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// A new Pod of `job`, to be named by the server.
pub(super) fn make_pod(job: &Job, spec: &JobSpec) -> Pod {
    let mut pod = pods::from_template(job, spec.template.clone());
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    pod
}

/// A new Pod for an index. `failed` is the one in whose place it comes, if the index has a limit of its own.
pub(super) fn make_indexed_pod(job: &Job, spec: &JobSpec, index: i32, failed: Option<&Pod>) -> Pod {
    let mut pod = make_pod(job, spec);
    let name = job.metadata.name.as_deref().unwrap_or_default();
    pod.metadata.generate_name = Some(names::generate_numbered(name, index));
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(COMPLETION_INDEX.to_owned(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        let (counted, ignored) = failed.map(|failed| failures_with(spec, failed)).unwrap_or_default();
        annotations.insert(INDEX_FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(INDEX_IGNORED_FAILURES.to_owned(), ignored.to_string());
        }
    }
    pod.metadata.labels.get_or_insert_default().insert(COMPLETION_INDEX.to_owned(), index.to_string());
    if let Some(pod) = &mut pod.spec {
        pod.hostname = Some(format!("{name}-{index}"));
        pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()).for_each(add_index_variable);
    }
    pod
}

/// How many Pods of its index have failed, this one included: counted, and ignored.
fn failures_with(spec: &JobSpec, failed: &Pod) -> (i32, i32) {
    let (counted, ignored) = spec::index_failures(failed);
    match failure_policy::treat(spec, failed) {
        Treatment::Ignore => (counted, ignored + 1),
        _ => (counted + 1, ignored),
    }
}

fn add_index_variable(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { field_path: format!("metadata.labels['{COMPLETION_INDEX}']"), api_version: None };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    variables.push(EnvVar { name: INDEX_VARIABLE.to_owned(), value_from: Some(source), value: None });
}
