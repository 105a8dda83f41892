//! What a decision about a CronJob may look at: itself and its Jobs.

use std::collections::BTreeSet;
use std::sync::Arc;

use base_controller::{Informer, Key};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde::Serialize;

use crate::objects::owners;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    cron_jobs: Informer<CronJob>,
    jobs: Informer<Job>,
}

/// The facts about one CronJob.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observed {
    /// The CronJob itself.
    pub(super) cron_job: Arc<CronJob>,
    /// The Jobs that it controls, in the order of their names.
    pub(super) jobs: Vec<Arc<Job>>,
    /// Names that a Job of its own could have, and another has.
    pub(super) taken_names: BTreeSet<String>,
}

impl Observed {
    /// `jobs` are those of the namespace.
    pub(super) fn new(cron_job: Arc<CronJob>, jobs: &[Arc<Job>]) -> Self {
        let prefix = format!("{}-", cron_job.metadata.name.as_deref().unwrap_or_default());
        let is_own = |job: &Arc<Job>| owners::controller_uid(&job.metadata) == cron_job.metadata.uid.as_deref();
        let (own, others): (Vec<_>, Vec<_>) = jobs.iter().cloned().partition(is_own);
        let names = others.iter().filter_map(|job| job.metadata.name.clone());
        Self { taken_names: names.filter(|name| name.starts_with(&prefix)).collect(), jobs: own, cron_job }
    }
}

impl Caches {
    pub(super) fn new(cron_jobs: &Informer<CronJob>, jobs: &Informer<Job>) -> Self {
        Self { cron_jobs: cron_jobs.clone(), jobs: jobs.clone() }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let cron_job = self.cron_jobs.get(key)?;
        Some(Observed::new(cron_job, &self.jobs.list_in(key.namespace())))
    }
}
