//! The workloads' controllers over a real API server and a node that pretends, in virtual time.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod autoscalers;
mod claims;
mod daemon_sets;
mod deployments;
mod jobs;
mod quotas;
mod stateful_sets;
