//! What a decision about a CronJob may look at: itself and its Jobs.

use std::collections::BTreeSet;
use std::sync::Arc;

use base_controller::{Index, Informer, Key};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde::Serialize;

use crate::objects::owners;

/// The caches that are read.
#[derive(Debug)]
pub(super) struct Caches {
    cron_jobs: Informer<CronJob>,
    jobs_by_controller: Index<Job>,
    jobs_by_stem: Index<Job>,
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
    /// `alike` are the Jobs that are called as its own are, whosever they are.
    pub(super) fn new(cron_job: Arc<CronJob>, jobs: Vec<Arc<Job>>, alike: &[Arc<Job>]) -> Self {
        let is_anothers = |job: &&Arc<Job>| owners::controller_uid(&job.metadata) != cron_job.metadata.uid.as_deref();
        let names = alike.iter().filter(is_anothers).filter_map(|job| job.metadata.name.clone());
        Self { taken_names: names.collect(), jobs, cron_job }
    }
}

impl Caches {
    pub(super) fn new(cron_jobs: &Informer<CronJob>, jobs: &Informer<Job>) -> Self {
        Self {
            cron_jobs: cron_jobs.clone(),
            jobs_by_controller: owners::by_controller(jobs),
            jobs_by_stem: jobs.index("stem", stem),
        }
    }

    pub(super) fn gather(&self, key: &Key) -> Option<Observed> {
        let cron_job = self.cron_jobs.get(key)?;
        let own = self.jobs_by_controller.get(cron_job.metadata.uid.as_deref().unwrap_or_default());
        Some(Observed::new(cron_job, own, &self.jobs_by_stem.get(&key.to_string())))
    }
}

/// The key of the CronJob whose Job would have such a name.
fn stem(job: &Job) -> Vec<String> {
    let (key, number) = (Key::of(job), |(stem, _number): (&str, &str)| stem.to_owned());
    let stem = key.name().rsplit_once('-').map(number);
    stem.map(|stem| Key::new(key.namespace(), stem).to_string()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    #[test]
    fn a_jobs_name_says_which_cron_job_could_have_made_it() {
        let of = |name: &str| {
            let metadata = ObjectMeta { name: Some(name.into()), namespace: Some("n".into()), ..ObjectMeta::default() };
            stem(&Job { metadata, ..Job::default() })
        };
        assert_eq!(of("night-ly-29454360"), ["n/night-ly"]);
        assert!(of("once").is_empty());
    }
}
