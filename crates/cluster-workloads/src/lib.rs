//! What a cluster does under the API: the controllers of Kubernetes' own kinds, the cluster's network, and the node.
//!
//! ```text
//!            Deployment ─► ReplicaSet ─► Pod ─► scheduler ─► (node) ─► Pod status ─► Endpoints, EndpointSlices
//!   StatefulSet, DaemonSet, CronJob ─► Job ─┘       ▲
//! persistent_claim ◄─► persistent_volume ───────────┘ (bound claims)
//!      ttl_after_finished: Jobs that are over go         disruption: how many Pods may be evicted
//!      owner_gc, namespace: what goes when something goes        service_account: what every namespace has
//!      load_balancer, pod_gc, event_ttl: small ones              resource_quota: what of a quota is used
//!      pod_autoscaler: how many replicas the use of resources asks for
//!      catalog: every kind and object, for owner_gc, namespace and resource_quota
//! ```
//! What this crate knows: what Kubernetes' controller manager, scheduler, proxy, DNS and kubelet do, in their words: conditions, reasons,
//! messages and the order of statuses are Kubernetes', because clients wait for them.
//!
//! **What it must not know**: Knative; how the API is served or stored (it has a `kube::Client`); who starts it.
//!
//! Where to start: [`wire()`] starts the controllers and [`rbac`] says what they have to be allowed. Each kind's folder has the same files:
//! `mod` (what it means, what wakes it), `observe` (facts), `plan` (the decision, pure), `resources` (makers), `status` (conditions); the rows in
//! `testdata/*.yaml` show what follows from what.

mod catalog;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod dns;
pub mod endpoints;
pub mod event_ttl;
pub mod job;
pub mod load_balancer;
pub mod namespace;
pub mod node;
mod objects;
pub mod owner_gc;
pub mod persistent_claim;
pub mod persistent_volume;
pub mod pod_autoscaler;
pub mod pod_gc;
pub mod rbac;
pub mod replica_set;
pub mod resource_quota;
pub mod scheduler;
pub mod service_account;
pub mod service_ip;
pub mod stateful_set;
#[cfg(test)]
mod testing;
pub mod ttl_after_finished;
mod wire;

pub use wire::{Config, Environment, wire};
