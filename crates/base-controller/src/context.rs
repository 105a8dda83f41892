//! What every controller of a role is handed: the client, the clock, tasks, informers, and where it reports.

use std::sync::Arc;

use base_rt::metrics::Scope;
use base_rt::{Clock, Tasks};
use kube::Client;

use crate::events::Recorder;
use crate::explain::Explain;
use crate::informer::Informers;
use crate::leader::{AlwaysLeader, Elector};
use crate::metrics::ControllerFamilies;

/// What a [`Context`] is made from.
#[derive(Clone)]
pub struct ContextConfig {
    /// How everything talks to the API. One client per role: its identity decides what controllers may do.
    pub client: Client,
    /// The process's clock.
    pub clock: Clock,
    /// The process's tasks.
    pub tasks: Tasks,
    /// Where metrics are registered.
    pub metrics: Scope,
    /// Decides the jitter of back-offs. Any number in production; a simulation's own in a simulation.
    pub seed: u64,
    /// The name under which Kubernetes Events are reported, such as `serving-controller`.
    pub component: &'static str,
}

/// Handed to every controller of a role. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The role's client.
    pub client: Client,
    /// The process's clock.
    pub clock: Clock,
    /// The process's tasks.
    pub tasks: Tasks,
    /// The role's informers.
    pub informers: Informers,
    /// Where Kubernetes Events go.
    pub events: Recorder,
    /// Where metrics are registered.
    pub metrics: Scope,
    /// Answers "why is this object as it is".
    pub explain: Explain,
    /// Decides whether this process works or waits.
    pub leader: Arc<dyn Elector>,
    pub(crate) controller_metrics: ControllerFamilies,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    /// The context of one role, in a process that leads alone.
    pub fn new(config: ContextConfig) -> Self {
        let ContextConfig { client, clock, tasks, metrics, seed, component } = config;
        Self {
            informers: Informers::new(client.clone(), tasks.clone(), &metrics, seed),
            events: Recorder::start(client.clone(), clock, &tasks, &metrics, component),
            explain: Explain::default(),
            leader: Arc::new(AlwaysLeader),
            controller_metrics: ControllerFamilies::new(&metrics),
            metrics,
            client,
            clock,
            tasks,
        }
    }

    /// The same with another way to decide who leads.
    #[must_use]
    pub fn with_leader(mut self, leader: Arc<dyn Elector>) -> Self {
        self.leader = leader;
        self
    }
}
