//! What a decision about a Job may look at: the Job, the Pods that are or may become its own, and how its Pods ended that are gone.

use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::backoff::{Ends, Failures};
use super::spec;
use crate::objects::labels::Matcher;
use crate::objects::owners;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    jobs: Informer<Job>,
    pods_by_controller: Index<Pod>,
    failures: Failures,
}

/// The facts about one Job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The Job itself.
    pub(super) job: Arc<Job>,
    /// The Pods that it controls, and those that nobody controls and its selector takes; in the order of their names.
    pub(super) pods: Vec<Arc<Pod>>,
    /// How Pods ended that it has let go.
    pub(super) ends: Ends,
}

impl Caches {
    pub(super) fn new(jobs: &Informer<Job>, pods: &Informer<Pod>) -> Self {
        let failures = Failures::follow(jobs, pods);
        Self { jobs: jobs.clone(), pods_by_controller: owners::by_controller(pods), failures }
    }

    /// None also for a Job that another controller keeps.
    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let job = self.jobs.get(key).filter(|job| !spec::is_managed_by_another(job))?;
        let pods = owners::own_and_free(&self.pods_by_controller, &job.metadata, &selector(&job));
        Some(Observed { ends: self.failures.of(&job, &self.jobs), job, pods })
    }
}

/// What the Job's selector takes.
pub(super) fn selector(job: &Job) -> Matcher {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.clone());
    Matcher::new(&selector.unwrap_or_default())
}
