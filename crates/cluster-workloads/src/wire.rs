//! Starts the controllers: one set of informers for all of them, one identity for each.

use base_controller::events::Recorder;
use base_controller::{Context, ContextConfig};
use base_rt::metrics::Scope;
use base_rt::{Clock, Tasks};
use kube::Client;

use crate::catalog::Catalog;
use crate::{
    cron_job, daemon_set, deployment, disruption, endpoints, event_ttl, job, load_balancer, namespace, owner_gc,
    persistent_claim, persistent_volume, pod_autoscaler, pod_gc, rbac, replica_set, resource_quota, scheduler,
    service_account, stateful_set, ttl_after_finished,
};

/// What the controllers need of the process that they run in.
pub struct Environment<'a> {
    /// Gives the client that acts as an identity of [`rbac::IDENTITIES`].
    pub client_of: &'a dyn Fn(&'static str) -> Client,
    /// The process's clock.
    pub clock: Clock,
    /// The process's tasks.
    pub tasks: Tasks,
    /// Where metrics are registered.
    pub metrics: Scope,
    /// Decides the jitter of back-offs. Any number in production; a simulation's own in a simulation.
    pub seed: u64,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// What the controllers are told about the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The certificate authority of the API server, in PEM: what every namespace's `kube-root-ca.crt` says.
    pub ca_bundle: String,
}

/// Starts every controller. The result is the context of the shared informers, for what else reads the cluster ([`crate::service_ip`],
/// [`crate::dns`]); its client may only read.
pub fn wire(config: &Config, environment: &Environment<'_>) -> Context {
    let reader = Context::new(ContextConfig {
        client: (environment.client_of)(rbac::READER),
        clock: environment.clock,
        tasks: environment.tasks.clone(),
        metrics: environment.metrics.clone(),
        seed: environment.seed,
        component: rbac::READER,
    });
    let of = |name| context_of(name, &reader, environment);
    deployment::start(&of(deployment::NAME));
    replica_set::start(&of(replica_set::NAME));
    job::start(&of(job::NAME));
    cron_job::start(&of(cron_job::NAME));
    ttl_after_finished::start(&of(ttl_after_finished::NAME));
    disruption::start(&of(disruption::NAME));
    stateful_set::start(&of(stateful_set::NAME));
    daemon_set::start(&of(daemon_set::NAME));
    persistent_claim::start(&of(persistent_claim::NAME));
    persistent_volume::start(&of(persistent_volume::NAME));
    scheduler::start(&of(scheduler::NAME));
    endpoints::start(&of(endpoints::NAME));
    endpoints::mirror::start(&of(endpoints::MIRROR_NAME));
    service_account::start(&of(service_account::NAME), &config.ca_bundle);
    load_balancer::start(&of(load_balancer::NAME));
    pod_gc::start(&of(pod_gc::NAME));
    event_ttl::start(&of(event_ttl::NAME));
    let catalog = Catalog::start(&reader);
    namespace::start(&of(namespace::NAME), &catalog);
    owner_gc::start(&of(owner_gc::NAME), &catalog);
    resource_quota::start(&of(resource_quota::NAME), &catalog);
    pod_autoscaler::start(&of(pod_autoscaler::NAME), &catalog);
    reader
}

/// The shared context as one identity: its client writes, and its name stands in Events.
fn context_of(name: &'static str, reader: &Context, environment: &Environment<'_>) -> Context {
    let client = (environment.client_of)(name);
    let metrics = environment.metrics.sub(&name.replace('-', "_"));
    let mut context = reader.clone();
    context.events = Recorder::start(client.clone(), environment.clock, &environment.tasks, &metrics, name);
    context.client = client;
    context
}
